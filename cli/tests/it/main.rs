//! The `gpak` command as its user meets it: the real binary, a real journal, real files; only the mind
//! is scripted, but in `embedded`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod acp;
mod bad_input;
mod chat;
mod chat_terminal;
mod check;
mod child;
mod choice;
mod context;
mod crash;
mod embedded;
mod forge;
mod fractal;
mod guests;
mod identity;
#[path = "../../../tools/tests/it/mcp/issuer.rs"]
#[allow(dead_code, reason = "what it can do wrong is tried in its own crate")]
mod issuer;
mod login;
mod mcp;
mod memory;
mod mesh;
mod minds;
mod npm;
mod place;
mod reflexd;
mod remembering;
mod robot;
mod robot_api;
mod robot_run;
mod runs;
mod safety;
mod serve;
mod strategy;
mod tmux;
mod tools;
