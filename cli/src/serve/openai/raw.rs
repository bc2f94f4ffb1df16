//! The mind alone: one reply of the model to what is said, with no run, no tools but the client's, and
//! nothing written down.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response, sse::Event},
};
use futures::{StreamExt, stream};
use gpak_kernel::{
    label::Label,
    model::{
        CallId, Delta, Deltas, Message, Model, ModelError, Reply, Request, Sampling, Stop, ToolCall,
    },
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    ask::{Ask, Made, Turn},
    chat::{Chunks, body, broken, call, counts},
    stream::answer,
};
use crate::serve::{
    House, db,
    problem::{Answered, Problem},
};

/// Tokens of a reply, where nothing is said.
const TOKENS: u32 = 2048;
/// Pieces of a reply that may wait for a client that reads slowly; then they are put together.
const AHEAD: usize = 256;

/// Answers a chat.
pub async fn chat(
    house: &House,
    (name, model): (&'static str, Arc<dyn Model>),
    ask: Ask,
    said: &Value,
    is_stream: bool,
) -> Answered<Response> {
    let request = request(ask, said)?;
    let id = format!("chatcmpl-{}", db::random()?);
    if is_stream {
        let chunks = Chunks::new(name, counts(said));
        return Ok(streamed(house, model, request, (id, chunks)));
    }
    let reply = asked(house, model.as_ref(), &request).await?;
    let finish = finish(&reply);
    let calls: Vec<_> = made(&reply, &id).iter().map(call).collect();
    let mut message = json!({"role": "assistant", "content": reply.text, "refusal": null});
    if let Some(message) = message.as_object_mut() {
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        if !reply.thought.is_empty() {
            message.insert("reasoning_content".to_owned(), reply.thought.into());
        }
    }
    let body = body(&id, (name, db::now()), (message, finish), &reply.usage);
    Ok(Json(body).into_response())
}

/// Gives a response. It is not kept, and cannot be had again.
pub async fn response(
    house: &House,
    (model_name, model): (&'static str, Arc<dyn Model>),
    ask: Ask,
    said: &Value,
    is_stream: bool,
) -> Answered<Response> {
    if is_stream {
        return Err(Problem::unprocessable(format!(
            "`{model_name}` streams chat completions only"
        ))
        .help("use /v1/chat/completions, or leave `stream` out"));
    }
    let request = request(ask, said)?;
    let reply = asked(house, model.as_ref(), &request).await?;
    let name = db::random()?;
    let mut output = Vec::new();
    if !reply.text.is_empty() {
        let part = json!({"type": "output_text", "text": reply.text, "annotations": []});
        output.push(
            json!({"id": format!("msg_{name}"), "type": "message", "role": "assistant",
            "status": "completed", "content": [part]}),
        );
    }
    for (index, made) in made(&reply, &name).into_iter().enumerate() {
        output.push(
            json!({"id": format!("fc_{name}_{index}"), "type": "function_call",
            "status": "completed", "call_id": made.id, "name": made.name, "arguments": made.args}),
        );
    }
    let usage = &reply.usage;
    let body = json!({
        "id": format!("resp_{name}"), "object": "response", "created_at": db::now(),
        "status": "completed", "model": model_name, "output": output, "store": false,
        "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "temperature": null, "top_p": null,
        "usage": {
            "input_tokens": usage.input, "output_tokens": usage.output,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input + usage.output,
        },
    });
    Ok(Json(body).into_response())
}

/// What the model is given.
fn request(ask: Ask, said: &Value) -> Answered<Request> {
    let number = |names: &[&str]| {
        let found = names.iter().find_map(|name| said.get(*name));
        found.and_then(Value::as_f64)
    };
    let usual = Sampling::default();
    let tokens = number(&["max_completion_tokens", "max_tokens", "max_output_tokens"]);
    let sampling = Sampling {
        temperature: number(&["temperature"])
            .map_or(usual.temperature, |it| it.clamp(0.0, 2.0) as f32),
        seed: said
            .get("seed")
            .and_then(Value::as_u64)
            .unwrap_or(usual.seed),
        max_tokens: tokens.map_or(TOKENS, |tokens| tokens.clamp(1.0, 1e6) as u32),
    };
    let mut messages = Vec::new();
    if !ask.instructions.is_empty() {
        messages.push(Message::System {
            text: ask.instructions,
        });
    }
    messages.extend(as_messages(ask.turns)?);
    Ok(Request {
        messages,
        tools: ask.tools.into(),
        barred: Vec::new(),
        sampling,
        known: Default::default(),
    })
}

fn as_messages(turns: Vec<Turn>) -> Answered<Vec<Message>> {
    let mut known: HashMap<String, (CallId, String)> = HashMap::new();
    let mut reply = 0;
    let mut messages = Vec::new();
    for turn in turns {
        messages.push(match turn {
            Turn::User(text) => Message::User {
                text,
                label: Label::User,
            },
            Turn::Assistant(text, calls) => {
                reply += 1;
                let calls = (0..).zip(calls).map(|(index, made)| {
                    let id = CallId { reply, index };
                    known.insert(made.id, (id, made.name.clone()));
                    // What is no JSON is kept as text, which no tool's schema takes.
                    let args = serde_json::from_str(&made.args);
                    let args = args.unwrap_or(Value::String(made.args));
                    let name = made.name;
                    (id, ToolCall { name, args })
                });
                Message::Assistant {
                    thought: String::new(),
                    text,
                    calls: calls.collect(),
                    state: None,
                }
            }
            Turn::Tool { call, text } => {
                let (id, name) = known.get(&call).cloned().ok_or_else(|| {
                    Problem::unprocessable(format!("there is no call `{call}` before its output"))
                })?;
                Message::Tool {
                    call: id,
                    label: Label::Tool(name.clone()),
                    name,
                    text,
                    ok: true,
                }
            }
        });
    }
    match messages.last() {
        None | Some(Message::Assistant { .. }) => {
            Err(Problem::unprocessable("nobody says anything to the model"))
        }
        Some(_) => Ok(messages),
    }
}

async fn asked(house: &House, model: &dyn Model, request: &Request) -> Answered<Reply> {
    let mut nobody = ();
    tokio::select! {
        reply = model.reply(request, &mut nobody) => reply.map_err(problem),
        () = house.stop.cancelled() => Err(Problem::unavailable("the service stops")),
    }
}

fn problem(error: ModelError) -> Problem {
    let what = error.to_string();
    match error {
        ModelError::RateLimited { after_ms } => {
            let after = after_ms.map_or(5, |ms| ms / 1000 + 1);
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", what).after(after)
        }
        ModelError::ContextOverflow { .. } => Problem::unprocessable(what),
        ModelError::Refused { .. } => Problem::unprocessable(what),
        _ => Problem::new(StatusCode::BAD_GATEWAY, "model-failed", what),
    }
}

fn finish(reply: &Reply) -> &'static str {
    match (reply.stop, reply.calls.is_empty()) {
        (_, false) => "tool_calls",
        (Stop::Length, true) => "length",
        (Stop::End, true) => "stop",
    }
}

fn made(reply: &Reply, name: &str) -> Vec<Made> {
    let short: String = name.chars().rev().take(24).collect();
    let calls = reply.calls.iter().enumerate();
    let made = calls.map(|(index, call)| Made {
        id: format!("call_{short}_{index}"),
        name: call.name.clone(),
        args: match &call.args {
            Value::String(text) => text.clone(),
            args => args.to_string(),
        },
    });
    made.collect()
}

/// Something of a reply that is being made.
enum Told {
    Text(String),
    Thought(String),
    Done(Result<Box<Reply>, ModelError>),
}

/// Passes on what is told of a reply; a client that does not keep up gets larger pieces.
struct Passing {
    to: mpsc::Sender<Told>,
    text: String,
    thought: String,
    /// All text that was told.
    told: usize,
}

impl Passing {
    fn pass(&mut self) {
        for thought in [true, false] {
            let held = if thought {
                &mut self.thought
            } else {
                &mut self.text
            };
            if held.is_empty() {
                continue;
            }
            if let Ok(place) = self.to.try_reserve() {
                let held = std::mem::take(held);
                match thought {
                    true => place.send(Told::Thought(held)),
                    false => {
                        self.told += held.len();
                        place.send(Told::Text(held));
                    }
                }
            }
        }
    }
}

impl Deltas for Passing {
    fn delta(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(text) => self.text.push_str(text),
            Delta::Thought(text) => self.thought.push_str(text),
            Delta::Loading | Delta::Reading(..) | Delta::Call(_) => return,
        }
        self.pass();
    }
}

