//! What a reversible call saves before it acts.
//!
//! ```text
//! undo/
//!   objects/3f/3fa9…      what was replaced, by the BLAKE3 hash of its content
//!   <run>/<call>.json     what the call changes, before and after
//! ```
//!
//! Both are on disk, synced, before a call touches anything. That serves twice: `gpak undo` puts
//! back what was, and a call that a crash interrupted can tell, when it is made again, whether it
//! was done. Reads and writes are private to the user, as the files they come from may be.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cap_std::fs::MetadataExt as _;
use gpak_kernel::{event::RunId, model::CallId, tool::ToolError};
use serde::{Deserialize, Serialize};

use crate::{
    builtin::blocking,
    workspace::{Inside, Place, Workspace, rejected},
};

mod chain;

pub use chain::Conflict;

/// Larger files are not saved, and so not changed, in bytes.
pub(crate) const SAVED_LIMIT: u64 = 256 * 1024 * 1024;

/// The folder of what undo needs.
#[derive(Debug, Clone)]
pub struct UndoStore {
    dir: PathBuf,
    /// Held while a call changes the workspace, so that a call that was cancelled and is made again
    /// waits for the rest of itself.
    changing: Arc<Mutex<()>>,
}

/// What is at a path, as far as it decides whether it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// A file with content of this hash.
    File(String),
    Folder,
}

/// What was at a path, and can be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) what: What,
    /// Permission bits.
    pub(crate) mode: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) path: Inside,
    pub(crate) before: Option<Saved>,
    pub(crate) after: Option<What>,
}

/// How a record is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// Each path gets back what it had.
    Replace,
    /// The second path's content goes back to the first.
    Move,
}

/// What a call changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) tool: String,
    pub(crate) manner: Manner,
    /// Empty if the call had nothing to change.
    pub(crate) changes: Vec<Change>,
    /// Folders it makes on the way, the outermost first.
    pub(crate) folders: Vec<Inside>,
    /// What the model is told once it is done.
    pub(crate) said: String,
    #[serde(default)]
    pub(crate) undone: bool,
}

/// How the workspace stands to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    After,
    Before,
    Neither,
}

impl UndoStore {
    /// The store in `dir`, which is made when first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            changing: Arc::default(),
        }
    }

    /// What was changed since by others, so that the run's calls cannot all be undone. Looks at the
    /// whole chain of `calls`, which are the run's finished reversible calls that are to be undone,
    /// newest first, and changes nothing.
    ///
    /// # Errors
    /// [`ToolError::Fatal`] if the workspace or the store cannot be read.
    pub async fn conflicts(
        &self,
        run: RunId,
        calls: &[CallId],
        workspace: &Path,
    ) -> Result<Vec<Conflict>, ToolError> {
        let calls: Vec<_> = calls.iter().map(|call| (run, *call)).collect();
        self.conflicts_of(&calls, workspace).await
    }

    /// The same for calls of several runs in one workspace: a run and those that it started.
    ///
    /// # Errors
    /// As [`UndoStore::conflicts`].
    pub async fn conflicts_of(
        &self,
        calls: &[(RunId, CallId)],
        workspace: &Path,
    ) -> Result<Vec<Conflict>, ToolError> {
        let (store, calls, path) = (self.clone(), calls.to_vec(), workspace.to_owned());
        blocking(move |_| {
            let workspace = Workspace::open(&path, &[])?;
            let mut records = Vec::new();
            for (run, call) in calls {
                records.push((call, store.get(&run, &call)?));
            }
            let now =
                |path: &Inside| match workspace.place_again(path).and_then(|place| look(&place)) {
                    Ok(now) => Ok(now),
                    Err(fatal @ ToolError::Fatal(_)) => Err(fatal),
                    // What stands in the way of the place is not what was there.
                    Err(_) => Ok(None),
                };
            chain::conflicts(&records, &now)
        })
        .await
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves what is at `place`.
    pub(crate) fn save(&self, place: &Place) -> Result<Option<Saved>, ToolError> {
        let Some(metadata) = place.metadata()? else {
            return Ok(None);
        };
        let mode = metadata.mode();
        if metadata.is_dir() {
            return Ok(Some(Saved {
                what: What::Folder,
                mode,
            }));
        }
        if metadata.len() > SAVED_LIMIT {
            return Err(rejected(format!(
                "{} has {} bytes; files over {SAVED_LIMIT} bytes are not changed by tools, as undo could not keep them",
                place.path(),
                metadata.len()
            )));
        }
        let hash = self.keep(&mut place.open()?).map_err(|e| self.broken(&e))?;
        Ok(Some(Saved {
            what: What::File(hash),
            mode,
        }))
    }

    /// What was saved under `hash`, read in full before anything relies on it.
    pub(crate) fn saved(&self, hash: &str) -> Result<Vec<u8>, ToolError> {
        let path = self.object(hash);
        let bytes = fs::read(&path).map_err(|e| {
            rejected(format!(
                "what undo needs cannot be read ({}: {e})",
                path.display()
            ))
        })?;
        if blake3::hash(&bytes).to_hex().as_str() != hash {
            return Err(rejected(format!(
                "what undo needs is damaged ({})",
                path.display()
            )));
        }
        Ok(bytes)
    }

    pub(crate) fn get(&self, run: &RunId, call: &CallId) -> Result<Option<Record>, ToolError> {
        let path = self.record(run, call);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.broken(&e)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            ToolError::Fatal(format!(
                "the undo record {} is damaged ({e}); move it away to go on without undo for this call",
                path.display()
            ))
        })
    }

    pub(crate) fn put(&self, run: &RunId, call: &CallId, record: &Record) -> Result<(), ToolError> {
        let write = || {
            let bytes = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
            let (temp, mut file) = self.temp()?;
            let written = file.write_all(&bytes).and_then(|()| file.sync_all());
            let path = self.record(run, call);
            finish(&temp, &path, written)
        };
        write().map_err(|e| self.broken(&e))
    }

    /// Forgets a call that changed nothing.
    pub(crate) fn remove(&self, run: &RunId, call: &CallId) {
        let _ = fs::remove_file(self.record(run, call));
    }

    fn keep(&self, content: &mut impl Read) -> io::Result<String> {
        let (temp, mut file) = self.temp()?;
        let mut hasher = blake3::Hasher::new();
        let written = copy_hashed(content, &mut file, &mut hasher).and_then(|()| file.sync_all());
        let hash = hasher.finalize().to_hex().to_string();
        finish(&temp, &self.object(&hash), written)?;
        Ok(hash)
    }

    fn object(&self, hash: &str) -> PathBuf {
        self.dir
            .join("objects")
            .join(hash.get(..2).unwrap_or("00"))
            .join(hash)
    }

    fn record(&self, run: &RunId, call: &CallId) -> PathBuf {
        self.dir.join(run.to_string()).join(format!("{call}.json"))
    }

    fn temp(&self) -> io::Result<(PathBuf, fs::File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = self.dir.join("tmp");
        make_folder(&dir)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}-{count}", std::process::id()));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        Ok((path, file))
    }

    fn broken(&self, error: &io::Error) -> ToolError {
        let why = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "the disk is full; free some space".to_owned()
            }
            _ => format!("{error}; make that folder usable"),
        };
        ToolError::Fatal(format!(
            "what undo needs cannot be kept in {}: {why}, then resume the run",
            self.dir.display()
        ))
    }
}

