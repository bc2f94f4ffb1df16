//! Does what the machine says.
//!
//! The one rule: an event is appended to the journal before the machine learns of it, and an act is
//! journaled before it is made. Everything here may be dropped at any await; the run then goes on from
//! its journal.

use std::{path::Path, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    astray,
    calling::with_made,
    check,
    machine::{Machine, Next, Waiting},
    nested,
    ports::{Answer, Clock, Human, Introduced, Observer},
    remembering::Remembering,
};
use crate::{
    context::Repository,
    entry::{Entry, Head},
    event::{CallOutcome, Choice, Event, Origin, Outcome, PauseReason, Requested, RunId, RunSpec},
    journal::{Journal, JournalError},
    label::Label,
    model::{Delta, Deltas, Model, ModelError, Request},
    policy::{Budget, Permissions},
    strategy,
    tool::{Call, ToolContext, ToolOutput, Toolbox},
};

/// Takes runs from where their journal stands to where they end or wait.
pub struct Driver {
    /// Where entries go.
    pub journal: Arc<dyn Journal>,
    /// What thinks.
    pub model: Arc<dyn Model>,
    /// What can be called.
    pub toolbox: Toolbox,
    /// Who is asked.
    pub human: Arc<dyn Human>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The system prompt.
    pub instructions: String,
    /// Who the agent is from now on, where that can change while runs go on: what is new takes effect at the next step.
    pub introduced: Option<watch::Receiver<Introduced>>,
    /// What the workspace's repository says of itself.
    pub repository: Repository,
    /// What is remembered of other runs, if anything is to be.
    pub remembering: Option<Remembering>,
    /// Stops the driver, cleanly, at whatever it waits for.
    pub stop: CancellationToken,
}

struct Watched<'a>(&'a mut dyn Observer);

impl Deltas for Watched<'_> {
    fn delta(&mut self, delta: Delta<'_>) {
        self.0.delta(delta);
    }
}

/// What changes when a run goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resumption {
    /// The budget from now on.
    pub budget: Option<Budget>,
    /// What it may do from now on.
    pub permissions: Option<Permissions>,
    /// Whether somebody is there to be asked.
    pub attended: bool,
    /// What the user says as it goes on.
    pub message: Option<String>,
}

/// Why a driver came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The run is over.
    Finished(Outcome),
    /// The run waits and can be resumed.
    Paused(PauseReason),
}

/// Why a run could not be driven.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The journal did not do it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The task is empty.
    #[error("the task is empty; say what is to be done, as in: gpak run \"list the TODOs in src\"")]
    EmptyTask,
    /// The folder to work in is not there.
    #[error("the workspace {path} cannot be used: {why}; name an existing folder with --workspace")]
    Workspace {
        /// The folder.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The run goes on with the one that started it, and with nothing else.
    #[error("run {run} is a part of run {parent} and goes on with that: gpak resume {parent}")]
    IsChild {
        /// The run.
        run: RunId,
        /// The one that started it.
        parent: RunId,
    },
    /// Nothing here can do what the run asks for.
    #[error("{0}")]
    Unable(String),
    /// The run has no entry of that number to fork from.
    #[error("run {run} has no entry {seq}; it has 1 to {last}")]
    NoEntry {
        /// The run.
        run: RunId,
        /// The number.
        seq: u64,
        /// The last there is.
        last: u64,
    },
}

impl Driver {
    /// Creates a run.
    ///
    /// # Errors
    /// If the task is empty, the workspace cannot be used, or the journal does not take it.
    pub async fn create(&self, run: RunId, spec: RunSpec) -> Result<(), DriveError> {
        self.create_requested(run, spec, None).await
    }

    /// Creates a run, with what a client of a service asked for.
    ///
    /// # Errors
    /// As of [`Driver::create`].
    pub async fn create_requested(
        &self,
        run: RunId,
        spec: RunSpec,
        request: Option<Requested>,
    ) -> Result<(), DriveError> {
        if spec.task.trim().is_empty() {
            return Err(DriveError::EmptyTask);
        }
        check_workspace(&spec.workspace)?;
        self.check_able(&spec)?;
        let requested = request.map(|request| Event::RunRequested { request });
        let events = std::iter::once(Event::RunCreated { spec }).chain(requested);
        let mut head = Head::EMPTY;
        let entries = events.map(|event| {
            let entry = Entry::seal(run, head, self.clock.now(), event);
            head = entry.head();
            entry
        });
        Ok(self.journal.append(&entries.collect::<Vec<_>>()).await?)
    }

