//! A body's life: what must be begun and ended in order.

use std::{
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
    time::Duration,
};

use gpak_edge::{
    body::{
        actions::{Limits, Order, WAITING},
        control::{Control, Desk},
        driver::{Driver, Outlet},
        live::{Flight, Outside},
        pilot::Build,
        record::Recorder,
        sim::Simulation,
    },
    reflex::{
        arbiter::Envelope,
        command::{SessionKey, Source},
        config::ReflexConfig,
        launch::{Launch, wait_ready},
        process::Options,
        shm::Board,
        verdict::Bounds,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    body::{Body, Made},
    living::Living,
    peers, view,
};
use crate::{
    commands::print_json,
    failure::{Failure, file},
    home::Home,
};

/// Senses that wait for the pilot.
const SENSES: usize = 256;
/// A person who drives over the API is no faster than that, unless `reflex.sources.manual` says so.
const MANUAL_MPS: f32 = 0.3;

/// A body that lives.
pub struct Life {
    /// The pilot.
    pub flight: Arc<Flight>,
    /// The world, if it is simulated.
    pub world: Option<Arc<Mutex<Simulation>>>,
    /// Where all is written down.
    pub recorder: Recorder,
    /// Where orders go.
    pub orders: mpsc::Sender<Order>,
    /// What may be ordered at most.
    pub limits: Limits,
    driver: Arc<Mutex<Box<dyn Driver>>>,
    reflexes: Child,
    may: [Envelope; 3],
    living: Living,
    out: PathBuf,
    _control: Control,
    _socket: TempDir,
}

/// How a life is to begin.
pub struct Begin<'a> {
    /// What the robot is there for.
    pub task: &'a str,
    /// For whom the pilot flies.
    pub source: Source,
    /// The mesh that it joins.
    pub mesh: Option<&'a Path>,
    /// Where its recording goes.
    pub out: &'a Path,
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("the body does not live: {why}"))
}

impl Life {
    /// Begins it: the board, the driver, the pilot, the reflexes, and the way of a person to it.
    pub fn begin(home: &Home, body: Body, begin: &Begin<'_>) -> Result<Self, Failure> {
        let Begin { out, .. } = begin;
        let config = body.reflex.clone();
        let name = body.name.clone();
        let latch = body.latch.clone().unwrap_or_else(|| out.join("e-stop"));
        if let Some(folder) = latch.parent() {
            std::fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let toml = out.join("robot.toml");
        let text = config.to_robot().map_err(failed)?;
        std::fs::write(&toml, text).map_err(file(&toml))?;
        let recorder = Recorder::create(&out.join("mission.mcap")).map_err(failed)?;
        let board = Board::create(config.scan.points).map_err(failed)?;
        let session = SessionKey::new().map_err(failed)?;
        let (senses, heard) = sync_channel(SENSES);
        let build = Build::of(&config);
        let mesh = match begin.mesh {
            None => None,
            Some(mesh) => Some(peers::join(mesh, &board, senses.clone())?),
        };
        let Made { mut driver, world } = body.make(Outlet {
            board: board.clone(),
            senses,
            recorder: Some(recorder.clone()),
        });
        driver.activate().map_err(failed)?;
        let speaker = driver.speaker();
        let driver = Arc::new(Mutex::new(driver));
        let (orders, taken) = mpsc::channel(WAITING);
        let flight = Flight::start(Outside {
            board: board.clone(),
            source: begin.source,
            key: session.of(begin.source),
            orders: taken,
            senses: heard,
            speaker,
            build,
            mesh: mesh.clone(),
            recorder: recorder.clone(),
        })
        .map_err(failed)?;
        let launch = Launch {
            program: std::env::current_exe().map_err(failed)?,
            options: Options {
                board: board.path().to_owned(),
                config: toml,
                latch,
                log: Some(out.join("decisions.log")),
            },
        };
        let reflexes = start_reflexes(&launch, &session, &board)?;
        let socket = tempfile::Builder::new()
            .prefix("gpak-robot-")
            .tempdir()
            .map_err(failed)?;
        let living = Living {
            board: board.path().to_owned(),
            pid: std::process::id(),
            name: name.clone(),
            control: socket.path().join("control"),
        };
        let control = Control::listen(
            &living.control,
            Desk {
                name,
                task: begin.task.to_owned(),
                board,
                key: session.of(Source::Manual),
                bounds: manual(&config),
                driver: driver.clone(),
                hold: flight.hold(),
                mesh: mesh.map(|(node, _)| node),
                recorder: recorder.clone(),
                releases: Living::releases(home),
            },
        )
        .map_err(failed)?;
        living.write(home)?;
        Ok(Self {
            flight: Arc::new(flight),
            world,
            recorder,
            orders,
            limits: Limits {
                speed_mps: build.speed_mps,
                within: Duration::from_secs(180),
            },
            driver,
            reflexes,
            may: config.envelopes(),
            living,
            out: out.to_path_buf(),
            _control: control,
            _socket: socket,
        })
    }

    /// Ends the mind's hold, then the driver, then the reflexes, and says what is left of it all.
    pub fn end(mut self, home: &Home, json: bool) -> Result<(), Failure> {
        self.living.remove(home);
        let flown = self.flight.end();
        let refused = {
            let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
            driver.safe();
            driver.deactivate();
            driver.refused()
        };
        // A process that ended before has nothing to be told.
        if let Ok(pid) = i32::try_from(self.reflexes.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM);
        }
        let _ = self.reflexes.wait();
        let finished = self.recorder.finish(&self.may, flown.missed);
        finished.map_err(|why| Failure::new(why.to_string()))?;
        let mut told = json!({
            "recording": self.out.join("mission.mcap"), "decisions": flown.decisions, "refused": refused,
        });
        if let Some(world) = &self.world {
            let world = world.lock().unwrap_or_else(PoisonError::into_inner);
            let picture = self.out.join("path.png");
            view::save(&world.scene(), &picture)?;
            add(&mut told, of_world(&world, &picture));
        }
        match json {
            true => print_json(&json!({"robot": told})),
            false => tell(&told),
        }
        Ok(())
    }
}

