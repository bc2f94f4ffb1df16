//! What stands for the steps that were replaced. It is made of events alone: no model has a say in it, and
//! it is the same whenever it is made.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

use super::{READ_HISTORY, shorten};
use crate::{
    event::{CallOutcome, PlanStatus, Refusal},
    label::Label,
    model::{CallId, Reply, ToolCall},
    run::{Compaction, State, Turn},
    tool::{Control, Effect, ToolSpec},
};

/// Bytes of a line that quotes a result.
const QUOTED: usize = 160;
/// Bytes of a thought, of a question or an answer: longer than any of a model that is held to a step.
const SAID: usize = 480;
/// Bytes of one argument of a call.
const ARGUMENT: usize = 80;
/// A digest of fewer bytes is only its first line.
const SHORT: usize = 400;

/// The digest of what a compaction replaced, in no more than `limit` bytes. None if it replaced no step.
pub(super) fn of(
    state: &State,
    compaction: &Compaction,
    limit: usize,
    readable: bool,
) -> Option<String> {
    let old = Steps::of(state, compaction.turns);
    let (Some(first), Some(last)) = (old.0.first(), old.0.last()) else {
        return None;
    };
    let (first, last) = (first.number, last.number);
    let known = Steps::of(state, compaction.known);
    let mut text = Bounded {
        text: opening(first, last, limit, readable),
        limit,
    };
    if limit < SHORT {
        return Some(text.text);
    }
    text.list("Facts that you pinned:", &old.pinned(state), 2);
    text.list("The plan:", &plan(compaction), 2);
    text.list("What you asked the user:", &old.answers(), 2);
    text.list("Not solved yet:", &known.problems(last), 3);
    let files = known.files(state, last);
    text.list("Files that were changed:", &files.changed, 4);
    text.list("Files that were looked at:", &files.seen, 4);
    text.list("What was done, the latest last:", &old.lines(), 1);
    Some(text.text)
}

/// The visible mark: which steps are replaced, and where they are.
fn opening(first: u32, last: u32, limit: usize, readable: bool) -> String {
    let steps = match first == last {
        true => format!("Step {first} is"),
        false => format!("Steps {first} to {last} are"),
    };
    let how = match readable {
        true => format!(
            " {READ_HISTORY} {{\"step\":{first}}} shows one of them whole, {READ_HISTORY} \
             {{\"search\":\"words\"}} finds what was said in any."
        ),
        false => String::new(),
    };
    let text = format!(
        "[{steps} left out here to save space; what is below stands for them. They are done: do not \
         do them again.{how}]"
    );
    match text.len() <= limit {
        true => text,
        false => shorten::one_line(&format!("[{steps} left out here]"), limit),
    }
}

fn plan(compaction: &Compaction) -> Vec<String> {
    let items = compaction.plan.iter().map(|item| {
        let status = match item.status {
            PlanStatus::Pending => "pending",
            PlanStatus::Active => "active",
            PlanStatus::Done => "done",
        };
        format!("[{status}] {}", item.text.trim())
    });
    items.collect()
}

/// Text that never grows over its limit.
struct Bounded {
    text: String,
    limit: usize,
}

impl Bounded {
    /// Adds a list in at most a `share`-th of what is left. Where it does not fit, its last items stay.
    fn list(&mut self, title: &str, items: &[String], share: usize) {
        if items.is_empty() {
            return;
        }
        let mark = |count: usize| format!("\n({count} earlier ones are left out)");
        let left = self.limit.saturating_sub(self.text.len()) / share;
        let Some(mut left) = left.checked_sub(title.len() + 2 + mark(items.len()).len()) else {
            return;
        };
        let mut shown = Vec::new();
        for item in items.iter().rev() {
            match left.checked_sub(item.len() + 3) {
                Some(rest) => left = rest,
                None if shown.is_empty() && left > 3 => {
                    shown.push(Cow::Owned(shorten::one_line(item, left - 3)));
                    break;
                }
                None => break,
            }
            shown.push(Cow::Borrowed(item));
        }
        if shown.is_empty() {
            return;
        }
        let _ = write!(self.text, "\n{title}");
        if shown.len() < items.len() {
            self.text.push_str(&mark(items.len() - shown.len()));
        }
        for item in shown.iter().rev() {
            let _ = write!(self.text, "\n- {item}");
        }
    }
}

