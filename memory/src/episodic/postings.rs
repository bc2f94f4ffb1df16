//! Which episodes have a term: the index that finds by words, and BM25 over it.
//!
//! What is said before and after a turn tells what the turn is about, so a term counts for the turn that has
//! it and, less, for its neighbours. Only the turn's own terms are kept; neighbours are looked up when a
//! question is asked, so that the index is a quarter as large and a new turn changes no other.

#[cfg(feature = "qdrant")]
use std::collections::BTreeMap;
use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};
#[cfg(feature = "qdrant")]
use gpak_kernel::memory::Episode;

use super::{
    akin::Asked,
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

/// A near word that more episodes than this have tells too little for what it costs.
const SEVERAL: usize = 2_000;

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

impl Posting {
    fn new(place: u32, counts: Counts) -> Self {
        Self {
            place,
            text: counts.text,
            caption: counts.caption,
            speaker: counts.speaker,
            date: counts.date,
        }
    }

    /// What the term counts for the episode itself.
    fn own(self) -> f32 {
        weight::TEXT * f32::from(self.text)
            + weight::CAPTION * f32::from(self.caption)
            + weight::SPEAKER * f32::from(self.speaker)
            + weight::DATE * f32::from(self.date)
    }

    /// How often it is said, which counts for the episode's neighbours.
    fn said(self) -> f32 {
        f32::from(self.text) + f32::from(self.caption)
    }
}

impl Postings {
    /// Adds the terms of the episode at the next place.
    pub(super) fn push(&mut self, place: u32, terms: &[(Term, Counts)]) {
        for (term, counts) in terms {
            let posting = Posting::new(place, *counts);
            self.terms.entry(*term).or_default().push(posting);
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
    pub(super) fn score(&self, rows: &[Row], live: usize, asked: &Asked) -> (Vec<f32>, Vec<u32>) {
        let mut sums = Sums::new(rows, live, self.words);
        let mut lists: Vec<&Vec<Posting>> = asked
            .own
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
            sums.add(list, 1.0);
        }
        for (term, weight) in &asked.akin {
            let list = self.terms.get(term);
            if let Some(list) = list.filter(|list| list.len() <= SEVERAL) {
                sums.add(list, *weight);
            }
        }
        (sums.scores, sums.scored)
    }
}

/// An episode with its neighbours in its conversation.
#[cfg(feature = "qdrant")]
pub(super) struct Turn<'a> {
    pub(super) own: &'a Episode,
    pub(super) before: Option<&'a Episode>,
    pub(super) before2: Option<&'a Episode>,
    pub(super) after: Option<&'a Episode>,
}

/// What BM25 gives for each term of a turn but how rare the term is, for a store that knows no more of a turn than
/// the turn. Turns of `mean` words, with their neighbours, are the usual ones.
#[cfg(feature = "qdrant")]
pub(super) fn weights(turn: &Turn<'_>, mean: f32) -> BTreeMap<Term, f32> {
    let mut amounts: BTreeMap<Term, f32> = BTreeMap::new();
    let (own, words) = super::words::of_episode(turn.own);
    let mut span = f32::from(words);
    for (term, counts) in own {
        *amounts.entry(term).or_default() += Posting::new(0, counts).own();
    }
    for (near, weight) in [
        (turn.before, weight::BEFORE),
        (turn.before2, weight::BEFORE2),
        (turn.after, weight::AFTER),
    ] {
        let Some(near) = near else { continue };
        let (terms, words) = super::words::of_episode(near);
        span += f32::from(words);
        for (term, counts) in terms {
            let said = Posting::new(0, counts).said();
            if said > 0.0 {
                *amounts.entry(term).or_default() += weight * said;
            }
        }
    }
    for amount in amounts.values_mut() {
        *amount = saturate(*amount, span / mean);
    }
    amounts
}

/// BM25 of so much of a term in an episode so many times as long as others.
fn saturate(amount: f32, length: f32) -> f32 {
    amount * (K1 + 1.0) / (amount + K1 * (1.0 - B + B * length))
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

    /// Adds what a term of the weight `weight` gives.
    fn add(&mut self, list: &[Posting], weight: f32) {
        let rows = self.rows;
        for posting in list {
            let Some(row) = rows.get(posting.place as usize) else {
                continue;
            };
            self.touch(posting.place, posting.own());
            let said = posting.said();
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
            if *score == 0.0 {
                self.scored.push(place);
            }
            *score += weight * rarity * saturate(amount, row.span as f32 / self.mean);
        }
    }
}
