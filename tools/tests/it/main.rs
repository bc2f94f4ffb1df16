//! The built-in tools as a run uses them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod bench;
mod change;
mod confine;
mod control;
mod copies;
mod edit;
mod forge;
mod history;
#[path = "../hostile/mod.rs"]
mod hostile;
mod list;
mod mcp;
mod read;
mod repository;
mod script;
mod script_suite;
mod search;
mod shell;
mod undo;
mod wasm;
mod ways;
