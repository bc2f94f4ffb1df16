//! How a run ends, and what stands in the way of it.

use super::{
    Machine, Next, Waiting,
    calls::{done, finished, refusal, refuse, shown},
    record,
};
use crate::{
    event::{CallOutcome, Event, Outcome, PauseReason, Purpose, Refusal, RunSpec, Strategy},
    label::Label,
    model::{CallId, ToolCall},
    run::{
        check::{self, Checked},
        state::Turn,
        unfinished,
    },
    strategy::plan,
};

/// What stands in the way of ending a run.
enum Objection {
    /// Something is to be done first.
    Act(Next),
    /// The end is refused, and the model told why.
    Refuse(Refusal, String, Label),
}

impl Machine {
    pub(super) fn finish(
        &self,
        spec: &RunSpec,
        id: CallId,
        call: &ToolCall,
        answer: String,
    ) -> Next {
        if let Some(message) = self.unfinished(id) {
            return refuse(id, &call.name, Refusal::Unfinished, message);
        }
        match self.objection(spec) {
            None => {}
            Some(Objection::Act(next)) => return next,
            Some(Objection::Refuse(by, message, from)) => {
                let outcome = CallOutcome::Refused { by, message };
                return record(finished(id, &call.name, outcome, from));
            }
        }
        let mut events = vec![done(id, call, answer, Label::Own)];
        for later in self.state.open.iter().filter(|open| open.id > id) {
            let name = self.state.call(later.id).map_or("", |call| &call.name);
            let message = "the run ended before it".to_owned();
            events.push(refusal(later.id, name, Refusal::Finished, message));
        }
        Next::Record(events)
    }

    /// Why a run had better not end yet. It is told so once, for a small model gives up at the first error
    /// and says that it did what it did not; if it finishes again, that is its answer.
    fn unfinished(&self, finish: CallId) -> Option<String> {
        let progress = &self.state.progress;
        if progress.was_sent_back {
            return None;
        }
        if let Some(failed) = progress.failed_change.filter(|failed| *failed < finish) {
            let name = &self.state.call(failed)?.name;
            let error = shown(self.result(failed).unwrap_or_default());
            return Some(format!(
                "not yet: {name} did not work, so what it was to change is not changed. It said:\n{error}\n\
                 Make the change in another way, or finish again and say that it could not be made."
            ));
        }
        let missing = unfinished::missing(&self.state)?;
        Some(format!(
            "not yet: the task names {missing}, which is not there. Write it if the task asks for it, or finish \
             again."
        ))
    }

    /// A reply that finished, or has no calls, is the end, or in a conversation the user's turn; one
    /// without anything, or whose answer does not pass, is sent back.
    pub(super) fn conclusion(&self, spec: &RunSpec) -> Option<Next> {
        let state = &self.state;
        let mut replies = state.turns.iter().rev().filter_map(|turn| match turn {
            Turn::Replied { reply, results, .. } => Some((reply, results)),
            Turn::Said { .. } => None,
        });
        let (reply, results) = replies.next()?;
        // What sensors tell behind a reply does not open again what it ended, or a run whose body notices
        // something all the time would never end.
        let last = state.turns.iter().rev().find(|turn| !is_noticed(turn));
        let is_last = matches!(last, Some(Turn::Replied { .. }));
        let is_text = reply.calls.is_empty();
        if is_text && state.strategy == Strategy::Search {
            return None;
        }
        let answer = match state.is_conversation() {
            true => state.answer(),
            false if is_last => state.concludes(reply, results),
            false => None,
        };
        let Some(answer) = answer else {
            return (is_last && is_text).then(|| {
                record(Event::MessageReceived {
                    text: "Your reply was empty. Call a tool, or finish with your answer.".into(),
                    from: Label::Own,
                })
            });
        };
        // A call that finished has passed already.
        match self.objection(spec).filter(|_| is_text) {
            None => {}
            Some(Objection::Act(next)) => return Some(next),
            Some(Objection::Refuse(_, text, from)) => {
                return Some(record(Event::MessageReceived { text, from }));
            }
        }
        if state.is_conversation() {
            return Some(Next::Wait(Waiting::Message));
        }
        let answer = answer.to_owned();
        Some(record(Event::RunFinished {
            outcome: Outcome::Completed { answer },
        }))
    }

    /// What stands in the way of ending now: open items of a plan, or the task's check.
    fn objection(&self, spec: &RunSpec) -> Option<Objection> {
        if self.state.strategy == Strategy::Search {
            let message = "first say which of the tries is the best".to_owned();
            return Some(Objection::Refuse(Refusal::Finished, message, Label::Own));
        }
        if let Some(open) = plan::open(&self.state) {
            return Some(Objection::Refuse(Refusal::Plan, open, Label::Own));
        }
        match check::of(&self.state, spec) {
            Checked::Passed => None,
            Checked::Due(call) => Some(Objection::Act(record(Event::CallsDecided {
                purpose: Purpose::Check,
                calls: vec![call],
            }))),
            Checked::Failed(why) => {
                let from = Label::Tool(check::TOOL.to_owned());
                Some(Objection::Refuse(Refusal::Check, why, from))
            }
            Checked::Forbidden(reason) => Some(Objection::Act(self.failed(reason))),
        }
    }

    /// A run whose checks fail again and again ends; what it did stays.
    pub(super) fn next_of_checks(&self) -> Option<Next> {
        check::given_up(&self.state).map(|reason| self.failed(reason))
    }

    /// The run ends without an answer; a conversation waits for its user to put it right.
    pub(super) fn failed(&self, reason: String) -> Next {
        record(match self.state.is_conversation() {
            true => Event::RunPaused {
                reason: PauseReason::Stuck { message: reason },
            },
            false => Event::RunFinished {
                outcome: Outcome::Failed { reason },
            },
        })
    }
}

/// Whether it is something that became known from elsewhere, and no word of the user's, the machine's or of a
/// check that did not pass.
fn is_noticed(turn: &Turn) -> bool {
    matches!(turn, Turn::Said { label: Label::Tool(name), .. } if name != check::TOOL)
}
