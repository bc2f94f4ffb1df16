//! What changes the file: keeping and forgetting, each in one transaction.

use gpak_kernel::memory::{Episode, EpisodeId, Kept, MemoryError};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{
    failure::Failure,
    read::{self, Side},
};

/// An episode that is to be kept.
pub(super) struct New {
    pub(super) id: EpisodeId,
    pub(super) episode: Episode,
    pub(super) uses: u64,
    pub(super) vector: Vec<i8>,
}

/// Keeps them, all or none.
pub(super) fn keep(
    connection: &mut Connection,
    rows: Vec<New>,
    embedder: &str,
) -> Result<Vec<Kept>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let new = insert(&transaction, &row, embedder)?;
        kept.push(Kept { id: row.id, new });
    }
    transaction.commit()?;
    Ok(kept)
}

/// Writes a row and its vector. Answers whether it was not there before.
fn insert(transaction: &Transaction<'_>, row: &New, embedder: &str) -> Result<bool, Failure> {
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
        return Ok(false);
    }
    if row.vector.is_empty() {
        return Ok(true);
    }
    let id = transaction.last_insert_rowid();
    let data: Vec<u8> = row.vector.iter().map(|part| part.cast_unsigned()).collect();
    let sum = blake3::hash(&data);
    let mut insert = transaction
        .prepare_cached("INSERT INTO vectors (id, embedder, sum, data) VALUES (?1, ?2, ?3, ?4)")?;
    insert.execute(params![id, embedder, sum.as_bytes(), data])?;
    Ok(true)
}

/// Deletes them for good: what was deleted is overwritten with zeros, and the file and its log are written
/// anew.
pub(super) fn forget(connection: &mut Connection, ids: &[EpisodeId]) -> Result<usize, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut gone = 0;
    for id in ids {
        let mut select = transaction.prepare_cached("SELECT id FROM episodes WHERE name = ?1")?;
        let row: Option<i64> = select.query_row([id.0], |row| row.get(0)).optional()?;
        let Some(row) = row else { continue };
        // Servers are told of its neighbours again, without it.
        for near in read::near(&transaction, row, Side::Before, 1)?
            .into_iter()
            .chain(read::near(&transaction, row, Side::After, 2)?)
        {
            transaction.execute(
                "INSERT OR IGNORE INTO again SELECT target, ?1 FROM remotes",
                [near],
            )?;
        }
        transaction.execute("DELETE FROM again WHERE row = ?1", [row])?;
        transaction.execute("DELETE FROM vectors WHERE id = ?1", [row])?;
        gone += transaction.execute("DELETE FROM episodes WHERE id = ?1", [row])?;
        transaction.execute(
            "INSERT INTO gone (row, name) VALUES (?1, ?2)",
            params![row, id.0],
        )?;
    }
    transaction.commit()?;
    if gone == 0 {
        return Ok(0);
    }
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

/// Replaces the vectors of rows. One that was forgotten meanwhile stays so.
pub(super) fn revise(
    connection: &mut Connection,
    vectors: &[(i64, Vec<i8>)],
    embedder: &str,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (row, vector) in vectors {
        let data: Vec<u8> = vector.iter().map(|part| part.cast_unsigned()).collect();
        let sum = blake3::hash(&data);
        let mut replace = transaction.prepare_cached(
            "INSERT OR REPLACE INTO vectors (id, embedder, sum, data)
             SELECT id, ?2, ?3, ?4 FROM episodes WHERE id = ?1",
        )?;
        let replaced = replace.execute(params![row, embedder, sum.as_bytes(), data])?;
        if replaced > 0 {
            transaction.execute("INSERT INTO revised (row) VALUES (?1)", [row])?;
            transaction.execute(
                "INSERT OR IGNORE INTO again SELECT target, ?1 FROM remotes",
                [row],
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Notes that all vectors were made again: indexes are made anew, of which the sketches fit.
pub(super) fn revised(connection: &mut Connection) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.execute("DELETE FROM revised", [])? > 0 {
        transaction.execute("UPDATE state SET generation = generation + 1", [])?;
    }
    Ok(transaction.commit()?)
}
