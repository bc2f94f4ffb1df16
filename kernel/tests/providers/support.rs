//! What the tests ask for, and how they look at what comes back.

use std::time::Duration;

use gpak_kernel::{
    label::Label,
    model::{Delta, Deltas, Message, Request, Sampling, openai, remote::Connection},
    tool::{Control, Effect, ToolSpec},
};
use serde_json::{Value, json};

/// Collects deltas.
#[derive(Debug, Default)]
pub struct Heard {
    pub thought: String,
    pub text: String,
    pub call: String,
    pub pieces: usize,
}

impl Deltas for Heard {
    fn delta(&mut self, delta: Delta<'_>) {
        self.pieces += 1;
        match delta {
            Delta::Thought(text) => self.thought.push_str(text),
            Delta::Text(text) => self.text.push_str(text),
            Delta::Call(text) => self.call.push_str(text),
            _ => self.pieces -= 1,
        }
    }
}

pub fn tool(name: &str, input: Value, control: Option<Control>) -> ToolSpec {
    ToolSpec {
        control,
        ..ToolSpec::new(name, format!("Does {name}."), input, Effect::Pure)
    }
}

/// Two tools: one with a name that providers do not allow.
pub fn tools() -> Vec<ToolSpec> {
    let text = |name: &str| {
        json!({
            "type": "object",
            "properties": {name: {"type": "string", "maxLength": 12}},
            "required": [name],
        })
    };
    vec![
        tool("files.read", text("path"), None),
        tool("finish", text("answer"), Some(Control::Finish)),
    ]
}

pub fn asks(text: &str, tools: Vec<ToolSpec>) -> Request {
    Request {
        messages: vec![
            Message::System {
                text: "You are gpak.".into(),
            },
            Message::User {
                text: text.into(),
                label: Label::User,
            },
        ],
        tools: tools.into(),
        barred: Vec::new(),
        known: Default::default(),
        sampling: Sampling {
            max_tokens: 400,
            ..Sampling::default()
        },
    }
}

/// A connection with deadlines that a loaded machine keeps.
pub fn to(base_url: &str) -> Connection {
    Connection {
        first_token: Duration::from_secs(500),
        idle: Duration::from_secs(300),
        ..Connection::new(base_url)
    }
}

/// Options that ask the model nothing at first.
pub fn told(connection: Connection, model: &str, native: bool) -> openai::Options {
    openai::Options {
        native_tools: Some(native),
        ..openai::Options::new(connection, model)
    }
}
