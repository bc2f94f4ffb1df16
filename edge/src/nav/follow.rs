//! From a way to speeds: pure pursuit, slower at corners and before the end.

use super::plan::Way;
use crate::body::hal::{Pose, Twist, wrap};

/// How a way is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gait {
    /// The fastest.
    pub speed_mps: f32,
    /// The fastest turn.
    pub turn_radps: f32,
    /// How hard it brakes before the end.
    pub braking_mps2: f32,
    /// How near counts as there.
    pub arrived_m: f32,
    /// How far ahead on the way it looks.
    pub ahead_m: f32,
}

impl Default for Gait {
    fn default() -> Self {
        Self {
            speed_mps: 0.5,
            turn_radps: 1.2,
            braking_mps2: 0.5,
            arrived_m: 0.1,
            ahead_m: 0.45,
        }
    }
}

/// Where one is on a way.
#[derive(Clone, Debug)]
pub struct Follower {
    way: Way,
    gait: Gait,
    /// The point of the way that is gone to, counted from its start.
    next: usize,
}

/// What a follower says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Go on like this.
    Go(Twist),
    /// The end is reached.
    Arrived,
}

impl Follower {
    /// At the start of a way.
    pub fn new(way: Way, gait: Gait) -> Self {
        Self { way, gait, next: 1 }
    }

    /// The way that is left, from the point that is gone to.
    pub fn left(&self) -> &[(f32, f32)] {
        self.way
            .get(self.next.min(self.way.len().saturating_sub(1))..)
            .unwrap_or_default()
    }

    /// What to do at that place.
    pub fn step(&mut self, at: Pose) -> Step {
        let Some(end) = self.way.last().copied() else {
            return Step::Arrived;
        };
        let to_end = (end.0 - at.x_m).hypot(end.1 - at.y_m);
        if to_end <= self.gait.arrived_m {
            return Step::Arrived;
        }
        let (aim, left) = self.aim(at);
        let bearing = wrap((aim.1 - at.y_m).atan2(aim.0 - at.x_m) - at.heading_rad);
        let turn = (2.0 * bearing).clamp(-self.gait.turn_radps, self.gait.turn_radps);
        // What is not before it is turned to first.
        if bearing.abs() > 0.7 {
            return Step::Go(Twist {
                linear_mps: 0.0,
                angular_radps: turn,
            });
        }
        let to_brake = (2.0 * self.gait.braking_mps2 * left.max(0.0)).sqrt();
        let straight = bearing.cos().powi(3);
        let linear_mps = (self.gait.speed_mps * straight).min(to_brake).max(0.04);
        Step::Go(Twist {
            linear_mps,
            angular_radps: turn,
        })
    }

    /// The point to look at, and how far the end is along the way.
    fn aim(&mut self, at: Pose) -> ((f32, f32), f32) {
        while let (Some(next), true) = (self.way.get(self.next), self.next + 1 < self.way.len()) {
            if (next.0 - at.x_m).hypot(next.1 - at.y_m) > self.gait.ahead_m {
                break;
            }
            self.next += 1;
        }
        let last = self.way.len().saturating_sub(1);
        let next = self.next.min(last);
        let aim = self.way.get(next).copied().unwrap_or((at.x_m, at.y_m));
        let mut left = (aim.0 - at.x_m).hypot(aim.1 - at.y_m);
        let rest = self.way.get(next..).unwrap_or_default();
        for (from, to) in rest.iter().zip(rest.iter().skip(1)) {
            left += (to.0 - from.0).hypot(to.1 - from.1);
        }
        (aim, left)
    }
}
