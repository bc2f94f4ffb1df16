//! A place to write: a name in a folder that is held open.
//!
//! Links are never written through. A link among the parents is resolved beforehand, within the
//! workspace, so that what is protected is protected by its real path; a link as the last name is
//! refused and the model is told where it leads. What is replaced is replaced whole, by a rename, so
//! a reader sees the old content or the new and a hard link elsewhere keeps the old.

use std::{
    fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt as _, OpenOptions};
use gpak_kernel::{event::RunId, model::CallId, tool::ToolError};
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use super::{Inside, Workspace, io_error, is_escape, rejected};

/// A name in a folder that is held open.
pub(crate) struct Place {
    path: Inside,
    /// The nearest folder above that exists.
    folder: Dir,
    /// The folders between it and the name, which do not exist.
    missing: Vec<String>,
    name: String,
}

/// The name of the file that content is written to before it takes its place. A call made again
/// takes the same name, and so clears away what a crash left of it.
pub(crate) struct Temp(String);

impl Temp {
    pub(crate) fn new(run: &RunId, call: &CallId) -> Self {
        Self(format!(".gpak-{}-{call}.tmp", run.short()))
    }
}

impl Workspace {
    /// The place that a model wants to write to.
    pub(crate) fn place(&self, path: &Inside) -> Result<Place, ToolError> {
        let Some(parent) = path.parent() else {
            return Err(rejected(
                "\".\" is the workspace itself; name a file in it".to_owned(),
            ));
        };
        let real = self.resolve_parent(&parent)?.join(path.name());
        if let Some(why) = self.protection(&real).or_else(|| self.protection(path)) {
            return Err(rejected(why));
        }
        let place = self.place_again(&real)?;
        if place
            .metadata()?
            .is_some_and(|metadata| metadata.is_symlink())
        {
            return Err(self.is_link(&real));
        }
        Ok(place)
    }

    /// A place that was resolved before: no link is followed on the way to it.
    pub(crate) fn place_again(&self, path: &Inside) -> Result<Place, ToolError> {
        let mut folder = open_folder(self.root(), ".").map_err(|e| io_error("open", path, &e))?;
        let mut names: Vec<_> = path.names().map(str::to_owned).collect();
        let name = names.pop().unwrap_or_default();
        let mut names = names.into_iter();
        let mut missing = Vec::new();
        while let Some(next) = names.next() {
            match open_folder(&folder, &next) {
                Ok(inner) => folder = inner,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    missing.push(next);
                    missing.extend(names.by_ref());
                }
                Err(e) if is_not_folder(&e) => {
                    return Err(rejected(format!(
                        "{path} cannot be written, as {next} in it is a file or a link and not a folder"
                    )));
                }
                Err(e) => return Err(io_error("open the folder of", path, &e)),
            }
        }
        Ok(Place {
            path: path.clone(),
            folder,
            missing,
            name,
        })
    }

    /// `parent` with its links followed, as far as it exists.
    fn resolve_parent(&self, parent: &Inside) -> Result<Inside, ToolError> {
        let mut here = parent.clone();
        let mut missing = Vec::new();
        loop {
            match self.follow(&here) {
                Ok(real) => {
                    return Ok(missing
                        .iter()
                        .rev()
                        .fold(real, |path, name: &String| path.join(name)));
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    let dangling = self.root().symlink_metadata(here.as_path()).is_ok();
                    let Some(above) = here.parent().filter(|_| !dangling) else {
                        return Err(self.is_link(&here));
                    };
                    missing.push(here.name().to_owned());
                    here = above;
                }
                Err(e) if is_escape(&e) => return Err(self.explain(parent, &e)),
                Err(e) if is_not_folder(&e) => {
                    let file = self.first_file(parent);
                    return Err(rejected(format!(
                        "{file} is a file, so nothing can be put in it; choose another folder"
                    )));
                }
                Err(e) => return Err(io_error("open", parent, &e)),
            }
        }
    }

    fn is_link(&self, path: &Inside) -> ToolError {
        if let Ok(target) = self.follow(path) {
            return rejected(format!(
                "{path} is a link to {target}; use \"{target}\" instead"
            ));
        }
        rejected(format!(
            "{path} is a link that leads nowhere inside the workspace; choose another path"
        ))
    }
}

impl Place {
    pub(crate) fn path(&self) -> &Inside {
        &self.path
    }

    /// The folders that must be made first, the outermost first.
    pub(crate) fn missing_folders(&self) -> Vec<Inside> {
        let mut folder = self.path.parent();
        let mut all = Vec::new();
        for _ in &self.missing {
            let Some(path) = folder else { break };
            folder = path.parent();
            all.push(path);
        }
        all.reverse();
        all
    }

