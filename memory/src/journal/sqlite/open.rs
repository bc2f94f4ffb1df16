//! Opening the file: whose it is, of which version, and whether it is whole.
//!
//! `journal.lock` beside it is locked, shared, for as long as it is open, and exclusively while it is
//! made, migrated or set aside: no process pulls the file from under another. It holds the time of
//! the last full check.
//!
//! The full check is SQLite's `quick_check`, which took 1.2 ms for each megabyte (2 cores, warm). So a
//! small file is checked at every open, a larger one weekly, and any file after SQLite found damage in it. A
//! truncated file and one with another header are found at every open, and whatever is read is checked
//! by its hash chain.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gpak_kernel::journal::JournalError;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    failure::{self, Failure},
    schema,
};

/// The file's name in the data folder.
pub(super) const FILE: &str = "journal.db";

/// No database has fewer bytes than this: the smallest page.
const SMALLEST: u64 = 512;

/// Files up to this many bytes are checked at every open.
const SMALL: u64 = 16 << 20;

/// Larger ones are checked this often.
const CHECK_EVERY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Bytes of a page, set when a file is made. With SQLite's own choice of 4096, a fifth of a typical run's
/// file was the ends of pages that the next entry did not fit into; with 8192 it is a tenth.
const PAGE: u32 = 8192;

/// Pages that the write-ahead log grows to before they are moved into the file. SQLite's own choice of
/// 1000 made the log five times as large as a long run.
const WAL_PAGES: u32 = 50;

/// How long other processes may keep us from making, migrating or setting aside.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long SQLite waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

/// The journal's file, opened twice.
pub(super) struct Files {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) lock: Lock,
    pub(super) notice: Option<String>,
}

/// What is at the file's place.
enum Found {
    /// What we need.
    Whole(Connection),
    /// Nothing yet, or tables of an older version.
    Old(Connection),
    /// Something that is no whole database, and why.
    Damaged(String),
}

/// Opens the journal in `dir`.
pub(super) fn open(dir: &Path) -> Result<Files, JournalError> {
    fs::create_dir_all(dir).map_err(|e| failure::file(dir, "made", &e))?;
    let path = dir.join(FILE);
    let deadline = Instant::now() + PATIENCE;
    let mut notice = None;
    loop {
        let lock = Lock::open(dir)?;
        if lock.take(File::try_lock_shared)?
            && let Found::Whole(writer) = look(&path, &lock)?
        {
            let reader = open_reader(&path).map_err(|e| Failure::from(e).about(&path))?;
            return Ok(Files {
                writer,
                reader,
                lock,
                notice,
            });
        }
        drop(lock);
        let lock = Lock::open(dir)?;
        if lock.take(File::try_lock)? {
            let told = put_right(&path, &lock)?;
            notice = notice.or(told);
        } else if Instant::now() > deadline {
            let path = path.display();
            return Err(JournalError::Store(format!(
                "the journal {path} must be made, updated or set aside, but another gpak is using it; \
                 close that one, then try again"
            )));
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Makes what is at `path`, alone, into a whole journal. Answers what the user must be told.
fn put_right(path: &Path, lock: &Lock) -> Result<Option<String>, JournalError> {
    match look(path, lock)? {
        Found::Whole(_) => Ok(None),
        Found::Old(connection) => migrate(path, connection).map(|()| None),
        Found::Damaged(why) => {
            lock.forget_check();
            set_aside(path, &why).map(Some)
        }
    }
}

/// Looks at the file and opens it, without changing it.
fn look(path: &Path, lock: &Lock) -> Result<Found, JournalError> {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    if (1..SMALLEST).contains(&size) {
        // SQLite would take it for an empty file and write over it.
        return Ok(Found::Damaged(format!(
            "it has {size} bytes, too few for a database"
        )));
    }
    let found = identify(path).and_then(|(connection, version)| {
        if version < schema::VERSION {
            return Ok(Found::Old(connection));
        }
        configure(&connection)?;
        Ok(match check(&connection, size, lock)? {
            None => Found::Whole(connection),
            Some(damage) => Found::Damaged(damage),
        })
    });
    match found {
        Err(Failure::Sql(error)) if failure::is_damage(&error) => {
            Ok(Found::Damaged(error.to_string()))
        }
        found => found.map_err(|failure| failure.about(path)),
    }
}

/// Opens the file if it is ours and not newer than we are. Answers its version, 0 if it is new.
fn identify(path: &Path) -> Result<(Connection, i32), Failure> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A file that will be found damaged is set aside as it is.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let is_new =
        application == 0 && version == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    let file = path.display();
    if application != schema::APPLICATION_ID && !is_new {
        return Err(JournalError::Store(format!(
            "{file} is a database of another program; move it away, or set GPAK_HOME to another folder"
        ))
        .into());
    }
    if version > schema::VERSION {
        return Err(JournalError::Store(format!(
            "the journal {file} was written by a newer gpak (its version is {version}, this gpak knows \
             {}); update gpak, or set GPAK_HOME to another folder",
            schema::VERSION
        ))
        .into());
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok((connection, version))
}

/// How a connection works on a file of ours.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE};
         PRAGMA journal_mode = WAL;
         PRAGMA wal_autocheckpoint = {WAL_PAGES};
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;"
    ))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// The full check, if it is due. Answers the damage.
fn check(connection: &Connection, size: u64, lock: &Lock) -> rusqlite::Result<Option<String>> {
    let now = Timestamp::now();
    let recent = |time: Timestamp| (now.duration_since(time)).abs() < CHECK_EVERY;
    if size > SMALL && lock.last_check().is_some_and(recent) {
        return Ok(None);
    }
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer != "ok" {
        return Ok(Some(answer));
    }
    lock.note_check(now);
    Ok(None)
}

fn migrate(path: &Path, mut connection: Connection) -> Result<(), JournalError> {
    configure(&connection).map_err(|e| Failure::from(e).about(path))?;
    let migrated = schema::migrations().to_latest(&mut connection);
    migrated.map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Failure::from(err).about(path),
        error => {
            let path = path.display();
            JournalError::Store(format!("the journal {path} cannot be updated: {error}"))
        }
    })
}

