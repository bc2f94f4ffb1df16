//! Responses. Nothing is kept at the server: the conversation is sent whole, and what the model thought
//! comes back encrypted and is sent again unread ([`crate::model::Reply::state`]).

use async_openai::Client;
use serde_json::{Map, Value, json};

use super::{
    chat::{Tokens, allowed, filtered, response_format, temperature},
    transport::{Endpoint, failed},
};
use crate::model::{
    Message, ModelError, Request, Stop,
    probe::{Format, Manner},
    remote::{Draft, Failure, Names, Piece, Places, Server, call_id, check_sent, observed},
    step::{self, Role},
};

/// The member of a state that holds what was thought.
const STATE: &str = "openai_reasoning";

/// Members of a request that help and are not needed.
pub(super) const OPTIONAL: [&str; 6] = [
    "tool_choice",
    "temperature",
    "include",
    "store",
    "max_output_tokens",
    "response_format",
];

/// Where the tools are in a body.
const PLACES: Places = Places {
    name: "/name",
    explained: "/instructions",
};

/// The body of a request.
///
/// # Errors
/// If it holds not all that it must.
pub(super) fn body(
    model: &str,
    request: &Request,
    manner: &Manner,
    names: &Names,
    at_openai: bool,
) -> Result<Value, ModelError> {
    let mut body = Map::new();
    let mut set = |member: &str, value: Value| {
        if !manner.unwanted.contains(member) {
            body.insert(member.to_owned(), value);
        }
    };
    set("model", json!(model));
    let native = manner.native_tools || request.tools.is_empty();
    let (instructions, input) = if native {
        items(request, names)
    } else {
        steps(request)
    };
    if !instructions.is_empty() {
        set("instructions", json!(instructions));
    }
    set("input", input);
    if native && !request.tools.is_empty() {
        set("tools", tools(request, names));
        if at_openai && let Some(named) = allowed(request) {
            let named = named.map(|name| json!({"type": "function", "name": names.sent(name)}));
            let tools: Value = named.collect();
            set(
                "tool_choice",
                json!({"type": "allowed_tools", "mode": "auto", "tools": tools}),
            );
        }
    }
    if !native && let Some(format) = text_format(request, manner.format) {
        set("text", json!({ "format": format }));
    }
    // llama.cpp's server passes over `text` in silence and knows the name that Chat Completions has.
    if !native
        && !at_openai
        && let Some(format) = response_format(request, manner.format)
    {
        set("response_format", format);
    }
    set("store", json!(false));
    set("include", json!(["reasoning.encrypted_content"]));
    set("stream", json!(true));
    set("temperature", temperature(request));
    set("max_output_tokens", json!(request.sampling.max_tokens));
    let body = Value::Object(body);
    check_sent(&body, request, names, native, PLACES)?;
    Ok(body)
}

fn tools(request: &Request, names: &Names) -> Value {
    let tool = |tool: &crate::tool::ToolSpec| {
        json!({
            "type": "function",
            "name": names.sent(&tool.name),
            "description": tool.description,
            "parameters": tool.input,
            // Strict schemas forbid optional arguments; the gate checks them all the same.
            "strict": false,
        })
    };
    request.tools.iter().map(tool).collect()
}

fn text_format(request: &Request, format: Format) -> Option<Value> {
    match format {
        Format::Schema => {
            let schema = step::schema(&request.choices());
            Some(json!({"type": "json_schema", "name": "step", "strict": true, "schema": schema}))
        }
        Format::Json => Some(json!({"type": "json_object"})),
        Format::Text => None,
    }
}

/// The instructions and the conversation of a model that takes steps.
fn steps(request: &Request) -> (String, Value) {
    let mut instructions = String::new();
    let mut input = Vec::new();
    for turn in step::turns(request) {
        match turn.role {
            Role::System => instructions.push_str(&turn.text),
            Role::User => input.push(json!({"role": "user", "content": turn.text})),
            Role::Assistant => input.push(assistant(&turn.text)),
        }
    }
    (instructions, input.into())
}

