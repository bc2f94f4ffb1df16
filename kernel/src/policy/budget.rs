//! What a run may use up, and what it has.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Usage;

/// What a run may use up. Running out pauses the run; it never throws work away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Replies of the mind.
    pub steps: u32,
    /// Tokens sent and replied that were not cached.
    pub tokens: u64,
    /// US dollars.
    pub cost: f64,
    /// Milliseconds in which a driver was at work.
    pub wall_ms: u64,
}

impl Default for Budget {
    /// 40 steps, a million tokens, one dollar, 15 minutes.
    fn default() -> Self {
        Self {
            steps: 40,
            tokens: 1_000_000,
            cost: 1.0,
            wall_ms: 15 * 60 * 1000,
        }
    }
}

/// What a run has used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Replies of the mind, and failures to reply.
    pub steps: u32,
    /// Tokens sent and replied that were not cached.
    pub tokens: u64,
    /// US dollars.
    pub cost: f64,
    /// Milliseconds in which a driver was at work.
    pub wall_ms: u64,
}

impl Spent {
    /// Adds one reply.
    pub(crate) fn add(&mut self, usage: &Usage) {
        self.steps += 1;
        self.tokens += usage.input.saturating_sub(usage.cached) + usage.output;
        self.cost += usage.cost;
    }
}

impl Budget {
    /// What has run out, as a sentence with the way to go on.
    pub fn exhausted(&self, spent: &Spent) -> Option<String> {
        let what = if spent.steps >= self.steps {
            format!("{} of {} steps", spent.steps, self.steps)
        } else if spent.tokens >= self.tokens {
            format!("{} of {} tokens", spent.tokens, self.tokens)
        } else if spent.cost > self.cost {
            format!("${:.2} of ${:.2}", spent.cost, self.cost)
        } else if spent.wall_ms >= self.wall_ms {
            let (spent, limit) = (
                Duration::from_millis(spent.wall_ms),
                Duration::from_millis(self.wall_ms),
            );
            format!("{} s of {} s", spent.as_secs(), limit.as_secs())
        } else {
            return None;
        };
        Some(format!("{what} are used up"))
    }

    /// The time a driver still has.
    pub fn time_left(&self, spent: &Spent) -> Duration {
        Duration::from_millis(self.wall_ms.saturating_sub(spent.wall_ms))
    }
}
