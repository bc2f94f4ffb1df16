//! What comes next in a run: decisions without IO, clock or randomness.

use std::time::Duration;

use serde_json::Value;

use super::{
    check::{self, Checked},
    progress,
    state::{OpenCall, Stage, State, Turn},
    unfinished,
};
use crate::{
    context,
    entry::Entry,
    event::{
        CallOutcome, Decision, Event, Outcome, PauseReason, PlanItem, Purpose, Refusal, RunSpec,
        Setup, Strategy,
    },
    label::Label,
    model::{
        CallId, ModelError, Request, ToolCall,
        resilience::{LONGEST_WAIT, backoff},
    },
    policy::{Gate, Verdict},
    strategy::{self, choose, plan, search},
    tool::{Call, Control, Effect, ToolOutput, ToolSpec},
};

/// How often a mind whose server fails for a passing reason is asked again: with the waits in between,
/// for a quarter of a minute on average.
const RETRIES: usize = 5;
/// How often one whose reply made no sense is, which nothing is waited for.
const RETRIES_AT_ONCE: usize = 3;

/// What a driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Write these down: the machine decided them.
    Record(Vec<Event>),
    /// Ask the mind.
    Think {
        /// What.
        request: Request,
        /// Milliseconds to wait before, where it has just failed.
        after_ms: u64,
    },
    /// Make these calls. Several only where all are pure, so that they may be made at once.
    Act(Vec<Call>),
    /// Wait for somebody.
    Wait(Waiting),
    /// Nothing: the run is over.
    Done(Outcome),
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Waiting {
    /// A user's decision on a call.
    Approval {
        /// The call.
        call: Call,
        /// Why it needs one.
        reason: String,
    },
    /// A user's word on whether a call was made before the process died.
    InDoubt {
        /// The call.
        call: Call,
    },
    /// A user's answer.
    Question {
        /// The call that asks.
        call: Call,
        /// What it asks.
        text: String,
    },
    /// A user's next message: a conversation answered the last one.
    Message,
    /// A driver: the run is new, or paused.
    Driver(Option<PauseReason>),
}

/// What stands in the way of ending a run.
enum Objection {
    /// Something is to be done first.
    Act(Next),
    /// The end is refused, and the model told why.
    Refuse(Refusal, String, Label),
}

/// Decides what comes next.
pub struct Machine {
    state: State,
    gate: Gate,
}

