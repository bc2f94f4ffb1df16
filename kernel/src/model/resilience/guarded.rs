//! A model behind a breaker.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Breaker, BreakerSettings, Outcome, Ticket};
use crate::model::{Deltas, Model, ModelError, ModelProfile, Reply, Request};

/// Asks a model, but not one whose server failed several times in a row: such a request fails at once
/// with [`ModelError::Overloaded`], which says until when. One breaker serves all models of one endpoint.
pub struct Guarded<M> {
    model: M,
    breaker: Arc<Mutex<Breaker>>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl<M: Model> Guarded<M> {
    /// Guards a model with a breaker of its own and the machine's monotonic clock.
    pub fn new(model: M, settings: BreakerSettings) -> Self {
        let breaker = Arc::new(Mutex::new(Breaker::new(settings)));
        Self::sharing(model, breaker, monotonic())
    }

    /// Guards a model with a breaker that others share, by a clock that all of them share: a time that
    /// does not go back.
    pub fn sharing(
        model: M,
        breaker: Arc<Mutex<Breaker>>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let clock = Box::new(clock);
        Self {
            model,
            breaker,
            clock,
        }
    }

    fn admit(&self) -> Result<Pass<'_, M>, ModelError> {
        let now = (self.clock)();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        match breaker.admit(now) {
            Ok(ticket) => Ok(Pass {
                guarded: self,
                ticket,
                outcome: Outcome::Dropped,
            }),
            Err(refusal) => {
                let left = refusal.until.saturating_sub(now);
                let until = Timestamp::now() + left;
                Err(ModelError::Overloaded {
                    message: format!(
                        "{} failed {} times in a row and is not asked again for {} s, until {until:.0}",
                        self.model.profile().id(),
                        breaker.failures(),
                        left.as_secs_f64().ceil(),
                    ),
                })
            }
        }
    }
}

/// Time since this was called.
fn monotonic() -> impl Fn() -> Duration + Send + Sync {
    let start = Instant::now();
    move || start.elapsed()
}

/// Gives its ticket back when it is dropped, also by somebody who does not wait for the reply.
struct Pass<'a, M: Model> {
    guarded: &'a Guarded<M>,
    ticket: Ticket,
    outcome: Outcome,
}

impl<M: Model> Drop for Pass<'_, M> {
    fn drop(&mut self) {
        let now = (self.guarded.clock)();
        let breaker = &self.guarded.breaker;
        let mut breaker = breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker.settle(now, self.ticket, self.outcome);
    }
}

#[async_trait]
impl<M: Model> Model for Guarded<M> {
    fn profile(&self) -> &ModelProfile {
        self.model.profile()
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let mut pass = self.admit()?;
        let replied = self.model.reply(request, deltas).await;
        pass.outcome = match &replied {
            Err(ModelError::Overloaded { .. } | ModelError::Unreachable { .. }) => Outcome::Failed,
            Err(ModelError::Cancelled) => Outcome::Dropped,
            _ => Outcome::Answered,
        };
        replied
    }
}
