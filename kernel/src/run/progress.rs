//! Whether a run gets anywhere: repetition and failure, noticed from what came of its calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    entry::canonical,
    event::{CallOutcome, Refusal},
    model::{CallId, ToolCall},
    tool::{Effect, ToolSpec},
};

/// Repetitions in a row after which the way of working changes.
pub const REPEATS_TO_CHANGE: u32 = 3;
/// Repetitions in a row after which the run stops.
pub const REPEATS_TO_STOP: u32 = 6;

/// How many calls in a row may fail, each in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After so many the way of working changes.
    pub to_change: u32,
    /// After so many the run stops.
    pub to_stop: u32,
}

impl Patience {
    /// With most models.
    pub const OF_ABLE: Self = Self {
        to_change: 6,
        to_stop: 12,
    };
    /// With a model in this process, which goes on in circles where the others find another way.
    pub const OF_SMALL: Self = Self {
        to_change: 3,
        to_stop: 6,
    };
}

/// What the calls of a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls in a row that had been made before and gave nothing new.
    pub repeats: u32,
    /// Calls in a row that did not do what they were to do.
    pub failures: u32,
    /// The last call that was to change something, if it did not work and none did since.
    pub failed_change: Option<CallId>,
    /// Calls in a row that found nothing.
    pub empty: u32,
    /// Whether the run was kept from ending because of it.
    pub was_sent_back: bool,
    /// Whether a call was refused because it went astray.
    pub was_led_back: bool,
    /// Whether a call was kept from changing what it would have changed.
    pub was_withheld: bool,
    /// Tools of the calls that were refused, one after the other, because they had been made before.
    barred: BTreeSet<String>,
    /// Counts the calls that may have changed the world, or showed that it did.
    epoch: u32,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    id: CallId,
    epoch: u32,
    result: blake3::Hash,
    /// Whether it did all that it was to do.
    is_done: bool,
}

/// What a tool's calls are like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    effect: Effect,
    observes: bool,
}

impl From<&ToolSpec> for Nature {
    fn from(tool: &ToolSpec) -> Self {
        Self {
            effect: tool.effect,
            observes: tool.observes,
        }
    }
}

impl Progress {
    /// The earlier call that was the same, if nothing can have changed its result since.
    pub fn repetition_of(&self, call: &ToolCall) -> Option<CallId> {
        let seen = self.seen.get(&key(call))?;
        (seen.epoch == self.epoch).then_some(seen.id)
    }

    /// The earlier call that was the same and did what it was to do, if no other changed the world or showed
    /// another one since.
    pub fn done_before(&self, call: &ToolCall) -> Option<CallId> {
        let seen = self.seen.get(&key(call))?;
        (seen.is_done && seen.epoch == self.epoch).then_some(seen.id)
    }

    /// Tools that the next reply had better not call: it was told that it made the call before, and a
    /// small model that is told so makes the same call again.
    pub fn barred(&self) -> impl Iterator<Item = &str> {
        self.barred.iter().map(String::as_str)
    }

    pub(super) fn finished(
        &mut self,
        id: CallId,
        call: &ToolCall,
        tool: Option<Nature>,
        outcome: &CallOutcome,
    ) {
        if let CallOutcome::Refused {
            by: Refusal::Repetition,
            ..
        } = outcome
        {
            self.repeats += 1;
            self.barred.insert(call.name.clone());
            return;
        }
        let is_change = tool.is_some_and(|tool| tool.effect != Effect::Pure);
        match outcome {
            CallOutcome::Refused {
                by: Refusal::Unfinished,
                ..
            } => self.was_sent_back = true,
            CallOutcome::Refused {
                by: Refusal::Astray,
                ..
            } => self.was_led_back = true,
            CallOutcome::Failed { .. } if is_change => self.failed_change = Some(id),
            CallOutcome::Done { output } if is_change => {
                self.failed_change = None;
                self.was_withheld |= output.withheld;
            }
            _ => {}
        }
        let found_nothing = matches!(outcome, CallOutcome::Done { output } if output.empty);
        self.empty = if found_nothing { self.empty + 1 } else { 0 };
        let result = blake3::hash(outcome.text().as_bytes());
        let idle = matches!(outcome, CallOutcome::Done { output } if output.idle);
        let changes = outcome.is_done() && is_change && !idle;
        let is_same = |before: &Seen| before.result == result;
        let is_news = tool.is_some_and(|tool| tool.observes)
            && outcome.is_done()
            && !self.seen.get(&key(call)).is_some_and(is_same);
        self.epoch += u32::from(changes || is_news);
        let seen = Seen {
            id,
            epoch: self.epoch,
            result,
            is_done: matches!(outcome, CallOutcome::Done { output } if !output.goes_on),
        };
        let before = self.seen.insert(key(call), seen);
        if before.as_ref().is_some_and(is_same) {
            self.repeats += 1;
        } else {
            self.repeats = 0;
            self.barred.clear();
        }
        self.failures = if outcome.is_done() {
            0
        } else {
            self.failures + 1
        };
    }
}

