//! What every body has in common: typed readings with the time they were taken, and devices with a life
//! of their own.
//!
//! Units are SI and in the names; angles are radians, counter-clockwise; the body looks along x, y is to
//! its left (ROS REP 103). Traits are as small as their device, and nothing here waits: a sensor gives
//! what has come since it was asked last, and a drive takes a command at once.

use serde::{Deserialize, Serialize};

/// A time in nanoseconds of the machine's monotonic clock (`CLOCK_MONOTONIC`, the same for all its
/// processes), or of the simulator's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// How long before `now` this was; zero if it is later.
    pub fn age(self, now: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(now.0.saturating_sub(self.0))
    }

    /// How long from here until then; zero if it is over.
    pub fn until(self, then: Self) -> std::time::Duration {
        self.age(then)
    }
}

/// A reading and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// When the sensor took it, not when it arrived.
    pub at: Stamp,
    /// What it is.
    pub value: T,
}

/// Distances around the body, as a laser scanner takes them (ROS `sensor_msgs/LaserScan`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    /// The direction of the first distance.
    pub angle_min_rad: f32,
    /// From one distance to the next.
    pub angle_step_rad: f32,
    /// Closer is no reading.
    pub range_min_m: f32,
    /// Farther is no reading: a ray that met nothing is infinite.
    pub range_max_m: f32,
    /// One for each direction.
    pub ranges_m: Vec<f32>,
}

impl Scan {
    /// How far the nearest thing is, of all that was measured.
    pub fn nearest_m(&self) -> Option<f32> {
        self.nearest_toward(0.0, f32::INFINITY)
    }

    /// How far the nearest thing is in a direction, and so much to either side of it.
    pub fn nearest_toward(&self, middle_rad: f32, side_rad: f32) -> Option<f32> {
        let near = self.ranges_m.iter().enumerate().filter(|(index, range)| {
            let angle = self.angle_min_rad + self.angle_step_rad * *index as f32;
            wrap(angle - middle_rad).abs() < side_rad
                && **range >= self.range_min_m
                && **range <= self.range_max_m
        });
        near.map(|(_, range)| *range).reduce(f32::min)
    }
}

/// Where the body is on the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// Along the map's x.
    pub x_m: f32,
    /// Along the map's y.
    pub y_m: f32,
    /// From the map's x, in (-π, π].
    pub heading_rad: f32,
}

/// How the body moves, or is to move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Twist {
    /// Forwards.
    pub linear_mps: f32,
    /// To the left.
    pub angular_radps: f32,
}

/// What the wheels say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Odometry {
    /// Where they say the body is.
    pub pose: Pose,
    /// How fast they say it is.
    pub twist: Twist,
}

/// What the inertial sensor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Imu {
    /// To the right side.
    pub roll_rad: f32,
    /// Nose down.
    pub pitch_rad: f32,
    /// Turning, to the left.
    pub yaw_rate_radps: f32,
    /// Along x, without gravity.
    pub acceleration_mps2: f32,
}

/// What is left to live on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Battery {
    /// Of its full charge, 0 to 1.
    pub charge: f32,
    /// At its poles.
    pub voltage_v: f32,
}

/// Where the body touches something, and where the floor ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// A bumper is pressed.
    pub bumper: bool,
    /// There is no floor before the wheels.
    pub cliff: bool,
}

/// What was heard, as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// The words.
    pub text: String,
    /// Where from, if the microphone can tell.
    pub bearing_rad: Option<f32>,
}

/// Where in its life a device is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It gives and takes nothing.
    #[default]
    Inactive,
    /// It works.
    Active,
    /// It failed; activating it tries again.
    Error,
}

/// Why a device does not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeviceError {
    /// It is not active.
    #[error("{0} is not active")]
    Inactive(&'static str),
    /// It cannot be reached, or says nothing that can be read.
    #[error("{device}: {why}")]
    Failed {
        /// Its name.
        device: &'static str,
        /// What happened and what to do.
        why: String,
    },
}

/// What all devices can.
pub trait Device: Send {
    /// What it is called in messages.
    fn name(&self) -> &'static str;
    /// Where in its life it is.
    fn lifecycle(&self) -> Lifecycle;
    /// Makes it work. An active device stays as it is.
    fn activate(&mut self) -> Result<(), DeviceError>;
    /// Makes it rest. An inactive device stays as it is.
    fn deactivate(&mut self);
}

/// A device that says something.
pub trait Sensor: Device {
    /// What it says.
    type Reading;
    /// The newest reading that was not given before, if there is one. Never waits.
    fn read(&mut self) -> Result<Option<Stamped<Self::Reading>>, DeviceError>;
}

/// A device that says text aloud.
pub trait Speaker: Device {
    /// Says it, or queues it behind what is being said.
    fn say(&mut self, text: &str) -> Result<(), DeviceError>;
}

/// Something that a camera recognised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// What it is: `person`.
    pub what: String,
    /// How far it is, from the middle of the body.
    pub range_m: f32,
    /// In which direction.
    pub bearing_rad: f32,
}

/// An angle in (-π, π].
pub fn wrap(angle_rad: f32) -> f32 {
    use std::f32::consts::{PI, TAU};
    let wrapped = angle_rad.rem_euclid(TAU);
    if wrapped > PI { wrapped - TAU } else { wrapped }
}
