//! `/v1/responses`
//!
//! A response's id names the run and the entry it begins with, so that nothing need be kept of it: it is
//! read from the journal whenever it is asked for. The numbers of its stream count what is read, and so
//! are the same each time (`starting_after`).

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response, sse::Event},
};
use gpak_kernel::event::RunId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AGENT, Asked,
    ask::{Ask, Made},
    asked,
    begin::{Asking, META, wishes},
    pieces::{self, End, Piece, Pieces},
    raw,
    stream::{Encode, told},
};
use crate::serve::{
    House,
    access::{Role, Who},
    problem::{Answered, Problem},
    take::{self, Part},
    trace::Trace,
};

/// What of a request is given back with its response.
const KEPT: [&str; 6] = [
    "metadata",
    "instructions",
    "tools",
    "previous_response_id",
    "background",
    "user",
];

/// Creates a response.
pub async fn create(
    State(house): State<House>,
    who: Who,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let body: Value = read(&bytes)?;
    let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
    let model = body.get("model").and_then(Value::as_str).unwrap_or(AGENT);
    let ask = Ask::of_response(&body)?;
    if let Asked::Mind(name, mind) = asked(&house, model).await? {
        return raw::response(&house, (name, mind), ask, &body, flag("stream")).await;
    }
    let previous = body.get("previous_response_id").and_then(Value::as_str);
    let asking = Asking {
        house: &house,
        who: &who,
        headers: &headers,
        request: ("/v1/responses", &bytes),
        trace: &trace,
        ask,
        previous: previous.map(read_id).transpose()?,
        meta: wishes(&body, &KEPT),
    };
    let (run, start) = asking.begin().await?;
    if flag("stream") {
        return Ok(told(&house, run, start, Events::behind(None)));
    }
    let (stretch, told) = match flag("background") {
        true => pieces::so_far(&house, run, start).await?,
        false => pieces::whole(&house, run, start).await?,
    };
    Ok(Json(response(&stretch, &told)).into_response())
}

/// Reads a body.
pub fn read(bytes: &[u8]) -> Answered<Value> {
    let body: Value = serde_json::from_slice(bytes)
        .map_err(|why| Problem::bad(format!("the body is no JSON: {why}")))?;
    match body.is_object() {
        true => Ok(body),
        false => Err(Problem::bad("the body is no JSON object")),
    }
}

/// How a response is wanted.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    stream: bool,
    starting_after: Option<u64>,
}

/// Gives a response again, as far as it has come.
pub async fn retrieve(
    State(house): State<House>,
    _: Who,
    Part(id): Part<String>,
    take::Asked(wanted): take::Asked<Wanted>,
) -> Answered<Response> {
    let (run, start) = read_id(&id)?;
    let (stretch, all) = pieces::so_far(&house, run, start).await?;
    if stretch.last == 0 {
        return Err(no_response(&id));
    }
    if wanted.stream {
        return Ok(told(
            &house,
            run,
            start,
            Events::behind(wanted.starting_after),
        ));
    }
    Ok(Json(response(&stretch, &all)).into_response())
}

/// Ends a response that is being made, and its run.
pub async fn cancel(
    State(house): State<House>,
    who: Who,
    Part(id): Part<String>,
) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let (run, start) = read_id(&id)?;
    let (stretch, _) = pieces::so_far(&house, run, start).await?;
    if stretch.last == 0 {
        return Err(no_response(&id));
    }
    if stretch.end.is_none() {
        house.work.cancel(run).await?;
    }
    let (stretch, all) = pieces::so_far(&house, run, start).await?;
    Ok(Json(response(&stretch, &all)).into_response())
}

fn id(run: RunId, start: u64) -> String {
    format!("resp_{run}_{start}")
}

fn read_id(id: &str) -> Answered<(RunId, u64)> {
    let read = || {
        let (run, start) = id.strip_prefix("resp_")?.split_once('_')?;
        Some((
            run.parse().ok()?,
            start.parse().ok().filter(|start| *start > 0)?,
        ))
    };
    read().ok_or_else(|| no_response(id))
}

fn no_response(id: &str) -> Problem {
    let status = StatusCode::NOT_FOUND;
    Problem::new(status, "not-found", format!("there is no response `{id}`"))
}

/// A response as far as it has come.
fn response(stretch: &Pieces, told: &[Piece]) -> Value {
    let mut events = Events::behind(None);
    for piece in told {
        events.piece(stretch, piece.clone());
    }
    events.response(stretch)
}

/// Says pieces as the events of a response.
struct Events {
    /// Counts them, from 0.
    next: u64,
    /// Those up to this one the client has.
    seen: Option<u64>,
    output: Vec<Value>,
    end: Option<End>,
    ready: Vec<Event>,
}

impl Events {
    fn behind(seen: Option<u64>) -> Self {
        Self {
            next: 0,
            seen,
            output: Vec::new(),
            end: None,
            ready: Vec::new(),
        }
    }

    fn say(&mut self, kind: &str, mut event: Value) {
        if let Some(event) = event.as_object_mut() {
            event.insert("type".to_owned(), kind.into());
            event.insert("sequence_number".to_owned(), self.next.into());
        }
        if self.seen.is_none_or(|seen| self.next > seen) {
            let data = event.to_string();
            self.ready.push(Event::default().event(kind).data(data));
        }
        self.next += 1;
    }

    fn item(&mut self, stretch: &Pieces, kind: &str) -> (usize, String) {
        let index = self.output.len();
        (
            index,
            format!("{kind}_{}_{}_{index}", stretch.run, stretch.start),
        )
    }

