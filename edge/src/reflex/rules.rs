//! The rules: from what the sensors say to how fast the body may move.
//!
//! [`Rules::check`] is a function of a [`Snapshot`] and of what the rules remember: which of them hold,
//! and since when each is clear. Nothing is allocated once a scan of the usual size was seen. What is
//! missing, old, from the future, or not a number stops the body; no reading ever makes it faster.

use std::time::Duration;

use super::{
    clock::after,
    command::nanos,
    config::{ReflexConfig, STALE_PERIODS, ms},
    shm::Hazards,
    verdict::{Bounds, Cause, Causes, Severity, Verdict},
};
use crate::body::hal::{Battery, Contact, Imu, Odometry, Scan, Stamp, Stamped, Twist};

mod clearance;
mod fence;
mod sensors;
#[cfg(test)]
mod tests;

pub use clearance::Clearance;
use clearance::Points;
use fence::Fence;
use sensors::Sensors;

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Now.
    pub now: Stamp,
    /// The newest scan.
    pub scan: Option<&'a Stamped<Scan>>,
    /// The newest odometry.
    pub odometry: Option<Stamped<Odometry>>,
    /// The newest of the inertial sensor.
    pub imu: Option<Stamped<Imu>>,
    /// The newest of the battery.
    pub battery: Option<Stamped<Battery>>,
    /// The newest of bumper and cliff sensor.
    pub contact: Option<Stamped<Contact>>,
    /// What peers warn of.
    pub hazards: &'a Hazards,
    /// The parent's latest beat; nothing if it is known to be dead, or never beat.
    pub parent: Option<Stamp>,
    /// What the body is asked to do: its way is looked at beside the one that it is on.
    pub wanted: Twist,
    /// Whether the reflexes lack the real-time class.
    pub degraded: bool,
}

/// Whether a rule holds, and since when it would be clear.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    holds: bool,
    clear_since: Option<Stamp>,
}

impl Held {
    /// A bad reading makes it hold at once; it ends when all readings were clear for that long.
    fn update(&mut self, now: Stamp, bad: bool, clear: bool, clear_for: Duration) -> bool {
        if bad {
            self.holds = true;
            self.clear_since = None;
        } else if self.holds && clear {
            let since = *self.clear_since.get_or_insert(now);
            if now.0.saturating_sub(since.0) >= nanos(clear_for) {
                *self = Self::default();
            }
        } else {
            self.clear_since = None;
        }
        self.holds
    }
}

/// A verdict in the making: it only ever gets stricter.
struct Draft {
    verdict: Verdict,
}

impl Draft {
    fn hard(&mut self, cause: Cause, severity: Severity, bounds: Bounds) {
        self.verdict.hard = self.verdict.hard.and(bounds);
        self.verdict.hard_causes = self.verdict.hard_causes.with(cause);
        self.verdict.severity = self.verdict.severity.max(severity);
    }

    fn soft(&mut self, cause: Cause, severity: Severity, bounds: Bounds) {
        self.verdict.soft = self.verdict.soft.and(bounds);
        self.verdict.soft_causes = self.verdict.soft_causes.with(cause);
        self.verdict.severity = self.verdict.severity.max(severity);
    }
}

/// The rules, and what they remember.
#[derive(Debug)]
pub struct Rules {
    config: ReflexConfig,
    points: Points,
    fence: Option<Fence>,
    sensors: Sensors,
    stop_ahead: Held,
    stop_behind: Held,
    slow_ahead: Held,
    slow_behind: Held,
    turning: Held,
    cliff: Held,
    bumper: Held,
    /// Whether the bumper was pressed while going backwards.
    bumped_behind: bool,
    leaning: Held,
    tilted: Held,
    low: Held,
    empty: Held,
}

impl Rules {
    /// The rules of a configuration (see [`ReflexConfig::check`]).
    pub fn new(config: ReflexConfig) -> Self {
        Self {
            points: Points::new(&config),
            fence: Fence::new(&config.fence_m),
            sensors: Sensors::default(),
            stop_ahead: Held::default(),
            stop_behind: Held::default(),
            slow_ahead: Held::default(),
            slow_behind: Held::default(),
            turning: Held::default(),
            cliff: Held::default(),
            bumper: Held::default(),
            bumped_behind: false,
            leaning: Held::default(),
            tilted: Held::default(),
            low: Held::default(),
            empty: Held::default(),
            config,
        }
    }