fn streamed(
    house: &House,
    model: Arc<dyn Model>,
    request: Request,
    (id, mut chunks): (String, Chunks),
) -> Response {
    let (to, from) = mpsc::channel(AHEAD);
    let thinking = async move {
        let mut passing = Passing {
            to: to.clone(),
            text: String::new(),
            thought: String::new(),
            told: 0,
        };
        // A client that goes away stops the model.
        let mut reply = tokio::select! {
            reply = model.reply(&request, &mut passing) => reply,
            () = to.closed() => return,
        };
        if let Ok(reply) = &mut reply {
            // What was told is not told again: the rest is what did not fit, or was never told.
            reply.text = reply
                .text
                .get(passing.told..)
                .unwrap_or_default()
                .to_owned();
        }
        // If nobody listens any more, nobody is told.
        let _ = to.send(Told::Done(reply.map(Box::new))).await;
    };
    tokio::spawn(thinking);
    let first = chunks.first(id.clone(), db::now());
    let told = stream::unfold(
        (from, chunks, id),
        |(mut from, mut chunks, id)| async move {
            let events: Vec<Event> = match from.recv().await? {
                Told::Text(text) => vec![chunks.delta(json!({"content": text}), None)],
                Told::Thought(text) => vec![chunks.delta(json!({"reasoning_content": text}), None)],
                Told::Done(Err(why)) => broken(&why.to_string()),
                Told::Done(Ok(reply)) => {
                    let rest = Some(&reply.text).filter(|text| !text.is_empty());
                    let mut events: Vec<_> = rest
                        .map(|text| chunks.delta(json!({"content": text}), None))
                        .into_iter()
                        .collect();
                    events.extend(made(&reply, &id).iter().map(|made| chunks.call(made)));
                    events.extend(chunks.last(finish(&reply), &reply.usage));
                    events
                }
            };
            Some((stream::iter(events), (from, chunks, id)))
        },
    );
    let stop = house.stop.clone().cancelled_owned();
    let events = stream::iter([first]).chain(told.flatten()).take_until(stop);
    answer(events)
}
