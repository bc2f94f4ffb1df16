//! What a run waits for that nobody drives, found in its journal and in those of the runs it started.

use futures::future::BoxFuture;

use super::{Machine, Stage, Waiting};
use crate::{
    event::RunId,
    journal::{Journal, JournalError},
    strategy::search,
};

/// What somebody must say before `run` can go on, each with the run that waits for it: that one, or one
/// that it started. Nothing, if it can go on.
///
/// # Errors
/// If a journal cannot be read.
pub fn of(
    journal: &dyn Journal,
    run: RunId,
) -> BoxFuture<'_, Result<Vec<(RunId, Waiting)>, JournalError>> {
    Box::pin(async move {
        let entries = match journal.read(run, 1).await {
            // It was to be started, and was not.
            Err(JournalError::NoRun(_)) => return Ok(Vec::new()),
            read => read?,
        };
        let machine = Machine::fold(&entries);
        if let Some(child) = at_work(&machine, run) {
            return of(journal, child).await;
        }
        let waits = machine.waits_for().into_iter();
        Ok(waits.map(|waiting| (run, waiting)).collect())
    })
}

/// The run whose end a call of `run` waits for, if one does.
pub(super) fn at_work(machine: &Machine, run: RunId) -> Option<RunId> {
    let state = machine.state();
    let begun = |stage| matches!(stage, Stage::Started(_) | Stage::InDoubt(_));
    let own = state.own.iter().filter(|own| own.result.is_none());
    let mut own = own.filter(|own| own.call.name == search::TRY && begun(own.stage));
    let mut open = state.open.iter().filter(|open| {
        let call = state.call(open.id);
        begun(open.stage) && call.is_some_and(|call| state.starts_run(&call.name))
    });
    let call = open
        .next()
        .map(|open| open.id)
        .or_else(|| own.next().map(|own| own.id));
    call.map(|call| run.child(call))
}
