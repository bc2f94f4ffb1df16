//! Storage of gpak: what outlives a process.
//!
//! - [`journal`]: the kernel's [`Journal`](gpak_kernel::journal::Journal) port on a local SQLite file.
//! - [`episodic`]: its [`Memory`](gpak_kernel::memory::Memory) port on another, with recall by words and by
//!   meaning. [`embed`]: what makes vectors of texts.
//! - [`identity`]: the agent's [`History`](gpak_kernel::identity::History) and its secret key, in files.
//! - [`mod@bench`]: how much of what is looked for recall finds.
//!
//! Everything here is an implementation of a port that the kernel declares; nothing here decides
//! anything about a run.

pub mod bench;
pub mod embed;
pub mod episodic;
pub mod identity;
pub mod journal;

pub use episodic::SqliteMemory;
#[cfg(feature = "qdrant")]
pub use episodic::{QdrantMemory, QdrantSettings};
pub use identity::{IdentityError, IdentityStore};
pub use journal::{Opened, SqliteJournal};
