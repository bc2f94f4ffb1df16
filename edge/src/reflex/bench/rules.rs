//! What looking at the rules takes.

use std::f32::consts::PI;

use super::{Bench, BenchError, Finding, histogram};
use crate::{
    body::hal::{Battery, Contact, Imu, Odometry, Scan, Stamp, Stamped, Twist},
    reflex::{
        clock::now,
        command::nanos,
        config::ReflexConfig,
        realtime,
        rules::{Rules, Snapshot},
        shm::Hazards,
    },
};

/// How often. A scan is another one each time, and both ways are curves: nothing is remembered.
const ROUNDS: u32 = 5000;

pub(super) fn rules(bench: &Bench, points: usize) -> Result<Finding, BenchError> {
    let granted = realtime::enter(realtime::REFLEXES).is_ok();
    let measured = measure(points);
    if granted {
        // The rest of the measurements decide for themselves.
        let _ = realtime::leave();
    }
    let most = if points <= 360 { 15.0 } else { 500.0 };
    let name = format!("rules on {points} points");
    Ok(Finding::new(name, granted, bench.load, &measured?)
        .must("p99", most)
        .must("p99.9", most))
}

fn measure(points: usize) -> Result<hdrhistogram::Histogram<u64>, BenchError> {
    let mut config = ReflexConfig::example();
    config.scan.points = points;
    config.fence_m = vec![[-50.0, -50.0], [50.0, -50.0], [50.0, 50.0], [-50.0, 50.0]];
    let mut rules = Rules::new(config);
    let mut taken = histogram()?;
    let at = Stamp(0);
    let mut scan = Stamped {
        at,
        value: Scan {
            angle_min_rad: -PI,
            angle_step_rad: 2.0 * PI / points as f32,
            range_min_m: 0.1,
            range_max_m: 12.0,
            ranges_m: vec![5.0; points],
        },
    };
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..ROUNDS {
        for range in &mut scan.value.ranges_m {
            *range = 1.0 + 9.0 * random.f32();
        }
        let turn = 0.2 + random.f32();
        let begin = now();
        scan.at = begin;
        let snapshot = snapshot(&scan, begin, turn);
        let verdict = rules.check(&snapshot);
        let end = now();
        std::hint::black_box(verdict);
        taken.saturating_record(nanos(begin.age(end)));
    }
    Ok(taken)
}

fn snapshot(scan: &Stamped<Scan>, now: Stamp, turn: f32) -> Snapshot<'_> {
    let twist = Twist {
        linear_mps: 0.5,
        angular_radps: turn,
    };
    let odometry = Odometry {
        twist,
        ..Odometry::default()
    };
    let battery = Battery {
        charge: 0.8,
        voltage_v: 12.0,
    };
    Snapshot {
        now,
        scan: Some(scan),
        odometry: Some(stamped(now, odometry)),
        imu: Some(stamped(now, Imu::default())),
        battery: Some(stamped(now, battery)),
        contact: Some(stamped(now, Contact::default())),
        hazards: &Hazards::NONE,
        parent: Some(now),
        wanted: Twist {
            angular_radps: -turn,
            ..twist
        },
        degraded: false,
    }
}

fn stamped<T>(at: Stamp, value: T) -> Stamped<T> {
    Stamped { at, value }
}
