//! Whether the sensors can be believed: fresh, in order, finite, not frozen, not jumping.

use super::{Held, Snapshot};
use crate::{
    body::hal::{Odometry, Stamp, Stamped},
    reflex::{
        command::nanos,
        config::{ReflexConfig, STALE_PERIODS, ms},
        verdict::{Cause, Causes},
    },
};

/// So many scans in a row that are the same bit for bit, while the body moves, are one frozen scan.
const FROZEN: u32 = 5;
/// From this speed on a body moves.
const MOVES_MPS: f32 = 0.05;

/// What is remembered of them.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    odometry: Option<Stamped<Odometry>>,
    jumped: Held,
    scan_at: Stamp,
    scan_sum: u64,
    same_scans: u32,
}

impl Sensors {
    /// What is wrong with them.
    pub fn check(&mut self, config: &ReflexConfig, seen: &Snapshot<'_>) -> Causes {
        let mut causes = Causes::NONE;
        let mut watch = |at: Option<Stamp>, period_ms: u32| {
            let now = seen.now;
            let longest = nanos(ms(period_ms) * STALE_PERIODS);
            match at {
                // A clock that stepped, or a sensor with a clock of its own.
                Some(at) if at > now => causes = causes.with(Cause::SensorFault),
                Some(at) if now.0 - at.0 <= longest => {}
                _ => causes = causes.with(Cause::SensorStale),
            }
        };
        watch(seen.scan.map(|scan| scan.at), config.scan.period_ms);
        watch(
            seen.odometry.map(|odometry| odometry.at),
            config.odometry.period_ms,
        );
        if let Some(tilt) = &config.imu {
            watch(seen.imu.map(|imu| imu.at), tilt.period_ms);
        }
        if let Some(charge) = &config.battery {
            watch(seen.battery.map(|battery| battery.at), charge.period_ms);
        }
        if let Some(contact) = &config.contact {
            watch(seen.contact.map(|contact| contact.at), contact.period_ms);
        }
        let jumped = self.jumps(config, seen);
        let clear_for = ms(config.zones.clear_ms);
        if self.jumped.update(seen.now, jumped, !jumped, clear_for)
            || !finite(config, seen)
            || self.frozen(seen)
        {
            causes = causes.with(Cause::SensorFault);
        }
        causes
    }

    /// Whether the body is somewhere it cannot have gone.
    fn jumps(&mut self, config: &ReflexConfig, seen: &Snapshot<'_>) -> bool {
        let Some(now) = seen.odometry else {
            return false;
        };
        let before = self.odometry.replace(now);
        let Some(before) = before.filter(|before| before.at != now.at) else {
            return false;
        };
        if now.at < before.at {
            return true;
        }
        let passed = before.at.age(now.at).as_secs_f32();
        let fastest = config.body.forward_mps.max(config.body.backward_mps);
        let (from, to) = (before.value.pose, now.value.pose);
        let way = (to.x_m - from.x_m).hypot(to.y_m - from.y_m);
        let speed = now.value.twist.linear_mps.abs();
        // Twice what the body can, and a bit for what is rounded.
        way > 2.0 * fastest * passed + 0.05 || speed > 2.0 * fastest + 0.5
    }

    /// Whether the scanner repeats itself while the body moves.
    fn frozen(&mut self, seen: &Snapshot<'_>) -> bool {
        let Some(scan) = seen.scan else {
            return false;
        };
        if scan.at != self.scan_at {
            self.scan_at = scan.at;
            let sum = sum(&scan.value.ranges_m);
            let moves = seen.odometry.is_some_and(|odometry| {
                let twist = odometry.value.twist;
                twist.linear_mps.abs() > MOVES_MPS || twist.angular_radps.abs() > 2.0 * MOVES_MPS
            });
            // In the open every ray meets nothing, wherever the body is.
            let empty = scan.value.ranges_m.iter().all(|range| !range.is_finite());
            if sum != self.scan_sum || empty {
                self.same_scans = 0;
            } else if moves {
                self.same_scans = self.same_scans.saturating_add(1);
            }
            self.scan_sum = sum;
        }
        self.same_scans >= FROZEN
    }
}

/// Whether every number is one.
fn finite(config: &ReflexConfig, seen: &Snapshot<'_>) -> bool {
    let odometry = seen.odometry.is_none_or(|odometry| {
        let (pose, twist) = (odometry.value.pose, odometry.value.twist);
        [
            pose.x_m,
            pose.y_m,
            pose.heading_rad,
            twist.linear_mps,
            twist.angular_radps,
        ]
        .iter()
        .all(|number| number.is_finite())
    });
    let imu = config.imu.is_none()
        || seen
            .imu
            .is_none_or(|imu| imu.value.roll_rad.is_finite() && imu.value.pitch_rad.is_finite());
    let battery = config.battery.is_none()
        || seen
            .battery
            .is_none_or(|battery| battery.value.charge.is_finite());
    odometry && imu && battery
}

/// Tells one scan from another. Four sums side by side, which the processor adds at once.
fn sum(ranges: &[f32]) -> u64 {
    let mut sums = [0_u64; 4];
    let (fours, rest) = ranges.as_chunks::<4>();
    for (row, four) in (1_u64..).zip(fours) {
        for (sum, range) in sums.iter_mut().zip(four) {
            *sum = sum.wrapping_add(u64::from(range.to_bits()).wrapping_mul(row | 1));
            *sum ^= *sum >> 29;
        }
    }
    let all = sums
        .iter()
        .fold(0_u64, |all, sum| all.rotate_left(17) ^ sum);
    rest.iter().fold(all, |all, range| {
        all.rotate_left(5) ^ u64::from(range.to_bits())
    })
}
