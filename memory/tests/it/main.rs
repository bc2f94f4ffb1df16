//! What the journal and the memory promise, at its public surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod align;
mod damage;
mod disk;
mod embedders;
mod fixture;
mod growth;
mod identity;
mod memory_bench;
mod memory_file;
mod memory_index;
mod memory_qdrant;
mod processes;
mod remember;
mod same;
mod stand_in;
mod tampering;
