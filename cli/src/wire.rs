//! Puts the parts together: the only place that knows them all.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::BoxFuture;
use gpak_kernel::{
    context,
    event::RunId,
    journal::{Journal, RunFilter},
    memory::Memory,
    model::{
        Model, ModelError, ModelProfile,
        catalogue::{Catalogue, Store},
        embedded::{self, Embedded},
        literal::{self, Literal},
        ollama::Ollama,
        openai::OpenAi,
        resilience::{BreakerSettings, Guarded},
        scripted::Scripted,
    },
    run::{Driver, Human, Remembering, SystemClock, child::Delegate},
    tool::{Tool, Toolbox},
};
use gpak_memory::SqliteJournal;
use gpak_tools::{
    ReadHistory,
    builtin::{self, Reach},
    copies,
    forge::{MadeStore, MakeTool, Offer},
    repository,
    script::{RunScript, ScriptLimits},
};
use tokio_util::sync::CancellationToken;

use crate::{
    choice, crash,
    failure::{Failure, file},
    home::Home,
    minds, pulling, remembering, servers,
    settings::{Origin, Settings},
    user_space, who,
};

/// Tokens from which a window is large.
const LARGE_WINDOW: u32 = 32_768;

/// A model, and the script behind it if it is a scripted one.
pub struct Mind {
    /// The model.
    pub model: Arc<dyn Model>,
    /// The selves that it is a mind of, if it is one of two.
    pub selves: Option<minds::Selves>,
    script: Option<Arc<Scripted>>,
}

impl Mind {
    /// Fails if a run that ended did not use a script up: the test that wrote it meant it to be.
    pub async fn check_used_up(&self, journal: &dyn Journal, run: RunId) -> Result<(), Failure> {
        let Some(script) = &self.script else {
            return Ok(());
        };
        match script.unused(&journal.read(run, 1).await?) {
            0 => Ok(()),
            unused => Err(Failure::new(format!(
                "the run ended, but {unused} replies of its script were not used"
            ))),
        }
    }
}

/// The journal of this user. Says so if the file that was there was set aside.
pub fn journal(home: &Home) -> Result<Arc<dyn Journal>, Failure> {
    let opened = SqliteJournal::open(&home.data)?;
    if let Some(notice) = opened.notice {
        eprintln!("gpak: {notice}");
    }
    Ok(crash::wrap(Arc::new(opened.journal)))
}

/// The driver of runs in one process, in a workspace whose repository may have something to say. Says so
/// if some of that cannot be used.
pub async fn driver(
    home: &Home,
    workspace: &Path,
    settings: &Settings,
    model: Arc<dyn Model>,
    human: Arc<dyn Human>,
    stop: CancellationToken,
) -> Result<Driver, Failure> {
    driver_on(
        (journal(home)?, memory(home, settings).await),
        home,
        workspace,
        settings,
        (model, human, stop),
    )
}

/// Likewise, over a journal and a memory that are open already.
pub fn driver_on(
    (journal, memory): (Arc<dyn Journal>, Option<Arc<dyn Memory>>),
    home: &Home,
    workspace: &Path,
    settings: &Settings,
    (model, human, stop): (Arc<dyn Model>, Arc<dyn Human>, CancellationToken),
) -> Result<Driver, Failure> {
    let found = repository(home, workspace, model.profile());
    for notice in &found.notices {
        eprintln!("gpak: {notice}");
    }
    let driver = bare(journal, model, human, stop);
    let mut toolbox = toolbox(
        home,
        settings.reach(),
        driver.model.profile(),
        &driver.journal,
        Some(workspace),
        found.tool,
    )?;
    let window = driver.model.profile().window;
    let instructions = who::introduced(home, window, driver.instructions.clone())?;
    let remembering = memory.map(|memory| Remembering {
        memory,
        namespace: settings.namespace.value.clone(),
        tokens: recalled_tokens(window),
    });
    if let (Some(remembering), true) = (&remembering, driver.model.profile().native_tools) {
        toolbox = toolbox
            .with(builtin::memory(remembering))
            .map_err(|why| Failure::new(why.to_string()))?;
    }
    // Who only makes a call has no use for what came of others, nor is it worth remembering.
    let remembering = remembering.filter(|_| driver.model.profile().id() != literal::ID);
    Ok(Driver {
        toolbox,
        instructions,
        repository: found.repository,
        remembering,
        ..driver
    })
}

/// What is remembered across runs, unless the settings are against it. A memory that cannot be opened is
/// said, and done without.
pub async fn memory(home: &Home, settings: &Settings) -> Option<Arc<dyn Memory>> {
    if !settings.memory.value {
        return None;
    }
    let opened = remembering::open(home, settings).await;
    opened
        .inspect_err(|why| eprintln!("gpak: nothing is remembered: {why}"))
        .ok()
}

