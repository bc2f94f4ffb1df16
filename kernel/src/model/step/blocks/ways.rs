//! Small tasks and how they were done, of which a model is shown those that are like its own.
//!
//! A model of one or two billion parameters writes a program well that is like one it has just seen, and
//! guesses otherwise. What is like is found by words (BM25, Robertson and Zaragoza 2009, over words cut to
//! their first letters), so it costs nothing and is the same in every step of a run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    sync::LazyLock,
};

use serde::Deserialize;

use super::{ANSWER, FENCE, Turn, nudge, observed};
use crate::model::step::{Role, turn};

/// So many are shown.
const SHOWN: usize = 2;
/// What is less like a task than that is not; and what is less like it than this part of the likest.
const LEAST: f64 = 10.0;
const PART: f64 = 0.5;
/// Letters by which two forms of a word are one.
const STEM: usize = 5;
/// The two constants of BM25: how soon a word that comes again counts no more, how much length counts.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A task and how it is done.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// What was asked.
    pub task: String,
    /// Other words for it, to be found by.
    pub like: Vec<String>,
    /// The files there were.
    pub files: BTreeMap<String, String>,
    /// What was done, in order; nothing if the files shown say the answer.
    #[serde(default)]
    pub steps: Vec<WayStep>,
    /// The sentence before the answer.
    pub done: String,
    /// The answer.
    pub answer: String,
}

/// A program of a way.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayStep {
    /// The sentence before it.
    pub says: String,
    /// The program, if it is JavaScript.
    pub js: Option<String>,
    /// The program, if it is for the shell.
    pub sh: Option<String>,
    /// What came of it.
    pub output: String,
}

/// All ways there are.
///
/// # Panics
/// Never: that the data can be read is tested.
pub fn ways() -> &'static [Way] {
    &INDEX.ways
}

static INDEX: LazyLock<Index> = LazyLock::new(Index::new);

struct Index {
    ways: Vec<Way>,
    /// For each way, how often which word is in it.
    words: Vec<HashMap<String, f64>>,
    /// For each way, how long it is, in parts of the mean.
    lengths: Vec<f64>,
    /// Bytes of what is shown for any task, at most.
    size: usize,
}

#[derive(Deserialize)]
struct File {
    way: Vec<Way>,
}

impl Index {
    fn new() -> Self {
        let all = concat!(
            include_str!("ways.toml"),
            include_str!("ways_long.toml"),
            include_str!("ways_wide.toml")
        );
        let read: Result<File, _> = toml::from_str(all);
        let ways = read.map(|file| file.way).unwrap_or_default();
        let words: Vec<HashMap<String, f64>> = ways.iter().map(Way::words).collect();
        let lengths = words.iter().map(|words| words.values().sum());
        let lengths: Vec<f64> = lengths.collect();
        let mean = lengths.iter().sum::<f64>() / lengths.len().max(1) as f64;
        Self {
            lengths: lengths.iter().map(|length| length / mean).collect(),
            size: ways.iter().map(Way::size).max().unwrap_or_default() * SHOWN,
            words,
            ways,
        }
    }

    /// How like a task each way is.
    fn scores(&self, task: &str) -> Vec<f64> {
        let count = self.words.len() as f64;
        let mut scores = vec![0.0; self.words.len()];
        for word in stems(task).collect::<BTreeSet<_>>() {
            let with = self.words.iter().filter(|words| words.contains_key(&word));
            let with = with.count() as f64;
            let rarity = ((count - with + 0.5) / (with + 0.5) + 1.0).ln();
            let ways = self.words.iter().zip(&self.lengths);
            for (score, (words, length)) in scores.iter_mut().zip(ways) {
                let often = words.get(&word).copied().unwrap_or_default();
                let long = 1.0 - B + B * length;
                *score += rarity * often * (K1 + 1.0) / (often + K1 * long);
            }
        }
        scores
    }

    fn near(&self, task: &str) -> Vec<&Way> {
        let scored = self.scores(task).into_iter().zip(&self.ways);
        let mut scored: Vec<(f64, &Way)> = scored.collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scored.truncate(SHOWN);
        let best = scored.first().map_or(0.0, |(score, _)| *score);
        scored.retain(|(score, _)| *score >= LEAST.max(best * PART));
        // The nearest comes last, next to the task.
        scored.into_iter().rev().map(|(_, way)| way).collect()
    }
}

