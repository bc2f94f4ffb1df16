//! `gpak robot sim`: a simulated world, the reflexes in their process, the pilot, and the mind.

use std::{
    path::{Path, PathBuf},
    process::Child,
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
    time::Duration,
};

use gpak_edge::{
    body::{
        actions::{Helm, Limits, WAITING},
        hal::{Device, DeviceError, Lifecycle, Speaker},
        live::{Flight, Outside, Simulated, Start, robot_toml},
        pilot::Build,
        record::Recorder,
        sim::{Simulation, world::World},
    },
    reflex::{
        arbiter::Envelope,
        command::{SessionKey, Source},
        launch::{Launch, wait_ready},
        process::Options,
        shm::Board,
    },
};
use gpak_kernel::{
    event::{RunId, RunSpec},
    run::{Driver, Resumption},
    tool::{Control, Toolbox},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Living,
    aboard::{Aboard, INSTRUCTIONS, record_entries},
    args::SimArgs,
    living_file, peers, view,
};
use crate::{
    commands::{
        print_json,
        run::{self, Session},
    },
    failure::{Failure, file},
    home::Home,
    human,
    settings::Settings,
    who, wire,
};

/// Senses that wait for the pilot.
const SENSES: usize = 256;

/// `gpak robot sim`
pub async fn sim(home: &Home, args: SimArgs, json: bool) -> Result<u8, Failure> {
    let task = run::task(&args.task)?;
    let world = World::read(&args.world).map_err(|why| Failure::usage(why.to_string()))?;
    if !(0.05..=20.0).contains(&args.speed) {
        return Err(Failure::usage(
            "--speed must be between 0.05 and 20".to_owned(),
        ));
    }
    let workspace = wire::workspace(Path::new("."))?;
    let settings = Settings::read(home, &workspace)?.with_flags(args.model.as_ref(), &args.bounds);
    let stop = run::stop_on_ctrl_c();
    let mind = wire::mind_at_hand(home, &settings, json, &stop).await?;
    let attended = !json && human::is_there();
    let run = RunId::random();
    let spec = RunSpec {
        task,
        workspace,
        model: mind.model.profile().id(),
        budget: settings.budget(),
        permissions: settings.permissions(),
        attended,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| home.data.join("robot").join(run.to_string()));
    std::fs::create_dir_all(&out).map_err(file(&out))?;
    let life = Life::begin(home, &args, world, &out)?;
    let session = Session::new(json, attended);
    let model = mind.model.clone();
    let person = Arc::new(Aboard {
        human: session.human(),
        flight: life.flight.clone(),
    });
    let driver = wire::driver(home, &spec.workspace, &settings, model, person, stop).await?;
    let driver = with_body(home, driver, &life.helm)?;
    let drawing = Drawing::begin(&life, args.render.as_deref())?;
    driver.create(run, spec).await?;
    let resumption = Resumption {
        attended,
        ..Resumption::default()
    };
    let ended = session.drive(&driver, Some(&mind), run, resumption).await;
    record_entries(driver.journal.as_ref(), run, &life.recorder).await?;
    drawing.end().await;
    life.end(&out, json)?;
    ended
}

/// The driver's run has a body in place of a folder.
fn with_body(home: &Home, driver: Driver, helm: &Helm) -> Result<Driver, Failure> {
    let profile = driver.model.profile();
    let (window, able) = (profile.window, profile.native_tools);
    let kept = |control: Control| match control {
        Control::Finish => true,
        Control::Plan | Control::Ask => able,
        _ => false,
    };
    // Those that only the machine calls have nothing to copy here.
    let controls = driver.toolbox.specs();
    let controls = controls
        .iter()
        .filter(|spec| spec.control.is_some_and(kept));
    let controls = controls.filter_map(|spec| driver.toolbox.get(&spec.name).cloned());
    let toolbox = Toolbox::new(helm.tools().into_iter().chain(controls))
        .map_err(|why| Failure::new(why.to_string()))?;
    Ok(Driver {
        toolbox,
        instructions: who::introduced(home, window, INSTRUCTIONS.to_owned())?,
        repository: gpak_kernel::context::Repository::default(),
        ..driver
    })
}

/// A body's life: what must be ended in order.
struct Life {
    flight: Arc<Flight>,
    simulated: Simulated,
    reflexes: Child,
    recorder: Recorder,
    helm: Helm,
    may: [Envelope; 3],
    living: PathBuf,
}

