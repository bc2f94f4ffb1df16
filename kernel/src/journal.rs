//! The port to the append-only log of entries, and a log in memory.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::{
    entry::{ChainError, Entry, Head},
    event::{Event, RunId},
    run::Status,
};

/// Where entries are kept: the only truth about a run.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends entries of one run, all or none, durably.
    ///
    /// The first must be sealed behind the run's head: two drivers of one run cannot both win.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] if somebody else appended first.
    async fn append(&self, entries: &[Entry]) -> Result<(), JournalError>;

    /// The entries of `run` numbered `from` and up, each checked against the one before.
    ///
    /// # Errors
    /// [`JournalError::Chain`] at the first that is not what was sealed.
    async fn read(&self, run: RunId, from: u64) -> Result<Vec<Entry>, JournalError>;

    /// The entries of `run` numbered `from` and up, and each later one as it is appended, by whatever
    /// process. Ends after [`Event::RunFinished`].
    fn watch(&self, run: RunId, from: u64) -> EntryStream;

    /// The runs, newest first.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError>;

    /// Takes the run for this driver alone until the claim is dropped, or its process dies.
    ///
    /// # Errors
    /// [`JournalError::Busy`] if another driver has it.
    async fn claim(&self, run: RunId) -> Result<Claim, JournalError>;
}

/// Entries as they come.
pub type EntryStream = Pin<Box<dyn Stream<Item = Result<Entry, JournalError>> + Send>>;

/// Proof that nobody else drives a run; dropping it lets go.
pub struct Claim(#[allow(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl Claim {
    /// A claim that lasts as long as `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

/// Which runs are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Whose id begins so.
    pub prefix: Option<String>,
    /// With this status.
    pub status: Option<Status>,
    /// At most so many.
    pub limit: Option<usize>,
    /// None that is a part of another.
    pub whole: bool,
}

/// A line about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Its task.
    pub task: String,
    /// Its status.
    pub status: Status,
    /// When it was created.
    pub created: Timestamp,
    /// When its last entry was sealed.
    pub updated: Timestamp,
    /// How many entries it has.
    pub entries: u64,
    /// The run that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
}

impl RunSummary {
    /// The line about a run after `entry`, given the one before it. None where a run does not begin
    /// with its creation.
    pub fn after(before: Option<Self>, entry: &Entry) -> Option<Self> {
        let mut summary = match (before, &entry.event) {
            (Some(summary), _) => summary,
            (None, Event::RunCreated { spec }) => Self {
                run: entry.run,
                task: spec.task.clone(),
                status: Status::Pending,
                created: entry.time,
                updated: entry.time,
                entries: 0,
                parent: spec.parent.map(|parent| parent.run),
            },
            (None, _) => return None,
        };
        summary.status = summary.status.after(&entry.event);
        summary.updated = entry.time;
        summary.entries = entry.seq;
        Some(summary)
    }
}

/// Why a journal did not do it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another driver appended first.
    #[error("another process took run {run} over: entry {expected} is already written")]
    Conflict {
        /// The run.
        run: RunId,
        /// The number that was to be written.
        expected: u64,
    },
    /// Another driver has the run.
    #[error("run {run} is being driven by another process{}", holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Busy {
        /// The run.
        run: RunId,
        /// The other process, if known.
        holder: Option<u32>,
    },
    /// There is no such run.
    #[error("there is no run {0}; `gpak runs list` shows those there are")]
    NoRun(RunId),
    /// An entry is not what was sealed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The store cannot be used: what is wrong and what to do.
    #[error("{0}")]
    Store(String),
}

/// A journal in memory: for tests, for replay, and for runs that need not outlive their process.
#[derive(Clone, Default)]
pub struct MemoryJournal {
    runs: Arc<Mutex<HashMap<RunId, MemoryRun>>>,
}

struct MemoryRun {
    entries: Vec<Entry>,
    summary: Option<RunSummary>,
    length: watch::Sender<u64>,
    claim: Arc<Mutex<()>>,
}

