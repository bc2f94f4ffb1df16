//! A run on a node: who it is comes from its core, and what it learnt goes there.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use clap::Args;
use gpak_edge::link::{
    NodeId,
    certificates::{CertificateError, Papers},
    client::{Asking, Follower, LinkError},
    outbox::{Outbox, OutboxError},
    publish::{Manner, PublishError, Publisher},
    wire,
};
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId},
    identity::{PublicKey, Speaker},
    journal::Journal,
    label::Label,
    memory::{Episode, Filter, Memory, Origin, Record},
    run::{Driver, Introduced, Remembering},
};
use gpak_memory::IdentityStore;
use jiff::Timestamp;
use serde_json::json;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::{
    commands::{identity::args::SyncArgs, print_json},
    failure::{DONE, FAILED, Failure},
    home::Home,
    show, who,
};

/// How long what was learnt may take to the core before the process ends; what is not there then is sent after the
/// next run.
const PATIENCE: Duration = Duration::from_secs(5);
/// Episodes that are read at once.
const BATCH: usize = 256;

/// What makes a run that of a node.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of a node")]
pub struct LinkArgs {
    /// The core that says who the agent is, as `https://HOST:PORT`; as it was stored where the core is away
    #[arg(long, value_name = "URL", requires = "node")]
    pub core: Option<String>,
    /// This node's name, which its certificate is for
    #[arg(long, value_name = "NAME", requires = "core")]
    pub node: Option<NodeId>,
    /// The core's public key, needed the first time; `gpak identity key` on the core shows it
    #[arg(long, value_name = "KEY", requires = "core")]
    pub core_key: Option<PublicKey>,
    /// The folder that `gpak core enrol` made for this node [default: NAME]
    #[arg(long, value_name = "FOLDER", requires = "core")]
    pub papers: Option<PathBuf>,
    /// The NATS server over which what is learnt goes to the core; without one, it waits
    #[arg(long, value_name = "URL", requires = "core")]
    pub nats: Option<String>,
}

/// A node at work.
pub struct Link {
    follower: Follower,
    outbox: Arc<Outbox>,
    node: NodeId,
    nats: Option<String>,
    quiet: bool,
}

/// Asks the core who the agent is, or goes by what is stored where it does not say. Nothing where no core is named.
pub async fn wake(
    home: &Home,
    args: LinkArgs,
    window: u32,
    quiet: bool,
) -> Result<Option<Link>, Failure> {
    let (Some(core), Some(node)) = (args.core, args.node) else {
        return Ok(None);
    };
    if !core.starts_with("https://") {
        return Err(LinkError::Address(core).into());
    }
    let folder = args.papers.unwrap_or_else(|| PathBuf::from(node.as_ref()));
    let papers = Papers::read(&folder).map_err(|why| {
        Failure::from(why).help(format!(
            "`gpak core enrol {node}` on the core makes the folder; name its place here with --papers"
        ))
    })?;
    let outbox = Arc::new(Outbox::open(&home.data)?);
    let asking = Asking {
        core,
        tls: Some(papers.client()),
        node: outbox.node(&node)?,
        window,
        key: args.core_key,
    };
    let store = who::store(home);
    let follower = Follower::new(store.clone(), asking)?;
    let stored = follower.state().borrow().told.clone();
    match (follower.wake().await, stored) {
        (Ok(told), _) => {
            if !quiet {
                eprintln!("gpak: {node} is version {}", told.version);
            }
            let ahead = follower.state().borrow().ahead;
            if let Some(skew) = ahead.and_then(wire::skew) {
                eprintln!("gpak: {skew}");
            }
        }
        (Err(why), Some(told)) => eprintln!(
            "gpak: {why}; {node} goes on as version {}, {}",
            told.version,
            age(&store)
        ),
        (Err(why), None) => return Err(why.into()),
    }
    Ok(Some(Link {
        follower,
        outbox,
        node,
        nats: args.nats,
        quiet,
    }))
}

/// How long ago the core last said who the agent is: each time, its prompt is written anew.
fn age(store: &IdentityStore) -> String {
    let written = store.prompt_file().metadata();
    let written = written.and_then(|file| file.modified()).ok();
    let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
    match age.map(|age| age.as_secs()) {
        None => "and when the core last said so is not known".to_owned(),
        Some(seconds) => {
            let (count, unit) = match seconds {
                0..120 => (seconds, "second"),
                120..7200 => (seconds / 60, "minute"),
                7200..172_800 => (seconds / 3600, "hour"),
                _ => (seconds / 86_400, "day"),
            };
            format!("as the core said {} ago", show::counted(count, unit))
        }
    }
}

/// `gpak identity sync`
pub async fn sync(home: &Home, args: SyncArgs, json: bool) -> Result<u8, Failure> {
    let Some(link) = wake(home, args.link, args.window, json).await? else {
        return Err(Failure::usage(
            "--core and --node are needed: who is asked, and by whom",
        ));
    };
    link.publish().await?;
    let waiting = link.outbox.waiting()?.experiences;
    let told = link.follower.state().borrow().clone();
    if json {
        let version = told.told.map(|told| told.version);
        print_json(&json!({"version": version, "in_touch": told.connected, "waiting": waiting}));
    }
    Ok(match told.connected && waiting == 0 {
        true => DONE,
        false => FAILED,
    })
}

