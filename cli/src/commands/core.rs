//! `gpak core`: the core's side of the link to its nodes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use gpak_edge::link::{
    NodeError, NodeId, Registry,
    certificates::Authority,
    ingest::Ingest,
    publish::keep_on,
    server::{Link, Pace},
};
use gpak_kernel::{memory::Memory, model::Model};
use gpak_memory::embed::Alignment;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    aligning,
    commands::{print_json, run::stop_on_ctrl_c},
    failure::{DONE, Failure},
    home::Home,
    reflecting::{Came, Reflecting, Then},
    remembering,
    settings::Settings,
    who, wire,
};

/// How long JetStream waits before it sends a batch again that was not taken.
const PATIENCE: Duration = Duration::from_secs(30);

/// `gpak core`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CoreArgs {
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<CoreCommand>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub serving: Serving,
}

/// What `gpak core` can do instead of serving.
#[derive(Debug, Subcommand)]
pub enum CoreCommand {
    /// Make a node's certificate and key, which it needs to get in
    Enrol {
        /// The node's name: lower-case letters, digits and hyphens
        node: NodeId,
        /// The folder for its three files [default: NODE]
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// Give the name of a node free, so that another machine may have it
    Forget {
        /// The node's name
        node: NodeId,
    },
}

/// How a core serves.
#[derive(Debug, Args)]
pub struct Serving {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7410")]
    pub listen: SocketAddr,
    /// A name or address that nodes reach it by; may be given again [default: localhost]
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// The NATS server over which experience comes; without one, none comes
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub thinking: Thinking,
}

/// What a core has a model do.
#[derive(Debug, Args)]
pub struct Thinking {
    /// Reflect on what was experienced so often; without it, only `gpak identity reflect` does
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=525_600))]
    pub reflect_every: Option<u64>,
    /// Have the model say in fewer words what does not fit into a node's window; without it, that is left out
    #[arg(long)]
    pub condense: bool,
    /// The model that reflects and condenses, as `provider/name` or `embedded//path/to/file.gguf`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,
}

/// Does what was asked.
pub async fn core(home: &Home, args: CoreArgs, json: bool) -> Result<u8, Failure> {
    match args.command {
        None => serve(home, args.serving, json).await,
        Some(CoreCommand::Enrol { node, output }) => enrol(home, &node, output, json),
        Some(CoreCommand::Forget { node }) => forget(home, &node, json),
    }
}

fn registry(home: &Home) -> Result<Registry, Failure> {
    Ok(Registry::open(&home.data.join("link/nodes.json"))?)
}

fn authority(home: &Home) -> Result<Authority, Failure> {
    Ok(Authority::open(&home.data.join("link"))?)
}

async fn serve(home: &Home, args: Serving, json: bool) -> Result<u8, Failure> {
    let stop = stop_on_ctrl_c();
    let thinker = Thinker::open(home, &args.thinking, &stop).await?;
    let names = match args.names.is_empty() {
        true => vec!["localhost".to_owned(), args.listen.ip().to_string()],
        false => args.names,
    };
    let papers = authority(home)?.core(names)?;
    let registry = Arc::new(registry(home)?);
    let link = Link::new(who::store(home), registry.clone(), true, Pace::default())?;
    let incoming = TcpIncoming::bind(args.listen)
        .map_err(|why| Failure::new(format!("{}: {why}", args.listen)))?;
    let address = incoming.local_addr().unwrap_or(args.listen);
    if json {
        print_json(&json!({"listening": address.to_string()}));
    } else {
        eprintln!("gpak core listens on https://{address}; Ctrl-C ends it");
    }
    let mut server = Server::builder()
        .tls_config(papers.server())
        .map_err(|why| Failure::new(format!("the certificate cannot be used: {why}")))?;
    let served = server
        .add_routes(link.routes())
        .serve_with_incoming_shutdown(incoming, stop.cancelled());
    let taken = take_in(home, args.nats, registry, &stop);
    let thought = async {
        if let Some(thinker) = &thinker {
            thinker.think(&link, &stop).await;
        }
    };
    let (served, taken, ()) = tokio::join!(served, taken, thought);
    taken?;
    served.map_err(|why| Failure::new(why.to_string()))?;
    Ok(DONE)
}

/// Takes in experience until it is stopped.
async fn take_in(
    home: &Home,
    nats: Option<String>,
    registry: Arc<Registry>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(nats) = nats else {
        return Ok(());
    };
    let settings = Settings::read(home, &wire::workspace(&home.data)?)?;
    let memory = remembering::open(home, &settings).await?;
    let mut ingest = Ingest::new(memory.clone(), registry, PATIENCE);
    if let Some(alignment) = alignment(home, &settings, &*memory).await {
        ingest = ingest.with(alignment);
    }
    keep_on(&nats, stop, async |nats| ingest.run(nats, stop).await).await;
    Ok(())
}