/// The ways that are like a task, as a conversation.
pub(super) fn turns(task: &str) -> Vec<Turn> {
    INDEX.near(task).into_iter().flat_map(Way::turns).collect()
}

/// Whether a task is like one that was answered from what was shown with it.
pub(crate) fn is_answered_at_once(task: &str) -> bool {
    let near = INDEX.near(task);
    near.last().is_some_and(|way| way.steps.is_empty())
}

/// Bytes of what is shown for any task, at most.
pub(super) fn size() -> usize {
    INDEX.size
}

impl Way {
    fn words(&self) -> HashMap<String, f64> {
        let mut words = HashMap::new();
        let texts = self.like.iter().chain([&self.task]);
        for word in texts.flat_map(|text| stems(text)) {
            *words.entry(word).or_default() += 1.0;
        }
        words
    }

    /// Bytes of it as a conversation.
    fn size(&self) -> usize {
        self.turns().iter().map(|turn| turn.text.len()).sum()
    }

    fn turns(&self) -> Vec<Turn> {
        let mut turns = vec![turn(Role::User, self.asked())];
        for step in &self.steps {
            turns.push(turn(Role::Assistant, step.wrote()));
            turns.push(turn(Role::User, observed(step.output.trim_end(), true)));
            nudge(&mut turns, &self.task);
        }
        let (done, answer) = (&self.done, &self.answer);
        turns.push(turn(Role::Assistant, format!("{done}\n{ANSWER} {answer}")));
        turns
    }

    /// The task with the files, as a workspace's are shown.
    fn asked(&self) -> String {
        let mut text = format!("{}\n\nFiles of the folder:", self.task);
        for (path, content) in &self.files {
            let lines = match content.lines().count() {
                1 => "1 line".to_owned(),
                lines => format!("{lines} lines"),
            };
            let _ = write!(text, "\n--- {path} ({lines})\n{}", content.trim_end());
        }
        text
    }
}

impl WayStep {
    fn wrote(&self) -> String {
        let programs = [("js", &self.js), ("sh", &self.sh)];
        let blocks = programs.into_iter().filter_map(|(language, program)| {
            let program = program.as_ref()?.trim_end();
            Some(format!("{FENCE}{language}\n{program}\n{FENCE}"))
        });
        let blocks: Vec<String> = blocks.collect();
        format!("{}\n{}", self.says, blocks.join("\n"))
    }
}

/// The words of a text, cut so that the forms of one are the same.
fn stems(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.map(|word| word.to_lowercase().chars().take(STEM).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_can_be_read_and_each_is_found_by_its_own_words() {
        assert!(ways().len() >= 75, "{} ways", ways().len());
        for (at, way) in ways().iter().enumerate() {
            for words in way.like.iter().chain([&way.task]) {
                let scores = INDEX.scores(words);
                let likelier = scores.iter().filter(|score| **score > scores[at]);
                assert!(
                    likelier.count() < SHOWN,
                    "{words:?} does not find {:?}",
                    way.task
                );
            }
        }
    }

    #[test]
    fn the_nearest_is_next_to_the_task_and_what_is_like_nothing_finds_nothing() {
        let near = INDEX.near("Append the entry \"pears\" at the end of fruits.txt");
        assert!(near.last().unwrap().task.contains("shopping.txt"));
        assert!(turns("Xyzzy!").is_empty());
    }

    #[test]
    fn what_a_text_says_is_answered_at_once_and_what_is_counted_is_not() {
        assert!(is_answered_at_once(
            "According to the rules, how many days of leave does somebody get after two years?"
        ));
        assert!(!is_answered_at_once(
            "How many lines of the log contain WARN?"
        ));
        assert!(!is_answered_at_once("Xyzzy!"));
    }

    #[test]
    fn a_way_is_a_conversation_that_ends_with_its_answer() {
        for way in ways() {
            let turns = way.turns();
            let roles: Vec<Role> = turns.iter().map(|turn| turn.role).collect();
            let pairs = roles.chunks_exact(2);
            assert!(pairs.remainder().is_empty());
            for pair in pairs {
                assert_eq!(pair, [Role::User, Role::Assistant]);
            }
            assert!(turns.last().unwrap().text.contains(ANSWER));
            let programs = |step: &WayStep| [&step.js, &step.sh].into_iter().flatten().count();
            assert!(way.steps.iter().all(|step| programs(step) == 1));
        }
    }
}
