//! A model made of two: the active self and the core self, with the router between them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::router::{
    Policy, Route, Rules, Signals, Speaker, Spoken, Why, fail_over, is_private, route,
};
use crate::{
    context,
    model::{
        Deltas, Model, ModelError, ModelProfile, Reply, Request,
        resilience::{Breaker, BreakerSettings, Guarded},
    },
};

/// When a self that does not answer is left alone, so that not every step waits for it: there is another
/// one to ask.
const BREAKER: BreakerSettings = BreakerSettings {
    failures: 2,
    first: Duration::from_secs(10),
    longest: Duration::from_secs(300),
};

/// The two selves as one model.
///
/// A step is one reply, whichever of them gave it, and the reply says which did and why
/// ([`Reply::spoken`]). Where one of them fails, the other one is asked in the same step, if the policy, the
/// labels and the money allow.
///
/// Its profile is that of the self that the policy asks first, with the window that both have where either
/// may be asked for the same step. Its name says the policy and the other self, too: see
/// [`Mind::policy_of`].
pub struct Mind {
    active: One,
    core: One,
    rules: Rules,
    profile: ModelProfile,
    clock: Clock,
}

/// A time that does not go back.
type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

struct One {
    model: Guarded<Arc<dyn Model>>,
    breaker: Arc<Mutex<Breaker>>,
}

impl One {
    fn new(model: Arc<dyn Model>, clock: &Clock) -> Self {
        let breaker = Arc::new(Mutex::new(Breaker::new(BREAKER)));
        let clock = clock.clone();
        Self {
            model: Guarded::sharing(model, breaker.clone(), move || clock()),
            breaker,
        }
    }

    fn is_down(&self, now: Duration) -> bool {
        let breaker = self.breaker.lock();
        breaker.unwrap_or_else(PoisonError::into_inner).is_open(now)
    }
}

impl Mind {
    /// Of these two.
    pub fn new(active: Arc<dyn Model>, core: Arc<dyn Model>, rules: Rules) -> Self {
        let start = Instant::now();
        Self::with_clock(active, core, rules, move || start.elapsed())
    }

    /// Likewise, with another clock: a time that does not go back.
    pub fn with_clock(
        active: Arc<dyn Model>,
        core: Arc<dyn Model>,
        rules: Rules,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let clock: Clock = Arc::new(clock);
        let profile = profile(rules.policy, active.profile(), core.profile());
        Self {
            active: One::new(active, &clock),
            core: One::new(core, &clock),
            rules,
            profile,
            clock,
        }
    }

    /// The policy that the id of a mind's profile names, if it is one of a mind.
    pub fn policy_of(id: &str) -> Option<Policy> {
        let inner = id.strip_suffix(')')?;
        let mut openings = inner.rmatch_indices(" (");
        openings.find_map(|(at, opening)| {
            let (policy, _) = inner.get(at + opening.len()..)?.split_once(WITH)?;
            policy.parse().ok()
        })
    }

    fn one(&self, speaker: Speaker) -> &One {
        match speaker {
            Speaker::Active => &self.active,
            Speaker::Core => &self.core,
        }
    }

    fn signals(&self, request: &Request) -> Signals {
        let (active, core) = (self.active.model.profile(), self.core.model.profile());
        let known = &request.known;
        let now = (self.clock)();
        let private = !core.local && is_private(&self.rules.private, request);
        Signals {
            repeats: known.repeats,
            failures: known.failures,
            no_progress: known.no_progress,
            malformed: known.malformed,
            task: known.task,
            window: active.window as usize,
            private,
            active_down: self.active.is_down(now),
            core_down: self.core.is_down(now),
            cost: core.price.map_or(0.0, |price| {
                let input = context::size(request, core) as f64;
                let output = f64::from(request.sampling.max_tokens);
                (input * price.input + output * price.output) / 1e6
            }),
            left: known.cost_left,
        }
    }

    async fn ask(
        &self,
        speaker: Speaker,
        request: &Request,
        deltas: &mut dyn Deltas,
    ) -> Result<Reply, ModelError> {
        self.one(speaker).model.reply(request, deltas).await
    }