fn assistant(text: &str) -> Value {
    json!({
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

/// The instructions and the conversation of a model that makes native calls.
fn items(request: &Request, names: &Names) -> (String, Value) {
    let mut instructions = String::new();
    let mut input = Vec::new();
    for message in &request.messages {
        match message {
            Message::System { text } => instructions.push_str(text),
            Message::User { text, .. } => input.push(json!({"role": "user", "content": text})),
            Message::Assistant {
                text, calls, state, ..
            } => {
                let thought = state
                    .as_ref()
                    .and_then(|state| state.get(STATE)?.as_array());
                input.extend(thought.into_iter().flatten().cloned());
                if !text.is_empty() || calls.is_empty() {
                    input.push(assistant(text));
                }
                input.extend(calls.iter().map(|(id, call)| {
                    json!({
                        "type": "function_call",
                        "call_id": call_id(*id),
                        "name": names.sent(&call.name),
                        "arguments": call.args.to_string(),
                    })
                }));
            }
            Message::Tool { call, text, ok, .. } => input.push(json!({
                "type": "function_call_output",
                "call_id": call_id(*call),
                "output": observed(text, *ok),
            })),
        }
    }
    (instructions, input.into())
}

/// Sends a body and reads the stream that comes back.
pub(super) async fn read(
    server: &Server,
    client: &Client<Endpoint>,
    body: Value,
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    let stream = client.responses().create_stream_byot(body).await;
    let mut stream = stream.map_err(|error| failed(server, error))?;
    let mut thought = Vec::new();
    while let Some(event) = server.next(&mut stream, draft.has_begun()).await? {
        let event: Value = event.map_err(|error| failed(server, error))?;
        take(server, &event, &mut thought, draft)?;
        if draft.stop.is_some() || draft.has_enough() {
            break;
        }
    }
    if !thought.is_empty() {
        draft.state = Some(json!({ STATE: thought }));
    }
    Ok(())
}

fn take(
    server: &Server,
    event: &Value,
    thought: &mut Vec<Value>,
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    let text = |member: &str| {
        event
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let slot = slot(event);
    match text("type") {
        "response.output_text.delta" => draft.text(text("delta")),
        "response.refusal.delta" => draft.refusal(text("delta")),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
            draft.thought(text("delta"));
        }
        "response.function_call_arguments.delta" => draft.call(Piece {
            slot: slot.as_deref(),
            args: text("delta"),
            ..Piece::default()
        }),
        "response.output_item.added" => item_begins(event, slot.as_deref(), draft),
        "response.output_item.done" => item_ends(event, slot.as_deref(), thought, draft),
        "response.completed" | "response.incomplete" => ends(event, draft)?,
        "response.failed" => {
            let error = event
                .pointer("/response/error")
                .cloned()
                .unwrap_or_default();
            return Err(server.error_event(&json!({ "error": error })));
        }
        "error" => return Err(server.error_event(event)),
        // Servers that speak Chat Completions underneath may say an error in that form.
        "" if event.get("error").is_some() => return Err(server.error_event(event)),
        _ => {}
    }
    Ok(())
}

/// The place of an item: its number, or its id where a server does not number (llama.cpp).
fn slot(event: &Value) -> Option<String> {
    let index = event.get("output_index").and_then(Value::as_u64);
    let id = event.get("item_id").or_else(|| event.pointer("/item/id"));
    let id = id.and_then(Value::as_str).map(str::to_owned);
    index.map(|index| index.to_string()).or(id)
}

fn item_begins(event: &Value, slot: Option<&str>, draft: &mut Draft<'_>) {
    let item = event.get("item").unwrap_or(&Value::Null);
    let text = |member: &str| item.get(member).and_then(Value::as_str);
    if text("type") == Some("function_call") {
        draft.call(Piece {
            slot,
            name: text("name"),
            ..Piece::default()
        });
    }
}

fn item_ends(event: &Value, slot: Option<&str>, thought: &mut Vec<Value>, draft: &mut Draft<'_>) {
    let item = event.get("item").unwrap_or(&Value::Null);
    let text = |member: &str| item.get(member).and_then(Value::as_str);
    match text("type") {
        Some("function_call") => draft.call_ends(Piece {
            slot,
            name: text("name"),
            args: text("arguments").unwrap_or_default(),
            ..Piece::default()
        }),
        // What is not encrypted the server cannot take back without having stored it.
        Some("reasoning") if text("encrypted_content").is_some() => {
            let mut item = item.clone();
            if let Some(members) = item.as_object_mut() {
                members.shift_remove("status");
            }
            thought.push(item);
        }
        _ => {}
    }
}

fn ends(event: &Value, draft: &mut Draft<'_>) -> Result<(), Failure> {
    let response = event.get("response").unwrap_or(&Value::Null);
    let usage = response.get("usage").cloned();
    if let Some(tokens) = usage.and_then(|usage| serde_json::from_value::<Tokens>(usage).ok()) {
        draft.counts = tokens.counts();
    }
    let reason = response
        .pointer("/incomplete_details/reason")
        .and_then(Value::as_str);
    draft.stop = Some(match reason {
        None => Stop::End,
        Some("content_filter") => return Err(filtered()),
        Some(_) => Stop::Length,
    });
    Ok(())
}
