//! What a node learnt, until its core has it: one SQLite file.
//!
//! An experience is in the file before it is anywhere else, and leaves it when the core's receipt says that it is
//! in the core's memory. Batches are cut once and keep their name, so that what is sent twice is known to be the
//! same.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gpak_kernel::memory::Record;
use gpak_proto::v1;
use jiff::Timestamp;
use prost::Message;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};

use super::{
    node::{Instance, NodeId},
    wire::{self, Garbage},
};

/// The file's name in the data folder.
const FILE: &str = "outbox.db";
/// How long another process's transaction is waited for.
const BUSY: Duration = Duration::from_secs(5);
/// Bytes of experiences in one batch, before it is packed, and experiences.
const BATCH_BYTES: i64 = 512 << 10;
const BATCH_ITEMS: i64 = 256;

/// `items` are the experiences, `batch` the one that each was cut into, and `refused` why the core does not want
/// it. `spent` has the bytes that were sent in each hour since 1970.
const FIRST: &str = "
    CREATE TABLE node (instance BLOB NOT NULL) STRICT;
    INSERT INTO node VALUES (randomblob(16));
    CREATE TABLE items (
        seq     INTEGER PRIMARY KEY AUTOINCREMENT,
        name    BLOB NOT NULL UNIQUE,
        body    BLOB NOT NULL,
        added   INTEGER NOT NULL,
        batch   TEXT,
        refused TEXT
    ) STRICT;
    CREATE INDEX items_by_batch ON items (batch, seq);
    CREATE TABLE batches (
        id   TEXT PRIMARY KEY,
        sent INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE spent (hour INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
    ";

/// Why the outbox could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// There is no room.
    #[error(
        "there is no room for what was learnt ({}): it is not kept, and what is in the outbox stays; make room \
         on the disk, or let the link send what waits", .0.display()
    )]
    Full(PathBuf),
    /// The file cannot be used.
    #[error("the outbox {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is in it cannot be read.
    #[error("the outbox {} has an experience that cannot be read: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Garbage,
    },
    /// It is too large to be sent.
    #[error("an experience of {0} bytes is too large to be sent; {most} are the most", most = wire::LARGEST_MESSAGE)]
    TooLarge(usize),
}

type Done<T> = Result<T, OutboxError>;

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Experiences that are not yet in the core's memory.
    pub experiences: u64,
    /// Those that the core refused, which are kept for a person.
    pub refused: u64,
    /// When the oldest that waits was added.
    pub since: Option<Timestamp>,
}

/// The outbox in a data folder. Every method blocks.
pub struct Outbox {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Outbox {
    /// The one in that folder, made if there is none.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(dir: &Path) -> Done<Self> {
        let path = dir.join(FILE);
        let opened = std::fs::create_dir_all(dir)
            .map_err(|why| why.to_string())
            .and_then(|()| connect(&path).map_err(|why| why.to_string()));
        let connection = opened.map_err(|why| OutboxError::File {
            path: path.clone(),
            why,
        })?;
        Ok(Self {
            connection: Mutex::new(connection),
            path,
        })
    }

