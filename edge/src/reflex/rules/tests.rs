use std::f32::consts::{FRAC_PI_2, PI};

use proptest::prelude::*;

use super::*;
use crate::{
    body::hal::Pose,
    reflex::verdict::{Hazard, HazardKind},
};

const SECOND: u64 = 1_000_000_000;

/// What a healthy body in the open sees; tests spoil one thing of it.
#[derive(Clone, Debug)]
struct World {
    now: Stamp,
    scan: Stamped<Scan>,
    odometry: Stamped<Odometry>,
    imu: Stamped<Imu>,
    battery: Stamped<Battery>,
    contact: Stamped<Contact>,
    hazards: Hazards,
    parent: Option<Stamp>,
    wanted: Twist,
}

impl World {
    fn open() -> Self {
        let at = Stamp(100 * SECOND);
        let step = 2.0 * PI / 360.0;
        Self {
            now: at,
            scan: Stamped {
                at,
                value: Scan {
                    angle_min_rad: -PI,
                    angle_step_rad: step,
                    range_min_m: 0.1,
                    range_max_m: 12.0,
                    ranges_m: vec![f32::INFINITY; 360],
                },
            },
            odometry: Stamped {
                at,
                value: Odometry::default(),
            },
            imu: Stamped {
                at,
                value: Imu::default(),
            },
            battery: Stamped {
                at,
                value: Battery {
                    charge: 0.9,
                    voltage_v: 12.0,
                },
            },
            contact: Stamped {
                at,
                value: Contact::default(),
            },
            hazards: Hazards::NONE,
            parent: Some(at),
            wanted: Twist::default(),
        }
    }

    /// Something at that distance from the centre, in that direction.
    fn with(mut self, bearing_rad: f32, range_m: f32) -> Self {
        let scan = &mut self.scan.value;
        let index = ((bearing_rad - scan.angle_min_rad) / scan.angle_step_rad).round() as usize;
        scan.ranges_m[index % 360] = range_m;
        self
    }

    /// Everything anew, so many milliseconds later.
    fn later(mut self, milliseconds: u64) -> Self {
        self.now.0 += milliseconds * 1_000_000;
        for at in [
            &mut self.scan.at,
            &mut self.odometry.at,
            &mut self.imu.at,
            &mut self.battery.at,
            &mut self.contact.at,
        ] {
            *at = self.now;
        }
        self.parent = Some(self.now);
        self
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            now: self.now,
            scan: Some(&self.scan),
            odometry: Some(self.odometry),
            imu: Some(self.imu),
            battery: Some(self.battery),
            contact: Some(self.contact),
            hazards: &self.hazards,
            parent: self.parent,
            wanted: self.wanted,
            degraded: false,
        }
    }
}

fn config() -> ReflexConfig {
    ReflexConfig::example()
}

fn rules() -> Rules {
    config().check().unwrap();
    Rules::new(config())
}

fn verdict(world: &World) -> Verdict {
    rules().check(&world.snapshot())
}

#[test]
fn in_the_open_nothing_holds_the_body_back() {
    let verdict = verdict(&World::open());
    assert_eq!(verdict.severity, Severity::Clear);
    assert_eq!(verdict.hard, config().bounds());
    assert_eq!(verdict.soft, config().bounds());
}

#[test]
fn something_in_the_stop_zone_ahead_stops_forwards_only() {
    let verdict = verdict(&World::open().with(0.0, 0.35));
    assert!(verdict.hard_causes.has(Cause::StopZone));
    assert_eq!(verdict.severity, Severity::Stop);
    assert_eq!(verdict.hard.forward_mps, 0.0);
    assert_eq!(verdict.hard.backward_mps, config().body.backward_mps);
    let behind = rules().check(&World::open().with(PI - 0.01, 0.35).snapshot());
    assert_eq!(behind.hard.backward_mps, 0.0);
    assert_eq!(behind.hard.forward_mps, config().body.forward_mps);
}