/// Tokens that may be recalled unasked: a sixteenth of the window, since most of it is not needed.
fn recalled_tokens(window: u32) -> usize {
    (window as usize / 16).clamp(128, 2000)
}

/// What the workspace's repository says, for such a model.
pub fn repository(home: &Home, workspace: &Path, model: &ModelProfile) -> repository::Found {
    let protected = home.protected();
    let mut found = repository::read(workspace, &protected, output_bytes(model.window));
    if works_by_programs(model) {
        match repository::contents(workspace, &protected) {
            Ok(contents) => found.repository.contents = contents,
            Err(why) => found.notices.push(why.to_string()),
        }
    }
    found
}

/// Whether a model is better served by one tool that runs programs than by a tool for each thing that can be
/// done with a file: the small ones of this process, whose replies can be held to that form.
fn works_by_programs(model: &ModelProfile) -> bool {
    model.provider == "embedded"
}

/// The system prompt for such a model.
pub fn instructions(model: &ModelProfile) -> String {
    let text = match works_by_programs(model) {
        true => context::PROGRAMS,
        false => context::INSTRUCTIONS,
    };
    text.to_owned()
}

/// A driver of what needs no workspace: undoing and forking.
pub fn driver_of_none(
    home: &Home,
    model: Arc<dyn Model>,
    human: Arc<dyn Human>,
    stop: CancellationToken,
) -> Result<Driver, Failure> {
    driver_of_none_on(journal(home)?, home, model, human, stop)
}

/// Likewise, over a journal that is open already.
pub fn driver_of_none_on(
    journal: Arc<dyn Journal>,
    home: &Home,
    model: Arc<dyn Model>,
    human: Arc<dyn Human>,
    stop: CancellationToken,
) -> Result<Driver, Failure> {
    let driver = bare(journal, model, human, stop);
    let (reach, model) = (Reach::default(), driver.model.profile());
    Ok(Driver {
        toolbox: toolbox(home, reach, model, &driver.journal, None, None)?,
        ..driver
    })
}

/// A driver without tools.
pub fn bare(
    journal: Arc<dyn Journal>,
    model: Arc<dyn Model>,
    human: Arc<dyn Human>,
    stop: CancellationToken,
) -> Driver {
    Driver {
        toolbox: Toolbox::default(),
        journal,
        instructions: instructions(model.profile()),
        model,
        human,
        clock: Arc::new(SystemClock),
        repository: context::Repository::default(),
        remembering: None,
        introduced: None,
        stop,
    }
}

/// Lets runs of this driver start runs of their own, where the settings or the model make it worth it.
///
/// Where nothing is set: if the model is behind a server and has a large window. Every tool that is shown
/// costs a small model some of its attention and of its window, and it is no good at telling another
/// agent all that it must know.
pub fn offer_delegate(driver: &mut Driver, settings: &Settings) -> Result<(), Failure> {
    let profile = driver.model.profile();
    let earns_its_place = profile.provider != "embedded" && profile.window >= LARGE_WINDOW;
    if settings.delegate.value.unwrap_or(earns_its_place) {
        let toolbox = std::mem::take(&mut driver.toolbox);
        let delegate: Arc<dyn Tool> = Arc::new(Delegate::default());
        driver.toolbox = toolbox
            .with([delegate])
            .map_err(|why| Failure::new(why.to_string()))?;
    }
    Ok(())
}

/// The tools of this user, for such a model: those that runs made in the workspace among them, and one
/// that its repository brings.
pub fn toolbox(
    home: &Home,
    reach: Reach,
    model: &ModelProfile,
    journal: &Arc<dyn Journal>,
    workspace: Option<&Path>,
    of_repository: Option<Arc<dyn Tool>>,
) -> Result<Toolbox, Failure> {
    let mut options = user_space::options(home);
    options.output_bytes = output_bytes(model.window);
    options.reach = reach;
    let mut tools = match works_by_programs(model) {
        true => builtin::without_files(&options),
        false => builtin::all(&options),
    };
    // A model that is held to steps is small, and each tool it is told of makes it choose worse.
    if model.native_tools {
        tools.push(builtin::pin_fact());
    }
    tools.push(Arc::new(ReadHistory::new(
        journal.clone(),
        options.output_bytes,
    )));
    if model.native_tools || works_by_programs(model) {
        let limits = ScriptLimits::default();
        let scripts = RunScript::new(&options, user_space::code_cache(home), limits);
        tools.insert(0, Arc::new(scripts));
    }
    let mut taken: BTreeSet<String> = tools
        .iter()
        .chain(&of_repository)
        .map(|tool| tool.spec().name.clone())
        .collect();
    let packages = user_space::packages(home, options.clone());
    let offered = packages.offer(&taken);
    for notice in offered.notices {
        eprintln!("gpak: {notice}");
    }
    taken.extend(offered.tools.iter().map(|tool| tool.spec().name.clone()));
    tools.extend(offered.tools);
    if model.native_tools || works_by_programs(model) {
        let store = user_space::made(home, &packages);
        tools.extend(made(&store, workspace, &taken));
        taken.extend(user_space::reserved(home));
        tools.push(Arc::new(match works_by_programs(model) {
            true => MakeTool::of_definitions(store, taken),
            false => MakeTool::new(store, taken),
        }));
    }
    let copies = copies::all(&options, &home.copies, copies::Limits::default());
    Toolbox::new(tools.into_iter().chain(of_repository))
        .and_then(|toolbox| toolbox.with_hidden(copies))
        .map_err(|why| Failure::new(why.to_string()))
}

