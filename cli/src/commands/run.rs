//! `gpak run` and `gpak resume`.

use std::{
    io::{IsTerminal, Read},
    path::Path,
    sync::Arc,
};

use gpak_kernel::{
    entry::Entry,
    event::{Outcome, PauseReason, RunId, RunSpec},
    model::Delta,
    policy::{Budget, Spent},
    run::{Driver, Ended, Human, Machine, Nobody, Observer, Resumption, State, check},
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Bounds, ResumeArgs, RunArgs},
    chat,
    commands::print_json,
    failure::{DONE, FAILED, Failure, INTERRUPTED, NEEDS_APPROVAL, OUT_OF_BUDGET},
    home::Home,
    human,
    link::{self, Link},
    mcp,
    settings::Settings,
    show::{self, live},
    wire,
};

/// `gpak run`
pub async fn run(home: &Home, args: RunArgs, json: bool) -> Result<u8, Failure> {
    let task = task(&args.task)?;
    let workspace = wire::workspace(&args.place.workspace)?;
    let settings = Settings::read(home, &workspace)?
        .with_flags(args.model.as_ref(), &args.bounds)
        .with_ways(&args.check, args.strategy);
    tell_ignored(&settings);
    can_be_checked(&settings, &workspace)?;
    let stop = stop_on_ctrl_c();
    let mind = wire::mind_at_hand(home, &settings, json, &stop).await?;
    let link = link::wake(home, args.link, mind.model.profile().window, json).await?;
    let attended = !json && human::is_there();
    let spec = RunSpec {
        task,
        workspace,
        model: mind.model.profile().id(),
        budget: settings.budget(),
        permissions: settings.permissions(),
        attended,
        conversation: false,
        origin: None,
        check: settings.check.value.clone(),
        strategy: settings.strategy.value.map(Into::into),
        parent: None,
    };
    let session = Session::new(json, attended);
    let (model, human) = (mind.model.clone(), session.human());
    let mut driver = wire::driver(home, &spec.workspace, &settings, model, human, stop).await?;
    wire::offer_delegate(&mut driver, &settings)?;
    let manner = session.manner(settings.yes.value);
    let servers = mcp::join(&mut driver, home, &settings, manner).await?;
    wire::sweep_copies(home, driver.journal.as_ref()).await?;
    let run = RunId::random();
    driver.create(run, spec).await?;
    let resumption = Resumption {
        attended,
        ..Resumption::default()
    };
    let drive = async |driver: &Driver| session.drive(driver, Some(&mind), run, resumption).await;
    let ended = as_node(link, &mut driver, run, drive).await;
    servers.close().await;
    ended
}

/// Drives a run; that of a node as who its core says the agent is, and what came of it goes there.
async fn as_node(
    link: Option<Link>,
    driver: &mut Driver,
    run: RunId,
    drive: impl AsyncFnOnce(&Driver) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let Some(link) = link else {
        return drive(driver).await;
    };
    let bare = wire::instructions(driver.model.profile());
    let ended = link.following(driver, &bare, drive).await;
    link.send(driver, run).await;
    ended
}

/// Says now, and not once the work is done, that a check can never succeed.
fn can_be_checked(settings: &Settings, workspace: &Path) -> Result<(), Failure> {
    let checks = &settings.check.value;
    for check in checks {
        if let Some(why) = gpak_tools::unstartable(check, workspace) {
            return Err(
                Failure::usage(format!("the check `{check}` cannot be run: {why}"))
                    .help("install it, or name a command that is there with --check"),
            );
        }
    }
    match check::forbidden(checks, &settings.permissions(), None) {
        Some(why) => Err(Failure::usage(why)),
        None => Ok(()),
    }
}