impl Record {
    pub(crate) fn stands(&self, workspace: &Workspace) -> Result<Stands, ToolError> {
        let mut now = Vec::new();
        for change in &self.changes {
            now.push(look(&workspace.place_again(&change.path)?)?);
        }
        let is = |state: fn(&Change) -> Option<&What>| {
            self.changes
                .iter()
                .zip(&now)
                .all(|(change, now)| state(change) == now.as_ref())
        };
        Ok(match () {
            () if is(|change| change.after.as_ref()) => Stands::After,
            () if is(Change::was) => Stands::Before,
            () => Stands::Neither,
        })
    }

    /// The paths it changes, for people.
    pub(crate) fn paths(&self) -> String {
        let paths: Vec<_> = self
            .changes
            .iter()
            .map(|change| change.path.to_string())
            .collect();
        paths.join(" or ")
    }
}

impl Change {
    pub(crate) fn was(&self) -> Option<&What> {
        self.before.as_ref().map(|saved| &saved.what)
    }
}

/// What is at `place` now.
pub(crate) fn look(place: &Place) -> Result<Option<What>, ToolError> {
    let Some(metadata) = place.metadata()? else {
        return Ok(None);
    };
    if metadata.is_dir() {
        return Ok(Some(What::Folder));
    }
    if !metadata.is_file() {
        return Err(rejected(format!(
            "{} is neither a file nor a folder",
            place.path()
        )));
    }
    let mut hasher = blake3::Hasher::new();
    copy_hashed(&mut place.open()?, &mut io::sink(), &mut hasher)
        .map_err(|e| rejected(format!("cannot read {}: {e}", place.path())))?;
    Ok(Some(What::File(hasher.finalize().to_hex().to_string())))
}

fn copy_hashed(
    from: &mut impl Read,
    to: &mut impl Write,
    hasher: &mut blake3::Hasher,
) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = crate::text::read_some(from, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        hasher.update(bytes);
        to.write_all(bytes)?;
    }
}

/// Gives a file that was written and synced its name, or clears it away.
fn finish(temp: &Path, path: &Path, written: io::Result<()>) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let done = written
        .and_then(|()| make_folder(parent))
        .and_then(|()| fs::rename(temp, path));
    if done.is_err() {
        let _ = fs::remove_file(temp);
    }
    done.and_then(|()| fs::File::open(parent)?.sync_all())
}

/// Makes a folder that a crash does not take back.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_folder(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => fs::File::open(parent)?.sync_all(),
    }
}
