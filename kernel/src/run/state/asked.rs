//! What can be asked of a run's state.

use super::{Stage, State, Turn};
use crate::{
    event::CallOutcome,
    label::Label,
    memory::Hit,
    model::{CallId, Reply, ToolCall},
    policy::Spent,
    tool::{Call, Control, Effect, ToolSpec},
};

impl State {
    /// How far all is trusted that the mind was shown.
    pub fn trust(&self) -> Label {
        let recalled = self.recalled.iter().map(|hit| &hit.episode.label);
        let said = self.turns.iter().flat_map(|turn| match turn {
            Turn::Said { label, .. } => vec![label],
            Turn::Replied { results, .. } => {
                results.iter().flatten().map(|(_, label)| label).collect()
            }
        });
        let all = recalled.chain(said);
        all.fold(Label::Own, |trust, label| trust.or_less_trusted(label))
    }

    /// Whether it is a conversation.
    pub fn is_conversation(&self) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.conversation)
    }

    /// The answer that a conversation's user has not replied to: what the last reply finished with, or
    /// its text. What was noted behind it, while the run was paused, changes nothing.
    pub fn answer(&self) -> Option<&str> {
        let is_said_by_others =
            |turn: &&Turn| !matches!(turn, Turn::Said { label, .. } if *label == Label::Own);
        match self.turns.iter().rev().find(is_said_by_others)? {
            Turn::Replied {
                number,
                reply,
                results,
            } if self.is_conversation() && *number > self.sent_back => {
                self.concludes(reply, results)
            }
            _ => None,
        }
    }

    /// The answer that a reply ends with, if it does.
    pub(in crate::run) fn concludes<'a>(
        &self,
        reply: &'a Reply,
        results: &'a [Option<(CallOutcome, Label)>],
    ) -> Option<&'a str> {
        if reply.calls.is_empty() {
            return Some(reply.text.trim()).filter(|answer| !answer.is_empty());
        }
        reply.calls.iter().zip(results).find_map(|(call, result)| {
            let control = self.tool(&call.name)?.control;
            match result {
                Some((CallOutcome::Done { output }, _)) if control == Some(Control::Finish) => {
                    Some(output.text.as_str())
                }
                _ => None,
            }
        })
    }

    /// Whether the user spoke after the calls of `reply` were made: then what is left of them is of no
    /// more interest.
    pub(in crate::run) fn is_overtaken(&self, reply: u32) -> bool {
        let last = self.messages.last();
        last.is_some_and(|(replies, _)| *replies >= reply)
    }

    /// What counts against the budget. Steps, tokens and time of a conversation count from its last
    /// message, so that a long one does not end for being long; money counts from its beginning.
    pub fn charged(&self) -> Spent {
        let mut charged = self.spent;
        if let Some((_, before)) = self.messages.last() {
            charged.steps = charged.steps.saturating_sub(before.steps);
            charged.tokens = charged.tokens.saturating_sub(before.tokens);
            charged.wall_ms = charged.wall_ms.saturating_sub(before.wall_ms);
        }
        charged
    }

    /// The call of that id.
    pub fn call(&self, id: CallId) -> Option<&ToolCall> {
        let turn = self.turns.iter().rev().find_map(|turn| match turn {
            Turn::Replied { number, reply, .. } if *number == id.reply => Some(reply),
            _ => None,
        });
        let made = turn.and_then(|reply| reply.calls.get(id.index as usize));
        made.or_else(|| self.own_call(id).map(|own| &own.call))
    }

    /// Replies up to this one are replaced by a digest.
    pub fn compacted_through(&self) -> u32 {
        self.compaction.as_ref().map_or(0, |done| done.through)
    }

    /// How many turns are replaced by a digest that goes through that reply: all in front of the first
    /// reply behind it, and no fewer than are replaced already.
    pub(crate) fn boundary(&self, through: u32) -> usize {
        let behind =
            |turn: &Turn| matches!(turn, Turn::Replied { number, .. } if *number > through);
        let boundary = self.turns.iter().position(behind);
        let already = self.compaction.as_ref().map_or(0, |done| done.turns);
        boundary.unwrap_or(self.turns.len()).max(already)
    }

    /// The first line of what the same call gave when it was made, with success, before `id`.
    pub fn done_before(&self, id: CallId, call: &ToolCall) -> Option<&str> {
        self.turns.iter().rev().find_map(|turn| {
            let Turn::Replied {
                number,
                reply,
                results,
            } = turn
            else {
                return None;
            };
            let mut made = reply.calls.iter().zip(results);
            let (_, result) = made.find(|(made, _)| *number < id.reply && *made == call)?;
            let (CallOutcome::Done { output }, _) = result.as_ref()? else {
                return None;
            };
            output.text.lines().next()
        })
    }

    /// Calls that can be undone and are not yet, newest first: those that were done, and those that may
    /// have been.
    pub fn undoable(&self) -> Vec<Call> {
        let mut calls = self.made(Effect::Reversible);
        calls.retain(|call| !self.compensated.contains(&call.id));
        calls.reverse();
        calls
    }

    /// Calls that were, or may have been, made and cannot be undone, oldest first.
    pub fn irreversible(&self) -> Vec<Call> {
        self.made(Effect::Irreversible)
    }

    /// Whether a call starts a run.
    pub fn starts_run(&self, name: &str) -> bool {
        self.tool(name)
            .is_some_and(|tool| tool.control == Some(Control::Delegate))
    }

    /// Whether the machine made that call by itself.
    pub(in crate::run) fn is_own(&self, id: CallId) -> bool {
        self.own_call(id).is_some()
    }

    /// Whether the run that a call started is the one at work.
    pub(in crate::run) fn is_at_work(&self, call: CallId) -> bool {
        self.child == Some(call)
    }

    /// The calls of such tools that were made, or may have been, oldest first.
    fn made(&self, wanted: Effect) -> Vec<Call> {
        let mut made = Vec::new();
        for turn in &self.turns {
            let Turn::Replied {
                number,
                reply,
                results,
            } = turn
            else {
                continue;
            };
            for (index, (call, result)) in (0..).zip(reply.calls.iter().zip(results)) {
                let id = CallId {
                    reply: *number,
                    index,
                };
                let outcome = result.as_ref().map(|(outcome, _)| outcome);
                let effect = self.tool(&call.name).map(|tool| tool.effect);
                if effect == Some(wanted) && self.was_made(id, call, outcome) {
                    made.push(as_made(id, call));
                }
            }
        }
        let own = self.own.iter().filter(|own| own.effect() == wanted);
        let own = own.filter(|own| self.was_made(own.id, &own.call, own.outcome()));
        made.extend(own.map(|own| as_made(own.id, &own.call)));
        made.sort_by_key(|call| call.id);
        made
    }

    fn was_made(&self, id: CallId, call: &ToolCall, outcome: Option<&CallOutcome>) -> bool {
        match outcome {
            Some(CallOutcome::Done { .. } | CallOutcome::Unknown { .. }) => true,
            // A run that did not do what it was to do may have done something.
            Some(CallOutcome::Failed { .. }) => self.starts_run(&call.name),
            Some(CallOutcome::Refused { .. }) => false,
            None => matches!(
                self.stage_of(id),
                Some(Stage::Started(_) | Stage::InDoubt(_))
            ),
        }
    }

    /// How many calls the last reply made.
    pub(in crate::run) fn calls_of_last_reply(&self) -> u32 {
        let calls = self.turns.iter().rev().find_map(|turn| match turn {
            Turn::Replied { reply, .. } => Some(reply.calls.len()),
            Turn::Said { .. } => None,
        });
        u32::try_from(calls.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The tool of that name.
    pub(crate) fn tool(&self, name: &str) -> Option<&ToolSpec> {
        let tools = &self.setup.as_ref()?.tools;
        tools.iter().find(|tool| tool.name == name)
    }

    /// What was recalled before the run began.
    pub fn recalled_first(&self) -> &[Hit] {
        self.recalled.get(..self.recalled_first).unwrap_or_default()
    }

    /// How far a call is that has not come to its end.
    pub(super) fn stage_of(&self, id: CallId) -> Option<Stage> {
        let open = self.open.iter().find(|open| open.id == id);
        let own = || self.own_call(id).map(|own| own.stage);
        open.map(|open| open.stage).or_else(own)
    }
}

fn as_made(id: CallId, call: &ToolCall) -> Call {
    Call {
        id,
        name: call.name.clone(),
        args: call.args.clone(),
        attempt: 1,
    }
}
