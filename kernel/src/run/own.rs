//! Calls that the machine makes by itself: to check an outcome, or for its way of working.
//!
//! They are journaled, made and recovered like a model's calls, but the model is not shown them: it is
//! told what they came to. Each may be made again if it was in doubt: a check is there to be repeated,
//! and every step of a search finishes what was begun.

use super::state::{Stage, State};
use crate::{
    event::{CallOutcome, Purpose},
    label::Label,
    model::{CallId, ToolCall},
    tool::{Call, Effect},
};

/// A call that the machine makes by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnCall {
    /// Its id: numbered on behind the calls of the reply that was the last when it was decided.
    pub id: CallId,
    /// What it is for.
    pub purpose: Purpose,
    /// What is called.
    pub call: ToolCall,
    /// How far it is.
    pub stage: Stage,
    /// What came of it, and where that came from.
    pub result: Option<(CallOutcome, Label)>,
}

impl OwnCall {
    /// What it does to the workspace of the run.
    pub(super) fn effect(&self) -> Effect {
        match self.purpose {
            Purpose::Check => Effect::Irreversible,
            Purpose::Search if self.call.name == crate::strategy::search::ADOPT => {
                Effect::Reversible
            }
            Purpose::Search => Effect::Idempotent,
        }
    }

    /// Its outcome.
    pub fn outcome(&self) -> Option<&CallOutcome> {
        self.result.as_ref().map(|(outcome, _)| outcome)
    }
}

impl State {
    /// The call to make next of those that the machine decided on.
    pub(super) fn next_own(&self) -> Option<Call> {
        let open = self.own.iter().find(|own| own.result.is_none())?;
        let attempt = match open.stage {
            Stage::Started(times) | Stage::InDoubt(times) => times + 1,
            _ => 1,
        };
        Some(Call {
            id: open.id,
            name: open.call.name.clone(),
            args: open.call.args.clone(),
            attempt,
        })
    }

    /// Whether a call of the machine's own has not come to its end.
    pub(super) fn has_own_open(&self) -> bool {
        self.own.iter().any(|own| own.result.is_none())
    }

    /// The calls that the machine made since the last one for another purpose.
    pub(crate) fn own_since_other(&self, purpose: Purpose) -> &[OwnCall] {
        let other = self.own.iter().rposition(|own| own.purpose != purpose);
        let from = other.map_or(0, |at| at + 1);
        self.own.get(from..).unwrap_or_default()
    }

    pub(super) fn own_decided(&mut self, purpose: Purpose, calls: &[ToolCall]) {
        for call in calls {
            let id = CallId {
                reply: self.replies,
                index: self.next_index(),
            };
            self.own.push(OwnCall {
                id,
                purpose,
                call: call.clone(),
                stage: Stage::Made,
                result: None,
            });
        }
    }

    pub(super) fn own_mut(&mut self, id: CallId) -> Option<&mut OwnCall> {
        self.own.iter_mut().rev().find(|own| own.id == id)
    }

    pub(super) fn own_call(&self, id: CallId) -> Option<&OwnCall> {
        self.own.iter().rev().find(|own| own.id == id)
    }

    fn next_index(&self) -> u32 {
        let own = self.own.iter().filter(|own| own.id.reply == self.replies);
        let own = u32::try_from(own.count()).unwrap_or(u32::MAX);
        self.calls_of_last_reply().saturating_add(own)
    }
}
