//! How much of what is looked for recall finds, on conversations in LoCoMo's published format.
//!
//! Each turn becomes an episode; each conversation has a namespace of its own in one store. A question
//! counts by the share of its evidence turns that are among the first hits. No model answers anything.
//!
//! [`synthetic`] measures how fast that is with very many episodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use gpak_kernel::{
    label::Label,
    memory::{Episode, Hit, Memory, MemoryError, Query},
};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::episodic::{SqliteMemory, Weights};

pub mod synthetic;

/// Hits that are asked for.
const DEPTH: usize = 20;

/// Hits that are asked for to find ten sessions.
const DEEP: usize = 200;

/// Episodes that are remembered at a time.
const BATCH: usize = 512;

/// Conversations that weights may be fitted on; the report tells them from the others.
const FITTED: usize = 2;

/// A conversation, its turns and its questions.
pub struct Conversation {
    namespace: String,
    turns: Vec<Episode>,
    questions: Vec<Question>,
}

struct Question {
    text: String,
    category: String,
    evidence: BTreeSet<String>,
}

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// It is not in the format.
    #[error("the data set is not in LoCoMo's format: {0}; give the path of its `locomo10.json`")]
    Format(String),
    /// The memory failed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// How well one way of recalling does on one group of questions.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Figures {
    /// `words`, `meaning`, `hybrid` or `full`.
    pub way: &'static str,
    /// `all`, `1-4`, one of the categories, or `others` for the conversations after the first two.
    pub group: String,
    /// Questions that have evidence.
    pub questions: usize,
    /// Share of the evidence among the first 5 hits.
    pub recall_5: f64,
    /// Likewise 10.
    pub recall_10: f64,
    /// Likewise 20.
    pub recall_20: f64,
    /// Mean of one over the rank of the first evidence, 0 where there is none in twenty.
    pub mrr: f64,
    /// Share of the evidence's sessions that are among the first 10 sessions, each where its first hit is.
    pub sessions_10: f64,
    /// Share of them that are among the sessions of the first 10 hits, which is stricter.
    pub hit_sessions_10: f64,
}

/// What a bench found.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Report {
    /// Turns that were remembered.
    pub episodes: usize,
    /// Of them in a second of wall time, with embedding and all that is written.
    pub episodes_per_second: f64,
    /// Milliseconds of a recall by the full way, text in and hits out: the median, and the 95th percentile.
    pub latency_ms: (f64, f64),
    /// By way and group.
    pub figures: Vec<Figures>,
}

/// Reads a data set.
///
/// # Errors
/// [`BenchError::Format`] if it is none.
pub fn read(json: &str) -> Result<Vec<Conversation>, BenchError> {
    #[derive(Deserialize)]
    struct Sample {
        #[serde(default)]
        sample_id: String,
        conversation: Map<String, Value>,
        qa: Vec<Qa>,
    }
    #[derive(Deserialize)]
    struct Qa {
        question: String,
        #[serde(default)]
        evidence: Vec<String>,
        #[serde(default)]
        category: Value,
    }
    let samples: Vec<Sample> =
        serde_json::from_str(json).map_err(|e| BenchError::Format(e.to_string()))?;
    let convert = |(number, sample): (usize, Sample)| {
        let namespace = format!("bench/{number}/{}", sample.sample_id);
        let question = |qa: Qa| Question {
            text: qa.question,
            category: qa.category.to_string(),
            evidence: qa.evidence.iter().flat_map(|text| ids(text)).collect(),
        };
        Ok(Conversation {
            turns: turns(&sample.conversation, &namespace)?,
            questions: sample.qa.into_iter().map(question).collect(),
            namespace,
        })
    };
    samples.into_iter().enumerate().map(convert).collect()
}

/// The ids of turns in a text; some of the published ones have several in one.
fn ids(text: &str) -> impl Iterator<Item = String> {
    text.split([';', ' ', ',']).filter_map(id)
}