    /// What is there; links are not followed.
    pub(crate) fn metadata(&self) -> Result<Option<cap_std::fs::Metadata>, ToolError> {
        if !self.missing.is_empty() {
            return Ok(None);
        }
        match self.folder.symlink_metadata(&self.name) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("look at", &self.path, &e)),
        }
    }

    /// Opens what is there for reading.
    pub(crate) fn open(&self) -> Result<fs::File, ToolError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(&self.folder, self.name.as_str(), flags, Mode::empty());
        opened
            .map(fs::File::from)
            .map_err(|e| io_error("open", &self.path, &e.into()))
    }

    /// Makes the folders it needs.
    pub(crate) fn make_folders(&mut self) -> Result<(), ToolError> {
        for name in std::mem::take(&mut self.missing) {
            self.make_one(&name)
                .map_err(|e| io_error("make the folder of", &self.path, &e))?;
        }
        Ok(())
    }

    fn make_one(&mut self, name: &str) -> io::Result<()> {
        match self.folder.create_dir(name) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => sync(&self.folder)?,
        }
        self.folder = open_folder(&self.folder, name)?;
        Ok(())
    }

    /// Puts `content` there in one instant: all of it, or nothing.
    pub(crate) fn replace(
        &self,
        content: &mut dyn Read,
        mode: Option<u32>,
        temp: &Temp,
    ) -> Result<(), ToolError> {
        let done = self.replace_by(content, mode, temp);
        if done.is_err() {
            let _ = self.folder.remove_file(&temp.0);
        }
        done.map_err(|e| io_error("write", &self.path, &e))
    }

    fn replace_by(&self, content: &mut dyn Read, mode: Option<u32>, temp: &Temp) -> io::Result<()> {
        let _ = self.folder.remove_file(&temp.0);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = self.folder.open_with(&temp.0, &options)?.into_std();
        io::copy(content, &mut file)?;
        if let Ok(old) = self.folder.symlink_metadata(&self.name) {
            keep_owner(&file, &old);
        }
        if let Some(mode) = mode {
            file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        }
        file.sync_all()?;
        self.folder.rename(&temp.0, &self.folder, &self.name)?;
        sync(&self.folder)
    }

    /// Removes what a call that was cut off had written of a file here.
    pub(crate) fn remove_half_written(&self, temp: &Temp) {
        if self.missing.is_empty() {
            // Nearly always there is none.
            let _ = self.folder.remove_file(&temp.0);
        }
    }

    pub(crate) fn remove_file(&self) -> Result<(), ToolError> {
        let removed = self
            .folder
            .remove_file(&self.name)
            .and_then(|()| sync(&self.folder));
        removed.map_err(|e| io_error("delete", &self.path, &e))
    }

    /// Removes the folder there, if it is empty.
    pub(crate) fn remove_folder(&self) -> Result<(), ToolError> {
        let removed = self
            .folder
            .remove_dir(&self.name)
            .and_then(|()| sync(&self.folder));
        removed.map_err(|e| match e.kind() {
            ErrorKind::DirectoryNotEmpty => rejected(format!(
                "{0} is a folder and not empty; delete what is in it first (list_files {{\"path\":\"{0}\"}} shows it)",
                self.path
            )),
            _ => io_error("delete", &self.path, &e),
        })
    }

    pub(crate) fn make_folder(&self, mode: u32) -> Result<(), ToolError> {
        let mut builder = DirBuilder::new();
        builder.mode(mode & 0o7777);
        let made = self
            .folder
            .create_dir_with(&self.name, &builder)
            .and_then(|()| sync(&self.folder));
        made.map_err(|e| io_error("make the folder", &self.path, &e))
    }

    /// Moves what is there to `to`, where nothing must be.
    pub(crate) fn move_to(&self, to: &Self) -> Result<(), ToolError> {
        let moved = rename_new(&self.folder, &self.name, &to.folder, &to.name)
            .and_then(|()| sync(&to.folder))
            .and_then(|()| sync(&self.folder));
        moved.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => already_there(&to.path),
            ErrorKind::InvalidInput => rejected(format!(
                "{} cannot be moved into itself ({})",
                self.path, to.path
            )),
            ErrorKind::CrossesDevices => rejected(format!(
                "{} is on another disk than {}; copy it, then delete it",
                to.path, self.path
            )),
            _ => io_error("move", &self.path, &e),
        })
    }
}

pub(crate) fn already_there(path: &Inside) -> ToolError {
    rejected(format!(
        "{path} exists already, and move_file replaces nothing; choose another name, or delete_file {{\"path\":\"{path}\"}} first"
    ))
}

fn open_folder(at: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = openat(at, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(fs::File::from(folder)))
}

/// `O_NOFOLLOW | O_DIRECTORY` upon a link or a file.
fn is_not_folder(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == Errno::ENOTDIR as i32 || code == Errno::ELOOP as i32)
}

fn sync(folder: &Dir) -> io::Result<()> {
    folder.try_clone()?.into_std_file().sync_all()
}

/// A new file belongs to who made it; one that replaces another, as far as we may, to the other's owner.
fn keep_owner(file: &fs::File, old: &cap_std::fs::Metadata) {
    use cap_std::fs::MetadataExt as _;
    let Ok(new) = file.metadata() else { return };
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
    }
}

/// Renames, and fails with `AlreadyExists` rather than replace.
fn rename_new(from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::fcntl::{RenameFlags, renameat2};
        match renameat2(from, name, to, new, RenameFlags::RENAME_NOREPLACE) {
            // Not on this file system.
            Err(Errno::EINVAL | Errno::ENOSYS) => {}
            done => return done.map_err(Into::into),
        }
    }
    if !from.symlink_metadata(name)?.is_dir() {
        from.hard_link(name, to, new)?;
        return from.remove_file(name);
    }
    match to.symlink_metadata(new) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(e) if e.kind() == ErrorKind::NotFound => from.rename(name, to, new),
        Err(e) => Err(e),
    }
}
