//! `gpak runs`.

use std::{io::Write, path::Path, sync::Arc};

use futures::StreamExt;
use gpak_kernel::{
    entry::Entry,
    event::{Event, Origin, RunId},
    journal::{Journal, JournalError, RunFilter},
    run::{Nobody, Resumption, replay},
};

use crate::{
    args::RunsCommand,
    commands::{print_json, run::Session},
    failure::{DONE, FAILED, Failure, file},
    home::Home,
    settings::Settings,
    show::{self, tree},
    wire,
};

/// `gpak runs`
pub async fn runs(home: &Home, command: RunsCommand, json: bool) -> Result<u8, Failure> {
    let journal = wire::journal(home)?;
    let journal = journal.as_ref();
    match command {
        RunsCommand::List { status, limit } => {
            let filter = RunFilter {
                status: status.map(Into::into),
                limit: Some(limit),
                ..RunFilter::default()
            };
            list(journal, &filter, json).await
        }
        RunsCommand::Show { run, full } => {
            let (run, entries) = read(journal, run.as_deref()).await?;
            match json {
                true => entries.iter().for_each(print_json),
                false => {
                    let family = tree::Family::read(journal, run).await?;
                    say!("{}", family.tree(run, full));
                }
            }
            Ok(DONE)
        }
        RunsCommand::Events { run, from, follow } => {
            let run = wire::run_id(journal, run.as_deref()).await?;
            events(journal, run, from, follow).await
        }
        RunsCommand::Fork { run, at, workspace } => {
            fork(home, journal, &run, at, workspace.as_deref(), json).await
        }
        RunsCommand::Replay { run, workspace } => {
            let (run, entries) = read(journal, run.as_deref()).await?;
            match workspace {
                None => check(run, &entries),
                Some(workspace) => again(home, &entries, &workspace, json).await,
            }
        }
        RunsCommand::Verify { run } => verify(journal, run.as_deref(), json).await,
        RunsCommand::Export { run, output } => {
            let (_, entries) = read(journal, run.as_deref()).await?;
            export(&entries, output.as_deref())
        }
    }
}

async fn read(journal: &dyn Journal, prefix: Option<&str>) -> Result<(RunId, Vec<Entry>), Failure> {
    let run = wire::run_id(journal, prefix).await?;
    Ok((run, journal.read(run, 1).await?))
}

async fn list(journal: &dyn Journal, filter: &RunFilter, json: bool) -> Result<u8, Failure> {
    let runs = journal.runs(filter).await?;
    if json {
        runs.iter().for_each(print_json);
        return Ok(DONE);
    }
    if runs.is_empty() {
        say!("no runs yet; gpak run \"what is to be done\"");
    }
    for run in runs {
        let created = run.created.strftime("%Y-%m-%d %H:%M");
        let part = run.parent.map(|parent| format!("↳ {}: ", parent.short()));
        let task = show::shorten(&show::one_line(&run.task), 80);
        let task = part.unwrap_or_default() + &task;
        say!(
            "{}  {created}  {:9}  {:>4}  {task}",
            run.run.short(),
            run.status,
            run.entries
        );
    }
    Ok(DONE)
}

async fn events(journal: &dyn Journal, run: RunId, from: u64, follow: bool) -> Result<u8, Failure> {
    if !follow {
        journal.read(run, from).await?.iter().for_each(print_json);
        return Ok(DONE);
    }
    let mut entries = journal.watch(run, from);
    while let Some(entry) = entries.next().await {
        print_json(&entry?);
    }
    Ok(DONE)
}

