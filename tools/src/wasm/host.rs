//! What guests can ask of the host, each thing in its own module.

use std::sync::Arc;

use gpak_kernel::{
    event::RunId,
    model::CallId,
    tool::{Effect, ToolContext},
};

use super::{Asks, bindings::gpak::tool::types};

mod core;
mod log;

pub use log::{LogLine, Logged};

/// What a guest can ask of the host.
pub(crate) struct Host {
    pub(crate) log: Logged,
    /// What was granted; nothing while a component describes itself.
    grant: Arc<Asks>,
    calling: Option<Calling>,
}

/// The call that a guest is there for.
#[derive(Debug, Clone)]
pub(crate) struct Calling {
    pub(crate) context: ToolContext,
    pub(crate) call: CallId,
    /// What the tool says it does to the world. It is held to that.
    pub(crate) effect: Effect,
}

impl Host {
    /// The host of a call.
    pub(crate) fn for_call(grant: Arc<Asks>, calling: Calling) -> Self {
        Self {
            log: Logged::default(),
            grant,
            calling: Some(calling),
        }
    }

    /// The host of a component that describes itself.
    pub(crate) fn for_description() -> Self {
        Self {
            log: Logged::default(),
            grant: Arc::default(),
            calling: None,
        }
    }

    fn run(&self) -> Option<&RunId> {
        self.calling.as_ref().map(|calling| &calling.context.run)
    }
}

impl types::Host for Host {}
