//! What the rules say: how fast the body may move, how bad it is, and why.

use serde::{Deserialize, Serialize};

use crate::body::hal::{Stamp, Twist};

/// How bad it is. The order is the meaning (as in PX4's failsafe): of two, the greater counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong.
    #[default]
    Clear,
    /// The body must be slow.
    Slow,
    /// The body must not move in some direction, or at all.
    Stop,
    /// The body stops and stays stopped until a person releases it.
    Latch,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Clear, Self::Slow, Self::Stop, Self::Latch];
}

/// Why the body is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Something is in the slow zone.
    SlowZone,
    /// Something is in the stop zone.
    StopZone,
    /// Something is on the way, closer than the body brakes from full speed.
    Collision,
    /// Something is so close that turning would touch it.
    Turning,
    /// A bumper is pressed.
    Bumper,
    /// The floor ends.
    Cliff,
    /// The body leans.
    Tilt,
    /// The battery is low.
    Battery,
    /// The fence is near, or behind.
    Geofence,
    /// A sensor says nothing fresh.
    SensorStale,
    /// A sensor says what cannot be.
    SensorFault,
    /// The parent is dead, hangs, or was never there.
    Parent,
    /// A peer warned.
    Peer,
    /// The system grants no real-time class.
    Degraded,
    /// The e-stop was pressed.
    EStop,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::SlowZone,
        Self::StopZone,
        Self::Collision,
        Self::Turning,
        Self::Bumper,
        Self::Cliff,
        Self::Tilt,
        Self::Battery,
        Self::Geofence,
        Self::SensorStale,
        Self::SensorFault,
        Self::Parent,
        Self::Peer,
        Self::Degraded,
        Self::EStop,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowZone => "slow zone",
            Self::StopZone => "stop zone",
            Self::Collision => "collision ahead",
            Self::Turning => "no room to turn",
            Self::Bumper => "bumper",
            Self::Cliff => "cliff",
            Self::Tilt => "tilt",
            Self::Battery => "battery",
            Self::Geofence => "geofence",
            Self::SensorStale => "stale sensor",
            Self::SensorFault => "faulty sensor",
            Self::Parent => "no parent",
            Self::Peer => "hazard from a peer",
            Self::Degraded => "no real-time class",
            Self::EStop => "e-stop",
        }
    }
}

/// A set of causes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Causes(u32);

impl Causes {
    /// None.
    pub const NONE: Self = Self(0);

    /// The set with these bits; bits that mean nothing are dropped.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & ((1 << Cause::ALL.len()) - 1))
    }

    /// Its bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set with one more.
    #[must_use]
    pub fn with(self, cause: Cause) -> Self {
        Self(self.0 | 1 << cause as u32)
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is one of them.
    pub fn has(self, cause: Cause) -> bool {
        self.0 & 1 << cause as u32 != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |cause| self.has(*cause))
    }
}

impl std::fmt::Display for Causes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, cause) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", cause.name())?;
        }
        Ok(())
    }
}

/// How fast the body may move at most. None of them is negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Forwards.
    pub forward_mps: f32,
    /// Backwards.
    pub backward_mps: f32,
    /// Turning, either way.
    pub turn_radps: f32,
}

impl Bounds {
    /// No motion at all.
    pub const STOP: Self = Self {
        forward_mps: 0.0,
        backward_mps: 0.0,
        turn_radps: 0.0,
    };

    /// What both allow. What is not a number allows nothing.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            forward_mps: least(self.forward_mps, other.forward_mps),
            backward_mps: least(self.backward_mps, other.backward_mps),
            turn_radps: least(self.turn_radps, other.turn_radps),
        }
    }

    /// Whether the motion is within them. What is not a number is not.
    pub fn allow(self, twist: Twist) -> bool {
        twist.linear_mps <= self.forward_mps
            && -twist.linear_mps <= self.backward_mps
            && twist.angular_radps.abs() <= self.turn_radps
    }

    /// The fastest motion within them on the same curve: what is held back is held back along its path.
    pub fn limit(self, twist: Twist) -> Twist {
        if self.allow(twist) {
            return twist;
        }
        let (speed, bound) = if twist.linear_mps >= 0.0 {
            (twist.linear_mps, self.forward_mps)
        } else {
            (-twist.linear_mps, self.backward_mps)
        };
        let turn = twist.angular_radps.abs();
        let share = share_of(speed, bound).min(share_of(turn, self.turn_radps));
        // Rounding may not make it faster than the bound.
        let limited = Twist {
            linear_mps: (twist.linear_mps * share)
                .clamp(-positive(self.backward_mps), positive(self.forward_mps)),
            angular_radps: (twist.angular_radps * share)
                .clamp(-positive(self.turn_radps), positive(self.turn_radps)),
        };
        if self.allow(limited) {
            limited
        } else {
            Twist::default()
        }
    }
}

fn positive(bound: f32) -> f32 {
    if bound > 0.0 { bound } else { 0.0 }
}

fn least(one: f32, other: f32) -> f32 {
    if one.is_nan() || other.is_nan() {
        return 0.0;
    }
    one.min(other).max(0.0)
}

fn share_of(speed: f32, bound: f32) -> f32 {
    if speed <= bound {
        1.0
    } else if bound > 0.0 && speed.is_finite() {
        bound / speed
    } else {
        0.0
    }
}

/// What the rules say of one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What nobody may exceed.
    pub hard: Bounds,
    /// What only a person may exceed.
    pub soft: Bounds,
    /// How bad it is.
    pub severity: Severity,
    /// Why the hard bounds are what they are.
    pub hard_causes: Causes,
    /// Why the soft bounds are what they are.
    pub soft_causes: Causes,
}

impl Verdict {
    /// Nothing may move, for this cause.
    pub fn stop(cause: Cause) -> Self {
        Self {
            hard: Bounds::STOP,
            soft: Bounds::STOP,
            severity: Severity::Stop,
            hard_causes: Causes::NONE.with(cause),
            soft_causes: Causes::NONE,
        }
    }
}

/// What kind of danger a peer warns of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HazardKind {
    /// The floor ends there.
    Cliff,
    /// Something is in the way.
    Obstacle,
    /// A person lies or stands there.
    Person,
    /// Fire, smoke or heat.
    Fire,
    /// Something else.
    Other,
}

impl HazardKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Cliff,
        Self::Obstacle,
        Self::Person,
        Self::Fire,
        Self::Other,
    ];

    /// What it is called, as in the mesh's subjects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cliff => "cliff",
            Self::Obstacle => "obstacle",
            Self::Person => "person",
            Self::Fire => "fire",
            Self::Other => "other",
        }
    }
}

/// A danger that a peer warned of. It may slow or stop this body; it never releases it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hazard {
    /// What it is.
    pub kind: HazardKind,
    /// Whether to stop there, or else to be slow.
    pub stop: bool,
    /// Where it is on the map, along x.
    pub x_m: f32,
    /// Where it is on the map, along y.
    pub y_m: f32,
    /// How far around that it reaches; infinite if it is everywhere.
    pub radius_m: f32,
    /// When it ends, if it is not said again.
    pub until: Stamp,
    /// Who says so, as a number.
    pub peer: u64,
}
