//! Changes of the workspace that are made all together at the end, or not at all.
//!
//! What a program changes is kept in memory while it runs, and what it reads is the workspace with these
//! changes. Then each file that is replaced is saved, the record of all changes is written, and they are
//! put in place one after the other; should one fail, those before it are taken back. A crash on the way
//! leaves the record, by which they are taken back before the call is made again, or when it is undone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Seek as _, SeekFrom},
    time::SystemTime,
};

use cap_std::fs::{Metadata, MetadataExt as _};
use gpak_kernel::tool::ToolError;

use crate::{
    walk::{Globs, Walk, walk},
    workspace::{Inside, Place, Workspace, rejected},
};

mod placing;

pub(crate) use placing::{fresh_record, put_back};

/// Bytes of all changes together.
const STAGED: usize = 64 * 1024 * 1024;
/// Changed paths, and entries of a folder that is listed.
const PATHS: usize = 10_000;
const ENTRIES: usize = 20_000;

/// A workspace with changes that are not made yet.
pub(crate) struct Staged {
    workspace: Workspace,
    paths: BTreeMap<Inside, Staging>,
    bytes: usize,
}

/// What will be at a path.
enum Staging {
    File { content: Vec<u8>, mode: Option<u32> },
    Folder,
    Gone,
}

/// A path at which something else will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: Inside,
    /// What is there now.
    pub now: Option<Held>,
    /// What will be.
    pub then: Option<Held>,
}