#[test]
fn something_in_the_slow_zone_slows_all_but_a_person() {
    let verdict = verdict(&World::open().with(0.0, 0.7));
    assert!(verdict.soft_causes.has(Cause::SlowZone));
    assert_eq!(verdict.soft.forward_mps, config().zones.slow_mps);
    assert!(verdict.hard.forward_mps > verdict.soft.forward_mps);
}

#[test]
fn a_stop_ends_after_it_was_clear_by_more_than_the_zone_for_long_enough() {
    let mut rules = rules();
    let near = World::open().with(0.0, 0.35);
    assert_eq!(rules.check(&near.snapshot()).hard.forward_mps, 0.0);
    // Farther than the zone, and not by enough.
    let edge = World::open().with(0.0, 0.40).later(1000);
    assert_eq!(rules.check(&edge.snapshot()).hard.forward_mps, 0.0);
    let clear = |milliseconds| World::open().later(milliseconds);
    assert_eq!(rules.check(&clear(1100).snapshot()).hard.forward_mps, 0.0);
    assert_eq!(rules.check(&clear(1399).snapshot()).hard.forward_mps, 0.0);
    assert!(rules.check(&clear(1400).snapshot()).hard.forward_mps > 0.0);
}

#[test]
fn what_flickers_is_not_clear() {
    let mut rules = rules();
    for round in 0..20 {
        let near = World::open().with(0.0, 0.35).later(200 * round);
        rules.check(&near.snapshot());
        let clear = World::open().later(200 * round + 100);
        assert_eq!(rules.check(&clear.snapshot()).hard.forward_mps, 0.0);
    }
}

#[test]
fn the_allowed_speed_stands_before_what_is_ahead() {
    for range in [0.5_f32, 0.8, 1.0, 1.5] {
        let verdict = verdict(&World::open().with(0.0, range));
        let (speed, config) = (verdict.hard.forward_mps, config());
        let delay = (config.tick() + config.lag()).as_secs_f32();
        let stands = speed * delay + speed * speed / (2.0 * config.body.braking_mps2);
        let room = range - config.body.front_m;
        assert!(
            stands <= room + 1e-3,
            "at {speed} m/s it stands after {stands} m of {room}"
        );
        assert!(speed <= room / config.zones.collision_s + 1e-3);
    }
}

#[test]
fn an_older_scan_allows_less() {
    let mut world = World::open().with(0.0, 0.8);
    let fresh = verdict(&world);
    world.scan.at.0 -= 200_000_000;
    let old = verdict(&world);
    assert!(old.hard.forward_mps < fresh.hard.forward_mps);
}

#[test]
fn a_curve_is_looked_at_along_the_curve() {
    // Ahead to the left, beside the straight way.
    let side = World::open().with(0.9, 0.6);
    let straight = verdict(&side);
    assert_eq!(straight.hard.forward_mps, config().body.forward_mps);
    let mut turning = side;
    turning.wanted = Twist {
        linear_mps: 0.5,
        angular_radps: 1.2,
    };
    let turned = verdict(&turning);
    assert!(
        turned.hard.forward_mps < config().body.forward_mps,
        "{turned:?}"
    );
    let mut away = turning;
    away.wanted.angular_radps = -1.2;
    assert_eq!(verdict(&away).hard.forward_mps, config().body.forward_mps);
}

#[test]
fn something_at_the_side_leaves_no_room_to_turn() {
    let verdict = verdict(&World::open().with(FRAC_PI_2, 0.19));
    assert!(verdict.hard_causes.has(Cause::Turning));
    assert_eq!(verdict.hard.turn_radps, 0.0);
}

#[test]
fn a_cliff_stops_forwards_and_lets_the_body_back_off_slowly() {
    let mut world = World::open();
    world.contact.value.cliff = true;
    let verdict = verdict(&world);
    assert!(verdict.hard_causes.has(Cause::Cliff));
    assert_eq!(verdict.hard.forward_mps, 0.0);
    assert_eq!(verdict.hard.backward_mps, config().zones.slow_mps);
}

