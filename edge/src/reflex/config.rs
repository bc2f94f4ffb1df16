//! The table `[reflex]` of `robot.toml`: what the body can, what it must watch, and how soon.
//!
//! Unknown keys are refused. So is a body that could not stop for what it sees: [`ReflexConfig::check`]
//! adds up the times from a reading to standing wheels and compares them with what the sensors reach.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{arbiter::Envelope, verdict::Bounds};

mod check;
#[cfg(test)]
mod tests;

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("robot.toml: {0}")]
    Syntax(#[from] toml::de::Error),
    /// There is no table of the reflexes.
    #[error(
        "robot.toml has no table [reflex]; `gpak reflexd --print-config` prints one to start from"
    )]
    Missing,
    /// A number is not in its range.
    #[error("robot.toml: reflex.{key} is {value}: {must}")]
    Range {
        /// Where.
        key: &'static str,
        /// What it is.
        value: f64,
        /// What it must be.
        must: &'static str,
    },
    /// The times do not add up.
    #[error("robot.toml: {0}")]
    Deadline(String),
}

/// Everything that the reflexes need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReflexConfig {
    /// How often the rules are looked at, if no sensor asks for it sooner.
    #[serde(default = "default_tick")]
    pub tick_hz: u32,
    /// For how long the motors may believe one decision: then they stop by themselves.
    #[serde(default = "default_motor")]
    pub motor_ms: u32,
    /// How long the parent may be silent.
    #[serde(default = "default_parent")]
    pub parent_ms: u32,
    /// How fast the body may move where the system grants no real-time class.
    #[serde(default = "default_degraded")]
    pub degraded_mps: f32,
    /// How long an idle processor may take to wake up, in microseconds, where the system lets it be chosen: with
    /// 0 it never falls asleep, which takes the most power and is the soonest.
    #[serde(default)]
    pub wake_us: u32,
    /// The body.
    pub body: Body,
    /// What is near.
    #[serde(default)]
    pub zones: Zones,
    /// The laser scanner: the body does not move without.
    pub scan: ScanWatch,
    /// The wheels: the body does not move without.
    pub odometry: Watch,
    /// The inertial sensor, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imu: Option<Tilt>,
    /// The battery, if it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<Charge>,
    /// Bumper and cliff sensor, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Touch>,
    /// Where the body may be: the corners of an area of the map, in order. Empty is anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fence_m: Vec<[f32; 2]>,
    /// What each source may wish.
    #[serde(default)]
    pub sources: Sources,
}

/// What the body can.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// From its centre of turning to its front.
    pub front_m: f32,
    /// From there to its back.
    pub back_m: f32,
    /// From there to either side.
    pub half_width_m: f32,
    /// How much room it needs to turn on the spot. Left out, what its corners need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_radius_m: Option<f32>,
    /// Its fastest, forwards.
    pub forward_mps: f32,
    /// Its fastest, backwards.
    pub backward_mps: f32,
    /// Its fastest, turning.
    pub turn_radps: f32,
    /// How hard it brakes, at least.
    pub braking_mps2: f32,
    /// From a command at the motors to the wheels, at most.
    pub lag_ms: u32,
}

/// What is near, and what that means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Zones {
    /// Closer than that, in the direction of motion, is a stop.
    pub stop_m: f32,
    /// Closer than that is slow.
    pub slow_m: f32,
    /// How fast slow is.
    pub slow_mps: f32,
    /// What is kept free at either side.
    pub side_m: f32,
    /// How long until a collision, at least.
    pub collision_s: f32,
    /// How fast what is in the way may come nearer by itself.
    pub people_mps: f32,
    /// How much farther than the zone something must be until it is clear.
    pub hysteresis_m: f32,
    /// For how long it must be clear.
    pub clear_ms: u32,
}

impl Default for Zones {
    fn default() -> Self {
        Self {
            stop_m: 0.20,
            slow_m: 0.80,
            slow_mps: 0.25,
            side_m: 0.05,
            collision_s: 0.5,
            people_mps: 0.0,
            hysteresis_m: 0.05,
            clear_ms: 300,
        }
    }
}

/// The laser scanner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanWatch {
    /// How often it scans. After three times that it is stale.
    pub period_ms: u32,
    /// How many points a scan has at most.
    pub points: usize,
    /// How far it sees for sure.
    pub reach_m: f32,
    /// Where it is, before the centre of turning.
    #[serde(default)]
    pub x_m: f32,
    /// Where it is, to the left of the centre.
    #[serde(default)]
    pub y_m: f32,
    /// Which way its zero points.
    #[serde(default)]
    pub yaw_rad: f32,
    /// Which share of its points may be no reading until it counts as blind.
    #[serde(default = "default_blind")]
    pub blind: f32,
}

/// A sensor that must say something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// How often it does. After three times that it is stale.
    pub period_ms: u32,
}

/// Bumper and cliff sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Touch {
    /// How often they say something.
    pub period_ms: u32,
    /// How far before the body the cliff sensor sees the floor end. Left out, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cliff_m: Option<f32>,
}

