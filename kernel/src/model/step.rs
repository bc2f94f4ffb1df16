//! One step as text, for models that make no native tool calls: as JSON, or, where a tool takes programs, as
//! a sentence and a block ([`blocks`]).
//!
//! Such a model is shown its tools as text ([`instructions`]) and answers with one object
//! `{"thought": …, "tool": …, "args": …}`. A provider that can constrain a reply does so with
//! [`schema`]; any provider reads the reply with [`parse`]. Thought comes before tool because a small
//! model decides better after it has said why.

pub mod blocks;
mod instruct;
mod sanitise;
mod stream;

use std::borrow::Cow;

use serde_json::{Value, json, ser::Formatter};

pub use instruct::instructions;
pub use stream::{Piece, Splitter};

use super::{Message, Request, ToolCall};
use crate::{
    label::Label,
    tool::{Control, ToolSpec},
};

/// What is between two members or items of a step.
pub const ITEM_SEPARATOR: &str = ",";
/// What is between a key and its value in a step.
pub const KEY_SEPARATOR: &str = ":";
/// Characters in a thought, at most: enough for two sentences, too few to ramble on.
pub const THOUGHT_LIMIT: usize = 320;

/// Bytes from which results are long: a small model loses sight of them too, not only of the task.
const LONG: usize = 2000;
/// Characters of a task that are said again, and how many of these are its end, where the form of the answer often is.
const TASK: usize = 1500;
const TASK_END: usize = 500;

/// Who says a [`Turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nobody in the conversation: who the model is, and its tools.
    System,
    /// The user, or the world through a tool's result.
    User,
    /// The model.
    Assistant,
}

/// A message as a model without native tool calls sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: String,
}

/// A step that a model took.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Why.
    pub thought: String,
    /// What.
    pub call: ToolCall,
}

/// The JSON Schema of a step with one of `tools`, its members in the order thought, tool, args.
///
/// The tools' own schemas are brought into what constraint compilers know; no schema, however odd, is
/// an error.
pub fn schema(tools: &[ToolSpec]) -> Value {
    let step = |tool: &ToolSpec| {
        json!({
            "type": "object",
            "properties": {
                "thought": {"type": "string", "minLength": 1, "maxLength": THOUGHT_LIMIT},
                "tool": {"const": tool.name},
                "args": sanitise::arguments(&tool.input),
            },
            "required": ["thought", "tool", "args"],
            "additionalProperties": false,
        })
    };
    let steps: Vec<Value> = tools.iter().map(step).collect();
    json!({"anyOf": steps})
}

/// How constraint compilers (llguidance) are to read a schema, as the value of its `x-guidance`.
///
/// Blanks between tokens are allowed by JSON and are all that a small model needs to go on for ever; escapes
/// of characters that need none only make two spellings of one text.
pub fn guidance() -> Value {
    json!({
        "whitespace_flexible": false,
        "item_separator": ITEM_SEPARATOR,
        "key_separator": KEY_SEPARATOR,
        "coerce_one_of": true,
        "lenient": true,
        "json_allowed_escapes": "nrbtf\\\"",
    })
}

/// Bytes of what a model without native calls is told of these tools, in whichever form.
pub fn size(tools: &[ToolSpec]) -> usize {
    match blocks::Blocks::of(tools) {
        Some(blocks) => blocks.size(),
        None => instructions(tools).len(),
    }
}

/// The conversation of a request as turns, with the tools explained in the system's.
///
/// The turns of a request are the first turns of any request that continues it.
pub fn turns(request: &Request) -> Vec<Turn> {
    let mut system = String::new();
    let mut turns = Vec::new();
    let mut observing = false;
    let mut task = "";
    for message in &request.messages {
        let observation = matches!(message, Message::Tool { .. });
        if observing && !observation {
            nudge(&mut turns, task);
        }
        match message {
            Message::System { text } => system.push_str(text),
            Message::User { text, label } => {
                if *label == Label::User {
                    task = text;
                }
                turns.push(turn(Role::User, text.clone()));
            }
            Message::Assistant {
                thought,
                text,
                calls,
                ..
            } => {
                let calls = calls.iter().map(|(_, call)| call);
                let text = said(thought, text, calls, &request.tools);
                turns.push(turn(Role::Assistant, text));
            }
            Message::Tool { name, text, ok, .. } => {
                let text = observed(name, text, *ok);
                match turns.last_mut().filter(|_| observing) {
                    Some(last) => last.text = format!("{}\n\n{text}", last.text),
                    None => turns.push(turn(Role::User, text)),
                }
            }
        }
        observing = observation;
    }
    if observing {
        nudge(&mut turns, task);
    }
    if !request.tools.is_empty() {
        let gap = if system.is_empty() { "" } else { "\n\n" };
        system = format!("{system}{gap}{}", instructions(&request.tools));
    }
    if !system.is_empty() {
        turns.insert(0, turn(Role::System, system));
    }
    turns
}