#[test]
fn a_bumper_that_is_pressed_going_backwards_stops_backwards() {
    let mut world = World::open();
    world.contact.value.bumper = true;
    assert_eq!(verdict(&world).hard.forward_mps, 0.0);
    world.odometry.value.twist.linear_mps = -0.2;
    let behind = verdict(&world);
    assert_eq!(behind.hard.backward_mps, 0.0);
    assert_eq!(behind.hard.forward_mps, config().zones.slow_mps);
}

#[test]
fn leaning_is_slow_then_a_stop_then_an_e_stop() {
    let lean = |radians: f32| {
        let mut world = World::open();
        world.imu.value.pitch_rad = -radians;
        verdict(&world)
    };
    assert_eq!(lean(0.1).severity, Severity::Clear);
    assert_eq!(lean(0.25).severity, Severity::Slow);
    assert_eq!(lean(0.4).hard, Bounds::STOP);
    assert_eq!(lean(0.4).severity, Severity::Stop);
    assert_eq!(lean(1.0).severity, Severity::Latch);
}

#[test]
fn a_battery_that_recovers_because_the_body_stands_is_still_empty() {
    let mut rules = rules();
    let charge = |charge, later| {
        let mut world = World::open().later(later);
        world.battery.value.charge = charge;
        world
    };
    assert_eq!(
        rules.check(&charge(0.15, 0).snapshot()).soft.forward_mps,
        config().zones.slow_mps
    );
    assert_eq!(rules.check(&charge(0.04, 10).snapshot()).hard, Bounds::STOP);
    assert_eq!(
        rules.check(&charge(0.07, 10_000).snapshot()).hard,
        Bounds::STOP
    );
    rules.check(&charge(0.5, 20_000).snapshot());
    assert_eq!(
        rules.check(&charge(0.5, 30_000).snapshot()).severity,
        Severity::Clear
    );
}

#[test]
fn the_fence_is_never_crossed_by_braking_distance() {
    let mut config = config();
    config.fence_m = vec![[-5.0, -5.0], [5.0, -5.0], [5.0, 5.0], [-5.0, 5.0]];
    let at = |x_m: f32, heading_rad: f32| {
        let mut world = World::open();
        world.odometry.value.pose = Pose {
            x_m,
            y_m: 0.0,
            heading_rad,
        };
        Rules::new(config.clone()).check(&world.snapshot())
    };
    assert_eq!(at(0.0, 0.0).severity, Severity::Clear);
    let near = at(4.7, 0.0);
    assert!(near.hard_causes.has(Cause::Geofence));
    let speed = near.hard.forward_mps;
    assert!(
        speed * speed / (2.0 * config.body.braking_mps2) < 5.0 - 4.7 - config.body.front_m + 1e-3
    );
    let outside = at(6.0, 0.0);
    assert_eq!(outside.hard.forward_mps, 0.0);
    assert_eq!(
        outside.hard.backward_mps, config.zones.slow_mps,
        "it may come back, slowly"
    );
    assert_eq!(outside.severity, Severity::Stop);
}

#[test]
fn a_sensor_is_stale_after_three_periods_and_then_nothing_moves() {
    let config = config();
    let spoil: [(&str, u64, fn(&mut World) -> &mut Stamp); 5] = [
        ("scan", 300, |world| &mut world.scan.at),
        ("odometry", 60, |world| &mut world.odometry.at),
        ("imu", 60, |world| &mut world.imu.at),
        ("battery", 3000, |world| &mut world.battery.at),
        ("contact", 60, |world| &mut world.contact.at),
    ];
    for (name, longest, at) in spoil {
        let mut world = World::open();
        at(&mut world).0 -= longest * 1_000_000;
        let fresh = Rules::new(config.clone()).check(&world.snapshot());
        assert!(!fresh.hard_causes.has(Cause::SensorStale), "{name}");
        at(&mut world).0 -= 1;
        let stale = Rules::new(config.clone()).check(&world.snapshot());
        assert!(stale.hard_causes.has(Cause::SensorStale), "{name}");
        assert_eq!(stale.hard, Bounds::STOP, "{name}");
        at(&mut world).0 = world.now.0 + 1;
        let future = Rules::new(config.clone()).check(&world.snapshot());
        assert!(future.hard_causes.has(Cause::SensorFault), "{name}");
        assert_eq!(future.hard, Bounds::STOP, "{name}");
    }
}