    /// Whether the run's checks can be run, and its strategy followed.
    fn check_able(&self, spec: &RunSpec) -> Result<(), DriveError> {
        let tool = self.toolbox.get(check::TOOL);
        let forbidden =
            check::forbidden(&spec.check, &spec.permissions, tool.map(|tool| tool.spec()));
        let why = if !spec.check.is_empty() && tool.is_none() {
            format!("there is no tool `{}` to run a check with", check::TOOL)
        } else if spec.strategy == Some(Choice::Search) && spec.conversation {
            "a conversation goes on in one workspace: several ways cannot be tried in it".to_owned()
        } else if spec.strategy == Some(Choice::Search)
            && !strategy::search::is_possible(spec, &self.toolbox)
        {
            "there are no tools to search with: several ways cannot be tried here".to_owned()
        } else {
            match forbidden {
                Some(why) => why,
                None => return Ok(()),
            }
        };
        Err(DriveError::Unable(why))
    }

    /// Creates run `fork` as a copy of `run` up to entry `seq`, in `workspace`.
    ///
    /// # Errors
    /// If the run has no such entry, or the journal does not take it.
    pub async fn fork(
        &self,
        origin: Origin,
        fork: RunId,
        workspace: &Path,
    ) -> Result<(), DriveError> {
        check_workspace(workspace)?;
        let entries = self.journal.read(origin.run, 1).await?;
        let last = entries.last().map_or(0, |entry| entry.seq);
        if origin.seq == 0 || origin.seq > last {
            let Origin { run, seq } = origin;
            return Err(DriveError::NoEntry { run, seq, last });
        }
        let (mut head, mut copy) = (Head::EMPTY, Vec::new());
        for entry in entries
            .into_iter()
            .take_while(|entry| entry.seq <= origin.seq)
        {
            let mut event = entry.event;
            if let Event::RunCreated { spec } = &mut event {
                spec.origin = Some(origin);
                spec.parent = None;
                workspace.clone_into(&mut spec.workspace);
            }
            let entry = Entry::seal(fork, head, entry.time, event);
            head = entry.head();
            copy.push(entry);
        }
        Ok(self.journal.append(&copy).await?)
    }

    /// Drives `run` from where its journal stands until it ends or waits.
    ///
    /// # Errors
    /// If another driver has the run, its workspace is gone, or its journal cannot be read or written.
    pub async fn drive(
        &self,
        run: RunId,
        resumption: Resumption,
        observer: &mut dyn Observer,
    ) -> Result<Ended, DriveError> {
        let _claim = self.journal.claim(run).await?;
        let entries = self.journal.read(run, 1).await?;
        let mut drive = Drive::new(self, run, &entries, observer);
        let spec = drive.machine.state().spec.as_ref();
        if let Some(parent) = spec.and_then(|spec| spec.parent) {
            let parent = parent.run;
            return Err(DriveError::IsChild { run, parent });
        }
        drive.take_on(resumption).await?;
        drive.on().await
    }
}