/// A step that came to its end.
struct Step<'a> {
    number: u32,
    reply: &'a Reply,
    results: &'a [Option<(CallOutcome, Label)>],
}

struct Steps<'a>(Vec<Step<'a>>);

/// Files by what was done with them, each once.
struct Files {
    changed: Vec<String>,
    seen: Vec<String>,
}

impl<'a> Steps<'a> {
    /// The steps among the first `turns` turns.
    fn of(state: &'a State, turns: usize) -> Self {
        let steps = state
            .turns
            .iter()
            .take(turns)
            .filter_map(|turn| match turn {
                Turn::Replied {
                    number,
                    reply,
                    results,
                } => Some(Step {
                    number: *number,
                    reply,
                    results,
                }),
                Turn::Said { .. } => None,
            });
        Self(steps.collect())
    }

    fn calls(&self) -> impl Iterator<Item = (CallId, &'a ToolCall, &'a CallOutcome, &'a Label)> {
        self.0.iter().flat_map(|step| {
            let calls = (0..).zip(&step.reply.calls).zip(step.results);
            calls.filter_map(|((index, call), result)| {
                let (outcome, label) = result.as_ref()?;
                let reply = step.number;
                Some((CallId { reply, index }, call, outcome, label))
            })
        })
    }

    fn pinned(&self, state: &State) -> Vec<String> {
        let pins = |call: &ToolCall| {
            let tool = tool(state, &call.name);
            tool.is_some_and(|tool| tool.control == Some(Control::Pin))
        };
        let mut facts: Vec<String> = Vec::new();
        for (_, call, outcome, _) in self.calls() {
            let fact = call.args.get("fact").and_then(Value::as_str);
            if let (true, true, Some(fact)) = (pins(call), outcome.is_done(), fact) {
                let fact = fact.trim().to_owned();
                facts.retain(|known| *known != fact);
                facts.push(fact);
            }
        }
        facts
    }

    fn answers(&self) -> Vec<String> {
        let answered = self
            .calls()
            .filter(|(_, _, outcome, label)| **label == Label::User && outcome.is_done());
        let line = |(_, call, outcome, _): (_, &ToolCall, &CallOutcome, _)| {
            let asked = match call.args.get("question").and_then(Value::as_str) {
                Some(question) => shorten::one_line(question, SAID),
                None => in_short(call),
            };
            format!(
                "{asked} Answer: {}",
                shorten::one_line(outcome.text(), SAID)
            )
        };
        answered.map(line).collect()
    }

