//! What clients do to runs: answer, say, cancel, go on, fork, undo.

use std::{path::PathBuf, time::Duration};

use gpak_kernel::{
    entry::Entry,
    event::{Event, Origin, Outcome, PauseReason, Requested, RunId},
    journal::JournalError,
    label::Label,
    model::CallId,
    run::{Answer, DriveError, Machine, Resumption, Status, undo::Undone, waiting},
};

use super::{STOPPING, Work};
use crate::{
    commands::{run::as_much_again, undo},
    serve::problem::{Answered, Problem},
    settings::BudgetChange,
};

/// How long a message may wait for the end of a step.
const HEARING: Duration = Duration::from_secs(600);

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The driver heard it between two steps.
    Heard,
    /// It is written down, and the run goes on with it.
    GoesOn,
    /// It is written down, and the run waits for something else.
    Waits,
}

impl Work {
    /// The run that goes on when this one does: itself, or the one that it is a part of.
    pub async fn root(&self, run: RunId) -> Answered<RunId> {
        let mut root = run;
        loop {
            let entries = self.journal().read(root, 1).await?;
            let spec = entries.first().and_then(|entry| match &entry.event {
                Event::RunCreated { spec } => spec.parent,
                _ => None,
            });
            match spec {
                Some(parent) => root = parent.run,
                None => return Ok(root),
            }
        }
    }

    /// Writes down answers to what a run waits for, and lets it go on once it waits for nothing else.
    pub async fn answer(
        &self,
        run: RunId,
        answers: Vec<(CallId, Answer, Label)>,
    ) -> Answered<bool> {
        let root = self.root(run).await?;
        self.until_still(run, root).await?;
        self.0.clerk.answer(run, answers).await?;
        self.resume_recovered(root).await
    }

    /// Says something to a run.
    pub async fn say(&self, run: RunId, text: String) -> Answered<Said> {
        loop {
            let driven = self.0.lock_driven().get(&run).cloned();
            let Some(driven) = driven else { break };
            if let Some(heard) = driven.inbox.put(text.clone()) {
                match tokio::time::timeout(HEARING, heard).await {
                    Ok(Ok(())) => return Ok(Said::Heard),
                    // The drive ended before it heard it.
                    Ok(Err(_)) => {}
                    Err(_) => {
                        let busy = "the run is in the middle of a long step and did not hear it";
                        return Err(Problem::unavailable(busy).help("say it again later"));
                    }
                }
            }
            self.0.until_let_go(run, STOPPING).await;
        }
        let waits = !waiting::of(self.journal(), run)
            .await?
            .iter()
            .all(is_message);
        let state = self.read(run).await?;
        let paused = state.state().paused.clone();
        let attended = state
            .state()
            .spec
            .as_ref()
            .is_some_and(|spec| spec.attended);
        let held_up = !matches!(
            paused,
            None | Some(PauseReason::Unanswered | PauseReason::Interrupted)
        );
        let written = match held_up && !waits {
            true => {
                let change = Resumption {
                    attended,
                    message: Some(text),
                    ..Resumption::default()
                };
                self.0.clerk.release(run, change).await?
            }
            false => self.0.clerk.say(run, text).await?,
        };
        if !written {
            return Err(is_over(run));
        }
        match self.resume_recovered(run).await? {
            true => Ok(Said::GoesOn),
            false => Ok(Said::Waits),
        }
    }

    /// Ends a run. It is finished even if who asked goes away.
    pub async fn cancel(&self, run: RunId) -> Answered<()> {
        let work = self.clone();
        let cancelling = async move {
            if work.root(run).await? != run {
                return Err(Problem::conflict("the run is a part of another")
                    .help("cancel that one; `parent` of the run names it"));
            }
            work.0.queue().remove(run);
            if let Some(driven) = work.0.lock_driven().get(&run) {
                driven.stop.cancel();
            }
            if !work.0.until_let_go(run, STOPPING).await {
                return Err(Problem::unavailable("its driver does not stop"));
            }
            if work.0.clerk.cancel(run).await? {
                work.0.watched.notices.look_at(run);
                return Ok(());
            }
            match work.read(run).await?.state().outcome {
                Some(Outcome::Cancelled) => Ok(()),
                _ => Err(is_over(run)),
            }
        };
        let done = self.0.tasks.spawn(cancelling).await;
        done.map_err(Problem::internal)?
    }

