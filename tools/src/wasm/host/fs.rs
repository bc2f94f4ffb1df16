//! Files in granted folders. Changes are made all together when the call has ended well.

use std::path::{Path, PathBuf};

use cap_std::{ambient_authority, fs::Dir};
use gpak_kernel::tool::ToolError;

use super::{Calling, Host, House, core::milliseconds, failure};
use crate::{
    staged::{Seen, SeenKind, Staged},
    wasm::{
        asks::FileAccess,
        bindings::gpak::tool::{
            fs::{self, Entry, FileKind},
            types::{Failure, FailureKind},
        },
        limits::HANDED_BYTES,
    },
    workspace::{Inside, Workspace},
};

mod elsewhere;

impl fs::Host for Host {
    async fn stat(&mut self, path: String) -> wasmtime::Result<Result<Entry, Failure>> {
        Ok(self.files(move |files| files.stat(&path)).await)
    }

    async fn list(&mut self, path: String) -> wasmtime::Result<Result<Vec<Entry>, Failure>> {
        Ok(self.files(move |files| files.list(&path)).await)
    }

    async fn read(
        &mut self,
        path: String,
        offset: u64,
        length: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Failure>> {
        let most = (length as usize).min(HANDED_BYTES);
        Ok(self
            .files(move |files| files.read(&path, offset, most))
            .await)
    }

    async fn write(
        &mut self,
        path: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Failure>> {
        Ok(self
            .change(move |staged, at| staged.write(at, content), path)
            .await)
    }

    async fn append(
        &mut self,
        path: String,
        content: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Failure>> {
        Ok(self
            .change(move |staged, at| staged.append(at, &content), path)
            .await)
    }

    async fn make_folder(&mut self, path: String) -> wasmtime::Result<Result<(), Failure>> {
        Ok(self.change(Staged::make_folder, path).await)
    }

    async fn move_(&mut self, from: String, to: String) -> wasmtime::Result<Result<(), Failure>> {
        if let Err(why) = self.may_change() {
            return Ok(Err(why));
        }
        let moved = self.files(move |files| {
            let from = files.located(&from, FileAccess::Write)?;
            let to = files.located(&to, FileAccess::Write)?;
            files.staged.relocate(&from, &to).map_err(told)
        });
        Ok(moved.await)
    }

    async fn remove(&mut self, path: String) -> wasmtime::Result<Result<(), Failure>> {
        Ok(self.change(Staged::remove, path).await)
    }
}

impl Host {
    /// Works on the files, on a thread that may block.
    async fn files<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Files) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (Some(house), Some(calling)) = (self.house.clone(), self.calling.clone()) else {
            let message = "files are not there while tools are described".to_owned();
            return Err(failure(FailureKind::Denied, message));
        };
        let files = self.files.take();
        let working = tokio::task::spawn_blocking(move || {
            let mut files = match files {
                Some(files) => files,
                None => Box::new(Files::open(house, &calling).map_err(told)?),
            };
            let done = work(&mut files);
            Ok((files, done))
        });
        match working.await {
            Ok(Ok((files, done))) => {
                self.files = Some(files);
                done
            }
            Ok(Err(why)) => Err(why),
            Err(why) => Err(failure(FailureKind::Unavailable, why.to_string())),
        }
    }

    async fn change(
        &mut self,
        work: impl FnOnce(&mut Staged, &Inside) -> Result<(), ToolError> + Send + 'static,
        path: String,
    ) -> Result<(), Failure> {
        self.may_change()?;
        self.files(move |files| {
            let at = files.located(&path, FileAccess::Write)?;
            work(&mut files.staged, &at).map_err(told)
        })
        .await
    }

    fn may_change(&self) -> Result<(), Failure> {
        let pure = |calling: &Calling| calling.effect == gpak_kernel::tool::Effect::Pure;
        if self.calling.as_ref().is_none_or(pure) {
            let message =
                "changing files is not for a tool that says it changes nothing".to_owned();
            return Err(failure(FailureKind::Denied, message));
        }
        Ok(())
    }

    /// The changes of files that the call wants to make.
    pub(crate) fn take_changes(&mut self) -> Option<Staged> {
        let files = self.files.take()?;
        Some(files.staged).filter(|staged| !staged.is_empty())
    }
}

/// The granted folders of one call.
pub(super) struct Files {
    house: std::sync::Arc<House>,
    staged: Staged,
}

impl Files {
    fn open(house: std::sync::Arc<House>, calling: &Calling) -> Result<Self, ToolError> {
        let workspace = Workspace::open(&calling.context.workspace, &house.protected)?;
        Ok(Self {
            staged: Staged::new(workspace),
            house,
        })
    }

