//! How far a model is, on standard error: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{IsTerminal, Write},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use gpak_kernel::model::catalogue::{Notice, Watch};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::bytes;

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// How a bar looks.
const BAR: &str = "  {bar:32} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
/// Hashing less than this is not worth a word.
const WORTH_A_WORD: u64 = 1 << 30;

/// Shows how far it is, and stops it when it is told to.
pub struct Progress {
    name: String,
    cancel: CancellationToken,
    source: String,
    bar: Option<ProgressBar>,
    terminal: bool,
    lines: Lines,
    waiting: bool,
}

/// What is needed to say how fast it goes.
#[derive(Debug, Default)]
struct Lines {
    last: Option<(Instant, u64)>,
}

impl Progress {
    /// Of the thing of that name.
    pub fn new(name: &str, cancel: CancellationToken) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (source, lines) = (String::new(), Lines::default());
        Self { name: name.to_owned(), cancel, source, bar: None, terminal, lines, waiting: false }
    }

    /// Says a line.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(line)),
            None => print(line),
        }
    }

    /// Takes the bar away.
    pub fn end(&mut self, done: bool) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if done {
            print(&format!("{} is here and its SHA-256 is right", self.name));
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        if self.terminal {
            self.show_bar(done, total);
        } else if let Some(line) = self.lines.line(Instant::now(), done, total) {
            print(&format!("  {}: {line}", self.source));
        }
    }

    fn show_bar(&mut self, done: u64, total: u64) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style);
            }
            // What was there before counts as done, and not for the speed.
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        bar.set_message(self.source.clone());
        bar.set_position(done);
    }

    fn check(&mut self, done: u64, total: u64) {
        if total < WORTH_A_WORD || done >= total {
            return;
        }
        if self.source != "checking" {
            self.source = "checking".to_owned();
            print(&format!("  checking the SHA-256 of {}", bytes(total)));
        }
    }
}

impl Watch for Progress {
    fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()> {
        match notice {
            Notice::Waiting if !self.waiting => {
                self.waiting = true;
                self.say(&format!("another gpak is fetching {}; waiting for it", self.name));
            }
            Notice::Waiting => {}
            Notice::Trying { source, have } => {
                self.source = source.to_owned();
                if have > 0 {
                    self.say(&format!("  going on after {} that are here", bytes(have)));
                }
            }
            Notice::Progress { done, total } => self.show(done, total),
            Notice::Checking { done, total } => self.check(done, total),
            Notice::Failed { source, reason } => self.say(&format!("  {source}: {reason}")),
        }
        if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Lines {
    /// The line to say now, if it is time for one.
    fn line(&mut self, now: Instant, done: u64, total: u64) -> Option<String> {
        let Some((then, before)) = self.last else {
            self.last = Some((now, done));
            return None;
        };
        let passed = now.saturating_duration_since(then);
        let whole = total > 0 && done >= total && before < total;
        if passed < BETWEEN_LINES && !whole {
            return None;
        }
        self.last = Some((now, done));
        let speed = done.saturating_sub(before) as f64 / passed.as_secs_f64().max(0.001);
        let of = match total {
            0 => String::new(),
            total => format!(" of {} ({} %)", bytes(total), done.saturating_mul(100) / total),
        };
        Some(format!("{}{of}, {}/s", bytes(done), bytes(speed as u64)))
    }
}

/// Progress is never worth an error: who closed standard error does not want to hear of it.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_few_seconds_and_at_the_end() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut lines = Lines::default();
        assert_eq!(lines.line(at(0), 10_000_000, 100_000_000), None);
        assert_eq!(lines.line(at(3), 20_000_000, 100_000_000), None);
        let line = lines.line(at(5), 60_000_000, 100_000_000);
        assert_eq!(line.as_deref(), Some("60 MB of 100 MB (60 %), 10 MB/s"));
        assert_eq!(lines.line(at(6), 90_000_000, 100_000_000), None);
        let line = lines.line(at(7), 100_000_000, 100_000_000);
        assert_eq!(line.as_deref(), Some("100 MB of 100 MB (100 %), 20 MB/s"));
        assert_eq!(lines.line(at(8), 100_000_000, 100_000_000), None);
    }
}
