//! What the mind may want of the body, and what is measured of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hal::Pose;

/// What is wanted. There are no speeds in it but the greatest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What for.
    pub goal: Goal,
    /// Never faster than this.
    pub max_speed_mps: f32,
    /// It is given up after so long.
    pub within: Duration,
}

/// Where to, or what for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// To a place on the map.
    GoTo {
        /// Its place.
        x_m: f32,
        /// Its place.
        y_m: f32,
    },
    /// Along these places, one after the other.
    FollowPath(Vec<(f32, f32)>),
    /// Up to somebody, and no nearer than that.
    Approach {
        /// Whom.
        whom: Whom,
        /// How far from their middle to stop.
        stop_at_m: f32,
    },
    /// To look in a direction of the map.
    Turn {
        /// The direction.
        to_rad: f32,
    },
    /// Until something is noticed.
    WaitFor(Event),
    /// To stand still.
    Stop,
}

/// Whom to approach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The one who spoke last.
    Voice,
    /// The nearest person in sight.
    Person,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Somebody speaks.
    Voice,
    /// Somebody comes into sight.
    Person,
    /// Nothing holds the body back any more.
    Clear,
}

/// How an intent ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// As wanted.
    Done,
    /// It was never possible: says why.
    Impossible(String),
    /// It became impossible: says why.
    Blocked(String),
    /// Somebody spoke, and the mind should know before it goes on.
    Heard(String),
    /// It took too long.
    TooLong,
    /// It was not wanted any more.
    Cancelled,
}

/// What the sensors say of how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// How it ended.
    pub ended: Ended,
    /// Where the body is.
    pub pose: Pose,
    /// How far it went, by its wheels.
    pub moved_m: f32,
    /// How long that took.
    pub took_s: f32,
    /// How far the nearest thing is.
    pub nearest_m: Option<f32>,
    /// How far the nearest person in sight is.
    pub person_m: Option<f32>,
    /// What the reflexes held it back for, by name.
    pub held: Vec<String>,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.ended {
            Ended::Done => f.write_str("done")?,
            Ended::Impossible(why) => write!(f, "not possible: {why}")?,
            Ended::Blocked(why) => write!(f, "blocked: {why}")?,
            Ended::Heard(text) => write!(f, "stopped, because somebody said: {text}")?,
            Ended::TooLong => {
                f.write_str("not done in time; the same call again goes on from here")?
            }
            Ended::Cancelled => f.write_str("cancelled")?,
        }
        let Pose {
            x_m,
            y_m,
            heading_rad,
        } = self.pose;
        write!(
            f,
            "; measured: at ({x_m:.2}, {y_m:.2}), heading {:.0}°, moved {:.2} m in {:.1} s",
            heading_rad.to_degrees(),
            self.moved_m,
            self.took_s
        )?;
        if let Some(person) = self.person_m {
            write!(f, "; a person is {person:.1} m away")?;
        } else if let Some(nearest) = self.nearest_m {
            write!(f, "; the nearest thing is {nearest:.2} m away")?;
        }
        if !self.held.is_empty() {
            write!(f, "; reflexes held it back for: {}", self.held.join(", "))?;
        }
        Ok(())
    }
}
