//! Runs of the service: taken on, driven, answered, ended.
//!
//! ```text
//!   create ──► journal ──► queue (bounded, fair between users) ──► drivers (so many at a time)
//!                 ▲                      ▲                              │
//!                 ├──── entries ─────────┼──────────────────────────────┤
//!   answer ───────┘      goes on ────────┘                 waits, ends ─┘
//! ```
//!
//! A run that waits for somebody has no driver and no place in the queue: it is in the journal, and what
//! it waits for is read from there. An answer is appended to the journal first, and then the run is put
//! into the queue; a service that dies in between finds on its next start that the run can go on.

mod desk;
mod driving;
mod minds;
mod queue;
mod recover;
mod steering;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gpak_kernel::{
    event::{Event, Requested, RunId, RunSpec},
    journal::Journal,
    memory::{Memory, MemoryError},
    model::scripted::Scripted,
    run::{Driver, Nobody},
};
use tokio::sync::{Notify, OnceCell, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    metrics::Metrics,
    problem::{Answered, Problem},
    traces::Traces,
    webhooks::Notices,
};
use crate::{failure::Failure, home::Home, minds::Selves, remembering, settings::Settings, wire};
use desk::Inbox;
use minds::Minds;
use queue::Queue;

pub use steering::{Said, last_before_end};

/// How long a driver that stops may take to write down where its run stands.
const STOPPING: Duration = Duration::from_secs(30);

/// What the service's runs are bound by.
pub struct Bounds {
    /// Folders that runs may work in, and below; the first where nothing is said.
    pub workspaces: Vec<PathBuf>,
    /// Runs that are driven at a time.
    pub drivers: usize,
    /// Runs that may wait for a driver.
    pub queue: usize,
    /// What the command line says of every run.
    pub flags: crate::args::Bounds,
}

/// The runs of the service. Clones share them.
#[derive(Clone)]
pub struct Work(Arc<Inner>);

struct Inner {
    home: Home,
    bounds: Bounds,
    journal: Arc<dyn Journal>,
    /// What is remembered across runs, opened when it is first needed.
    memory: OnceCell<Arc<dyn Memory>>,
    /// Writes down what is said to runs that nobody drives.
    clerk: Driver,
    minds: Minds,
    /// Locked before `driven`, where both are.
    queue: Mutex<Queue>,
    queued: Notify,
    drivers: Arc<Semaphore>,
    driven: Mutex<HashMap<RunId, Driven>>,
    /// Counts the runs that are let go, so that one can wait for it.
    let_go: watch::Sender<u64>,
    /// No run is taken on any more.
    drain: CancellationToken,
    /// Those that are driven are to stop.
    park: CancellationToken,
    tasks: TaskTracker,
    watched: Watched,
    /// No run is driven, until that is taken back.
    held: AtomicBool,
}

/// Who watches all runs.
#[derive(Clone, Default)]
pub struct Watched {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells webhooks.
    pub notices: Arc<Notices>,
    /// Tells a collector of traces.
    pub traces: Arc<Traces>,
}

/// A run that has a driver.
#[derive(Clone)]
struct Driven {
    stop: CancellationToken,
    inbox: Arc<Inbox>,
}

/// What somebody asks for.
pub struct Order {
    /// The task and its bounds, but for the model.
    pub spec: RunSpec,
    /// The model, where one is named.
    pub model: Option<String>,
    /// The rest of it.
    pub request: Requested,
    /// The run that it is to be, where it must be that one.
    pub run: Option<RunId>,
}

impl Work {
    /// The runs in the journal, none of which is driven yet, with the model that is used where none is named.
    pub fn open(
        home: Home,
        bounds: Bounds,
        mind: wire::Mind,
        watched: Watched,
    ) -> Result<Self, Failure> {
        let journal = wire::journal(&home)?;
        let drain = CancellationToken::new();
        let minds = Minds::new(home.clone(), journal.clone(), mind)?;
        // It never thinks: what it does needs no mind.
        let none = Arc::new(Scripted::new(Vec::new()));
        let clerk = wire::bare(
            journal.clone(),
            none,
            Arc::new(Nobody),
            CancellationToken::new(),
        );
        Ok(Self(Arc::new(Inner {
            home,
            journal,
            memory: OnceCell::new(),
            clerk,
            minds,
            queue: Mutex::new(Queue::new(bounds.queue)),
            queued: Notify::new(),
            drivers: Arc::new(Semaphore::new(bounds.drivers)),
            driven: Mutex::default(),
            let_go: watch::channel(0).0,
            drain,
            park: CancellationToken::new(),
            tasks: TaskTracker::new(),
            watched,
            held: AtomicBool::new(false),
            bounds,
        })))
    }

