//! What guests can ask of the host, each thing in its own module.

use std::{path::PathBuf, sync::Arc};

use gpak_kernel::{
    model::CallId,
    tool::{Effect, ToolContext, ToolError},
};

use super::{
    Asks, Secrets,
    bindings::gpak::tool::types::{self, Failure, FailureKind},
    net::Network,
};

mod core;
mod fs;
mod http;
mod kv;
mod log;
mod wasi;

pub(crate) use kv::Values;
pub use log::{LogLine, Logged};

/// What the host has for all calls of a package.
pub(crate) struct House {
    pub(crate) package: String,
    pub(crate) grant: Asks,
    pub(crate) network: Arc<Network>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) values: Values,
    /// gpak's own folders.
    pub(crate) protected: Vec<PathBuf>,
}

/// What a guest can ask of the host.
pub(crate) struct Host {
    pub(crate) log: Logged,
    /// None while a component describes itself, with nothing granted.
    house: Option<Arc<House>>,
    calling: Option<Calling>,
    wasi: Option<Box<wasi::Wasi>>,
    files: Option<Box<fs::Files>>,
    /// The host that the last response came from.
    pub(crate) web: Option<String>,
    /// Whether the call has done what cannot be taken back.
    pub(crate) acted: bool,
}

/// The call that a guest is there for.
#[derive(Debug, Clone)]
pub(crate) struct Calling {
    pub(crate) context: ToolContext,
    pub(crate) call: CallId,
    /// What the tool says it does to the world. It is held to that.
    pub(crate) effect: Effect,
    pub(crate) can_compensate: bool,
}

impl Host {
    /// The host of a call.
    ///
    /// # Errors
    /// If a granted folder cannot be opened.
    pub(crate) fn for_call(house: Arc<House>, calling: Calling) -> Result<Self, ToolError> {
        let mut host = Self::new();
        if house.grant.wasi {
            let wasi = wasi::Wasi::new(&house.grant, Some(&calling), &house.protected)?;
            host.wasi = Some(Box::new(wasi));
        }
        host.house = Some(house);
        host.calling = Some(calling);
        Ok(host)
    }

    /// The host of a component that describes itself.
    ///
    /// # Errors
    /// If WASI, where it is needed, cannot be had.
    pub(crate) fn for_description(wasi: bool) -> Result<Self, ToolError> {
        let mut host = Self::new();
        if wasi {
            host.wasi = Some(Box::new(wasi::Wasi::new(&Asks::default(), None, &[])?));
        }
        Ok(host)
    }

    fn new() -> Self {
        Self {
            log: Logged::default(),
            house: None,
            calling: None,
            wasi: None,
            files: None,
            web: None,
            acted: false,
        }
    }

    fn grant(&self) -> &Asks {
        static NOTHING: std::sync::LazyLock<Asks> = std::sync::LazyLock::new(Asks::default);
        self.house.as_ref().map_or(&NOTHING, |house| &house.grant)
    }

    /// Notes that the guest does something (`what`) that the host cannot take back. A tool is held to what
    /// it says of its effect.
    fn acts(&mut self, what: &str) -> Result<(), Failure> {
        let says = match &self.calling {
            None => "is only being described",
            Some(calling) => match calling.effect {
                Effect::Pure => "changes nothing",
                Effect::Reversible if !calling.can_compensate => "can be undone by the host",
                _ => {
                    self.acted = true;
                    return Ok(());
                }
            },
        };
        let message = format!("{what} is not for a tool that says it {says}");
        Err(failure(FailureKind::Denied, message))
    }
}

fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message }
}

impl types::Host for Host {}