/// Ends the results that a reply got with the task: a small model loses sight of it, and of its end.
fn nudge(turns: &mut [Turn], task: &str) {
    let Some(last) = turns.last_mut() else {
        return;
    };
    let task = said_again(task);
    let results = if last.text.len() < LONG {
        ""
    } else {
        "Use what this result says. "
    };
    last.text += &format!(
        "\n(The task is: {task}\n{results}If something that it asks for is still missing, do that next. \
         If not, finish.)"
    );
}

/// A task as it is said again, so that a small model does not lose sight of it.
fn said_again(task: &str) -> Cow<'_, str> {
    let task = task.trim_end();
    let count = task.chars().count();
    if count <= TASK {
        return Cow::Borrowed(task);
    }
    let begin: String = task.chars().take(TASK - TASK_END).collect();
    let end: String = task.chars().skip(count - TASK_END).collect();
    Cow::Owned(format!("{begin} … {end}"))
}

fn turn(role: Role, text: String) -> Turn {
    Turn { role, text }
}

/// What the model said, as it would have said it as a step.
fn said<'a>(
    thought: &str,
    text: &str,
    calls: impl Iterator<Item = &'a ToolCall>,
    tools: &[ToolSpec],
) -> String {
    let mut steps = Vec::new();
    for call in calls {
        // Several calls of one reply are shown as several steps; the thought was said once.
        let thought = if steps.is_empty() { thought } else { "" };
        steps.push(write(thought, &call.name, &call.args));
    }
    if !steps.is_empty() {
        return steps.join("\n");
    }
    let finish = tools.iter().find(|t| t.control == Some(Control::Finish));
    match finish.and_then(|tool| Some((tool, text_argument(&tool.input)?))) {
        Some((tool, argument)) => {
            let args = Value::Object([(argument, text.into())].into_iter().collect());
            write(thought, &tool.name, &args)
        }
        None => text.to_owned(),
    }
}

/// The first argument that a tool requires, if it takes text.
fn text_argument(input: &Value) -> Option<String> {
    let name = input.get("required")?.get(0)?.as_str()?;
    let kind = input.get("properties")?.get(name)?.get("type")?;
    (kind == "string").then(|| name.to_owned())
}

fn observed(name: &str, text: &str, ok: bool) -> String {
    let what = if ok { "Result" } else { "Error" };
    format!("{what} of {name}:\n{text}")
}

/// A step as text, exactly as a model constrained to [`schema`] writes it.
pub fn write(thought: &str, tool: &str, args: &Value) -> String {
    compact(&json!({"thought": thought, "tool": tool, "args": args}))
}

/// JSON without blanks.
fn compact(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Separated);
    // Text written into memory cannot fail; were it to, what was written so far is all there is.
    let _ = serde::Serialize::serialize(value, &mut serializer);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads a step. Text around the object (a code fence, a remark) is passed over.
///
/// # Errors
/// What is wrong with it, for the model to read.
pub fn parse(text: &str) -> Result<Step, String> {
    let start = text.find('{').unwrap_or(0);
    let end = text.rfind('}').map_or(text.len(), |end| end + 1);
    let object = text.get(start..end).unwrap_or(text);
    let step: Value = serde_json::from_str(object).map_err(|e| format!("it is no JSON: {e}"))?;
    let member = |name: &str| step.get(name);
    let tool = member("tool").and_then(Value::as_str);
    let tool = tool.ok_or("it has no text member `tool`")?;
    let args = member("args").ok_or("it has no member `args`")?;
    let thought = member("thought").and_then(Value::as_str);
    Ok(Step {
        thought: thought.unwrap_or_default().to_owned(),
        call: ToolCall {
            name: tool.to_owned(),
            args: args.clone(),
        },
    })
}

/// What can be known of a step that was cut off: its thought as far as it came, and its call if the
/// tool was named. The arguments are then what there is of their text, which no schema accepts.
pub fn salvage(text: &str) -> (String, Option<ToolCall>) {
    let mut splitter = Splitter::default();
    splitter.push(text);
    let call = splitter.tool().map(|name| ToolCall {
        name: name.to_owned(),
        args: Value::String(splitter.args().to_owned()),
    });
    (splitter.thought().to_owned(), call)
}

struct Separated;

impl Formatter for Separated {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        let separator = if first { "" } else { ITEM_SEPARATOR };
        writer.write_all(separator.as_bytes())
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(KEY_SEPARATOR.as_bytes())
    }
}

#[cfg(test)]
mod tests;
