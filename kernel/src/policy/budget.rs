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
        self.steps = self.steps.saturating_add(1);
        let fresh = usage.input.saturating_sub(usage.cached);
        let tokens = fresh.saturating_add(usage.output);
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost += usage.cost;
    }

    /// Adds what was used up between two readings of another's.
    pub(crate) fn add_since(&mut self, before: &Self, now: &Self) {
        let steps = now.steps.saturating_sub(before.steps);
        let tokens = now.tokens.saturating_sub(before.tokens);
        let wall_ms = now.wall_ms.saturating_sub(before.wall_ms);
        self.steps = self.steps.saturating_add(steps);
        self.tokens = self.tokens.saturating_add(tokens);
        self.cost += (now.cost - before.cost).max(0.0);
        self.wall_ms = self.wall_ms.saturating_add(wall_ms);
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

    /// What is left of it.
    pub fn left(&self, spent: &Spent) -> Self {
        Self {
            steps: self.steps.saturating_sub(spent.steps),
            tokens: self.tokens.saturating_sub(spent.tokens),
            cost: (self.cost - spent.cost).max(0.0),
            wall_ms: self.wall_ms.saturating_sub(spent.wall_ms),
        }
    }

    /// The budget of which, once so much is used up, this is left.
    pub fn on_top_of(&self, spent: &Spent) -> Self {
        Self {
            steps: self.steps.saturating_add(spent.steps),
            tokens: self.tokens.saturating_add(spent.tokens),
            cost: self.cost + spent.cost,
            wall_ms: self.wall_ms.saturating_add(spent.wall_ms),
        }
    }

    /// The lower of both, bound by bound.
    pub fn lower(&self, other: &Self) -> Self {
        Self {
            steps: self.steps.min(other.steps),
            tokens: self.tokens.min(other.tokens),
            cost: self.cost.min(other.cost),
            wall_ms: self.wall_ms.min(other.wall_ms),
        }
    }

    /// One of so many equal parts.
    pub fn part(&self, of: u32) -> Self {
        let of = of.max(1);
        Self {
            steps: self.steps / of,
            tokens: self.tokens / u64::from(of),
            cost: self.cost / f64::from(of),
            wall_ms: self.wall_ms / u64::from(of),
        }
    }

    /// The time a driver still has.
    pub fn time_left(&self, spent: &Spent) -> Duration {
        Duration::from_millis(self.wall_ms.saturating_sub(spent.wall_ms))
    }
}
