//! What a robot does with its body: a task for the mind, or a behaviour tree.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gpak_edge::{
    body::{
        actions::Helm,
        errand::{self, Hands},
    },
    nav::tree::{Status, Tree},
    reflex::{clock, command::Source},
};
use gpak_kernel::{
    event::{RunId, RunSpec},
    run::{Driver, Resumption},
    tool::{Control, Toolbox},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    aboard::{Aboard, INSTRUCTIONS, record_entries},
    args::MissionArgs,
    body::Body,
    life::{Begin, Life},
    view,
};
use crate::{
    commands::{
        print_json,
        run::{self, Session},
    },
    failure::{DONE, FAILED, Failure, INTERRUPTED, file},
    home::Home,
    human,
    settings::Settings,
    who, wire,
};

/// How often a tree is gone through.
const TICK: Duration = Duration::from_millis(100);

/// Does it, and says how it ended.
pub async fn mission(
    home: &Home,
    args: &MissionArgs,
    body: Body,
    json: bool,
) -> Result<u8, Failure> {
    match &args.tree {
        Some(tree) => by_tree(home, args, tree, body, json).await,
        None => by_mind(home, args, body, json).await,
    }
}

async fn by_mind(home: &Home, args: &MissionArgs, body: Body, json: bool) -> Result<u8, Failure> {
    let task = run::task(&args.task)?;
    let workspace = wire::workspace(Path::new("."))?;
    let settings = Settings::read(home, &workspace)?.with_flags(args.model.as_ref(), &args.bounds);
    let stop = run::stop_on_ctrl_c();
    let mind = wire::mind_at_hand(home, &settings, json, &stop).await?;
    let attended = !json && human::is_there();
    let run = RunId::random();
    let out = folder(home, args, &run.to_string())?;
    let begin = Begin {
        task: &task,
        source: Source::Model,
        mesh: args.mesh.as_deref(),
        out: &out,
    };
    let life = Life::begin(home, body, &begin)?;
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
    let session = Session::new(json, attended);
    let model = mind.model.clone();
    let person = Arc::new(Aboard {
        human: session.human(),
        flight: life.flight.clone(),
    });
    let driver = wire::driver(home, &spec.workspace, &settings, model, person, stop).await?;
    let helm = Helm::new(life.orders.clone(), life.limits);
    let driver = with_body(home, driver, &helm)?;
    let drawing = Drawing::begin(&life, args.render.as_deref())?;
    driver.create(run, spec).await?;
    let resumption = Resumption {
        attended,
        ..Resumption::default()
    };
    let ended = session.drive(&driver, Some(&mind), run, resumption).await;
    record_entries(driver.journal.as_ref(), run, &life.recorder).await?;
    drawing.end().await;
    life.end(home, json)?;
    ended
}

async fn by_tree(
    home: &Home,
    args: &MissionArgs,
    path: &Path,
    body: Body,
    json: bool,
) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(path).map_err(file(path))?;
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let mut tree = Tree::parse(&text).map_err(|why| wrong(why.to_string()))?;
    errand::check(&tree).map_err(wrong)?;
    let stop = run::stop_on_ctrl_c();
    let out = folder(home, args, &RunId::random().to_string())?;
    let task = format!("tree {}", tree.name());
    let begin = Begin {
        task: &task,
        source: Source::Mission,
        mesh: args.mesh.as_deref(),
        out: &out,
    };
    let life = Life::begin(home, body, &begin)?;
    let drawing = Drawing::begin(&life, args.render.as_deref())?;
    let (flight, recorder) = (life.flight.clone(), life.recorder.clone());
    let told = move |action: &str, said: &str| {
        let line = json!({"action": action, "said": said});
        recorder.put("/tree", clock::now(), &line);
        match json {
            true => print_json(&line),
            false => say!("{action}: {said}"),
        }
    };
    let mut hands = Hands::new(
        life.orders.clone(),
        life.limits,
        move || flight.seen(),
        told,
    );
    let ended = loop {
        match tree.tick(&mut hands) {
            Status::Running => {}
            ended => break Some(ended),
        }
        tokio::select! {
            () = stop.cancelled() => break None,
            () = tokio::time::sleep(TICK) => {}
        }
    };
    tree.cancel(&mut hands);
    drawing.end().await;
    life.end(home, json)?;
    let (code, word) = match ended {
        Some(Status::Success) => (DONE, "succeeded"),
        Some(_) => (FAILED, "failed"),
        None => (INTERRUPTED, "interrupted"),
    };
    match json {
        true => print_json(&json!({"tree": tree.name(), "ended": word})),
        false => say!("the tree {} {word}", tree.name()),
    }
    Ok(code)
}

fn folder(home: &Home, args: &MissionArgs, run: &str) -> Result<PathBuf, Failure> {
    let named = args.out.clone();
    let out = named.unwrap_or_else(|| home.data.join("robot").join(run));
    std::fs::create_dir_all(&out).map_err(file(&out))?;
    Ok(out)
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

struct Drawing {
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drawing {
    fn begin(life: &Life, folder: Option<&Path>) -> Result<Self, Failure> {
        let stop = CancellationToken::new();
        let task = match (folder, &life.world) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(Failure::usage(
                    "--render draws simulated worlds, and this body is no simulated one".to_owned(),
                ));
            }
            (Some(folder), Some(world)) => {
                std::fs::create_dir_all(folder).map_err(file(folder))?;
                let drawing = view::draw(world.clone(), folder.to_owned(), stop.clone());
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
