//! What the service itself remembers: users, their keys and sessions, which requests were answered, and
//! webhooks. Runs are in the journal and nowhere else.
//!
//! One SQLite file, `serve.db` in gpak's data folder, which the service and `gpak serve users` may have
//! open at once. What is read on every request is read where it is asked for (it takes microseconds, and
//! in WAL no writer holds it up); what is written waits for the disk on a thread for that.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};

use crate::failure::Failure;

const FILE: &str = "serve.db";

/// How long a writer waits for one of another process.
const BUSY: Duration = Duration::from_secs(10);

/// Times are seconds since 1970, UTC.
const MIGRATIONS: &[M<'_>] = &[M::up("
    CREATE TABLE users (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        name     TEXT NOT NULL UNIQUE,
        role     TEXT NOT NULL,
        -- Argon2id, as a PHC string; none for a user who has keys only.
        password TEXT,
        created  INTEGER NOT NULL
    ) STRICT;

    -- API keys, sessions of a browser, and the tokens that open one: all are 256 random bits, of which
    -- only the BLAKE3 hash is here.
    CREATE TABLE keys (
        id      TEXT PRIMARY KEY,
        hash    BLOB NOT NULL UNIQUE,
        kind    TEXT NOT NULL,
        user    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name    TEXT NOT NULL,
        role    TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        revoked INTEGER
    ) STRICT;
    CREATE INDEX keys_by_user ON keys (user);

    -- Each login begins a family of refresh tokens, of which one is good at a time.
    CREATE TABLE families (
        id      TEXT PRIMARY KEY,
        user    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        role    TEXT NOT NULL,
        current TEXT NOT NULL,
        before  TEXT,
        rotated INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        revoked INTEGER
    ) STRICT;

    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

    -- Requests that are made once: what was asked, and what was answered.
    CREATE TABLE once (
        user        TEXT NOT NULL,
        key         TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        -- Which start of the service has it in hand.
        boot        TEXT NOT NULL,
        status      INTEGER,
        kind        TEXT,
        body        BLOB,
        created     INTEGER NOT NULL,
        PRIMARY KEY (user, key)
    ) STRICT;
    CREATE INDEX once_by_time ON once (created);

    CREATE TABLE webhooks (
        id      TEXT PRIMARY KEY,
        url     TEXT NOT NULL,
        -- Words.
        events  TEXT NOT NULL,
        -- Messages are signed with it, so that it is kept itself.
        secret  TEXT NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;

    -- Up to which entry of a run was written down what is to be sent.
    CREATE TABLE webhook_seen (
        webhook TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        run     TEXT NOT NULL,
        seq     INTEGER NOT NULL,
        PRIMARY KEY (webhook, run)
    ) STRICT;

    CREATE TABLE deliveries (
        id       TEXT PRIMARY KEY,
        webhook  TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
        body     TEXT NOT NULL,
        state    TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        due      INTEGER NOT NULL,
        error    TEXT,
        created  INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX deliveries_by_time ON deliveries (state, due);
    CREATE INDEX deliveries_by_webhook ON deliveries (webhook, created);

    -- What is so, and stays so over a restart.
    CREATE TABLE flags (name TEXT PRIMARY KEY) STRICT;
    ")];

/// The file, open. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
}

impl Store {
    /// Opens `serve.db` in the folder `dir`, making both where they are missing. Blocks.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let failed = |why: String| {
            Failure::new(format!("{}: {why}", path.display())).help(
                "it holds users and keys; if it is damaged, move it away and gpak makes a new one",
            )
        };
        std::fs::create_dir_all(dir).map_err(|why| failed(why.to_string()))?;
        // Nobody but this user reads hashes of passwords.
        let mut options = std::fs::OpenOptions::new();
        let made = options.append(true).create(true).mode(0o600).open(&path);
        made.map_err(|why| failed(why.to_string()))?;
        // Going over to WAL and making the tables do not wait for another process as writes do: one
        // process at a time opens the file.
        let lock = std::fs::File::create(path.with_extension("db.lock"))
            .and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(|why| failed(format!("it cannot be locked: {why}")))?;
        let mut writer = connect(&path).map_err(|why| failed(why.to_string()))?;
        Migrations::from_slice(MIGRATIONS)
            .to_latest(&mut writer)
            .map_err(|why| failed(why.to_string()))?;
        let reader = connect(&path).map_err(|why| failed(why.to_string()))?;
        Ok(Self(Arc::new(Inner {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            path,
        })))
    }

    /// Reads, at once.
    pub fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Stored<T> {
        let reader = self.0.reader.lock();
        let reader = reader.unwrap_or_else(PoisonError::into_inner);
        read(&reader).map_err(|why| self.failed(&why))
    }

    /// Writes, in a transaction, on a thread for that.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Stored<T> {
        let store = self.clone();
        let written = tokio::task::spawn_blocking(move || store.write_now(write));
        written
            .await
            .unwrap_or_else(|why| Err(StoreError(why.to_string())))
    }

    /// Writes, in a transaction, here. Blocks.
    pub fn write_now<T>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Stored<T> {
        let writer = self.0.writer.lock();
        let mut writer = writer.unwrap_or_else(PoisonError::into_inner);
        in_transaction(&mut writer, write).map_err(|why| self.failed(&why))
    }

    fn failed(&self, why: &rusqlite::Error) -> StoreError {
        StoreError(format!("{}: {why}", self.0.path.display()))
    }
}

fn in_transaction<T>(
    writer: &mut Connection,
    write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let written = write(&transaction)?;
    transaction.commit()?;
    Ok(written)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// What the store gives.
pub type Stored<T> = Result<T, StoreError>;

/// The file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl From<StoreError> for super::problem::Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!("{error}");
        Self::unavailable("the service's own store cannot be used; its log says why")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string())
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// 256 random bits in base64 that fits into an address.
pub fn random() -> Result<String, Failure> {
    use base64::Engine;
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|why| Failure::new(format!("this machine gives no randomness: {why}")))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
