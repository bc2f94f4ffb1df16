//! The node itself: `/status`, `/api/v1/telemetry`, `/api/v1/override`, `/api/v1/logs`.
//!
//! What is told is measured when it is asked for. This node has no body: where a robot would say how that
//! is, it says that there is none.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response, sse},
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use crate::{
    logging,
    serve::{
        House,
        access::{Role, Who},
        problem::{Answered, Problem},
        take::Body,
    },
};

/// How often a stream on which nothing happens shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// `ready`, `working`, `held` by an override, or `stopping`.
    mode: &'static str,
    /// Processes that want a core, for each core there is, over the last minute.
    cpu_load: f64,
    /// Other nodes that are seen.
    peers_visible: u32,
    /// Runs that have a driver.
    runs_driven: usize,
    /// Runs that wait for one.
    runs_queued: usize,
    /// The model that runs think with.
    model: String,
    /// Seconds since the service started.
    uptime_seconds: u64,
    /// The version of gpak.
    version: &'static str,
    /// The body, if the node has one.
    body: Option<()>,
    /// What is not there, and why.
    notes: Vec<&'static str>,
}

const NO_BODY: &str = "this node has no body: nothing is sensed and nothing moves";
const NO_MESH: &str = "this node is in no mesh: it looks for no peers";

/// Say how the node is
#[utoipa::path(get, path = "/status", tag = "node", responses((status = 200, body = Status)))]
pub async fn status(State(house): State<House>, _: Who) -> Json<Status> {
    let (runs_queued, runs_driven) = house.work.load();
    let mode = match (house.work.is_draining(), house.work.is_held(), runs_driven) {
        (true, _, _) => "stopping",
        (_, true, _) => "held",
        (_, _, 0) => "ready",
        _ => "working",
    };
    Json(Status {
        mode,
        cpu_load: Load::read().per_core(),
        peers_visible: 0,
        runs_driven,
        runs_queued,
        model: house.work.default_model().to_owned(),
        uptime_seconds: house.started.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        body: None,
        notes: vec![NO_BODY, NO_MESH],
    })
}

/// The load of the machine, over one, five and fifteen minutes.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Load {
    one: f64,
    five: f64,
    fifteen: f64,
    /// Cores there are.
    cores: usize,
}

impl Load {
    fn read() -> Self {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut numbers = text
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0.0));
        let mut next = || numbers.next().unwrap_or(0.0);
        Self {
            one: next(),
            five: next(),
            fifteen: next(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn per_core(&self) -> f64 {
        self.one / self.cores.max(1) as f64
    }
}

/// The memory of the machine and of the service, in kilobytes.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Memory {
    total: u64,
    available: u64,
    /// Of the service alone.
    service: u64,
}

impl Memory {
    fn read() -> Self {
        let field = |path: &str, name: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(0)
        };
        Self {
            total: field("/proc/meminfo", "MemTotal:"),
            available: field("/proc/meminfo", "MemAvailable:"),
            service: field("/proc/self/status", "VmRSS:"),
        }
    }
}

/// What is measured.
#[derive(Debug, Serialize, ToSchema)]
pub struct Telemetry {
    /// When, UTC.
    time: String,
    /// The machine's load.
    load: Load,
    /// The memory.
    memory: Memory,
    /// Runs that have a driver.
    runs_driven: usize,
    /// Runs that wait for one.
    runs_queued: usize,
    /// Where the body is, if there is one.
    pose: Option<()>,
    /// How full its battery is, if there is one.
    battery: Option<()>,
    /// What is not there, and why.
    notes: Vec<&'static str>,
}

/// Measure
#[utoipa::path(get, path = "/api/v1/telemetry", tag = "node", responses(
    (status = 200, body = Telemetry)))]
pub async fn telemetry(State(house): State<House>, _: Who) -> Json<Telemetry> {
    let (runs_queued, runs_driven) = house.work.load();
    Json(Telemetry {
        time: jiff::Timestamp::now().to_string(),
        load: Load::read(),
        memory: Memory::read(),
        runs_driven,
        runs_queued,
        pose: None,
        battery: None,
        notes: vec![NO_BODY],
    })
}

/// What is commanded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `hold`: no run is driven until `release`.
    #[schema(pattern = "^(hold|release)$")]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Command {
    Hold,
    Release,
}

/// What became of a command.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overridden {
    /// Whether runs are held now.
    held: bool,
    /// What it did not reach, and why.
    notes: Vec<&'static str>,
}

/// Hold all runs where they are, also over a restart, or release them
#[utoipa::path(post, path = "/api/v1/override", tag = "node", request_body = Override, responses(
    (status = 200, body = Overridden)))]
pub async fn override_(
    State(house): State<House>,
    who: Who,
    Body(wanted): Body<Override>,
) -> Answered<Json<Overridden>> {
    who.needs(Role::Operator)?;
    let held = wanted.command == Command::Hold;
    tracing::warn!(held, by = who.name, "override");
    // First so that it holds over a restart, whatever comes then.
    house.set_held(held).await?;
    match held {
        true => house.work.hold().await,
        false => house.work.release().await?,
    }
    Ok(Json(Overridden {
        held,
        notes: vec![NO_BODY],
    }))
}

/// Read the service's log as it is written: the last lines, and those that come
#[utoipa::path(get, path = "/api/v1/logs", tag = "node", responses(
    (status = 200, description = "A JSON object an event", content_type = "text/event-stream"),
    (status = 403, body = Problem)))]
pub async fn logs(State(house): State<House>, who: Who) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let (kept, coming) = logging::lines();
    let coming = stream::unfold(coming, |mut coming| async move {
        loop {
            match coming.recv().await {
                Ok(line) => return Some((line, coming)),
                // Who reads too slowly misses lines, and is told so.
                Err(RecvError::Lagged(lines)) => {
                    let missed = serde_json::json!({"missed": lines}).to_string();
                    return Some((missed.into(), coming));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let watcher = house.metrics.watcher();
    let stop = house.stop.clone().cancelled_owned();
    let events = stream::iter(kept)
        .chain(coming)
        .take_until(stop)
        .map(move |line| {
            let _open = &watcher;
            Ok::<_, Infallible>(sse::Event::default().event("log").data(&*line))
        });
    let alive = sse::KeepAlive::new().interval(HEARTBEAT).text("alive");
    Ok(sse::Sse::new(events).keep_alive(alive).into_response())
}
