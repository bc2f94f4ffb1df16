//! Takes runs from the queue and drives them, so many at a time.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId},
    journal::JournalError,
    label::Label,
    model::Delta,
    run::{DriveError, Driver, Ended, Machine, Observer, Resumption, State},
    tool::Control,
};
use indicatif::ProgressBar;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::{
    Driven, Work,
    desk::{Desk, Inbox},
    request_of,
};
use crate::{
    failure::Failure,
    mcp,
    serve::{
        openai::{self, tools::client_tools},
        trace,
        traces::Driving,
    },
    wire,
};

/// How long a run is left alone that could not be driven because of something that may pass: a full disk, a
/// process that has it.
const LATER: Duration = Duration::from_secs(5);

/// Why a run was not driven.
enum Trouble {
    /// It may go better in a while.
    Passing(String),
    /// Somebody must do something about it.
    Lasting(String),
}

impl From<DriveError> for Trouble {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Journal(
                error @ (JournalError::Store(_)
                | JournalError::Busy { .. }
                | JournalError::Conflict { .. }),
            ) => Self::Passing(error.to_string()),
            other => Self::Lasting(other.to_string()),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Lasting(failure.to_string())
    }
}

impl Work {
    /// Begins to drive runs, until the service drains.
    pub fn start(&self) {
        let work = self.clone();
        self.0.tasks.spawn(async move { work.dispatch().await });
    }

    async fn dispatch(&self) {
        let inner = &self.0;
        loop {
            let slot = tokio::select! {
                slot = inner.drivers.clone().acquire_owned() => slot,
                () = inner.drain.cancelled() => return,
            };
            // The semaphore is never closed.
            let Ok(slot) = slot else { return };
            let (user, run, driven) = loop {
                if let Some(next) = self.next() {
                    break next;
                }
                tokio::select! {
                    () = inner.queued.notified() => {}
                    () = inner.drain.cancelled() => return,
                }
            };
            let trace = tracing::field::Empty;
            let span = tracing::info_span!("run", %run, user, trace);
            let work = self.clone();
            let task = async move { work.take_on(user, run, driven, slot).await };
            inner.tasks.spawn(task.instrument(span));
        }
    }

    fn next(&self) -> Option<(String, RunId, Driven)> {
        let mut queue = self.0.queue();
        if self.is_held() {
            return None;
        }
        let (user, run) = queue.pop()?;
        let driven = Driven {
            stop: self.0.park.child_token(),
            inbox: Arc::new(Inbox::default()),
        };
        self.0.lock_driven().insert(run, driven.clone());
        Some((user, run, driven))
    }

