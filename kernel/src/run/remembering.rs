//! What a driver does with memory: looks into it before a task or a message is worked on, and keeps in it
//! what came of that.
//!
//! A memory that fails never stops a run. What could not be recalled is an event and so is seen; what could
//! not be kept is in the journal still, and is said in the log.

use std::{sync::Arc, time::Duration};

use super::{driver::Drive, episodes};
use crate::{
    event::{Event, RunId},
    memory::{EpisodeId, Hit, Kind, Memory, MemoryError, Query},
};

/// How long a driver waits for its memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// How like the question a memory must be to be about it: a fact that shares words with it, anything else
/// that does, and what shares none. Between texts that have nothing to do with each other the static
/// embedder gives 0.3 to 0.65, the more the longer they are.
const ALIKE: [f32; 3] = [0.42, 0.55, 0.68];

/// Memories that are shown of their own accord, at most.
const SHOWN: usize = 6;

/// The memory of a driver, and whose it is.
#[derive(Clone)]
pub struct Remembering {
    /// Where things are kept.
    pub memory: Arc<dyn Memory>,
    /// Whose they are.
    pub namespace: String,
    /// Tokens that what is recalled of its own accord may take.
    pub tokens: usize,
}

impl Drive<'_> {
    /// What memory has to say to `asked`, as an event; nothing where it has nothing to say that the run does
    /// not know yet. A run that is a part of another one is told by that one what it must know.
    pub(super) async fn recalled(&mut self, asked: &str) -> Option<Event> {
        let remembering = self.driver.remembering.as_ref()?;
        if self.is_part() {
            return None;
        }
        let mut query = Query::new(asked, &remembering.namespace, self.driver.clock.now());
        query.filter.workspace = self.workspace();
        query.limit = SHOWN;
        query.tokens = Some(remembering.tokens);
        let event = |hits, failed| Event::MemoryRecalled { hits, failed };
        let (memory, run) = (remembering.memory.clone(), self.run);
        match in_time(memory.recall(&query)).await {
            Ok(mut hits) => {
                let state = self.machine.state();
                let is_told = |hit: &Hit| state.recalled.iter().any(|known| known.id == hit.id);
                let is_own = |hit: &Hit| hit.episode.origin.is_some_and(|it| it.run == run);
                hits.retain(|hit| is_about(hit) && !is_told(hit) && !is_own(hit));
                (!hits.is_empty()).then(|| event(hits, None))
            }
            Err(why) => Some(event(Vec::new(), Some(why.to_string()))),
        }
    }

    /// Keeps what the run has come to so far. Kept already is not kept again.
    pub(super) async fn remember(&mut self) {
        let Some(remembering) = &self.driver.remembering else {
            return;
        };
        if self.is_part() {
            return;
        }
        let kept = async {
            let entries = self.driver.journal.read(self.run, 1).await;
            let entries = entries.map_err(|why| MemoryError::Store(why.to_string()))?;
            remembering.keep(episodes::of(&entries)).await?;
            let recalled = &self.machine.state().recalled;
            let used: Vec<EpisodeId> = recalled.iter().map(|hit| hit.id).collect();
            if self.machine.state().outcome.is_some() && !used.is_empty() {
                remembering.memory.used(&used).await?;
            }
            remembering
                .memory
                .consolidate(self.driver.clock.now())
                .await
        };
        tell(self.run, in_time(kept).await.map(drop));
    }

    /// Keeps the steps that a compaction leaves out: those from behind `after` on.
    pub(super) async fn remember_steps(&mut self, after: u32) {
        let Some(remembering) = &self.driver.remembering else {
            return;
        };
        let through = self.machine.state().compacted_through();
        if through <= after || self.is_part() {
            return;
        }
        let kept = async {
            let entries = self.driver.journal.read(self.run, 1).await;
            let entries = entries.map_err(|why| MemoryError::Store(why.to_string()))?;
            let steps = episodes::of_steps(&entries, after, through);
            remembering.keep(steps).await
        };
        tell(self.run, in_time(kept).await);
    }

    fn is_part(&self) -> bool {
        let spec = self.machine.state().spec.as_ref();
        spec.is_none_or(|spec| spec.parent.is_some())
    }

    fn workspace(&self) -> Option<String> {
        let spec = self.machine.state().spec.as_ref()?;
        Some(spec.workspace.to_string_lossy().into_owned())
    }
}

impl Remembering {
    async fn keep(&self, mut episodes: Vec<crate::memory::Episode>) -> Result<(), MemoryError> {
        for episode in &mut episodes {
            episode.namespace.clone_from(&self.namespace);
        }
        if episodes.is_empty() {
            return Ok(());
        }
        self.memory.remember(episodes).await.map(drop)
    }
}

/// Whether a hit is about the question, and not just the nearest there is.
fn is_about(hit: &Hit) -> bool {
    let [fact, worded, bare] = ALIKE;
    let shares_words = hit.why.iter().any(|why| why.by == "words");
    hit.likeness
        >= match (shares_words, hit.episode.kind) {
            (true, Kind::Semantic) => fact,
            (true, _) => worded,
            (false, _) => bare,
        }
}

async fn in_time<T>(work: impl Future<Output = Result<T, MemoryError>>) -> Result<T, MemoryError> {
    let late = |_| {
        let seconds = PATIENCE.as_secs();
        MemoryError::Store(format!("the memory did not answer in {seconds} seconds"))
    };
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}

fn tell(run: RunId, kept: Result<(), MemoryError>) {
    if let Err(why) = kept {
        tracing::warn!("what run {run} came to is not in memory: {why}");
    }
}
