//! Chat Completions.

use async_openai::Client;
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::transport::{Endpoint, failed};
use crate::model::{
    Message, ModelError, Request, Stop,
    probe::{Format, Manner},
    remote::{Draft, Failure, Names, Piece, Places, Server, call_id, check_sent, joined, observed},
    step::{self, Role},
};

/// Members of a request that help and are not needed.
pub(super) const OPTIONAL: [&str; 6] = [
    "tool_choice",
    "seed",
    "temperature",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
];

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
    let messages = if native {
        native_messages(request, names)
    } else {
        steps(request)
    };
    set("messages", messages);
    if native && !request.tools.is_empty() {
        set("tools", tools(request, names));
        if at_openai && let Some(named) = allowed(request) {
            let named = named
                .map(|name| json!({"type": "function", "function": {"name": names.sent(name)}}));
            let tools: Value = named.collect();
            let allowed = json!({"mode": "auto", "tools": tools});
            set(
                "tool_choice",
                json!({"type": "allowed_tools", "allowed_tools": allowed}),
            );
        }
    }
    if !native && let Some(format) = response_format(request, manner.format) {
        set("response_format", format);
    }
    set("stream", json!(true));
    set("stream_options", json!({"include_usage": true}));
    set("temperature", temperature(request));
    set("seed", json!(request.sampling.seed));
    // OpenAI's newer models refuse the older name; other servers know only that one.
    let limit = if at_openai {
        "max_completion_tokens"
    } else {
        "max_tokens"
    };
    set(limit, json!(request.sampling.max_tokens));
    let body = Value::Object(body);
    check_sent(&body, request, names, native, PLACES)?;
    Ok(body)
}

/// What f32 cannot say exactly is not sent with seventeen digits.
pub(super) fn temperature(request: &Request) -> Value {
    json!((f64::from(request.sampling.temperature) * 1e4).round() / 1e4)
}

/// The tools that may be called, where some are barred: all are still sent, so that what was sent before
/// stays the beginning of what is sent now. Only OpenAI itself is known to take this; elsewhere the gate
/// refuses the call.
pub(super) fn allowed(request: &Request) -> Option<impl Iterator<Item = &str>> {
    let is_free = |name: &&str| !request.barred.iter().any(|barred| barred == name);
    let named = request.tools.iter().map(|tool| tool.name.as_str());
    let some_are_barred = !request.barred.is_empty() && named.clone().any(|name| is_free(&name));
    some_are_barred.then(|| named.filter(is_free))
}

fn tools(request: &Request, names: &Names) -> Value {
    let tool = |tool: &crate::tool::ToolSpec| {
        json!({
            "type": "function",
            "function": {
                "name": names.sent(&tool.name),
                "description": tool.description,
                "parameters": tool.input,
            },
        })
    };
    request.tools.iter().map(tool).collect()
}

/// How text is constrained to a step.
pub(super) fn response_format(request: &Request, format: Format) -> Option<Value> {
    match format {
        Format::Schema => {
            let schema = step::schema(&request.choices());
            Some(json!({
                "type": "json_schema",
                "json_schema": {"name": "step", "strict": true, "schema": schema},
            }))
        }
        Format::Json => Some(json!({"type": "json_object"})),
        Format::Text => None,
    }
}

/// The conversation of a model that takes steps.
fn steps(request: &Request) -> Value {
    let turn = |turn: step::Turn| {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        json!({"role": role, "content": turn.text})
    };
    joined(step::turns(request).into_iter().map(turn).collect()).into()
}

/// The conversation of a model that makes native calls.
fn native_messages(request: &Request, names: &Names) -> Value {
    let message = |message: &Message| match message {
        Message::System { text } => json!({"role": "system", "content": text}),
        Message::User { text, .. } => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls, .. } => {
            let mut said = json!({"role": "assistant", "content": text});
            let calls: Vec<Value> = calls
                .iter()
                .map(|(id, call)| {
                    json!({
                        "id": call_id(*id),
                        "type": "function",
                        "function": {
                            "name": names.sent(&call.name),
                            "arguments": call.args.to_string(),
                        },
                    })
                })
                .collect();
            if let (false, Some(said)) = (calls.is_empty(), said.as_object_mut()) {
                said.insert("tool_calls".to_owned(), calls.into());
            }
            said
        }
        Message::Tool { call, text, ok, .. } => {
            json!({"role": "tool", "tool_call_id": call_id(*call), "content": observed(text, *ok)})
        }
    };
    joined(request.messages.iter().map(message).collect()).into()
}

