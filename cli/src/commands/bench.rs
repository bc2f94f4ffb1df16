//! `gpak models bench`.

use std::{path::Path, sync::Arc};

use gpak_kernel::{
    entry::Entry,
    event::{Choice, Event, Outcome, RunId, RunSpec},
    identity::{Speaker, Why},
    journal::{Journal, MemoryJournal},
    model::{
        Model, Reply, Usage,
        embedded::{self, Measured, Speed},
    },
    policy::{Budget, Permissions},
    run::{Driver, Ended, Machine, Nobody, Resumption, SystemClock},
};
use gpak_tools::{builtin::Reach, copies};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{BenchArgs, Half},
    bench::{
        agent::{self, Attempt},
        bfcl,
        evals::{self, Split, Task},
        peer::{self, Beside, Compared, Peer},
    },
    commands::print_json,
    failure::{DONE, Failure, file},
    home::Home,
    pulling,
    settings::Settings,
    show::live,
    wire,
};

/// `gpak models bench`: speed where nothing else is asked for.
pub async fn bench(home: &Home, args: BenchArgs, json: bool) -> Result<u8, Failure> {
    let settings = Settings::read(home, Path::new("."))?;
    let id = args.model.as_deref().or(settings.model.value.as_deref());
    let window = settings.window.value;
    if !args.agent && args.bfcl.is_none() {
        return speed(home, id, window, args.peer, json).await;
    }
    let mind = wire::mind(home, &settings, id, &CancellationToken::new()).await?;
    if let Some(cases) = args.bfcl {
        calls(home, mind.model.as_ref(), cases, json).await?;
    }
    if args.agent {
        tasks(home, mind.model.clone(), &args, json).await?;
    }
    Ok(DONE)
}

async fn speed(
    home: &Home,
    id: Option<&str>,
    window: u32,
    peer: Option<String>,
    json: bool,
) -> Result<u8, Failure> {
    let (path, options) = wire::embedded_file(home, id, window, &CancellationToken::new()).await?;
    let measuring = tokio::task::spawn_blocking(move || -> Result<Report, Failure> {
        let Some(url) = peer else {
            let figures = embedded::measure(path, options)?;
            let peer = None;
            return Ok(Report { figures, peer });
        };
        // First, because loading a model for nothing takes long.
        let peer = Peer::meet(&url).map_err(|why| Failure::new(why.to_string()))?;
        let mut ours = Measured::load(path, options)?;
        let (short, long, beside) = peer::beside(&mut ours, &peer)?;
        Ok(Report {
            figures: ours.figures(short, long)?,
            peer: Some(beside),
        })
    });
    let report = measuring
        .await
        .map_err(|why| Failure::new(why.to_string()))??;
    if json {
        print_json(&report);
    } else {
        for (what, value) in report.lines() {
            say!("{what:26} {value}");
        }
    }
    Ok(DONE)
}

/// What `gpak models bench` prints.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    figures: embedded::Figures,
    /// What a llama.cpp server did with the same texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Beside>,
}

impl Report {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let Self { figures, peer } = self;
        let megabytes = |bytes: u64| format!("{} MB", bytes / 1_000_000);
        let peer_short = peer.as_ref().map(|peer| &peer.short);
        let peer_long = peer.as_ref().and_then(|peer| peer.long.as_ref());
        let mut lines = vec![("load", format!("{:.2} s", figures.load_s))];
        let names = ["reading", "writing after it", "first token, warm"];
        lines.extend(names.into_iter().zip(speeds(&figures.short, peer_short)));
        if let Some(long) = &figures.long {
            let names = [
                "reading a long text",
                "writing after a long text",
                "first token, warm, long",
            ];
            lines.extend(names.into_iter().zip(speeds(long, peer_long)));
        }
        let step = format!("{:.1} tokens/s", figures.step_tokens_s);
        lines.extend([
            ("writing a step", step),
            ("mask", format!("{:.3} ms a token", figures.mask_ms)),
            ("resident", megabytes(figures.resident_bytes)),
            ("resident at most", megabytes(figures.resident_peak_bytes)),
        ]);
        lines
    }
}

/// Reading, writing, and the first token when the text is known.
fn speeds(ours: &Speed, compared: Option<&Compared>) -> [String; 3] {
    let beside = |of: fn(&Compared) -> (f64, f64), unit: &str| {
        compared
            .map(of)
            .map_or_else(String::new, |(theirs, ratio)| {
                format!("; the peer {theirs:.2} {unit}, {ratio:.2} times as fast")
            })
    };
    [
        format!(
            "{:.1} tokens/s ({} tokens){}",
            ours.prefill_tokens_s,
            ours.prefill_tokens,
            beside(|c| (c.peer.prefill_tokens_s, c.prefill_ratio), "tokens/s"),
        ),
        format!(
            "{:.1} tokens/s{}",
            ours.decode_tokens_s,
            beside(|c| (c.peer.decode_tokens_s, c.decode_ratio), "tokens/s"),
        ),
        format!(
            "{:.2} s ({} tokens cached){}",
            ours.first_token_cached_s,
            ours.cached_tokens,
            beside(
                |c| (c.peer.first_token_cached_s, c.first_token_cached_ratio),
                "s"
            ),
        ),
    ]
}