/// The id of a turn as turns have it, of one that may be written `D30:05` or `D:11:26`; nothing if it is none.
fn id(text: &str) -> Option<String> {
    let mut parts = text
        .trim_start_matches('D')
        .split(':')
        .filter(|part| !part.is_empty());
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (session, turn) = (number()?, number()?);
    Some(format!("D{session}:{turn}"))
}

fn turns(conversation: &Map<String, Value>, namespace: &str) -> Result<Vec<Episode>, BenchError> {
    #[derive(Deserialize)]
    struct Turn {
        speaker: String,
        dia_id: String,
        text: String,
        #[serde(default)]
        blip_caption: Option<String>,
    }
    let mut episodes = Vec::new();
    for number in 1.. {
        let session = format!("session_{number}");
        let date = conversation.get(&format!("{session}_date_time"));
        let Some(turns) = conversation.get(&session) else {
            // Some sessions have a date only.
            if date.is_none() {
                break;
            }
            continue;
        };
        let turns: Vec<Turn> = serde_json::from_value(turns.clone())
            .map_err(|e| BenchError::Format(format!("{session}: {e}")))?;
        let start = time(date.and_then(Value::as_str).unwrap_or_default())?;
        for (turn, seconds) in turns.into_iter().zip(0i64..) {
            let at = start + jiff::SignedDuration::from_secs(seconds);
            let mut episode = Episode::new(turn.text, Label::User, at);
            // Nothing is remembered of a turn that was an image only but what the image shows.
            if episode.text.trim().is_empty() {
                episode.text = turn.blip_caption.clone().unwrap_or_else(|| "…".to_owned());
            }
            episode.namespace = namespace.to_owned();
            episode.conversation = Some(session.clone());
            episode.speaker = Some(turn.speaker);
            episode.caption = turn.blip_caption;
            episode.meta.insert("turn".to_owned(), turn.dia_id.into());
            episodes.push(episode);
        }
    }
    Ok(episodes)
}

/// "1:56 pm on 8 May, 2023", in UTC.
fn time(text: &str) -> Result<Timestamp, BenchError> {
    let parsed = DateTime::strptime("%I:%M %p on %d %B, %Y", text);
    let parsed = parsed.and_then(|time| time.to_zoned(TimeZone::UTC));
    let time = parsed.map_err(|e| BenchError::Format(format!("the date `{text}`: {e}")))?;
    Ok(time.timestamp())
}

/// Remembers the conversations in an empty folder, asks their questions in four ways, and counts.
///
/// # Errors
/// [`BenchError::Memory`] if the memory fails.
pub async fn run(dir: &Path, conversations: &[Conversation]) -> Result<Report, BenchError> {
    let memory = SqliteMemory::open(dir)?;
    let started = Instant::now();
    let mut episodes = 0;
    for conversation in conversations {
        for batch in conversation.turns.chunks(BATCH) {
            episodes += batch.len();
            memory.remember(batch.to_vec()).await?;
        }
    }
    let ingest = started.elapsed();
    let ways = [
        ("words", Weights::WORDS),
        ("meaning", Weights::MEANING),
        ("hybrid", Weights::HYBRID),
        ("full", Weights::FULL),
    ];
    let mut latencies = Vec::new();
    let mut figures = Vec::new();
    for (way, weights) in ways {
        let mut groups: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
        for (number, conversation) in conversations.iter().enumerate() {
            for question in &conversation.questions {
                if question.evidence.is_empty() {
                    continue;
                }
                let started = Instant::now();
                let hits = ask(&memory, conversation, question, weights, DEPTH).await?;
                if way == "full" {
                    latencies.push(started.elapsed());
                }
                let hits = match hits.len() {
                    DEPTH => ask(&memory, conversation, question, weights, DEEP).await?,
                    _ => hits,
                };
                let outcome = Outcome::of(question, &hits);
                for group in groups_of(number, question) {
                    groups.entry(group).or_default().push(outcome);
                }
            }
        }
        figures.extend(
            groups
                .into_iter()
                .map(|(group, all)| total(way, group, &all)),
        );
    }
    latencies.sort();
    Ok(Report {
        episodes,
        episodes_per_second: episodes as f64 / ingest.as_secs_f64(),
        latency_ms: (percentile(&latencies, 50), percentile(&latencies, 95)),
        figures,
    })
}

