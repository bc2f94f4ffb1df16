//! Fetches models and shows how far that is.

use std::{
    io::IsTerminal,
    ops::ControlFlow,
    time::{Duration, Instant},
};

use gpak_kernel::model::catalogue::{CatalogueError, Located, Network, Notice, Store, Watch};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, INTERRUPTED, USAGE};

/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        let mut failure = Self::new(error.to_string());
        failure.code = match error {
            CatalogueError::Unknown { .. } | CatalogueError::NoFile { .. } => USAGE,
            CatalogueError::Cancelled => INTERRUPTED,
            _ => failure.code,
        };
        failure
    }
}

/// The model of that id, fetched first if it is known and not here. Stops when it is told to; what was
/// fetched is kept.
pub async fn on_demand(
    store: Store,
    id: String,
    stop: CancellationToken,
) -> Result<Located, Failure> {
    let mut progress = Progress::until(stop);
    blocking(move || match store.locate(&id, &mut progress) {
        Err(CatalogueError::Absent { .. }) => store.pull(&id, &Network::default(), &mut progress),
        located => located,
    })
    .await
}

/// Fetches a model, unless it is here.
pub async fn pull(store: Store, id: String) -> Result<Located, Failure> {
    blocking(move || store.pull(&id, &Network::default(), &mut Progress::new())).await
}

/// Adds a model from a file.
pub async fn add(store: Store, file: std::path::PathBuf) -> Result<Located, Failure> {
    blocking(move || store.add(&file, &mut Progress::new())).await
}

async fn blocking(
    work: impl FnOnce() -> Result<Located, CatalogueError> + Send + 'static,
) -> Result<Located, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|why| Failure::new(format!("fetching the model broke off: {why}")))??)
}

/// A bar on a terminal, a line now and then elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    source: String,
    last_line: Instant,
    stop: CancellationToken,
}

impl Progress {
    /// Not shown until there is something to show.
    pub fn new() -> Self {
        Self::until(CancellationToken::new())
    }

    /// The same; `stop` ends what is watched.
    fn until(stop: CancellationToken) -> Self {
        Self {
            stop,
            bar: None,
            source: String::new(),
            last_line: Instant::now(),
        }
    }

    fn step(&mut self, what: &str, done: u64, total: u64) {
        if !std::io::stderr().is_terminal() {
            if self.last_line.elapsed() >= EVERY || (done == total && total > 0) {
                self.last_line = Instant::now();
                let of = if total > 0 {
                    format!(" of {}", total / 1_000_000)
                } else {
                    String::new()
                };
                eprintln!("{what}{}: {}{of} MB", self.source, done / 1_000_000);
            }
            return;
        }
        let style =
            "{msg} {bar:30} {decimal_bytes} of {decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template(style);
            let bar = ProgressBar::new(total);
            // What was there before does not count as speed.
            bar.set_position(done);
            bar.reset_eta();
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_message(format!("{what}{}", self.source));
        if total > 0 {
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Progress {
    fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()> {
        match notice {
            Notice::Waiting => self.say("another gpak fetches this model; waiting for it"),
            Notice::Trying { source, have } => {
                self.source = format!(" from {source}");
                let from = match have {
                    0 => String::new(),
                    have => format!(", going on at {} MB", have / 1_000_000),
                };
                self.say(&format!("fetching the model{}{from}", self.source));
            }
            Notice::Progress { done, total } => self.step("fetching", done, total),
            Notice::Checking { done, total } => {
                self.source.clear();
                self.step("checking", done, total);
            }
            Notice::Failed { source, reason } => {
                let reason = reason.lines().next().unwrap_or_default();
                self.say(&format!("  not from {source}: {reason}"));
            }
        }
        match self.stop.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
