//! Lines that tools leave for whoever looks into what they do.

use serde::Serialize;

use crate::wasm::bindings::gpak::tool::core::Level;

/// Lines and bytes of one call that are kept.
const LINES: usize = 200;
const BYTES: usize = 32 * 1024;

/// A line that a tool left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it says, without control characters.
    pub message: String,
}

/// What a call logged, as far as it was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Logged {
    /// The first lines.
    pub lines: Vec<LogLine>,
    /// How many were dropped after these.
    pub dropped: u64,
    #[serde(skip)]
    bytes: usize,
}

impl Logged {
    pub(super) fn add(&mut self, level: Level, message: &str) {
        let room = BYTES - self.bytes;
        if self.lines.len() >= LINES || room == 0 {
            self.dropped += 1;
            return;
        }
        let message = crate::text::head(message, room);
        self.bytes += message.len();
        let (level, message) = (name(level), plain(message));
        match level {
            "error" => tracing::error!(target: "gpak_tools::wasm::guest", "{message}"),
            "warn" => tracing::warn!(target: "gpak_tools::wasm::guest", "{message}"),
            "info" => tracing::info!(target: "gpak_tools::wasm::guest", "{message}"),
            _ => tracing::debug!(target: "gpak_tools::wasm::guest", "{message}"),
        }
        self.lines.push(LogLine { level, message });
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// A terminal may show it.
fn plain(text: &str) -> String {
    let replace = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
    text.chars().map(replace).collect()
}