    /// Lets the file grow to so many bytes and no more.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn limit(&self, bytes: u64) -> Done<()> {
        self.with(|connection| {
            let size: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
            let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / size.max(1);
            connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        })
    }

    /// Which of several nodes of one name this is.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn instance(&self) -> Done<Instance> {
        self.with(|connection| {
            connection.query_row("SELECT instance FROM node", [], |row| row.get(0))
        })
    }

    /// This node, as it names itself.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn node(&self, id: &NodeId) -> Done<v1::Node> {
        Ok(v1::Node {
            id: id.to_string(),
            instance: self.instance()?.to_vec(),
        })
    }

    /// Keeps experiences, all or none, on the disk. One that is here already is not kept twice. Answers how many
    /// are new.
    ///
    /// # Errors
    /// [`OutboxError::Full`] if there is no room.
    pub fn add(&self, records: &[Record], now: Timestamp) -> Done<usize> {
        let mut bodies = Vec::with_capacity(records.len());
        for record in records {
            let body = wire::experience(record).encode_to_vec();
            if body.len() > wire::LARGEST_MESSAGE {
                return Err(OutboxError::TooLarge(body.len()));
            }
            bodies.push((record.id.0, body));
        }
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut new = 0;
            for (name, body) in &bodies {
                new += transaction
                    .prepare_cached(
                        "INSERT INTO items (name, body, added) VALUES (?1, ?2, ?3)
                         ON CONFLICT (name) DO NOTHING",
                    )?
                    .execute(params![name, body, now.as_millisecond()])?;
            }
            transaction.commit()?;
            Ok(new)
        })
    }

    /// How much waits.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn waiting(&self) -> Done<Waiting> {
        self.with(|connection| {
            let sql = "SELECT COUNT(*) FILTER (WHERE refused IS NULL),
                              COUNT(*) FILTER (WHERE refused IS NOT NULL),
                              MIN(added) FILTER (WHERE refused IS NULL) FROM items";
            connection.query_row(sql, [], |row| {
                let since: Option<i64> = row.get(2)?;
                Ok(Waiting {
                    experiences: row.get::<_, i64>(0)?.cast_unsigned(),
                    refused: row.get::<_, i64>(1)?.cast_unsigned(),
                    since: since.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
                })
            })
        })
    }

    /// What the core refused, and why.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn refused(&self) -> Done<Vec<(v1::Experience, String)>> {
        let rows: Vec<(Vec<u8>, String)> = self.with(|connection| {
            let sql = "SELECT body, refused FROM items WHERE refused IS NOT NULL ORDER BY seq";
            let mut select = connection.prepare_cached(sql)?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        let read = rows.into_iter();
        read.map(|(body, why)| Ok((self.decode(&body)?, why)))
            .collect()
    }

    /// Lets what the core refused be sent again. Answers how many those are.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn retry_refused(&self) -> Done<usize> {
        self.with(|connection| {
            let sql = "UPDATE items SET refused = NULL, batch = NULL WHERE refused IS NOT NULL";
            connection.execute(sql, [])
        })
    }

    /// A batch to be sent: one that was sent before `again` and not received, or else a new one, if
    /// something waits. It is the same until its receipt comes.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn next(
        &self,
        node: &v1::Node,
        now: Timestamp,
        again: Timestamp,
    ) -> Done<Option<v1::ExperienceBatch>> {
        let cut: Option<String> = self.with(|connection| {
            let sql = "SELECT id FROM batches WHERE sent < ?1 ORDER BY sent, rowid LIMIT 1";
            let at = again.as_millisecond();
            connection.query_row(sql, [at], |row| row.get(0)).optional()
        })?;
        let old = cut
            .map(|id| self.bodies("batch = ?1 AND refused IS NULL", &id))
            .transpose()?;
        if let Some(rows) = old {
            return self.batch(node, &rows, now).map(Some);
        }
        let rows = self.bodies("batch IS NULL AND refused IS NULL AND ?1 = ''", "")?;
        if rows.is_empty() {
            return Ok(None);
        }
        let batch = self.batch(node, &rows, now)?;
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT OR IGNORE INTO batches (id) VALUES (?1)",
                [&batch.id],
            )?;
            for (seq, _) in &rows {
                let sql = "UPDATE items SET batch = ?2 WHERE seq = ?1";
                transaction
                    .prepare_cached(sql)?
                    .execute(params![seq, batch.id])?;
            }
            transaction.commit()
        })?;
        Ok(Some(batch))
    }

    /// Notes that a batch was sent, which cost so many bytes.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn sent(&self, batch: &str, bytes: usize, now: Timestamp) -> Done<()> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let at = now.as_millisecond();
            transaction.execute("UPDATE batches SET sent = ?2 WHERE id = ?1", params![batch, at])?;
            transaction.execute("DELETE FROM spent WHERE hour < ?1", [hour(now) - 48])?;
            transaction.execute(
                "INSERT INTO spent VALUES (?1, ?2) ON CONFLICT (hour) DO UPDATE SET bytes = bytes + ?2",
                params![hour(now), i64::try_from(bytes).unwrap_or(i64::MAX)],
            )?;
            transaction.commit()
        })
    }

    /// Bytes that were sent in this hour.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn spent(&self, now: Timestamp) -> Done<u64> {
        self.with(|connection| {
            let sql = "SELECT bytes FROM spent WHERE hour = ?1";
            let spent = connection.query_row(sql, [hour(now)], |row| row.get::<_, i64>(0));
            Ok(spent.optional()?.unwrap_or(0).cast_unsigned())
        })
    }

    /// Forgets what the core has committed, and keeps aside what it refused. A receipt for a batch that is not
    /// of this outbox changes nothing. Answers how many experiences are gone.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn receive(&self, receipt: &v1::Receipt) -> Done<usize> {
        self.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut gone = 0;
            for name in &receipt.committed {
                let sql = "DELETE FROM items WHERE name = ?1 AND batch = ?2";
                let mut delete = transaction.prepare_cached(sql)?;
                gone += delete.execute(params![name, receipt.batch])?;
            }
            for refused in &receipt.refused {
                let sql = "UPDATE items SET refused = ?3 WHERE name = ?1 AND batch = ?2";
                let mut update = transaction.prepare_cached(sql)?;
                update.execute(params![refused.id, receipt.batch, refused.reason])?;
            }
            // What a receipt leaves unsaid is cut into another batch.
            let sql = "UPDATE items SET batch = NULL WHERE batch = ?1 AND refused IS NULL";
            transaction.execute(sql, [&receipt.batch])?;
            transaction.execute("DELETE FROM batches WHERE id = ?1", [&receipt.batch])?;
            transaction.commit()?;
            Ok(gone)
        })
    }

    /// The experiences of a batch, or as many as go into one.
    fn bodies(&self, which: &str, batch: &str) -> Done<Vec<(i64, Vec<u8>)>> {
        let sql = format!(
            "SELECT seq, body FROM (
                SELECT seq, body, SUM(LENGTH(body)) OVER (ORDER BY seq) - LENGTH(body) AS before
                FROM (SELECT seq, body FROM items WHERE {which} ORDER BY seq LIMIT {BATCH_ITEMS})
             ) WHERE before < {BATCH_BYTES} ORDER BY seq"
        );
        self.with(|connection| {
            let mut select = connection.prepare_cached(&sql)?;
            let rows = select.query_map([batch], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    fn batch(
        &self,
        node: &v1::Node,
        rows: &[(i64, Vec<u8>)],
        now: Timestamp,
    ) -> Done<v1::ExperienceBatch> {
        let experiences = rows.iter().map(|(_, body)| self.decode(body));
        let experiences: Vec<v1::Experience> = experiences.collect::<Done<_>>()?;
        Ok(wire::batch(node.clone(), experiences, now))
    }

    fn decode(&self, body: &[u8]) -> Done<v1::Experience> {
        v1::Experience::decode(body).map_err(|why| OutboxError::Damaged {
            path: self.path.clone(),
            why: Garbage::Message(why.to_string()),
        })
    }

    fn with<T>(&self, job: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Done<T> {
        job(&mut self.lock()).map_err(|why| match why.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => OutboxError::Full(self.path.clone()),
            _ => OutboxError::File {
                path: self.path.clone(),
                why: why.to_string(),
            },
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hour since 1970 that a time is in.
fn hour(now: Timestamp) -> i64 {
    now.as_second().div_euclid(3600)
}

fn connect(path: &Path) -> Result<Connection, rusqlite_migration::Error> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Migrations::from_slice(&[M::up(FIRST)]).to_latest(&mut connection)?;
    Ok(connection)
}
