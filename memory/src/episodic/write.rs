//! What changes the file: keeping and forgetting, each in one transaction.

use std::collections::{BTreeSet, HashMap};

use gpak_kernel::memory::{Episode, EpisodeId, Kept, MemoryError};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    failure::Failure,
    read::parse,
    words::{self, Turn},
};

/// An episode that is to be kept.
pub(super) struct New {
    pub(super) id: EpisodeId,
    pub(super) episode: Episode,
    pub(super) uses: u64,
    pub(super) vector: Vec<i8>,
}

/// A row and what is in it.
type Stored = (i64, Episode);

/// The namespace and the conversation of an episode, if it is a turn of one.
type Conversation = (String, String);

/// Keeps them, all or none.
pub(super) fn keep(
    connection: &mut Connection,
    rows: Vec<New>,
    embedder: &str,
) -> Result<Vec<Kept>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut kept = Vec::with_capacity(rows.len());
    let mut chains: HashMap<Conversation, Vec<Stored>> = HashMap::new();
    let mut known: HashMap<Conversation, usize> = HashMap::new();
    for row in rows {
        let inserted = insert(&transaction, &row, embedder)?;
        kept.push(Kept {
            id: row.id,
            new: inserted.is_some(),
        });
        let Some(id) = inserted else { continue };
        let Some(conversation) = conversation_of(&row.episode) else {
            words::index(&transaction, id, &row.episode, Turn::default())?;
            continue;
        };
        if !chains.contains_key(&conversation) {
            let earlier = last_turns(&transaction, &conversation, id)?;
            known.insert(conversation.clone(), earlier.len());
            chains.insert(conversation.clone(), earlier);
        }
        if let Some(chain) = chains.get_mut(&conversation) {
            chain.push((id, row.episode));
        }
    }
    for (conversation, chain) in &chains {
        // Of those that were there before, the last has a new neighbour.
        let from = known
            .get(conversation)
            .copied()
            .unwrap_or(0)
            .saturating_sub(1);
        index_chain(&transaction, chain, from)?;
    }
    transaction.commit()?;
    Ok(kept)
}

/// Writes a row and its vector. Answers its number, or nothing if it was there already.
fn insert(
    transaction: &Transaction<'_>,
    row: &New,
    embedder: &str,
) -> Result<Option<i64>, Failure> {
    let episode = &row.episode;
    let body = serde_json::to_string(episode).map_err(|e| {
        MemoryError::Invalid(format!(
            "an episode cannot be written as JSON: {e}; change its meta"
        ))
    })?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO episodes (name, namespace, kind, conversation, at, body, uses)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING",
    )?;
    let inserted = insert.execute(params![
        row.id.0,
        episode.namespace,
        episode.kind.as_str(),
        episode.conversation,
        episode.at.as_microsecond(),
        body,
        i64::try_from(row.uses).unwrap_or(i64::MAX),
    ])?;
    if inserted == 0 {
        return Ok(None);
    }
    let id = transaction.last_insert_rowid();
    let data: Vec<u8> = row.vector.iter().map(|part| part.cast_unsigned()).collect();
    let sum = blake3::hash(&data);
    let mut insert = transaction
        .prepare_cached("INSERT INTO vectors (id, embedder, sum, data) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![id, embedder, sum.as_bytes(), data])?;
    Ok(Some(id))
}

fn conversation_of(episode: &Episode) -> Option<Conversation> {
    let name = episode.conversation.clone()?;
    Some((episode.namespace.clone(), name))
}

/// The last three turns of a conversation before row `id`, in order.
fn last_turns(
    transaction: &Transaction<'_>,
    conversation: &Conversation,
    id: i64,
) -> Result<Vec<Stored>, Failure> {
    let mut select = transaction.prepare_cached(
        "SELECT id, body FROM episodes WHERE namespace = ?1 AND conversation = ?2 AND id < ?3
         ORDER BY id DESC LIMIT 3",
    )?;
    let mut rows = select.query(params![conversation.0, conversation.1, id])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        turns.push((row.get(0)?, parse(&body)?));
    }
    turns.reverse();
    Ok(turns)
}

/// Indexes the words of the turns from the place `from` on, with their neighbours.
fn index_chain(
    transaction: &Transaction<'_>,
    chain: &[Stored],
    from: usize,
) -> rusqlite::Result<()> {
    let at = |place: Option<usize>| chain.get(place?).map(|(_, episode)| episode);
    for (place, (id, episode)) in chain.iter().enumerate().skip(from) {
        let turn = Turn {
            before: at(place.checked_sub(1)),
            before2: at(place.checked_sub(2)),
            after: at(place.checked_add(1)),
        };
        words::index(transaction, *id, episode, turn)?;
    }
    Ok(())
}

/// Deletes them for good. The words of a turn are in the index of its neighbours, too: these are indexed
/// again without it. The index is then merged, because only a merge drops what was deleted, and the
/// file and its log are written anew.
pub(super) fn forget(connection: &mut Connection, ids: &[EpisodeId]) -> Result<usize, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = 0;
    let mut touched = BTreeSet::new();
    for id in ids {
        let mut select =
            transaction.prepare_cached("SELECT id, body FROM episodes WHERE name = ?1")?;
        let found = select.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((row, body)) = found.optional()? else {
            continue;
        };
        let (row, body): (i64, String) = (row, body);
        touched.extend(conversation_of(&parse(&body)?));
        words::remove(&transaction, row)?;
        transaction.execute("DELETE FROM vectors WHERE id = ?1", [row])?;
        gone += transaction.execute("DELETE FROM episodes WHERE id = ?1", [row])?;
    }
    if gone == 0 {
        return Ok(0);
    }
    for conversation in touched {
        let chain = whole(&transaction, &conversation)?;
        index_chain(&transaction, &chain, 0)?;
    }
    transaction.execute("UPDATE state SET forgotten = forgotten + 1", [])?;
    transaction.execute("INSERT INTO words (words) VALUES ('optimize')", [])?;
    transaction.commit()?;
    connection.execute_batch("VACUUM")?;
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Err(MemoryError::Store(format!(
            "{gone} episodes were forgotten, but another program that reads the memory keeps their text \
             in the log beside the file; close it, and the next gpak that opens the memory clears the log"
        ))
        .into());
    }
    Ok(gone)
}

fn whole(
    transaction: &Transaction<'_>,
    conversation: &Conversation,
) -> Result<Vec<Stored>, Failure> {
    let mut select = transaction.prepare_cached(
        "SELECT id, body FROM episodes WHERE namespace = ?1 AND conversation = ?2 ORDER BY id",
    )?;
    let mut rows = select.query(params![conversation.0, conversation.1])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(1)?;
        turns.push((row.get(0)?, parse(&body)?));
    }
    Ok(turns)
}

/// Counts a use of each.
pub(super) fn used(connection: &mut Connection, ids: &[EpisodeId]) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for id in ids {
        transaction.execute(
            "UPDATE episodes SET uses = uses + 1 WHERE name = ?1",
            [id.0],
        )?;
    }
    transaction.commit()?;
    Ok(())
}
