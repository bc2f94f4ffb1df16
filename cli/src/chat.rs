//! `gpak chat`: a conversation is one run. Each message goes on with it, and so does `--resume`, also
//! after a crash.
//!
//! [`editor`] reads lines, [`commands`] says what they ask for, [`desk`] is the person as the driver
//! meets one, [`view`] shows what happens, [`mod@session`] puts them together.

mod answer;
mod approvals;
mod commands;
mod desk;
mod editor;
mod interrupts;
mod session;
mod status;
mod view;

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex},
};

use gpak_kernel::{
    event::{Event, RunId},
    journal::{Journal, RunFilter},
    run::State,
};

use self::{
    commands::Command,
    desk::{Desk, Wish},
    editor::Lines,
    interrupts::Interrupts,
    session::Session,
    status::Facts,
};
use crate::{
    args::{Bounds, ChatArgs},
    commands::run,
    failure::Failure,
    home::Home,
    human, mcp,
    settings::Settings,
    wire,
};

/// How many of the latest runs a conversation is looked for in.
const LOOKED_AT: usize = 50;

/// `gpak chat`
pub async fn chat(home: &Home, args: ChatArgs, json: bool) -> Result<u8, Failure> {
    if let Some(run) = &args.resume {
        let journal = wire::journal(home)?;
        let run = match run.as_str() {
            "" => latest(journal.as_ref()).await?,
            prefix => wire::run_id(journal.as_ref(), Some(prefix)).await?,
        };
        let said = Some(args.message.join(" ")).filter(|said| !said.trim().is_empty());
        return resume(home, run, args.model.as_ref(), &args.bounds, said, json).await;
    }
    let workspace = wire::workspace(&args.place.workspace)?;
    let settings = Settings::read(home, &workspace)?.with_flags(args.model.as_ref(), &args.bounds);
    run::tell_ignored(&settings);
    let interrupts = Interrupts::listen();
    let mind = wire::mind_at_hand(home, &settings, json, &interrupts.fresh()).await?;
    let first = args.message.join(" ");
    let first = Some(first).filter(|first| !first.trim().is_empty());
    let session = session(home, settings, workspace, mind, interrupts, json).await?;
    session.talk(first.map(Wish::Say)).await
}

/// Goes on with a conversation, with what is said if anything is.
pub async fn resume(
    home: &Home,
    run: RunId,
    model: Option<&String>,
    bounds: &Bounds,
    said: Option<String>,
    json: bool,
) -> Result<u8, Failure> {
    let journal = wire::journal(home)?;
    let entries = journal.read(run, 1).await?;
    drop(journal);
    let state = State::fold(&entries);
    let Some(spec) = state.spec.as_ref().filter(|spec| spec.conversation) else {
        return Err(
            Failure::usage(format!("run {} is no conversation", run.short()))
                .help(format!("gpak resume {}", run.short())),
        );
    };
    if let Some(outcome) = &state.outcome {
        return Ok(run::over(run, outcome, &entries, json));
    }
    let settings = Settings::read(home, &spec.workspace)?;
    run::tell_ignored(&settings);
    let before = state.setup.as_ref().map(|setup| setup.model.id());
    let model = model.cloned().or(before).unwrap_or(spec.model.clone());
    let interrupts = Interrupts::listen();
    let mind = wire::mind(home, &settings, Some(&model), &interrupts.fresh()).await?;
    let mut session = session(
        home,
        settings,
        spec.workspace.clone(),
        mind,
        interrupts,
        json,
    )
    .await?;
    let resumption = run::resumption(bounds, spec, &state, session.desk.at_terminal);
    session.run = Some(run);
    session.budget = resumption.budget;
    session.told = spec.permissions.clone();
    let mut permissions = resumption.permissions.unwrap_or(spec.permissions.clone());
    // What was allowed for always meanwhile holds here too.
    let rules = session.settings.permissions().rules.into_iter();
    let fresh = rules.filter(|rule| !spec.permissions.rules.contains(rule));
    permissions.rules.extend(fresh);
    *desk::locked(&session.desk.permissions) = permissions;
    desk::locked(&session.facts).take(&state);
    if !json {
        let answer = state.answer().unwrap_or_default();
        eprintln!(
            "run {} goes on · {}",
            run.short(),
            crate::show::plain(answer)
        );
    }
    let wish = said.map_or(Wish::Do(Command::Continue), Wish::Say);
    session.talk(Some(wish)).await
}

/// The latest run that is a conversation.
async fn latest(journal: &dyn Journal) -> Result<RunId, Failure> {
    let filter = RunFilter {
        limit: Some(LOOKED_AT),
        whole: true,
        ..RunFilter::default()
    };
    for summary in journal.runs(&filter).await? {
        let entries = journal.read(summary.run, 1).await?;
        if let Some(Event::RunCreated { spec }) = entries.first().map(|entry| &entry.event)
            && spec.conversation
        {
            return Ok(summary.run);
        }
    }
    Err(Failure::usage("there is no conversation to go on with").help("gpak chat"))
}

async fn session<'a>(
    home: &'a Home,
    settings: Settings,
    workspace: std::path::PathBuf,
    mind: wire::Mind,
    interrupts: Arc<Interrupts>,
    json: bool,
) -> Result<Session<'a>, Failure> {
    let at_terminal = !json && human::is_there() && std::io::stdout().is_terminal();
    let lines = if at_terminal {
        Lines::terminal(home.data.join("chat_history"))?
    } else {
        Lines::standard_input()
    };
    let profile = mind.model.profile();
    let facts = Arc::new(Mutex::new(Facts {
        model: profile.id(),
        window: profile.window,
        ..Facts::default()
    }));
    let permissions = settings.permissions();
    let nobody = Arc::new(gpak_kernel::run::Nobody);
    let mut driver = wire::driver(
        home,
        &workspace,
        &settings,
        mind.model.clone(),
        nobody,
        Default::default(),
    )
    .await?;
    wire::offer_delegate(&mut driver, &settings)?;
    let manner = mcp::Manner {
        yes: permissions.yes,
        attended: at_terminal,
        progress: indicatif::ProgressBar::hidden(),
    };
    let servers = mcp::join(&mut driver, home, &settings, manner).await?;
    let desk = Arc::new(Desk::new(
        lines,
        at_terminal,
        facts.clone(),
        interrupts.clone(),
        home.config_file(),
        driver.toolbox.specs(),
        permissions.clone(),
    ));
    driver.human = desk.clone();
    servers.ask(desk.clone());
    Ok(Session {
        home,
        settings,
        workspace,
        json,
        desk,
        interrupts,
        facts,
        mind,
        driver,
        servers,
        run: None,
        told: permissions,
        budget: None,
    })
}
