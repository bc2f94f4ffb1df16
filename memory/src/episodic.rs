//! Episodes: what agents remember across runs.
//!
//! [`SqliteMemory`] keeps them in one file, `memory.db`: the texts and their vectors, which are written in one
//! transaction and so are always of one mind. Any number of processes may use the file at once. What recall
//! looks in is made of it and held in memory: postings of terms, vectors, and of very many vectors
//! sketches.
//!
//! [`QdrantMemory`] lets a server look in place of that, and keeps the file as the truth.
//!
//! Recall looks by words (BM25 over a turn and its neighbours) and by meaning (vectors), sums what both
//! say with what the speaker and the rest of the conversation say, and orders the best again by time,
//! importance and use. [`Weights`] has the figures. Every hit says what it was found by.

mod akin;
mod cache;
mod consolidate;
mod failure;
mod find;
mod fuse;
mod index;
mod part;
mod postings;
#[cfg(feature = "qdrant")]
mod qdrant;
mod read;
mod recall;
mod scan;
mod schema;
mod sketch;
mod sqlite;
mod time;
mod words;
mod write;

pub use fuse::Weights;
#[cfg(feature = "qdrant")]
pub use qdrant::{QdrantMemory, QdrantSettings};
pub use sqlite::SqliteMemory;
