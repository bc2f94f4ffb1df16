//! Which episodes have a term: the index that finds by words, and BM25 over it.
//!
//! What is said before and after a turn tells what the turn is about, so a term counts for the turn that has
//! it and, less, for its neighbours. Only the turn's own terms are kept; neighbours are looked up when a
//! question is asked, so that the index is a quarter as large and a new turn changes no other.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};

use super::{
    part::{NONE, Row},
    words::{Counts, Term},
};

/// What a term counts in each place that it can be in. Fitted, as `B`, on the first two conversations of LoCoMo.
mod weight {
    pub(super) const TEXT: f32 = 1.2;
    pub(super) const CAPTION: f32 = 1.0;
    pub(super) const SPEAKER: f32 = 1.0;
    pub(super) const DATE: f32 = 0.8;
    /// In the text or caption of the turn before, of the one before that, and of the one after.
    pub(super) const BEFORE: f32 = 0.8;
    pub(super) const BEFORE2: f32 = 0.5;
    pub(super) const AFTER: f32 = 0.3;
}

/// BM25's own two numbers: how soon more of a term adds nothing, and how much long texts are held back.
const K1: f32 = 1.2;
const B: f32 = 0.9;

/// A term that more episodes than this have is left out if it is also in more than one of [`COMMON`]: it
/// costs the most and tells the least.
const MANY: usize = 50_000;

/// See [`MANY`].
const COMMON: usize = 20;

/// An episode that has a term, and where.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Posting {
    pub(super) place: u32,
    text: u8,
    caption: u8,
    speaker: u8,
    date: u8,
}

/// All terms of the episodes of a namespace.
#[derive(Default)]
pub(super) struct Postings {
    pub(super) terms: HashMap<Term, Vec<Posting>>,
    /// Words of all episodes together, each with its neighbours.
    pub(super) words: u64,
}

impl Postings {
    /// Adds the terms of the episode at the next place.
    pub(super) fn push(&mut self, place: u32, terms: &[(Term, Counts)]) {
        for (term, counts) in terms {
            self.terms.entry(*term).or_default().push(Posting {
                place,
                text: counts.text,
                caption: counts.caption,
                speaker: counts.speaker,
                date: counts.date,
            });
        }
    }

    /// Takes the episode at `place` out of the lists of all terms.
    pub(super) fn remove(&mut self, place: u32) {
        self.terms.retain(|_, list| {
            if let Ok(at) = list.binary_search_by_key(&place, |posting| posting.place) {
                list.remove(at);
            }
            !list.is_empty()
        });
    }

    /// How well the words of each row fit, 0 for one that has none, and the places of those that have some.
    pub(super) fn score(&self, rows: &[Row], live: usize, asked: &[Term]) -> (Vec<f32>, Vec<u32>) {
        let mut sums = Sums::new(rows, live, self.words);
        let mut lists: Vec<&Vec<Posting>> = asked
            .iter()
            .filter_map(|term| self.terms.get(term))
            .collect();
        lists.sort_by_key(|list| list.len());
        let rarest = lists.first().map_or(0, |list| list.len());
        for list in lists {
            let common = list.len() > MANY && list.len() > live / COMMON;
            if common && list.len() > rarest {
                break;
            }
            sums.add(list);
        }
        (sums.scores, sums.scored)
    }
}

/// Scores as they are summed, term by term.
struct Sums<'a> {
    rows: &'a [Row],
    /// Those that were not forgotten.
    live: usize,
    /// The mean of their `span`s.
    mean: f32,
    /// How much of the present term each row has.
    amounts: Vec<f32>,
    /// The rows that have any of it.
    touched: Vec<u32>,
    scores: Vec<f32>,
    scored: Vec<u32>,
}

impl<'a> Sums<'a> {
    fn new(rows: &'a [Row], live: usize, words: u64) -> Self {
        Self {
            rows,
            live,
            mean: (words as f32 / live.max(1) as f32).max(1.0),
            amounts: vec![0.0; rows.len()],
            touched: Vec::new(),
            scores: vec![0.0; rows.len()],
            scored: Vec::new(),
        }
    }

    fn touch(&mut self, place: u32, amount: f32) {
        if let Some(sum) = self.amounts.get_mut(place as usize) {
            if *sum == 0.0 {
                self.touched.push(place);
            }
            *sum += amount;
        }
    }

    fn add(&mut self, list: &[Posting]) {
        let rows = self.rows;
        for posting in list {
            let Some(row) = rows.get(posting.place as usize) else {
                continue;
            };
            let [text, caption, speaker, date] =
                [posting.text, posting.caption, posting.speaker, posting.date].map(f32::from);
            let own = weight::TEXT * text
                + weight::CAPTION * caption
                + weight::SPEAKER * speaker
                + weight::DATE * date;
            self.touch(posting.place, own);
            let said = text + caption;
            if said == 0.0 {
                continue;
            }
            if row.before != NONE {
                self.touch(row.before, weight::AFTER * said);
            }
            if row.after != NONE {
                self.touch(row.after, weight::BEFORE * said);
                let after = rows.get(row.after as usize).map_or(NONE, |row| row.after);
                if after != NONE {
                    self.touch(after, weight::BEFORE2 * said);
                }
            }
        }
        let (all, having) = (self.live as f32, list.len() as f32);
        let rarity = (1.0 + (all - having + 0.5) / (having + 0.5)).ln();
        for place in self.touched.drain(..) {
            let at = place as usize;
            let (Some(amount), Some(score), Some(row)) = (
                self.amounts.get_mut(at),
                self.scores.get_mut(at),
                rows.get(at),
            ) else {
                continue;
            };
            let amount = std::mem::take(amount);
            let length = 1.0 - B + B * row.span as f32 / self.mean;
            if *score == 0.0 {
                self.scored.push(place);
            }
            *score += rarity * amount * (K1 + 1.0) / (amount + K1 * length);
        }
    }
}