/// What there is at a path, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A file.
    File(Vec<u8>),
    /// A folder.
    Folder,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: SeenKind,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Seen {
    /// What the operating system says of it.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let (kind, size) = if metadata.is_dir() {
            (SeenKind::Folder, 0)
        } else if metadata.is_file() {
            (SeenKind::File, metadata.len())
        } else {
            (SeenKind::Other, 0)
        };
        let modified = metadata.modified();
        Self {
            kind,
            size,
            modified: modified.map_or(SystemTime::UNIX_EPOCH, |time| time.into_std()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SeenKind {
    File,
    Folder,
    Other,
}

impl Staged {
    pub(crate) fn new(workspace: Workspace) -> Self {
        Self {
            workspace,
            paths: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// A path as somebody wrote it.
    pub(crate) fn parse(&self, raw: &str) -> Result<Inside, ToolError> {
        self.workspace.parse(raw)
    }

    /// Whether there is nothing to put in place.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Where a path as somebody wrote it leads, with links followed, whether it is there or will be.
    /// To be read or, if `writing`, changed: that decides what is said of a path that is neither.
    pub(crate) fn locate(&self, raw: &str, writing: bool) -> Result<Inside, ToolError> {
        let path = self.workspace.parse(raw)?;
        match self.workspace.locate(&path) {
            Ok(real) => Ok(real),
            Err(fatal @ ToolError::Fatal(_)) => Err(fatal),
            // It may be there soon; what protects a path from being written hides it here.
            Err(why) => match self.workspace.place(&path) {
                Ok(place) => Ok(place.path().clone()),
                Err(refused) => Err(if writing { refused } else { why }),
            },
        }
    }

    /// What is at a located path; None if there is nothing.
    pub(crate) fn look(&self, path: &Inside) -> Result<Option<Seen>, ToolError> {
        match self.paths.get(path) {
            Some(Staging::Gone) => return Ok(None),
            Some(Staging::Folder) => return Ok(Some(seen(SeenKind::Folder, 0))),
            Some(Staging::File { content, .. }) => {
                return Ok(Some(seen(SeenKind::File, content.len() as u64)));
            }
            None if self.holds_changes(path) => return Ok(Some(seen(SeenKind::Folder, 0))),
            None => {}
        }
        let metadata = match self.workspace.root().symlink_metadata(path.as_path()) {
            Ok(metadata) => metadata,
            Err(why) if is_absent(&why) => return Ok(None),
            Err(why) => return Err(self.workspace.explain(path, &why)),
        };
        Ok(Some(Seen::of(&metadata)))
    }

    /// Whether something is written below a path, so that it is, or will be, a folder.
    fn holds_changes(&self, path: &Inside) -> bool {
        let mut below = self
            .paths
            .iter()
            .filter(|(other, _)| *other != path && other.below(path).is_some());
        below.any(|(_, staging)| !matches!(staging, Staging::Gone))
    }

    /// Names in a folder, sorted.
    pub(crate) fn names(&self, folder: &Inside) -> Result<Vec<String>, ToolError> {
        match self.look(folder)? {
            Some(Seen {
                kind: SeenKind::Folder,
                ..
            }) => {}
            Some(_) => return Err(rejected(format!("{folder} is not a folder"))),
            None => return Err(self.workspace.not_found(folder)),
        }
        let mut names = BTreeSet::new();
        match self.workspace.root().read_dir(folder.as_path()) {
            Ok(entries) => {
                let named = entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().into_string().ok());
                names.extend(named.take(ENTRIES + 1));
            }
            Err(why) if is_absent(&why) => {}
            Err(why) => return Err(self.workspace.explain(folder, &why)),
        }
        names.retain(|name| !self.workspace.is_private(&folder.join(name)));
        for (path, staging) in &self.paths {
            let Some(rest) = path.below(folder).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            match (rest.split_once('/'), staging) {
                (Some((name, _)), Staging::File { .. } | Staging::Folder) => {
                    names.insert(name.to_owned());
                }
                (None, Staging::Gone) => {
                    names.remove(rest);
                }
                (None, _) => {
                    names.insert(rest.to_owned());
                }
                (Some(_), Staging::Gone) => {}
            }
        }
        if names.len() > ENTRIES {
            return Err(rejected(format!(
                "{folder} has more than {ENTRIES} entries"
            )));
        }
        Ok(names.into_iter().collect())
    }

    /// What is in a folder and in the folders below it, sorted by path: as much as a glob matches, which
    /// only files do, and without what `.gitignore` leaves out.
    pub(crate) fn below(
        &self,
        folder: &Inside,
        glob: Option<&str>,
    ) -> Result<Vec<(Inside, Seen)>, ToolError> {
        let globs = glob.map(|glob| Globs::new(&self.workspace, folder, glob));
        let globs = globs.transpose()?;
        let mut paths = BTreeSet::new();
        let walked = Walk {
            recursive: true,
            globs: None,
        };
        if self.workspace.root().is_dir(folder.as_path()) {
            walk(&self.workspace, folder, &walked, |found| {
                paths.insert(found.path);
                Ok(paths.len() <= ENTRIES)
            })?;
        }
        for path in self.paths.keys() {
            let mut path = Some(path.clone());
            while let Some(one) =
                path.filter(|one| one.below(folder).is_some_and(|rest| !rest.is_empty()))
            {
                path = one.parent();
                paths.insert(one);
            }
        }
        if paths.len() > ENTRIES {
            return Err(rejected(format!(
                "{folder} has more than {ENTRIES} entries"
            )));
        }
        let mut found = Vec::new();
        for path in paths {
            let Some(seen) = self.look(&path)? else {
                continue;
            };
            let matches = globs.as_ref().is_none_or(|globs| {
                let full = self.workspace.real().join(path.as_path());
                seen.kind == SeenKind::File && globs.match_file(&full)
            });
            if matches {
                found.push((path, seen));
            }
        }
        Ok(found)
    }

    /// Will remove a file, or a folder with all that is in it.
    pub(crate) fn remove_all(&mut self, path: &Inside) -> Result<(), ToolError> {
        let is_folder = self
            .look(path)?
            .is_some_and(|seen| seen.kind == SeenKind::Folder);
        if is_folder {
            for name in self.names(path)? {
                self.remove_all(&path.join(&name))?;
            }
        }
        self.remove(path)
    }

    /// Will put a copy of a file, or of a folder with all that is in it, where nothing is.
    pub(crate) fn copy(&mut self, from: &Inside, to: &Inside) -> Result<(), ToolError> {
        let Some(seen) = self.look(from)? else {
            return Err(self.workspace.not_found(from));
        };
        if to.below(from).is_some() {
            return Err(rejected(format!("{from} cannot be put into itself ({to})")));
        }
        if self.look(to)?.is_some() {
            return Err(taken(to));
        }
        if seen.kind != SeenKind::Folder {
            let (content, mode) = self.whole(from, seen)?;
            return self.stage_file(to, content, mode);
        }
        self.make_folder(to)?;
        for name in self.names(from)? {
            self.copy(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    /// A file with its permission bits.
    fn whole(&self, path: &Inside, seen: Seen) -> Result<(Vec<u8>, Option<u32>), ToolError> {
        if seen.size > STAGED as u64 {
            return Err(too_much());
        }
        let mode = match self.paths.get(path) {
            Some(Staging::File { mode, .. }) => *mode,
            _ => self
                .place(path)?
                .metadata()?
                .map(|metadata| metadata.mode()),
        };
        Ok((self.read(path, 0, STAGED)?, mode))
    }

    /// What will be different, sorted by path: what is there now, and what will be.
    pub(crate) fn differences(&self) -> Result<Vec<Difference>, ToolError> {
        let mut all = Vec::new();
        for (path, staging) in &self.paths {
            let now = match self.workspace.root().symlink_metadata(path.as_path()) {
                Ok(metadata) if metadata.is_dir() => Some(Held::Folder),
                Ok(_) => {
                    let mut bytes = Vec::new();
                    let (file, _) = self.workspace.open_at(path)?;
                    let read = file.take(STAGED as u64).read_to_end(&mut bytes);
                    read.map_err(|why| rejected(format!("cannot read {path}: {why}")))?;
                    Some(Held::File(bytes))
                }
                Err(why) if is_absent(&why) => None,
                Err(why) => return Err(self.workspace.explain(path, &why)),
            };
            let then = match staging {
                Staging::File { content, .. } => Some(Held::File(content.clone())),
                Staging::Folder => Some(Held::Folder),
                Staging::Gone => None,
            };
            if now != then {
                let path = path.clone();
                all.push(Difference { path, now, then });
            }
        }
        Ok(all)
    }

    /// At most `most` bytes of a file from `offset` on.
    pub(crate) fn read(
        &self,
        path: &Inside,
        offset: u64,
        most: usize,
    ) -> Result<Vec<u8>, ToolError> {
        match self.paths.get(path) {
            Some(Staging::File { content, .. }) => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(content.len());
                let to = from.saturating_add(most).min(content.len());
                return Ok(content.get(from..to).unwrap_or_default().to_vec());
            }
            Some(Staging::Folder) => return Err(rejected(format!("{path} is a folder"))),
            Some(Staging::Gone) => return Err(self.workspace.not_found(path)),
            None => {}
        }
        let (mut file, metadata) = self.workspace.open_at(path)?;
        if !metadata.is_file() {
            return Err(rejected(format!("{path} is not a file")));
        }
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(most as u64).read_to_end(&mut bytes));
        read.map_err(|why| rejected(format!("cannot read {path}: {why}")))?;
        Ok(bytes)
    }

    /// Will make or replace a file.
    pub(crate) fn write(&mut self, path: &Inside, content: Vec<u8>) -> Result<(), ToolError> {
        self.stage_file(path, content, None)
    }

    /// Will add to the end of a file, or make it.
    pub(crate) fn append(&mut self, path: &Inside, more: &[u8]) -> Result<(), ToolError> {
        if let Some(Staging::File { content, .. }) = self.paths.get_mut(path) {
            if self.bytes + more.len() > STAGED {
                return Err(too_much());
            }
            self.bytes += more.len();
            content.extend_from_slice(more);
            return Ok(());
        }
        let mut content = match self.look(path)? {
            Some(seen) if seen.size > STAGED as u64 => return Err(too_much()),
            Some(_) => self.read(path, 0, STAGED)?,
            None => Vec::new(),
        };
        content.extend_from_slice(more);
        self.stage_file(path, content, None)
    }

    /// Will move a file to where nothing is.
    pub(crate) fn relocate(&mut self, from: &Inside, to: &Inside) -> Result<(), ToolError> {
        let Some(seen) = self.look(from)? else {
            return Err(self.workspace.not_found(from));
        };
        if seen.kind != SeenKind::File {
            return Err(rejected(format!(
                "{from} is not a file; move the files in it one by one"
            )));
        }
        if self.look(to)?.is_some() {
            return Err(taken(to));
        }
        let (content, mode) = self.whole(from, seen)?;
        self.stage_file(to, content, mode)?;
        self.stage(from, Staging::Gone)
    }

    /// Will make a folder; one that is there already is fine.
    pub(crate) fn make_folder(&mut self, path: &Inside) -> Result<(), ToolError> {
        match self.look(path)? {
            Some(Seen {
                kind: SeenKind::Folder,
                ..
            }) => Ok(()),
            Some(_) => Err(rejected(format!(
                "{path} exists already and is not a folder"
            ))),
            None => {
                self.place(path)?;
                self.check_parents(path)?;
                self.stage(path, Staging::Folder)
            }
        }
    }

    /// Will remove a file or an empty folder.
    pub(crate) fn remove(&mut self, path: &Inside) -> Result<(), ToolError> {
        let Some(seen) = self.look(path)? else {
            return Err(self.workspace.not_found(path));
        };
        self.place(path)?;
        if seen.kind == SeenKind::Folder && !self.names(path)?.is_empty() {
            return Err(rejected(format!(
                "{path} is not empty; remove what is in it first"
            )));
        }
        self.stage(path, Staging::Gone)
    }

    fn stage_file(
        &mut self,
        path: &Inside,
        content: Vec<u8>,
        mode: Option<u32>,
    ) -> Result<(), ToolError> {
        if let Some(seen) = self.look(path)?
            && seen.kind != SeenKind::File
        {
            return Err(rejected(format!("{path} is not a file")));
        }
        self.place(path)?;
        self.check_parents(path)?;
        self.stage(path, Staging::File { content, mode })
    }

    /// What is above a path must be, or become, folders.
    fn check_parents(&self, path: &Inside) -> Result<(), ToolError> {
        let mut above = path.parent();
        while let Some(folder) = above {
            if let Some(seen) = self.look(&folder)?
                && seen.kind != SeenKind::Folder
            {
                return Err(rejected(format!(
                    "{folder} is not a folder, so nothing can be put in it"
                )));
            }
            above = folder.parent();
        }
        Ok(())
    }

    fn stage(&mut self, path: &Inside, staging: Staging) -> Result<(), ToolError> {
        let size = |staging: &Staging| match staging {
            Staging::File { content, .. } => content.len(),
            Staging::Folder | Staging::Gone => 0,
        };
        let before = self.paths.get(path).map_or(0, size);
        let bytes = self.bytes - before + size(&staging);
        if bytes > STAGED || self.paths.len() >= PATHS {
            return Err(too_much());
        }
        self.bytes = bytes;
        self.paths.insert(path.clone(), staging);
        Ok(())
    }

    /// Refuses what is protected.
    fn place(&self, path: &Inside) -> Result<Place, ToolError> {
        self.workspace.place(path)
    }
}

fn seen(kind: SeenKind, size: u64) -> Seen {
    Seen {
        kind,
        size,
        modified: SystemTime::now(),
    }
}

fn is_absent(why: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn taken(path: &Inside) -> ToolError {
    rejected(format!(
        "{path} exists already; remove it first, or choose another name"
    ))
}

fn too_much() -> ToolError {
    rejected(format!(
        "the changes of one call have more than {} MiB or {PATHS} paths; do it in several calls",
        STAGED / 1024 / 1024
    ))
}