    fn thought(&mut self, stretch: &Pieces, text: &str) {
        let (index, id) = self.item(stretch, "rs");
        let at = json!({"item_id": id, "output_index": index, "summary_index": 0});
        let with = |more: Value| merged(&at, more);
        let empty = json!({"id": id, "type": "reasoning", "summary": []});
        let part = |text: &str| json!({"type": "summary_text", "text": text});
        let item = merged(&empty, json!({"summary": [part(text)]}));
        self.say(
            "response.output_item.added",
            json!({"output_index": index, "item": empty}),
        );
        self.say(
            "response.reasoning_summary_part.added",
            with(json!({"part": part("")})),
        );
        self.say(
            "response.reasoning_summary_text.delta",
            with(json!({"delta": text})),
        );
        self.say(
            "response.reasoning_summary_text.done",
            with(json!({"text": text})),
        );
        self.say(
            "response.reasoning_summary_part.done",
            with(json!({"part": part(text)})),
        );
        self.done(index, item);
    }

    fn answer(&mut self, stretch: &Pieces, text: &str) {
        let (index, id) = self.item(stretch, "msg");
        let at = json!({"item_id": id, "output_index": index, "content_index": 0});
        let with = |more: Value| merged(&at, more);
        let message = |status: &str, content: Value| {
            json!({"id": id, "type": "message", "role": "assistant", "status": status,
                   "content": content})
        };
        let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
        let empty = message("in_progress", json!([]));
        self.say(
            "response.output_item.added",
            json!({"output_index": index, "item": empty}),
        );
        self.say(
            "response.content_part.added",
            with(json!({"part": part("")})),
        );
        let delta = json!({"delta": text, "logprobs": []});
        self.say("response.output_text.delta", with(delta));
        self.say(
            "response.output_text.done",
            with(json!({"text": text, "logprobs": []})),
        );
        self.say(
            "response.content_part.done",
            with(json!({"part": part(text)})),
        );
        self.done(index, message("completed", json!([part(text)])));
    }

    fn call(&mut self, stretch: &Pieces, made: &Made) {
        let (index, id) = self.item(stretch, "fc");
        let at = json!({"item_id": id, "output_index": index});
        let item = |status: &str, args: &str| {
            json!({"id": id, "type": "function_call", "status": status, "call_id": made.id,
                   "name": made.name, "arguments": args})
        };
        let empty = item("in_progress", "");
        self.say(
            "response.output_item.added",
            json!({"output_index": index, "item": empty}),
        );
        let args = &made.args;
        let delta = merged(&at, json!({"delta": args}));
        self.say("response.function_call_arguments.delta", delta);
        let done = merged(&at, json!({"arguments": args, "name": made.name}));
        self.say("response.function_call_arguments.done", done);
        self.done(index, item("completed", args));
    }

    fn done(&mut self, index: usize, item: Value) {
        self.output.push(item.clone());
        self.say(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
    }

    fn response(&self, stretch: &Pieces) -> Value {
        let wish = |name: &str| {
            let wishes = stretch.request.meta.get(META)?;
            wishes.get(name).cloned()
        };
        let (status, error, incomplete) = match &self.end {
            None => ("in_progress", Value::Null, Value::Null),
            Some(End::Completed) => ("completed", Value::Null, Value::Null),
            Some(End::Cancelled) => ("cancelled", Value::Null, Value::Null),
            Some(End::Failed(why)) => {
                let error = json!({"code": "server_error", "message": why});
                ("failed", error, Value::Null)
            }
            Some(End::Incomplete(_)) => (
                "incomplete",
                Value::Null,
                json!({"reason": "max_output_tokens"}),
            ),
        };
        let usage = self.end.as_ref().map(|_| {
            let usage = &stretch.usage;
            json!({
                "input_tokens": usage.input,
                "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
                "output_tokens": usage.output,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage.input + usage.output,
            })
        });
        // A response that answers calls has another before it; that one is not written down.
        let previous = wish("previous_response_id").filter(|_| stretch.is_first());
        json!({
            "id": id(stretch.run, stretch.start),
            "object": "response",
            "created_at": stretch.created,
            "completed_at": (status == "completed").then_some(stretch.updated),
            "status": status,
            "background": wish("background").unwrap_or(Value::Bool(false)),
            "error": error,
            "incomplete_details": incomplete,
            "instructions": wish("instructions"),
            "max_output_tokens": null,
            "metadata": wish("metadata").unwrap_or_else(|| json!({})),
            "model": AGENT,
            "output": self.output,
            "parallel_tool_calls": true,
            "previous_response_id": previous,
            "reasoning": {"effort": null, "summary": null},
            "store": true,
            "temperature": null,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": wish("tools").unwrap_or_else(|| json!([])),
            "top_p": null,
            "truncation": "disabled",
            "usage": usage,
            "user": wish("user"),
        })
    }
}

impl Encode for Events {
    fn begin(&mut self, stretch: &Pieces) -> Vec<Event> {
        for kind in ["response.created", "response.in_progress"] {
            let response = self.response(stretch);
            self.say(kind, json!({"response": response}));
        }
        std::mem::take(&mut self.ready)
    }

    fn piece(&mut self, stretch: &Pieces, piece: Piece) -> Vec<Event> {
        match piece {
            Piece::Thought(text) => self.thought(stretch, &text),
            Piece::Answer(text) => self.answer(stretch, &text),
            Piece::Call(made) => self.call(stretch, &made),
            Piece::End(end) => {
                let kind = match &end {
                    End::Completed => "response.completed",
                    End::Failed(_) => "response.failed",
                    End::Incomplete(_) | End::Cancelled => "response.incomplete",
                };
                self.end = Some(end);
                let response = self.response(stretch);
                self.say(kind, json!({"response": response}));
            }
        }
        std::mem::take(&mut self.ready)
    }
}

/// An object with more members, which win.
fn merged(object: &Value, more: Value) -> Value {
    let mut all = object.clone();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}