    fn stat(&self, path: &str) -> Result<Entry, Failure> {
        if let Some((folder, rest)) = self.elsewhere(path)? {
            return elsewhere::stat(&folder, &rest);
        }
        let at = self.located(path, FileAccess::Read)?;
        match self.staged.look(&at).map_err(told)? {
            Some(seen) => Ok(entry(at.name(), seen)),
            None => Err(failure(FailureKind::NotFound, format!("there is no {at}"))),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        if let Some((folder, rest)) = self.elsewhere(path)? {
            return elsewhere::list(&folder, &rest);
        }
        let at = self.located(path, FileAccess::Read)?;
        let mut entries = Vec::new();
        for name in self.staged.names(&at).map_err(told)? {
            if let Some(seen) = self.staged.look(&at.join(&name)).map_err(told)? {
                entries.push(entry(&name, seen));
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &str, offset: u64, most: usize) -> Result<Vec<u8>, Failure> {
        if let Some((folder, rest)) = self.elsewhere(path)? {
            return elsewhere::read(&folder, &rest, offset, most);
        }
        let at = self.located(path, FileAccess::Read)?;
        if self.staged.look(&at).map_err(told)?.is_none() {
            return Err(failure(FailureKind::NotFound, format!("there is no {at}")));
        }
        self.staged.read(&at, offset, most).map_err(told)
    }

    /// Where a path of the workspace leads, if that is in a folder that was granted.
    fn located(&self, path: &str, access: FileAccess) -> Result<Inside, Failure> {
        let at = self.staged.locate(path).map_err(told)?;
        let granted = self
            .house
            .grant
            .files
            .iter()
            .filter(|folder| folder.access >= access);
        for folder in granted.filter(|folder| !Path::new(&folder.path).is_absolute()) {
            // A folder that is not there yet holds nothing that leads astray.
            if let Ok(folder) = self.staged.locate(&folder.path)
                && at.below(&folder).is_some()
            {
                return Ok(at);
            }
        }
        let what = match access {
            FileAccess::Read => "reading",
            FileAccess::Write => "changing",
        };
        Err(failure(
            FailureKind::Denied,
            format!("{what} {at} was not granted"),
        ))
    }

    /// The granted folder outside of the workspace that an absolute path is in, and the rest of the path.
    fn elsewhere(&self, path: &str) -> Result<Option<(Dir, PathBuf)>, Failure> {
        let path = Path::new(path);
        let mut absolute = self
            .house
            .grant
            .files
            .iter()
            .map(|folder| Path::new(&folder.path));
        let Some(folder) = absolute.find(|folder| folder.is_absolute() && path.starts_with(folder))
        else {
            return Ok(None);
        };
        let rest = path.strip_prefix(folder).unwrap_or(path).to_owned();
        let unavailable = |why: std::io::Error| {
            let message = format!("the folder {} cannot be opened: {why}", folder.display());
            failure(FailureKind::Unavailable, message)
        };
        let real = folder.canonicalize().map_err(unavailable)?;
        let own = self
            .house
            .protected
            .iter()
            .filter_map(|own| own.canonicalize().ok());
        if own
            .into_iter()
            .any(|own| own.starts_with(&real) || real.starts_with(own))
        {
            let message = format!("{} belongs to gpak itself", folder.display());
            return Err(failure(FailureKind::Denied, message));
        }
        let opened = Dir::open_ambient_dir(&real, ambient_authority()).map_err(unavailable)?;
        Ok(Some((opened, rest)))
    }
}

fn entry(name: &str, seen: Seen) -> Entry {
    Entry {
        name: name.to_owned(),
        kind: match seen.kind {
            SeenKind::File => FileKind::File,
            SeenKind::Folder => FileKind::Folder,
            SeenKind::Other => FileKind::Other,
        },
        size: seen.size,
        modified: milliseconds(seen.modified),
    }
}

/// Tells a guest what a model would be told.
fn told(why: ToolError) -> Failure {
    let kind = match &why {
        ToolError::Rejected(_) => FailureKind::Invalid,
        ToolError::Unknown(_) | ToolError::Fatal(_) => FailureKind::Unavailable,
    };
    failure(kind, why.to_string())
}
