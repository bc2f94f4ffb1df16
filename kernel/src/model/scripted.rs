//! Replies from a script, for tests: the loop, the tools and the journal are real, the mind is not.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{entry::Entry, event::Event};

use super::{
    Delta, Deltas, Message, Model, ModelError, ModelProfile, Reply, Request, ToolCall, Usage,
};

/// A model that says what its script says.
///
/// The place in the script travels in [`Reply::state`], so a run that is resumed by another process goes
/// on where it was. A test asks [`Scripted::unused`] at its end.
pub struct Scripted {
    profile: ModelProfile,
    lines: Vec<Line>,
    /// Failures that were given already: each is given once.
    failed: Mutex<BTreeSet<usize>>,
}

/// One reply of a script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Line {
    /// Said only if the last message of the request contains this; skipped otherwise.
    pub when: Option<String>,
    /// What it thought.
    pub thought: String,
    /// What it said.
    pub text: String,
    /// What it calls.
    pub calls: Vec<ToolCall>,
    /// What it took; counted from the text where it is not given.
    pub usage: Option<Usage>,
    /// It fails so instead, once.
    pub error: Option<ModelError>,
    /// It takes so long.
    pub delay_ms: u64,
    /// It comes word by word, so far apart.
    pub word_ms: u64,
}

impl Line {
    /// A reply with one call.
    pub fn call(name: &str, args: Value) -> Self {
        let name = name.to_owned();
        Self {
            calls: vec![ToolCall { name, args }],
            ..Self::default()
        }
    }

    /// A reply of text.
    pub fn text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// Tells what it thought and said, as it comes.
    async fn tell(&self, deltas: &mut dyn Deltas) {
        for piece in self.pieces(&self.thought) {
            deltas.delta(Delta::Thought(piece));
            self.pause().await;
        }
        for piece in self.pieces(&self.text) {
            deltas.delta(Delta::Text(piece));
            self.pause().await;
        }
    }

    async fn pause(&self) {
        if self.word_ms > 0 {
            tokio::time::sleep(Duration::from_millis(self.word_ms)).await;
        }
    }

    fn pieces<'a>(&self, text: &'a str) -> Vec<&'a str> {
        match self.word_ms {
            0 => vec![text],
            _ => text.split_inclusive(' ').collect(),
        }
    }

    /// A failure.
    pub fn error(error: ModelError) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }
}

impl Scripted {
    /// A model with this script and a window of 32,768 tokens.
    pub fn new(lines: impl Into<Vec<Line>>) -> Self {
        Self {
            profile: ModelProfile {
                provider: "scripted".to_owned(),
                name: "script".to_owned(),
                window: 32_768,
                native_tools: true,
                local: true,
                price: None,
            },
            lines: lines.into(),
            failed: Mutex::default(),
        }
    }

    /// The same with another window.
    pub fn with_window(mut self, window: u32) -> Self {
        self.profile.window = window;
        self
    }

    /// A model with the script in a file: a JSON array of [`Line`]s.
    ///
    /// # Errors
    /// If the file cannot be read or is no script.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let unusable = |why: String| ModelError::Unusable {
            message: format!("the script {}: {why}", path.display()),
        };
        let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
        let lines: Vec<Line> = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
        let mut model = Self::new(lines);
        model.profile.name = path.display().to_string();
        Ok(model)
    }

    /// How many lines at the end of the script were not said by a run with these entries.
    pub fn unused(&self, entries: &[Entry]) -> usize {
        let last = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::ModelReplied { reply } => self.place(reply.state.as_ref()),
            _ => None,
        });
        self.lines.len().saturating_sub(last.unwrap_or(0))
    }

    /// The line that comes next, from the state of a reply of this script.
    fn place(&self, state: Option<&Value>) -> Option<usize> {
        let state = state?;
        let name = state.get("script").and_then(Value::as_str);
        let is_own = name.is_none_or(|name| name == self.profile.name);
        let next = state.get("next").filter(|_| is_own)?;
        usize::try_from(next.as_u64()?).ok()
    }

    /// The line that answers, and its place.
    fn line(&self, request: &Request) -> Option<(usize, &Line)> {
        let from = request
            .messages
            .iter()
            .rev()
            .find_map(|message| match message {
                Message::Assistant { state, .. } => self.place(state.as_ref()),
                _ => None,
            });
        let last = request.messages.last().map_or("", text);
        // A poisoned lock still guards a set of numbers.
        let mut failed = self
            .failed
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut lines = self.lines.iter().enumerate().skip(from.unwrap_or(0));
        let (at, line) = lines.find(|(at, line)| {
            let fits = line.when.as_ref().is_none_or(|when| last.contains(when));
            let failed_already = failed.contains(at);
            fits && !failed_already
        })?;
        if line.error.is_some() {
            failed.insert(at);
        }
        Some((at, line))
    }
}

fn text(message: &Message) -> &str {
    match message {
        Message::System { text }
        | Message::User { text, .. }
        | Message::Assistant { text, .. }
        | Message::Tool { text, .. } => text,
    }
}

#[async_trait]
impl Model for Scripted {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let start = Instant::now();
        let Some((at, line)) = self.line(request) else {
            return Err(ModelError::Unusable {
                message: "the script has no reply left".to_owned(),
            });
        };
        if line.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(line.delay_ms)).await;
        }
        if let Some(error) = &line.error {
            return Err(error.clone());
        }
        line.tell(deltas).await;
        let words = |text: &str| text.split_whitespace().count() as u64;
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Reply {
            thought: line.thought.clone(),
            text: line.text.clone(),
            calls: line.calls.clone(),
            usage: line.usage.unwrap_or_else(|| Usage {
                input: request.messages.iter().map(text).map(words).sum(),
                output: words(&line.thought) + words(&line.text) + line.calls.len() as u64,
                first_token_ms: ms,
                total_ms: ms,
                ..Usage::default()
            }),
            model: self.profile.id(),
            state: Some(json!({ "next": at + 1, "script": self.profile.name })),
            ..Reply::default()
        })
    }
}
