//! What a server has not been told of yet. The store itself is the outbox: rows and deletions are numbered, and of
//! each server it is known how far it was told, so nothing is written twice and nothing can be lost on the way.

use std::collections::BTreeSet;

use gpak_kernel::memory::{Episode, EpisodeId};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::episodic::{
    failure::Failure,
    read::{self, Side},
};

/// Rows that are told at a time.
const BATCH: usize = 256;

/// An episode with its vector, which is empty where there is none.
pub(super) struct Row {
    pub(super) episode: Episode,
    pub(super) vector: Vec<i8>,
}

/// What a server is told of an episode.
pub(super) struct Told {
    pub(super) own: Row,
    pub(super) before: Option<Row>,
    pub(super) before2: Option<Row>,
    pub(super) after: Option<Row>,
}

/// What a server is told next: first what is gone, then what there is.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) gone: Vec<EpisodeId>,
    pub(super) told: Vec<Told>,
    /// How far it was told when this has reached it.
    row: i64,
    last_gone: i64,
    again: Vec<i64>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.told.is_empty()
    }
}

/// Forgets what the server was told, because it has lost it or is new.
pub(super) fn begin(connection: &mut Connection, target: &str) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("DELETE FROM remotes WHERE target = ?1", [target])?;
    transaction.execute(
        "INSERT INTO remotes SELECT ?1, 0, coalesce((SELECT max(seq) FROM gone), 0)",
        [target],
    )?;
    Ok(transaction.commit()?)
}

/// Begins to count, if that was not begun: the collection was there before this file knew of it.
pub(super) fn begin_once(connection: &mut Connection, target: &str) -> Result<(), Failure> {
    connection.execute("INSERT OR IGNORE INTO remotes VALUES (?1, 0, 0)", [target])?;
    Ok(())
}

/// How far the server was told: rows and deletions.
fn told(connection: &Connection, target: &str) -> Result<(i64, i64), Failure> {
    let mut select =
        connection.prepare_cached("SELECT row, gone FROM remotes WHERE target = ?1")?;
    let told = select.query_row([target], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(told.optional()?.unwrap_or((0, 0)))
}

/// How many rows and deletions wait.
pub(super) fn waiting(connection: &Connection, target: &str) -> Result<u64, Failure> {
    let (row, gone) = told(connection, target)?;
    let count: i64 = connection.query_row(
        "SELECT (SELECT count(*) FROM episodes WHERE id > ?2)
              + (SELECT count(*) FROM gone WHERE seq > ?3)
              + (SELECT count(*) FROM again WHERE target = ?1 AND row <= ?2)",
        params![target, row, gone],
        |row| row.get(0),
    )?;
    Ok(count.try_into().unwrap_or(0))
}

/// The next batch for the server, with vectors of that embedder.
pub(super) fn next(
    connection: &mut Connection,
    target: &str,
    embedder: &str,
) -> Result<Batch, Failure> {
    let transaction = connection.transaction()?;
    let (row, gone) = told(&transaction, target)?;
    let mut batch = Batch {
        row,
        last_gone: gone,
        ..Batch::default()
    };
    let mut select = transaction.prepare_cached(
        "SELECT seq, name FROM gone WHERE seq > ?1 AND name IS NOT NULL ORDER BY seq",
    )?;
    let mut rows = select.query([gone])?;
    while let Some(row) = rows.next()? {
        batch.last_gone = row.get(0)?;
        batch.gone.push(EpisodeId(row.get(1)?));
    }
    let numbers = |sql: &str, key: &dyn rusqlite::ToSql| -> Result<Vec<i64>, Failure> {
        let mut select = transaction.prepare_cached(sql)?;
        let rows = select.query_map(params![key, BATCH as i64], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    batch.again = numbers("SELECT row FROM again WHERE target = ?1 LIMIT ?2", &target)?;
    let new = numbers(
        "SELECT id FROM episodes WHERE id > ?1 ORDER BY id LIMIT ?2",
        &row,
    )?;
    batch.row = new.last().copied().unwrap_or(row);
    let mut all: BTreeSet<i64> = batch.again.iter().copied().collect();
    for row in new {
        all.insert(row);
        // The turn before it has a neighbour that it had not.
        all.extend(read::near(&transaction, row, Side::Before, 1)?);
    }
    for row in all {
        batch.told.extend(tell(&transaction, row, embedder)?);
    }
    Ok(batch)
}

fn tell(connection: &Connection, row: i64, embedder: &str) -> Result<Option<Told>, Failure> {
    let Some(own) = load(connection, Some(row), embedder)? else {
        return Ok(None);
    };
    let before = read::near(connection, row, Side::Before, 2)?;
    let after = read::near(connection, row, Side::After, 1)?;
    let load = |row: Option<&i64>| load(connection, row.copied(), embedder);
    Ok(Some(Told {
        own,
        before: load(before.first())?,
        before2: load(before.get(1))?,
        after: load(after.first())?,
    }))
}

fn load(connection: &Connection, row: Option<i64>, embedder: &str) -> Result<Option<Row>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT body, sum, data FROM episodes
         LEFT JOIN vectors ON vectors.id = episodes.id AND embedder = ?2 WHERE episodes.id = ?1",
    )?;
    let found = select.query_row(params![row, embedder], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    let found: Option<(String, Option<Vec<u8>>, Option<Vec<u8>>)> = found.optional()?;
    let Some((body, sum, data)) = found else {
        return Ok(None);
    };
    let vector = match (sum, data) {
        (Some(sum), Some(data)) => read::checked(sum, data),
        _ => Vec::new(),
    };
    Ok(Some(Row {
        episode: read::parse(&body)?,
        vector,
    }))
}

/// Notes that the batch has reached the server.
pub(super) fn reached(
    connection: &mut Connection,
    target: &str,
    batch: &Batch,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "UPDATE remotes SET row = ?2, gone = ?3 WHERE target = ?1",
        params![target, batch.row, batch.last_gone],
    )?;
    for row in &batch.again {
        transaction.execute(
            "DELETE FROM again WHERE target = ?1 AND row = ?2",
            params![target, row],
        )?;
    }
    Ok(transaction.commit()?)
}

/// Whether an episode of that name was forgotten here.
pub(super) fn is_gone(connection: &Connection, id: EpisodeId) -> Result<bool, Failure> {
    let mut select = connection.prepare_cached("SELECT 1 FROM gone WHERE name = ?1")?;
    Ok(select.exists([id.0])?)
}
