//! The core's side of the link: it says who its nodes are, hears how they are, and tells them what to do.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use gpak_kernel::identity::{History, Prompt, SecretKey, TooSmall};
use gpak_memory::{IdentityError, IdentityStore};
use gpak_proto::v1::{
    self,
    agent_control_server::{AgentControl, AgentControlServer},
    identity_server::{Identity, IdentityServer},
};
use jiff::Timestamp;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::{
    certificates,
    condensing::Condensed,
    node::{NodeError, NodeId, Registry},
    wire,
};

/// Bytes of a message from a node, at most.
const LARGEST_MESSAGE: usize = 1 << 20;
/// Commands that wait for one node, at most.
const MOST_COMMANDS: usize = 64;
/// The smallest window that a prompt is made for, and the largest.
const WINDOWS: std::ops::RangeInclusive<u32> = 256..=16_777_216;

/// How the link of a core goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often it is looked whether the identity was changed. Whoever serves it may say so sooner with
    /// [`Link::look`].
    pub look: Duration,
    /// How often a node is told that the core is there.
    pub beat: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(1),
            beat: Duration::from_secs(10),
        }
    }
}

/// What the core last knew of a node.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How it is, and when that came.
    pub telemetry: Option<(v1::AgentTelemetry, Instant)>,
    /// The version it goes by.
    pub version: Option<u64>,
    /// Why it did not take the last one.
    pub refused: Option<String>,
}

/// Why nobody can be told a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MOST_COMMANDS} commands wait for {0} already, which has not reported on them; wait until it is back"
)]
pub struct Full(NodeId);

/// The core's side of the link. Clones are the same.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    store: IdentityStore,
    secret: SecretKey,
    registry: Arc<Registry>,
    pace: Pace,
    /// Whether each call must come with the certificate of who makes it.
    certified: bool,
    nodes: Mutex<BTreeMap<NodeId, Known>>,
    /// Counts up whenever somebody says that there is something new.
    changed: watch::Sender<u64>,
    stop: watch::Sender<v1::EmergencyStop>,
    condensed: Condensed,
}

#[derive(Default)]
struct Known {
    seen: Seen,
    waiting: VecDeque<v1::CloudCommand>,
    sequence: u64,
}

impl Link {
    /// Serves the identity in `store`, whose secret key is needed to sign prompts.
    ///
    /// # Errors
    /// If the identity or its key is not here.
    pub fn new(
        store: IdentityStore,
        registry: Arc<Registry>,
        certified: bool,
        pace: Pace,
    ) -> Result<Self, IdentityError> {
        store.history()?.ok_or(IdentityError::None)?;
        let secret = store.secret()?;
        Ok(Self(Arc::new(Inner {
            store,
            secret,
            registry,
            pace,
            certified,
            nodes: Mutex::default(),
            changed: watch::Sender::new(0),
            stop: watch::Sender::new(v1::EmergencyStop::default()),
            condensed: Condensed::default(),
        })))
    }

