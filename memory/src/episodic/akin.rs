//! Words that mean nearly what a question's words mean, so that what was said in other words is found by
//! words, too.
//!
//! Which words are near is read off the table of the static embedder (a word is as near as the cosine of
//! the two vectors), whatever embedder the vectors of the episodes are from.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use crate::embed::StaticEmbedder;

use super::{
    scan,
    words::{self, Term},
};

/// What a near word counts, times how near it is, beside a word of the question, which counts 1. Fitted, as
/// the two after it, on the first two conversations of LoCoMo.
const WEIGHT: f32 = 0.3;

/// The cosine from which a word is near.
const NEAR: f32 = 0.55;

/// Near words for a word of the question.
const MOST: usize = 5;

/// Letters of a word that has near ones; shorter ones are pieces of words.
const SHORTEST: usize = 3;

/// Words of which the near ones are remembered.
const KNOWN: usize = 10_000;

/// The terms near a word and what they count.
type Near = Arc<[(Term, f32)]>;

static KNOWN_WORDS: LazyLock<Mutex<HashMap<String, Near>>> = LazyLock::new(Mutex::default);

/// What a question looks for by words.
pub(super) struct Asked {
    /// Its own terms.
    pub(super) own: Vec<Term>,
    /// The terms near to those, without them, with what each counts.
    pub(super) akin: Vec<(Term, f32)>,
}

impl Asked {
    /// What `question` asks for, in these words or in others.
    pub(super) fn of(question: &str) -> Self {
        let own = words::asked(question);
        let akin = akin(question, &own);
        Self { own, akin }
    }

    /// What has the very words of `text`.
    pub(super) fn exactly(text: &str) -> Self {
        Self {
            own: words::asked(text),
            akin: Vec::new(),
        }
    }
}

fn akin(question: &str, asked: &[Term]) -> Vec<(Term, f32)> {
    let mut akin: BTreeMap<Term, f32> = BTreeMap::new();
    words::words(question, &mut |word| {
        let is_asked = words::term(word).is_some_and(|term| asked.contains(&term));
        if !is_asked || !has_near(word) {
            return;
        }
        let others = near(word);
        let others = others.iter().filter(|(term, _)| !asked.contains(term));
        for (term, weight) in others.take(MOST) {
            let most = akin.entry(*term).or_default();
            *most = most.max(*weight);
        }
    });
    akin.into_iter().collect()
}

/// Numbers have neighbours that mean another one.
fn has_near(word: &str) -> bool {
    word.chars().count() >= SHORTEST && word.chars().all(char::is_alphabetic)
}

/// The terms near a word, nearest first, more than [`MOST`] of them, since some may be the question's.
fn near(word: &str) -> Near {
    let known = || KNOWN_WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(near) = known().get(word) {
        return Arc::clone(near);
    }
    let near: Near = look_up(word).into();
    let mut known = known();
    if known.len() >= KNOWN {
        known.clear();
    }
    known.insert(word.to_owned(), Arc::clone(&near));
    near
}

fn look_up(word: &str) -> Vec<(Term, f32)> {
    // Without the table nothing is embedded either, and that is said there.
    let Ok(table) = StaticEmbedder::load() else {
        return Vec::new();
    };
    let rows = table.rows();
    let Some(own) = table.row_of(word) else {
        return Vec::new();
    };
    let length = |row: &[i8]| (scan::dot(row, row) as f32).sqrt();
    let own_length = length(own);
    let mut found: Vec<(f32, u32)> = Vec::new();
    let mut id = 0;
    scan::dots(own, rows, &mut |product| {
        let product = product as f32;
        // Lengths are counted for those only that could be near enough.
        if product > 0.0 {
            found.push((product, id));
        }
        id += 1;
    });
    let cosine = |(product, id): (f32, u32)| {
        let length = length(table.row(id)?) * own_length;
        let cosine = product / length.max(f32::MIN_POSITIVE);
        (cosine >= NEAR).then_some((cosine, id))
    };
    let mut near: Vec<(f32, u32)> = found.into_iter().filter_map(cosine).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut terms: Vec<(Term, f32)> = Vec::new();
    for (cosine, id) in near {
        let Some(other) = table.token(id).filter(|other| has_near(other)) else {
            continue;
        };
        let Some(term) = words::term(&other) else {
            continue;
        };
        if terms.iter().all(|(known, _)| *known != term) {
            terms.push((term, WEIGHT * cosine));
        }
        if terms.len() >= 2 * MOST {
            break;
        }
    }
    terms
}