    /// What they were made of.
    pub fn config(&self) -> &ReflexConfig {
        &self.config
    }

    /// What they say now.
    pub fn check(&mut self, seen: &Snapshot<'_>) -> Verdict {
        let full = self.config.bounds();
        let mut draft = Draft {
            verdict: Verdict {
                hard: full,
                soft: full,
                severity: Severity::Clear,
                hard_causes: Causes::NONE,
                soft_causes: Causes::NONE,
            },
        };
        self.parent(seen, &mut draft);
        let faults = self.sensors.check(&self.config, seen);
        for cause in faults.iter() {
            draft.hard(cause, Severity::Stop, Bounds::STOP);
        }
        self.near(seen, &mut draft);
        self.contact(seen, &mut draft);
        self.tilt(seen, &mut draft);
        self.charge(seen, &mut draft);
        self.area(seen, &mut draft);
        self.peers(seen, &mut draft);
        if seen.degraded {
            let cap = Bounds {
                forward_mps: self.config.degraded_mps,
                backward_mps: self.config.degraded_mps,
                ..full
            };
            draft.hard(Cause::Degraded, Severity::Slow, cap);
        }
        draft.verdict
    }

    /// When something that is fresh now will not be, if nothing else comes: the rules must be looked
    /// at then.
    pub fn next_expiry(&self, seen: &Snapshot<'_>) -> Option<Stamp> {
        let config = &self.config;
        let sensor = |at: Stamp, period_ms: u32| after(at, ms(period_ms) * STALE_PERIODS);
        let imu = config.imu.as_ref().zip(seen.imu);
        let battery = config.battery.as_ref().zip(seen.battery);
        let contact = config.contact.as_ref().zip(seen.contact);
        [
            seen.parent.map(|at| after(at, ms(config.parent_ms))),
            seen.scan.map(|scan| sensor(scan.at, config.scan.period_ms)),
            seen.odometry
                .map(|odometry| sensor(odometry.at, config.odometry.period_ms)),
            imu.map(|(tilt, imu)| sensor(imu.at, tilt.period_ms)),
            battery.map(|(charge, battery)| sensor(battery.at, charge.period_ms)),
            contact.map(|(watch, contact)| sensor(contact.at, watch.period_ms)),
        ]
        .into_iter()
        .flatten()
        // At that time it is as old as it may be; a nanosecond later it is too old.
        .map(|at| Stamp(at.0.saturating_add(1)))
        .filter(|at| *at > seen.now)
        .min()
    }

    fn clear_for(&self) -> Duration {
        ms(self.config.zones.clear_ms)
    }

    fn parent(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let fresh = seen
            .parent
            .is_some_and(|at| at.age(seen.now) <= ms(self.config.parent_ms));
        if !fresh {
            draft.hard(Cause::Parent, Severity::Stop, Bounds::STOP);
        }
    }

    /// The fastest at which the body still stands within that distance: what is in the way comes
    /// nearer at `people_mps` until then.
    ///
    /// Solves `v·t + v²/2a + u·(t + v/a) = d` for `v`; `t` is how long until it brakes.
    fn safe_speed(&self, distance_m: f32, until_braking: Duration) -> f32 {
        let braking = self.config.body.braking_mps2;
        let people = self.config.zones.people_mps;
        let delay = until_braking.as_secs_f32();
        let room = distance_m - people * delay;
        if room <= 0.0 || !room.is_finite() {
            return if room == f32::INFINITY { f32::MAX } else { 0.0 };
        }
        let lost = delay + people / braking;
        braking * ((lost * lost + 2.0 * room / braking).sqrt() - lost)
    }