    /// Lets a run go on that waits for that: its budget is used up, its model did not answer, or it is none
    /// of the service's yet.
    pub async fn go_on(
        &self,
        run: RunId,
        by: &str,
        budget: Option<BudgetChange>,
        message: Option<String>,
    ) -> Answered<()> {
        if self.0.queue().contains(run) {
            return Err(Problem::conflict("the run goes on already"));
        }
        self.until_still(run, run).await?;
        let entries = self.journal().read(run, 1).await?;
        let machine = Machine::fold(&entries);
        let state = machine.state();
        let Some(spec) = &state.spec else {
            return Err(Problem::conflict("the run does not begin with its task"));
        };
        if state.outcome.is_some() {
            return Err(is_over(run));
        }
        if spec.parent.is_some() {
            return Err(Problem::conflict(
                "the run is a part of another, and goes on with that",
            ));
        }
        if super::request_of(&entries).is_none() {
            self.0.clerk.request(run, asked_by(by)).await?;
        }
        let change = Resumption {
            budget: budget
                .map(|change| change.apply(spec.budget))
                .or_else(|| as_much_again(state)),
            permissions: None,
            attended: spec.attended,
            message,
        };
        self.0.clerk.release(run, change).await?;
        self.resume_recovered(run).await?;
        Ok(())
    }

    /// Makes a run of the entries of another up to one, and lets it go on from there.
    pub async fn fork(
        &self,
        (run, at): (RunId, Option<u64>),
        fork: Option<RunId>,
        workspace: Option<PathBuf>,
        request: Requested,
        change: impl FnOnce(&gpak_kernel::run::State) -> Resumption,
    ) -> Answered<RunId> {
        let entries = self.journal().read(run, 1).await?;
        let machine = Machine::fold(&entries);
        let same = machine.state().spec.as_ref();
        let same = same.map(|spec| spec.workspace.clone()).unwrap_or_default();
        let workspace = workspace.unwrap_or(same);
        let seq = at.unwrap_or_else(|| last_before_end(&entries));
        let fork = fork.unwrap_or_else(RunId::random);
        let origin = Origin { run, seq };
        match self.0.clerk.fork(origin, fork, &workspace).await {
            // The same request came before.
            Err(DriveError::Journal(JournalError::Conflict { .. })) => {}
            other => other?,
        }
        let copied = self.journal().read(fork, 1).await?;
        if super::request_of(&copied).is_none() {
            self.0.clerk.request(fork, request).await?;
            let change = change(Machine::fold(&copied).state());
            self.0.clerk.release(fork, change).await?;
        }
        self.resume_recovered(fork).await?;
        Ok(fork)
    }

    /// Puts back what a run changed.
    pub async fn undo(&self, run: RunId) -> Answered<Undone> {
        let is_queued = self.0.queue().contains(run);
        let still = match is_queued {
            true => Err(Problem::conflict("the run is about to be driven")),
            false => self.until_still(run, run).await,
        };
        still.map_err(|why| why.help("cancel it first"))?;
        let (home, journal) = (&self.0.home, self.0.journal.clone());
        let memory = self.memory().await;
        let memory = memory.inspect_err(|why| tracing::warn!("nothing is forgotten: {why}"));
        undo::undone(home, (journal, memory.ok()), run)
            .await
            .map_err(|why| Problem::conflict(why.to_string()))
    }

    async fn read(&self, run: RunId) -> Answered<Machine> {
        Ok(Machine::fold(&self.journal().read(run, 1).await?))
    }

    /// Waits for a driver that is about to let its run go, as `run`, which is that or a part of it, waits for
    /// somebody or is over; fails if it is at work.
    async fn until_still(&self, run: RunId, root: RunId) -> Answered<()> {
        if !self.0.lock_driven().contains_key(&root) {
            return Ok(());
        }
        let status = self.read(run).await?.state().status;
        let ends = status == Status::Waiting || status.is_final();
        if ends && self.0.until_let_go(root, STOPPING).await {
            return Ok(());
        }
        Err(Problem::conflict(
            "the run is at work, and waits for nothing",
        ))
    }
}

/// What somebody asks for who only takes a run on.
pub fn asked_by(user: &str) -> Requested {
    Requested {
        by: user.to_owned(),
        ..Requested::default()
    }
}

fn is_over(run: RunId) -> Problem {
    Problem::conflict(format!("run {} is over", run.short()))
        .help("fork it to go on from one of its entries")
}

fn is_message((_, waiting): &(RunId, gpak_kernel::run::Waiting)) -> bool {
    matches!(waiting, gpak_kernel::run::Waiting::Message)
}

/// The last entry before a run's end.
pub fn last_before_end(entries: &[Entry]) -> u64 {
    let ends = |entry: &&Entry| {
        matches!(
            entry.event,
            Event::RunFinished { .. } | Event::Compensated { .. }
        )
    };
    let last = entries.iter().rev().find(|entry| !ends(entry));
    last.map_or(1, |entry| entry.seq)
}