    /// The journal, to keep.
    pub fn shared_journal(&self) -> Arc<dyn Journal> {
        self.0.journal.clone()
    }

    /// The journal.
    pub fn journal(&self) -> &dyn Journal {
        self.0.journal.as_ref()
    }

    /// What is remembered across runs.
    pub async fn memory(&self) -> Result<Arc<dyn Memory>, MemoryError> {
        let opened = self.0.memory.get_or_try_init(|| async {
            let broke = |why: Failure| MemoryError::Store(why.to_string());
            let settings = self.settings(std::path::Path::new(".")).map_err(broke)?;
            remembering::open(&self.0.home, &settings)
                .await
                .map_err(broke)
        });
        opened.await.cloned()
    }

    /// The model that is used where none is named.
    pub fn default_model(&self) -> &str {
        self.0.minds.default_id()
    }

    /// The settings for runs in that workspace.
    pub fn settings(&self, workspace: &Path) -> Result<Settings, Failure> {
        let settings = Settings::read(&self.0.home, workspace)?;
        Ok(settings.with_flags(None, &self.0.bounds.flags))
    }

    /// The mind that runs think with where none is named, for a client that wants to talk to it and not to
    /// the agent; and its selves, if it has two.
    pub async fn mind(&self) -> Answered<(Arc<dyn gpak_kernel::model::Model>, Option<Selves>)> {
        let mind = self.0.minds.get(None).await?;
        Ok((mind.model, mind.selves))
    }

    /// One more model, that was opened already. Gives its name.
    pub fn add_mind(&self, mind: wire::Mind) -> Result<String, Failure> {
        self.0.minds.add(mind)
    }

    /// What the tools of runs in that workspace say of themselves, for the model of that id.
    pub async fn tools_in(
        &self,
        workspace: &Path,
        id: &str,
    ) -> Answered<Vec<gpak_kernel::tool::ToolSpec>> {
        let settings = self.settings(workspace)?;
        let model = self.0.minds.open(id).await?.model;
        let nobody = Driven {
            stop: CancellationToken::new(),
            inbox: Arc::default(),
        };
        let driver = self.driver(workspace, &settings, model, &nobody).await?;
        Ok(driver.toolbox.specs())
    }

    /// What the tools of runs say of themselves, for the model that is used where none is named.
    pub async fn tools(&self) -> Answered<Vec<gpak_kernel::tool::ToolSpec>> {
        Ok(self.0.minds.get(None).await?.creator.toolbox.specs())
    }

    /// The folder that a run is to work in: the one that is named, if runs may work there.
    pub fn workspace(&self, named: Option<&Path>) -> Answered<PathBuf> {
        let roots = &self.0.bounds.workspaces;
        let first = roots.first().cloned().unwrap_or_default();
        let wanted = named.map_or(first.clone(), |named| first.join(named));
        let found = wire::workspace(&wanted);
        let found = found.map_err(|why| Problem::missing(why.to_string()))?;
        match roots.iter().any(|root| found.starts_with(root)) {
            true => Ok(found),
            false => Err(Problem::forbidden(format!(
                "runs of this service may not work in {}",
                found.display()
            ))
            .help("start it with `gpak serve --also` and that folder")),
        }
    }