#[test]
fn a_sensor_that_never_spoke_is_stale() {
    let world = World::open();
    let silent = Snapshot {
        scan: None,
        ..world.snapshot()
    };
    assert_eq!(rules().check(&silent).hard, Bounds::STOP);
    let silent = Snapshot {
        contact: None,
        ..world.snapshot()
    };
    assert_eq!(rules().check(&silent).hard, Bounds::STOP);
}

#[test]
fn a_body_without_a_sensor_does_not_miss_it() {
    let mut config = config();
    (config.imu, config.battery, config.contact) = (None, None, None);
    let world = World::open();
    let bare = Snapshot {
        imu: None,
        battery: None,
        contact: None,
        ..world.snapshot()
    };
    assert_eq!(Rules::new(config).check(&bare).severity, Severity::Clear);
}

#[test]
fn what_is_not_a_number_stops_the_body() {
    let spoil: [fn(&mut World); 7] = [
        |world| world.odometry.value.pose.x_m = f32::NAN,
        |world| world.odometry.value.twist.linear_mps = f32::INFINITY,
        |world| world.imu.value.roll_rad = f32::NAN,
        |world| world.battery.value.charge = f32::NAN,
        |world| world.scan.value.ranges_m.fill(f32::NAN),
        |world| world.scan.value.ranges_m.fill(0.0),
        |world| world.scan.value.ranges_m.clear(),
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let mut world = World::open();
        spoil(&mut world);
        let verdict = verdict(&world);
        assert_eq!(verdict.hard, Bounds::STOP, "{index}");
        assert!(verdict.hard_causes.has(Cause::SensorFault), "{index}");
    }
}

#[test]
fn a_scanner_that_repeats_itself_while_the_body_moves_is_frozen() {
    let run = |changes: bool, moves: bool| {
        let mut rules = rules();
        let mut last = None;
        for round in 0..10_u64 {
            let range = if changes {
                5.0 + round as f32 * 0.01
            } else {
                5.0
            };
            let mut world = World::open().with(0.0, range).later(round * 100);
            if moves {
                world.odometry.value.twist.linear_mps = 0.3;
                world.odometry.value.pose.x_m = 0.03 * round as f32;
            }
            last = Some(rules.check(&world.snapshot()));
        }
        last.unwrap().hard_causes.has(Cause::SensorFault)
    };
    assert!(run(false, true));
    assert!(!run(true, true));
    assert!(!run(false, false), "a body that stands sees the same");
}

#[test]
fn odometry_that_jumps_is_not_believed_for_a_while() {
    let mut rules = rules();
    let at = |x: f32, later: u64| {
        let mut world = World::open().later(later);
        world.odometry.value.pose.x_m = x;
        world
    };
    rules.check(&at(0.0, 0).snapshot());
    assert_eq!(
        rules.check(&at(0.01, 20).snapshot()).severity,
        Severity::Clear
    );
    let jumped = rules.check(&at(3.0, 40).snapshot());
    assert_eq!(jumped.hard, Bounds::STOP);
    assert!(jumped.hard_causes.has(Cause::SensorFault));
    assert_eq!(rules.check(&at(3.0, 60).snapshot()).hard, Bounds::STOP);
    assert_eq!(
        rules.check(&at(3.0, 400).snapshot()).severity,
        Severity::Clear
    );
}

