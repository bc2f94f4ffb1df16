//! From scores of several kinds to one order.
//!
//! Scores are brought to the same scale and summed with weights; on LoCoMo this found more than
//! reciprocal ranks did. The best are then ordered again by what they say, and by time, importance and use.

use std::{cmp::Ordering, ops::Range};

use gpak_kernel::memory::{Episode, Reason};
use jiff::Timestamp;

use super::{
    find::{Candidate, Found},
    part::{NONE, Row},
    words,
};

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
    /// How much it states, up to forty words.
    pub stated: f32,
    /// That it ends in a question, which is to somebody else to answer.
    pub asks: f32,
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
        speaker: 0.15,
        session: 0.33,
        stated: 0.1,
        asks: -0.06,
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
        stated: 0.0,
        asks: 0.0,
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
pub(super) const AGAIN: usize = 50;

/// The best so many turns of a conversation speak for it.
const TURNS: usize = 3;

/// Stated words after which more make no difference.
const STATED: usize = 40;

/// Differences of likeness that count in full, however few candidates there are.
const NARROW: f32 = 0.2;

/// Days after which lateness counts half.
const HALF_LIFE: f32 = 30.0;

/// A candidate with its score and what it is made of.
#[derive(Debug, Clone)]
pub(super) struct Scored {
    /// The place of its part among those that were looked in, and its own in that.
    pub(super) part: usize,
    pub(super) place: u32,
    /// Its row in the file.
    pub(super) id: i64,
    pub(super) score: f32,
    /// How like its vector is to the question's.
    pub(super) likeness: f32,
    pub(super) parts: Vec<(&'static str, f32)>,
}

/// The first `keep` of all candidates, best first; equal ones in the order of the file. Where candidates are the best
/// only, `usual` is how like any two vectors are.
pub(super) fn order(
    found: &[Found<'_>],
    weights: &Weights,
    keep: usize,
    usual: Option<f32>,
) -> Vec<Scored> {
    let mut scale = Scale::of(found);
    if let Some(usual) = usual {
        scale.meaning.add(usual);
        scale.context.add(usual);
    }
    let base = |candidate: &Candidate| {
        weights.words * scale.words.part(candidate.words)
            + weights.meaning * scale.meaning.level(candidate.meaning)
            + weights.context * scale.context.level(candidate.context)
    };
    let mut totals: Vec<Vec<f32>> = found
        .iter()
        .map(|found| found.candidates.iter().map(base).collect())
        .collect();
    let sessions: Vec<Vec<f32>> = if weights.session == 0.0 {
        Vec::new()
    } else {
        let pairs = found.iter().zip(&totals);
        pairs
            .map(|(found, total)| by_session(found, total))
            .collect()
    };
    let session = Span::over(sessions.iter().flatten());
    let session_of = |part: usize, at: usize| {
        let fit = sessions.get(part).and_then(|fits| fits.get(at));
        fit.map_or(0.0, |fit| weights.session * session.level(*fit))
    };
    let speaker_of = |found: &Found<'_>, candidate: &Candidate| {
        let row = found.part.rows.get(candidate.place as usize);
        let named = |row: &Row| row.speaker != NONE && found.speakers.contains(&row.speaker);
        if row.is_some_and(named) {
            weights.speaker
        } else {
            0.0
        }
    };
    for (part, (found, total)) in found.iter().zip(&mut totals).enumerate() {
        for (at, (candidate, total)) in found.candidates.iter().zip(total).enumerate() {
            *total += session_of(part, at) + speaker_of(found, candidate);
        }
    }
    let is_found = |candidate: &Candidate| {
        let by_vectors = weights.meaning.max(weights.context) > 0.0;
        (weights.words > 0.0 && candidate.words > 0.0) || (by_vectors && candidate.meaning > 0.0)
    };
    let chosen = choose(found, &totals, keep, is_found);
    let explained = |(part, at, mut scored): (usize, usize, Scored)| {
        let found = found.get(part)?;
        let candidate = found.candidates.get(at)?;
        scored.parts = vec![
            ("words", weights.words * scale.words.part(candidate.words)),
            (
                "meaning",
                weights.meaning * scale.meaning.level(candidate.meaning),
            ),
            (
                "context",
                weights.context * scale.context.level(candidate.context),
            ),
            ("session", session_of(part, at)),
            ("speaker", speaker_of(found, candidate)),
        ];
        Some(scored)
    };
    chosen.into_iter().filter_map(explained).collect()
}

/// The lowest and the highest of many values.
#[derive(Clone, Copy)]
struct Span {
    low: f32,
    high: f32,
}

impl Span {
    const NONE: Self = Self {
        low: f32::INFINITY,
        high: f32::NEG_INFINITY,
    };

