//! What SQLite and the file system say, turned into what a user can do.

use std::{io, path::Path};

use gpak_kernel::{entry::ChainError, journal::JournalError};
use rusqlite::ErrorCode;

/// Why work on the file failed, before anybody knows which file.
pub(super) enum Failure {
    /// SQLite could not.
    Sql(rusqlite::Error),
    /// The journal would not.
    Journal(JournalError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        Self::Journal(error.into())
    }
}

impl Failure {
    /// Whether the file itself is damaged.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Sql(error) if is_damage(error))
    }

    /// What to tell the user about the file at `path`.
    pub(super) fn about(self, path: &Path) -> JournalError {
        match self {
            Self::Journal(error) => error,
            Self::Sql(error) => JournalError::Store(sentence(path, &error)),
        }
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn sentence(path: &Path, error: &rusqlite::Error) -> String {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!(
            "the disk with the journal {file} is full, and nothing was written; free some space, then \
             `gpak resume` the run"
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
            "the journal {file} cannot be written ({error}); make its folder writable, or set \
             GPAK_HOME to one that is"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another program keeps the journal {file} locked; close it (a database browser, a \
             backup), then try again"
        ),
        Some(ErrorCode::SystemIoFailure) => format!(
            "the journal {file} cannot be read or written ({error}); check the disk, then `gpak \
             resume` the run"
        ),
        Some(_) if is_damage(error) => format!(
            "the journal {file} is damaged ({error}); start gpak again: it sets the file aside, \
             without deleting anything, and begins a new one"
        ),
        _ => format!("the journal {file} failed: {error}; `gpak doctor` looks further"),
    }
}

/// A file or folder that could not be `done` ("made", "locked").
pub(super) fn file(path: &Path, done: &str, error: &io::Error) -> JournalError {
    let what_to_do = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on its disk, then try again"
        }
        _ => "make it readable and writable, or set GPAK_HOME to a folder that is",
    };
    let path = path.display();
    JournalError::Store(format!("{path} cannot be {done} ({error}); {what_to_do}"))
}
