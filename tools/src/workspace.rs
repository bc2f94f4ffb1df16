//! Keeps file tools inside the workspace.
//!
//! A path from a model becomes an [`Inside`] (relative, no `..`), and that is only ever resolved
//! through the workspace's open [`Dir`], beneath which the operating system keeps it (`openat2`). So
//! neither `..` nor a symlink leads out, and nothing can be exchanged between check and use.
//!
//! What is written goes through a [`Place`]: links among its parents are resolved first, the
//! resolved path is checked against what is protected, and is then walked without following links.

use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt as _},
};
use gpak_kernel::tool::ToolError;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

mod near;
mod place;

pub(crate) use place::{Place, Temp, already_there};

/// Folders that no tool writes into, wherever they are.
const PROTECTED_NAMES: [&str; 2] = [".git", ".gpak"];

/// A path inside the workspace: relative, with `/`, without `.` and `..`. Empty is the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inside(String);

impl Inside {
    /// It, for the operating system.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(if self.0.is_empty() { "." } else { &self.0 })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    pub(crate) fn name(&self) -> &str {
        self.names().next_back().unwrap_or(".")
    }

    pub(crate) fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map(|(parent, _)| parent)
                .unwrap_or_default()
                .to_owned(),
        ))
    }

    pub(crate) fn join(&self, name: &str) -> Self {
        if self.0.is_empty() {
            return Self(name.to_owned());
        }
        Self(format!("{}/{name}", self.0))
    }

    /// What is left of it below `folder`; empty for `folder` itself.
    pub(crate) fn below(&self, folder: &Self) -> Option<&str> {
        if folder.is_root() {
            return Some(&self.0);
        }
        let rest = self.0.strip_prefix(&folder.0)?;
        if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('/')
        }
    }

    fn of_relative(path: &Path) -> Result<Self, ToolError> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => match name.to_str() {
                    Some(name) => names.push(name),
                    None => {
                        return Err(rejected(format!(
                            "the name of {} is not UTF-8",
                            path.display()
                        )));
                    }
                },
                Component::CurDir => {}
                Component::ParentDir => {
                    if names.pop().is_none() {
                        return Err(outside(path));
                    }
                }
                Component::RootDir | Component::Prefix(_) => return Err(outside(path)),
            }
        }
        Ok(Self(names.join("/")))
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        if self.0.contains(char::is_control) {
            return write!(f, "{}", self.0.escape_debug());
        }
        f.write_str(&self.0)
    }
}

/// The folder that a run works in, opened once for a call.
pub(crate) struct Workspace {
    root: Dir,
    given: PathBuf,
    real: PathBuf,
    /// Protected folders within it.
    protected: Vec<Inside>,
    /// The protected folder that it lies in.
    within: Option<PathBuf>,
}

impl Workspace {
    /// Opens the folder at `path`; nothing at or under `protected` is read or written.
    pub(crate) fn open(path: &Path, protected: &[PathBuf]) -> Result<Self, ToolError> {
        let missing = |e: io::Error| {
            ToolError::Fatal(format!(
                "the workspace {} cannot be opened ({e}); put it back, or start a run in another folder",
                path.display()
            ))
        };
        let real = path.canonicalize().map_err(missing)?;
        let root = Dir::open_ambient_dir(&real, ambient_authority()).map_err(missing)?;
        let mut workspace = Self {
            root,
            given: path.to_owned(),
            real,
            protected: Vec::new(),
            within: None,
        };
        for path in protected {
            let path = canonical(path);
            if workspace.real.starts_with(&path) {
                workspace.within = Some(path);
            } else if let Ok(inner) = path.strip_prefix(&workspace.real) {
                workspace.protected.push(Inside::of_relative(inner)?);
            }
        }
        Ok(workspace)
    }

    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// Its absolute path without links.
    pub(crate) fn real(&self) -> &Path {
        &self.real
    }

