//! What comes next in a run: decisions without IO, clock or randomness.

use serde_json::Value;

use super::{
    check::{self, Checked},
    progress,
    state::{OpenCall, Stage, State, Turn},
};
use crate::{
    context,
    entry::Entry,
    event::{
        CallOutcome, Decision, Event, Outcome, PauseReason, PlanItem, Purpose, Refusal, RunSpec,
        Strategy,
    },
    label::Label,
    model::{CallId, ModelError, Request, ToolCall},
    policy::{Gate, Verdict},
    strategy::{self, choose, plan, search},
    tool::{Call, Control, Effect, ToolOutput, ToolSpec},
};

/// How often a mind that fails for a passing reason is asked again.
const MODEL_RETRIES: usize = 3;

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
            .or_else(|| self.next_of_failures())
            .or_else(|| self.conclusion(spec))
            .or_else(|| self.next_of_checks())
            .or_else(|| self.next_of_progress())
            .or_else(|| strategy::next(state, spec, setup).map(Next::Record))
            .or_else(|| self.exhausted(spec))
            .or_else(|| context::compact(state, setup).map(record))
            .unwrap_or_else(|| Next::Think {
                request: context::assemble(state, spec, setup),
                after_ms: retry_after_ms(&state.model_failures),
            })
    }

    /// The call that the machine decided on by itself.
    fn next_of_own(&self, spec: &RunSpec) -> Option<Next> {
        let call = self.state.next_own()?;
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
        let is_over = spec.budget.time_left(&self.state.spent).is_zero();
        is_over.then(|| self.exhausted(spec)).flatten()
    }

    fn allowed(&self, spec: &RunSpec, id: CallId, call: &ToolCall) -> Next {
        if let Some(pause) = self.out_of_time(spec) {
            return pause;
        }
        let next = attempt(id, call, 1);
        if self.effect(&next) == Effect::Pure
            && let Some(before) = self.state.progress.repetition_of(call)
            && before.reply > self.state.compacted_through
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
    fn next_of_failures(&self) -> Option<Next> {
        let failures = &self.state.model_failures;
        let error = failures.last()?;
        if let ModelError::ContextOverflow { .. } = error
            && let Some(event) = context::compact_further(&self.state)
        {
            return Some(record(event));
        }
        if !error.is_transient() || failures.len() > MODEL_RETRIES {
            return Some(record(Event::RunPaused {
                reason: PauseReason::Model {
                    message: error.to_string(),
                },
            }));
        }
        None
    }

    /// A reply that finished, or has no calls, is the end; one without anything is sent back.
    fn conclusion(&self, spec: &RunSpec) -> Option<Next> {
        let Some(Turn::Replied { reply, results, .. }) = self.state.turns.last() else {
            return None;
        };
        for (call, result) in reply.calls.iter().zip(results) {
            if let (Some(Control::Finish), Some((CallOutcome::Done { output }, _))) =
                (self.gate.control(&call.name), result)
            {
                let answer = output.text.clone();
                return Some(record(Event::RunFinished {
                    outcome: Outcome::Completed { answer },
                }));
            }
        }
        if !reply.calls.is_empty() {
            return None;
        }
        let answer = reply.text.trim();
        if self.state.strategy == Strategy::Search {
            return None;
        }
        if answer.is_empty() {
            return Some(record(Event::MessageReceived {
                text: "Your reply was empty. Call a tool, or finish with your answer.".into(),
                from: Label::Own,
            }));
        }
        match self.objection(spec) {
            None => {}
            Some(Objection::Act(next)) => return Some(next),
            Some(Objection::Refuse(_, text, from)) => {
                return Some(record(Event::MessageReceived { text, from }));
            }
        }
        Some(record(Event::RunFinished {
            outcome: Outcome::Completed {
                answer: answer.to_owned(),
            },
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
            Checked::Forbidden(reason) => Some(Objection::Act(record(Event::RunFinished {
                outcome: Outcome::Failed { reason },
            }))),
        }
    }

    /// A run whose checks fail again and again ends; what it did stays.
    fn next_of_checks(&self) -> Option<Next> {
        let reason = check::given_up(&self.state)?;
        Some(record(Event::RunFinished {
            outcome: Outcome::Failed { reason },
        }))
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
            let reason = format!("no progress: {what}");
            return Some(record(Event::RunFinished {
                outcome: Outcome::Failed { reason },
            }));
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
        let message = spec.budget.exhausted(&self.state.spent)?;
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

/// How long to wait before a mind that failed so often in a row is asked again.
fn retry_after_ms(failures: &[ModelError]) -> u64 {
    match failures {
        []
        | [
            ..,
            ModelError::Malformed { .. } | ModelError::ContextOverflow { .. },
        ] => 0,
        [.., ModelError::RateLimited { after_ms: Some(ms) }] => *ms,
        [earlier @ .., _] => 1000 << (2 * earlier.len().min(5)),
    }
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

fn already_made(result: &str) -> String {
    const SHOWN: usize = 1500;
    let shown: String = result.chars().take(SHOWN).collect();
    let cut = if shown.len() < result.len() {
        "…"
    } else {
        ""
    };
    format!(
        "you already made this call; its result was:\n{shown}{cut}\nDo the next thing, or finish."
    )
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
