//! The file: opening it, its tables, and how older ones become them.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use gpak_kernel::memory::MemoryError;
use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::failure::Failure;

/// The file's name in the data folder.
pub(super) const FILE: &str = "memory.db";

/// `gpam` in ASCII, in the file's header: tells our files from those of other programs.
const APPLICATION_ID: i32 = 0x6770_616D;

/// How long SQLite waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

const MIGRATIONS: &[M<'_>] = &[M::up(FIRST), M::up(SECOND), M::up(ORDER), M::up(OUTBOX)];

/// `vectors` is a cache that can be made again from the texts; `sum` is a BLAKE3 hash of `data`.
/// What else there is, the second migration takes away.
const FIRST: &str = "
    PRAGMA application_id = 0x6770616D;

    CREATE TABLE episodes (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        name         BLOB NOT NULL UNIQUE,
        namespace    TEXT NOT NULL,
        kind         TEXT NOT NULL,
        conversation TEXT,
        at           INTEGER NOT NULL,
        body         TEXT NOT NULL,
        uses         INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX episodes_by_time ON episodes (namespace, at);
    CREATE INDEX episodes_by_conversation ON episodes (namespace, conversation, id);

    CREATE VIRTUAL TABLE words USING fts5(
        speaker, text, caption, before, before2, after, date,
        content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2'
    );

    CREATE TABLE vectors (
        id       INTEGER PRIMARY KEY REFERENCES episodes (id) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        sum      BLOB NOT NULL,
        data     BLOB NOT NULL
    ) STRICT;

    CREATE TABLE state (forgotten INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (0);
    ";

/// Words are found in memory now (`postings.rs`): FTS5 was most of the time of a recall and of a write.
/// `gone` has the rows that were forgotten, and `generation` counts changes to rows that were there before, so
/// that who holds an index catches up with it. `store` tells this file from any other.
const SECOND: &str = "
    DROP TABLE words;
    DROP TABLE state;
    DROP INDEX episodes_by_conversation;
    CREATE TABLE gone (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT;
    CREATE TABLE state (store BLOB NOT NULL, generation INTEGER NOT NULL) STRICT;
    INSERT INTO state VALUES (randomblob(16), 0);
    ";

/// How far the store was put in order: the last row that was looked at, and when importance last decayed.
const ORDER: &str = "
    ALTER TABLE state ADD COLUMN consolidated INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE state ADD COLUMN decayed INTEGER NOT NULL DEFAULT 0;
    ";

/// `gone` has the names of what was forgotten, too, and `revised` the rows whose vectors were made again. `remotes`
/// tells how far each server was told, and `again` what else it is to be told: together they are the outbox.
const OUTBOX: &str = "
    CREATE INDEX episodes_by_conversation ON episodes (namespace, conversation, id);
    ALTER TABLE gone ADD COLUMN name BLOB;
    CREATE INDEX gone_by_name ON gone (name);
    CREATE TABLE revised (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT;
    CREATE TABLE remotes (
        target TEXT PRIMARY KEY,
        row    INTEGER NOT NULL,
        gone   INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE again (
        target TEXT NOT NULL REFERENCES remotes (target) ON DELETE CASCADE,
        row    INTEGER NOT NULL,
        PRIMARY KEY (target, row)
    ) STRICT, WITHOUT ROWID;
    ";

/// Opens `memory.db` in `dir`, making both where they are missing.
pub(super) fn open(dir: &Path) -> Result<Connection, MemoryError> {
    let path = dir.join(FILE);
    fs::create_dir_all(dir).map_err(|e| {
        let dir = dir.display();
        MemoryError::Store(format!(
            "the folder {dir} cannot be made ({e}); set GPAK_HOME to a folder that can be written"
        ))
    })?;
    connect(&path).map_err(|failure| failure.about(&path))
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let file = path.display();
    if application != APPLICATION_ID && (application, version, tables) != (0, 0, 0) {
        return Err(MemoryError::Store(format!(
            "{file} is a database of another program; move it away, or set GPAK_HOME to another folder"
        ))
        .into());
    }
    let known = MIGRATIONS.len() as i32;
    if version > known {
        return Err(MemoryError::Store(format!(
            "the memory {file} was written by a newer gpak (its version is {version}, this gpak knows \
             {known}); update gpak, or set GPAK_HOME to another folder"
        ))
        .into());
    }
    if version < known {
        let _lock = lock(path)?;
        configure(&mut connection)?;
        migrate(&mut connection, path)?;
    } else {
        configure(&mut connection)?;
    }
    Ok(connection)
}

fn configure(connection: &mut Connection) -> Result<(), Failure> {
    connection.execute_batch(
        "PRAGMA page_size = 8192;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -65536;",
    )?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Waits until nobody else makes or migrates the file; they are done when what this gives is dropped.
fn lock(path: &Path) -> Result<File, Failure> {
    let path = path.with_extension("lock");
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    Ok(locked.map_err(|e| unlockable(&path, &e))?)
}

/// Locks a file until what this gives is dropped; nothing if somebody else has locked it.
#[cfg(feature = "qdrant")]
pub(super) fn try_lock(path: &Path) -> Result<Option<File>, MemoryError> {
    let file = File::create(path).map_err(|e| unlockable(path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(unlockable(path, &e)),
    }
}

fn unlockable(path: &Path, error: &io::Error) -> MemoryError {
    let path = path.display();
    MemoryError::Store(format!(
        "{path} cannot be locked ({error}); make its folder writable, or set GPAK_HOME to one that is"
    ))
}

/// The one that waited for another finds it done.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Failure> {
    let migrated = Migrations::from_slice(MIGRATIONS).to_latest(connection);
    migrated.map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => err.into(),
        error => {
            let path = path.display();
            MemoryError::Store(format!("the memory {path} cannot be updated: {error}")).into()
        }
    })
}
