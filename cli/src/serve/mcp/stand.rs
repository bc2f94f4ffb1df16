//! Where a run stands, until there is something to say to the client.

use futures::StreamExt;
use gpak_kernel::{
    entry::Entry,
    event::{Event, Outcome, PauseReason, RunId},
    journal::EntryStream,
    run::{State, Status, Waiting, waiting},
};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use crate::{
    serve::{
        problem::{Answered, Problem},
        work::Work,
    },
    show::live,
};

/// Where a run stands.
pub enum Stand {
    /// It is at work, or about to be.
    Works,
    /// It waits for somebody.
    Asks(Vec<(RunId, Waiting)>),
    /// It is paused, and nothing that can be asked here helps.
    Paused(String),
    /// It is over.
    Over(Outcome),
}

/// A run, as far as its entries were read.
pub struct Watched {
    /// Its id.
    pub run: RunId,
    /// What they come to.
    pub state: State,
    /// Whether the call was a good one, of a run that makes one call.
    ok: bool,
}

impl Watched {
    /// As it is now.
    pub async fn now(work: &Work, run: RunId) -> Answered<Self> {
        let mut watched = Self::new(run);
        for entry in work.journal().read(run, 1).await? {
            watched.take(&entry);
        }
        Ok(watched)
    }

    fn new(run: RunId) -> Self {
        let state = State::default();
        let ok = true;
        Self { run, state, ok }
    }

    fn take(&mut self, entry: &Entry) {
        if let Event::ModelReplied { reply, .. } = &entry.event
            && let Some(ok) = reply.state.as_ref().and_then(|state| state.get("ok"))
        {
            self.ok = ok.as_bool().unwrap_or(true);
        }
        self.state.apply(entry);
    }

    /// Where it stands.
    pub async fn stand(&self, work: &Work) -> Answered<Stand> {
        if let Some(outcome) = &self.state.outcome {
            return Ok(Stand::Over(outcome.clone()));
        }
        if self.state.status != Status::Waiting {
            return Ok(Stand::Works);
        }
        let mut waits = waiting::of(work.journal(), self.run).await?;
        waits.retain(|(_, waiting)| !matches!(waiting, Waiting::Driver(_)));
        Ok(match &self.state.paused {
            Some(PauseReason::Interrupted) => Stand::Works,
            Some(PauseReason::Unanswered) | None => match waits.is_empty() {
                // What it asked is answered: it goes on.
                true => Stand::Works,
                false => Stand::Asks(waits),
            },
            Some(other) => Stand::Paused(live::waiting(other)),
        })
    }

    /// The result of a call that began the run: `own` says the run is that of a tool's call.
    pub fn result(&self, stand: &Stand, own: bool) -> CallToolResult {
        let (text, ok) = match stand {
            Stand::Over(Outcome::Completed { answer }) => (answer.clone(), self.ok),
            Stand::Over(Outcome::Cancelled) => ("it was cancelled".to_owned(), false),
            Stand::Over(Outcome::Failed { reason }) => (reason.clone(), false),
            Stand::Works => ("it is at work".to_owned(), true),
            Stand::Paused(why) => (format!("{why}; {}", self.how_on()), false),
            Stand::Asks(waits) => (
                format!("it waits: {}; {}", told(waits).join("; "), self.how_on()),
                false,
            ),
        };
        let content = vec![ContentBlock::text(text)];
        let mut result = match ok {
            true => CallToolResult::success(content),
            false => CallToolResult::error(content),
        };
        if !own {
            result.structured_content = Some(self.stands(stand));
        }
        result
    }

    fn stands(&self, stand: &Stand) -> Value {
        let (run, status) = (self.run.to_string(), self.state.status.to_string());
        match stand {
            Stand::Over(Outcome::Completed { answer }) => {
                json!({"run": run, "status": status, "answer": answer})
            }
            Stand::Asks(waits) => json!({"run": run, "status": status, "waits_for": told(waits)}),
            _ => json!({"run": run, "status": status}),
        }
    }

    fn how_on(&self) -> String {
        let run = self.run.short();
        format!("`gpak resume {run}`, or the page of `gpak serve`, goes on with it")
    }
}

/// A run that is followed.
pub struct Followed<'a> {
    work: &'a Work,
    /// As far as it was read.
    pub watched: Watched,
    entries: EntryStream,
    /// The last entry that was there already: what is before it is not new to anybody.
    known: u64,
}

impl<'a> Followed<'a> {
    /// From where it stands.
    pub async fn new(work: &'a Work, run: RunId) -> Answered<Self> {
        let known = work.journal().read(run, 1).await?;
        Ok(Self {
            work,
            watched: Watched::new(run),
            entries: work.journal().watch(run, 1),
            known: known.last().map_or(0, |entry| entry.seq),
        })
    }

    /// Its next entry, and where it stands with it.
    pub async fn next(&mut self) -> Answered<(Entry, Stand)> {
        loop {
            let Some(entry) = self.entries.next().await else {
                return Err(Problem::internal("a run's entries end before the run"));
            };
            let entry = entry?;
            self.watched.take(&entry);
            if entry.seq >= self.known {
                let stand = self.watched.stand(self.work).await?;
                return Ok((entry, stand));
            }
        }
    }
}

/// What is waited for, in words.
pub fn told(waits: &[(RunId, Waiting)]) -> Vec<String> {
    let told = waits.iter().map(|(_, waiting)| match waiting {
        Waiting::Approval { call, reason } => {
            format!("may {} be called? {reason}", call.name)
        }
        Waiting::InDoubt { call } => format!(
            "gpak was stopped while {} was running: was it done?",
            call.name
        ),
        Waiting::Question { text, .. } => text.clone(),
        Waiting::Message | Waiting::Driver(_) => "your next message".to_owned(),
    });
    told.collect()
}
