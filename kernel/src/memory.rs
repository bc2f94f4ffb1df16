//! The port to what is remembered across runs.

use std::{collections::BTreeMap, fmt, ops::Range, str::FromStr};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub mod facts;

use crate::{
    event::RunId,
    label::{Label, serde_as_text},
};

/// Where episodes are kept and found again.
///
/// Every method may be dropped at any await: what was asked is then done whole, or not at all.
#[async_trait]
pub trait Memory: Send + Sync {
    /// Keeps episodes, all or none, durably. One that is there already is not kept twice. Answers in the
    /// order given.
    ///
    /// Episodes of one conversation are given in the order in which they happened: what comes before
    /// and after one helps to find it.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] if one of them cannot be kept; then none is.
    async fn remember(&self, episodes: Vec<Episode>) -> Result<Vec<Kept>, MemoryError>;

    /// What fits the query, best first.
    async fn recall(&self, query: &Query) -> Result<Vec<Hit>, MemoryError>;

    /// The episode of that id.
    async fn get(&self, id: EpisodeId) -> Result<Option<Episode>, MemoryError>;

    /// The episodes that the filter lets through, latest first.
    async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Episode>, MemoryError>;

    /// Deletes episodes for good: their text is nowhere in the store afterwards. Answers how many
    /// there were.
    async fn forget(&self, ids: &[EpisodeId]) -> Result<usize, MemoryError>;

    /// Up to `limit` records in a fixed order, after the one at `after`, with their vectors. Together they
    /// are all the filter lets through, and [`Memory::import`] of them makes the same store elsewhere.
    async fn export(
        &self,
        filter: &Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>, MemoryError>;

    /// Keeps exported records, all or none. A vector of another embedder is made anew from the text.
    async fn import(&self, records: Vec<Record>) -> Result<Vec<Kept>, MemoryError>;

    /// Counts that these were of use to somebody, which makes them come sooner next time.
    async fn used(&self, ids: &[EpisodeId]) -> Result<(), MemoryError>;

    /// Puts what came since the last time in order: merges what says the same, ends the validity of facts
    /// that a later one contradicts, and lets what nobody ever used matter less. Nothing is deleted. The
    /// same store at the same time gives the same.
    async fn consolidate(&self, now: Timestamp) -> Result<Consolidated, MemoryError>;

    /// What is in the store.
    async fn stats(&self) -> Result<Stats, MemoryError>;

    /// What its user should know now: that a server it looks in is away, and what waits for it. Nothing while all
    /// is well.
    async fn notice(&self) -> Option<String> {
        None
    }
}

/// The name of an episode: a hash of what makes it that one. Written as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpisodeId(pub [u8; 16]);

impl fmt::Display for EpisodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EpisodeId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("`{s}` is no id of an episode; one has 32 hex digits");
        if s.len() != 32 || !s.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let bits = u128::from_str_radix(s, 16).map_err(|_| wrong())?;
        Ok(Self(bits.to_be_bytes()))
    }
}

serde_as_text!(EpisodeId);

/// What sort of memory it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What happened.
    #[default]
    Episodic,
    /// What is true.
    Semantic,
    /// How something is done.
    Procedural,
}

impl Kind {
    /// The word for it, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Episodic => "episodic",
            Self::Semantic => "semantic",
            Self::Procedural => "procedural",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        [Self::Episodic, Self::Semantic, Self::Procedural]
            .into_iter()
            .find(|kind| kind.as_str() == s)
            .ok_or_else(|| {
                format!("`{s}` is no kind; one is `episodic`, `semantic` or `procedural`")
            })
    }
}

/// The entry of a run that a memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run: RunId,
    /// The number of the entry in it.
    pub entry: u64,
}

/// Something that is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// What sort it is.
    #[serde(default)]
    pub kind: Kind,
    /// What is remembered, in words.
    pub text: String,
    /// What an image or a file that came with it shows, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Where the text came from, and so how far it is trusted.
    pub label: Label,
    /// Whose memory it is: agents and users that are apart have different ones.
    #[serde(default)]
    pub namespace: String,
    /// The folder that it is about, as an absolute path; nothing for what holds everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The entry it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The conversation or session it is a turn of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Who said or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// Since when it is true, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Until when it was true; nothing for what still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Timestamp>,
    /// How much it matters, from 0 to 1.
    #[serde(default = "middling")]
    pub importance: f32,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whatever else its maker wants to have back.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
}

fn middling() -> f32 {
    0.5
}

impl Episode {
    /// Something that happened at that time, of middling importance, in the unnamed namespace.
    pub fn new(text: impl Into<String>, label: Label, at: Timestamp) -> Self {
        Self {
            kind: Kind::Episodic,
            text: text.into(),
            caption: None,
            label,
            namespace: String::new(),
            workspace: None,
            origin: None,
            conversation: None,
            speaker: None,
            at,
            valid_from: None,
            valid_to: None,
            importance: middling(),
            tags: Vec::new(),
            meta: Map::new(),
        }
    }

