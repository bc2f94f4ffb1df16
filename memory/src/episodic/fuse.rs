//! From scores of several kinds to one order.
//!
//! Scores are brought to the same scale and summed with weights; on LoCoMo this found more than
//! reciprocal ranks did. The best are then ordered again by time, importance and use.

use std::{cmp::Ordering, collections::HashMap, ops::Range};

use gpak_kernel::memory::Reason;
use jiff::Timestamp;

use super::index::{Index, Row};

/// How much each part counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// BM25 over the words of an episode and of its neighbours.
    pub words: f32,
    /// How like the vector of the episode is to the question's.
    pub meaning: f32,
    /// How like those of its neighbours are.
    pub context: f32,
    /// That the question names the speaker.
    pub speaker: f32,
    /// That other turns of the conversation fit, too.
    pub session: f32,
    /// That it happened at a time that the question tells.
    pub time: f32,
    /// How much it matters.
    pub importance: f32,
    /// How often it was recalled.
    pub uses: f32,
    /// How lately it happened.
    pub recency: f32,
}

impl Weights {
    /// What recall uses. From `meaning` to `time` fitted on the first two conversations of LoCoMo; the
    /// three after that are small on purpose, so that they only decide between like ones.
    pub const FULL: Self = Self {
        words: 1.0,
        meaning: 0.2,
        context: 0.375,
        speaker: 0.11,
        session: 0.35,
        time: 0.36,
        importance: 0.1,
        uses: 0.02,
        recency: 0.02,
    };

    const NONE: Self = Self {
        words: 0.0,
        meaning: 0.0,
        context: 0.0,
        speaker: 0.0,
        session: 0.0,
        time: 0.0,
        importance: 0.0,
        uses: 0.0,
        recency: 0.0,
    };

    /// By words alone.
    pub const WORDS: Self = Self {
        words: 1.0,
        ..Self::NONE
    };

    /// By vectors alone.
    pub const MEANING: Self = Self {
        meaning: 1.0,
        ..Self::NONE
    };

    /// By words and vectors, without what else is known.
    pub const HYBRID: Self = Self {
        words: 1.0,
        meaning: 0.2,
        context: 0.375,
        ..Self::NONE
    };
}

/// So many of the best are ordered again.
const AGAIN: usize = 50;

/// The best so many turns of a conversation speak for it.
const TURNS: usize = 3;

/// Days after which lateness counts half.
const HALF_LIFE: f32 = 30.0;

/// What the retrievers found.
pub(super) struct Found<'a> {
    pub(super) index: &'a Index,
    pub(super) namespace: Option<u32>,
    /// Place in the index, and BM25.
    pub(super) words: Vec<(usize, f32)>,
    /// For each row.
    pub(super) meaning: Vec<f32>,
    /// Numbers of the speakers whom the question names.
    pub(super) speakers: Vec<u32>,
    pub(super) time: Option<Range<Timestamp>>,
    pub(super) now: Timestamp,
}

/// A row with its score and what it is made of.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    pub(super) place: usize,
    pub(super) score: f32,
    pub(super) parts: Vec<(&'static str, f32)>,
}