/// Sends a body and reads the stream that comes back.
pub(super) async fn read(
    server: &Server,
    client: &Client<Endpoint>,
    body: Value,
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    let stream = client.chat().create_stream_byot(body).await;
    let mut stream = stream.map_err(|error| failed(server, error))?;
    read_stream(server, &mut stream, draft).await
}

async fn read_stream(
    server: &Server,
    stream: &mut (impl Stream<Item = Result<Chunk, async_openai::error::OpenAIError>> + Unpin),
    draft: &mut Draft<'_>,
) -> Result<(), Failure> {
    while let Some(chunk) = server.next(&mut stream.by_ref(), draft.has_begun()).await? {
        take(server, chunk.map_err(|error| failed(server, error))?, draft)?;
        if draft.has_enough() {
            break;
        }
    }
    Ok(())
}

fn take(server: &Server, chunk: Chunk, draft: &mut Draft<'_>) -> Result<(), Failure> {
    if let Some(error) = chunk.error {
        return Err(server.error_event(&json!({"error": error})));
    }
    if let Some(usage) = chunk.usage {
        draft.counts = usage.counts();
    }
    // Only one choice is asked for.
    let Some(choice) = chunk.choices.into_iter().flatten().next() else {
        return Ok(());
    };
    let delta = choice.delta.unwrap_or_default();
    for thought in [delta.reasoning_content, delta.reasoning]
        .into_iter()
        .flatten()
        .take(1)
    {
        draft.thought(&thought);
    }
    draft.text(&delta.content.unwrap_or_default());
    draft.refusal(&delta.refusal.unwrap_or_default());
    for call in delta.tool_calls.unwrap_or_default() {
        let function = call.function.unwrap_or_default();
        let slot = call.index.map(|index| index.to_string());
        draft.call(Piece {
            slot: slot.as_deref(),
            id: call.id.as_deref(),
            name: function.name.as_deref(),
            args: &function.arguments.unwrap_or_default(),
        });
    }
    match choice.finish_reason.as_deref() {
        None | Some("") => {}
        Some("length") => draft.stop = Some(Stop::Length),
        Some("content_filter") => return Err(filtered()),
        Some("error") => return Err(server.malformed("the server says that it failed midway")),
        Some(_) => draft.stop = Some(Stop::End),
    }
    Ok(())
}

/// The server did not let the reply through.
pub(super) fn filtered() -> Failure {
    let message = "a filter at the server held the reply back".to_owned();
    ModelError::Refused { message }.into()
}

/// A piece of a stream, with whatever a server leaves out left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    content: Option<String>,
    /// DeepSeek, llama.cpp, vLLM.
    reasoning_content: Option<String>,
    /// OpenRouter, newer vLLM.
    reasoning: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call {
    index: Option<u64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

/// Tokens as both forms of the protocol count them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
}

impl Tokens {
    pub(super) fn counts(&self) -> crate::model::remote::Counts {
        let details = self.prompt_tokens_details.as_ref();
        crate::model::remote::Counts {
            input: self.prompt_tokens,
            cached: details
                .and_then(|details| details.cached_tokens)
                .unwrap_or(0),
            output: self.completion_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::openai::{barring, responses};

    #[test]
    fn a_barred_tool_is_sent_and_may_not_be_called() {
        let request = barring(&["look"]);
        let names = Names::new(&request.tools);
        let native = Manner {
            native_tools: true,
            ..Manner::default()
        };
        let chat = body("m", &request, &native, &names, true).unwrap();
        let allowed = json!([{"type": "function", "function": {"name": "finish"}}]);
        assert_eq!(
            chat["tool_choice"],
            json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}})
        );
        let said = responses::body("m", &request, &native, &names, true).unwrap();
        let allowed = json!([{"type": "function", "name": "finish"}]);
        assert_eq!(
            said["tool_choice"],
            json!({"type": "allowed_tools", "mode": "auto", "tools": allowed})
        );
        let (none, both) = (barring(&[]), barring(&["look", "finish"]));
        for (sent, write) in [
            (chat, body as fn(_, _, _, _, _) -> _),
            (said, responses::body),
        ] {
            assert_eq!(sent["tools"].as_array().unwrap().len(), 2);
            let free = write("m", &none, &native, &names, true).unwrap();
            assert_eq!(free["tools"], sent["tools"], "the prefix stays");
            assert_eq!(free.get("tool_choice"), None);
            let all = write("m", &both, &native, &names, true).unwrap();
            assert_eq!(
                all.get("tool_choice"),
                None,
                "a reply must be able to do something"
            );
            let elsewhere = write("m", &request, &native, &names, false).unwrap();
            assert_eq!(elsewhere.get("tool_choice"), None, "others may refuse it");
        }
    }
}
