//! What a user does to a run between two drives: sets its strategy, makes room in its context, notes
//! something for the model.

use super::{DriveError, Driver, Machine, Status, driver::Drive};
use crate::{
    context,
    event::{Event, PauseReason, RunId, Strategy},
    label::Label,
    strategy,
};

impl Driver {
    /// Works in that way from now on.
    ///
    /// # Errors
    /// If that is to try several ways, a driver has the run, or its journal cannot be read or written.
    pub async fn set_strategy(&self, run: RunId, strategy: Strategy) -> Result<(), DriveError> {
        if strategy == Strategy::Search {
            let why = "several ways can only be tried by a run that is begun with that strategy";
            return Err(DriveError::Unable(why.to_owned()));
        }
        self.aside(run, |machine| {
            let setup = machine.state().setup.as_ref();
            vec![strategy::asked_for(strategy, setup)]
        })
        .await
        .map(drop)
    }

    /// Leaves more out of what the model is shown, whether or not its window is full. False if there is
    /// nothing to leave out.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn compact(&self, run: RunId) -> Result<bool, DriveError> {
        self.aside(run, |machine| {
            context::on_request(machine.state()).into_iter().collect()
        })
        .await
    }

    /// Tells the model something with the user's next message.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn note(&self, run: RunId, text: String) -> Result<(), DriveError> {
        let from = Label::Own;
        self.aside(run, |_| vec![Event::MessageReceived { text, from }])
            .await
            .map(drop)
    }

    /// Appends what is decided, if anything is. A run whose driver died is paused before, so that
    /// nothing of this is taken for the machine's own decision.
    pub(super) async fn aside(
        &self,
        run: RunId,
        decide: impl FnOnce(&Machine) -> Vec<Event>,
    ) -> Result<bool, DriveError> {
        let _claim = self.journal.claim(run).await?;
        let entries = self.journal.read(run, 1).await?;
        let mut nobody = ();
        let mut drive = Drive::new(self, run, &entries, &mut nobody);
        let events = decide(&drive.machine);
        if events.is_empty() {
            return Ok(false);
        }
        let state = drive.machine.state();
        let reason = PauseReason::Interrupted;
        let pause = (state.paused.is_none() && state.status == Status::Running)
            .then_some(Event::RunPaused { reason });
        drive
            .commit(pause.into_iter().chain(events).collect())
            .await?;
        Ok(true)
    }
}
