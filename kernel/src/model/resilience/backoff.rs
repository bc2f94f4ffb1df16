//! How long to wait before a failed request is sent again.

use std::time::Duration;

use crate::model::ModelError;

/// The first wait is shorter than this, the second shorter than twice this, and so on.
const FIRST: Duration = Duration::from_secs(1);
/// No wait of our own is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A server that asks for a longer wait is not waited for: that is the user's to decide.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long to wait before the request that failed so is sent again, after `attempt` earlier failures
/// in a row (0 at the first), with `random` in `[0, 1)`. None if sending it again cannot help.
///
/// Exponential with full jitter, `random · min(LONGEST, FIRST · 2^attempt)`, so that clients that failed
/// together do not come back together (Brooker, "Exponential Backoff And Jitter", AWS 2015). A server's
/// `Retry-After` is waited out in full, and up to as much again of our own is added to it for the same
/// reason, but no more than a tenth. A reply that made no sense is asked for again at once.
pub fn backoff(attempt: u32, error: &ModelError, random: f64) -> Option<Duration> {
    let random = if random.is_finite() {
        random.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let ceiling = FIRST.saturating_mul(1 << attempt.min(6)).min(LONGEST);
    match error {
        ModelError::Malformed { .. } => Some(Duration::ZERO),
        ModelError::RateLimited { after_ms: Some(ms) } => {
            let asked = Duration::from_millis(*ms);
            let extra = ceiling.min(asked / 10).mul_f64(random);
            (asked <= LONGEST_WAIT).then(|| asked.saturating_add(extra))
        }
        error if error.is_transient() => Some(ceiling.mul_f64(random)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn overloaded() -> ModelError {
        let message = String::new();
        ModelError::Overloaded { message }
    }

    #[test]
    fn what_cannot_pass_is_not_waited_for() {
        let message = String::new();
        assert_eq!(backoff(0, &ModelError::Unauthorized { message }, 0.5), None);
        assert_eq!(
            backoff(0, &ModelError::ContextOverflow { limit: 1 }, 0.5),
            None
        );
        assert_eq!(backoff(0, &ModelError::Cancelled, 0.5), None);
        let hours = ModelError::RateLimited {
            after_ms: Some(7_200_000),
        };
        assert_eq!(backoff(0, &hours, 0.5), None, "the user decides");
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_ceiling(attempt: u32, random in 0.0..1.0f64) {
            let wait = backoff(attempt, &overloaded(), random).unwrap();
            prop_assert!(wait <= LONGEST);
            prop_assert!(wait <= FIRST * (1 << attempt.min(6)));
        }

        #[test]
        fn a_server_is_given_the_time_it_asks_for(attempt: u32, random: f64, ms in 0u64..=600_000) {
            let asked = ModelError::RateLimited { after_ms: Some(ms) };
            let wait = backoff(attempt, &asked, random).unwrap();
            let asked = Duration::from_millis(ms);
            prop_assert!(asked <= wait && wait <= asked + asked / 10, "{wait:?}");
        }

        #[test]
        fn more_chance_is_more_wait(attempt in 0u32..8, a in 0.0..1.0f64, b in 0.0..1.0f64) {
            let wait = |random| backoff(attempt, &overloaded(), random).unwrap();
            prop_assert!(a > b || wait(a) <= wait(b));
        }
    }
}