/// Renames the file and what SQLite keeps beside it.
fn set_aside(path: &Path, why: &str) -> Result<String, JournalError> {
    let aside = with_suffix(
        path,
        &Timestamp::now()
            .strftime(".corrupt-%Y%m%dT%H%M%S%.6fZ")
            .to_string(),
    );
    // The file itself goes last: if we die on the way, the rest of it is set aside next time.
    for part in ["-wal", "-shm", "-journal", ""] {
        let (from, to) = (with_suffix(path, part), with_suffix(&aside, part));
        match fs::rename(&from, to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failure::file(&from, "set aside", &e));
            }
            _ => {}
        }
    }
    let (path, aside) = (path.display(), aside.display());
    tracing::warn!(%path, %aside, why, "the journal was damaged and set aside");
    Ok(format!(
        "the journal {path} was damaged ({why}). It was set aside as {aside}, and a new one was begun; \
         nothing was deleted. `sqlite3 {aside} .recover` shows what can still be read"
    ))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// `journal.lock`.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join("journal.lock");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        match options.open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(e) => Err(failure::file(&path, "opened", &e)),
        }
    }

    /// Whether it was got, by that way of trying.
    fn take(&self, how: fn(&File) -> Result<(), TryLockError>) -> Result<bool, JournalError> {
        match how(&self.file) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(failure::file(&self.path, "locked", &e)),
        }
    }

    fn last_check(&self) -> Option<Timestamp> {
        let mut file = &self.file;
        let mut time = String::new();
        file.rewind().ok()?;
        file.take(64).read_to_string(&mut time).ok()?;
        time.trim().parse().ok()
    }

    /// Where this fails, the next open checks again.
    fn note_check(&self, now: Timestamp) {
        let mut file = &self.file;
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{now}"));
        if let Err(error) = noted {
            tracing::debug!(%error, "the time of the journal's check was not noted");
        }
    }

    /// Makes the next open check the file in full.
    pub(super) fn forget_check(&self) {
        let _ = self.file.set_len(0);
    }
}
