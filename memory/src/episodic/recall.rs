//! One recall: ask the retrievers, order what they found, and make hits of the best.

use std::collections::HashSet;

use gpak_kernel::memory::{Episode, Hit, Query};
use rusqlite::Connection;

use super::{
    failure::Failure,
    fuse::{Found, Scored, Weights, explain},
    index::Index,
    read, time, words,
};

/// Matches by words that are looked at.
const BY_WORDS: usize = 1000;

/// Places in the order that are looked at for each hit that is wanted, since filters leave some out.
const SPARE: usize = 20;

/// Bytes that count as a token.
const TOKEN: usize = 4;

/// What fits the query, with its vector.
pub(super) fn recall(
    connection: &Connection,
    index: &Index,
    query: &Query,
    vector: &[f32],
    weights: &Weights,
) -> Result<Vec<Hit>, Failure> {
    let filter = &query.filter;
    let namespace = match &filter.namespace {
        None => None,
        Some(name) => match index.namespaces.get(name) {
            None => return Ok(Vec::new()),
            number => number,
        },
    };
    let asked = words::words_of(&query.text);
    let found = words::search(connection, &asked, filter.namespace.as_deref(), BY_WORDS)?;
    let placed = found
        .iter()
        .filter_map(|(id, score)| Some((index.place(*id)?, *score)));
    let found = Found {
        index,
        namespace,
        words: placed.collect(),
        meaning: index.compare(vector, namespace),
        speakers: named(index, &asked),
        time: time::told(&query.text, query.now),
        now: query.now,
    };
    let order = found.order(
        weights,
        query.limit.saturating_mul(SPARE).min(index.rows.len()),
    );
    hits(connection, index, query, &order, &found.meaning)
}

/// The speakers of whose names a word is asked for.
fn named(index: &Index, asked: &[String]) -> Vec<u32> {
    let is_asked = |name: &str| {
        words::words_of(name)
            .iter()
            .any(|word| asked.contains(word))
    };
    let speakers = index.speakers.iter().filter(|(name, _)| is_asked(name));
    speakers.map(|(_, number)| number).collect()
}

/// The first of the order that the filter lets through and the budget has room for, each text once.
fn hits(
    connection: &Connection,
    index: &Index,
    query: &Query,
    order: &[Scored],
    meaning: &[f32],
) -> Result<Vec<Hit>, Failure> {
    let mut hits = Vec::new();
    let mut texts = HashSet::new();
    let mut room = query
        .tokens
        .map_or(usize::MAX, |tokens| tokens.saturating_mul(TOKEN));
    for scored in order {
        if hits.len() >= query.limit {
            break;
        }
        let Some(row) = index.rows.get(scored.place) else {
            continue;
        };
        // Forgotten since the index was read: not a hit any more.
        let Some(episode) = read::at_row(connection, row.id)? else {
            continue;
        };
        if !query.filter.admits(&episode) || !texts.insert(plain(&episode)) {
            continue;
        }
        let around = around(connection, index, query, scored.place)?;
        let size: usize = std::iter::once(&episode).chain(&around).map(size).sum();
        let Some(left) = room.checked_sub(size) else {
            continue;
        };
        room = left;
        hits.push(Hit {
            id: episode.id(),
            episode,
            score: scored.score,
            likeness: meaning.get(scored.place).copied().unwrap_or(0.0),
            why: explain(scored, order),
            around,
        });
    }
    Ok(hits)
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
    index: &Index,
    query: &Query,
    place: usize,
) -> Result<Vec<Episode>, Failure> {
    let mut places = Vec::new();
    let mut at = place;
    for _ in 0..query.neighbours {
        let Some(before) = index.rows.get(at).and_then(|row| row.before) else {
            break;
        };
        at = before as usize;
        places.insert(0, at);
    }
    at = place;
    for _ in 0..query.neighbours {
        let Some(after) = index.rows.get(at).and_then(|row| row.after) else {
            break;
        };
        at = after as usize;
        places.push(at);
    }
    let mut turns = Vec::new();
    for row in places.iter().filter_map(|place| index.rows.get(*place)) {
        turns.extend(read::at_row(connection, row.id)?);
    }
    turns.retain(|turn| query.filter.admits(turn));
    Ok(turns)
}
