//! Replay: the same entries must give the same decisions.
//!
//! [`check`] feeds a machine what a run's journal says came from outside (replies, results, the user)
//! and compares every decision with the one that was journaled. Nothing is executed. [`Recorded`]
//! replies what a run's mind replied, to do the run again for real.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{Machine, Next, Waiting};
use crate::{
    entry::Entry,
    event::{Event, Outcome},
    label::Label,
    model::{CallId, Deltas, Model, ModelError, ModelProfile, Reply, Request},
};

/// Where a replay came to another decision than the run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("entry {seq} was {journaled}, but this version would do otherwise: {decided}")]
pub struct Divergence {
    /// The entry.
    pub seq: u64,
    /// The type of its event.
    pub journaled: String,
    /// What the machine says now.
    pub decided: String,
}

/// Replays entries and compares each decision.
///
/// # Errors
/// At the first that differs.
pub fn check(entries: &[Entry]) -> Result<(), Divergence> {
    let mut replay = Replay {
        machine: Machine::fold([]),
        decided: VecDeque::new(),
        running: BTreeSet::new(),
    };
    for entry in entries {
        replay.check(entry).map_err(|decided| Divergence {
            seq: entry.seq,
            journaled: kind(&entry.event),
            decided,
        })?;
        replay.machine.apply(entry);
    }
    Ok(())
}

struct Replay {
    machine: Machine,
    /// Events that must come next, in this order.
    decided: VecDeque<Event>,
    /// Calls whose results may come now, in any order.
    running: BTreeSet<CallId>,
}

impl Replay {
    fn check(&mut self, entry: &Entry) -> Result<(), String> {
        if self.comes_from_outside(&entry.event) {
            return Ok(());
        }
        if self.decided.is_empty() {
            match self.machine.next() {
                Next::Record(events) => self.decided = events.into(),
                Next::Act(calls) => {
                    self.running = calls.iter().map(|call| call.id).collect();
                    let started = calls.into_iter().map(|call| Event::ToolStarted {
                        call: call.id,
                        tool: call.name,
                        attempt: call.attempt,
                    });
                    self.decided = started.collect();
                }
                next => return Self::check_answer(&next, &entry.event),
            }
        }
        match self.decided.pop_front() {
            Some(decided) if decided == entry.event => Ok(()),
            decided => Err(decided.map_or_else(String::new, |event| kind(&event))),
        }
    }

    /// Whatever a driver, a user or a tool may bring at this point.
    fn comes_from_outside(&mut self, event: &Event) -> bool {
        // Whatever is written while the run is paused, somebody beside it decided.
        if self.machine.state().paused.is_some() && !matches!(event, Event::RunResumed { .. }) {
            return true;
        }
        match event {
            Event::RunCreated { .. }
            | Event::RunRequested { .. }
            | Event::RunStarted { .. }
            | Event::ChildCharged { .. }
            | Event::Compensated { .. }
            | Event::MemoryRecalled { .. }
            | Event::ToolMade { .. }
            | Event::IdentityChanged { .. }
            | Event::NestedCalled { .. }
            | Event::Unknown(_) => true,
            Event::MessageReceived { from, .. } => *from != Label::Own,
            // A driver stopped, or another went on: what was decided before is decided anew.
            Event::RunPaused { .. } | Event::RunResumed { .. } => {
                self.decided.clear();
                self.running.clear();
                true
            }
            Event::ToolFinished { call, .. } if self.decided.is_empty() => {
                self.running.remove(call)
            }
            Event::ApprovalDecided { .. } => true,
            Event::RunFinished { outcome } => match outcome {
                Outcome::Cancelled => true,
                // Nobody could drive it.
                Outcome::Failed { .. } => self.machine.state().setup.is_none(),
                Outcome::Completed { .. } => false,
            },
            _ => false,
        }
    }

    fn check_answer(next: &Next, event: &Event) -> Result<(), String> {
        match (next, event) {
            (Next::Think { .. }, Event::ModelReplied { .. } | Event::ModelFailed { .. }) => Ok(()),
            (
                Next::Wait(Waiting::Approval { call, .. }),
                Event::ApprovalRequested { call: asked, .. },
            ) if call.id == *asked => Ok(()),
            (
                Next::Wait(Waiting::Question { call, .. }),
                Event::ToolFinished { call: asked, .. },
            ) if call.id == *asked => Ok(()),
            (Next::Think { .. }, _) => Err("ask the mind".to_owned()),
            (Next::Wait(waiting), _) => Err(format!("wait for {waiting:?}")),
            (Next::Done(outcome), _) => Err(format!("nothing; it is over: {outcome:?}")),
            (Next::Record(_) | Next::Act(_), _) => Ok(()),
        }
    }
}

/// The `type` of an event.
fn kind(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_default();
    let name = value.get("type").and_then(|name| name.as_str());
    name.unwrap_or("unknown").to_owned()
}

/// Replies what a run's mind replied.
pub struct Recorded {
    profile: ModelProfile,
    replies: Vec<Reply>,
    given: AtomicUsize,
}

impl Recorded {
    /// The mind of the run with these entries; None if none ever replied.
    pub fn of(entries: &[Entry]) -> Option<Self> {
        let profile = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::RunStarted { setup } => Some(setup.model.clone()),
            Event::RunResumed { setup, .. } => Some(setup.as_ref()?.model.clone()),
            _ => None,
        })?;
        let replies = entries.iter().filter_map(|entry| match &entry.event {
            Event::ModelReplied { reply } => Some(reply.clone()),
            _ => None,
        });
        let replies = replies.collect();
        Some(Self {
            profile,
            replies,
            given: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Model for Recorded {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, _: &Request, _: &mut dyn Deltas) -> Result<Reply, ModelError> {
        // Not counted in the request: its oldest replies may have been replaced by a digest.
        let next = self.given.fetch_add(1, Ordering::Relaxed);
        self.replies
            .get(next)
            .cloned()
            .ok_or_else(|| ModelError::Unusable {
                message: "the recorded run ends here; the replay went another way".to_owned(),
            })
    }
}