impl Found<'_> {
    /// The rows of the namespace, best first; equal ones in the order of the store. Of the rest only the
    /// first `keep` are sorted and given.
    pub(super) fn order(&self, weights: &Weights, keep: usize) -> Vec<Scored> {
        let mut parts: Vec<(&'static str, Vec<f32>)> = Vec::new();
        let wanted: Vec<bool> = self.rows().map(|row| self.wants(row)).collect();
        let mut add = |name, weight: f32, mut values: Vec<f32>| {
            if weight != 0.0 {
                values.iter_mut().for_each(|value| *value *= weight);
                parts.push((name, values));
            }
        };
        add("words", weights.words, self.by_words());
        if weights.meaning != 0.0 {
            add("meaning", weights.meaning, level(&self.meaning, &wanted));
        }
        if weights.context != 0.0 {
            add(
                "context",
                weights.context,
                level(&self.by_context(), &wanted),
            );
        }
        let mut total = vec![0f32; wanted.len()];
        for (_, values) in &parts {
            total
                .iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        }
        if weights.session != 0.0 {
            let session = level(&self.by_session(&total), &wanted);
            parts.push((
                "session",
                session.iter().map(|v| v * weights.session).collect(),
            ));
        }
        if weights.speaker != 0.0 && !self.speakers.is_empty() {
            let named = |row: &Row| row.speaker.is_some_and(|s| self.speakers.contains(&s));
            let values = self
                .rows()
                .map(|row| if named(row) { weights.speaker } else { 0.0 });
            parts.push(("speaker", values.collect()));
        }
        for (_, values) in parts
            .iter()
            .filter(|(name, _)| matches!(*name, "session" | "speaker"))
        {
            total
                .iter_mut()
                .zip(values)
                .for_each(|(sum, value)| *sum += value);
        }
        let mut best = choose(&total, &wanted, keep.max(AGAIN));
        self.again(&mut best, weights, &parts);
        best
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.index.rows.iter()
    }

    fn wants(&self, row: &Row) -> bool {
        self.namespace.is_none_or(|wanted| wanted == row.namespace)
    }

    /// BM25 in parts of the best.
    fn by_words(&self) -> Vec<f32> {
        let best = self
            .words
            .iter()
            .map(|(_, score)| *score)
            .fold(0.0, f32::max);
        let mut values = vec![0.0; self.index.rows.len()];
        for (place, score) in &self.words {
            if let Some(value) = values.get_mut(*place) {
                *value = score / best.max(f32::MIN_POSITIVE);
            }
        }
        values
    }

    /// The likeness of a turn and its neighbours together: the mean of theirs, which for vectors
    /// that are means of their words is close to the likeness of their texts put together.
    fn by_context(&self) -> Vec<f32> {
        let at = |place: Option<u32>| self.meaning.get(place? as usize).copied();
        let mean = |(row, own): (&Row, &f32)| {
            let around = [at(row.before), at(row.after)];
            let (count, sum) = around
                .iter()
                .flatten()
                .fold((1.0, *own), |(count, sum), value| {
                    (count + 1.0, sum + value)
                });
            sum / count
        };
        self.rows().zip(&self.meaning).map(mean).collect()
    }

    /// For each row, how well the best turns of its conversation fit.
    fn by_session(&self, total: &[f32]) -> Vec<f32> {
        let mut sessions: HashMap<(u32, u32), Vec<f32>> = HashMap::new();
        for (row, score) in self.rows().zip(total).filter(|(row, _)| self.wants(row)) {
            let Some(conversation) = row.conversation else {
                continue;
            };
            let best = sessions.entry((row.namespace, conversation)).or_default();
            best.push(*score);
            best.sort_by(|a, b| b.total_cmp(a));
            best.truncate(TURNS);
        }
        let fit = |row: &Row| {
            let best = sessions.get(&(row.namespace, row.conversation?))?;
            Some(best.iter().sum::<f32>() / TURNS as f32)
        };
        self.rows().map(|row| fit(row).unwrap_or(0.0)).collect()
    }

    /// Orders the best again, by what is known of them beside their words.
    fn again(&self, best: &mut [Scored], weights: &Weights, parts: &[(&'static str, Vec<f32>)]) {
        for scored in best.iter_mut() {
            let of_row = |(name, values): &(&'static str, Vec<f32>)| {
                Some((*name, *values.get(scored.place)?))
            };
            scored.parts = parts.iter().filter_map(of_row).collect();
            let Some(row) = self.index.rows.get(scored.place) else {
                continue;
            };
            let days = self.now.duration_since(row.at).as_secs_f32() / 86_400.0;
            let in_time = self
                .time
                .as_ref()
                .is_some_and(|time| time.contains(&row.at));
            let late = 0.5f32.powf(days.max(0.0) / HALF_LIFE);
            scored.parts.extend([
                ("time", if in_time { weights.time } else { 0.0 }),
                ("importance", weights.importance * (row.importance - 0.5)),
                ("uses", weights.uses * (1.0 + row.uses as f32).ln().min(3.0)),
                ("recency", weights.recency * late),
            ]);
            scored.parts.retain(|(_, value)| *value != 0.0);
            scored.score = scored.parts.iter().map(|(_, value)| value).sum();
        }
        let head = best.len().min(AGAIN);
        if let Some(head) = best.get_mut(..head) {
            head.sort_by(better);
        }
    }
}

/// The first `keep` by score.
fn choose(total: &[f32], wanted: &[bool], keep: usize) -> Vec<Scored> {
    let scored = |(place, (score, wanted)): (usize, (&f32, &bool))| {
        (*wanted && *score > 0.0).then_some(Scored {
            place,
            score: *score,
            parts: Vec::new(),
        })
    };
    let all = total.iter().zip(wanted).enumerate();
    let mut all: Vec<Scored> = all.filter_map(scored).collect();
    if all.len() > keep {
        all.select_nth_unstable_by(keep, better);
        all.truncate(keep);
    }
    all.sort_by(better);
    all
}

fn better(a: &Scored, b: &Scored) -> Ordering {
    b.score.total_cmp(&a.score).then(a.place.cmp(&b.place))
}

/// Brings the wanted values to 0 to 1, the others to 0.
fn level(values: &[f32], wanted: &[bool]) -> Vec<f32> {
    let of_wanted = || values.iter().zip(wanted).filter(|(_, wanted)| **wanted);
    let low = of_wanted().map(|(v, _)| *v).fold(f32::INFINITY, f32::min);
    let high = of_wanted()
        .map(|(v, _)| *v)
        .fold(f32::NEG_INFINITY, f32::max);
    let width = (high - low).max(f32::MIN_POSITIVE);
    let level = |(value, wanted): (&f32, &bool)| if *wanted { (value - low) / width } else { 0.0 };
    values.iter().zip(wanted).map(level).collect()
}

/// What a hit was found by, strongest first, with its rank among the best.
pub(super) fn explain(scored: &Scored, best: &[Scored]) -> Vec<Reason> {
    let rank = |by: &str, value: f32| {
        let more = |other: &&Scored| {
            other
                .parts
                .iter()
                .any(|(name, v)| *name == by && *v > value)
        };
        1 + best.iter().filter(more).count()
    };
    let ranked = |by: &str| matches!(by, "words" | "meaning" | "context");
    let reason = |(by, score): &(&'static str, f32)| Reason {
        by: (*by).to_owned(),
        rank: ranked(by).then(|| rank(by, *score)),
        score: *score,
    };
    let mut reasons: Vec<Reason> = scored.parts.iter().map(reason).collect();
    reasons.sort_by(|a, b| b.score.total_cmp(&a.score));
    reasons
}