async fn ask(
    memory: &SqliteMemory,
    conversation: &Conversation,
    question: &Question,
    weights: Weights,
    depth: usize,
) -> Result<Vec<Hit>, MemoryError> {
    let now = conversation
        .turns
        .last()
        .map_or(Timestamp::UNIX_EPOCH, |turn| turn.at);
    let mut query = Query::new(&question.text, &conversation.namespace, now);
    query.limit = depth;
    memory.recall_with(&query, weights).await
}

fn groups_of(number: usize, question: &Question) -> Vec<String> {
    let mut groups = vec!["all".to_owned(), format!("category {}", question.category)];
    let ordinary = question.category != "5";
    if ordinary {
        groups.push("1-4".to_owned());
    }
    if number >= FITTED {
        groups.push("others".to_owned());
        if ordinary {
            groups.push("others, 1-4".to_owned());
        }
    }
    groups
}

#[derive(Clone, Copy)]
struct Outcome {
    at_5: f64,
    at_10: f64,
    at_20: f64,
    reciprocal: f64,
    sessions: f64,
    hit_sessions: f64,
}

impl Outcome {
    fn of(question: &Question, hits: &[Hit]) -> Self {
        let turns: Vec<&str> = hits
            .iter()
            .map(|hit| {
                hit.episode
                    .meta
                    .get("turn")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            })
            .collect();
        let session = |id: &str| id.split(':').next().unwrap_or_default().to_owned();
        let share = |depth: usize| {
            let among = |id: &&String| turns.iter().take(depth).any(|turn| turn == id);
            let found = question.evidence.iter().filter(among).count();
            found as f64 / question.evidence.len() as f64
        };
        let first = turns
            .iter()
            .position(|turn| question.evidence.contains(*turn));
        let wanted: BTreeSet<String> = question.evidence.iter().map(|id| session(id)).collect();
        let mut sessions: Vec<String> = Vec::new();
        for id in &turns {
            if !sessions.contains(&session(id)) {
                sessions.push(session(id));
            }
        }
        let had: BTreeSet<String> = sessions.into_iter().take(10).collect();
        let hit: BTreeSet<String> = turns.iter().take(10).map(|id| session(id)).collect();
        let part =
            |had: &BTreeSet<String>| wanted.intersection(had).count() as f64 / wanted.len() as f64;
        Self {
            at_5: share(5),
            at_10: share(10),
            at_20: share(20),
            reciprocal: first
                .filter(|place| *place < DEPTH)
                .map_or(0.0, |p| 1.0 / (p + 1) as f64),
            sessions: part(&had),
            hit_sessions: part(&hit),
        }
    }
}

fn total(way: &'static str, group: String, outcomes: &[Outcome]) -> Figures {
    let mean =
        |part: fn(&Outcome) -> f64| outcomes.iter().map(part).sum::<f64>() / outcomes.len() as f64;
    Figures {
        way,
        group,
        questions: outcomes.len(),
        recall_5: mean(|o| o.at_5),
        recall_10: mean(|o| o.at_10),
        recall_20: mean(|o| o.at_20),
        mrr: mean(|o| o.reciprocal),
        sessions_10: mean(|o| o.sessions),
        hit_sessions_10: mean(|o| o.hit_sessions),
    }
}

/// In milliseconds, of sorted times; 0 where there are none.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = sorted.len() * percent / 100;
    let time = sorted.get(place).or(sorted.last());
    time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