    /// Asks the other self after the first one failed, if it may be.
    async fn after_failure(
        &self,
        request: &Request,
        deltas: &mut dyn Deltas,
        (signals, first): (&Signals, Route),
        error: ModelError,
    ) -> Result<Reply, ModelError> {
        let Some(other) = fail_over(&self.rules, signals, first.to, &error) else {
            return Err(error);
        };
        tracing::info!(%error, "the {} did not answer; the {other} is asked", first.to);
        match self.ask(other, request, deltas).await {
            Ok(reply) => {
                // The core self was wanted, and not to be had.
                let wanted = match (first.to, first.wanted) {
                    (Speaker::Core, _) => Some(first.why),
                    (Speaker::Active, wanted) => wanted,
                };
                Ok(spoken(
                    reply,
                    Spoken {
                        by: other,
                        why: Why::Failed,
                        wanted,
                        failed: Some(error),
                        unused: None,
                    },
                ))
            }
            Err(second) => Err(worse(error, second)),
        }
    }

    /// The core self's reply in place of one that the active self was not sure of, if it may be asked and
    /// answers.
    async fn second_opinion(
        &self,
        request: &Request,
        deltas: &mut dyn Deltas,
        signals: &Signals,
        (unsure, why): (Reply, Why),
    ) -> Reply {
        let barrier = signals.barrier();
        let asked = match barrier {
            Some(_) => None,
            None => Some(self.ask(Speaker::Core, request, deltas).await),
        };
        match asked {
            Some(Ok(reply)) => spoken(
                reply,
                Spoken {
                    by: Speaker::Core,
                    why,
                    wanted: None,
                    failed: None,
                    unused: Some(unsure.usage),
                },
            ),
            not => spoken(
                unsure,
                Spoken {
                    by: Speaker::Active,
                    why: barrier.unwrap_or(Why::Failed),
                    wanted: Some(why),
                    failed: not.and_then(Result::err),
                    unused: None,
                },
            ),
        }
    }

    /// What speaks against a reply, if it is one that the core self may be asked about.
    fn against(&self, by: Speaker, reply: &Reply) -> Option<Why> {
        let is_asked = self.rules.policy == Policy::Cascade && by == Speaker::Active;
        is_asked.then(|| self.rules.limits.against(reply)).flatten()
    }
}

/// What stands between the policy and the other self in the name of a mind.
const WITH: &str = " with ";

fn profile(policy: Policy, active: &ModelProfile, core: &ModelProfile) -> ModelProfile {
    let (first, other) = match policy {
        Policy::CloudOnly | Policy::CloudFirst => (core, active),
        Policy::LocalOnly | Policy::LocalFirst | Policy::Cascade => (active, core),
    };
    let window = match policy {
        Policy::LocalFirst | Policy::Cascade => active.window.min(core.window),
        _ => first.window,
    };
    let is_one = matches!(policy, Policy::LocalOnly | Policy::CloudOnly);
    ModelProfile {
        name: format!("{} ({policy}{WITH}{})", first.name, other.id()),
        window,
        local: first.local && (is_one || other.local),
        ..first.clone()
    }
}

fn spoken(reply: Reply, spoken: Spoken) -> Reply {
    Reply {
        spoken: Some(Box::new(spoken)),
        ..reply
    }
}

/// What the run is told where neither self answered: that the request is too long, which it can do something
/// about; else what may pass.
fn worse(first: ModelError, second: ModelError) -> ModelError {
    let overflows = |error: &ModelError| matches!(error, ModelError::ContextOverflow { .. });
    match (overflows(&first), overflows(&second)) {
        (true, _) => first,
        (false, true) => second,
        _ if first.is_transient() => first,
        _ if second.is_transient() => second,
        _ => first,
    }
}

#[async_trait]
impl Model for Mind {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        let signals = self.signals(request);
        let route = route(&self.rules, &signals).map_err(|why| ModelError::Unusable {
            message: format!(
                "the policy is {}, and {why}: it is not sent; go on with `--policy local-only`",
                self.rules.policy
            ),
        })?;
        match self.ask(route.to, request, deltas).await {
            Ok(reply) => Ok(match self.against(route.to, &reply) {
                Some(why) => {
                    self.second_opinion(request, deltas, &signals, (reply, why))
                        .await
                }
                None => spoken(
                    reply,
                    Spoken {
                        by: route.to,
                        why: route.why,
                        wanted: route.wanted,
                        failed: None,
                        unused: None,
                    },
                ),
            }),
            Err(error) => {
                self.after_failure(request, deltas, (&signals, route), error)
                    .await
            }
        }
    }
}
