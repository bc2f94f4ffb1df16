//! The one question that every model is asked.

use serde_json::{Value, json};

use super::{Failure, Server};
use crate::{
    label::Label,
    model::{Message, ModelError, Reply, Request, Sampling},
    tool::{Effect, ToolSpec},
};

/// Bytes of text after which a model that was asked for a call, and nothing else, makes none.
pub(crate) const PROBE_TEXT: usize = 400;
/// The word that a probe has called with.
const WORD: &str = "kestrel";

/// A request that asks for one harmless call.
pub(crate) fn ping() -> Request {
    let text = format!("Call the tool ping with the word {WORD}. Do nothing else.");
    Request {
        messages: vec![Message::User {
            text,
            label: Label::Own,
        }],
        tools: [ToolSpec::taking(
            "ping",
            "Tests the connection.",
            json!({"word": {"type": "string", "description": "the word to send"}}),
            &["word"],
            Effect::Pure,
        )]
        .into(),
        barred: Vec::new(),
        known: Default::default(),
        sampling: Sampling {
            max_tokens: 512,
            ..Sampling::default()
        },
    }
}

/// Whether a reply is the call that was asked for.
pub(crate) fn is_pong(reply: &Reply) -> bool {
    let word = |args: &Value| args.get("word").and_then(Value::as_str) == Some(WORD);
    matches!(reply.calls.as_slice(), [call] if call.name == "ping" && word(&call.args))
}

/// Whether a failure to answer the question is an answer: no.
pub(crate) fn is_an_answer(failure: &Failure) -> bool {
    match failure.error {
        // The model answered, only not with a call.
        ModelError::Malformed { .. } | ModelError::Refused { .. } => true,
        // The server refuses tools: a template, a parser or a switch of its own is missing.
        _ => matches!(failure.status, Some(400 | 422 | 500 | 501)),
    }
}

/// There is no such model; `has` is what there is.
pub(crate) fn missing(server: &Server, name: &str, why: &str, has: &[String]) -> ModelError {
    const SHOWN: usize = 12;
    let shown: Vec<&str> = has.iter().take(SHOWN).map(String::as_str).collect();
    let listed = match has.len() {
        0 => "it lists none".to_owned(),
        all if all <= SHOWN => format!("it has {}", shown.join(", ")),
        all => format!("it has {} and {} more", shown.join(", "), all - SHOWN),
    };
    let at = server.shown();
    let message = match name {
        "" => format!("{why} at {at}; {listed}"),
        _ => format!("{at} has no model `{name}`: {why}; {listed}"),
    };
    ModelError::Unusable { message }
}
