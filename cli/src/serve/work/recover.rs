//! Which runs can go on: asked of all when the service starts, and of one when somebody answered it.

use gpak_kernel::{
    event::{PauseReason, RunId},
    journal::RunFilter,
    run::{Machine, Status, waiting},
};

use super::{Work, request_of};
use crate::serve::problem::Answered;

impl Work {
    /// Puts the runs into the queue that the service had taken on and that can go on: those that were
    /// driven or queued when it ended, and those that were answered just then. Gives how many.
    pub async fn recover(&self) -> Answered<usize> {
        let mut found = 0;
        for status in [Status::Running, Status::Pending, Status::Waiting] {
            let filter = RunFilter {
                status: Some(status),
                whole: true,
                ..RunFilter::default()
            };
            let mut runs = self.journal().runs(&filter).await?;
            // The oldest first, as they were.
            runs.reverse();
            for summary in runs {
                match self.resume_recovered(summary.run).await {
                    Ok(goes_on) => found += usize::from(goes_on),
                    Err(why) => {
                        tracing::error!(run = %summary.run, "cannot be gone on with: {}", why.detail);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Puts a run into the queue, if it is the service's and can go on; says whether it does.
    pub(super) async fn resume_recovered(&self, run: RunId) -> Answered<bool> {
        let entries = self.journal().read(run, 1).await?;
        let Some(request) = request_of(&entries) else {
            return Ok(false);
        };
        let machine = Machine::fold(&entries);
        let state = machine.state();
        let goes_on = match (&state.outcome, &state.paused) {
            (Some(_), _) => false,
            (None, None | Some(PauseReason::Interrupted)) => true,
            (None, Some(PauseReason::Unanswered)) => {
                waiting::of(self.journal(), run).await?.is_empty()
            }
            (None, Some(_)) => false,
        };
        if goes_on {
            self.enqueue(request.by, run);
        }
        Ok(goes_on)
    }
}
