//! Undo: run compensations backwards.

use super::{DriveError, Driver, driver::Drive};
use crate::{
    event::{Event, RunId},
    tool::{Call, ToolError},
};

/// What undoing a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// What was put back, newest first.
    pub restored: Vec<String>,
    /// What was left as it is, and why.
    pub refused: Vec<String>,
    /// Calls that cannot be undone: their tools and arguments, in short.
    pub irreversible: Vec<String>,
}

impl Driver {
    /// Undoes, newest first, every reversible call of `run` that is not undone yet. Stops at the first
    /// that changed since: what is older may depend on it.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn undo(&self, run: RunId) -> Result<Undone, DriveError> {
        self.undo_since(run, 0).await
    }

    /// Undoes likewise, but only calls of replies after that one.
    ///
    /// # Errors
    /// As [`Driver::undo`].
    pub async fn undo_since(&self, run: RunId, reply: u32) -> Result<Undone, DriveError> {
        let _claim = self.journal.claim(run).await?;
        let entries = self.journal.read(run, 1).await?;
        let mut nobody = ();
        let mut drive = Drive::new(self, run, &entries, &mut nobody);
        drive.undo(reply).await
    }
}

impl Drive<'_> {
    async fn undo(&mut self, since: u32) -> Result<Undone, DriveError> {
        let mut undone = Undone::default();
        let context = self.context();
        let is_meant = |call: &Call| call.id.reply > since;
        let calls = self.machine.state().undoable().into_iter().filter(is_meant);
        for call in calls.collect::<Vec<_>>() {
            let Some(tool) = self.driver.toolbox.get(&call.name) else {
                undone
                    .refused
                    .push(format!("{}: the tool is gone", call.name));
                break;
            };
            match tool.compensate(&call, &context).await {
                Ok(text) => {
                    undone.restored.push(text.clone());
                    let call = call.id;
                    self.commit(vec![Event::Compensated { call, text }]).await?;
                }
                Err(ToolError::Rejected(why) | ToolError::Unknown(why) | ToolError::Fatal(why)) => {
                    undone.refused.push(why);
                    break;
                }
            }
        }
        let irreversible = self.machine.state().irreversible().into_iter();
        let irreversible = irreversible.filter(is_meant);
        undone.irreversible = irreversible.map(|call| in_short(&call)).collect();
        Ok(undone)
    }
}

fn in_short(call: &Call) -> String {
    const SHOWN: usize = 80;
    let args: String = call.args.to_string().chars().take(SHOWN).collect();
    format!("{} {args}", call.name)
}