impl Machine {
    /// The machine of a run with these entries.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let state = State::fold(entries);
        let gate = Gate::new(state.setup.as_ref().map_or(&[], |setup| &setup.tools));
        Self { state, gate }
    }

    /// What is known of the run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in an entry that was journaled.
    pub fn apply(&mut self, entry: &Entry) {
        self.state.apply(entry);
        let brings_tools = match &entry.event {
            Event::RunStarted { .. } => true,
            Event::RunResumed { setup, .. } => setup.is_some(),
            _ => false,
        };
        if let (true, Some(setup)) = (brings_tools, &self.state.setup) {
            self.gate = Gate::new(&setup.tools);
        }
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        let state = &self.state;
        if let Some(outcome) = &state.outcome {
            return Next::Done(outcome.clone());
        }
        let (Some(spec), Some(setup), None) = (&state.spec, &state.setup, &state.paused) else {
            return Next::Wait(Waiting::Driver(state.paused.clone()));
        };
        self.next_of_own(spec)
            .or_else(|| self.next_of_calls(spec))
            .or_else(|| self.next_of_failures(spec, setup))
            .or_else(|| self.conclusion(spec))
            .or_else(|| self.next_of_checks())
            .or_else(|| self.next_of_progress())
            .or_else(|| strategy::next(state, spec, setup).map(Next::Record))
            .or_else(|| self.exhausted(spec))
            .or_else(|| context::due(state, spec, setup).map(record))
            .unwrap_or_else(|| Next::Think {
                request: context::assemble(state, spec, setup),
                after_ms: in_ms(self.wait().unwrap_or_default()),
            })
    }

    /// The call that the machine decided on by itself.
    fn next_of_own(&self, spec: &RunSpec) -> Option<Next> {
        let call = self.state.next_own()?;
        if self.state.is_overtaken(call.id.reply) {
            let message = "not made: the user said something else first".into();
            return Some(refuse(call.id, &call.name, Refusal::User, message));
        }
        Some(self.out_of_time(spec).unwrap_or(Next::Act(vec![call])))
    }

    /// The calls of the last reply, in the order they were made.
    fn next_of_calls(&self, spec: &RunSpec) -> Option<Next> {
        let mut batch = Vec::new();
        for open in &self.state.open {
            let next = self.next_of_call(spec, *open);
            let pure = match &next {
                Next::Act(calls) => calls.iter().all(|call| self.effect(call) == Effect::Pure),
                _ => false,
            };
            match next {
                Next::Act(calls) if pure => batch.extend(calls),
                next if batch.is_empty() => return Some(next),
                _ => break,
            }
        }
        if batch.is_empty() {
            return None;
        }
        Some(Next::Act(batch))
    }

    fn next_of_call(&self, spec: &RunSpec, open: OpenCall) -> Next {
        let Some(call) = self.state.call(open.id) else {
            return refuse(
                open.id,
                "",
                Refusal::UnknownTool,
                "it is in no reply".into(),
            );
        };
        if self.state.is_overtaken(open.id.reply) {
            return overtaken(open, call);
        }
        match open.stage {
            Stage::Made => self.judge(spec, open.id, call),
            Stage::Asked => {
                let reason = String::from("it was asked for before");
                let call = attempt(open.id, call, 1);
                Next::Wait(Waiting::Approval { call, reason })
            }
            Stage::Decided(decision, started) => decided(open.id, call, decision, started),
            Stage::Started(times) | Stage::InDoubt(times) => {
                self.in_doubt(spec, open.id, call, times)
            }
        }
    }

    fn judge(&self, spec: &RunSpec, id: CallId, call: &ToolCall) -> Next {
        let allowed = |tool: &str| self.state.allowed.contains(tool);
        match self
            .gate
            .judge(call, &spec.permissions, allowed, spec.attended)
        {
            Verdict::Refuse(by, message) => refuse(id, &call.name, by, message),
            Verdict::Ask(reason) => Next::Wait(Waiting::Approval {
                call: attempt(id, call, 1),
                reason,
            }),
            Verdict::Allow => match self.gate.control(&call.name) {
                Some(control) => self.control(spec, id, call, control),
                None => self.allowed(spec, id, call),
            },
        }
    }

    /// No call is begun once the time is used up.
    fn out_of_time(&self, spec: &RunSpec) -> Option<Next> {
        let is_over = spec.budget.time_left(&self.state.charged()).is_zero();
        is_over.then(|| self.exhausted(spec)).flatten()
    }

    fn allowed(&self, spec: &RunSpec, id: CallId, call: &ToolCall) -> Next {
        if let Some(pause) = self.out_of_time(spec) {
            return pause;
        }
        let next = attempt(id, call, 1);
        if self.effect(&next) == Effect::Pure
            && let Some(before) = self.state.progress.repetition_of(call)
            && before.reply > self.state.compacted_through()
            && before.reply < id.reply
        {
            let result = self.result(before).unwrap_or_default();
            return refuse(id, &call.name, Refusal::Repetition, already_made(result));
        }
        Next::Act(vec![next])
    }

    fn control(&self, spec: &RunSpec, id: CallId, call: &ToolCall, control: Control) -> Next {
        let text = |name| {
            let text = call.args.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        match control {
            Control::Delegate => self.allowed(spec, id, call),
            Control::Strategy | Control::Best => self.choice(id, call, control),
            Control::Finish => self.finish(spec, id, call, text("answer")),
            Control::Plan => {
                let items = call.args.get("items").cloned().unwrap_or_default();
                match serde_json::from_value::<Vec<PlanItem>>(items) {
                    Ok(plan) => {
                        let (plan, text) = plan::admit(&self.state, plan);
                        Next::Record(vec![
                            Event::PlanChanged { plan },
                            done(id, call, text, Label::Own),
                        ])
                    }
                    Err(why) => refuse(id, &call.name, Refusal::Schema, why.to_string()),
                }
            }
            Control::Pin => record(done(id, call, "kept in view".to_owned(), Label::Own)),
            Control::Ask if spec.attended => Next::Wait(Waiting::Question {
                call: attempt(id, call, 1),
                text: text("question"),
            }),
            Control::Ask => refuse(
                id,
                &call.name,
                Refusal::Permission,
                "nobody is there to answer; decide yourself and say in your answer what you assumed"
                    .into(),
            ),
        }
    }

    fn finish(&self, spec: &RunSpec, id: CallId, call: &ToolCall, answer: String) -> Next {
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

    /// The model says how the task is done, or which try of it is the best.
    fn choice(&self, id: CallId, call: &ToolCall, control: Control) -> Next {
        if control == Control::Strategy {
            return match choose::decide(&self.state, call) {
                Ok((change, told)) => {
                    Next::Record(vec![change, done(id, call, told.to_owned(), Label::Own)])
                }
                Err(why) => refuse(id, &call.name, Refusal::Repetition, why),
            };
        }
        let best = call.args.get("best").and_then(Value::as_u64).unwrap_or(0);
        match u32::try_from(best) {
            Ok(way) if search::can_be_best(&self.state, way) => {
                record(done(id, call, "It is kept.".to_owned(), Label::Own))
            }
            _ => refuse(
                id,
                &call.name,
                Refusal::Schema,
                "there is no such try".into(),
            ),
        }
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
        let missing = unfinished::missing(&self.state).filter(|_| !progress.changed_anything())?;
        Some(format!(
            "not yet: the task names {missing}, which was not there, and nothing has been written. Write it \
             if the task asks for it, or finish again."
        ))
    }

    /// A call that was started, and the process died: it may have been made or not.
    fn in_doubt(&self, spec: &RunSpec, id: CallId, call: &ToolCall, times: u32) -> Next {
        let again = attempt(id, call, times + 1);
        match self.gate.tool(&call.name) {
            Some(tool) if can_be_made_again(tool) => Next::Act(vec![again]),
            _ if spec.attended => Next::Wait(Waiting::InDoubt { call: again }),
            _ => record(finished(
                id,
                &call.name,
                CallOutcome::Unknown {
                    message: format!(
                        "the outcome is unknown: gpak was stopped while this {} call was running. It \
                         may have been done or not; look before you do it again",
                        call.name
                    ),
                },
                Label::Own,
            )),
        }
    }

    /// What a mind that did not answer leads to.
    fn next_of_failures(&self, spec: &RunSpec, setup: &Setup) -> Option<Next> {
        let failures = &self.state.model_failures;
        let error = failures.last()?;
        if let ModelError::ContextOverflow { limit } = error {
            return Some(record(context::overflowed(
                &self.state,
                spec,
                setup,
                *limit,
            )));
        }
        let message = match (self.wait(), is_tried_again(failures)) {
            (Some(wait), true) => {
                let left = spec.budget.time_left(&self.state.charged());
                if wait < left || left.is_zero() {
                    return None;
                }
                format!(
                    "{error}, and only {} s of the run's time are left; go on once it is over",
                    left.as_secs()
                )
            }
            (None, true) => format!(
                "{error}; that is more than the {} min gpak waits by itself, so go on once it is over",
                LONGEST_WAIT.as_secs() / 60
            ),
            (_, false) => error.to_string(),
        };
        Some(record(Event::RunPaused {
            reason: PauseReason::Model { message },
        }))
    }

    /// How long to wait before the mind is asked, given how it failed so far; None if waiting is the
    /// user's to decide.
    fn wait(&self) -> Option<Duration> {
        match self.state.model_failures.as_slice() {
            [] => Some(Duration::ZERO),
            [earlier @ .., error] => {
                let attempt = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
                backoff(attempt, error, self.chance())
            }
        }
    }

    /// A number in `[0, 1)` that no two runs have in common and that a replay finds again: the hash of
    /// the last entry.
    fn chance(&self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let hash = self.state.head.map_or([0; 32], |head| head.hash.0);
        let first = hash.first_chunk().copied().unwrap_or_default();
        (u64::from_le_bytes(first) >> (u64::BITS - BITS)) as f64 / (1u64 << BITS) as f64
    }

    /// A reply that finished, or has no calls, is the end, or in a conversation the user's turn; one
    /// without anything, or whose answer does not pass, is sent back.
    fn conclusion(&self, spec: &RunSpec) -> Option<Next> {
        let state = &self.state;
        let mut replies = state.turns.iter().rev().filter_map(|turn| match turn {
            Turn::Replied { reply, results, .. } => Some((reply, results)),
            Turn::Said { .. } => None,
        });
        let (reply, results) = replies.next()?;
        let is_last = matches!(state.turns.last(), Some(Turn::Replied { .. }));
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
    fn next_of_checks(&self) -> Option<Next> {
        check::given_up(&self.state).map(|reason| self.failed(reason))
    }

    /// The run ends without an answer; a conversation waits for its user to put it right.
    fn failed(&self, reason: String) -> Next {
        record(match self.state.is_conversation() {
            true => Event::RunPaused {
                reason: PauseReason::Stuck { message: reason },
            },
            false => Event::RunFinished {
                outcome: Outcome::Failed { reason },
            },
        })
    }

    /// A run that gets nowhere first changes its way of working, then stops.
    fn next_of_progress(&self) -> Option<Next> {
        if self.state.strategy == Strategy::Search {
            return None;
        }
        let (repeats, failures) = (self.state.progress.repeats, self.state.progress.failures);
        let what = if repeats >= progress::REPEATS_TO_CHANGE {
            format!("the last {repeats} calls were made before and gave nothing new")
        } else if failures >= progress::FAILURES_TO_CHANGE {
            format!("the last {failures} calls did not work")
        } else {
            return None;
        };
        if repeats >= progress::REPEATS_TO_STOP || failures >= progress::FAILURES_TO_STOP {
            return Some(self.failed(format!("no progress: {what}")));
        }
        (self.state.strategy != Strategy::Explore).then(|| {
            record(Event::StrategyChanged {
                strategy: Strategy::Explore,
                reason: format!(
                    "You are not getting anywhere: {what}. Try another tool or other arguments, or \
                     finish with what you know."
                ),
                told: None,
            })
        })
    }

    fn exhausted(&self, spec: &RunSpec) -> Option<Next> {
        let message = spec.budget.exhausted(&self.state.charged())?;
        Some(record(Event::RunPaused {
            reason: PauseReason::Budget { message },
        }))
    }

    fn effect(&self, call: &Call) -> Effect {
        let tool = self.gate.tool(&call.name);
        tool.map_or(Effect::Irreversible, |tool| tool.effect)
    }

    fn result(&self, id: CallId) -> Option<&str> {
        self.state.turns.iter().find_map(|turn| match turn {
            Turn::Replied {
                number, results, ..
            } if *number == id.reply => {
                let (outcome, _) = results.get(id.index as usize)?.as_ref()?;
                Some(outcome.text())
            }
            _ => None,
        })
    }
}

/// Whether a mind that failed so in a row is asked again.
fn is_tried_again(failures: &[ModelError]) -> bool {
    match failures.last() {
        Some(ModelError::Malformed { .. }) => failures.len() <= RETRIES_AT_ONCE,
        Some(error) => error.is_transient() && failures.len() <= RETRIES,
        None => false,
    }
}

fn in_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

fn can_be_made_again(tool: &ToolSpec) -> bool {
    tool.resumable || matches!(tool.effect, Effect::Pure | Effect::Idempotent)
}

/// What the user's decision on a call leads to; it was started `started` times before.
fn decided(id: CallId, call: &ToolCall, decision: Decision, started: u32) -> Next {
    match decision {
        Decision::Allow | Decision::AllowForRun => Next::Act(vec![attempt(id, call, started + 1)]),
        Decision::Deny => refuse(
            id,
            &call.name,
            Refusal::User,
            "the user does not want this; do something else, or finish".into(),
        ),
        Decision::WasDone => {
            let text = "the user looked: it was done".to_owned();
            record(done(id, call, text, Label::User))
        }
    }
}

/// What becomes of a call that a user's message overtook.
fn overtaken(open: OpenCall, call: &ToolCall) -> Next {
    match open.stage {
        Stage::Started(_) | Stage::InDoubt(_) => record(finished(
            open.id,
            &call.name,
            CallOutcome::Unknown {
                message: format!(
                    "the user stopped this {} call while it was running; it may have been done in part",
                    call.name
                ),
            },
            Label::Own,
        )),
        Stage::Made | Stage::Asked | Stage::Decided(..) => refuse(
            open.id,
            &call.name,
            Refusal::User,
            "not made: the user said something else first".into(),
        ),
    }
}

fn already_made(result: &str) -> String {
    format!(
        "you already made this call; its result was:\n{}\nDo the next thing, or finish.",
        shown(result)
    )
}

/// The beginning of a result that is told again.
fn shown(result: &str) -> String {
    const SHOWN: usize = 1500;
    let shown: String = result.chars().take(SHOWN).collect();
    if shown.len() < result.len() {
        return format!("{shown}…");
    }
    shown
}

fn record(event: Event) -> Next {
    Next::Record(vec![event])
}

fn attempt(id: CallId, call: &ToolCall, attempt: u32) -> Call {
    Call {
        id,
        name: call.name.clone(),
        args: call.args.clone(),
        attempt,
    }
}

fn refuse(id: CallId, tool: &str, by: Refusal, message: String) -> Next {
    record(refusal(id, tool, by, message))
}

fn refusal(id: CallId, tool: &str, by: Refusal, message: String) -> Event {
    finished(id, tool, CallOutcome::Refused { by, message }, Label::Own)
}

fn done(id: CallId, call: &ToolCall, text: String, from: Label) -> Event {
    let output = ToolOutput::text(text);
    finished(id, &call.name, CallOutcome::Done { output }, from)
}

fn finished(call: CallId, tool: &str, outcome: CallOutcome, from: Label) -> Event {
    Event::ToolFinished {
        call,
        tool: tool.to_owned(),
        outcome,
        from,
        ms: 0,
    }
}
