//! No mind at all: the task is a call, and it is made.
//!
//! A client that has a mind of its own (an MCP client) calls a tool. That is a run all the same, with a
//! journal, the gate, approvals and undo; only that nobody has to think what to do in it.

use async_trait::async_trait;
use serde_json::json;

use super::{Deltas, Message, Model, ModelError, ModelProfile, Reply, Request, ToolCall, Usage};
use crate::label::Label;

/// What it is called, as a model.
pub const ID: &str = "literal/call";

/// Makes the call that is the task, a [`ToolCall`] in JSON, and ends with what came of it.
///
/// Its last reply has `{"ok": …}` as its [`Reply::state`]: whether the call did what it was to do.
pub struct Literal(ModelProfile);

impl Literal {
    /// There is only one.
    pub fn new() -> Self {
        let (provider, name) = ID.split_once('/').unwrap_or((ID, ID));
        Self(ModelProfile {
            provider: provider.to_owned(),
            name: name.to_owned(),
            // Nothing is ever left out for it.
            window: 1_000_000,
            native_tools: true,
            local: true,
            price: None,
        })
    }

    /// The task of a run that makes that call.
    pub fn task(call: &ToolCall) -> String {
        json!(call).to_string()
    }
}

impl Default for Literal {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Model for Literal {
    fn profile(&self) -> &ModelProfile {
        &self.0
    }

    async fn reply(&self, request: &Request, _: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let came = request
            .messages
            .iter()
            .rev()
            .find_map(|message| match message {
                Message::Tool { text, ok, .. } => Some((text.clone(), *ok)),
                _ => None,
            });
        let (call, state) = match came {
            Some((answer, ok)) => {
                let args = json!({ "answer": answer });
                let name = "finish".to_owned();
                (ToolCall { name, args }, Some(json!({ "ok": ok })))
            }
            None => (asked(&request.messages)?, None),
        };
        Ok(Reply {
            calls: vec![call],
            state,
            usage: Usage::default(),
            model: ID.to_owned(),
            ..Reply::default()
        })
    }
}

fn asked(messages: &[Message]) -> Result<ToolCall, ModelError> {
    let task = messages.iter().find_map(|message| match message {
        Message::User {
            text,
            label: Label::User,
        } => Some(text),
        _ => None,
    });
    let task = task.map(String::as_str).unwrap_or_default();
    serde_json::from_str(task).map_err(|why| ModelError::Unusable {
        message: format!("the task is no call in JSON, as {{\"name\": …, \"args\": …}}: {why}"),
    })
}
