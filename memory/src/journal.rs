//! Journals: the append-only log of entries that is the only truth about a run.
//!
//! [`SqliteJournal`] keeps all runs in one file, `journal.db` in gpak's data folder, which any
//! number of processes on the machine may use at once. What it promises:
//!
//! - An append that returned is on the disk (`synchronous=FULL`); one that failed left nothing.
//! - Entries are never changed. Each is checked against its hash chain whenever it is read, and the
//!   last against the run's line in `runs`, so that a change, a gap and a missing end are all found.
//! - A damaged file is set aside and said so, never deleted; a file of a newer gpak is left alone.

mod sqlite;

pub use sqlite::{Opened, SqliteJournal};
