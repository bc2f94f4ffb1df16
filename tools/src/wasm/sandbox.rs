//! A fresh place for one guest, and the time it has.

use std::time::Instant;

use wasmtime::{Engine, Store};

use super::{
    WasmError,
    engine::{self, Guest, Ticking},
    limits::Limits,
    stop::{Ending, Stopped, stopped},
};

/// A fresh place for one guest. Dropping it, or the future of [`Sandbox::run`], ends the guest at once.
pub(crate) struct Sandbox<T: 'static> {
    store: Store<Guest<T>>,
    limits: Limits,
    deadline: Instant,
    _ticking: Ticking,
}

impl<T: Send + 'static> Sandbox<T> {
    /// A place whose guest has `host` and `limits`, from now on.
    ///
    /// # Errors
    /// If the engine's clock cannot be started.
    pub(crate) fn new(engine: &'static Engine, host: T, limits: Limits) -> Result<Self, WasmError> {
        let ticking = Ticking::start(engine)?;
        let deadline = Instant::now() + limits.time();
        Ok(Self {
            store: engine::store(engine, host, &limits, deadline),
            limits,
            deadline,
            _ticking: ticking,
        })
    }

    /// Does something with the guest, until it is done or the time is up.
    ///
    /// # Errors
    /// Why the guest was stopped.
    pub(crate) async fn run<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut Store<Guest<T>>) -> wasmtime::Result<R>,
    ) -> Result<R, Stopped> {
        let deadline = tokio::time::Instant::from_std(self.deadline);
        let done = tokio::time::timeout_at(deadline, work(&mut self.store)).await;
        let done = done.unwrap_or_else(|_| Err(Ending::TimedOut.into()));
        done.map_err(|error| stopped(&error, &self.store.data().meter, &self.limits))
    }

    /// What the host has for the guest.
    pub(crate) fn host(&mut self) -> &mut T {
        &mut self.store.data_mut().host
    }

    /// The same, once the guest is gone.
    pub(crate) fn into_host(self) -> T {
        self.store.into_data().host
    }
}