    fn add(&mut self, value: f32) {
        // Unlike `f32::min` these are one instruction each.
        if value < self.low {
            self.low = value;
        }
        if value > self.high {
            self.high = value;
        }
    }

    fn over<'a>(values: impl Iterator<Item = &'a f32>) -> Self {
        let mut span = Self::NONE;
        values.for_each(|value| span.add(*value));
        span
    }

    /// Where a value is between them, from 0 to 1 if they are far enough apart to tell anything.
    fn level(&self, value: f32) -> f32 {
        (value - self.low) / (self.high - self.low).max(NARROW)
    }

    /// What part of the highest it is.
    fn part(&self, value: f32) -> f32 {
        value / self.high.max(f32::MIN_POSITIVE)
    }
}

/// What brings scores to the same scale.
struct Scale {
    words: Span,
    meaning: Span,
    context: Span,
}

impl Scale {
    fn of(found: &[Found<'_>]) -> Self {
        let mut scale = Self {
            words: Span::NONE,
            meaning: Span::NONE,
            context: Span::NONE,
        };
        for candidate in found.iter().flat_map(|found| &found.candidates) {
            scale.words.add(candidate.words);
            scale.meaning.add(candidate.meaning);
            scale.context.add(candidate.context);
        }
        scale
    }
}

/// For each candidate, how well the best turns of its conversation fit; for one that is no turn, how well it
/// does.
fn by_session(found: &Found<'_>, totals: &[f32]) -> Vec<f32> {
    let mut best = vec![Best::default(); found.part.conversations.all().len()];
    let conversation = |candidate: &Candidate| {
        let row = found.part.rows.get(candidate.place as usize);
        row.map_or(NONE, |row| row.conversation) as usize
    };
    let pairs = || found.candidates.iter().zip(totals);
    for (candidate, total) in pairs() {
        if let Some(best) = best.get_mut(conversation(candidate)) {
            best.add(*total);
        }
    }
    let fit = |(candidate, total): (&Candidate, &f32)| {
        let best = best.get(conversation(candidate));
        best.map_or(*total, Best::mean)
    };
    pairs().map(fit).collect()
}

/// The best few scores of a conversation, best first.
#[derive(Clone, Copy, Default)]
struct Best {
    scores: [f32; TURNS],
    count: usize,
}

impl Best {
    fn add(&mut self, score: f32) {
        let better = self.scores.iter().take(self.count);
        let at = better.take_while(|s| **s >= score).count();
        if let Some(tail) = self.scores.get_mut(at..).filter(|tail| !tail.is_empty()) {
            tail.rotate_right(1);
            if let Some(first) = tail.first_mut() {
                *first = score;
                self.count = (self.count + 1).min(TURNS);
            }
        }
    }