    async fn take_on(&self, user: String, run: RunId, driven: Driven, slot: OwnedSemaphorePermit) {
        let ended = AssertUnwindSafe(self.drive(run, &driven)).catch_unwind();
        let ended = ended.await.unwrap_or_else(|_| {
            Err(Trouble::Lasting(
                "its driver crashed; the log says why".to_owned(),
            ))
        });
        driven.inbox.close();
        let later = match ended {
            Ok(ended) => {
                tracing::info!(?ended, "let go");
                self.0.watched.metrics.let_go(&ended);
                false
            }
            Err(Trouble::Passing(why)) => {
                tracing::warn!("not driven, and tried again soon: {why}");
                true
            }
            Err(Trouble::Lasting(why)) => {
                tracing::warn!("cannot be driven: {why}");
                let gave_up = self.0.clerk.give_up(run, why).await;
                self.0.watched.notices.look_at(run);
                gave_up.is_err()
            }
        };
        {
            let mut queue = self.0.queue();
            self.0.lock_driven().remove(&run);
            queue.done(&user);
        }
        self.0.let_go.send_modify(|count| *count += 1);
        drop(slot);
        if later {
            let work = self.clone();
            self.0.tasks.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(LATER) => work.enqueue(user, run),
                    () = work.0.drain.cancelled() => {}
                }
            });
        }
    }

    async fn drive(&self, run: RunId, driven: &Driven) -> Result<Ended, Trouble> {
        let inner = &self.0;
        let entries = inner.journal.read(run, 1).await;
        let entries = entries.map_err(DriveError::Journal)?;
        let machine = Machine::fold(&entries);
        let state = machine.state();
        if let Some(outcome) = &state.outcome {
            return Ok(Ended::Finished(outcome.clone()));
        }
        let spec = state.spec.clone();
        let spec =
            spec.ok_or_else(|| Trouble::Lasting("it does not begin with its task".into()))?;
        let settings = self.settings(&spec.workspace)?;
        let mind = inner.minds.open(&spec.model).await?;
        let mut driver = self
            .driver(&spec.workspace, &settings, mind.model, driven)
            .await?;
        let request = request_of(&entries).unwrap_or_default();
        if let Some(trace) = trace::of_meta(&request.meta) {
            tracing::Span::current().record("trace", trace);
        }
        if !request.instructions.is_empty() {
            driver.instructions = format!("{}\n\n{}", driver.instructions, request.instructions);
        }
        if request.tools.is_empty() {
            wire::offer_delegate(&mut driver, &settings)?;
        }
        let mut toolbox = std::mem::take(&mut driver.toolbox);
        if request.meta.contains_key(openai::META) {
            // Whoever speaks OpenAI's protocol is asked in the answer: it has no other question.
            toolbox = toolbox.only(|tool| tool.control != Some(Control::Ask));
        }
        let toolbox = toolbox.with(client_tools(&request.tools));
        driver.toolbox = toolbox.map_err(|why| Trouble::Lasting(why.to_string()))?;
        let manner = mcp::Manner {
            yes: inner.bounds.flags.yes,
            attended: false,
            progress: ProgressBar::hidden(),
        };
        let servers = mcp::join(&mut driver, &inner.home, &settings, manner).await?;
        let resumption = Resumption {
            attended: spec.attended,
            ..Resumption::default()
        };
        let seq = entries.last().map_or(0, |entry| entry.seq);
        let mut watching = Watching {
            run,
            inbox: driven.inbox.clone(),
            watched: inner.watched.clone(),
            driving: Driving::new(run, trace::header_of(&request.meta), seq),
        };
        let ended = driver.drive(run, resumption, &mut watching).await;
        watching
            .driving
            .end(&inner.watched.traces, ended.as_ref().ok());
        servers.close().await;
        Ok(ended?)
    }

    /// The driver of one run. What it reads from the disk is read on a thread for that.
    pub(super) async fn driver(
        &self,
        workspace: &std::path::Path,
        settings: &crate::settings::Settings,
        model: Arc<dyn gpak_kernel::model::Model>,
        driven: &Driven,
    ) -> Result<Driver, Failure> {
        let (home, journal) = (self.0.home.clone(), self.0.journal.clone());
        let memory = match settings.memory.value {
            true => self
                .memory()
                .await
                .inspect_err(|why| tracing::warn!("nothing is remembered: {why}"))
                .ok(),
            false => None,
        };
        let (workspace, settings) = (workspace.to_owned(), settings.clone());
        let human = Arc::new(Desk(driven.inbox.clone()));
        let stop = driven.stop.clone();
        let make = move || {
            let stores = (journal, memory);
            wire::driver_on(stores, &home, &workspace, &settings, (model, human, stop))
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.map_err(|why| Failure::new(format!("its tools cannot be had: {why}")))?
    }
}

/// Counts what runs do, and tells who sent a message that it was heard.
struct Watching {
    run: RunId,
    inbox: Arc<Inbox>,
    watched: super::Watched,
    driving: Driving,
}

impl Observer for Watching {
    fn entry(&mut self, entry: &Entry, _: &State) {
        self.watched.metrics.entry(entry);
        self.watched.notices.entry(entry);
        self.driving.entry(&self.watched.traces, entry);
        if let Event::MessageReceived { from, .. } = &entry.event
            && *from == Label::User
            && entry.run == self.run
        {
            self.inbox.heard();
        }
    }

    fn delta(&mut self, _: Delta<'_>) {}
}
