//! What the journal promises, at its public surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod damage;
mod disk;
mod fixture;
mod growth;
mod processes;
mod same;
mod tampering;
