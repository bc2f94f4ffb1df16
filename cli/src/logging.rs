//! What gpak says of itself, on standard error: as text, or as JSON with the spans each line is in, so that
//! a request, the run it made and the calls of that are found by one trace id.
//!
//! `GPAK_LOG` says what is told (as in `info,gpak=debug`), `GPAK_LOG_FORMAT=json` how.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Lines that are kept for those who come later.
const KEPT: usize = 500;
/// Lines that one who reads slowly may be behind.
const BEHIND: usize = 1024;

/// Begins to tell. A service tells more than a command, and its lines can be read over HTTP.
pub fn begin(is_service: bool) {
    // The library says of every request that it began and ended, which is said already.
    let usual = if is_service {
        "info,rmcp=warn"
    } else {
        "error"
    };
    let filter = EnvFilter::try_from_env("GPAK_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let filter = discreet(filter);
    let as_json = std::env::var("GPAK_LOG_FORMAT").is_ok_and(|format| format == "json");
    let told: Box<dyn Layer<Registry> + Send + Sync> = match as_json {
        true => fmt::layer().json().with_writer(io::stderr).boxed(),
        false => fmt::layer().with_writer(io::stderr).boxed(),
    };
    let kept = is_service.then(|| fmt::layer().json().with_writer(Tap).boxed());
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        std::iter::once(told).chain(kept).collect();
    tracing_subscriber::registry()
        .with(layers.with_filter(filter))
        .init();
}

/// Whatever is asked for, the library tells nothing of logins in detail: the codes and tokens would be in it.
fn discreet(filter: EnvFilter) -> EnvFilter {
    let quiet = [
        "rmcp::transport::auth=info",
        "rmcp::transport::common::auth=info",
    ];
    let quiet = quiet.iter().filter_map(|directive| directive.parse().ok());
    quiet.fold(filter, EnvFilter::add_directive)
}

/// The lines of a service: those that were told last, and those that come.
pub struct Lines {
    kept: Mutex<VecDeque<Arc<str>>>,
    coming: broadcast::Sender<Arc<str>>,
}

static LINES: LazyLock<Lines> = LazyLock::new(|| Lines {
    kept: Mutex::default(),
    coming: broadcast::channel(BEHIND).0,
});

impl Lines {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, line: &str) {
        let line: Arc<str> = line.into();
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(line.clone());
        // Nobody may be reading.
        let _ = self.coming.send(line);
    }
}

/// The lines that were told last, and those that come from now on.
pub fn lines() -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
    let kept = LINES.lock();
    (kept.iter().cloned().collect(), LINES.coming.subscribe())
}

/// Takes lines for [`LINES`].
struct Tap;

/// A line that is being written.
struct TapLine(Vec<u8>);

impl<'a> MakeWriter<'a> for Tap {
    type Writer = TapLine;

    fn make_writer(&'a self) -> TapLine {
        TapLine(Vec::new())
    }
}

impl Write for TapLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TapLine {
    fn drop(&mut self) {
        LINES.tell(String::from_utf8_lossy(&self.0).trim_end());
    }
}
