//! What SQLite says, turned into what a user can do.

use std::path::Path;

use gpak_kernel::memory::MemoryError;
use rusqlite::ErrorCode;

/// Why work on the file failed, before anybody knows which file.
pub(super) enum Failure {
    /// SQLite could not.
    Sql(rusqlite::Error),
    /// The store would not.
    Memory(MemoryError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl Failure {
    /// What to tell the user about the file at `path`.
    pub(super) fn about(self, path: &Path) -> MemoryError {
        match self {
            Self::Memory(error) => error,
            Self::Sql(error) => MemoryError::Store(sentence(path, &error)),
        }
    }
}

fn sentence(path: &Path, error: &rusqlite::Error) -> String {
    let file = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!(
            "the disk with the memory {file} is full, and nothing was written; free some space, then \
             try again"
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
            "the memory {file} cannot be written ({error}); make its folder writable, or set GPAK_HOME \
             to one that is"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "another program keeps the memory {file} locked; close it (a database browser, a backup), \
             then try again"
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!(
            "the memory {file} is damaged ({error}); move it away and start again, `sqlite3 {file} \
             .recover` shows what can still be read"
        ),
        _ => format!("the memory {file} failed: {error}"),
    }
}
