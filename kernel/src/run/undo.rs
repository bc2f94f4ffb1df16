//! Undo: run compensations backwards.

use futures::future::BoxFuture;

use super::{DriveError, Driver, Machine, driver::Drive};
use crate::{
    event::{Event, RunId},
    journal::{Journal, JournalError},
    memory::{Episode, Filter, Memory, MemoryError},
    model::CallId,
    tool::{Call, ToolError},
};

/// Episodes that are forgotten at a time.
const AT_ONCE: usize = 1000;

/// What undoing a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undone {
    /// What was put back, newest first.
    pub restored: Vec<String>,
    /// What was left as it is, and why.
    pub refused: Vec<String>,
    /// Calls that cannot be undone: their tools and arguments, in short.
    pub irreversible: Vec<String>,
    /// How many episodes that were remembered of the run were forgotten: what they say is not so any more.
    pub forgotten: usize,
}

/// The calls that undoing what `run` did after that reply undoes, newest first, those of the runs that it
/// started among them.
///
/// # Errors
/// If a journal cannot be read.
pub fn undoable(
    journal: &dyn Journal,
    run: RunId,
    since: u32,
) -> BoxFuture<'_, Result<Vec<(RunId, CallId)>, JournalError>> {
    Box::pin(async move {
        let entries = match journal.read(run, 1).await {
            // It was to be started, and was not.
            Err(JournalError::NoRun(_)) => Vec::new(),
            read => read?,
        };
        let machine = Machine::fold(&entries);
        let mut all = Vec::new();
        let calls = machine.state().undoable();
        for call in calls.iter().filter(|call| is_after(call, since)) {
            if machine.state().starts_run(&call.name) {
                all.extend(undoable(journal, run.child(call.id), 0).await?);
            } else {
                all.push((run, call.id));
            }
        }
        Ok(all)
    })
}

impl Driver {
    /// Undoes, newest first, every reversible call of `run` that is not undone yet. Stops at the first
    /// that changed since: what is older may depend on it. A call that started a run is undone by undoing
    /// that run.
    ///
    /// # Errors
    /// If a driver has the run, or its journal cannot be read or written.
    pub async fn undo(&self, run: RunId) -> Result<Undone, DriveError> {
        let mut undone = self.undo_since(run, 0).await?;
        if let (Some(remembering), true) = (&self.remembering, undone.refused.is_empty()) {
            match forget(remembering.memory.as_ref(), run).await {
                Ok(forgotten) => undone.forgotten = forgotten,
                Err(why) => undone
                    .irreversible
                    .push(format!("what is remembered of it: {why}")),
            }
        }
        Ok(undone)
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

/// Forgets what was remembered of a run.
async fn forget(memory: &dyn Memory, run: RunId) -> Result<usize, MemoryError> {
    let filter = Filter {
        run: Some(run),
        past: true,
        ..Filter::default()
    };
    let mut forgotten = 0;
    loop {
        let episodes = memory.list(&filter, AT_ONCE).await?;
        let ids: Vec<_> = episodes.iter().map(Episode::id).collect();
        match memory.forget(&ids).await? {
            0 => return Ok(forgotten),
            some => forgotten += some,
        }
    }
}

impl Drive<'_> {
    async fn undo(&mut self, since: u32) -> Result<Undone, DriveError> {
        let mut undone = Undone::default();
        let context = self.context();
        let is_meant = |call: &Call| is_after(call, since);
        let calls = self.machine.state().undoable().into_iter().filter(is_meant);
        for call in calls.collect::<Vec<_>>() {
            if self.machine.state().starts_run(&call.name) {
                if self.undo_child(&call, &mut undone).await? {
                    continue;
                }
                break;
            }
            let Some(tool) = self.toolbox.get(&call.name) else {
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
        undone
            .irreversible
            .extend(irreversible.map(|call| in_short(&call)));
        Ok(undone)
    }

    /// Undoes the run that a call started; false if it could not be undone whole. Boxed, as undoing that
    /// run comes here again.
    fn undo_child<'a>(
        &'a mut self,
        call: &'a Call,
        undone: &'a mut Undone,
    ) -> BoxFuture<'a, Result<bool, DriveError>> {
        Box::pin(async move {
            let run = self.run.child(call.id);
            let theirs = match self.driver.undo(run).await {
                Err(DriveError::Journal(JournalError::NoRun(_))) => Undone::default(),
                undone => undone?,
            };
            let is_whole = theirs.refused.is_empty();
            undone.restored.extend(theirs.restored);
            undone.refused.extend(theirs.refused);
            undone.irreversible.extend(theirs.irreversible);
            if is_whole {
                let (call, text) = (call.id, format!("undid run {}", run.short()));
                self.commit(vec![Event::Compensated { call, text }]).await?;
            }
            Ok(is_whole)
        })
    }
}

/// Whether a call was made after that reply; all were made after 0, the machine's own before any reply too.
fn is_after(call: &Call, reply: u32) -> bool {
    reply == 0 || call.id.reply > reply
}

fn in_short(call: &Call) -> String {
    const SHOWN: usize = 80;
    let args: String = call.args.to_string().chars().take(SHOWN).collect();
    format!("{} {args}", call.name)
}