    /// Creates a run and puts it into the queue. The same order twice, with the same run, is one run.
    pub async fn create(&self, order: Order) -> Answered<RunId> {
        let Order {
            mut spec,
            model,
            request,
            run,
        } = order;
        let inner = &self.0;
        if inner.drain.is_cancelled() {
            return Err(Problem::unavailable("the service is stopping"));
        }
        let mind = inner.minds.get(model.as_deref()).await?;
        spec.model = mind.model.profile().id();
        let run = run.unwrap_or_else(RunId::random);
        let user = request.by.clone();
        let place = inner.queue().reserve().ok_or_else(|| {
            let what = format!("{} runs wait for a driver already", inner.bounds.queue);
            Problem::new(
                axum::http::StatusCode::TOO_MANY_REQUESTS,
                "queue-full",
                what,
            )
            .help("wait for some of them")
            .after(5)
        })?;
        let created = mind
            .creator
            .create_requested(run, spec, Some(request))
            .await;
        let created = match created {
            // The same request came before: its run is there, and driven or done.
            Err(gpak_kernel::run::DriveError::Journal(
                gpak_kernel::journal::JournalError::Conflict { .. },
            )) => {
                inner.queue().free(place);
                self.resume_recovered(run).await?;
                return Ok(run);
            }
            other => other,
        };
        if let Err(why) = created {
            inner.queue().free(place);
            return Err(why.into());
        }
        inner.queue().fill(place, user, run);
        inner.queued.notify_one();
        inner.watched.metrics.created();
        inner.watched.notices.look_at(run);
        Ok(run)
    }

    /// Puts a run into the queue, whether or not it is full: it was taken on long ago.
    fn enqueue(&self, user: String, run: RunId) {
        let mut queue = self.0.queue();
        if !self.0.lock_driven().contains_key(&run) {
            queue.push(user, run);
            self.0.queued.notify_one();
        }
    }

    /// How many runs wait for a driver, and how many have one.
    pub fn load(&self) -> (usize, usize) {
        let queue = self.0.queue();
        (queue.len(), self.0.lock_driven().len())
    }

    /// Takes on no more runs; those that are driven may end within `grace`, and are then stopped. Waits
    /// until each driver has written down where its run stands.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.0;
        inner.drain.cancel();
        inner.tasks.close();
        if tokio::time::timeout(grace, inner.tasks.wait())
            .await
            .is_err()
        {
            inner.park.cancel();
            inner.tasks.wait().await;
        }
    }

    /// Stops all drivers where they are; none begins, until [`Work::release`].
    pub async fn hold(&self) {
        self.0.held.store(true, Ordering::SeqCst);
        let driven: Vec<_> = {
            let driven = self.0.lock_driven();
            driven
                .iter()
                .map(|(run, one)| (*run, one.stop.clone()))
                .collect()
        };
        driven.iter().for_each(|(_, stop)| stop.cancel());
        for (run, _) in driven {
            self.0.until_let_go(run, STOPPING).await;
        }
    }

    /// Lets runs be driven again.
    pub async fn release(&self) -> Answered<()> {
        self.0.held.store(false, Ordering::SeqCst);
        self.recover().await?;
        self.0.queued.notify_one();
        Ok(())
    }

    /// Whether no run is driven.
    pub fn is_held(&self) -> bool {
        self.0.held.load(Ordering::SeqCst)
    }

    /// Whether the service is stopping.
    pub fn is_draining(&self) -> bool {
        self.0.drain.is_cancelled()
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_driven(&self) -> MutexGuard<'_, HashMap<RunId, Driven>> {
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no driver here has the run. False if one still has it after a while.
    async fn until_let_go(&self, run: RunId, at_most: Duration) -> bool {
        let mut let_go = self.let_go.subscribe();
        let free = let_go.wait_for(|_| !self.lock_driven().contains_key(&run));
        tokio::time::timeout(at_most, free).await.is_ok()
    }
}

/// What a client of the service asked for with that run: nothing, if it is no run of the service.
pub fn request_of<'a>(
    entries: impl IntoIterator<Item = &'a gpak_kernel::entry::Entry>,
) -> Option<Requested> {
    let mut shared = 0;
    let mut asked = None;
    for entry in entries {
        match &entry.event {
            Event::RunCreated { spec } => shared = spec.origin.map_or(0, |origin| origin.seq),
            // What was copied from the run it was forked from was asked for by somebody else.
            Event::RunRequested { request } if entry.seq > shared => {
                asked = Some(request.clone());
            }
            _ => {}
        }
    }
    asked
}