/// A call, normalised: the order of arguments, white space around text and a `./` in front of a path
/// make no other call.
fn key(call: &ToolCall) -> String {
    format!("{} {}", call.name, canonical(&normal(&call.args)))
}

fn normal(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let text = text.trim();
            Value::from(text.strip_prefix("./").unwrap_or(text))
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::ToolOutput;
    use serde_json::json;

    fn call(name: &str, args: Value) -> ToolCall {
        ToolCall {
            name: name.into(),
            args,
        }
    }

    fn done(text: &str) -> CallOutcome {
        CallOutcome::Done {
            output: ToolOutput::text(text),
        }
    }

    fn nature(effect: Effect) -> Option<Nature> {
        Some(Nature {
            effect,
            observes: false,
        })
    }

    const ID: CallId = CallId { reply: 1, index: 0 };

    #[test]
    fn a_pure_call_is_a_repetition_until_something_changed() {
        let mut progress = Progress::default();
        let read = call("read_file", json!({"path": "./a", "from": 1}));
        assert_eq!(progress.repetition_of(&read), None);
        progress.finished(ID, &read, nature(Effect::Pure), &done("x"));
        let same = call("read_file", json!({"from": 1, "path": " a"}));
        assert_eq!(progress.repetition_of(&same), Some(ID));

        let write = call("write_file", json!({"path": "a"}));
        progress.finished(ID, &write, nature(Effect::Reversible), &done("wrote"));
        assert_eq!(progress.repetition_of(&same), None);
    }

    #[test]
    fn a_call_that_did_its_work_is_done_until_another_changes_something() {
        let mut progress = Progress::default();
        let (say, go) = (
            call("say", json!({"text": "hi"})),
            call("go_to", json!({"x_m": 1})),
        );
        let effect = nature(Effect::Idempotent);
        let failed = CallOutcome::Failed {
            message: "nobody heard it".into(),
        };
        progress.finished(ID, &say, effect, &failed);
        assert_eq!(progress.done_before(&say), None, "it did not work");
        progress.finished(ID, &say, effect, &done("heard"));
        assert_eq!(progress.done_before(&say), Some(ID));
        let mut stopped = ToolOutput::text("stopped on the way");
        stopped.goes_on = true;
        let stopped = CallOutcome::Done { output: stopped };
        progress.finished(ID, &go, effect, &stopped);
        assert_eq!(progress.done_before(&go), None, "it goes on from there");
        assert_eq!(progress.done_before(&say), None, "the body has moved");
    }

    #[test]
    fn what_changed_nothing_is_no_change_and_what_shows_another_world_is_one() {
        let mut progress = Progress::default();
        let named = |name| call(name, json!({}));
        let effect = nature(Effect::Idempotent);
        progress.finished(ID, &named("say"), effect, &done("heard"));
        let mut there = ToolOutput::text("is there already");
        there.idle = true;
        let there = CallOutcome::Done { output: there };
        progress.finished(ID, &named("go_to"), effect, &there);
        assert_eq!(progress.done_before(&named("say")), Some(ID));
        assert_eq!(progress.done_before(&named("go_to")), Some(ID));

        let observes = Some(Nature {
            effect: Effect::Pure,
            observes: true,
        });
        progress.finished(ID, &named("look"), observes, &done("nobody"));
        assert_eq!(progress.done_before(&named("go_to")), None);
        progress.finished(ID, &named("go_to"), effect, &there);
        progress.finished(ID, &named("look"), observes, &done("nobody"));
        assert_eq!(progress.done_before(&named("go_to")), Some(ID));
        progress.finished(ID, &named("look"), observes, &done("Ana, 2 m ahead"));
        assert_eq!(progress.done_before(&named("go_to")), None);
    }

    #[test]
    fn a_tool_whose_call_was_repeated_is_barred_until_something_new_comes() {
        let mut progress = Progress::default();
        let barred = |progress: &Progress| progress.barred().map(str::to_owned).collect::<Vec<_>>();
        let (list, search) = (
            call("list_files", json!({})),
            call("search_files", json!({})),
        );
        let again = CallOutcome::Refused {
            by: Refusal::Repetition,
            message: String::new(),
        };
        progress.finished(ID, &list, nature(Effect::Pure), &done("a"));
        progress.finished(ID, &list, nature(Effect::Pure), &again);
        assert_eq!(barred(&progress), ["list_files"]);
        progress.finished(ID, &search, nature(Effect::Pure), &again);
        assert_eq!(barred(&progress), ["list_files", "search_files"]);
        progress.finished(
            ID,
            &call("read_file", json!({})),
            nature(Effect::Pure),
            &done("b"),
        );
        assert_eq!(barred(&progress), Vec::<String>::new());
    }

    #[test]
    fn the_same_command_with_another_result_is_progress() {
        let mut progress = Progress::default();
        let test = call("run_command", json!({"command": "cargo test"}));
        for (result, repeats) in [("2 failed", 0), ("2 failed", 1), ("1 failed", 0)] {
            progress.finished(ID, &test, nature(Effect::Irreversible), &done(result));
            assert_eq!(progress.repeats, repeats, "after {result}");
        }
    }
}