async fn fork(
    home: &Home,
    journal: &dyn Journal,
    prefix: &str,
    at: Option<u64>,
    workspace: Option<&Path>,
    json: bool,
) -> Result<u8, Failure> {
    let (run, entries) = read(journal, Some(prefix)).await?;
    let spec = entries.iter().find_map(|entry| match &entry.event {
        Event::RunCreated { spec } => Some(spec),
        _ => None,
    });
    let same = spec.map(|spec| spec.workspace.clone()).unwrap_or_default();
    let workspace = wire::workspace(workspace.unwrap_or(&same))?;
    let goes_on = |entry: &&Entry| {
        !matches!(
            entry.event,
            Event::RunFinished { .. } | Event::Compensated { .. }
        )
    };
    let last = entries
        .iter()
        .rev()
        .find(goes_on)
        .map_or(1, |entry| entry.seq);
    let origin = Origin {
        run,
        seq: at.unwrap_or(last),
    };
    let fork = RunId::random();
    let mind = replay::Recorded::of(&entries)
        .ok_or_else(|| Failure::usage(format!("run {} never started", run.short())))?;
    wire::driver_of_none(home, Arc::new(mind), Arc::new(Nobody), Default::default())?
        .fork(origin, fork, &workspace)
        .await?;
    if json {
        print_json(&serde_json::json!({"run": fork, "origin": origin}));
    } else {
        say!(
            "{} shares entries 1 to {} of {}",
            fork.short(),
            origin.seq,
            run.short()
        );
        say!("go on with: gpak resume {}", fork.short());
    }
    Ok(DONE)
}

fn check(run: RunId, entries: &[Entry]) -> Result<u8, Failure> {
    replay::check(entries).map_err(|why| Failure::new(why.to_string()))?;
    say!(
        "{}: {} entries, every decision the same",
        run.short(),
        entries.len()
    );
    Ok(DONE)
}

/// Does a run again in another folder, as a run of its own.
async fn again(
    home: &Home,
    entries: &[Entry],
    workspace: &Path,
    json: bool,
) -> Result<u8, Failure> {
    let workspace = wire::workspace(workspace)?;
    let recorded = replay::Recorded::of(entries)
        .ok_or_else(|| Failure::usage("the run has no recorded replies"))?;
    let Some(Event::RunCreated { spec }) = entries.first().map(|entry| &entry.event) else {
        return Err(Failure::new("the run does not begin with its task"));
    };
    let started = |entry: &Entry| matches!(entry.event, Event::ChildCharged { .. });
    if entries.iter().any(started) {
        return Err(Failure::usage(
            "the run started others, whose replies are recorded elsewhere: it cannot be done again",
        )
        .help("`gpak runs replay RUN` without a folder checks its decisions"));
    }
    let mut spec = spec.clone();
    spec.workspace.clone_from(&workspace);
    spec.parent = None;
    spec.attended = false;
    let (nobody, stop) = (Arc::new(Nobody), Default::default());
    let settings = Settings::read(home, &workspace)?;
    let driver = wire::driver(
        home,
        &workspace,
        &settings,
        Arc::new(recorded),
        nobody,
        stop,
    )
    .await?;
    let run = RunId::random();
    driver.create(run, spec).await?;
    let session = Session::new(json, false);
    session
        .drive(&driver, None, run, Resumption::default())
        .await
}

/// Reads every entry: a journal checks what it reads.
async fn verify(journal: &dyn Journal, prefix: Option<&str>, json: bool) -> Result<u8, Failure> {
    let runs = match prefix {
        Some(prefix) => vec![wire::run_id(journal, Some(prefix)).await?],
        None => {
            let all = journal.runs(&RunFilter::default()).await?;
            all.into_iter().map(|summary| summary.run).collect()
        }
    };
    let (mut entries, mut broken) = (0, 0);
    for run in &runs {
        match journal.read(*run, 1).await {
            Ok(read) => entries += read.len(),
            Err(JournalError::Chain(why)) => {
                broken += 1;
                if json {
                    print_json(&serde_json::json!({"run": run, "broken": why.to_string()}));
                } else {
                    say!("✗ {why}");
                }
            }
            Err(other) => return Err(other.into()),
        }
    }
    if json {
        print_json(&serde_json::json!({"runs": runs.len(), "entries": entries, "broken": broken}));
    } else if broken == 0 {
        let (runs, entries) = (
            show::counted(runs.len() as u64, "run"),
            format!("{entries} entries, none changed"),
        );
        say!("✓ {runs}, {entries}");
    }
    Ok(if broken == 0 { DONE } else { FAILED })
}

fn export(entries: &[Entry], output: Option<&Path>) -> Result<u8, Failure> {
    let Some(path) = output else {
        entries.iter().for_each(print_json);
        return Ok(DONE);
    };
    let mut lines = Vec::new();
    for entry in entries {
        let line = serde_json::to_string(entry).map_err(|why| Failure::new(why.to_string()))?;
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    std::fs::File::create(path)
        .and_then(|mut out| out.write_all(&lines))
        .map_err(file(path))?;
    Ok(DONE)
}
