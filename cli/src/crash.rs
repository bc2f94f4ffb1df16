//! Kills the process at an append, so that a test can try every instant a run may die at. Only in
//! builds with debug assertions: a release cannot be told to kill itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use gpak_kernel::{
    entry::Entry,
    event::RunId,
    journal::{Claim, EntryStream, Journal, JournalError, RunFilter, RunSummary},
};

/// Set to `before:N` or `after:N`: the process gets SIGKILL before or after its N-th append.
const VARIABLE: &str = "GPAK_TEST_KILL";

/// The journal, or one that kills the process.
pub fn wrap(journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
    let said = match cfg!(debug_assertions) {
        true => std::env::var(VARIABLE).unwrap_or_default(),
        false => String::new(),
    };
    let Some((when, number)) = said.split_once(':') else {
        return journal;
    };
    Arc::new(KillAt {
        journal,
        before: when == "before",
        left: AtomicUsize::new(number.parse().unwrap_or(usize::MAX)),
    })
}

struct KillAt {
    journal: Arc<dyn Journal>,
    before: bool,
    left: AtomicUsize,
}

fn kill() {
    // If the signal could not be sent, the test that asked for it fails.
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
}

#[async_trait]
impl Journal for KillAt {
    async fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        let now = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        if now && self.before {
            kill();
        }
        self.journal.append(entries).await?;
        if now {
            kill();
        }
        Ok(())
    }

    async fn read(&self, run: RunId, from: u64) -> Result<Vec<Entry>, JournalError> {
        self.journal.read(run, from).await
    }

    fn watch(&self, run: RunId, from: u64) -> EntryStream {
        self.journal.watch(run, from)
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, JournalError> {
        self.journal.runs(filter).await
    }

    async fn claim(&self, run: RunId) -> Result<Claim, JournalError> {
        self.journal.claim(run).await
    }
}
