//! A reply while it comes in pieces.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    Names,
    tags::{Split, Tags},
};
use crate::{
    model::{
        Delta, Deltas, ModelError, ModelProfile, Reply, Request, Stop, ToolCall, Usage,
        probe::{Format, Manner},
        step::{self, Splitter},
    },
    tool::ToolSpec,
};

/// Bytes of text that a token has, where a server does not count them.
const BYTES_PER_TOKEN: u64 = 4;

/// How the pieces are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Text is text and calls are calls.
    Native,
    /// Text is a step (see [`step`]), as the server was asked to make sure.
    Step,
    /// Text is a step if the model kept to what it was told, and else an answer.
    Loose,
}

impl Reading {
    /// Of what was asked for in this manner.
    pub(crate) fn of(manner: &Manner) -> Self {
        match (manner.native_tools, manner.format) {
            (true, _) => Self::Native,
            (false, Format::Text) => Self::Loose,
            (false, _) => Self::Step,
        }
    }
}

/// A piece of a native call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Piece<'a> {
    /// The place of the call among those of the reply, in whatever way the provider says it.
    pub slot: Option<&'a str>,
    /// The id that the provider gave it.
    pub id: Option<&'a str>,
    /// Its tool.
    pub name: Option<&'a str>,
    /// More of the text of its arguments.
    pub args: &'a str,
}

/// What a server counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    /// Tokens sent.
    pub input: Option<u64>,
    /// Of these, seen before.
    pub cached: u64,
    /// Tokens replied.
    pub output: Option<u64>,
}

/// A reply so far.
pub(crate) struct Draft<'a> {
    deltas: &'a mut dyn Deltas,
    names: &'a Names,
    tools: &'a [ToolSpec],
    reading: Reading,
    started: Instant,
    first: Option<Duration>,
    most_text: usize,
    /// Bytes that were sent.
    sent: u64,
    tags: Tags,
    splitter: Splitter,
    thought: String,
    text: String,
    calls: Vec<Written>,
    refusal: String,
    /// What the server counted, as soon as it is known.
    pub counts: Counts,
    /// Why the model stopped, as soon as it is known.
    pub stop: Option<Stop>,
    /// What the provider wants back.
    pub state: Option<Value>,
}

/// A native call so far.
#[derive(Debug, Default)]
struct Written {
    slot: Option<String>,
    id: Option<String>,
    name: String,
    args: String,
}

impl<'a> Draft<'a> {
    /// An empty draft of the reply to `request`, for which `sent` bytes are about to be sent.
    pub(crate) fn new(
        request: &'a Request,
        names: &'a Names,
        reading: Reading,
        sent: usize,
        deltas: &'a mut dyn Deltas,
    ) -> Self {
        Self {
            deltas,
            names,
            tools: &request.tools,
            // Without tools there is nothing that a step could call.
            reading: if request.tools.is_empty() {
                Reading::Native
            } else {
                reading
            },
            started: Instant::now(),
            first: None,
            most_text: usize::MAX,
            sent: sent as u64,
            tags: Tags::default(),
            splitter: Splitter::default(),
            thought: String::new(),
            text: String::new(),
            calls: Vec::new(),
            refusal: String::new(),
            counts: Counts::default(),
            stop: None,
            state: None,
        }
    }

    /// Whether a token has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    /// Ends the draft once there are so many bytes of text and no call: it is known then that none will
    /// come.
    pub(crate) fn with_most_text(mut self, bytes: usize) -> Self {
        self.most_text = bytes;
        self
    }

    /// Whether more would change nothing.
    pub(crate) fn has_enough(&self) -> bool {
        self.calls.is_empty() && self.text.len() > self.most_text
    }

    fn begin(&mut self) {
        let started = self.started;
        self.first.get_or_insert_with(|| started.elapsed());
    }

    /// More thought.
    pub(crate) fn thought(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.begin();
        self.thought.push_str(text);
        self.deltas.delta(Delta::Thought(text));
    }