/// The inertial sensor, and how far the body may lean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tilt {
    /// How often it says something.
    pub period_ms: u32,
    /// Leaning more is slow.
    pub slow_rad: f32,
    /// Leaning more is a stop.
    pub stop_rad: f32,
    /// Leaning more is an e-stop: it fell.
    pub fallen_rad: f32,
}

/// The battery, and how empty it may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// How often it says something.
    pub period_ms: u32,
    /// Below this share of its charge is slow.
    pub low: f32,
    /// Below this share is a stop.
    pub empty: f32,
}

/// What each source may wish. Left out, what the body can.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// The model's planner.
    pub model: May,
    /// The mission's planner.
    pub mission: May,
    /// A person.
    pub manual: May,
}

/// What a source may wish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct May {
    /// Its fastest, either way. Never more than the body can.
    pub linear_mps: Option<f32>,
    /// Its fastest turn.
    pub turn_radps: Option<f32>,
    /// For how long a wish may stand.
    pub valid_ms: u32,
}

impl Default for May {
    fn default() -> Self {
        Self {
            linear_mps: None,
            turn_radps: None,
            valid_ms: 500,
        }
    }
}

fn default_tick() -> u32 {
    200
}

fn default_motor() -> u32 {
    20
}

fn default_parent() -> u32 {
    25
}

fn default_degraded() -> f32 {
    0.2
}

fn default_blind() -> f32 {
    0.2
}

/// Three periods without a reading: the sensor is stale.
pub const STALE_PERIODS: u32 = 3;

impl ReflexConfig {
    /// From the text of a `robot.toml`; its other tables are for others to read.
    ///
    /// # Errors
    ///
    /// It cannot be read, has no table `[reflex]`, or is refused by [`ReflexConfig::check`].
    pub fn from_robot(text: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Robot {
            reflex: Option<ReflexConfig>,
        }
        let robot: Robot = toml::from_str(text)?;
        let config = robot.reflex.ok_or(ConfigError::Missing)?;
        config.check()?;
        Ok(config)
    }

    /// As a `robot.toml` that has no other table.
    ///
    /// # Errors
    ///
    /// A number is too large for TOML.
    pub fn to_robot(&self) -> Result<String, toml::ser::Error> {
        #[derive(Serialize)]
        struct Robot<'a> {
            reflex: &'a ReflexConfig,
        }
        toml::to_string(&Robot { reflex: self })
    }

    /// A small robot on two wheels with a scanner, to start from: what tests and examples use.
    pub fn example() -> Self {
        Self {
            tick_hz: default_tick(),
            motor_ms: default_motor(),
            parent_ms: default_parent(),
            degraded_mps: default_degraded(),
            wake_us: 0,
            body: Body {
                front_m: 0.18,
                back_m: 0.18,
                half_width_m: 0.18,
                turn_radius_m: Some(0.18),
                forward_mps: 1.0,
                backward_mps: 0.4,
                turn_radps: 1.5,
                braking_mps2: 2.0,
                lag_ms: 20,
            },
            zones: Zones::default(),
            scan: ScanWatch {
                period_ms: 100,
                points: 360,
                reach_m: 8.0,
                x_m: 0.0,
                y_m: 0.0,
                yaw_rad: 0.0,
                blind: default_blind(),
            },
            odometry: Watch { period_ms: 20 },
            imu: Some(Tilt {
                period_ms: 20,
                slow_rad: 0.2,
                stop_rad: 0.35,
                fallen_rad: 0.9,
            }),
            battery: Some(Charge {
                period_ms: 1000,
                low: 0.2,
                empty: 0.05,
            }),
            contact: Some(Touch {
                period_ms: 20,
                cliff_m: None,
            }),
            fence_m: Vec::new(),
            sources: Sources::default(),
        }
    }

    /// The time between two ticks.
    pub fn tick(&self) -> Duration {
        Duration::from_secs(1) / self.tick_hz.max(1)
    }

    /// From a decision to the wheels doing it, at most.
    pub fn lag(&self) -> Duration {
        ms(self.body.lag_ms)
    }

    /// The fastest that the body can.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            forward_mps: self.body.forward_mps,
            backward_mps: self.body.backward_mps,
            turn_radps: self.body.turn_radps,
        }
    }

    /// What each source may wish, in the order of `Source::ALL`.
    pub fn envelopes(&self) -> [Envelope; 3] {
        let sources = [
            &self.sources.model,
            &self.sources.mission,
            &self.sources.manual,
        ];
        sources.map(|may| {
            let linear = may.linear_mps.unwrap_or(f32::INFINITY);
            let own = Bounds {
                forward_mps: linear,
                backward_mps: linear,
                turn_radps: may.turn_radps.unwrap_or(f32::INFINITY),
            };
            Envelope {
                bounds: self.bounds().and(own),
                valid_for: ms(may.valid_ms),
            }
        })
    }
}

/// Milliseconds.
pub(super) fn ms(milliseconds: u32) -> Duration {
    Duration::from_millis(u64::from(milliseconds))
}
