//! How fast remembering and recalling are, on conversations that nobody ever had.
//!
//! Texts are made of the embedder's vocabulary, in which words come by how common they are, so that word
//! frequencies fall as Zipf found. Each conversation has a subject of a few words that its turns come back to.
//! The same seed makes the same texts. A question is made of words of one turn.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;
use gpak_kernel::{
    label::Label,
    memory::{Episode, EpisodeId, Memory, MemoryError, Query},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::percentile;
use crate::{
    embed::StaticEmbedder,
    episodic::{SqliteMemory, Weights},
};

/// Episodes that are remembered at a time, and turns of a conversation.
const BATCH: usize = 512;
const TURNS: usize = 20;

/// Words that conversations are about, and of one.
const SUBJECTS: u64 = 2_000;
const OF_SUBJECT: u64 = 150;

/// Words of the vocabulary that are left out at its beginning, which are numbers and letters.
const SKIPPED: usize = 1_996;

/// Questions of which the latency is taken, and those of which the exact answer is, too.
const QUESTIONS: usize = 400;
const COMPARED: usize = 100;

/// What the bench measured.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Speed {
    /// Episodes that were remembered.
    pub episodes: usize,
    /// Of them in a second, with embedding and all that is written, in batches of 512. One thread works at
    /// a time.
    pub episodes_per_second: f64,
    /// Milliseconds until the first recall of a process has answered: with nothing but the store, and with the
    /// index in its file.
    pub first_recall_ms: (f64, f64),
    /// Milliseconds of a recall, text in and hits out: the median, the 95th percentile and the longest.
    pub latency_ms: (f64, f64, f64),
    /// Share of the nearest ten by exact comparison of all vectors that a recall by vectors has.
    pub vector_recall_10: f64,
    /// Share of the turns that questions were made of among the first ten hits.
    pub found_10: f64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Remembers so many made-up episodes in an empty folder and asks for some of them.
///
/// # Errors
/// What the memory says.
pub async fn run(dir: &Path, episodes: usize, seed: u64) -> Result<Speed, MemoryError> {
    let talk = Talk::new(seed)?;
    let (rate, asked) = ingest(dir, &talk, episodes).await?;
    let first = |_| async {
        let memory = SqliteMemory::open(dir)?;
        let started = Instant::now();
        if let Some((question, _)) = asked.first() {
            memory.recall(&query(question)).await?;
        }
        Ok::<_, MemoryError>((started.elapsed(), memory))
    };
    let (cold, memory) = first(()).await?;
    // The index is written to its file before the memory is gone.
    drop(memory);
    let (warm, memory) = first(()).await?;
    let mut latencies = Vec::new();
    let mut found = 0;
    for (question, id) in &asked {
        let started = Instant::now();
        let hits = memory.recall(&query(question)).await?;
        latencies.push(started.elapsed());
        found += usize::from(hits.iter().any(|hit| hit.id == *id));
    }
    latencies.sort();
    let vectors = compare(&memory, &asked).await?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Speed {
        episodes,
        episodes_per_second: rate,
        first_recall_ms: (ms(cold), ms(warm)),
        latency_ms: (
            percentile(&latencies, 50),
            percentile(&latencies, 95),
            percentile(&latencies, 100),
        ),
        vector_recall_10: vectors,
        found_10: found as f64 / asked.len().max(1) as f64,
        bytes: memory.stats().await?.bytes,
    })
}

/// Remembers the talk. Answers episodes a second, and questions with the episodes that they are made of.
async fn ingest(
    dir: &Path,
    talk: &Talk,
    episodes: usize,
) -> Result<(f64, Vec<(String, EpisodeId)>), MemoryError> {
    let memory = SqliteMemory::open(dir)?;
    let mut spent = Duration::ZERO;
    let mut asked = Vec::new();
    let every = (episodes / QUESTIONS).max(1);
    for first in (0..episodes).step_by(BATCH) {
        let batch: Vec<Episode> = (first..episodes.min(first + BATCH))
            .map(|number| talk.turn(number))
            .collect();
        for (episode, number) in batch.iter().zip(first..) {
            if number % every == 0 && asked.len() < QUESTIONS {
                asked.push((talk.question(number), episode.id()));
            }
        }
        let started = Instant::now();
        memory.remember(batch).await?;
        spent += started.elapsed();
    }
    Ok((episodes as f64 / spent.as_secs_f64(), asked))
}

