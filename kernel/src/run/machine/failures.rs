//! What a mind that did not answer leads to.

use std::time::Duration;

use super::{Machine, Next, record};
use crate::{
    context,
    event::{Event, PauseReason, RunSpec, Setup},
    model::{
        ModelError,
        resilience::{LONGEST_WAIT, backoff},
    },
};

/// How often a mind whose server fails for a passing reason is asked again: with the waits in between,
/// for a quarter of a minute on average.
const RETRIES: usize = 5;

/// How often one whose reply made no sense is, which nothing is waited for.
const RETRIES_AT_ONCE: usize = 3;

impl Machine {
    /// What a mind that did not answer leads to.
    pub(super) fn next_of_failures(&self, spec: &RunSpec, setup: &Setup) -> Option<Next> {
        let failures = &self.state.model_failures;
        let error = failures.last()?;
        if let ModelError::ContextOverflow { limit } = error {
            return Some(record(context::overflowed(
                &self.state,
                spec,
                setup,
                *limit,
            )));
        }
        let message = match (self.wait(), is_tried_again(failures)) {
            (Some(wait), true) => {
                let left = spec.budget.time_left(&self.state.charged());
                if wait < left || left.is_zero() {
                    return None;
                }
                format!(
                    "{error}, and only {} s of the run's time are left; go on once it is over",
                    left.as_secs()
                )
            }
            (None, true) => format!(
                "{error}; that is more than the {} min gpak waits by itself, so go on once it is over",
                LONGEST_WAIT.as_secs() / 60
            ),
            (_, false) => error.to_string(),
        };
        Some(record(Event::RunPaused {
            reason: PauseReason::Model { message },
        }))
    }

    /// How long to wait before the mind is asked, given how it failed so far; None if waiting is the
    /// user's to decide.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self.state.model_failures.as_slice() {
            [] => Some(Duration::ZERO),
            [earlier @ .., error] => {
                let attempt = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
                backoff(attempt, error, self.chance())
            }
        }
    }

    /// A number in `[0, 1)` that no two runs have in common and that a replay finds again: the hash of
    /// the last entry.
    fn chance(&self) -> f64 {
        const BITS: u32 = f64::MANTISSA_DIGITS;
        let hash = self.state.head.map_or([0; 32], |head| head.hash.0);
        let first = hash.first_chunk().copied().unwrap_or_default();
        (u64::from_le_bytes(first) >> (u64::BITS - BITS)) as f64 / (1u64 << BITS) as f64
    }
}

/// Whether a mind that failed so in a row is asked again.
fn is_tried_again(failures: &[ModelError]) -> bool {
    match failures.last() {
        Some(ModelError::Malformed { .. }) => failures.len() <= RETRIES_AT_ONCE,
        Some(error) => error.is_transient() && failures.len() <= RETRIES,
        None => false,
    }
}

pub(super) fn in_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
