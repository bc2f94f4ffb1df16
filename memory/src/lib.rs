//! Storage of gpak: what outlives a process.
//!
//! - [`journal`]: the kernel's [`Journal`](gpak_kernel::journal::Journal) port on a local SQLite file.
//!
//! Everything here is an implementation of a port that the kernel declares; nothing here decides
//! anything about a run.

pub mod journal;

pub use journal::{Opened, SqliteJournal};