/// The tools that runs made in the workspace, but those whose names are taken.
fn made(
    store: &MadeStore,
    workspace: Option<&Path>,
    taken: &BTreeSet<String>,
) -> Vec<Arc<dyn Tool>> {
    let offer = workspace.map(|workspace| store.offer(workspace));
    let Offer { tools, notices } = offer.unwrap_or_default();
    for notice in notices {
        eprintln!("gpak: {notice}");
    }
    let mut offered: Vec<Arc<dyn Tool>> = Vec::new();
    for tool in tools {
        let name = &tool.described().spec.name;
        if taken.contains(name) {
            eprintln!(
                "gpak: the made tool {name} is not used, as there is another of that name; gpak tools \
                 export {name} FOLDER keeps it, gpak tools remove {name} removes it"
            );
        } else {
            offered.push(tool);
        }
    }
    offered
}

/// Removes the copies that runs left behind which do not go on: those that are over, or gone.
pub async fn sweep_copies(home: &Home, journal: &dyn Journal) -> Result<(), Failure> {
    for run in copies::runs(&home.copies) {
        let filter = RunFilter {
            prefix: Some(run.to_string()),
            ..RunFilter::default()
        };
        let goes_on = journal.runs(&filter).await?;
        if goes_on.iter().all(|summary| summary.status.is_final()) {
            copies::remove(&home.copies, run).map_err(file(&home.copies))?;
        }
    }
    Ok(())
}

/// How much text one call may give: with three bytes a token, a sixth of the window, so that a few
/// results and the tools fit into it together.
pub fn output_bytes(window: u32) -> usize {
    (window as usize / 2).clamp(2 * 1024, 16 * 1024)
}

/// The models of this user.
pub fn models(home: &Home) -> Result<Store, Failure> {
    let catalogue = Catalogue::builtin().map_err(|why| Failure::new(why.to_string()))?;
    Ok(Store::new(catalogue, home.models()))
}

/// The model that the settings name, or else what is there: see [`choice`]. What was chosen unasked is
/// said, unless `quiet`.
pub async fn mind_at_hand(
    home: &Home,
    settings: &Settings,
    quiet: bool,
    stop: &CancellationToken,
) -> Result<Mind, Failure> {
    if settings.model.value.is_some() || minds::asked(settings, None)?.is_some() {
        return mind(home, settings, None, stop).await;
    }
    let say = |line: String| {
        if !quiet {
            eprintln!("gpak: {line}");
        }
    };
    let mut tried = Vec::new();
    loop {
        let chosen = choice::choose(settings, &tried).await;
        let Some(id) = chosen.id() else {
            return mind(home, settings, None, stop).await;
        };
        say(format!("using {id}: {}", chosen.why()));
        match mind(home, settings, Some(&id), stop).await {
            Err(why) if !stop.is_cancelled() => say(format!("{id} is passed over: {why}")),
            other => return other,
        }
        tried.push(chosen.source);
    }
}