    fn mean(&self) -> f32 {
        self.scores.iter().take(self.count).sum::<f32>() / self.count.max(1) as f32
    }
}

/// A candidate that may be kept: its score, its row in the file, its part, and its place among the
/// candidates.
type Choice = (f32, i64, usize, usize);

fn by_score(a: &Choice, b: &Choice) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The first `keep` by score of those that anything has found, with their parts and places among the
/// candidates.
fn choose(
    found: &[Found<'_>],
    totals: &[Vec<f32>],
    keep: usize,
    is_found: impl Fn(&Candidate) -> bool,
) -> Vec<(usize, usize, Scored)> {
    let mut all: Vec<Choice> = Vec::new();
    let mut floor = f32::NEG_INFINITY;
    for (part, (found, totals)) in found.iter().zip(totals).enumerate() {
        for (at, (candidate, score)) in found.candidates.iter().zip(totals).enumerate() {
            if *score < floor || !is_found(candidate) {
                continue;
            }
            let row = found.part.rows.get(candidate.place as usize);
            all.push((*score, row.map_or(0, |row| row.id), part, at));
            if all.len() >= 2 * keep.max(1) {
                floor = cut(&mut all, keep);
            }
        }
    }
    cut(&mut all, keep);
    all.sort_by(by_score);
    let scored = |(score, id, part, at): Choice| {
        let candidate = found.get(part)?.candidates.get(at)?;
        let scored = Scored {
            part,
            place: candidate.place,
            id,
            score,
            likeness: candidate.meaning,
            parts: Vec::new(),
        };
        Some((part, at, scored))
    };
    all.into_iter().filter_map(scored).collect()
}

/// Drops all but the first `keep`. Answers the lowest score that is left.
fn cut(all: &mut Vec<Choice>, keep: usize) -> f32 {
    if all.len() > keep {
        all.select_nth_unstable_by(keep, by_score);
        all.truncate(keep);
    }
    all.iter()
        .map(|choice| choice.0)
        .fold(f32::INFINITY, f32::min)
}

/// One of the best, with the episode.
pub(super) struct Loaded {
    pub(super) scored: Scored,
    pub(super) episode: Episode,
    pub(super) uses: u64,
}

/// Orders the best again, by what is known of them beside their words.
pub(super) fn again(
    best: &mut [Loaded],
    weights: &Weights,
    now: Timestamp,
    time: Option<&Range<Timestamp>>,
) {
    for Loaded {
        scored,
        episode,
        uses,
    } in best.iter_mut()
    {
        let days = now.duration_since(episode.at).as_secs_f32() / 86_400.0;
        let in_time = time.is_some_and(|time| time.contains(&episode.at));
        let late = 0.5f32.powf(days.max(0.0) / HALF_LIFE);
        let caption = episode.caption.as_deref().unwrap_or_default();
        let stated = words::stated(&episode.text, STATED) + words::stated(caption, STATED);
        let asks = episode.text.trim_end().ends_with(['?', '？']);
        scored.parts.extend([
            (
                "stated",
                weights.stated * stated.min(STATED) as f32 / STATED as f32,
            ),
            ("asks", if asks { weights.asks } else { 0.0 }),
            ("time", if in_time { weights.time } else { 0.0 }),
            (
                "importance",
                weights.importance * (episode.importance - 0.5),
            ),
            ("uses", weights.uses * (1.0 + *uses as f32).ln().min(3.0)),
            ("recency", weights.recency * late),
        ]);
        scored.parts.retain(|(_, value)| *value != 0.0);
        scored.score = scored.parts.iter().map(|(_, value)| value).sum();
    }
    best.sort_by(|a, b| better(&a.scored, &b.scored));
}

fn better(a: &Scored, b: &Scored) -> Ordering {
    b.score.total_cmp(&a.score).then(a.id.cmp(&b.id))
}

/// What a hit was found by, strongest first, with its rank among the best.
pub(super) fn explain(scored: &Scored, best: &[Loaded]) -> Vec<Reason> {
    let rank = |by: &str, value: f32| {
        let more = |other: &&Loaded| {
            let parts = &other.scored.parts;
            parts.iter().any(|(name, v)| *name == by && *v > value)
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