/// A run that is being driven.
pub(super) struct Drive<'a> {
    pub(super) driver: &'a Driver,
    pub(super) run: RunId,
    pub(super) machine: Machine,
    pub(super) head: Head,
    pub(super) observer: &'a mut dyn Observer,
    /// The driver's tools, and those that the run made.
    pub(super) toolbox: Toolbox,
    /// Looked at between two steps.
    pub(super) introduced: Option<watch::Receiver<Introduced>>,
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        driver: &'a Driver,
        run: RunId,
        entries: &[Entry],
        observer: &'a mut dyn Observer,
    ) -> Self {
        let machine = Machine::fold(entries);
        Self {
            driver,
            run,
            toolbox: with_made(driver.toolbox.clone(), &machine.state().made),
            machine,
            head: entries.last().map_or(Head::EMPTY, Entry::head),
            observer,
            introduced: driver.introduced.clone(),
        }
    }

    /// The loop.
    async fn on(&mut self) -> Result<Ended, DriveError> {
        loop {
            let human = &self.driver.human;
            let noticed = human.noticed().into_iter();
            let noticed = noticed.map(|(text, from)| Event::MessageReceived { text, from });
            let said = human.said().into_iter().map(self::said);
            let heard = noticed.chain(said).chain(self.changed());
            let heard: Vec<Event> = heard.collect();
            if !heard.is_empty() && self.machine.state().outcome.is_none() {
                self.commit(heard).await?;
            }
            if let Some(ended) = self.step().await? {
                return Ok(ended);
            }
        }
    }

    /// Who the agent is, if that is not what the run was told last.
    fn changed(&mut self) -> Option<Event> {
        let setup = self.machine.state().setup.as_ref()?;
        let introduced = self.introduced.as_mut()?;
        // Whoever said so may be gone; what was said last holds.
        if !introduced.has_changed().unwrap_or(false) {
            return None;
        }
        let Introduced {
            version,
            instructions,
        } = introduced.borrow_and_update().clone();
        (setup.instructions != instructions).then_some(Event::IdentityChanged {
            version,
            instructions,
        })
    }

    /// Journals that the agent is another one, where that was said and the run is not over.
    pub(super) async fn heed(&mut self) -> Result<(), DriveError> {
        match self.changed() {
            Some(changed) if self.machine.state().outcome.is_none() => {
                self.commit(vec![changed]).await
            }
            _ => Ok(()),
        }
    }

    /// Does the next thing.
    pub(super) async fn step(&mut self) -> Result<Option<Ended>, DriveError> {
        match self.machine.next() {
            Next::Record(events) => self.record(events).await?,
            Next::Think { request, after_ms } => self.think(request, after_ms).await?,
            Next::Act(calls) => self.act(calls).await?,
            Next::Wait(Waiting::Driver(reason)) => {
                let reason = reason.unwrap_or(PauseReason::Interrupted);
                return Ok(Some(Ended::Paused(reason)));
            }
            Next::Wait(waiting) => self.wait(waiting).await?,
            Next::Done(outcome) => {
                self.remember().await;
                return Ok(Some(Ended::Finished(outcome)));
            }
        }
        Ok(None)
    }

    /// Journals what the machine decided. Steps that are not shown any more can be recalled.
    async fn record(&mut self, events: Vec<Event>) -> Result<(), DriveError> {
        let before = self.machine.state().compacted_through();
        self.commit(events).await?;
        self.remember_steps(before).await;
        Ok(())
    }

    /// Journals, then applies.
    pub(super) async fn commit(&mut self, events: Vec<Event>) -> Result<(), DriveError> {
        let mut entries = Vec::with_capacity(events.len());
        for event in events {
            let entry = Entry::seal(self.run, self.head, self.driver.clock.now(), event);
            self.head = entry.head();
            entries.push(entry);
        }
        self.driver.journal.append(&entries).await?;
        for entry in &entries {
            self.machine.apply(entry);
            if let Event::ToolMade { made, .. } = &entry.event {
                let toolbox = std::mem::take(&mut self.toolbox);
                self.toolbox = with_made(toolbox, std::slice::from_ref(made.as_ref()));
            }
            self.observer.entry(entry, self.machine.state());
        }
        Ok(())
    }

    async fn think(&mut self, request: Request, after_ms: u64) -> Result<(), DriveError> {
        let Self {
            driver, observer, ..
        } = self;
        let model = driver.model.clone();
        let thinking = async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            model.reply(&request, &mut Watched(*observer)).await
        };
        let left = time_left(&self.machine);
        let replied = tokio::select! {
            replied = thinking => replied,
            () = driver.stop.cancelled() => return self.pause(PauseReason::Interrupted).await,
            () = tokio::time::sleep(left) => return self.out_of_time().await,
        };
        let event = match replied {
            Ok(reply) => Event::ModelReplied { reply },
            Err(ModelError::Cancelled) => return self.pause(PauseReason::Interrupted).await,
            Err(error) => Event::ModelFailed { error },
        };
        self.commit(vec![event]).await
    }

    /// Makes calls at once; what each gave is journaled as soon as it is known.
    async fn act(&mut self, calls: Vec<Call>) -> Result<(), DriveError> {
        if let [call] = calls.as_slice()
            && self.starts_run(call)
        {
            return self.delegate(call.clone()).await;
        }
        let started = calls.iter().map(|call| Event::ToolStarted {
            call: call.id,
            tool: call.name.clone(),
            attempt: call.attempt,
        });
        self.commit(started.collect()).await?;
        let context = self.context();
        let driver = self.driver;
        let (asking, mut asked) = mpsc::channel(1);
        let mut running: FuturesUnordered<_> = calls
            .into_iter()
            .map(|call| nested::make_asking(&self.toolbox, call, &context, &asking))
            .collect();
        let deadline = tokio::time::sleep(time_left(&self.machine));
        tokio::pin!(deadline);
        loop {
            let finished = tokio::select! {
                finished = running.next() => finished,
                Some(asked) = asked.recv() => {
                    let call = nested::make_asked(&self.machine, &self.toolbox, asked, &context);
                    running.push(call);
                    continue;
                }
                () = driver.stop.cancelled() => return self.pause(PauseReason::Interrupted).await,
                () = &mut deadline => return self.out_of_time().await,
            };
            match finished {
                Some(mut made) => {
                    self.commit(std::mem::take(&mut made.events)).await?;
                    made.tell();
                }
                None => return Ok(()),
            }
        }
    }

    async fn wait(&mut self, waiting: Waiting) -> Result<(), DriveError> {
        let mut preview = None;
        if let Waiting::Approval { call, reason } = &waiting {
            if let Some(tool) = self.toolbox.get(&call.name) {
                preview = tool.preview(call, &self.context()).await;
            }
            self.commit(vec![Event::ApprovalRequested {
                call: call.id,
                reason: reason.clone(),
                preview: preview.clone(),
            }])
            .await?;
        }
        if waiting == Waiting::Message {
            self.remember().await;
        }
        let answer = tokio::select! {
            answer = self.driver.human.ask(&waiting, preview.as_deref()) => answer,
            () = self.driver.stop.cancelled() => return self.pause(PauseReason::Interrupted).await,
        };
        let event = match (waiting, answer) {
            (
                Waiting::Approval { call, .. } | Waiting::InDoubt { call },
                Some(Answer::Decision(decision, note)),
            ) => Event::ApprovalDecided {
                call: call.id,
                decision,
                note,
            },
            (Waiting::Question { call, .. }, Some(Answer::Text(text))) => Event::ToolFinished {
                call: call.id,
                tool: call.name,
                outcome: CallOutcome::Done {
                    output: ToolOutput::text(text),
                },
                from: Label::User,
                ms: 0,
            },
            (Waiting::Message, Some(Answer::Text(text))) => {
                let recalled = self.recalled(&text).await;
                let said = std::iter::once(said(text));
                return self.commit(said.chain(recalled).collect()).await;
            }
            _ => Event::RunPaused {
                reason: PauseReason::Unanswered,
            },
        };
        self.commit(vec![event]).await
    }

    async fn pause(&mut self, reason: PauseReason) -> Result<(), DriveError> {
        self.commit(vec![Event::RunPaused { reason }]).await
    }

    async fn out_of_time(&mut self) -> Result<(), DriveError> {
        let message = "the time is used up".to_owned();
        self.pause(PauseReason::Budget { message }).await
    }

    pub(super) fn context(&self) -> ToolContext {
        let spec = self.machine.state().spec.as_ref();
        ToolContext {
            run: self.run,
            workspace: spec.map(|spec| spec.workspace.clone()).unwrap_or_default(),
            trust: self.machine.state().trust(),
            may_change: astray::may_change(self.machine.state()),
        }
    }
}

/// What a user says.
pub(super) fn said(text: String) -> Event {
    let from = Label::User;
    Event::MessageReceived { text, from }
}

/// A run without a budget for time still has a deadline, a year off.
fn time_left(machine: &Machine) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let state = machine.state();
    let left = state
        .spec
        .as_ref()
        .map(|spec| spec.budget.time_left(&state.charged()));
    left.unwrap_or(YEAR).min(YEAR)
}

pub(super) fn check_workspace(path: &Path) -> Result<(), DriveError> {
    let why = match std::fs::read_dir(path) {
        Ok(_) => return Ok(()),
        Err(why) => why.to_string(),
    };
    let path = path.display().to_string();
    Err(DriveError::Workspace { path, why })
}
