//! The workspace as a script sees it: what is on disk, and over it what the script has changed.

use std::{collections::BTreeMap, io::Read as _};

use cap_std::fs::MetadataExt as _;
use gpak_kernel::tool::ToolError;

use crate::{
    walk::{Globs, Kind, Walk, walk},
    workspace::{Inside, Workspace, rejected},
};

/// A file that is read or written by a script, in bytes.
const FILE_BYTES: u64 = 32 * 1024 * 1024;
/// What a script can stage, in bytes.
const STAGED_BYTES: usize = 128 * 1024 * 1024;
/// Files and folders of one listing.
const LISTED: usize = 20_000;

/// What a script leaves at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaves {
    File { bytes: Vec<u8>, mode: Option<u32> },
    Folder,
    Nothing,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    File { size: u64 },
    Folder,
}

pub(super) struct Staged {
    workspace: Workspace,
    pub(super) changes: BTreeMap<Inside, Leaves>,
    bytes: usize,
}

impl Staged {
    pub(super) fn new(workspace: Workspace) -> Self {
        Self {
            workspace,
            changes: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// A path as a script wrote it.
    pub(super) fn parse(&self, raw: &str) -> Result<Inside, ToolError> {
        self.workspace.parse(raw)
    }

    /// What is at `path`, if anything is.
    pub(super) fn look(&self, path: &Inside) -> Result<Option<Is>, ToolError> {
        if path.is_root() {
            return Ok(Some(Is::Folder));
        }
        match self.changes.get(path) {
            Some(Leaves::File { bytes, .. }) => {
                return Ok(Some(Is::File {
                    size: bytes.len() as u64,
                }));
            }
            Some(Leaves::Folder) => return Ok(Some(Is::Folder)),
            Some(Leaves::Nothing) => return Ok(None),
            None => {}
        }
        if self.holds_files(path) {
            return Ok(Some(Is::Folder));
        }
        let Ok(place) = self.workspace.locate(path) else {
            return Ok(None);
        };
        let Ok((_, metadata)) = self.workspace.open_located(&place) else {
            return Ok(None);
        };
        Ok(if metadata.is_dir() {
            Some(Is::Folder)
        } else if metadata.is_file() {
            Some(Is::File {
                size: metadata.len(),
            })
        } else {
            None
        })
    }

    /// Whether a file was put below `path`.
    fn holds_files(&self, path: &Inside) -> bool {
        self.changes.iter().any(|(file, leaves)| {
            matches!(leaves, Leaves::File { .. } | Leaves::Folder)
                && file.below(path).is_some_and(|rest| !rest.is_empty())
        })
    }

    /// A file's content and permission bits.
    pub(super) fn read(&self, path: &Inside) -> Result<(Vec<u8>, Option<u32>), ToolError> {
        match self.changes.get(path) {
            Some(Leaves::File { bytes, mode }) => return Ok((bytes.clone(), *mode)),
            Some(Leaves::Nothing) => {
                return Err(rejected(format!(
                    "there is no {path}: the script removed it"
                )));
            }
            Some(Leaves::Folder) => return Err(is_folder(path)),
            None => {}
        }
        if path.is_root() || self.holds_files(path) {
            return Err(is_folder(path));
        }
        let (file, metadata) = self.workspace.open_at(path)?;
        if metadata.is_dir() {
            return Err(is_folder(path));
        }
        if !metadata.is_file() {
            return Err(rejected(format!("{path} is no file that can be read")));
        }
        let mut bytes = Vec::new();
        let read = file.take(FILE_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|why| rejected(format!("cannot read {path}: {why}")))?;
        if bytes.len() as u64 > FILE_BYTES {
            return Err(rejected(format!(
                "{path} is larger than the {FILE_BYTES} bytes that a script can read"
            )));
        }
        Ok((bytes, Some(metadata.mode())))
    }

    /// Leaves a file at `path`.
    pub(super) fn write(
        &mut self,
        path: &Inside,
        bytes: Vec<u8>,
        mode: Option<u32>,
    ) -> Result<(), ToolError> {
        self.check_writable(path)?;
        if self.look(path)? == Some(Is::Folder) {
            return Err(is_folder(path));
        }
        let mut folder = path.parent();
        while let Some(above) = folder.filter(|above| !above.is_root()) {
            if let Some(Is::File { .. }) = self.look(&above)? {
                return Err(rejected(format!(
                    "{above} is a file, so nothing can be written in it"
                )));
            }
            folder = above.parent();
        }
        self.bytes += bytes.len();
        if self.bytes > STAGED_BYTES {
            return Err(rejected(format!(
                "the script writes more than {STAGED_BYTES} bytes; write less at once"
            )));
        }
        let mode = mode.or_else(|| self.read(path).ok().and_then(|(_, mode)| mode));
        self.changes
            .insert(path.clone(), Leaves::File { bytes, mode });
        Ok(())
    }

    /// Leaves an empty folder at `path`, unless there is one.
    pub(super) fn make_folder(&mut self, path: &Inside) -> Result<(), ToolError> {
        match self.look(path)? {
            Some(Is::Folder) => return Ok(()),
            Some(Is::File { .. }) => return Err(rejected(format!("{path} is a file"))),
            None => {}
        }
        self.check_writable(path)?;
        self.changes.insert(path.clone(), Leaves::Folder);
        Ok(())
    }

    /// Leaves nothing at `path`.
    pub(super) fn remove(&mut self, path: &Inside, recursive: bool) -> Result<(), ToolError> {
        match self.look(path)? {
            None => return Err(rejected(format!("there is no {path} to remove"))),
            Some(Is::File { .. }) => {
                self.check_writable(path)?;
                self.changes.insert(path.clone(), Leaves::Nothing);
                return Ok(());
            }
            Some(Is::Folder) => self.check_writable(path)?,
        }
        let inside = self.list(path, true, None)?;
        if !inside.is_empty() && !recursive {
            return Err(rejected(format!(
                "{path} is a folder and not empty; remove what is in it first"
            )));
        }
        for (inner, _) in inside {
            self.check_writable(&inner)?;
            self.changes.insert(inner, Leaves::Nothing);
        }
        self.changes.insert(path.clone(), Leaves::Nothing);
        Ok(())
    }

    /// Moves or copies a file, or a folder with all that is in it, to where nothing is.
    pub(super) fn carry(
        &mut self,
        from: &Inside,
        to: &Inside,
        keep: bool,
    ) -> Result<(), ToolError> {
        let Some(is) = self.look(from)? else {
            // Says what is there instead.
            return self.read(from).map(drop);
        };
        if from == to {
            return Ok(());
        }
        if to.below(from).is_some() {
            return Err(rejected(format!("{from} cannot be put into itself ({to})")));
        }
        let files = match is {
            Is::File { .. } => vec![(from.clone(), to.clone())],
            Is::Folder => {
                let inside = self.list(from, true, None)?;
                let files = inside.into_iter().filter(|(_, is)| *is != Is::Folder);
                let carried = files.filter_map(|(path, _)| {
                    let to = to.join(path.below(from)?);
                    Some((path, to))
                });
                carried.collect()
            }
        };
        for (from, to) in &files {
            let (bytes, mode) = self.read(from)?;
            self.write(to, bytes, mode)?;
        }
        if !keep {
            self.remove(from, true)?;
        }
        Ok(())
    }

    /// What is in a folder, in order of names: files and folders, those that `.gitignore` leaves out
    /// excepted where it goes deep.
    pub(super) fn list(
        &self,
        folder: &Inside,
        recursive: bool,
        glob: Option<&str>,
    ) -> Result<Vec<(Inside, Is)>, ToolError> {
        match self.look(folder)? {
            Some(Is::Folder) => {}
            Some(Is::File { .. }) => {
                return Err(rejected(format!("{folder} is a file, not a folder")));
            }
            None => return self.read(folder).map(|_| Vec::new()),
        }
        let globs = |glob| Globs::new(&self.workspace, folder, glob);
        let globs = glob.map(globs).transpose()?;
        let mut found = BTreeMap::new();
        if let Ok(real) = self.workspace.locate(folder) {
            let walked = Walk {
                recursive,
                globs: None,
            };
            walk(&self.workspace, &real, &walked, |one| {
                let is = match one.kind {
                    Kind::Folder => Is::Folder,
                    _ => match self.workspace.open_at(&one.path) {
                        Ok((_, metadata)) if metadata.is_file() => Is::File {
                            size: metadata.len(),
                        },
                        _ => return Ok(true),
                    },
                };
                let path = match one.path.below(&real) {
                    Some(rest) => folder.join(rest),
                    None => one.path,
                };
                found.insert(path, is);
                Ok(found.len() < LISTED)
            })?;
        }
        for (path, leaves) in &self.changes {
            let Some(rest) = path.below(folder).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            match leaves {
                Leaves::Nothing => {
                    found.remove(path);
                }
                Leaves::Folder | Leaves::File { .. } => {
                    let mut above = folder.clone();
                    let mut names = rest.split('/').peekable();
                    while let Some(name) = names.next() {
                        above = above.join(name);
                        let is = match (names.peek(), leaves) {
                            (None, Leaves::File { bytes, .. }) => Is::File {
                                size: bytes.len() as u64,
                            },
                            _ => Is::Folder,
                        };
                        found.insert(above.clone(), is);
                        if !recursive {
                            break;
                        }
                    }
                }
            }
        }
        let matches = |path: &Inside, is: Is| match &globs {
            None => true,
            Some(globs) => {
                is != Is::Folder && globs.match_file(&self.workspace.real().join(path.as_path()))
            }
        };
        let listed = found.into_iter().filter(|(path, is)| matches(path, *is));
        Ok(listed.collect())
    }

    fn check_writable(&self, path: &Inside) -> Result<(), ToolError> {
        if path.is_root() {
            return Err(rejected(
                "\".\" is the workspace itself; name a file in it".to_owned(),
            ));
        }
        match self.workspace.protection(path) {
            Some(why) => Err(rejected(why)),
            None => Ok(()),
        }
    }
}

fn is_folder(path: &Inside) -> ToolError {
    rejected(format!("{path} is a folder, not a file"))
}
