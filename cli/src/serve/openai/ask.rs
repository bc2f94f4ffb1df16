//! What a request says: instructions, who said what, and which tools the client has.

use gpak_kernel::{event::RunId, model::CallId, tool::ToolSpec};
use serde_json::{Value, json};

use super::tools;
use crate::serve::problem::{Answered, Problem};

/// What is said, whichever of the two protocols said it.
#[derive(Debug, Default, PartialEq)]
pub struct Ask {
    /// What a system prompt would say.
    pub instructions: String,
    /// The conversation, oldest first.
    pub turns: Vec<Turn>,
    /// The client's tools.
    pub tools: Vec<ToolSpec>,
}

/// A piece of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// The user spoke.
    User(String),
    /// The model spoke, and called tools of the client's.
    Assistant(String, Vec<Made>),
    /// What came of a call.
    Tool {
        /// The call's id.
        call: String,
        /// What it gave.
        text: String,
    },
}

/// A call of a client's tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its arguments, as JSON.
    pub args: String,
}

/// What a client says came of calls of a run.
#[derive(Debug, PartialEq)]
pub struct Outputs {
    /// The run that made them.
    pub run: RunId,
    /// Each, and what it gave.
    pub calls: Vec<(CallId, String)>,
    /// What the user says besides.
    pub said: Vec<String>,
}

impl Ask {
    /// Reads the messages and tools of a chat.
    pub fn of_chat(body: &Value) -> Answered<Self> {
        let messages = body.get("messages").and_then(Value::as_array);
        let messages = messages.filter(|messages| !messages.is_empty());
        let messages = messages.ok_or_else(|| Problem::unprocessable("`messages` is missing"))?;
        let mut ask = Self::default();
        for message in messages {
            ask.take_message(message)?;
        }
        ask.take_tools(body, |tool| tool.get("function").unwrap_or(tool))?;
        ask.ask_for_format(body.get("response_format"));
        Ok(ask)
    }

    /// Reads the input and tools of a response.
    pub fn of_response(body: &Value) -> Answered<Self> {
        let mut ask = Self::default();
        if let Some(instructions) = body.get("instructions").filter(|it| !it.is_null()) {
            ask.instruct(&text(instructions)?);
        }
        match body.get("input") {
            Some(Value::String(said)) => ask.turns.push(Turn::User(said.clone())),
            Some(Value::Array(items)) => {
                for item in items {
                    ask.take_item(item)?;
                }
            }
            _ => return Err(Problem::unprocessable("`input` is missing")),
        }
        ask.take_tools(body, |tool| tool)?;
        ask.ask_for_format(body.get("text").and_then(|text| text.get("format")));
        Ok(ask)
    }

    fn take_item(&mut self, item: &Value) -> Answered<()> {
        let string = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        match item.get("type").and_then(Value::as_str) {
            None | Some("message") => self.take_message(item)?,
            Some("function_call") => {
                let made = Made {
                    id: string("call_id").to_owned(),
                    name: string("name").to_owned(),
                    args: string("arguments").to_owned(),
                };
                match self.turns.last_mut() {
                    Some(Turn::Assistant(_, calls)) => calls.push(made),
                    _ => self.turns.push(Turn::Assistant(String::new(), vec![made])),
                }
            }
            Some("function_call_output") => self.turns.push(Turn::Tool {
                call: string("call_id").to_owned(),
                text: text(item.get("output").unwrap_or(&Value::Null))?,
            }),
            // What a model thought is for that model; what is not known is passed over.
            Some(_) => {}
        }
        Ok(())
    }

