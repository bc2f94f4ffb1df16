//! One recall: find candidates, order them, and make hits of the best.

use std::collections::HashSet;

use gpak_kernel::memory::{Episode, Hit, Query};
use rusqlite::Connection;

use super::{
    akin::Asked,
    failure::Failure,
    find::{Found, find},
    fuse::{self, AGAIN, Loaded, Scored, Weights},
    index::Index,
    part::{Direction, NONE, Part, Row},
    read, time,
};

/// Places in the order that are looked at for each hit that is wanted, since some have the same text or do
/// not fit into the budget.
const SPARE: usize = 4;

/// Episodes that a new one is compared with when the store is put in order.
const LIKE: usize = 30;

/// Bytes that count as a token.
const TOKEN: usize = 4;

/// What fits the query, with its vector. Parts of up to `exact` rows are looked through whole.
pub(super) fn recall(
    connection: &Connection,
    index: &Index,
    query: &Query,
    vector: &[f32],
    weights: &Weights,
    exact: usize,
) -> Result<Vec<Hit>, Failure> {
    let filter = &query.filter;
    let asked = Asked::of(&query.text);
    let direction = Direction::of(vector);
    let parts = index.parts_of(filter.namespace.as_deref());
    let found: Vec<Found<'_>> = parts
        .iter()
        .map(|part| find(part, &asked, &direction, part.sieve(filter).as_ref(), exact))
        .collect();
    let keep = keep(query);
    let order = fuse::order(&found, weights, keep, None);
    let load = |scored: &Scored| load(connection, scored, query);
    let around = |scored: &Scored| match found.get(scored.part) {
        Some(found) => around(connection, found.part, query, scored.place),
        None => Ok(Vec::new()),
    };
    hits(query, weights, &order, load, around)
}

/// How much of the order is looked at.
pub(super) fn keep(query: &Query) -> usize {
    query.limit.saturating_mul(SPARE).max(AGAIN)
}

/// Makes hits of the order: the best are ordered again, and of all the first are taken that have another text
/// than those before and that the budget has room for.
pub(super) fn hits<E>(
    query: &Query,
    weights: &Weights,
    order: &[Scored],
    load: impl Fn(&Scored) -> Result<Option<Loaded>, E>,
    around: impl Fn(&Scored) -> Result<Vec<Episode>, E>,
) -> Result<Vec<Hit>, E> {
    let (head, tail) = order.split_at(order.len().min(AGAIN));
    let mut best = Vec::with_capacity(head.len());
    for scored in head {
        best.extend(load(scored)?);
    }
    let time = time::told(&query.text, query.now);
    fuse::again(&mut best, weights, query.now, time.as_ref());
    let mut hits = Hits::new(query);
    for loaded in &best {
        if hits.is_full() {
            break;
        }
        if hits.is_new(loaded) {
            hits.take(loaded, around(&loaded.scored)?, &best);
        }
    }
    for scored in tail {
        if hits.is_full() {
            break;
        }
        let Some(mut loaded) = load(scored)? else {
            continue;
        };
        loaded.scored.parts.retain(|(_, value)| *value != 0.0);
        if hits.is_new(&loaded) {
            hits.take(&loaded, around(&loaded.scored)?, &best);
        }
    }
    Ok(hits.hits)
}

/// The rows of the namespace's episodes that share the most telling words with one, nearest first.
pub(super) fn like(index: &Index, episode: &Episode) -> Vec<i64> {
    let asked = Asked::exactly(&episode.text);
    let nowhere = Direction::of(&[]);
    let parts = index.parts_of(Some(&episode.namespace));
    let found: Vec<Found<'_>> = parts
        .iter()
        .map(|part| find(part, &asked, &nowhere, None, 0))
        .collect();
    let order = fuse::order(&found, &Weights::WORDS, LIKE, None);
    order.iter().map(|scored| scored.id).collect()
}

/// The episode of a candidate; nothing if it was forgotten since the index was read, or if the filter does
/// not let it through.
fn load(
    connection: &Connection,
    scored: &Scored,
    query: &Query,
) -> Result<Option<Loaded>, Failure> {
    let found = read::at_row(connection, scored.id)?;
    let admitted = found.filter(|(episode, _)| query.filter.admits(episode));
    Ok(admitted.map(|(episode, uses)| Loaded {
        scored: scored.clone(),
        episode,
        uses,
    }))
}

/// Hits as they are chosen: each text once, and within the budget.
struct Hits<'a> {
    query: &'a Query,
    hits: Vec<Hit>,
    texts: HashSet<String>,
    /// Bytes that are left of the budget.
    room: usize,
}

impl<'a> Hits<'a> {
    fn new(query: &'a Query) -> Self {
        let tokens = query.tokens;
        Self {
            query,
            hits: Vec::new(),
            texts: HashSet::new(),
            room: tokens.map_or(usize::MAX, |tokens| tokens.saturating_mul(TOKEN)),
        }
    }

    fn is_full(&self) -> bool {
        self.hits.len() >= self.query.limit
    }

    /// Whether no hit before has its text.
    fn is_new(&mut self, loaded: &Loaded) -> bool {
        self.texts.insert(plain(&loaded.episode))
    }

    /// Makes it a hit, if there is room for it and its neighbours.
    fn take(&mut self, loaded: &Loaded, around: Vec<Episode>, best: &[Loaded]) {
        let Loaded {
            scored, episode, ..
        } = loaded;
        let size: usize = std::iter::once(episode).chain(&around).map(size).sum();
        let Some(left) = self.room.checked_sub(size) else {
            return;
        };
        self.room = left;
        self.hits.push(Hit {
            id: episode.id(),
            episode: episode.clone(),
            score: scored.score,
            likeness: scored.likeness,
            why: fuse::explain(scored, best),
            around,
        });
    }
}

/// The text without what does not make it another one.
fn plain(episode: &Episode) -> String {
    let caption = episode.caption.as_deref().unwrap_or_default();
    let words = episode
        .text
        .split_whitespace()
        .chain(caption.split_whitespace());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

fn size(episode: &Episode) -> usize {
    episode.text.len() + episode.caption.as_ref().map_or(0, String::len)
}

/// The turns before and after the one at `place`, that the filter lets through, in order.
fn around(
    connection: &Connection,
    part: &Part,
    query: &Query,
    place: u32,
) -> Result<Vec<Episode>, Failure> {
    let follow = |link: fn(&Row) -> u32| {
        let next = move |place: &u32| {
            let row = part.rows.get(*place as usize)?;
            Some(link(row)).filter(|place| *place != NONE)
        };
        let places = std::iter::successors(Some(place), next);
        places.skip(1).take(query.neighbours)
    };
    let mut places: Vec<u32> = follow(|row| row.before).collect();
    places.reverse();
    places.extend(follow(|row| row.after));
    let mut turns = Vec::new();
    for row in places
        .iter()
        .filter_map(|place| part.rows.get(*place as usize))
    {
        turns.extend(read::at_row(connection, row.id)?.map(|(episode, _)| episode));
    }
    turns.retain(|turn| query.filter.admits(turn));
    Ok(turns)
}
