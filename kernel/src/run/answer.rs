//! What somebody says to a run that waits and that nobody drives: it is written down at once, and the
//! run goes on whenever a driver takes it on.

use futures::future::BoxFuture;

use super::{Answer, DriveError, Driver, Machine, Resumption, Waiting, driver::said, waiting};
use crate::{
    event::{CallOutcome, Decision, Event, Outcome, PauseReason, Requested, RunId},
    journal::JournalError,
    label::Label,
    model::CallId,
    tool::{Call, ToolOutput},
};

impl Driver {
    /// Writes down what somebody answers to calls that the run waits for, all or none, and where each
    /// text came from. An answer to a question is the result of the call that asked.
    ///
    /// # Errors
    /// [`DriveError::Unable`] if the run does not wait for that. If a driver has the run, or its journal
    /// cannot be read or written.
    pub async fn answer(
        &self,
        run: RunId,
        answers: Vec<(CallId, Answer, Label)>,
    ) -> Result<(), DriveError> {
        let mut wrong = None;
        let decide = |machine: &Machine| {
            let waits = machine.waits_for();
            let mut events = Vec::new();
            for (id, answer, from) in answers {
                match waits
                    .iter()
                    .find_map(|waiting| fit(waiting, id, &answer, &from))
                {
                    Some(event) => events.push(event),
                    None => {
                        wrong = Some(id);
                        return Vec::new();
                    }
                }
            }
            events
        };
        self.aside(run, decide).await?;
        match wrong {
            None => Ok(()),
            Some(call) => Err(DriveError::Unable(format!(
                "run {} does not wait for that answer to call {call}; look at what it waits for",
                run.short()
            ))),
        }
    }

    /// Writes down what the user says to a run. False if the run is over.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn say(&self, run: RunId, text: String) -> Result<bool, DriveError> {
        self.aside(run, |machine| match machine.state().outcome {
            None => vec![said(text)],
            Some(_) => Vec::new(),
        })
        .await
    }

    /// Writes down that a client of a service asked for the run, which somebody else created.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn request(&self, run: RunId, request: Requested) -> Result<(), DriveError> {
        self.aside(run, |_| vec![Event::RunRequested { request }])
            .await
            .map(drop)
    }

    /// Writes down that the run is to go on, and what changes. False if it is over, or nothing holds it up.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn release(&self, run: RunId, change: Resumption) -> Result<bool, DriveError> {
        self.aside(run, |machine| {
            let state = machine.state();
            if state.outcome.is_some() || state.paused.is_none() {
                return Vec::new();
            }
            let resumed = Event::RunResumed {
                budget: change.budget,
                permissions: change.permissions,
                attended: change.attended,
                setup: None,
            };
            std::iter::once(resumed)
                .chain(change.message.map(said))
                .collect()
        })
        .await
    }

    /// Writes down why nobody can drive the run now: it waits, or if it never began it has failed.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn give_up(&self, run: RunId, why: String) -> Result<(), DriveError> {
        self.aside(run, |machine| {
            let state = machine.state();
            match (&state.outcome, &state.setup) {
                (Some(_), _) => Vec::new(),
                (None, Some(_)) => vec![Event::RunPaused {
                    reason: PauseReason::Model { message: why },
                }],
                (None, None) => vec![Event::RunFinished {
                    outcome: Outcome::Failed { reason: why },
                }],
            }
        })
        .await
        .map(drop)
    }

    /// Ends a run, and those that it started and that are not over. False if it was over before.
    ///
    /// # Errors
    /// If a driver has the run, or a journal cannot be read or written.
    pub fn cancel(&self, run: RunId) -> BoxFuture<'_, Result<bool, DriveError>> {
        Box::pin(async move {
            let mut child = None;
            let cancelled = self
                .aside(run, |machine| {
                    if machine.state().outcome.is_some() {
                        return Vec::new();
                    }
                    child = waiting::at_work(machine, run);
                    let outcome = Outcome::Cancelled;
                    vec![Event::RunFinished { outcome }]
                })
                .await?;
            if let Some(child) = child {
                match self.cancel(child).await {
                    // It was to be started, and was not.
                    Err(DriveError::Journal(JournalError::NoRun(_))) => {}
                    other => drop(other?),
                }
            }
            Ok(cancelled)
        })
    }
}

/// The event that an answer to that call is, if the run waits for such a one.
fn fit(waiting: &Waiting, id: CallId, answer: &Answer, from: &Label) -> Option<Event> {
    match (waiting, answer) {
        // Only a call that was begun may have been done.
        (Waiting::Approval { .. }, Answer::Decision(Decision::WasDone, _)) => None,
        (
            Waiting::Approval { call, .. } | Waiting::InDoubt { call },
            Answer::Decision(decision, note),
        ) if call.id == id => Some(Event::ApprovalDecided {
            call: id,
            decision: *decision,
            note: note.clone(),
        }),
        (Waiting::Question { call, .. }, Answer::Text(text)) if call.id == id => {
            Some(answered(call, text, from))
        }
        _ => None,
    }
}

fn answered(call: &Call, text: &str, from: &Label) -> Event {
    Event::ToolFinished {
        call: call.id,
        tool: call.name.clone(),
        outcome: CallOutcome::Done {
            output: ToolOutput::text(text),
        },
        from: from.clone(),
        ms: 0,
    }
}