impl Default for MemoryRun {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            summary: None,
            length: watch::channel(0).0,
            claim: Arc::default(),
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let mut runs = self.runs.lock().await;
        let stored = runs.entry(first.run).or_default();
        let mut head = stored.entries.last().map_or(Head::EMPTY, Entry::head);
        for entry in entries {
            if entry.seq != head.seq + 1 || entry.prev != head.hash || entry.run != first.run {
                return Err(JournalError::Conflict {
                    run: entry.run,
                    expected: entry.seq,
                });
            }
            head = entry.head();
        }
        for entry in entries {
            stored.summary = RunSummary::after(stored.summary.take(), entry);
            stored.entries.push(entry.clone());
        }
        stored.length.send_replace(head.seq);
        Ok(())
    }

    async fn read(&self, run: RunId, from: u64) -> Result<Vec<Entry>, JournalError> {
        let runs = self.runs.lock().await;
        let stored = runs.get(&run).ok_or(JournalError::NoRun(run))?;
        let wanted = stored.entries.iter().filter(|entry| entry.seq >= from);
        Ok(wanted.cloned().collect())
    }

    fn watch(&self, run: RunId, from: u64) -> EntryStream {
        let journal = self.clone();
        watch_by_reading(from, move |from| {
            let journal = journal.clone();
            async move {
                let mut length = {
                    let runs = journal.runs.lock().await;
                    let stored = runs.get(&run).ok_or(JournalError::NoRun(run))?;
                    stored.length.subscribe()
                };
                // The sender lives as long as the journal that this future holds.
                let _ = length.wait_for(|length| *length >= from).await;
                journal.read(run, from).await
            }
        })
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError> {
        let runs = self.runs.lock().await;
        let mut found: Vec<_> = runs
            .values()
            .filter_map(|stored| stored.summary.clone())
            .filter(|summary| filter.matches(summary))
            .collect();
        found.sort_by_key(|summary| std::cmp::Reverse(summary.created));
        found.truncate(filter.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn claim(&self, run: RunId) -> Result<Claim, JournalError> {
        let mut runs = self.runs.lock().await;
        let claim = runs.entry(run).or_default().claim.clone();
        let guard = claim.try_lock_owned();
        guard
            .map(Claim::new)
            .map_err(|_| JournalError::Busy { run, holder: None })
    }
}

impl RunFilter {
    /// Whether `summary` is meant, the limit aside.
    pub fn matches(&self, summary: &RunSummary) -> bool {
        let begins = |prefix: &String| summary.run.to_string().starts_with(prefix.as_str());
        self.prefix.as_ref().is_none_or(begins)
            && self.status.is_none_or(|status| summary.status == status)
            && !(self.whole && summary.parent.is_some())
    }
}

/// A [`Journal::watch`] made of reads: `next(from)` answers, once there are any, with the entries
/// numbered `from` and up.
pub fn watch_by_reading<F, R>(from: u64, next: F) -> EntryStream
where
    F: Fn(u64) -> R + Send + 'static,
    R: Future<Output = Result<Vec<Entry>, JournalError>> + Send + 'static,
{
    struct Watch<F> {
        from: u64,
        ready: std::vec::IntoIter<Entry>,
        over: bool,
        next: F,
    }
    let start = Watch {
        from: from.max(1),
        ready: Vec::new().into_iter(),
        over: false,
        next,
    };
    Box::pin(futures::stream::unfold(start, |mut watch| async move {
        loop {
            if let Some(entry) = watch.ready.next() {
                watch.from = entry.seq + 1;
                watch.over = matches!(entry.event, Event::RunFinished { .. });
                return Some((Ok(entry), watch));
            }
            if watch.over {
                return None;
            }
            match (watch.next)(watch.from).await {
                Ok(entries) => watch.ready = entries.into_iter(),
                Err(error) => {
                    watch.over = true;
                    return Some((Err(error), watch));
                }
            }
        }
    }))
}