    /// More text.
    pub(crate) fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.begin();
        let split = self.tags.push(text);
        self.said(split);
    }

    fn said(&mut self, split: Split) {
        self.thought(&split.thought);
        if split.text.is_empty() {
            return;
        }
        self.text.push_str(&split.text);
        if self.reading == Reading::Native {
            self.deltas.delta(Delta::Text(&split.text));
            return;
        }
        for piece in self.splitter.push(&split.text) {
            match piece {
                step::Piece::Thought(text) => self.deltas.delta(Delta::Thought(&text)),
                step::Piece::Call(text) => self.deltas.delta(Delta::Call(&text)),
            }
        }
    }

    /// More of a refusal.
    pub(crate) fn refusal(&mut self, text: &str) {
        if !text.is_empty() {
            self.begin();
            self.refusal.push_str(text);
        }
    }

    /// More of a call.
    pub(crate) fn call(&mut self, piece: Piece<'_>) {
        self.begin();
        let at = self
            .calls
            .iter()
            .rposition(|call| call.goes_on_with(&piece));
        let at = at.unwrap_or_else(|| {
            self.calls.push(Written::default());
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(at) else {
            return;
        };
        let own = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        call.slot = call.slot.take().or_else(|| own(piece.slot));
        call.id = call.id.take().or_else(|| own(piece.id));
        let mut delta = String::new();
        if let Some(name) = piece.name.filter(|_| call.name.is_empty()) {
            call.name = name.to_owned();
            delta = format!("{} ", self.names.own(name));
        }
        call.args.push_str(piece.args);
        delta.push_str(piece.args);
        if !delta.is_empty() {
            self.deltas.delta(Delta::Call(&delta));
        }
    }

    /// The arguments of a call as the server says them at its end, where they did not come in pieces.
    pub(crate) fn call_ends(&mut self, piece: Piece<'_>) {
        let slot = piece.slot;
        let mut known = self
            .calls
            .iter()
            .filter(|call| call.slot.as_deref() == slot);
        if known.any(|call| !call.args.is_empty()) {
            return;
        }
        self.call(piece);
    }

    /// The whole reply.
    ///
    /// # Errors
    /// [`ModelError::Refused`] if the model refused, [`ModelError::Malformed`] if the stream broke off
    /// or there is nothing in it that makes sense.
    pub(crate) fn finish(mut self, profile: &ModelProfile) -> Result<Reply, ModelError> {
        let split = self.tags.end();
        self.said(split);
        if !self.refusal.is_empty() {
            let message = self.refusal;
            return Err(ModelError::Refused { message });
        }
        let usage = self.usage(profile);
        let Some(stop) = self.stop else {
            return Err(malformed("the stream broke off before its end"));
        };
        let mut reply = Reply {
            thought: std::mem::take(&mut self.thought),
            stop,
            usage,
            model: profile.id(),
            state: self.state.take(),
            ..Reply::default()
        };
        let calls = std::mem::take(&mut self.calls);
        reply.calls = calls.into_iter().map(|call| self.made(call)).collect();
        if self.reading == Reading::Native || !reply.calls.is_empty() {
            reply.text = self.text;
        } else {
            self.read_step(&mut reply)?;
        }
        let empty = reply.calls.is_empty() && reply.text.trim().is_empty();
        if empty && stop == Stop::End {
            return Err(malformed("it has neither text nor a call"));
        }
        Ok(reply)
    }

    fn read_step(&self, reply: &mut Reply) -> Result<(), ModelError> {
        let read = match (reply.stop, step::parse(&self.text)) {
            (_, Ok(step)) => (step.thought, Some(step.call)),
            (Stop::Length, Err(_)) => step::salvage(&self.text),
            (Stop::End, Err(_)) if self.reading == Reading::Loose && !self.text.contains('{') => {
                self.text.clone_into(&mut reply.text);
                return Ok(());
            }
            (Stop::End, Err(_)) if self.text.trim().is_empty() => return Ok(()),
            (Stop::End, Err(why)) => return Err(malformed(&why)),
        };
        let (thought, call) = read;
        // What a model thinks before its step can be long; what is kept is the step's own reason.
        if !thought.is_empty() {
            reply.thought = thought;
        }
        reply.calls.extend(call);
        Ok(())
    }

    fn made(&self, call: Written) -> ToolCall {
        let name = self.names.own(&call.name);
        let args = match serde_json::from_str(&call.args) {
            Ok(args) => args,
            Err(_) if call.args.trim().is_empty() && self.takes_nothing(&name) => json!({}),
            Err(_) => Value::String(call.args),
        };
        ToolCall { name, args }
    }

    /// Whether a tool has no arguments: some servers then send none, not even `{}`.
    fn takes_nothing(&self, name: &str) -> bool {
        let tool = self.tools.iter().find(|tool| tool.name == name);
        tool.is_some_and(|tool| {
            let members = tool.input.get("properties").and_then(Value::as_object);
            members.is_none_or(serde_json::Map::is_empty)
        })
    }

    fn usage(&self, profile: &ModelProfile) -> Usage {
        let total = self.started.elapsed();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let calls = self
            .calls
            .iter()
            .map(|call| call.name.len() + call.args.len());
        let written = self.thought.len() + self.text.len() + calls.sum::<usize>();
        let estimate = |bytes: u64| bytes.div_ceil(BYTES_PER_TOKEN);
        let mut usage = Usage {
            input: self.counts.input.unwrap_or_else(|| estimate(self.sent)),
            cached: self.counts.cached,
            output: self
                .counts
                .output
                .unwrap_or_else(|| estimate(written as u64)),
            cost: 0.0,
            first_token_ms: ms(self.first.unwrap_or(total)),
            total_ms: ms(total),
        };
        usage.cost = profile.price.map_or(0.0, |price| price.of(&usage));
        usage
    }
}

impl Written {
    /// Whether a piece belongs to this call. Servers differ: some number the calls and give two one
    /// id, some give ids and number every call 0, some say the name again with every piece.
    fn goes_on_with(&self, piece: &Piece<'_>) -> bool {
        let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (slot, id) = (given(piece.slot), given(piece.id));
        let same_slot = slot.is_none() || slot == self.slot;
        let other_id = id.is_some() && self.id.is_some() && id != self.id;
        // Where there is nothing else to go by: a call that is named and complete is not begun again.
        let begun_again = piece.name.is_some_and(|name| !name.is_empty())
            && serde_json::from_str::<Value>(&self.args).is_ok();
        same_slot && !other_id && !begun_again
    }
}

fn malformed(why: &str) -> ModelError {
    let message = why.to_owned();
    ModelError::Malformed { message }
}