/// `gpak resume`
pub async fn resume(home: &Home, args: ResumeArgs, json: bool) -> Result<u8, Failure> {
    let journal = wire::journal(home)?;
    let run = wire::run_id(journal.as_ref(), args.run.as_deref()).await?;
    let entries = journal.read(run, 1).await?;
    let machine = Machine::fold(&entries);
    let state = machine.state();
    let Some(spec) = &state.spec else {
        return Err(Failure::new(format!(
            "run {run} does not begin with its task"
        )));
    };
    if spec.conversation {
        if args.link.core.is_some() {
            return Err(Failure::usage(
                "a conversation is no run of a node: it does not follow a core",
            )
            .help("leave --core out"));
        }
        drop(journal);
        return chat::resume(home, run, args.model.as_ref(), &args.bounds, None, json).await;
    }
    if let Some(outcome) = &state.outcome {
        return Ok(over(run, outcome, &entries, json));
    }
    let settings =
        Settings::read(home, &spec.workspace)?.with_flags(args.model.as_ref(), &args.bounds);
    let model = args.model.as_ref().unwrap_or(&spec.model);
    let stop = stop_on_ctrl_c();
    let mind = wire::mind(home, &settings, Some(model), &stop).await?;
    let link = link::wake(home, args.link, mind.model.profile().window, json).await?;
    let attended = !json && human::is_there();
    let session = Session::new(json, attended);
    let resumption = resumption(&args.bounds, spec, state, attended);
    drop(journal);
    let (model, human) = (mind.model.clone(), session.human());
    let mut driver = wire::driver(home, &spec.workspace, &settings, model, human, stop).await?;
    wire::offer_delegate(&mut driver, &settings)?;
    let manner = session.manner(args.bounds.yes || spec.permissions.yes);
    let servers = mcp::join(&mut driver, home, &settings, manner).await?;
    let drive = async |driver: &Driver| session.drive(driver, Some(&mind), run, resumption).await;
    let ended = as_node(link, &mut driver, run, drive).await;
    servers.close().await;
    ended
}

/// A run that is over says again how it ended: the process that drove it may have died just then.
pub fn over(run: RunId, outcome: &Outcome, entries: &[Entry], json: bool) -> u8 {
    if json {
        entries.last().into_iter().for_each(print_json);
    } else {
        eprintln!("run {} is over: {}", run.short(), live::ending(outcome));
        if let Outcome::Completed { answer } = outcome {
            say!("{answer}");
        }
    }
    code(&Ended::Finished(outcome.clone()), 0)
}

/// What changes: bounds count from what the run was given, not from what it has left.
pub fn resumption(bounds: &Bounds, spec: &RunSpec, state: &State, attended: bool) -> Resumption {
    let mut permissions = spec.permissions.clone();
    permissions.yes |= bounds.yes;
    permissions
        .rules
        .extend(bounds.allow.iter().chain(&bounds.deny).cloned());
    let asked = bounds.budget.clone();
    Resumption {
        budget: asked
            .map(|change| change.apply(spec.budget))
            .or_else(|| as_much_again(state)),
        permissions: (permissions != spec.permissions).then_some(permissions),
        attended,
        message: None,
    }
}

/// The budget of a run that ran out of it and is resumed without a word about it.
pub fn as_much_again(state: &State) -> Option<Budget> {
    let Some(PauseReason::Budget { .. }) = state.paused else {
        return None;
    };
    let mut budget = state.spec.as_ref()?.budget;
    let Spent {
        steps,
        tokens,
        cost,
        wall_ms,
    } = state.charged();
    let built_in = Budget::default();
    budget.steps = budget.steps.max(steps + built_in.steps);
    budget.tokens = budget.tokens.max(tokens + built_in.tokens);
    budget.cost = budget.cost.max(cost + built_in.cost);
    budget.wall_ms = budget.wall_ms.max(wall_ms + built_in.wall_ms);
    Some(budget)
}

/// The words given, or standard input where there are none and it is no terminal.
pub fn task(words: &[String]) -> Result<String, Failure> {
    let task = words.join(" ");
    if !task.is_empty() && task != "-" {
        return Ok(task);
    }
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage("the task is missing")
            .help("say what is to be done, as in: gpak run \"list the TODOs in src\""));
    }
    let mut text = String::new();
    stdin.read_to_string(&mut text).map_err(|why| {
        Failure::usage(format!(
            "the task cannot be read from standard input: {why}"
        ))
    })?;
    Ok(text)
}

/// Says on standard error what a workspace's settings may not say.
pub fn tell_ignored(settings: &Settings) {
    for ignored in &settings.ignored {
        eprintln!("gpak: ignored {ignored}");
    }
}

/// Cancelled at the first Ctrl-C (or SIGTERM); at the second the process ends at once.
pub fn stop_on_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        for signal in 0.. {
            if !next_signal().await {
                return;
            }
            if signal > 0 {
                std::process::exit(i32::from(INTERRUPTED));
            }
            stopped.cancel();
        }
    });
    stop
}

/// Waits for Ctrl-C or SIGTERM; false if signals cannot be had.
pub async fn next_signal() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return false;
    };
    tokio::select! {
        signal = interrupt.recv() => signal.is_some(),
        signal = terminate.recv() => signal.is_some(),
    }
}

