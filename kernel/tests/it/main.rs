//! The kernel at its public surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod answers;
mod chain;
mod check;
mod child;
mod context;
mod conversation;
mod driver;
mod identity;
mod nested;
mod properties;
mod strategy;
mod world;