impl Life {
    fn begin(home: &Home, args: &SimArgs, world: World, out: &Path) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(format!("the body does not live: {why}"));
        let (config, text) = robot_toml(&world, args.speed)
            .map_err(|why| Failure::usage(format!("{}: {why}", args.world.display())))?;
        let toml = out.join("robot.toml");
        std::fs::write(&toml, text).map_err(file(&toml))?;
        let recorder =
            Recorder::create(&out.join("mission.mcap")).map_err(|why| failed(why.to_string()))?;
        let board = Board::create(world.lidar.points).map_err(|why| failed(why.to_string()))?;
        let session = SessionKey::new().map_err(|why| failed(why.to_string()))?;
        let (senses, heard) = sync_channel(SENSES);
        let build = Build {
            radius_m: world.robot.radius_m,
            speed_mps: config.body.forward_mps,
            turn_radps: world.robot.max_turn_radps * 0.8,
            patience_s: 3.0,
        };
        let mesh = match &args.mesh {
            None => None,
            Some(mesh) => Some(peers::join(mesh, &board, senses.clone())?),
        };
        let name = world.name.clone();
        let simulated = Simulated::start(Start {
            simulation: Simulation::new(world, args.seed),
            speed: args.speed,
            board: board.clone(),
            senses,
            recorder: recorder.clone(),
        })
        .map_err(|why| failed(why.to_string()))?;
        let (orders, taken) = mpsc::channel(WAITING);
        let flight = Flight::start(Outside {
            board: board.clone(),
            key: session.of(Source::Model),
            orders: taken,
            senses: heard,
            speaker: Box::new(Loudspeaker(simulated.world())),
            build,
            mesh,
            recorder: recorder.clone(),
        })
        .map_err(|why| failed(why.to_string()))?;
        let launch = Launch {
            program: std::env::current_exe().map_err(|why| failed(why.to_string()))?,
            options: Options {
                board: board.path().to_owned(),
                config: toml,
                latch: out.join("e-stop"),
                log: Some(out.join("decisions.log")),
            },
        };
        let mut reflexes = launch
            .start(&session)
            .map_err(|why| failed(why.to_string()))?;
        let ready = wait_ready(&board, &mut reflexes, Duration::from_secs(10));
        if !ready.map_err(|why| failed(why.to_string()))? {
            return Err(failed(
                "its reflexes did not start; what they said is above".to_owned(),
            ));
        }
        let living = living_file(home);
        let text = serde_json::to_string(&Living {
            board: board.path().to_owned(),
            pid: std::process::id(),
            world: name,
        });
        let text = text.map_err(|why| failed(why.to_string()))?;
        if let Some(folder) = living.parent() {
            std::fs::create_dir_all(folder).map_err(file(folder))?;
        }
        std::fs::write(&living, text).map_err(file(&living))?;
        let limits = Limits {
            speed_mps: build.speed_mps,
            within: Duration::from_secs(180),
        };
        Ok(Self {
            flight: Arc::new(flight),
            simulated,
            reflexes,
            recorder,
            helm: Helm::new(orders, limits),
            may: config.envelopes(),
            living,
        })
    }

    /// Ends the mind's hold, then the reflexes, then the world, and says what is left of it all.
    fn end(mut self, out: &Path, json: bool) -> Result<(), Failure> {
        let flown = self.flight.end();
        // A process that ended before has nothing to be told.
        if let Ok(pid) = i32::try_from(self.reflexes.id()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM);
        }
        let _ = self.reflexes.wait();
        let _ = std::fs::remove_file(&self.living);
        let finished = self.recorder.finish(&self.may, flown.missed);
        finished.map_err(|why| Failure::new(why.to_string()))?;
        let picture = out.join("path.png");
        view::save(&self.simulated.scene(), &picture)?;
        let (collisions, fell, said) = self.simulated.with(|simulation| {
            let fastest = simulation
                .collisions()
                .iter()
                .map(|collision| collision.speed_mps);
            let said: Vec<_> = simulation
                .said()
                .iter()
                .map(|said| json!({"text": said.text, "heard_by": said.heard_by}))
                .collect();
            (
                (simulation.collisions().len(), fastest.fold(0.0, f32::max)),
                simulation.fell(),
                said,
            )
        });
        let recording = out.join("mission.mcap");
        if json {
            print_json(&json!({"robot": {
                "recording": recording, "picture": picture, "decisions": flown.decisions,
                "collisions": collisions.0, "fastest_collision_mps": collisions.1, "fell": fell, "said": said,
            }}));
            return Ok(());
        }
        eprintln!(
            "recording  {} ({} decisions)",
            recording.display(),
            flown.decisions
        );
        eprintln!("path       {}", picture.display());
        let touched = match collisions {
            (0, _) => "touched nothing".to_owned(),
            (touched, speed) => {
                format!("touched something {touched} times, at {speed:.2} m/s at most")
            }
        };
        eprintln!(
            "in the world it {touched}{}",
            if fell { " and fell off a cliff" } else { "" }
        );
        for said in said {
            let part = |name: &str| said.get(name).unwrap_or(&Value::Null);
            eprintln!("it said {} to {}", part("text"), part("heard_by"));
        }
        Ok(())
    }
}

struct Loudspeaker(Arc<Mutex<Simulation>>);

impl Device for Loudspeaker {
    fn name(&self) -> &'static str {
        "loudspeaker"
    }

    fn lifecycle(&self) -> Lifecycle {
        Lifecycle::Active
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn deactivate(&mut self) {}
}

impl Speaker for Loudspeaker {
    fn say(&mut self, text: &str) -> Result<(), DeviceError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .say(text);
        Ok(())
    }
}

struct Drawing {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drawing {
    fn begin(life: &Life, folder: Option<&Path>) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let task = match folder {
            None => None,
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(file(folder))?;
                let drawing = view::draw(life.simulated.world(), folder.to_owned(), stop.clone());
                Some(tokio::spawn(drawing))
            }
        };
        Ok(Self { stop, task })
    }

    async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            let _ = task.await;
        }
    }
}
