//! The port to anything that replies to a request.
//!
//! A [`Model`] gets a whole [`Request`] and answers with one [`Reply`]. Everything in between is a
//! [`Delta`]. The machine never sees which provider is behind it: a model without native tool calls
//! turns the request into a constrained JSON step (see [`step`]) and the answer back into
//! [`ToolCall`]s.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{identity::Spoken, label::Label, tool::ToolSpec};

#[cfg(feature = "pull")]
pub mod catalogue;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "remote")]
pub mod embedding;
mod known;
pub mod literal;
#[cfg(feature = "ollama")]
pub mod ollama;
#[cfg(feature = "openai")]
pub mod openai;
#[cfg(feature = "remote")]
pub mod probe;
#[cfg(feature = "remote")]
pub mod remote;
pub mod resilience;
pub mod scripted;
pub mod step;

pub use known::Known;

/// Replies to requests: a provider's LLM, or one that runs in this process.
///
/// Dropping the future of [`Model::reply`] cancels the work behind it.
#[async_trait]
pub trait Model: Send + Sync {
    /// What this model is and can do, as probed rather than as advertised.
    fn profile(&self) -> &ModelProfile;

    /// Answers `request`; what is known before the end goes to `deltas`.
    ///
    /// # Errors
    /// A [`ModelError`] that says what can be done about it.
    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError>;
}

#[async_trait]
impl<M: Model + ?Sized> Model for Arc<M> {
    fn profile(&self) -> &ModelProfile {
        self.as_ref().profile()
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        self.as_ref().reply(request, deltas).await
    }
}

/// What a model is and can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelProfile {
    /// Who runs it: `embedded`, `scripted`, `openai`, `ollama`.
    pub provider: String,
    /// The provider's name for it.
    pub name: String,
    /// Tokens that fit into one request and its reply together.
    pub window: u32,
    /// Whether it really makes native tool calls.
    pub native_tools: bool,
    /// Whether text stays on this machine.
    pub local: bool,
    /// What a token costs, if it costs anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

impl ModelProfile {
    /// `provider/name`, as `--model` takes it.
    pub fn id(&self) -> String {
        format!("{}/{}", self.provider, self.name)
    }
}

/// Price in US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Of what is sent.
    pub input: f64,
    /// Of what is sent and was already in the provider's cache.
    pub cached: f64,
    /// Of what is replied.
    pub output: f64,
}

impl Price {
    /// US dollars for `usage`.
    pub fn of(&self, usage: &Usage) -> f64 {
        let fresh = usage.input.saturating_sub(usage.cached);
        (fresh as f64 * self.input
            + usage.cached as f64 * self.cached
            + usage.output as f64 * self.output)
            / 1e6
    }
}

/// All that a model is given for one reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation, oldest first. At most one [`Message::System`], in front.
    pub messages: Vec<Message>,
    /// What it may call. Empty: it can only answer with text.
    pub tools: Arc<[ToolSpec]>,
    /// Names of tools that are shown and may not be called in this reply: their last calls led nowhere.
    /// They stay in [`Request::tools`], so that what was sent before is still the beginning of what is
    /// sent now.
    pub barred: Vec<String>,
    /// How the reply is drawn.
    pub sampling: Sampling,
    /// What the run knows of itself, for whoever chooses between models.
    pub known: Known,
}

impl Request {
    /// The tools that the reply may call: all but the barred ones.
    pub fn choices(&self) -> Vec<ToolSpec> {
        let tools = self.tools.iter();
        tools
            .filter(|tool| !self.barred.contains(&tool.name))
            .cloned()
            .collect()
    }
}

/// How a reply is drawn from the model's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Makes a draw repeatable where the provider honours it.
    pub seed: u64,
    /// Upper bound of tokens in the reply.
    pub max_tokens: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            seed: 0,
            max_tokens: 2048,
        }
    }
}

/// One piece of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Who the model is and how it works.
    System {
        /// The text.
        text: String,
    },
    /// Somebody speaks to the model.
    User {
        /// The text.
        text: String,
        /// Who.
        label: Label,
    },
    /// The model spoke.
    Assistant {
        /// What it thought before it acted.
        thought: String,
        /// What it said.
        text: String,
        /// What it called, each with the id its result is sent under.
        calls: Vec<(CallId, ToolCall)>,
        /// What the provider wants back unread (see [`Reply::state`]).
        state: Option<Value>,
    },
    /// What came of a call.
    Tool {
        /// The call.
        call: CallId,
        /// Its tool.
        name: String,
        /// What the model is shown.
        text: String,
        /// Whether the call did what it was to do.
        ok: bool,
        /// Where the text came from.
        label: Label,
    },
}