    /// Stop zone, slow zone, collision, and room to turn.
    fn near(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let Some(scan) = seen.scan else { return };
        let measured = seen.odometry.map(|odometry| odometry.value.twist);
        let clearance = self
            .points
            .clearance(scan, [measured.unwrap_or_default(), seen.wanted]);
        if clearance.blind > self.config.scan.blind {
            draft.hard(Cause::SensorFault, Severity::Stop, Bounds::STOP);
        }
        let zones = &self.config.zones;
        let full = self.config.bounds();
        // The scan is as it was then; the next look is a tick away; the wheels lag.
        let delay = scan.at.age(seen.now) + self.config.tick() + self.config.lag();
        let (ahead, behind) = (clearance.ahead_m, clearance.behind_m);
        let forward = self
            .safe_speed(ahead, delay)
            .min(ahead / (zones.collision_s + delay.as_secs_f32()));
        let backward = self
            .safe_speed(behind, delay)
            .min(behind / (zones.collision_s + delay.as_secs_f32()));
        if forward < full.forward_mps || backward < full.backward_mps {
            let bounds = Bounds {
                forward_mps: forward,
                backward_mps: backward,
                ..full
            };
            draft.hard(Cause::Collision, Severity::Slow, bounds);
        }
        self.zones(seen.now, &clearance, draft);
        let zones = &self.config.zones;
        let margin = zones.side_m.min(0.02);
        let bad = clearance.around_m < margin;
        let clear = clearance.around_m > margin + zones.hysteresis_m.min(0.01);
        let clear_for = self.clear_for();
        if self.turning.update(seen.now, bad, clear, clear_for) {
            let bounds = Bounds {
                turn_radps: 0.0,
                ..full
            };
            draft.hard(Cause::Turning, Severity::Slow, bounds);
        }
    }

    fn zones(&mut self, now: Stamp, clearance: &Clearance, draft: &mut Draft) {
        let zones = &self.config.zones;
        let (clear_for, full) = (self.clear_for(), self.config.bounds());
        let hold = |held: &mut Held, distance: f32, zone: f32| {
            let clear = distance > zone + zones.hysteresis_m;
            held.update(now, distance < zone, clear, clear_for)
        };
        let (ahead, behind) = (clearance.ahead_m, clearance.behind_m);
        let stop_ahead = hold(&mut self.stop_ahead, ahead, zones.stop_m);
        let stop_behind = hold(&mut self.stop_behind, behind, zones.stop_m);
        let slow_ahead = hold(&mut self.slow_ahead, ahead, zones.slow_m);
        let slow_behind = hold(&mut self.slow_behind, behind, zones.slow_m);
        if stop_ahead || stop_behind {
            let bounds = Bounds {
                forward_mps: if stop_ahead { 0.0 } else { full.forward_mps },
                backward_mps: if stop_behind { 0.0 } else { full.backward_mps },
                ..full
            };
            draft.hard(Cause::StopZone, Severity::Stop, bounds);
        }
        if slow_ahead || slow_behind {
            let slow = zones.slow_mps;
            let bounds = Bounds {
                forward_mps: if slow_ahead { slow } else { full.forward_mps },
                backward_mps: if slow_behind { slow } else { full.backward_mps },
                ..full
            };
            draft.soft(Cause::SlowZone, Severity::Slow, bounds);
        }
    }

    /// Bumper and cliff: not a step further in that direction, and slowly out of it.
    fn contact(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let Some(contact) = seen.contact else { return };
        let (clear_for, full) = (self.clear_for(), self.config.bounds());
        let slow = self.config.zones.slow_mps;
        let contact = contact.value;
        let back_off = Bounds {
            forward_mps: 0.0,
            backward_mps: slow,
            ..full
        };
        let cliff = &mut self.cliff;
        if cliff.update(seen.now, contact.cliff, !contact.cliff, clear_for) {
            draft.hard(Cause::Cliff, Severity::Stop, back_off);
        }
        if contact.bumper && !self.bumper.holds {
            let twist = seen.odometry.map(|odometry| odometry.value.twist);
            self.bumped_behind = twist.is_some_and(|twist| twist.linear_mps < -0.01);
        }
        let bumper = &mut self.bumper;
        if bumper.update(seen.now, contact.bumper, !contact.bumper, clear_for) {
            let bounds = if self.bumped_behind {
                Bounds {
                    forward_mps: slow,
                    backward_mps: 0.0,
                    ..full
                }
            } else {
                back_off
            };
            draft.hard(Cause::Bumper, Severity::Stop, bounds);
        }
    }