    /// A path as a model wrote it.
    pub(crate) fn parse(&self, raw: &str) -> Result<Inside, ToolError> {
        if raw.contains('\0') {
            return Err(rejected("a path cannot contain a NUL character".to_owned()));
        }
        let path = Path::new(raw);
        if !path.is_absolute() {
            return Inside::of_relative(path);
        }
        let inner = path
            .strip_prefix(&self.real)
            .or_else(|_| path.strip_prefix(&self.given));
        match inner {
            Ok(inner) => Inside::of_relative(inner),
            Err(_) => {
                let relative = raw.trim_start_matches('/');
                let there = !relative.is_empty() && self.root.symlink_metadata(relative).is_ok();
                if there {
                    Err(outside_but(path, relative))
                } else {
                    Err(outside(path))
                }
            }
        }
    }

    /// Where something that exists really is: `path` with every link in it followed.
    pub(crate) fn locate(&self, path: &Inside) -> Result<Inside, ToolError> {
        let real = self.follow(path).map_err(|e| self.explain(path, &e))?;
        let private = self
            .protected
            .iter()
            .find(|folder| real.below(folder).is_some());
        if private.is_some() {
            return Err(rejected(format!(
                "{path} belongs to gpak itself and is not for tools; go on without it"
            )));
        }
        Ok(real)
    }

    /// Opens a file or folder for reading.
    pub(crate) fn open_at(&self, path: &Inside) -> Result<(File, Metadata), ToolError> {
        let real = self.locate(path)?;
        self.open_located(&real).map_err(|e| self.explain(path, &e))
    }

    /// The same for a path without links. Never waits for the other end of a pipe.
    pub(crate) fn open_located(&self, path: &Inside) -> io::Result<(File, Metadata)> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = self.root.open_with(path.as_path(), &options)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    /// Why nothing may be written at `path` (which has no links in it), if so.
    pub(crate) fn protection(&self, path: &Inside) -> Option<String> {
        if let Some(folder) = &self.within {
            return Some(format!(
                "the workspace lies in {}, which belongs to gpak itself; nothing in it is written by tools",
                folder.display()
            ));
        }
        let name = path.names().find(|name| PROTECTED_NAMES.contains(name));
        if let Some(name) = name {
            return Some(format!(
                "{path} is in {name}, which tools never write to; choose another path"
            ));
        }
        let holds = |folder: &&Inside| path.below(folder).is_some() || folder.below(path).is_some();
        self.protected.iter().find(holds).map(|folder| {
            format!(
                "{folder} belongs to gpak itself, and tools never write to it; choose another path"
            )
        })
    }

    /// gpak's own folders, absolute.
    pub(crate) fn private_folders(&self) -> impl Iterator<Item = PathBuf> {
        self.protected
            .iter()
            .map(|folder| self.real.join(folder.as_path()))
    }

    /// Whether a listing or a search passes by `path`.
    pub(crate) fn is_private(&self, path: &Inside) -> bool {
        path.name() == ".git"
            || self
                .protected
                .iter()
                .any(|folder| path.below(folder).is_some())
    }

    /// Says, for a model, why `path` cannot be opened.
    pub(crate) fn explain(&self, path: &Inside, error: &io::Error) -> ToolError {
        if is_escape(error) {
            return rejected(format!(
                "{path} leads outside of the workspace through a link; use a path that stays inside"
            ));
        }
        match error.kind() {
            ErrorKind::NotFound => self.not_found(path),
            ErrorKind::NotADirectory => {
                let file = self.first_file(path);
                rejected(format!(
                    "{file} is a file, not a folder, so there is no {path}; use read_file {{\"path\":\"{file}\"}} to read it"
                ))
            }
            _ => io_error("open", path, error),
        }
    }

    /// Follows every link of `path`. cap-std refuses links to absolute paths even if these lead to
    /// the inside, so they are made relative here, and resolved as before.
    fn follow(&self, path: &Inside) -> io::Result<Inside> {
        let mut path = path.clone();
        for _ in 0..16 {
            match self.root.canonicalize(path.as_path()) {
                Ok(real) => return Inside::of_relative(&real).map_err(io::Error::other),
                Err(e) if is_escape(&e) => match self.relative_link(&path) {
                    Some(next) => path = next,
                    None => return Err(e),
                },
                Err(e) => return Err(e),
            }
        }
        Err(nix::errno::Errno::ELOOP.into())
    }

