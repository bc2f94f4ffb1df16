//! `POST /api/chat`.

use futures::StreamExt;
use ollama_rs::{
    generation::{
        chat::{ChatMessage, MessageRole, request::ChatMessageRequest},
        parameters::{FormatType, JsonStructure},
        tools::{ToolCall, ToolCallFunction, ToolInfo},
    },
    models::ModelOptions,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::KeepAlive;
use crate::{
    model::{
        Message, ModelError, Request, Stop,
        probe::{Format, Manner},
        remote::{
            Counts, Draft, Failure, Names, Piece, Places, Server, check_sent, joined, observed,
        },
        step::{self, Role},
    },
    tool::ToolSpec,
};

/// What is the same in every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) model: &'a str,
    pub(super) window: u32,
    pub(super) keep_alive: Option<&'a KeepAlive>,
}

/// Where the tools are in a body.
const PLACES: Places = Places {
    name: "/function/name",
    explained: "/messages/0/content",
};

/// The body of a request.
///
/// # Errors
/// If it holds not all that it must.
pub(super) fn body(
    about: About<'_>,
    request: &Request,
    manner: &Manner,
    names: &Names,
) -> Result<Value, ModelError> {
    let native = manner.native_tools || request.tools.is_empty();
    let messages = if native {
        native_messages(request, names)
    } else {
        steps(request)
    };
    let sampling = request.sampling;
    let mut options = ModelOptions::default()
        .num_ctx(about.window.into())
        .temperature(sampling.temperature)
        .num_predict(i32::try_from(sampling.max_tokens).unwrap_or(i32::MAX));
    // The protocol's seeds have 31 bits.
    options = options.seed(i32::try_from(sampling.seed & 0x7fff_ffff).unwrap_or_default());
    let mut typed = ChatMessageRequest::new(about.model.to_owned(), messages).options(options);
    if native {
        let tools = request.tools.iter().map(|tool| info(tool, names));
        typed = typed.tools(tools.collect::<Result<_, _>>()?);
    } else if let Some(format) = format(request, manner.format)? {
        typed = typed.format(format);
    }
    let mut body = serde_json::to_value(&typed).map_err(|why| unusable(&why))?;
    complete(&mut body, about, request, names);
    check_sent(&body, request, names, native, PLACES)?;
    Ok(body)
}

/// What the crate's types cannot say: that the reply is to be a stream, how long the model stays in
/// every form that the API takes, which tool a result is of, and nothing where there is nothing (some
/// servers refuse an empty list of calls).
fn complete(body: &mut Value, about: About<'_>, request: &Request, names: &Names) {
    let Some(members) = body.as_object_mut() else {
        return;
    };
    members.insert("stream".to_owned(), json!(true));
    if let Some(time) = about.keep_alive {
        members.insert("keep_alive".to_owned(), json!(time));
    }
    let messages = members.get_mut("messages").and_then(Value::as_array_mut);
    for message in messages
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        message.retain(|name, value| {
            let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            !empty || name == "content"
        });
    }
    let messages = members.get_mut("messages").and_then(Value::as_array_mut);
    let results = messages
        .into_iter()
        .flatten()
        .filter(|message| message.get("role") == Some(&json!("tool")));
    let called = request.messages.iter().filter_map(|message| match message {
        Message::Tool { name, .. } => Some(name),
        _ => None,
    });
    for (result, name) in results.zip(called) {
        if let Some(members) = result.as_object_mut() {
            members.insert("tool_name".to_owned(), json!(names.sent(name)));
        }
    }
    if let Some(Value::Array(messages)) = members.get_mut("messages") {
        *messages = joined(std::mem::take(messages));
    }
}

fn info(tool: &ToolSpec, names: &Names) -> Result<ToolInfo, ModelError> {
    typed(json!({
        "type": "function",
        "function": {
            "name": names.sent(&tool.name),
            "description": tool.description,
            "parameters": tool.input,
        },
    }))
}

