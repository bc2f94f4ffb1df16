//! Whether a run gets anywhere: repetition and failure, noticed from what came of its calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    entry::canonical,
    event::{CallOutcome, Refusal},
    model::{CallId, ToolCall},
    tool::Effect,
};

/// Repetitions in a row after which the way of working changes.
pub const REPEATS_TO_CHANGE: u32 = 3;
/// Repetitions in a row after which the run stops.
pub const REPEATS_TO_STOP: u32 = 6;
/// Calls in a row that failed, each in another way, after which the way of working changes.
pub const FAILURES_TO_CHANGE: u32 = 6;
/// Such calls after which the run stops.
pub const FAILURES_TO_STOP: u32 = 12;

/// What the calls of a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Calls in a row that had been made before and gave nothing new.
    pub repeats: u32,
    /// Calls in a row that did not do what they were to do.
    pub failures: u32,
    /// The last call that was to change something, if it did not work and none did since.
    pub failed_change: Option<CallId>,
    /// Whether the run was kept from ending because of it.
    pub was_sent_back: bool,
    /// Tools of the calls that were refused, one after the other, because they had been made before.
    barred: BTreeSet<String>,
    /// Counts the calls that may have changed the world.
    epoch: u32,
    seen: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    id: CallId,
    epoch: u32,
    result: blake3::Hash,
}

impl Progress {
    /// The earlier call that was the same, if nothing can have changed its result since.
    pub fn repetition_of(&self, call: &ToolCall) -> Option<CallId> {
        let seen = self.seen.get(&key(call))?;
        (seen.epoch == self.epoch).then_some(seen.id)
    }

    /// Whether any call may have changed the world.
    pub fn changed_anything(&self) -> bool {
        self.epoch > 0
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
        effect: Option<Effect>,
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
        let is_change = effect.is_some_and(|effect| effect != Effect::Pure);
        match outcome {
            CallOutcome::Refused {
                by: Refusal::Unfinished,
                ..
            } => self.was_sent_back = true,
            CallOutcome::Failed { .. } if is_change => self.failed_change = Some(id),
            CallOutcome::Done { .. } if is_change => self.failed_change = None,
            _ => {}
        }
        let changes = outcome.is_done() && is_change;
        self.epoch += u32::from(changes);
        let seen = Seen {
            id,
            epoch: self.epoch,
            result: blake3::hash(outcome.text().as_bytes()),
        };
        let result = seen.result;
        let before = self.seen.insert(key(call), seen);
        if before.is_some_and(|before| before.result == result) {
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

    const ID: CallId = CallId { reply: 1, index: 0 };

    #[test]
    fn a_pure_call_is_a_repetition_until_something_changed() {
        let mut progress = Progress::default();
        let read = call("read_file", json!({"path": "./a", "from": 1}));
        assert_eq!(progress.repetition_of(&read), None);
        progress.finished(ID, &read, Some(Effect::Pure), &done("x"));
        let same = call("read_file", json!({"from": 1, "path": " a"}));
        assert_eq!(progress.repetition_of(&same), Some(ID));

        let write = call("write_file", json!({"path": "a"}));
        progress.finished(ID, &write, Some(Effect::Reversible), &done("wrote"));
        assert_eq!(progress.repetition_of(&same), None);
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
        progress.finished(ID, &list, Some(Effect::Pure), &done("a"));
        progress.finished(ID, &list, Some(Effect::Pure), &again);
        assert_eq!(barred(&progress), ["list_files"]);
        progress.finished(ID, &search, Some(Effect::Pure), &again);
        assert_eq!(barred(&progress), ["list_files", "search_files"]);
        progress.finished(
            ID,
            &call("read_file", json!({})),
            Some(Effect::Pure),
            &done("b"),
        );
        assert_eq!(barred(&progress), Vec::<String>::new());
    }

    #[test]
    fn the_same_command_with_another_result_is_progress() {
        let mut progress = Progress::default();
        let test = call("run_command", json!({"command": "cargo test"}));
        for (result, repeats) in [("2 failed", 0), ("2 failed", 1), ("1 failed", 0)] {
            progress.finished(ID, &test, Some(Effect::Irreversible), &done(result));
            assert_eq!(progress.repeats, repeats, "after {result}");
        }
    }
}