    fn take_message(&mut self, message: &Value) -> Answered<()> {
        let said = text(message.get("content").unwrap_or(&Value::Null))?;
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => self.instruct(&said),
            Some("user") => self.turns.push(Turn::User(said)),
            Some("assistant") => {
                let calls = message.get("tool_calls").and_then(Value::as_array);
                let calls = calls.into_iter().flatten().map(|call| {
                    let string = |at: &str| {
                        let value = call.pointer(at).and_then(Value::as_str);
                        value.unwrap_or_default().to_owned()
                    };
                    Made {
                        id: string("/id"),
                        name: string("/function/name"),
                        args: string("/function/arguments"),
                    }
                });
                self.turns.push(Turn::Assistant(said, calls.collect()));
            }
            Some("tool") => {
                let call = message.get("tool_call_id").and_then(Value::as_str);
                self.turns.push(Turn::Tool {
                    call: call.unwrap_or_default().to_owned(),
                    text: said,
                });
            }
            _ => {
                return Err(Problem::unprocessable(
                    "a message has no role that is known",
                ));
            }
        }
        Ok(())
    }

    fn instruct(&mut self, said: &str) {
        if !self.instructions.is_empty() && !said.is_empty() {
            self.instructions.push_str("\n\n");
        }
        self.instructions.push_str(said);
    }

    /// The functions among the client's tools; those that a server of OpenAI's has are not here.
    fn take_tools(&mut self, body: &Value, function: fn(&Value) -> &Value) -> Answered<()> {
        let none = body
            .get("tool_choice")
            .is_some_and(|choice| choice == "none");
        let said = body
            .get("tools")
            .and_then(Value::as_array)
            .filter(|_| !none);
        let functions = said.into_iter().flatten().filter(|tool| {
            let kind = tool.get("type").and_then(Value::as_str);
            kind.is_none_or(|kind| kind == "function")
        });
        for tool in functions {
            let tool = function(tool);
            let string = |name: &str| tool.get(name).and_then(Value::as_str).unwrap_or_default();
            let name = string("name");
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                return Err(Problem::unprocessable(format!(
                    "`{name}` is no name of a function: it has 1 to 64 letters, digits, `_` and `-`"
                )));
            }
            if self.tools.iter().any(|known| known.name == name) {
                return Err(Problem::unprocessable(format!(
                    "there are two functions `{name}`"
                )));
            }
            let input = match tool.get("parameters") {
                Some(schema @ Value::Object(_)) => schema.clone(),
                _ => json!({"type": "object", "properties": {}}),
            };
            let description = string("description").to_owned();
            self.tools
                .push(tools::spec(name.to_owned(), description, input));
        }
        Ok(())
    }

    /// An answer in a certain form is asked for in words: the agent's answer is free text.
    fn ask_for_format(&mut self, format: Option<&Value>) {
        let kind = format
            .and_then(|format| format.get("type"))
            .and_then(Value::as_str);
        let schema = match kind {
            Some("json_object") => String::new(),
            Some("json_schema") => {
                let format = format.unwrap_or(&Value::Null);
                let schema = format
                    .pointer("/json_schema/schema")
                    .or(format.get("schema"));
                let schema = schema.map(Value::to_string).unwrap_or_default();
                format!(" It must be valid against this JSON Schema: {schema}")
            }
            _ => return,
        };
        self.instruct(&format!(
            "Your answer must be one JSON object, without anything before or behind it.{schema}"
        ));
    }

    /// What the client says came of calls, if that is what it says last.
    pub fn outputs(&self) -> Option<Outputs> {
        let spoke = |turn: &Turn| matches!(turn, Turn::Assistant(..));
        let from = self.turns.iter().rposition(spoke).map_or(0, |at| at + 1);
        let mut outputs: Option<Outputs> = None;
        let mut said = Vec::new();
        for turn in self.turns.get(from..)? {
            match turn {
                Turn::Tool { call, text } => {
                    let (run, call) = read_call(call)?;
                    let outputs = outputs.get_or_insert_with(|| Outputs {
                        run,
                        calls: Vec::new(),
                        said: Vec::new(),
                    });
                    if outputs.run != run {
                        return None;
                    }
                    outputs.calls.push((call, text.clone()));
                }
                Turn::User(text) => said.push(text.clone()),
                Turn::Assistant(..) => {}
            }
        }
        outputs.map(|outputs| Outputs { said, ..outputs })
    }

    /// The task of a run that begins with this: what was said last, with what came before it.
    pub fn task(&self) -> Answered<String> {
        let user = |turn: &Turn| matches!(turn, Turn::User(_));
        let Some(last) = self.turns.iter().rposition(user) else {
            return Err(Problem::unprocessable("nobody says what is to be done"));
        };
        let spoke = |turn: &Turn| !matches!(turn, Turn::User(_));
        let before = self.turns.get(..last).unwrap_or_default();
        let from = before.iter().rposition(spoke).map_or(0, |at| at + 1);
        let told = |turns: &[Turn]| turns.iter().map(tell).collect::<Vec<_>>().join("\n\n");
        let asked: Vec<_> = self
            .turns
            .get(from..=last)
            .unwrap_or_default()
            .iter()
            .filter_map(|turn| match turn {
                Turn::User(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let asked = asked.join("\n\n");
        let after = self.turns.get(last + 1..).unwrap_or_default();
        let history = self.turns.get(..from).unwrap_or_default();
        if history.is_empty() && after.is_empty() {
            return Ok(asked);
        }
        let mut task = String::new();
        if !history.is_empty() {
            task = format!(
                "What was said so far:\n\n{}\n\nWhat is asked now:\n\n",
                told(history)
            );
        }
        task.push_str(&asked);
        if !after.is_empty() {
            task = format!("{task}\n\nWhat was done for it already:\n\n{}", told(after));
        }
        Ok(task)
    }
}

fn tell(turn: &Turn) -> String {
    match turn {
        Turn::User(text) => format!("user: {text}"),
        Turn::Assistant(text, calls) => {
            let calls = calls
                .iter()
                .map(|call| format!("[called {} {}]", call.name, call.args));
            let text = Some(text.clone()).filter(|text| !text.is_empty());
            let parts: Vec<_> = text.into_iter().chain(calls).collect();
            format!("you: {}", parts.join("\n"))
        }
        Turn::Tool { text, .. } => format!("[it gave] {text}"),
    }
}

/// Content as text: itself, or its parts that are text.
fn text(content: &Value) -> Answered<String> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let parts = parts.iter().map(|part| {
                let text = match part {
                    Value::String(text) => Some(text.as_str()),
                    part => ["text", "refusal"]
                        .iter()
                        .find_map(|name| part.get(name).and_then(Value::as_str)),
                };
                text.ok_or_else(|| {
                    Problem::unprocessable("only text is taken here, and no image, sound or file")
                        .help("put the file into the workspace, and name it")
                })
            });
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join("\n"))
        }
        other => Ok(other.to_string()),
    }
}