/// The map for what nodes embed, where there is one. What is not mapped is embedded anew.
async fn alignment(home: &Home, settings: &Settings, memory: &dyn Memory) -> Option<Alignment> {
    match aligning::for_nodes(home, settings, memory).await {
        Ok(alignment) => {
            if let Some(Alignment { from, to, .. }) = &alignment {
                tracing::info!("vectors of {from} are mapped into the space of {to}");
            }
            alignment
        }
        Err(why) => {
            tracing::warn!("what nodes send is embedded anew: {why}");
            None
        }
    }
}

/// What a model is needed for.
struct Thinker {
    model: Arc<dyn Model>,
    reflecting: Option<(Reflecting, Arc<dyn Memory>, Duration)>,
    condense: bool,
}

impl Thinker {
    /// With the model at hand; nothing where no model is needed.
    async fn open(
        home: &Home,
        args: &Thinking,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        if args.reflect_every.is_none() && !args.condense {
            return match args.model {
                None => Ok(None),
                Some(_) => Err(Failure::usage("nothing is asked of the model")
                    .help("--reflect-every and --condense say what it is for")),
            };
        }
        let settings = Settings::read(home, &wire::workspace(&home.data)?)?;
        let mind = match &args.model {
            Some(model) => wire::mind(home, &settings, Some(model), stop).await?,
            None => wire::mind_at_hand(home, &settings, true, stop).await?,
        };
        let reflecting = match args.reflect_every {
            None => None,
            Some(minutes) => Some((
                Reflecting::new(home, &settings.namespace.value, None),
                remembering::open(home, &settings).await?,
                Duration::from_secs(minutes.saturating_mul(60)),
            )),
        };
        Ok(Some(Self {
            model: mind.model,
            reflecting,
            condense: args.condense,
        }))
    }

    /// Reflects and condenses until it is stopped.
    async fn think(&self, link: &Link, stop: &CancellationToken) {
        let condensed = async {
            if self.condense {
                link.condense(self.model.as_ref(), stop).await;
            }
        };
        tokio::join!(self.reflect(link, stop), condensed);
    }

    /// Reflects on the schedule. What goes wrong is said, and tried again the next time.
    async fn reflect(&self, link: &Link, stop: &CancellationToken) {
        let Some((reflecting, memory, pause)) = &self.reflecting else {
            return;
        };
        loop {
            let next = reflecting.next(self.model.as_ref(), memory.as_ref());
            let came = tokio::select! {
                came = next => came,
                () = stop.cancelled() => return,
            };
            match came {
                Ok(Some(came)) => {
                    log(&came);
                    link.look();
                    continue;
                }
                Ok(None) => {}
                Err(why) => tracing::warn!("no reflection: {why}"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(*pause) => {}
            }
        }
    }
}

fn log(came: &Came) {
    let read = came.read;
    match &came.then {
        Then::Nothing => tracing::info!(read, "reflection: nothing to learn"),
        Then::Signed(history) => {
            tracing::info!(read, version = history.latest(), "reflection: signed");
        }
        Then::Kept(number) => {
            let why = came.proposal.refused.as_deref().unwrap_or_default();
            tracing::warn!(
                read,
                "reflection: proposal {number} waits for a person: {why}"
            );
        }
    }
}

fn enrol(home: &Home, node: &NodeId, output: Option<PathBuf>, json: bool) -> Result<u8, Failure> {
    let folder = output.unwrap_or_else(|| PathBuf::from(node.as_ref()));
    authority(home)?.node(node)?.write(&folder)?;
    let key = who::store(home).trusted()?.map(|(_, key)| key.to_string());
    if json {
        print_json(&json!({"node": node.as_ref(), "folder": folder, "core_key": key}));
    } else {
        say!(
            "{} has the certificate and the key of {node}",
            folder.display()
        );
    }
    Ok(DONE)
}

fn forget(home: &Home, node: &NodeId, json: bool) -> Result<u8, Failure> {
    let known = registry(home)?.forget(node)?;
    match (known, json) {
        (false, _) => return Err(Failure::usage(format!("no node was ever called {node}"))),
        (true, true) => print_json(&json!({"forgotten": node.as_ref()})),
        (true, false) => say!("the next node that comes as {node} has the name"),
    }
    Ok(DONE)
}

impl From<NodeError> for Failure {
    fn from(why: NodeError) -> Self {
        Self::new(why.to_string())
    }
}
