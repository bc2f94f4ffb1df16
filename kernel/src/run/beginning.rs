//! How a run begins, or goes on: with what is there now to do it.

use super::{
    driver::{Drive, DriveError, Resumption, check_workspace, said},
    state::show,
};
use crate::{
    event::{Event, Setup},
    strategy,
};

impl Drive<'_> {
    pub(super) async fn take_on(&mut self, resumption: Resumption) -> Result<(), DriveError> {
        let state = self.machine.state();
        if state.outcome.is_some() {
            return Ok(());
        }
        if let Some(spec) = &state.spec {
            check_workspace(&spec.workspace)?;
        }
        let asked = match (&state.setup, &state.spec) {
            (None, Some(spec)) => Some(spec.task.clone()),
            _ => resumption.message.clone(),
        };
        let recalled = match asked {
            Some(asked) => self.recalled(&asked).await,
            None => None,
        };
        let state = self.machine.state();
        let mut tools = self.driver.toolbox.specs();
        if let Some(spec) = &state.spec {
            tools.extend(strategy::tools(spec, &self.driver.toolbox));
        }
        for made in &state.made {
            show(&mut tools, made);
        }
        let mut setup = Setup {
            instructions: self.driver.instructions.clone(),
            tools,
            model: self.driver.model.profile().clone(),
            repository: self.driver.repository.clone(),
        };
        if let Some(before) = &state.setup {
            let (now, then) = (&mut setup.repository, &before.repository);
            now.files.clone_from(&then.files);
            now.contents.clone_from(&then.contents);
        }
        let is_new = state.setup.is_none();
        let event = match &state.setup {
            None => Event::RunStarted { setup },
            Some(before) => Event::RunResumed {
                budget: resumption.budget,
                permissions: resumption.permissions,
                attended: resumption.attended,
                setup: (*before != setup).then(|| Box::new(setup)),
            },
        };
        let mut events = vec![event];
        events.extend(resumption.message.map(said));
        events.extend(recalled);
        if is_new {
            // What is remembered of the task comes before what is said besides.
            events.sort_by_key(|event| matches!(event, Event::MessageReceived { .. }));
        }
        self.commit(events).await
    }
}