/// A call within a run: the number of the reply that made it and its place there. Written `3.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// Counts the replies of the run, from 1.
    pub reply: u32,
    /// Counts the calls of the reply, from 0.
    pub index: u32,
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.reply, self.index)
    }
}

impl std::str::FromStr for CallId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parsed = s.split_once('.').and_then(|(reply, index)| {
            Some(Self {
                reply: reply.parse().ok()?,
                index: index.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| format!("`{s}` is no call id; one looks like `3.0`"))
    }
}

crate::label::serde_as_text!(CallId);

/// A call as the model made it, right or wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool's name as the model wrote it; there may be no such tool.
    pub name: String,
    /// Its arguments. Text that was not JSON is kept as a JSON string, which no tool's schema
    /// accepts, so that it is refused with its reason and never becomes `{}`.
    pub args: Value,
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What it thought before it acted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thought: String,
    /// What it said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Why it stopped.
    pub stop: Stop,
    /// What it took.
    pub usage: Usage,
    /// `provider/name` of the model that spoke.
    pub model: String,
    /// What the provider wants to get back, unread, with the next request (a reasoning item, a
    /// script's position).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
    /// Entropy of the choice of the tool, in nats, where the model measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f32>,
    /// Mean entropy of the tokens of its calls, in nats a token, where the model measures it. What could be no other
    /// token is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f32>,
    /// Which self of a mind of two spoke, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spoken: Option<Box<Spoken>>,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was done.
    #[default]
    End,
    /// It ran into [`Sampling::max_tokens`] or the window.
    Length,
}

/// What a reply took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens sent, cached ones included.
    pub input: u64,
    /// Of these, tokens that cost no work because they were seen before.
    pub cached: u64,
    /// Tokens replied.
    pub output: u64,
    /// US dollars.
    pub cost: f64,
    /// Milliseconds from the request to the first token.
    pub first_token_ms: u64,
    /// Milliseconds from the request to the last token.
    pub total_ms: u64,
}

/// Takes what is known of a reply before its end.
pub trait Deltas: Send {
    /// One more piece. Must not block.
    fn delta(&mut self, delta: Delta<'_>);
}

/// Nobody listens.
impl Deltas for () {
    fn delta(&mut self, _: Delta<'_>) {}
}

/// A piece of a reply that is still being made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delta<'a> {
    /// The model is being made ready (loaded, warmed up).
    Loading,
    /// The prompt is being read: tokens done, of tokens to do.
    Reading(u32, u32),
    /// A piece of thought.
    Thought(&'a str),
    /// A piece of text.
    Text(&'a str),
    /// A piece of a call as it is written.
    Call(&'a str),
}

/// Why there is no reply, and so what can be done.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelError {
    /// Try again, later.
    #[error("the model's server asks to wait{}", after_ms.map(|ms| format!(" {:?}", Duration::from_millis(ms))).unwrap_or_default())]
    RateLimited {
        /// Milliseconds to wait, if the server said.
        after_ms: Option<u64>,
    },
    /// Try again, later or elsewhere.
    #[error("the model's server is overloaded: {message}")]
    Overloaded {
        /// What it said.
        message: String,
    },
    /// Send less.
    #[error("the request is over the model's window of {limit} tokens")]
    ContextOverflow {
        /// Tokens that fit.
        limit: u32,
    },
    /// Get a key.
    #[error("the model's server refused the key: {message}")]
    Unauthorized {
        /// What it said.
        message: String,
    },
    /// Check the address, or start the server.
    #[error("the model cannot be reached: {message}")]
    Unreachable {
        /// What failed.
        message: String,
    },
    /// Ask again; the reply made no sense.
    #[error("the model's reply could not be understood: {message}")]
    Malformed {
        /// What was wrong.
        message: String,
    },
    /// Ask for something else.
    #[error("the model refused: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// The model itself cannot be used: its file is missing or corrupt, or its script ran out.
    #[error("the model cannot be used: {message}")]
    Unusable {
        /// What is wrong and what to do.
        message: String,
    },
    /// Somebody stopped it.
    #[error("the reply was cancelled")]
    Cancelled,
}

impl ModelError {
    /// Whether the same request may succeed if it is sent again.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Overloaded { .. }
                | Self::Unreachable { .. }
                | Self::Malformed { .. }
        )
    }
}