    /// Calls of steps up to `last` that did not work, and what they were for was not done since.
    fn problems(&self, last: u32) -> Vec<String> {
        let mut open: BTreeMap<String, (CallId, String)> = BTreeMap::new();
        for (id, call, outcome, _) in self.calls() {
            let subject = subject(call);
            match complaint(outcome) {
                Some(complaint) if id.reply <= last => {
                    let line = format!("{id} {}: {complaint}", in_short(call));
                    open.insert(subject, (id, line));
                }
                Some(_) => {}
                None if outcome.is_done() => {
                    open.remove(&subject);
                }
                None => {}
            }
        }
        let mut lines: Vec<(CallId, String)> = open.into_values().collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// The files of steps up to `last`.
    fn files(&self, state: &State, last: u32) -> Files {
        let (mut changed, mut seen) = (Vec::new(), Vec::new());
        let done = self
            .calls()
            .filter(|(id, _, outcome, _)| outcome.is_done() && id.reply <= last);
        for (_, call, _, _) in done {
            let effect = tool(state, &call.name).map(|tool| tool.effect);
            let list = match effect {
                Some(Effect::Pure) | None => &mut seen,
                Some(_) => &mut changed,
            };
            list.extend(paths(&call.args).map(str::to_owned));
        }
        let changed = latest_once(changed);
        let mut seen = latest_once(seen);
        let also_changed: BTreeSet<&String> = changed.iter().collect();
        seen.retain(|path| !also_changed.contains(path));
        Files { changed, seen }
    }

    fn lines(&self) -> Vec<String> {
        let line = |step: &Step<'_>| {
            let mut line = format!("{}. ", step.number);
            let said = match step.reply.thought.is_empty() {
                true => &step.reply.text,
                false => &step.reply.thought,
            };
            line.push_str(&shorten::one_line(said, SAID));
            for (call, result) in step.reply.calls.iter().zip(step.results) {
                let result = result.as_ref().map_or("", |(outcome, _)| outcome.text());
                let result = shorten::first_line(result, QUOTED);
                let _ = write!(line, " → {}: {result}", in_short(call));
            }
            line
        };
        self.0.iter().map(line).collect()
    }
}

fn tool<'a>(state: &'a State, name: &str) -> Option<&'a ToolSpec> {
    let tools = &state.setup.as_ref()?.tools;
    tools.iter().find(|tool| tool.name == name)
}

/// What is wrong with a call that was made and did not work. A program that says it failed did not.
pub(crate) fn complaint(outcome: &CallOutcome) -> Option<String> {
    let failed = match outcome {
        CallOutcome::Done { output } => {
            let code = output.data.as_ref().and_then(|data| data.get("exit_code"));
            code.is_some_and(|code| code.as_i64() != Some(0))
        }
        CallOutcome::Failed { .. } | CallOutcome::Unknown { .. } => true,
        CallOutcome::Refused { by, .. } => {
            matches!(by, Refusal::Permission | Refusal::User)
        }
    };
    failed.then(|| shorten::first_line(outcome.text(), QUOTED))
}

/// What a call is about, so that a later one about the same settles it: its tool and its files, or, where
/// it names none, all that it was told.
fn subject(call: &ToolCall) -> String {
    let paths: Vec<&str> = paths(&call.args).collect();
    match paths.is_empty() {
        true => format!("{} {}", call.name, call.args),
        false => format!("{} {}", call.name, paths.join(" ")),
    }
}

/// The files that a call names.
fn paths(args: &Value) -> impl Iterator<Item = &str> {
    let members = args.as_object().into_iter().flatten();
    let named = members.filter(|(name, _)| {
        matches!(name.as_str(), "path" | "from" | "to" | "file") || name.ends_with("_path")
    });
    named
        .filter_map(|(_, value)| value.as_str())
        .map(|path| path.strip_prefix("./").unwrap_or(path))
        .filter(|path| !path.is_empty() && *path != ".")
}

/// Each once, where it stands last.
fn latest_once(mut all: Vec<String>) -> Vec<String> {
    let mut met = BTreeSet::new();
    all.reverse();
    all.retain(|one| met.insert(one.clone()));
    all.reverse();
    all
}

/// A call in a line, its files whole.
pub(crate) fn in_short(call: &ToolCall) -> String {
    let mut line = call.name.clone();
    let files: Vec<&str> = paths(&call.args).collect();
    for path in &files {
        let _ = write!(line, " {path}");
    }
    let members = call.args.as_object().into_iter().flatten();
    for (name, value) in members {
        let text = match value {
            Value::String(text) if files.contains(&text.strip_prefix("./").unwrap_or(text)) => {
                continue;
            }
            Value::String(text) => shorten::one_line(text, ARGUMENT),
            Value::Null => continue,
            other => shorten::one_line(&other.to_string(), ARGUMENT),
        };
        let _ = write!(line, " {name}={text}");
    }
    line
}