fn start_reflexes(launch: &Launch, session: &SessionKey, board: &Board) -> Result<Child, Failure> {
    let mut reflexes = launch.start(session).map_err(failed)?;
    match wait_ready(board, &mut reflexes, Duration::from_secs(10)).map_err(failed)? {
        true => Ok(reflexes),
        false => Err(failed(
            "its reflexes did not start; what they said is above",
        )),
    }
}

/// What a person may wish: no more than what the arbiter lets through, or it would be refused.
fn manual(config: &ReflexConfig) -> Bounds {
    let [.., envelope] = config.envelopes();
    let cap = config.sources.manual.linear_mps.unwrap_or(MANUAL_MPS);
    envelope.bounds.and(Bounds {
        forward_mps: cap,
        backward_mps: cap,
        turn_radps: f32::INFINITY,
    })
}

fn add(told: &mut Value, more: Value) {
    if let (Value::Object(told), Value::Object(more)) = (told, more) {
        told.extend(more);
    }
}

fn of_world(world: &Simulation, picture: &Path) -> Value {
    let collisions = world.collisions();
    let fastest = collisions
        .iter()
        .map(|collision| collision.speed_mps)
        .fold(0.0, f32::max);
    let said = world.said().iter();
    let said: Vec<_> = said
        .map(|said| json!({"text": said.text, "heard_by": said.heard_by}))
        .collect();
    json!({
        "picture": picture, "collisions": collisions.len(), "fastest_collision_mps": fastest,
        "fell": world.fell(), "said": said,
    })
}

fn tell(told: &Value) {
    let part = |name: &str| told.get(name).unwrap_or(&Value::Null);
    let text = |name: &str| part(name).as_str().unwrap_or_default().to_owned();
    eprintln!(
        "recording  {} ({} decisions)",
        text("recording"),
        part("decisions")
    );
    if part("refused").as_u64().unwrap_or_default() > 0 {
        eprintln!("refused    {} messages of the body", part("refused"));
    }
    if part("picture").is_null() {
        return;
    }
    eprintln!("path       {}", text("picture"));
    let touched = match part("collisions").as_u64().unwrap_or_default() {
        0 => "touched nothing".to_owned(),
        touched => {
            let speed = part("fastest_collision_mps").as_f64().unwrap_or_default();
            format!("touched something {touched} times, at {speed:.2} m/s at most")
        }
    };
    let fell = part("fell").as_bool().unwrap_or_default();
    eprintln!(
        "in the world it {touched}{}",
        if fell { " and fell off a cliff" } else { "" }
    );
    for said in part("said").as_array().into_iter().flatten() {
        let part = |name: &str| said.get(name).unwrap_or(&Value::Null);
        eprintln!("it said {} to {}", part("text"), part("heard_by"));
    }
}