#[test]
fn a_parent_that_is_silent_or_dead_stops_the_body() {
    let mut world = World::open();
    world.parent = Some(Stamp(world.now.0 - 25_000_000));
    assert_eq!(verdict(&world).severity, Severity::Clear);
    world.parent = Some(Stamp(world.now.0 - 25_000_001));
    assert_eq!(verdict(&world).hard, Bounds::STOP);
    world.parent = None;
    let dead = verdict(&world);
    assert_eq!(dead.hard, Bounds::STOP);
    assert!(dead.hard_causes.has(Cause::Parent));
}

#[test]
fn without_the_real_time_class_nobody_is_fast() {
    let world = World::open();
    let degraded = Snapshot {
        degraded: true,
        ..world.snapshot()
    };
    let verdict = rules().check(&degraded);
    assert_eq!(verdict.hard.forward_mps, config().degraded_mps);
    assert!(verdict.hard_causes.has(Cause::Degraded));
}

fn hazard(stop: bool, x_m: f32, radius_m: f32) -> Hazard {
    Hazard {
        kind: HazardKind::Cliff,
        stop,
        x_m,
        y_m: 0.0,
        radius_m,
        until: Stamp(200 * SECOND),
        peer: 1,
    }
}

fn warned(hazard: Hazard) -> Verdict {
    let mut world = World::open();
    world.hazards = Hazards::new(&[hazard]);
    verdict(&world)
}

#[test]
fn a_peer_stops_or_slows_all_but_a_person_until_its_time() {
    let near = warned(hazard(true, 1.0, 2.0));
    assert_eq!(near.soft, Bounds::STOP);
    assert!(near.soft_causes.has(Cause::Peer));
    assert_eq!(near.hard, config().bounds());
    let slow = warned(hazard(false, 1.0, 2.0));
    assert_eq!(slow.soft.forward_mps, config().zones.slow_mps);
    let ahead = warned(hazard(true, 0.8, 0.5));
    assert!(ahead.soft.forward_mps < config().body.forward_mps);
    assert_eq!(ahead.soft.backward_mps, config().body.backward_mps);
    assert_eq!(warned(hazard(true, 50.0, 1.0)).severity, Severity::Clear);
    let expired = Hazard {
        until: Stamp(99 * SECOND),
        ..hazard(true, 0.0, 5.0)
    };
    assert_eq!(warned(expired).severity, Severity::Clear);
}

#[test]
fn a_hazard_without_a_place_is_everywhere() {
    for odd in [
        hazard(true, f32::NAN, 1.0),
        hazard(true, 90.0, f32::NAN),
        hazard(true, 90.0, f32::INFINITY),
    ] {
        assert_eq!(warned(odd).soft, Bounds::STOP, "{odd:?}");
    }
}

#[test]
fn the_next_look_is_when_the_first_reading_gets_stale() {
    let rules = rules();
    let mut world = World::open();
    // The parent, after 25 ms.
    assert_eq!(
        rules.next_expiry(&world.snapshot()),
        Some(Stamp(world.now.0 + 25_000_001))
    );
    world.contact.at.0 -= 50_000_000;
    assert_eq!(
        rules.next_expiry(&world.snapshot()),
        Some(Stamp(world.now.0 + 10_000_001))
    );
}

prop_compose! {
    fn any_world()(
        ranges in prop::collection::vec(prop_oneof![4 => 0.1_f32..10.0, 3 => Just(f32::INFINITY), 1 => Just(f32::NAN)], 1..80),
        speed in -1.0_f32..1.0, turn in -1.5_f32..1.5,
        wanted in -1.0_f32..1.0, wanted_turn in -1.5_f32..1.5,
        x in -6.0_f32..6.0, heading in -PI..PI,
        bumper in prop::bool::weighted(0.1), cliff in prop::bool::weighted(0.1),
        lean in -0.5_f32..0.5, charge in 0.0_f32..1.0,
    ) -> World {
        let mut world = World::open();
        world.scan.value.angle_step_rad = 2.0 * PI / ranges.len() as f32;
        world.scan.value.ranges_m = ranges;
        world.odometry.value.twist = Twist { linear_mps: speed, angular_radps: turn };
        world.odometry.value.pose = Pose { x_m: x, y_m: 0.0, heading_rad: heading };
        world.wanted = Twist { linear_mps: wanted, angular_radps: wanted_turn };
        world.contact.value = Contact { bumper, cliff };
        world.imu.value.roll_rad = lean;
        world.battery.value.charge = charge;
        world
    }
}

