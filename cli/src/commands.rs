//! What each command does.

pub mod bench;
pub mod config;
pub mod core;
pub mod doctor;
pub mod eval;
pub mod identity;
pub mod memory;
pub mod models;
pub mod reflexd;
pub mod robot;
pub mod run;
pub mod runs;
pub mod tools;
pub mod undo;

/// A JSON object on a line of its own on standard output.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => say!("{text}"),
        Err(why) => eprintln!("gpak: this cannot be shown as JSON: {why}"),
    }
}
