//! The node itself: `/status`, `/api/v1/telemetry`, `/api/v1/override`, `/api/v1/logs`.
//!
//! What is told is measured when it is asked for. The body is that of the robot of this user that lives now
//! (`gpak robot run` or `sim`), a process of its own: its board is read, and what a person wishes of it goes
//! to its socket. Where there is none, it is said.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response, sse},
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use gpak_edge::body::{
    self,
    control::{self, Ask, BodyStatus},
    hal::Pose,
    telemetry::Mode,
};

use crate::{
    commands::robot::living::Living,
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
    /// Of a node with a body: `e_stop`, `manual`, `held` by a person, `stopped` by its reflexes, `moves` or `rests`.
    /// Of one without, and of its service: `ready`, `working`, `held` by an override, or `stopping`.
    mode: String,
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
    /// The body, if the node has one: its name, its driver and how that stands, and what it is there for.
    #[schema(value_type = Option<Object>)]
    body: Option<BodyStatus>,
    /// What is not there, and why.
    notes: Vec<String>,
}

const NO_BODY: &str = "this node has no body: nothing is sensed and nothing moves";
const NO_MESH: &str = "this node is in no mesh: it looks for no peers";

/// The body that lives now, and how it is; or why there is none.
async fn body(house: &House) -> Result<(Living, BodyStatus), String> {
    let living = Living::find(&house.home).ok_or_else(|| NO_BODY.to_owned())?;
    match living.status().await {
        Ok(status) => Ok((living, status)),
        Err(why) => Err(why.to_string()),
    }
}

/// Say how the node is
#[utoipa::path(get, path = "/status", tag = "node", responses((status = 200, body = Status)))]
pub async fn status(State(house): State<House>, _: Who) -> Json<Status> {
    let (runs_queued, runs_driven) = house.work.load();
    let (body, mut notes) = match body(&house).await {
        Ok((_, body)) => (Some(body), Vec::new()),
        Err(why) => (None, vec![why]),
    };
    let peers = body.as_ref().and_then(|body| body.peers_visible);
    if peers.is_none() {
        notes.push(NO_MESH.to_owned());
    }
    let mode = match (house.work.is_draining(), house.work.is_held(), &body) {
        (true, ..) => "stopping".to_owned(),
        (_, _, Some(body)) => word(body.mode),
        (_, true, _) => "held".to_owned(),
        _ if runs_driven == 0 => "ready".to_owned(),
        _ => "working".to_owned(),
    };
    Json(Status {
        mode,
        cpu_load: Load::read().per_core(),
        peers_visible: peers.unwrap_or_default(),
        runs_driven,
        runs_queued,
        model: house.work.default_model().to_owned(),
        uptime_seconds: house.started.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        body,
        notes,
    })
}

/// As it is written.
fn word(mode: Mode) -> String {
    let word = serde_json::to_value(mode).ok();
    let word = word.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().to_owned()
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
    /// Where the body is, if there is one and it knows.
    #[schema(value_type = Option<Object>)]
    pose: Option<Pose>,
    /// How full its battery is, 0 to 1, if there is one.
    battery: Option<f32>,
    /// All else that the body measures, and what its reflexes say.
    #[schema(value_type = Option<Object>)]
    body: Option<body::telemetry::Telemetry>,
    /// What is not there, and why.
    notes: Vec<String>,
}

/// Measure
#[utoipa::path(get, path = "/api/v1/telemetry", tag = "node", responses(
    (status = 200, body = Telemetry)))]
pub async fn telemetry(State(house): State<House>, _: Who) -> Json<Telemetry> {
    let (runs_queued, runs_driven) = house.work.load();
    let body = Living::find(&house.home).and_then(|living| living.telemetry());
    let notes = body.is_none().then(|| NO_BODY.to_owned());
    Json(Telemetry {
        time: jiff::Timestamp::now().to_string(),
        load: Load::read(),
        memory: Memory::read(),
        runs_driven,
        runs_queued,
        pose: body
            .as_ref()
            .and_then(|body| body.odometry)
            .map(|odometry| odometry.pose),
        battery: body.as_ref().and_then(|body| body.battery),
        body,
        notes: notes.into_iter().collect(),
    })
}

/// What is commanded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `hold`: no run is driven, and the body stands, until `release`. `drive`: the body does the motion for
    /// `hold_ms`, and then stands until it is asked again or until `release`; asked for again within that time,
    /// it goes on. `estop`: the body stands until `release_estop`, whatever is restarted.
    #[schema(pattern = "^(hold|release|drive|estop|release_estop)$")]
    command: Command,
    /// Of `drive`: forwards, in metres a second. What is too fast is made slower, and the answer says so.
    #[serde(default)]
    linear_mps: f64,
    /// Of `drive`: to the left, in radians a second.
    #[serde(default)]
    angular_radps: f64,
    /// Of `drive`: for so many milliseconds, 300 unless it is given; more than 500 are 500, as the answer says.
    #[serde(default = "default_hold")]
    hold_ms: f64,
    /// Of `release_estop`: why the body may move again.
    #[serde(default)]
    reason: Option<String>,
}

