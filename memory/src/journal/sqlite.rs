//! The journal on SQLite.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::RunId,
    journal::{Claim, EntryStream, Journal, JournalError, RunFilter, RunSummary, watch_by_reading},
};
use tokio::sync::watch;

mod claim;
mod failure;
mod open;
mod payload;
mod rows;
mod schema;
mod worker;

use worker::Worker;

/// How often a watcher looks for entries of other processes. Those of its own wake it at once.
const POLL: Duration = Duration::from_millis(200);

/// A journal in one SQLite file. Clones share it.
///
/// All SQLite work is done by two threads, one that writes and one that reads, so a long read never
/// holds an append up. Dropping the last clone waits for work under way and closes the file.
///
/// Every method may be dropped at any await. An append that is dropped before its turn is not made;
/// one that is dropped later is made or not, whole. Whoever wants to know reads the run.
#[derive(Clone)]
pub struct SqliteJournal(Arc<Inner>);

/// Fields are dropped in this order: the writer closes the file last, and only then is the lock let go.
struct Inner {
    reader: Worker,
    writer: Worker,
    lengths: Arc<Lengths>,
    claims: PathBuf,
    _lock: Arc<open::Lock>,
}

/// A journal that was opened.
pub struct Opened {
    /// The journal.
    pub journal: SqliteJournal,
    /// What the user must be told: that a damaged file was found and where it is now.
    pub notice: Option<String>,
}

impl SqliteJournal {
    /// Opens `journal.db` in the folder `dir`, making both where they are missing. Blocks.
    ///
    /// # Errors
    /// [`JournalError::Store`], with what to do, if the folder or the file cannot be used, or the file
    /// is of a newer gpak or of another program.
    pub fn open(dir: &Path) -> Result<Opened, JournalError> {
        let open::Files {
            writer,
            reader,
            lock,
            notice,
        } = open::open(dir)?;
        let path = dir.join(open::FILE);
        let lock = Arc::new(lock);
        let journal = Self(Arc::new(Inner {
            reader: Worker::start("journal-reader", reader, &path, &lock)?,
            writer: Worker::start("journal-writer", writer, &path, &lock)?,
            lengths: Arc::default(),
            claims: dir.join("claims"),
            _lock: lock,
        }));
        Ok(Opened { journal, notice })
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        let Some(run) = entries.first().map(|entry| entry.run) else {
            return Ok(());
        };
        let entries = entries.to_vec();
        let lengths = Arc::clone(&self.0.lengths);
        let append = move |connection: &mut _| {
            let head = rows::append(connection, run, &entries)?;
            // Told from here, so that watchers learn of it even if nobody waits for the append.
            lengths.grew(run, head.seq);
            Ok(())
        };
        self.0.writer.run(append).await
    }

    async fn read(&self, run: RunId, from: u64) -> Result<Vec<Entry>, JournalError> {
        let read = move |connection: &mut _| rows::read(connection, run, from);
        self.0.reader.run(read).await
    }

    fn watch(&self, run: RunId, from: u64) -> EntryStream {
        let journal = self.clone();
        watch_by_reading(from, move |from| {
            let journal = journal.clone();
            async move {
                // Subscribed before the first look, so that nothing falls between the two.
                let mut length = journal.0.lengths.subscribe(run);
                let look = move |connection: &mut _| rows::head(connection, run);
                while journal.0.reader.run(look).await?.seq < from {
                    let grown = length.wait_for(|length| *length >= from);
                    // Late is no failure: another process may have appended.
                    let _ = tokio::time::timeout(POLL, grown).await;
                }
                journal.read(run, from).await
            }
        })
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError> {
        let filter = filter.clone();
        let list = move |connection: &mut _| rows::runs(connection, &filter);
        self.0.reader.run(list).await
    }

    async fn claim(&self, run: RunId) -> Result<Claim, JournalError> {
        let claims = self.0.claims.clone();
        let taken = tokio::task::spawn_blocking(move || claim::claim(&claims, run));
        let taken = taken
            .await
            .map_err(|e| JournalError::Store(format!("claiming run {run} was stopped: {e}")))?;
        taken.map(Claim::new)
    }
}

/// How long runs have become by appends of this process, for those that are being watched.
#[derive(Default)]
struct Lengths(Mutex<HashMap<RunId, watch::Sender<u64>>>);

impl Lengths {
    fn subscribe(&self, run: RunId) -> watch::Receiver<u64> {
        let mut lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lengths.retain(|_, length| length.receiver_count() > 0);
        lengths.entry(run).or_default().subscribe()
    }

    fn grew(&self, run: RunId, length: u64) {
        let lengths = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = lengths.get(&run) {
            sender.send_replace(length);
        }
    }
}
