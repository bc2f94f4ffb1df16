//! When to stop asking a server that fails, and when to ask again.

use std::time::Duration;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it is open the first time. Each time the trial after that fails, it is twice as long.
    pub first: Duration,
    /// How long it is open at most.
    pub longest: Duration,
}

impl Default for BreakerSettings {
    /// 8 failures, 10 s to 5 min. More failures than the machine tries one request for, so that one run
    /// alone does not open it within one step.
    fn default() -> Self {
        Self {
            failures: 8,
            first: Duration::from_secs(10),
            longest: Duration::from_secs(300),
        }
    }
}

/// What came of a request that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered, if only to say what was wrong with the request.
    Answered,
    /// The server did not answer, or could not.
    Failed,
    /// Nobody waited for it.
    Dropped,
}

/// Lets one request through; to be given back with what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Counts the openings before it, so that what is late says nothing of what is now.
    era: u64,
    trial: bool,
}

/// No request is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When one will be, at the earliest.
    pub until: Duration,
}

/// A circuit breaker: closed, it lets all through; after some failures in a row it opens and lets none
/// through; after some time it is half open and lets one through, a trial, which closes or opens it.
///
/// It has no clock: `now` is any time that does not go back.
#[derive(Debug, Clone)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    era: u64,
    /// How often it opened since a request last went well.
    opened: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen { on_trial: bool, since: Duration },
}

impl Breaker {
    /// A closed one.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed { failures: 0 },
            era: 0,
            opened: 0,
        }
    }

    /// Asks to let a request through.
    ///
    /// # Errors
    /// [`Refusal`] if it is open, or half open with its trial under way.
    pub fn admit(&mut self, now: Duration) -> Result<Ticket, Refusal> {
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::HalfOpen {
                on_trial: false,
                since: now,
            };
        }
        match &mut self.state {
            State::Closed { .. } => Ok(self.ticket(false)),
            State::Open { until } => Err(Refusal { until: *until }),
            State::HalfOpen { on_trial: true, .. } => Err(Refusal { until: now }),
            State::HalfOpen { on_trial, .. } => {
                *on_trial = true;
                Ok(self.ticket(true))
            }
        }
    }

    fn ticket(&self, trial: bool) -> Ticket {
        let era = self.era;
        Ticket { era, trial }
    }

    /// Takes back a ticket.
    pub fn settle(&mut self, now: Duration, ticket: Ticket, outcome: Outcome) {
        if ticket.era != self.era {
            return;
        }
        match (outcome, &mut self.state) {
            (Outcome::Answered, _) => {
                self.state = State::Closed { failures: 0 };
                self.opened = 0;
                // What was asked before the server failed and answered again is of no more interest.
                self.era += u64::from(ticket.trial);
            }
            (Outcome::Dropped, State::HalfOpen { on_trial, .. }) if ticket.trial => {
                *on_trial = false
            }
            (Outcome::Failed, State::HalfOpen { .. }) if ticket.trial => self.open(now),
            (Outcome::Failed, State::Closed { failures }) => {
                *failures += 1;
                if *failures >= self.settings.failures.max(1) {
                    self.open(now);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, now: Duration) {
        let longer = 1u32.checked_shl(self.opened.min(31)).unwrap_or(u32::MAX);
        let time = self
            .settings
            .first
            .saturating_mul(longer)
            .min(self.settings.longest);
        self.opened = self.opened.saturating_add(1);
        self.era += 1;
        self.state = State::Open {
            until: now.saturating_add(time),
        };
    }

    /// Whether a request would be refused now.
    pub fn is_open(&self, now: Duration) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::HalfOpen { on_trial, .. } => on_trial,
        }
    }

    /// Failures in a row, or those that opened it.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures } => failures,
            _ => self.settings.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failures: 3,
        first: Duration::from_secs(10),
        longest: Duration::from_secs(40),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail(breaker: &mut Breaker, now: Duration) {
        let ticket = breaker.admit(now).unwrap();
        breaker.settle(now, ticket, Outcome::Failed);
    }

    #[test]
    fn it_opens_after_some_failures_in_a_row_and_tries_one_request_after_a_while() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..3 {
            fail(&mut breaker, at(0));
        }
        assert_eq!(breaker.admit(at(9)), Err(Refusal { until: at(10) }));
        let trial = breaker.admit(at(10)).unwrap();
        assert_eq!(
            breaker.admit(at(10)),
            Err(Refusal { until: at(10) }),
            "one at a time"
        );
        breaker.settle(at(11), trial, Outcome::Failed);
        assert_eq!(
            breaker.admit(at(11)),
            Err(Refusal { until: at(31) }),
            "twice as long"
        );
        let trial = breaker.admit(at(31)).unwrap();
        breaker.settle(at(32), trial, Outcome::Answered);
        for _ in 0..2 {
            fail(&mut breaker, at(33));
        }
        breaker.admit(at(33)).unwrap();
    }

    #[test]
    fn a_trial_that_nobody_waits_for_makes_room_for_another() {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..3 {
            fail(&mut breaker, at(0));
        }
        let trial = breaker.admit(at(10)).unwrap();
        breaker.settle(at(11), trial, Outcome::Dropped);
        breaker.admit(at(11)).unwrap();
    }

    #[derive(Debug, Clone)]
    enum Act {
        Pass(u64),
        Admit,
        Settle(prop::sample::Index, Outcome),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let outcome = prop_oneof![
            Just(Outcome::Answered),
            Just(Outcome::Failed),
            Just(Outcome::Dropped)
        ];
        let act = prop_oneof![
            (0u64..60).prop_map(Act::Pass),
            Just(Act::Admit),
            Just(Act::Admit),
            (any::<prop::sample::Index>(), outcome)
                .prop_map(|(at, outcome)| Act::Settle(at, outcome)),
        ];
        prop::collection::vec(act, 0..120)
    }

    proptest! {
        /// Whatever happens: it is never shut for longer than its longest time, a refusal's time is not
        /// over, and once it is over somebody gets through.
        #[test]
        fn it_is_never_shut_for_good(acts in acts()) {
            let mut breaker = Breaker::new(SETTINGS);
            let (mut now, mut tickets) = (Duration::ZERO, Vec::new());
            for act in acts {
                match act {
                    Act::Pass(seconds) => now += at(seconds),
                    Act::Admit => match breaker.admit(now) {
                        Ok(ticket) => tickets.push(ticket),
                        Err(refusal) => {
                            prop_assert!(refusal.until >= now);
                            prop_assert!(refusal.until <= now + SETTINGS.longest);
                        }
                    },
                    Act::Settle(index, outcome) if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(index.index(tickets.len()));
                        breaker.settle(now, ticket, outcome);
                    }
                    Act::Settle(..) => {}
                }
            }
            for ticket in tickets {
                breaker.settle(now, ticket, Outcome::Dropped);
            }
            prop_assert!(breaker.admit(now + SETTINGS.longest).is_ok());
        }

        /// With answers only it never opens; a failure is forgotten at the next answer.
        #[test]
        fn an_answer_closes_it(failures in prop::collection::vec(0usize..3, 0..20)) {
            let mut breaker = Breaker::new(SETTINGS);
            for few in failures {
                for _ in 0..few {
                    fail(&mut breaker, at(0));
                }
                let ticket = breaker.admit(at(0)).unwrap();
                breaker.settle(at(0), ticket, Outcome::Answered);
            }
        }
    }
}