/// The body's numbers are narrower than JSON's; what is too much for them is too fast for it anyhow.
fn narrow(value: f64) -> f32 {
    value.clamp(f32::MIN.into(), f32::MAX.into()) as f32
}

fn default_hold() -> f64 {
    300.0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Command {
    Hold,
    Release,
    Drive,
    Estop,
    ReleaseEstop,
}

/// What became of a command.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overridden {
    /// Whether runs are held now.
    held: bool,
    /// What the body says: how it is, or what it was told to do.
    #[schema(value_type = Option<Object>)]
    body: Option<serde_json::Value>,
    /// What it did not reach, and why.
    notes: Vec<String>,
}

/// Hold all runs where they are, also over a restart, or release them; drive the body, or stop it
#[utoipa::path(post, path = "/api/v1/override", tag = "node", request_body = Override, responses(
    (status = 200, body = Overridden), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn override_(
    State(house): State<House>,
    who: Who,
    Body(wanted): Body<Override>,
) -> Answered<Json<Overridden>> {
    who.needs(Role::Operator)?;
    let by = who.name.clone();
    tracing::warn!(command = ?wanted.command, by, "override");
    let ask = match wanted.command {
        Command::Hold => Ask::Hold { by },
        Command::Release => Ask::LetGo { by },
        Command::Estop => Ask::Press { by },
        Command::Drive => Ask::Drive {
            linear_mps: narrow(wanted.linear_mps),
            angular_radps: narrow(wanted.angular_radps),
            // Whatever is longer is bounded where it is done; what is less than nothing is nothing.
            for_ms: wanted.hold_ms as u64,
            by,
        },
        Command::ReleaseEstop => {
            let reason = wanted.reason.unwrap_or_default();
            if reason.trim().is_empty() {
                return Err(Problem::conflict(
                    "release_estop needs a reason: why the body may move again",
                ));
            }
            Ask::Release { by, reason }
        }
    };
    // The body first: it may be the one that is in somebody's way.
    let said = match Living::find(&house.home) {
        None => None,
        Some(living) => Some(control::ask(&living.control, &ask).await),
    };
    let of_runs = match wanted.command {
        Command::Hold => Some(true),
        Command::Release => Some(false),
        _ => None,
    };
    if let Some(held) = of_runs {
        // Written down first, so that it holds over a restart, whatever comes then.
        house.set_held(held).await?;
        match held {
            true => house.work.hold().await,
            false => house.work.release().await?,
        }
    }
    let (body, notes) = match (said, of_runs) {
        (Some(Ok(said)), _) => (Some(said), Vec::new()),
        (Some(Err(why)), Some(_)) => (None, vec![why.to_string()]),
        (None, Some(_)) => (None, vec![NO_BODY.to_owned()]),
        (Some(Err(why)), None) => return Err(Problem::conflict(why.to_string())),
        (None, None) => {
            return Err(Problem::conflict(NO_BODY)
                .help("`gpak robot run` or `gpak robot sim` gives it one, in another process"));
        }
    };
    Ok(Json(Overridden {
        held: house.work.is_held(),
        body,
        notes,
    }))
}

/// What happens with the body that lives now, each line with `body` around it.
async fn of_body(house: &House) -> impl futures::Stream<Item = Arc<str>> + use<> {
    let living = Living::find(&house.home);
    let lines = match living {
        Some(living) => control::watch(&living.control).await.ok(),
        None => None,
    };
    stream::unfold(lines, |lines| async move {
        let mut lines = lines?;
        let line = lines.next_line().await.ok()??;
        let line = serde_json::from_str::<serde_json::Value>(&line).ok()?;
        let told = serde_json::json!({"body": line}).to_string();
        Some((Arc::from(told), Some(lines)))
    })
}

/// Read the service's log as it is written, and what happens with the body: the last lines, and those that come
#[utoipa::path(get, path = "/api/v1/logs", tag = "node", responses(
    (status = 200, description = "A JSON object an event", content_type = "text/event-stream"),
    (status = 403, body = Problem)))]
pub async fn logs(State(house): State<House>, who: Who) -> Answered<Response> {
    who.needs(Role::Operator)?;
    let (kept, coming) = logging::lines();
    let coming = stream::unfold(coming, |mut coming| async move {
        match coming.recv().await {
            Ok(line) => Some((line, coming)),
            // Who reads too slowly misses lines, and is told so.
            Err(RecvError::Lagged(lines)) => {
                let missed = serde_json::json!({"missed": lines}).to_string();
                Some((missed.into(), coming))
            }
            Err(RecvError::Closed) => None,
        }
    });
    let coming = stream::select(coming, of_body(&house).await);
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