/// Share of the exact nearest ten that a recall by vectors finds.
async fn compare(memory: &SqliteMemory, asked: &[(String, EpisodeId)]) -> Result<f64, MemoryError> {
    let mut near = Vec::new();
    for (question, _) in asked.iter().take(COMPARED) {
        near.push(
            memory
                .recall_with(&query(question), Weights::MEANING)
                .await?,
        );
    }
    memory.exact_up_to(usize::MAX);
    let (mut found, mut all) = (0, 0);
    for ((question, _), near) in asked.iter().zip(near) {
        let exact = memory
            .recall_with(&query(question), Weights::MEANING)
            .await?;
        all += exact.len();
        let has = |id: EpisodeId| near.iter().any(|hit| hit.id == id);
        found += exact.iter().filter(|hit| has(hit.id)).count();
    }
    Ok(found as f64 / all.max(1) as f64)
}

fn query(question: &str) -> Query {
    Query::new(question, "bench", Timestamp::UNIX_EPOCH)
}

/// Makes turns and questions, each from the seed and its number.
struct Talk {
    seed: u64,
    words: Vec<String>,
}

impl Talk {
    fn new(seed: u64) -> Result<Self, MemoryError> {
        let words = StaticEmbedder::load()?.words();
        let words = words.into_iter().skip(SKIPPED).collect();
        Ok(Self { seed, words })
    }

    fn random(&self, stream: u64, number: u64) -> Rng {
        Rng::with_seed(mix(self.seed, stream, number))
    }

    /// A word, the common ones most often.
    fn common(&self, random: &mut Rng) -> &str {
        let rank = (self.words.len() as f64).powf(random.f64()) as usize;
        self.words.get(rank - 1).map_or("word", String::as_str)
    }

    /// A word of a subject.
    fn of_subject(&self, random: &mut Rng, subject: u64) -> &str {
        let number = subject * OF_SUBJECT + random.u64(..OF_SUBJECT);
        let at = self.random(1, number).usize(..self.words.len().max(1));
        self.words.get(at).map_or("word", String::as_str)
    }

    /// The words of a turn.
    fn said(&self, number: usize) -> Vec<&str> {
        let conversation = (number / TURNS) as u64;
        let subject = self.random(2, conversation).u64(..SUBJECTS);
        let mut random = self.random(3, number as u64);
        let length = random.usize(6..26);
        let word = |random: &mut Rng| {
            if random.bool() {
                self.common(random)
            } else {
                self.of_subject(random, subject)
            }
        };
        (0..length).map(|_| word(&mut random)).collect()
    }

    fn turn(&self, number: usize) -> Episode {
        let start = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 50);
        let at = start + SignedDuration::from_mins(number as i64);
        let mut episode = Episode::new(self.said(number).join(" "), Label::User, at);
        episode.namespace = "bench".to_owned();
        episode.conversation = Some(format!("conversation {}", number / TURNS));
        let speakers = self.random(2, (number / TURNS) as u64).u64(..200);
        episode.speaker = Some(format!("speaker{}", 2 * speakers + number as u64 % 2));
        episode
    }

    /// Four words of a turn, among those of every question.
    fn question(&self, number: usize) -> String {
        let mut random = self.random(4, number as u64);
        let mut said = self.said(number);
        random.shuffle(&mut said);
        said.truncate(4);
        format!("What did they say about {}?", said.join(" and "))
    }
}

/// A number that has nothing to do with those of other streams and places.
fn mix(seed: u64, stream: u64, number: u64) -> u64 {
    let mut mixed = seed ^ stream.rotate_left(32) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_talk() {
        let (one, other) = (Talk::new(1).unwrap(), Talk::new(1).unwrap());
        assert_eq!(one.turn(77), other.turn(77));
        assert_ne!(one.turn(77).text, Talk::new(2).unwrap().turn(77).text);
        let question = one.question(77);
        let words = one.said(77);
        assert!(
            words
                .iter()
                .filter(|word| question.contains(**word))
                .count()
                >= 3
        );
    }
}
