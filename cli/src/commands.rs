//! What each command does.

pub mod bench;
pub mod config;
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

use std::io::{ErrorKind, Write as _};

use crate::failure::DONE;

/// A JSON object on a line of its own on standard output.
pub fn print_json(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => {
            let mut out = std::io::stdout().lock();
            match writeln!(out, "{text}") {
                Ok(()) => {}
                // Whoever read it has read enough, as `head` does.
                Err(why) if why.kind() == ErrorKind::BrokenPipe => {
                    std::process::exit(i32::from(DONE))
                }
                Err(why) => eprintln!("gpak: this cannot be written to standard output: {why}"),
            }
        }
        Err(why) => eprintln!("gpak: this cannot be shown as JSON: {why}"),
    }
}