/// The model of that id, or the one that the settings name, or the default embedded one; fetched first
/// if it is known and not here, connected to if it is behind a server.
pub async fn mind(
    home: &Home,
    settings: &Settings,
    id: Option<&str>,
    stop: &CancellationToken,
) -> Result<Mind, Failure> {
    if let Some(policy) = minds::asked(settings, id)? {
        let two = minds::open(home, settings, policy, stop).await?;
        return Ok(Mind {
            model: two.mind,
            selves: Some(two.selves),
            script: None,
        });
    }
    let id = id.or(settings.model.value.as_deref());
    if id == Some(literal::ID) {
        return Ok(Mind {
            model: Arc::new(Literal::new()),
            selves: None,
            script: None,
        });
    }
    if let Some(path) = id.and_then(|id| id.strip_prefix("scripted/")) {
        let mut script = Scripted::read(Path::new(path))?;
        if settings.window.origin != Origin::BuiltIn {
            script = script.with_window(settings.window.value);
        }
        let script = Arc::new(script);
        return Ok(Mind {
            model: script.clone(),
            selves: None,
            script: Some(script),
        });
    }
    if let Some(model) = served(home, settings, id) {
        let model = tokio::select! {
            model = model => model?,
            () = stop.cancelled() => return Err(ModelError::Cancelled.into()),
        };
        return Ok(Mind {
            model,
            selves: None,
            script: None,
        });
    }
    let (path, options) = embedded_file(home, id, settings.window.value, stop).await?;
    Ok(Mind {
        model: Arc::new(Embedded::open(&path, options)?),
        selves: None,
        script: None,
    })
}

/// The model of that id, connected to, if it is one behind a server.
fn served<'a>(
    home: &'a Home,
    settings: &'a Settings,
    id: Option<&'a str>,
) -> Option<BoxFuture<'a, Result<Arc<dyn Model>, Failure>>> {
    match id?.split_once('/')? {
        ("openai", name) => Some(Box::pin(async move {
            let options = servers::openai(home, &settings.openai.value, name)?;
            let model = OpenAi::connect(options).await;
            guarded(model.map_err(servers::unconnected)?)
        })),
        ("ollama", name) => Some(Box::pin(async move {
            let options = servers::ollama(home, &settings.ollama.value, name)?;
            let model = Ollama::connect(options).await;
            guarded(model.map_err(servers::unconnected)?)
        })),
        _ => None,
    }
}

/// A model whose server is left alone for a while when it fails again and again.
fn guarded(model: impl Model + 'static) -> Result<Arc<dyn Model>, Failure> {
    Ok(Arc::new(Guarded::new(model, BreakerSettings::default())))
}

/// The file of an embedded model, fetched first if it is known and not here, and how to open it.
pub async fn embedded_file(
    home: &Home,
    id: Option<&str>,
    window: u32,
    stop: &CancellationToken,
) -> Result<(PathBuf, embedded::Options), Failure> {
    let store = models(home)?;
    let default = store.catalogue().default_entry().map(|entry| entry.id());
    // `embedded` alone, as in the settings, is the default one.
    let id = id.filter(|id| *id != "embedded").map(str::to_owned);
    let id = id.or(default).unwrap_or_default();
    if !id.starts_with("embedded/") {
        return Err(unknown(&id));
    }
    if store.catalogue().get(&id).is_some_and(|entry| entry.embeds) {
        return Err(
            Failure::usage(format!("`{id}` makes vectors for memory, and no replies")).help(
                "`memory.embedder` in the settings names it; `gpak models list` shows the others",
            ),
        );
    }
    let located = pulling::on_demand(store, id, stop.clone()).await?;
    let options = embedded::Options {
        name: located.id.strip_prefix("embedded/").map(str::to_owned),
        window: Some(window),
        state_dir: Some(home.model_state()),
    };
    Ok((located.path, options))
}

fn unknown(id: &str) -> Failure {
    Failure::usage(format!("there is no model `{id}`")).help(
        "a model is named as `embedded` (the default one), `embedded/NAME` (`gpak models list` shows \
         the names), `embedded//path/to/file.gguf`, `openai/NAME` (any OpenAI-compatible server) or \
         `ollama/NAME`",
    )
}

/// The run whose id begins so; the latest if nothing is said.
pub async fn run_id(journal: &dyn Journal, prefix: Option<&str>) -> Result<RunId, Failure> {
    let filter = RunFilter {
        prefix: prefix.map(str::to_owned),
        limit: Some(2),
        // The latest is one that somebody started.
        whole: prefix.is_none(),
        ..RunFilter::default()
    };
    let found = journal.runs(&filter).await?;
    match (found.as_slice(), prefix) {
        ([one], _) | ([one, ..], None) => Ok(one.run),
        ([], None) => {
            Err(Failure::usage("there are no runs yet").help("gpak run \"what is to be done\""))
        }
        ([], Some(prefix)) => Err(Failure::usage(format!("there is no run `{prefix}`"))
            .help("`gpak runs list` shows those there are")),
        (_, Some(prefix)) => Err(Failure::usage(format!(
            "more than one run begins with `{prefix}`"
        ))
        .help("give more of its id; `gpak runs list` shows them")),
    }
}

/// The folder, absolute and without links, so that it means the same tomorrow.
pub fn workspace(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|why| {
        Failure::usage(format!(
            "the workspace {} cannot be used: {why}",
            path.display()
        ))
        .help("name an existing folder with --workspace")
    })
}