    fn tilt(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let (Some(tilt), Some(imu)) = (&self.config.imu, seen.imu) else {
            return;
        };
        let (clear_for, full) = (self.clear_for(), self.config.bounds());
        let lean = imu.value.roll_rad.abs().max(imu.value.pitch_rad.abs());
        let clear = |limit: f32| lean < limit * 0.9;
        let slow = self.config.zones.slow_mps;
        let leaning = &mut self.leaning;
        if leaning.update(
            seen.now,
            lean > tilt.slow_rad,
            clear(tilt.slow_rad),
            clear_for,
        ) {
            let bounds = Bounds {
                forward_mps: slow,
                backward_mps: slow,
                ..full
            };
            draft.soft(Cause::Tilt, Severity::Slow, bounds);
        }
        let tilted = &mut self.tilted;
        if tilted.update(
            seen.now,
            lean > tilt.stop_rad,
            clear(tilt.stop_rad),
            clear_for,
        ) {
            draft.hard(Cause::Tilt, Severity::Stop, Bounds::STOP);
        }
        if lean > tilt.fallen_rad {
            draft.hard(Cause::Tilt, Severity::Latch, Bounds::STOP);
        }
    }

    fn charge(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let (Some(charge), Some(battery)) = (&self.config.battery, seen.battery) else {
            return;
        };
        let (clear_for, full) = (self.clear_for(), self.config.bounds());
        let left = battery.value.charge;
        let slow = self.config.zones.slow_mps;
        // Clear when it was charged: not when the voltage recovers because the body stands.
        let low = &mut self.low;
        if low.update(
            seen.now,
            left < charge.low,
            left > charge.low + 0.05,
            clear_for,
        ) {
            let bounds = Bounds {
                forward_mps: slow,
                backward_mps: slow,
                ..full
            };
            draft.soft(Cause::Battery, Severity::Slow, bounds);
        }
        let empty = &mut self.empty;
        if empty.update(
            seen.now,
            left < charge.empty,
            left > charge.empty + 0.05,
            clear_for,
        ) {
            draft.hard(Cause::Battery, Severity::Stop, Bounds::STOP);
        }
    }

    fn area(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let (Some(fence), Some(odometry)) = (&self.fence, seen.odometry) else {
            return;
        };
        let full = self.config.bounds();
        let delay = odometry.at.age(seen.now) + self.config.tick() + self.config.lag();
        let turn = odometry.value.twist.angular_radps;
        let turning = turn * (delay.as_secs_f32() + 0.5);
        let ways = fence.ways(odometry.value.pose, turning);
        let slow = self.config.zones.slow_mps;
        let (front, back) = (self.config.body.front_m, self.config.body.back_m);
        let bound = |distance: f32, own: f32| {
            if ways.inside {
                self.safe_speed(distance - own, delay)
            } else if distance.is_finite() {
                // Outside: only back in, and slowly.
                slow
            } else {
                0.0
            }
        };
        let (forward, backward) = (bound(ways.ahead_m, front), bound(ways.behind_m, back));
        if forward < full.forward_mps || backward < full.backward_mps {
            let severity = if ways.inside {
                Severity::Slow
            } else {
                Severity::Stop
            };
            let bounds = Bounds {
                forward_mps: forward,
                backward_mps: backward,
                ..full
            };
            draft.hard(Cause::Geofence, severity, bounds);
        }
    }

    /// What peers warn of: it may slow or stop, and a person may know better.
    fn peers(&mut self, seen: &Snapshot<'_>, draft: &mut Draft) {
        let full = self.config.bounds();
        let slow = Bounds {
            forward_mps: self.config.zones.slow_mps,
            backward_mps: self.config.zones.slow_mps,
            ..full
        };
        for hazard in seen
            .hazards
            .iter()
            .filter(|hazard| hazard.until >= seen.now)
        {
            let own = self.config.body.front_m.max(self.config.body.half_width_m);
            let way = fence::to_hazard(hazard, seen.odometry.map(|o| o.value.pose), own);
            let delay = self.config.tick()
                + self.config.lag()
                + seen.odometry.map_or(Duration::ZERO, |o| o.at.age(seen.now));
            if way.inside {
                let (severity, bounds) = if hazard.stop {
                    (Severity::Stop, Bounds::STOP)
                } else {
                    (Severity::Slow, slow)
                };
                draft.soft(Cause::Peer, severity, bounds);
            } else if hazard.stop {
                let bounds = Bounds {
                    forward_mps: self.safe_speed(way.ahead_m, delay),
                    backward_mps: self.safe_speed(way.behind_m, delay),
                    ..full
                };
                if bounds.forward_mps < full.forward_mps || bounds.backward_mps < full.backward_mps
                {
                    draft.soft(Cause::Peer, Severity::Slow, bounds);
                }
            }
        }
    }
}