    /// `path` with its first absolute link to the inside replaced by where it leads.
    fn relative_link(&self, path: &Inside) -> Option<Inside> {
        let mut prefix = Inside::default();
        let mut names = path.names();
        while let Some(name) = names.next() {
            prefix = prefix.join(name);
            let Ok(target) = self.root.read_link_contents(prefix.as_path()) else {
                continue;
            };
            if let Ok(inner) = target.strip_prefix(&self.real) {
                let rest: PathBuf = names.collect();
                return Inside::of_relative(&inner.join(rest)).ok();
            }
        }
        None
    }

    fn first_file(&self, path: &Inside) -> Inside {
        let mut prefix = Inside::default();
        for name in path.names() {
            prefix = prefix.join(name);
            if !self.root.is_dir(prefix.as_path()) {
                break;
            }
        }
        prefix
    }
}

/// Tells the model.
pub(crate) fn rejected(message: String) -> ToolError {
    ToolError::Rejected(message)
}

/// What to make of an error of the operating system: nothing the model does helps against a full disk.
pub(crate) fn io_error(what: &str, path: &dyn fmt::Display, error: &io::Error) -> ToolError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ToolError::Fatal(format!(
            "cannot {what} {path}: the disk is full; free some space, then resume the run"
        )),
        ErrorKind::PermissionDenied => rejected(format!("cannot {what} {path}: permission denied")),
        ErrorKind::ReadOnlyFilesystem => rejected(format!(
            "cannot {what} {path}: it is on a read-only file system"
        )),
        ErrorKind::InvalidFilename => rejected(format!(
            "cannot {what} {path}: the name is too long or not allowed here; use a shorter one"
        )),
        _ if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
            ToolError::Fatal(format!(
                "cannot {what} {path}: the disk reports an error ({error}); check the disk, then resume the run"
            ))
        }
        _ => rejected(format!("cannot {what} {path}: {error}")),
    }
}

/// cap-std's own refusal, which no system call made.
fn is_escape(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

fn outside(path: &Path) -> ToolError {
    rejected(format!(
        "{} is outside of the workspace; use a path relative to the workspace, like \"README.md\" or \"docs/notes.md\", or \".\" for the workspace itself",
        path.display()
    ))
}

fn outside_but(path: &Path, relative: &str) -> ToolError {
    rejected(format!(
        "{} is outside of the workspace; use a path relative to the workspace: \"{relative}\"",
        path.display()
    ))
}

/// The absolute path without links of something that need not exist.
fn canonical(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::new();
    // What does not exist is no link either, so that `..` takes back the name before it.
    for component in path.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            component => {
                real.push(component);
                real = real.canonicalize().unwrap_or(real);
            }
        }
    }
    real
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_disk_is_nothing_a_model_can_help() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let Ok(mut full) = full else {
            eprintln!("SKIPPED a_full_disk_is_nothing_a_model_can_help: no /dev/full here");
            return;
        };
        let error = full.write_all(b"x").unwrap_err();
        let error = io_error("write", &"a.txt", &error);
        assert!(
            matches!(&error, ToolError::Fatal(m) if m.contains("the disk is full")),
            "{error:?}"
        );
    }

    #[test]
    fn a_path_below_a_folder_is_not_one_that_only_begins_alike() {
        let inside = |path: &str| Inside(path.to_owned());
        assert_eq!(inside("a/b/c").below(&inside("a")), Some("b/c"));
        assert_eq!(inside("a").below(&inside("a")), Some(""));
        assert_eq!(inside("a").below(&inside("")), Some("a"));
        assert_eq!(inside("ab").below(&inside("a")), None);
        assert_eq!(inside("a").below(&inside("a/b")), None);
    }

    #[test]
    fn what_does_not_exist_has_a_canonical_path_all_the_same() {
        assert_eq!(
            canonical(Path::new("/no/such/../folder")),
            Path::new("/no/folder")
        );
        assert_eq!(canonical(Path::new("/tmp/../no")), Path::new("/no"));
    }
}