async fn calls(home: &Home, model: &dyn Model, cases: usize, json: bool) -> Result<(), Failure> {
    let cache = home.cache.clone();
    let fetching = tokio::task::spawn_blocking(move || {
        bfcl::fetch(&cache, &Default::default(), &mut pulling::Progress::new())
    });
    let data = fetching
        .await
        .map_err(|why| Failure::new(why.to_string()))?;
    let failed = |why: bfcl::BfclError| Failure::new(why.to_string());
    let data = data.map_err(failed)?;
    let report = bfcl::run(model, &data, cases, |_, one| {
        if !json {
            let mark = if one.complaint.is_none() {
                "✓"
            } else {
                "✗"
            };
            eprintln!(
                "{mark} {} {}",
                one.id,
                one.complaint.as_deref().unwrap_or_default()
            );
        }
    });
    let report = report.await.map_err(failed)?;
    match json {
        true => print_json(&report),
        false => say!("{report}"),
    }
    Ok(())
}

async fn tasks(
    home: &Home,
    model: Arc<dyn Model>,
    args: &BenchArgs,
    json: bool,
) -> Result<(), Failure> {
    let tasks = selected(args.tasks.as_deref(), args.half, &args.only)?;
    let id = model.profile().id();
    let attempt =
        async |task: &Task, workspace: &Path| attempt(home, &model, task, workspace, None).await;
    let report = agent::run(&id, &tasks, attempt, |judged| match json {
        true => print_json(&serde_json::json!({"task": judged})),
        false => say!("{judged}"),
    });
    let report = report.await.map_err(|why| Failure::new(why.to_string()))?;
    match json {
        true => print_json(&report.json()),
        false => say!("\n{report}"),
    }
    Ok(())
}

/// The tasks of `dir`, or the built-in ones, as far as they are wanted.
pub(super) fn selected(
    dir: Option<&Path>,
    half: Option<Half>,
    only: &[String],
) -> Result<Vec<Task>, Failure> {
    let tasks = match dir {
        Some(dir) => evals::load(dir),
        None => evals::builtin(),
    };
    let mut tasks = tasks.map_err(|why| Failure::new(why.to_string()))?;
    if let Some(id) = only
        .iter()
        .find(|id| tasks.iter().all(|task| task.id != **id))
    {
        return Err(Failure::usage(format!("there is no task `{id}`"))
            .help("the names are those of the files in examples/evals"));
    }
    let wanted = |task: &Task| match half {
        None => true,
        Some(Half::Tuning) => task.split == Split::Tuning,
        Some(Half::HeldOut) => task.split == Split::HeldOut,
    };
    tasks.retain(|task| wanted(task) && (only.is_empty() || only.contains(&task.id)));
    Ok(tasks)
}

/// One task, as `gpak run --yes` would do it, with a journal that is not kept. What fails is how it ended.
pub(super) async fn attempt(
    home: &Home,
    model: &Arc<dyn Model>,
    task: &Task,
    workspace: &Path,
    strategy: Option<Choice>,
) -> Attempt {
    let run = RunId::random();
    let attempt = run_task(home, model, task, workspace, strategy, run).await;
    // A search that did not come to its end leaves its copies for a run that goes on; this one does not.
    let swept = copies::remove(&home.copies, run).map_err(file(&home.copies));
    match swept.and(attempt) {
        Ok(attempt) => attempt,
        Err(why) => Attempt {
            ended: why.to_string(),
            ..Attempt::default()
        },
    }
}

async fn run_task(
    home: &Home,
    model: &Arc<dyn Model>,
    task: &Task,
    workspace: &Path,
    strategy: Option<Choice>,
    run: RunId,
) -> Result<Attempt, Failure> {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::default());
    let driver = Driver {
        toolbox: wire::toolbox(
            home,
            Reach::default(),
            model.profile(),
            &journal,
            None,
            None,
        )?,
        journal,
        model: model.clone(),
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: wire::instructions(model.profile()),
        repository: wire::repository(home, workspace, model.profile()).repository,
        remembering: None,
        introduced: None,
        stop: CancellationToken::new(),
    };
    let spec = RunSpec {
        task: task.task.clone(),
        workspace: workspace.to_owned(),
        model: model.profile().id(),
        budget: Budget::default(),
        permissions: Permissions {
            yes: true,
            ..Permissions::default()
        },
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy,
        parent: None,
    };
    driver.create(run, spec).await?;
    let ended = driver.drive(run, Resumption::default(), &mut ()).await?;
    let entries = driver.journal.read(run, 1).await?;
    if std::env::var_os("GPAK_BENCH_TRACE").is_some() {
        let family = crate::show::tree::Family::read(driver.journal.as_ref(), run).await?;
        eprintln!("{}", family.tree(run, true));
    }
    let spent = Machine::fold(&entries).state().spent;
    let most = |of: fn(&Reply) -> Option<f32>| replies(&entries).filter_map(of).reduce(f32::max);
    Ok(Attempt {
        answer: match &ended {
            Ended::Finished(Outcome::Completed { answer }) => answer.clone(),
            _ => String::new(),
        },
        ended: match &ended {
            Ended::Finished(outcome) => live::ending(outcome),
            Ended::Paused(reason) => live::waiting(reason),
        },
        steps: spent.steps,
        tokens: spent.tokens,
        core_tokens: of_core(&entries)
            .map(|(usage, _)| usage.input + usage.output)
            .sum(),
        core_for: of_core(&entries).map(|(_, why)| why).collect(),
        doubt: most(|reply| reply.doubt),
        entropy: most(|reply| reply.entropy),
        ms: spent.wall_ms,
    })
}

/// The replies of a mind of two that are the core self's, and why they are.
fn of_core(entries: &[Entry]) -> impl Iterator<Item = (&Usage, Why)> {
    replies(entries).filter_map(|reply| {
        let spoken = reply.spoken.as_deref()?;
        (spoken.by == Speaker::Core).then_some((&reply.usage, spoken.why))
    })
}

fn replies(entries: &[Entry]) -> impl Iterator<Item = &Reply> {
    entries.iter().filter_map(|entry| match &entry.event {
        Event::ModelReplied { reply } => Some(reply),
        _ => None,
    })
}