impl Link {
    /// Does some work, and follows what the core says meanwhile: the driver is told who the agent is from then on, behind
    /// which these instructions stand.
    pub async fn following<T>(
        &self,
        driver: &mut Driver,
        instructions: &str,
        work: impl AsyncFnOnce(&Driver) -> T,
    ) -> T {
        let mut state = self.follower.state();
        let (say, hear) = watch::channel(Introduced {
            version: 0,
            instructions: driver.instructions.clone(),
        });
        driver.introduced = Some(hear);
        let stop = CancellationToken::new();
        let telling = async {
            while state.changed().await.is_ok() {
                let Some(told) = state.borrow_and_update().told.clone() else {
                    continue;
                };
                let instructions = who::introducing(&told.text, instructions);
                say.send_if_modified(|said| {
                    let is_new = said.instructions != instructions;
                    *said = Introduced {
                        version: told.version,
                        instructions,
                    };
                    is_new
                });
            }
        };
        let beside = async {
            tokio::join!(self.follower.follow(stop), telling);
            std::future::pending().await
        };
        tokio::select! {
            done = work(driver) => done,
            done = beside => done,
        }
    }

    /// Puts what the run came to into the outbox, and sends what waits there if it can. What goes wrong is said, and
    /// changes nothing about the run.
    pub async fn send(&self, driver: &Driver, run: RunId) {
        let Some(remembering) = &driver.remembering else {
            eprintln!("gpak: nothing is remembered, so the core learns nothing of this run");
            return;
        };
        if let Err(why) = self.keep(driver.journal.as_ref(), remembering, run).await {
            eprintln!("gpak: the core learns nothing of this run: {why}");
        }
        if let Err(why) = self.publish().await {
            eprintln!("gpak: {why}");
        }
    }

    async fn keep(
        &self,
        journal: &dyn Journal,
        remembering: &Remembering,
        run: RunId,
    ) -> Result<(), Failure> {
        let mut missed = missed(&journal.read(run, 1).await?);
        for episode in &mut missed {
            episode.namespace.clone_from(&remembering.namespace);
        }
        if !missed.is_empty() {
            remembering.memory.remember(missed).await?;
        }
        let filter = Filter {
            run: Some(run),
            past: true,
            ..Filter::namespace(&remembering.namespace)
        };
        let records = all(remembering.memory.as_ref(), &filter).await?;
        let outbox = Arc::clone(&self.outbox);
        let added = spawn_blocking(move || outbox.add(&records, Timestamp::now())).await;
        added.map_err(|why| Failure::new(why.to_string()))??;
        Ok(())
    }

    async fn publish(&self) -> Result<(), Failure> {
        let before = self.outbox.waiting()?.experiences;
        if before == 0 {
            return Ok(());
        }
        let Some(nats) = &self.nats else {
            let waiting = show::counted(before, "experience");
            eprintln!("gpak: waiting for a run with --nats: {waiting}");
            return Ok(());
        };
        let (_busy, idle) = watch::channel(false);
        let (outbox, node) = (Arc::clone(&self.outbox), self.node.clone());
        let publisher = Publisher::new(outbox, node, Manner::default(), idle)?;
        let after = publisher.flush(nats, PATIENCE).await?;
        let sent = before.saturating_sub(after.experiences);
        if after.experiences > 0 {
            let waiting = show::counted(after.experiences, "experience");
            eprintln!("gpak: not yet acknowledged by the core, and sent again later: {waiting}");
        } else if !self.quiet {
            eprintln!("gpak: {} with the core", show::counted(sent, "experience"));
        }
        if after.refused > 0 {
            let refused = show::counted(after.refused, "experience");
            eprintln!("gpak: refused by the core, and kept in the outbox: {refused}");
        }
        Ok(())
    }
}

/// The tag of what the core self was wanted for and did not do.
const MISSED: &str = "escalation";

/// What the core self would have been asked in a run, had it been there: the core can look at it later.
fn missed(entries: &[Entry]) -> Vec<Episode> {
    let task = entries.iter().find_map(|entry| match &entry.event {
        Event::RunCreated { spec } => Some(spec.task.as_str()),
        _ => None,
    });
    let task = show::shorten(&show::one_line(task.unwrap_or_default()), 200);
    let one = |entry: &Entry| {
        let Event::ModelReplied { reply } = &entry.event else {
            return None;
        };
        let spoken = reply.spoken.as_deref()?;
        let wanted = spoken.wanted?;
        if spoken.by != Speaker::Active {
            return None;
        }
        let calls: Vec<&str> = reply.calls.iter().map(|call| call.name.as_str()).collect();
        let did = match calls.is_empty() {
            true => "answered".to_owned(),
            false => format!("called {}", calls.join(", ")),
        };
        let text = format!(
            "Of the task \"{task}\", the core self was wanted for a step, as {wanted}, and not asked, as {}. The active \
             self {did}.",
            spoken.why
        );
        let origin = Origin {
            run: entry.run,
            entry: entry.seq,
        };
        Some(Episode {
            origin: Some(origin),
            tags: vec![MISSED.to_owned()],
            ..Episode::new(text, Label::Own, entry.time)
        })
    };
    entries.iter().filter_map(one).collect()
}

async fn all(memory: &dyn Memory, filter: &Filter) -> Result<Vec<Record>, Failure> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let records = memory.export(filter, after, BATCH).await?;
        let Some(last) = records.last() else {
            return Ok(all);
        };
        after = Some(last.place);
        all.extend(records);
    }
}

impl From<CertificateError> for Failure {
    fn from(why: CertificateError) -> Self {
        Self::new(why.to_string())
    }
}

impl From<OutboxError> for Failure {
    fn from(why: OutboxError) -> Self {
        Self::new(why.to_string())
    }
}

impl From<PublishError> for Failure {
    fn from(why: PublishError) -> Self {
        Self::new(why.to_string())
    }
}