/// What clearance is, point by point and without vectors.
fn plainly(config: &ReflexConfig, scan: &Scan) -> (f32, f32) {
    let body = &config.body;
    let (mut ahead, mut behind) = (f32::INFINITY, f32::INFINITY);
    for (index, range) in scan.ranges_m.iter().enumerate() {
        if !(*range >= scan.range_min_m && *range <= scan.range_max_m) {
            continue;
        }
        let angle = scan.angle_min_rad + index as f32 * scan.angle_step_rad;
        let (x, y) = (range * angle.cos(), range * angle.sin());
        if y.abs() <= body.half_width_m + config.zones.side_m - 1e-4 {
            // What is exactly beside the centre may be either.
            if x > 1e-3 {
                ahead = ahead.min(x - body.front_m);
            } else if x < -1e-3 {
                behind = behind.min(-x - body.back_m);
            }
        }
    }
    (ahead, behind)
}

proptest! {
    #[test]
    fn no_obstacle_more_makes_it_faster(world in any_world(), place in 0_usize..80, range in 0.1_f32..10.0) {
        let mut fuller = world.clone();
        let place = place % fuller.scan.value.ranges_m.len();
        let before = fuller.scan.value.ranges_m[place];
        // An obstacle more: nearer than what was seen there.
        prop_assume!(before.is_finite() || before.is_infinite());
        fuller.scan.value.ranges_m[place] = before.min(range);
        let (free, held) = (verdict(&world), verdict(&fuller));
        prop_assert!(held.hard.forward_mps <= free.hard.forward_mps);
        prop_assert!(held.hard.backward_mps <= free.hard.backward_mps);
        prop_assert!(held.hard.turn_radps <= free.hard.turn_radps);
        prop_assert!(held.soft.forward_mps <= free.soft.forward_mps);
        prop_assert!(held.severity >= free.severity);
    }

    #[test]
    fn no_hazard_of_a_peer_releases_anything(world in any_world(), stop: bool, x in -9.0_f32..9.0, radius in 0.0_f32..5.0) {
        let free = verdict(&world);
        let mut warned = world;
        warned.hazards = Hazards::new(&[hazard(stop, x, radius)]);
        let held = verdict(&warned);
        prop_assert_eq!(held.hard, free.hard);
        prop_assert!(held.soft.forward_mps <= free.soft.forward_mps);
        prop_assert!(held.soft.backward_mps <= free.soft.backward_mps);
        prop_assert!(held.severity >= free.severity);
    }

    #[test]
    fn the_vectors_find_what_a_plain_loop_finds(world in any_world()) {
        let mut points = Points::new(&config());
        let clearance = points.clearance(&world.scan, [Twist::default(); 2]);
        let (ahead, behind) = plainly(&config(), &world.scan.value);
        // What lies on the very edge may count or not.
        prop_assert!(clearance.ahead_m <= ahead + 1e-3, "{} {}", clearance.ahead_m, ahead);
        prop_assert!(clearance.behind_m <= behind + 1e-3);
    }

    #[test]
    fn bounds_are_never_negative_nor_odd(world in any_world()) {
        let verdict = verdict(&world);
        for bounds in [verdict.hard, verdict.soft] {
            for bound in [bounds.forward_mps, bounds.backward_mps, bounds.turn_radps] {
                prop_assert!(bound >= 0.0 && bound.is_finite());
            }
        }
        prop_assert_eq!(verdict.severity == Severity::Clear, verdict.hard_causes.is_empty() && verdict.soft_causes.is_empty());
    }
}