/// How text is constrained to a step.
fn format(request: &Request, format: Format) -> Result<Option<FormatType>, ModelError> {
    Ok(match format {
        Format::Schema => {
            let schema: JsonStructure = typed(step::schema(&request.choices()))?;
            Some(FormatType::StructuredJson(Box::new(schema)))
        }
        Format::Json => Some(FormatType::Json),
        Format::Text => None,
    })
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ModelError> {
    serde_json::from_value(value).map_err(|why| unusable(&why))
}

fn unusable(why: &serde_json::Error) -> ModelError {
    ModelError::Unusable {
        message: format!("the request cannot be written: {why}"),
    }
}

/// The conversation of a model that takes steps.
fn steps(request: &Request) -> Vec<ChatMessage> {
    let message = |turn: step::Turn| {
        let role = match turn.role {
            Role::System => MessageRole::System,
            Role::User => MessageRole::User,
            Role::Assistant => MessageRole::Assistant,
        };
        ChatMessage::new(role, turn.text)
    };
    step::turns(request).into_iter().map(message).collect()
}

/// The conversation of a model that makes native calls.
fn native_messages(request: &Request, names: &Names) -> Vec<ChatMessage> {
    let message = |message: &Message| match message {
        Message::System { text } => ChatMessage::system(text.clone()),
        Message::User { text, .. } => ChatMessage::user(text.clone()),
        Message::Assistant { text, calls, .. } => {
            let mut said = ChatMessage::assistant(text.clone());
            let called = calls.iter().map(|(_, call)| ToolCall {
                function: ToolCallFunction {
                    name: names.sent(&call.name),
                    arguments: call.args.clone(),
                },
            });
            said.tool_calls = called.collect();
            said
        }
        Message::Tool { text, ok, .. } => ChatMessage::tool(observed(text, *ok)),
    };
    request.messages.iter().map(message).collect()
}

/// Sends a body and reads the stream that comes back: one JSON object a line.
pub(super) async fn read(
    server: &Server,
    body: &Value,
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    let mut stream = server.stream("api/chat", body).await?;
    let mut held = Vec::new();
    let mut calls = 0;
    while let Some(bytes) = server.next(&mut stream.by_ref(), draft.has_begun()).await? {
        held.extend_from_slice(&bytes?);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            take(server, &line, &mut calls, draft)?;
        }
        if draft.stop.is_some() || draft.has_enough() {
            return Ok(());
        }
    }
    take(server, &held, &mut calls, draft)
}

fn take(
    server: &Server,
    line: &[u8],
    calls: &mut usize,
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let chunk: Chunk = serde_json::from_slice(line)
        .map_err(|why| server.malformed(format!("a line of it is no JSON: {why}")))?;
    if let Some(error) = chunk.error {
        return Err(server.error_event(&json!({ "error": error })));
    }
    if let Some(message) = chunk.message {
        draft.thought(&message.thinking.unwrap_or_default());
        draft.text(&message.content.unwrap_or_default());
        for call in message.tool_calls.unwrap_or_default() {
            let args = match call.function.arguments {
                Value::String(text) => text,
                Value::Null => String::new(),
                args => args.to_string(),
            };
            // A call comes whole.
            let slot = calls.to_string();
            *calls += 1;
            draft.call(Piece {
                slot: Some(&slot),
                name: Some(&call.function.name),
                args: &args,
                ..Piece::default()
            });
        }
    }
    if chunk.done {
        draft.counts = Counts {
            input: chunk.prompt_eval_count,
            cached: 0,
            output: chunk.eval_count,
        };
        draft.stop = Some(match chunk.done_reason.as_deref() {
            Some("length") => Stop::Length,
            _ => Stop::End,
        });
    }
    Ok(())
}

/// A line of a stream, with whatever a server leaves out left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chunk {
    message: Option<Said>,
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}
