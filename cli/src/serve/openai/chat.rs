//! `/v1/chat/completions`

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response, sse::Event},
};
use gpak_kernel::model::Usage;
use serde_json::{Value, json};

use super::{
    AGENT, Asked,
    ask::{Ask, Made},
    asked,
    begin::{Asking, wishes},
    pieces::{self, End, Piece, Pieces},
    raw,
    responses::read,
    stream::{Encode, told},
};
use crate::serve::{
    House,
    access::{Role, Who},
    problem::{Answered, Problem},
    trace::Trace,
};

/// Answers a chat.
pub async fn create(
    State(house): State<House>,
    who: Who,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let body = read(&bytes)?;
    let is_stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let model = body.get("model").and_then(Value::as_str).unwrap_or(AGENT);
    let ask = Ask::of_chat(&body)?;
    if let Asked::Mind(name, mind) = asked(&house, model).await? {
        return raw::chat(&house, (name, mind), ask, &body, is_stream).await;
    }
    let asking = Asking {
        house: &house,
        who: &who,
        headers: &headers,
        request: ("/v1/chat/completions", &bytes),
        trace: &trace,
        ask,
        previous: None,
        meta: wishes(&body, &["metadata", "user"]),
    };
    let (run, start) = asking.begin().await?;
    if is_stream {
        return Ok(told(&house, run, start, Chunks::new(AGENT, counts(&body))));
    }
    let (stretch, told) = pieces::whole(&house, run, start).await?;
    completion(&stretch, told).map(|body| Json(body).into_response())
}

/// Whether a stream is to end with what it took.
pub fn counts(body: &Value) -> bool {
    let wish = body.pointer("/stream_options/include_usage");
    wish.and_then(Value::as_bool).unwrap_or(false)
}

fn completion(stretch: &Pieces, told: Vec<Piece>) -> Answered<Value> {
    let (mut thoughts, mut answer, mut calls) = (Vec::new(), None, Vec::new());
    for piece in told {
        match piece {
            Piece::Thought(text) => thoughts.push(text),
            Piece::Answer(text) => answer = Some(text),
            Piece::Call(made) => calls.push(call(&made)),
            Piece::End(End::Failed(why)) => return Err(failed(&why)),
            Piece::End(End::Cancelled) => return Err(failed("it was cancelled")),
            Piece::End(End::Completed | End::Incomplete(_)) => {}
        }
    }
    let finish = match (&stretch.end, calls.is_empty()) {
        (Some(End::Incomplete(_)), _) => "length",
        (_, false) => "tool_calls",
        (_, true) => "stop",
    };
    let mut message = json!({"role": "assistant", "content": answer, "refusal": null});
    if let Some(message) = message.as_object_mut() {
        if !calls.is_empty() {
            message.insert("tool_calls".to_owned(), calls.into());
        }
        if !thoughts.is_empty() {
            let thoughts = thoughts.join("\n\n");
            message.insert("reasoning_content".to_owned(), thoughts.into());
        }
    }
    Ok(body(
        &format!("chatcmpl-{}-{}", stretch.run, stretch.start),
        (AGENT, stretch.created),
        (message, finish),
        &stretch.usage,
    ))
}

/// A chat completion.
pub fn body(
    id: &str,
    (model, created): (&str, i64),
    (message, finish): (Value, &str),
    used: &Usage,
) -> Value {
    json!({
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
        "usage": usage(used),
    })
}

/// A call, as this protocol has it.
pub fn call(made: &Made) -> Value {
    json!({"id": made.id, "type": "function",
           "function": {"name": made.name, "arguments": made.args}})
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    })
}

/// Clients try a request again that the server failed; this one would fail again.
fn failed(why: &str) -> Problem {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(
        status,
        "run-failed",
        format!("the run has no answer: {why}"),
    )
    .help("GET /api/v1/runs shows it")
}

/// Says pieces as the chunks of a chat.
pub struct Chunks {
    model: &'static str,
    id: String,
    created: i64,
    counts: bool,
    calls: usize,
}

impl Chunks {
    /// From that model; with what it took at the end, or without.
    pub fn new(model: &'static str, counts: bool) -> Self {
        Self {
            model,
            id: String::new(),
            created: 0,
            counts,
            calls: 0,
        }
    }

    /// The first chunk, with the id that all have.
    pub fn first(&mut self, id: String, created: i64) -> Event {
        (self.id, self.created) = (id, created);
        self.delta(json!({"role": "assistant", "content": ""}), None)
    }

    /// A piece of the message.
    pub fn delta(&self, delta: Value, finish: Option<&str>) -> Event {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null});
        self.chunk(json!([choice]), Value::Null)
    }

    /// A call.
    pub fn call(&mut self, made: &Made) -> Event {
        let mut call = call(made);
        if let Some(call) = call.as_object_mut() {
            call.insert("index".to_owned(), self.calls.into());
        }
        self.calls += 1;
        self.delta(json!({"tool_calls": [call]}), None)
    }

    /// The last chunks.
    pub fn last(&self, finish: &str, used: &Usage) -> Vec<Event> {
        let counts = self.counts.then(|| self.chunk(json!([]), usage(used)));
        std::iter::once(self.delta(json!({}), Some(finish)))
            .chain(counts)
            .chain([Event::default().data("[DONE]")])
            .collect()
    }

    /// Whether a call was said.
    pub fn has_calls(&self) -> bool {
        self.calls > 0
    }

    fn chunk(&self, choices: Value, usage: Value) -> Event {
        let chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "usage": usage,
        });
        Event::default().data(chunk.to_string())
    }
}

/// That a stream failed, as clients of this protocol read it.
pub fn broken(why: &str) -> Vec<Event> {
    let error = json!({"error": {"message": why, "type": "server_error", "code": "run_failed"}});
    vec![
        Event::default().data(error.to_string()),
        Event::default().data("[DONE]"),
    ]
}

impl Encode for Chunks {
    fn begin(&mut self, stretch: &Pieces) -> Vec<Event> {
        let id = format!("chatcmpl-{}-{}", stretch.run, stretch.start);
        vec![self.first(id, stretch.created)]
    }

    fn piece(&mut self, stretch: &Pieces, piece: Piece) -> Vec<Event> {
        match piece {
            Piece::Thought(text) => {
                vec![self.delta(json!({"reasoning_content": format!("{text}\n\n")}), None)]
            }
            Piece::Answer(text) => vec![self.delta(json!({"content": text}), None)],
            Piece::Call(made) => vec![self.call(&made)],
            Piece::End(End::Failed(why)) => broken(&why),
            Piece::End(End::Cancelled) => broken("it was cancelled"),
            Piece::End(End::Incomplete(_)) => self.last("length", &stretch.usage),
            Piece::End(End::Completed) => {
                let finish = if self.has_calls() {
                    "tool_calls"
                } else {
                    "stop"
                };
                self.last(finish, &stretch.usage)
            }
        }
    }
}