    /// Its name. What happened is told apart by its words, speaker, conversation, origin and time; a
    /// fact or a way of doing something by its words alone, so that it is kept once however often it is
    /// learnt.
    pub fn id(&self) -> EpisodeId {
        let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-26 episode");
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(self.namespace.as_bytes());
        part(self.kind.as_str().as_bytes());
        part(self.text.as_bytes());
        if let Some(workspace) = &self.workspace {
            part(b"workspace");
            part(workspace.as_bytes());
        }
        if self.kind == Kind::Episodic {
            let optional = |text: &Option<String>| text.clone().unwrap_or_default();
            part(optional(&self.caption).as_bytes());
            part(optional(&self.speaker).as_bytes());
            part(optional(&self.conversation).as_bytes());
            part(self.at.to_string().as_bytes());
            if let Some(origin) = self.origin {
                part(origin.run.to_string().as_bytes());
                part(&origin.entry.to_le_bytes());
            }
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        EpisodeId(id)
    }
}

/// What became of an episode that was given to [`Memory::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Its name.
    pub id: EpisodeId,
    /// Whether it was not there before.
    pub new: bool,
}

/// Which episodes are meant. What is empty or absent lets everything through.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Of this namespace.
    pub namespace: Option<String>,
    /// Of one of these kinds.
    pub kinds: Vec<Kind>,
    /// About this folder, or about none.
    pub workspace: Option<String>,
    /// Made from entries of this run.
    pub run: Option<RunId>,
    /// Of this conversation.
    pub conversation: Option<String>,
    /// That happened in this time.
    pub time: Option<Range<Timestamp>>,
    /// With one of these labels.
    pub labels: Vec<Label>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Also what was true once and is not any more, and what was merged into another one.
    pub past: bool,
}

impl Filter {
    /// All of one namespace.
    pub fn namespace(name: impl Into<String>) -> Self {
        Self {
            namespace: Some(name.into()),
            ..Self::default()
        }
    }

    /// Whether it lets the episode through.
    pub fn admits(&self, episode: &Episode) -> bool {
        let run = |run| episode.origin.is_some_and(|origin| origin.run == run);
        self.namespace
            .as_ref()
            .is_none_or(|name| *name == episode.namespace)
            && (self.kinds.is_empty() || self.kinds.contains(&episode.kind))
            && (self.workspace.is_none()
                || episode.workspace.is_none()
                || self.workspace == episode.workspace)
            && self.run.is_none_or(run)
            && (self.conversation.is_none() || self.conversation == episode.conversation)
            && self
                .time
                .as_ref()
                .is_none_or(|time| time.contains(&episode.at))
            && (self.labels.is_empty() || self.labels.contains(&episode.label))
            && self.tags.iter().all(|tag| episode.tags.contains(tag))
            && (self.past || episode.valid_to.is_none())
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The question, or words of what is looked for.
    pub text: String,
    /// Among which episodes.
    pub filter: Filter,
    /// The time of asking: what "yesterday" in the text is counted from.
    pub now: Timestamp,
    /// At most so many hits.
    pub limit: usize,
    /// At most so many tokens in all hits together, counted as four bytes each.
    pub tokens: Option<usize>,
    /// How many turns before and after a hit in its conversation come along with it.
    pub neighbours: usize,
}

impl Query {
    /// Ten hits among the episodes of a namespace.
    pub fn new(text: impl Into<String>, namespace: impl Into<String>, now: Timestamp) -> Self {
        Self {
            text: text.into(),
            filter: Filter::namespace(namespace),
            now,
            limit: 10,
            tokens: None,
            neighbours: 0,
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The name of the episode.
    pub id: EpisodeId,
    /// The episode.
    pub episode: Episode,
    /// How well it fits; comparable within one recall only.
    pub score: f32,
    /// The cosine of its vector and the question's, which can be compared across recalls.
    pub likeness: f32,
    /// What it was found by, strongest first.
    pub why: Vec<Reason>,
    /// Turns before it in its conversation, then those after it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub around: Vec<Episode>,
}

/// One part of a hit's score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// What found it: `words`, `meaning`, `context`, `speaker`, `session`, `time` and so on.
    pub by: String,
    /// Its place among all that this found, from 1; nothing where there is no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// What it adds to the score.
    pub score: f32,
}

/// A vector, and what made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    /// The id of the embedder.
    pub embedder: String,
    /// One number of -127 to 127 for each dimension.
    pub values: Vec<i8>,
}

/// An episode as it goes from one store to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the order of the store it came from.
    pub place: u64,
    /// Its name, which is checked.
    pub id: EpisodeId,
    /// The episode.
    #[serde(flatten)]
    pub episode: Episode,
    /// How often it was recalled.
    #[serde(default)]
    pub uses: u64,
    /// Its vector, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vector>,
}

/// What a consolidation did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Consolidated {
    /// Episodes that were looked at: of those that came since the last time, as many as one go takes.
    pub looked_at: u64,
    /// Those that are left for the next go.
    pub left: u64,
    /// Those that say what another one says, each with that other one.
    pub merged: Vec<(EpisodeId, EpisodeId)>,
    /// Facts that are not true any more, each with the one that says so.
    pub superseded: Vec<(EpisodeId, EpisodeId)>,
    /// How many matter less now, because they were never used.
    pub decayed: u64,
}

/// What is in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Episodes by namespace.
    pub namespaces: BTreeMap<String, u64>,
    /// Episodes by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Vectors by embedder.
    pub vectors: BTreeMap<String, u64>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Why a memory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// What was given cannot be kept. The text says what it may be.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be read or written. The text says what to do.
    #[error("{0}")]
    Store(String),
    /// The embedder could not make a vector.
    #[error("{0}")]
    Embedder(String),
}
