//! What becomes of a call.

use serde_json::Value;

use super::{Machine, Next, Waiting, record};
use crate::{
    event::{CallOutcome, Decision, Event, PlanItem, Refusal, RunSpec},
    label::Label,
    model::{CallId, ToolCall},
    policy::Verdict,
    run::{
        astray,
        state::{OpenCall, Stage, Turn},
    },
    strategy::{choose, plan, search},
    tool::{Call, Control, Effect, ToolOutput, ToolSpec},
};

impl Machine {
    /// The calls of the last reply, in the order they were made.
    pub(super) fn next_of_calls(&self, spec: &RunSpec) -> Option<Next> {
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

    pub(super) fn next_of_call(&self, spec: &RunSpec, open: OpenCall) -> Next {
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

    /// Why a tool may not make that call by itself, if so. Nobody is asked on behalf of a tool.
    pub(in crate::run) fn refuses_nested(&self, call: &ToolCall) -> Option<String> {
        let allowed = |tool: &str| self.state.allowed.contains(tool);
        let Some(spec) = &self.state.spec else {
            return Some("the run has not begun".to_owned());
        };
        let is_pure = |tool: &ToolSpec| tool.effect == Effect::Pure && tool.control.is_none();
        match self.gate.judge(call, &spec.permissions, allowed, false) {
            Verdict::Refuse(_, message) | Verdict::Ask(message) => Some(message),
            Verdict::Allow if self.gate.tool(&call.name).is_some_and(is_pure) => None,
            Verdict::Allow => Some(format!(
                "{} is not pure, and tools call only what changes nothing",
                call.name
            )),
        }
    }

    fn allowed(&self, spec: &RunSpec, id: CallId, call: &ToolCall) -> Next {
        if let Some(pause) = self.out_of_time(spec) {
            return pause;
        }
        if let Some(before) = self.repeats(call)
            && before.reply > self.state.compacted_through()
            && before.reply < id.reply
        {
            let result = self.result(before).unwrap_or_default();
            return refuse(id, &call.name, Refusal::Repetition, already_made(result));
        }
        if let Some(why) = astray::told(&self.state, call) {
            return refuse(id, &call.name, Refusal::Astray, why);
        }
        Next::Act(vec![attempt(id, call, 1)])
    }

    /// The earlier call that this one repeats, if it can come to nothing new.
    fn repeats(&self, call: &ToolCall) -> Option<CallId> {
        let tool = self.gate.tool(&call.name).filter(|tool| !tool.observes)?;
        let (progress, setup) = (&self.state.progress, self.state.setup.as_ref()?);
        match tool.effect {
            Effect::Pure => progress.repetition_of(call),
            // Made twice is as made once; and a small model does again what it sees itself do, without end.
            Effect::Idempotent if !setup.model.native_tools => progress.done_before(call),
            _ => None,
        }
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

    fn effect(&self, call: &Call) -> Effect {
        let tool = self.gate.tool(&call.name);
        tool.map_or(Effect::Irreversible, |tool| tool.effect)
    }

    pub(super) fn result(&self, id: CallId) -> Option<&str> {
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
pub(super) fn shown(result: &str) -> String {
    const SHOWN: usize = 1500;
    let shown: String = result.chars().take(SHOWN).collect();
    if shown.len() < result.len() {
        return format!("{shown}…");
    }
    shown
}

fn attempt(id: CallId, call: &ToolCall, attempt: u32) -> Call {
    Call {
        id,
        name: call.name.clone(),
        args: call.args.clone(),
        attempt,
    }
}

pub(super) fn refuse(id: CallId, tool: &str, by: Refusal, message: String) -> Next {
    record(refusal(id, tool, by, message))
}

pub(super) fn refusal(id: CallId, tool: &str, by: Refusal, message: String) -> Event {
    finished(id, tool, CallOutcome::Refused { by, message }, Label::Own)
}

pub(super) fn done(id: CallId, call: &ToolCall, text: String, from: Label) -> Event {
    let output = ToolOutput::text(text);
    finished(id, &call.name, CallOutcome::Done { output }, from)
}

pub(super) fn finished(call: CallId, tool: &str, outcome: CallOutcome, from: Label) -> Event {
    Event::ToolFinished {
        call,
        tool: tool.to_owned(),
        outcome,
        from,
        ms: 0,
    }
}