/// The name of a call as a client has it.
pub fn call_id(run: RunId, call: CallId) -> String {
    format!("call_{run}_{}_{}", call.reply, call.index)
}

/// The call of that name, if it is one of ours.
fn read_call(id: &str) -> Option<(RunId, CallId)> {
    let mut parts = id.strip_prefix("call_")?.split('_');
    let run = parts.next()?.parse().ok()?;
    let reply = parts.next()?.parse().ok()?;
    let index = parts.next()?.parse().ok()?;
    parts
        .next()
        .is_none()
        .then_some((run, CallId { reply, index }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(messages: Value) -> Ask {
        Ask::of_chat(&json!({"messages": messages})).unwrap()
    }

    #[test]
    fn one_message_is_the_task_itself_and_more_are_told() {
        let one = chat(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "do it"}]},
        ]));
        assert_eq!(
            (one.instructions.as_str(), one.task().unwrap()),
            ("Be brief.", "do it".into())
        );
        let more = chat(json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "do it"},
            {"role": "user", "content": "now"},
        ]));
        let task = more.task().unwrap();
        assert!(
            task.contains("user: hi\n\nyou: hello\n\nWhat is asked now:\n\ndo it\n\nnow"),
            "{task}"
        );
    }

    #[test]
    fn what_came_of_our_calls_is_told_from_what_came_of_others() {
        let run = RunId::from_u128(7);
        let id = call_id(run, CallId { reply: 2, index: 1 });
        assert!(id.len() <= 64, "clients take 64 characters");
        let messages = |id: &str| {
            json!([
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": id, "type": "function", "function": {"name": "w", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": id, "content": "sunny"},
            ])
        };
        let outputs = chat(messages(&id)).outputs().unwrap();
        assert_eq!(outputs.run, run);
        assert_eq!(
            outputs.calls,
            [(CallId { reply: 2, index: 1 }, "sunny".to_owned())]
        );
        let other = chat(messages("call_abc"));
        assert_eq!(other.outputs(), None);
        let task = other.task().unwrap();
        assert!(
            task.starts_with("weather?") && task.contains("[it gave] sunny"),
            "{task}"
        );
    }

    #[test]
    fn what_is_no_text_is_refused_and_what_is_not_known_is_passed_over() {
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
        assert!(Ask::of_chat(&json!({"messages": image})).is_err());
        let body = json!({"input": [
            {"type": "reasoning", "summary": []},
            {"role": "user", "content": "hi"},
            {"type": "of_tomorrow"},
        ], "tools": [{"type": "web_search"}, {"type": "function", "name": "f"}]});
        let ask = Ask::of_response(&body).unwrap();
        assert_eq!(ask.turns, [Turn::User("hi".into())]);
        assert_eq!(ask.tools.len(), 1);
        for name in ["", "a b", &"x".repeat(65)] {
            let body = json!({"input": "x", "tools": [{"type": "function", "name": name}]});
            assert!(Ask::of_response(&body).is_err(), "{name}");
        }
    }
}