    /// The services, for a server of tonic's.
    pub fn routes(&self) -> Routes {
        let identity = IdentityServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE);
        let control =
            AgentControlServer::new(self.clone()).max_decoding_message_size(LARGEST_MESSAGE);
        Routes::new(identity).add_service(control)
    }

    /// Has all nodes told what is new, now.
    pub fn look(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    /// Orders all nodes to stand, or takes the order back.
    pub fn order_stop(&self, stop: bool, reason: impl Into<String>) {
        self.0.stop.send_modify(|order| {
            *order = v1::EmergencyStop {
                epoch: order.epoch + 1,
                stop,
                reason: reason.into(),
            };
        });
    }

    /// Has a node told a command, now or when it is back. Commands live as long as the core's process.
    ///
    /// # Errors
    /// If too many wait already.
    pub fn command(
        &self,
        node: &NodeId,
        valid_for: Duration,
        command: v1::cloud_command::Command,
    ) -> Result<String, Full> {
        let mut nodes = self.0.nodes();
        let known = nodes.entry(node.clone()).or_default();
        if known.waiting.len() >= MOST_COMMANDS {
            return Err(Full(node.clone()));
        }
        known.sequence += 1;
        let id = format!("{:032x}", fastrand::u128(..));
        known.waiting.push_back(v1::CloudCommand {
            id: id.clone(),
            sequence: known.sequence,
            valid_for_s: u32::try_from(valid_for.as_secs()).unwrap_or(u32::MAX),
            command: Some(command),
        });
        drop(nodes);
        self.look();
        Ok(id)
    }

    /// What is known of the nodes that were here since the core was started.
    pub fn seen(&self) -> BTreeMap<NodeId, Seen> {
        let nodes = self.0.nodes();
        let seen = nodes.iter();
        seen.map(|(id, known)| (id.clone(), known.seen.clone()))
            .collect()
    }

    /// Who makes the call.
    fn admit<T>(&self, request: &Request<T>, node: Option<&v1::Node>) -> Result<NodeId, Status> {
        let id = self.0.registry.admit(node).map_err(refused)?;
        if self.0.certified {
            let certificates = request.peer_certs().unwrap_or_default();
            let first = certificates.first();
            let first = first.ok_or_else(|| refused(NodeError::Certificate(id.clone())))?;
            certificates::check(first, &id).map_err(refused)?;
        }
        Ok(id)
    }

    pub(super) fn condensed(&self) -> &Condensed {
        &self.0.condensed
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    pub(super) fn pace(&self) -> Pace {
        self.0.pace
    }

    pub(super) async fn history(&self) -> Result<History, Status> {
        let store = self.0.store.clone();
        let read = tokio::task::spawn_blocking(move || store.history()).await;
        let read = read.map_err(|why| Status::internal(why.to_string()))?;
        read.map_err(|why| Status::failed_precondition(why.to_string()))?
            .ok_or_else(|| Status::failed_precondition(IdentityError::None.to_string()))
    }

    async fn latest(&self) -> Option<u64> {
        let store = self.0.store.clone();
        let read = tokio::task::spawn_blocking(move || store.latest()).await;
        read.ok()?.ok()?
    }

    /// What a node that has so many versions lacks.
    async fn injection(&self, asked: &v1::WakeRequest) -> Result<(v1::Injection, u64), Status> {
        if !WINDOWS.contains(&asked.window) {
            return Err(Status::invalid_argument(format!(
                "a window of {} tokens is none that a prompt can be made for",
                asked.window
            )));
        }
        let history = self.history().await?;
        check_place(&history, asked)?;
        let prompt = match self.0.condensed.of(&history, asked.window) {
            Some(told) => Ok(Prompt::of(&self.0.secret, &history, asked.window, told)),
            None => Prompt::sign(&self.0.secret, &history, asked.window),
        };
        let prompt = prompt.map_err(|why: TooSmall| Status::resource_exhausted(why.to_string()))?;
        let injection = wire::injection(&history, &prompt, asked.have, Timestamp::now());
        Ok((injection, history.latest()))
    }

    /// The next thing to say to who watches.
    async fn next(&self, mut watching: Watching) -> Option<(Result<v1::Update, Status>, Watching)> {
        let beat_at = tokio::time::Instant::now() + self.0.pace.beat;
        loop {
            let is_news = |latest: u64| {
                latest != watching.asked.have
                    || latest != watching.condensed
                        && self.0.condensed.is_made(latest, watching.asked.window)
            };
            if self.latest().await.is_some_and(is_news) {
                let said = self.injection(&watching.asked).await;
                let update = said.map(|(injection, latest)| {
                    if self.0.condensed.is_made(latest, watching.asked.window) {
                        watching.condensed = latest;
                    }
                    watching.asked.have = latest;
                    watching.asked.have_hash.clear();
                    said_of(v1::update::Said::Injection(injection))
                });
                return Some((update, watching));
            }
            if tokio::time::Instant::now() >= beat_at || std::mem::take(&mut watching.is_new) {
                let beat = v1::Beat {
                    latest: watching.asked.have,
                    clock: Some(wire::stamp(Timestamp::now())),
                };
                return Some((Ok(said_of(v1::update::Said::Beat(beat))), watching));
            }
            let pause = self.0.pace.look.min(self.0.pace.beat);
            tokio::select! {
                changed = watching.changed.changed() => changed.ok()?,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Notes how a node is. Answers the commands that it is to be told, of which it has heard those up to `heard`.
    fn note(&self, id: &NodeId, telemetry: v1::AgentTelemetry) {
        let mut nodes = self.0.nodes();
        let known = nodes.entry(id.clone()).or_default();
        let is_reported = |command: &v1::CloudCommand| {
            let mut reports = telemetry.reports.iter();
            reports.any(|report| report.command == command.id)
        };
        known.waiting.retain(|command| !is_reported(command));
        known.seen.version = Some(telemetry.identity_version);
        known.seen.telemetry = Some((telemetry, Instant::now()));
    }

    fn next_command(&self, id: &NodeId, told: u64) -> Option<v1::CloudCommand> {
        let nodes = self.0.nodes();
        let mut waiting = nodes.get(id)?.waiting.iter();
        waiting.find(|command| command.sequence > told).cloned()
    }
}

/// Somebody who watches.
struct Watching {
    asked: v1::WakeRequest,
    /// The version whose prompt in fewer words it was sent.
    condensed: u64,
    changed: watch::Receiver<u64>,
    is_new: bool,
}

fn said_of(said: v1::update::Said) -> v1::Update {
    v1::Update { said: Some(said) }
}

impl Inner {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the node stands where this history was.
fn check_place(history: &History, asked: &v1::WakeRequest) -> Result<(), Status> {
    let refuse = |why: String| Err(Status::failed_precondition(why));
    if asked.have == 0 {
        return Ok(());
    }
    if asked.identity != history.identity().to_string() {
        return refuse(format!(
            "this core is of the identity {}, and the node of {}",
            history.identity(),
            asked.identity
        ));
    }
    let at = usize::try_from(asked.have)
        .ok()
        .and_then(|at| at.checked_sub(1));
    let Some(known) = at.and_then(|at| history.versions().get(at)) else {
        return refuse(format!(
            "the node has version {} and this core only {}: bring the core up to date with `gpak identity \
             import FILE`",
            asked.have,
            history.latest()
        ));
    };
    let is_same = asked.have_hash.is_empty() || asked.have_hash == known.header.hash().to_string();
    match is_same {
        true => Ok(()),
        false => refuse(format!(
            "the node has another version {} than this core: the identity was changed in two places",
            asked.have
        )),
    }
}

fn refused(why: NodeError) -> Status {
    let said = why.to_string();
    match why {
        NodeError::Twice(_) => Status::already_exists(said),
        NodeError::Certificate(_) => Status::permission_denied(said),
        NodeError::Name(_) | NodeError::NoInstance(_) => Status::invalid_argument(said),
        NodeError::File { .. } => Status::internal(said),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Identity for Link {
    async fn wake(
        &self,
        request: Request<v1::WakeRequest>,
    ) -> Result<Response<v1::Injection>, Status> {
        self.admit(&request, request.get_ref().node.as_ref())?;
        let (injection, _) = self.injection(request.get_ref()).await?;
        Ok(Response::new(injection))
    }

    type WatchStream = Answers<v1::Update>;

    async fn watch(
        &self,
        request: Request<v1::WakeRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.admit(&request, request.get_ref().node.as_ref())?;
        check_place(&self.history().await?, request.get_ref())?;
        let watching = Watching {
            asked: request.into_inner(),
            condensed: 0,
            changed: self.0.changed.subscribe(),
            is_new: true,
        };
        let link = self.clone();
        let updates = stream::unfold(watching, move |watching| {
            let link = link.clone();
            async move { link.next(watching).await }
        });
        Ok(Response::new(updates.boxed()))
    }

    async fn acknowledge(
        &self,
        request: Request<v1::Acknowledgement>,
    ) -> Result<Response<v1::Acknowledged>, Status> {
        let id = self.admit(&request, request.get_ref().node.as_ref())?;
        let said = request.into_inner();
        let mut nodes = self.0.nodes();
        let seen = &mut nodes.entry(id.clone()).or_default().seen;
        seen.version = Some(said.version);
        seen.refused = Some(said.refused).filter(|why| !why.is_empty());
        if let Some(why) = &seen.refused {
            tracing::warn!(node = %id, "the node stays at version {}: {why}", said.version);
        }
        Ok(Response::new(v1::Acknowledged {}))
    }
}

/// A line to a node, on which telemetry comes and commands go.
struct Line {
    link: Link,
    id: NodeId,
    heard: Streaming<v1::AgentTelemetry>,
    changed: watch::Receiver<u64>,
    told: u64,
}

impl Line {
    /// The next command; nothing once the node is gone.
    async fn next(mut self) -> Option<(Result<v1::CloudCommand, Status>, Self)> {
        loop {
            if let Some(command) = self.link.next_command(&self.id, self.told) {
                self.told = command.sequence;
                return Some((Ok(command), self));
            }
            tokio::select! {
                heard = self.heard.next() => match heard? {
                    Ok(telemetry) => self.link.note(&self.id, telemetry),
                    Err(_) => return None,
                },
                changed = self.changed.changed() => changed.ok()?,
            }
        }
    }
}

#[tonic::async_trait]
impl AgentControl for Link {
    type LinkStreamStream = Answers<v1::CloudCommand>;

    async fn link_stream(
        &self,
        mut request: Request<Streaming<v1::AgentTelemetry>>,
    ) -> Result<Response<Self::LinkStreamStream>, Status> {
        let first = request.get_mut().message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("no telemetry came"))?;
        let id = self.admit(&request, first.node.as_ref())?;
        self.note(&id, first);
        let line = Line {
            link: self.clone(),
            id,
            changed: self.0.changed.subscribe(),
            heard: request.into_inner(),
            told: 0,
        };
        Ok(Response::new(stream::unfold(line, Line::next).boxed()))
    }

    type EmergencyStopsStream = Answers<v1::EmergencyStop>;

    async fn emergency_stops(
        &self,
        request: Request<v1::Node>,
    ) -> Result<Response<Self::EmergencyStopsStream>, Status> {
        self.admit(&request, Some(request.get_ref()))?;
        let mut orders = self.0.stop.subscribe();
        orders.mark_changed();
        let orders = stream::unfold(orders, |mut orders| async move {
            orders.changed().await.ok()?;
            let order = orders.borrow_and_update().clone();
            Some((Ok(order), orders))
        });
        Ok(Response::new(orders.boxed()))
    }
}
