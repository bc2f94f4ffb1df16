//! What a driver is given besides a model, tools and a journal: who is asked, what time it is, who looks on.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{machine::Waiting, state::State};
use crate::{entry::Entry, event::Decision, label::Label, model::Delta};

/// Who the agent is, as its model is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    /// The version of the identity.
    pub version: u64,
    /// The system prompt.
    pub instructions: String,
}

/// Somebody who can be asked.
#[async_trait]
pub trait Human: Send + Sync {
    /// Asks for what the run waits for; `preview` shows what a call would change. None if nobody
    /// answers now: the run then waits.
    async fn ask(&self, waiting: &Waiting, preview: Option<&str>) -> Option<Answer>;

    /// What somebody said to the run meanwhile, unasked, in order. Looked for between two steps.
    fn said(&self) -> Vec<String> {
        Vec::new()
    }

    /// What became known to the run meanwhile from elsewhere (a sensor, a peer), and from where: it
    /// informs, and authorises nothing. Looked for between two steps.
    fn noticed(&self) -> Vec<(String, Label)> {
        Vec::new()
    }
}

/// What somebody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To an approval or a call in doubt, with a note for the model.
    Decision(Decision, String),
    /// To a question, or the next message of a conversation.
    Text(String),
}

/// There is nobody.
pub struct Nobody;

#[async_trait]
impl Human for Nobody {
    async fn ask(&self, _: &Waiting, _: Option<&str>) -> Option<Answer> {
        None
    }
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Looks on as a run is driven.
pub trait Observer: Send {
    /// An entry was appended; `state` is what is known of the run with it.
    fn entry(&mut self, entry: &Entry, state: &State);
    /// The mind is at work.
    fn delta(&mut self, delta: Delta<'_>);
}

/// Nobody looks on.
impl Observer for () {
    fn entry(&mut self, _: &Entry, _: &State) {}
    fn delta(&mut self, _: Delta<'_>) {}
}
