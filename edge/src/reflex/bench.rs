//! What the reflexes take, measured on this machine: `gpak reflexd --bench`.
//!
//! Three processes: this one stands in for the hardware (it writes readings and watches the motors), one
//! is the parent, and one is `gpak reflexd` as it is. Every number is a difference of two readings of
//! `CLOCK_MONOTONIC`, which all of them share.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{clock::now, config::ReflexConfig, process::StartError, realtime, shm::BoardError};

mod cadence;
mod hardware;
mod parent;
mod rules;
mod swarm;

pub use parent::parent;

/// The file in the bench's folder with what the measured processes said: they are started and killed by the
/// hundred, and what they say of it would bury the findings.
pub const SAID: &str = "said";

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The program whose `reflexd` is measured: gpak itself.
    pub program: PathBuf,
    /// A folder for the configuration, the latch, and what the processes say ([`SAID`]).
    pub folder: PathBuf,
    /// How long each loop runs, and for how long stops are measured.
    pub duration: Duration,
    /// How many busy threads run beside.
    pub load: usize,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The board.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The reflexes did not start.
    #[error("the reflexes did not start")]
    NotStarted,
    /// What should stop did not, within seconds.
    #[error("{0} did not come within five seconds")]
    Never(&'static str),
    /// The reflexes themselves.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The system.
    #[error("cannot {what}: {why}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        why: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> BenchError {
    move |why| BenchError::System { what, why }
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub name: String,
    /// Whether the measured process was in the real-time class.
    pub realtime: bool,
    /// How many busy threads ran beside.
    pub load: usize,
    /// How long other machines on the same hardware kept our processors from us meanwhile, in
    /// milliseconds: no real-time class helps against that.
    pub stolen_ms: u64,
    /// How often it was measured.
    pub count: u64,
    /// Half were at most so long, in microseconds.
    pub p50_us: f64,
    /// 99 of a hundred.
    pub p99_us: f64,
    /// 999 of a thousand.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// How many were missed, of a loop, or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// What it must reach.
    pub must: Vec<Must>,
}

/// A bound that must be kept.
#[derive(Clone, Debug, Serialize)]
pub struct Must {
    /// Of what.
    pub what: &'static str,
    /// At most so much.
    pub most: f64,
    /// What it is.
    pub is: f64,
    /// Whether it is kept.
    pub kept: bool,
}

impl Finding {
    fn new(name: impl Into<String>, realtime: bool, load: usize, taken: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Self {
            name: name.into(),
            realtime,
            load,
            stolen_ms: 0,
            count: taken.len(),
            p50_us: micros(taken.value_at_quantile(0.5)),
            p99_us: micros(taken.value_at_quantile(0.99)),
            p999_us: micros(taken.value_at_quantile(0.999)),
            max_us: micros(taken.max()),
            missed: None,
            must: Vec::new(),
        }
    }

    fn must(mut self, what: &'static str, most: f64) -> Self {
        let is = match what {
            "p50" => self.p50_us,
            "p99" => self.p99_us,
            "p99.9" => self.p999_us,
            "missed" => self.missed.unwrap_or_default() as f64,
            _ => self.max_us,
        };
        self.must.push(Must {
            what,
            most,
            is,
            kept: is <= most,
        });
        self
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<46} {:>7} × p50 {:>8.1} p99 {:>8.1} p99.9 {:>8.1} max {:>8.1} µs",
            self.name, self.count, self.p50_us, self.p99_us, self.p999_us, self.max_us
        )?;
        if let Some(missed) = self.missed {
            write!(f, ", {missed} missed")?;
        }
        write!(
            f,
            "; FIFO {}, load {}, stolen {} ms",
            if self.realtime {
                "granted"
            } else {
                "not granted"
            },
            self.load,
            self.stolen_ms
        )?;
        for must in &self.must {
            let kept = if must.kept { "kept" } else { "NOT KEPT" };
            write!(f, "; {} ≤ {}: {kept}", must.what, must.most)?;
        }
        Ok(())
    }
}

/// A histogram of nanoseconds up to a minute, three digits exact.
fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .map_err(|why| system("make a histogram")(std::io::Error::other(why)))
}

/// Measures everything, and says each thing as it is found.
///
/// # Errors
///
/// Something does not start, or does not stop.
pub fn run(bench: &Bench, mut found: impl FnMut(&Finding)) -> Result<(), BenchError> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..bench.load {
            scope.spawn(|| busy(&stop));
        }
        let done = all(bench, &mut found);
        stop.store(true, Ordering::Release);
        done
    })
}

fn all(bench: &Bench, found: &mut impl FnMut(&Finding)) -> Result<(), BenchError> {
    let mut measure = |take: &dyn Fn() -> Result<Finding, BenchError>| {
        let before = stolen_ms();
        let mut finding = take()?;
        finding.stolen_ms = stolen_ms().saturating_sub(before);
        found(&finding);
        Ok::<_, BenchError>(())
    };
    for points in [360, 24_000] {
        measure(&|| rules::rules(bench, points))?;
    }
    for hertz in [1000, 100] {
        measure(&|| cadence::cadence(bench, hertz))?;
    }
    measure(&|| hardware::sample_to_stop(bench, 360))?;
    measure(&|| swarm::hazard_to_stop(bench))?;
    measure(&|| swarm::byte_to_stop(bench))?;
    for death in hardware::DEATHS {
        measure(&|| hardware::death_to_stop(bench, death))?;
    }
    Ok(())
}

/// The processors' stolen time since the system started, as `/proc/stat` says it in hundredths of a second.
fn stolen_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default();
    let steal = all.split_ascii_whitespace().nth(8);
    steal
        .and_then(|ticks| ticks.parse::<u64>().ok())
        .unwrap_or(0)
        * 10
}

/// Work that never ends by itself, and fits into the processor.
fn busy(stop: &AtomicBool) {
    let mut number = now().0;
    while !stop.load(Ordering::Acquire) {
        for _ in 0..1000 {
            number = std::hint::black_box(
                number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .rotate_left(7),
            );
        }
    }
}

/// The configuration of the measurements, written for the reflex process to read.
fn write_config(folder: &Path, config: &ReflexConfig) -> Result<PathBuf, BenchError> {
    let path = folder.join("robot.toml");
    let text = config
        .to_robot()
        .map_err(|why| system("write the configuration")(std::io::Error::other(why)))?;
    std::fs::write(&path, text).map_err(system("write the configuration"))?;
    Ok(path)
}

/// Puts the measuring thread into the real-time class above the measured, so that what it waits for is
/// not itself. Says whether it was granted.
fn enter() -> bool {
    realtime::enter(realtime::REFLEXES + 1).is_ok()
}