/// One drive of a run, shown.
pub struct Session {
    json: bool,
    attended: bool,
    live: live::Live,
}

impl Session {
    /// Shown as JSON or for people.
    pub fn new(json: bool, attended: bool) -> Self {
        let live = live::Live::new();
        Self {
            json,
            attended,
            live,
        }
    }

    /// Who is asked.
    pub fn human(&self) -> Arc<dyn Human> {
        if self.attended {
            let spinner = self.live.spinner();
            Arc::new(human::Terminal { spinner })
        } else {
            Arc::new(Nobody)
        }
    }

    /// How MCP servers meet the user.
    fn manner(&self, yes: bool) -> mcp::Manner {
        mcp::Manner {
            yes,
            attended: self.attended,
            progress: self.live.spinner(),
        }
    }

    /// Drives the run, shows it, and says how it ended.
    pub async fn drive(
        self,
        driver: &gpak_kernel::run::Driver,
        mind: Option<&wire::Mind>,
        run: RunId,
        resumption: Resumption,
    ) -> Result<u8, Failure> {
        let mut watching = Watching {
            run,
            json: self.json,
            live: self.live,
            spent: Spent::default(),
            denied: 0,
        };
        let ended = driver.drive(run, resumption, &mut watching).await;
        watching.live.end();
        let ended = ended?;
        if let (Ended::Finished(_), Some(mind)) = (&ended, mind) {
            mind.check_used_up(driver.journal.as_ref(), run).await?;
        }
        if !self.json {
            tell_end(run, &ended, &watching);
        }
        Ok(code(&ended, watching.denied))
    }
}

struct Watching {
    /// The run; entries of those that it starts pass by here too.
    run: RunId,
    json: bool,
    live: live::Live,
    spent: Spent,
    /// Calls that were not made because nobody could approve them.
    denied: usize,
}

impl Observer for Watching {
    fn entry(&mut self, entry: &Entry, state: &State) {
        use gpak_kernel::event::{CallOutcome, Event, Refusal};
        if entry.run == self.run {
            self.spent = state.spent;
        }
        if let Event::ToolFinished {
            outcome:
                CallOutcome::Refused {
                    by: Refusal::Permission,
                    ..
                },
            ..
        } = &entry.event
        {
            self.denied += 1;
        }
        if self.json {
            print_json(entry);
        } else {
            self.live.entry(entry, state);
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        if !self.json {
            self.live.delta(delta);
        }
    }
}

fn tell_end(run: RunId, ended: &Ended, watching: &Watching) {
    let (id, spent) = (run.short(), show::spent(&watching.spent));
    match ended {
        Ended::Finished(outcome) => {
            eprintln!("{} · {spent}", live::ending(outcome));
            if let Outcome::Completed { answer } = outcome {
                say!("{answer}");
            }
            if watching.denied > 0 {
                tell_denied(watching.denied as u64);
            }
        }
        Ended::Paused(reason) => {
            eprintln!("{} · {spent}", live::waiting(reason));
            let more = match reason {
                PauseReason::Budget { .. } => " --budget steps=80,minutes=30",
                _ => "",
            };
            eprintln!("go on with: gpak resume {id}{more}");
        }
    }
}

/// Says that calls were denied, and what lets them through.
pub fn tell_denied(calls: u64) {
    eprintln!(
        "{} denied, as nobody was there to approve; `--yes` or `--allow` lets them through",
        show::counted(calls, "call")
    );
}

/// The exit code that says how a drive ended.
pub fn code(ended: &Ended, denied: usize) -> u8 {
    match ended {
        Ended::Finished(Outcome::Completed { .. }) => DONE,
        Ended::Finished(Outcome::Cancelled) | Ended::Paused(PauseReason::Interrupted) => {
            INTERRUPTED
        }
        Ended::Finished(Outcome::Failed { .. }) if denied > 0 => NEEDS_APPROVAL,
        Ended::Finished(Outcome::Failed { .. }) => FAILED,
        Ended::Paused(PauseReason::Budget { .. }) => OUT_OF_BUDGET,
        Ended::Paused(PauseReason::Unanswered) => NEEDS_APPROVAL,
        Ended::Paused(
            PauseReason::Model { .. } | PauseReason::Tool { .. } | PauseReason::Stuck { .. },
        ) => FAILED,
    }
}
