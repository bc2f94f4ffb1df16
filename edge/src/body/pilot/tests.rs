#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use super::{Build, Held, Pilot};
use crate::{
    body::{
        hal::Stamp,
        intent::{Ended, Event, Goal, Intent, Measured, Whom},
        live::robot_toml,
        sim::{STEP, Simulation, world::World},
    },
    reflex::{
        command::{Command, SessionKey, Source},
        rules::Snapshot,
        shm::Hazards,
        step::Reflexes,
    },
};

/// A world, the reflexes and a pilot, without a clock: as fast as the machine goes.
struct Rig {
    sim: Simulation,
    reflexes: Reflexes,
    session: SessionKey,
    pilot: Pilot,
    sequence: u64,
    log: Vec<crate::reflex::arbiter::Record>,
}

impl Rig {
    fn new(world: World, seed: u64) -> Self {
        let config = robot_toml(&world, 1.0).unwrap();
        let session = SessionKey::from_bytes([7; 32]);
        let build = Build {
            radius_m: world.robot.radius_m,
            speed_mps: config.body.forward_mps,
            turn_radps: world.robot.max_turn_radps * 0.8,
            patience_s: 3.0,
            edge_m: 0.12,
        };
        Self {
            sim: Simulation::new(world, Some(seed)),
            reflexes: Reflexes::new(config, &session, 1, false),
            session,
            pilot: Pilot::new(build),
            sequence: 0,
            log: Vec::new(),
        }
    }

    fn example(name: &str, seed: u64) -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots");
        Self::new(World::read(&folder.join(name)).unwrap(), seed)
    }

    /// Does it until it ends.
    fn does(&mut self, goal: Goal, within_s: u64) -> Measured {
        let within = Duration::from_secs(within_s);
        let mut wait = 0;
        let (mut scan, mut odometry, mut imu, mut contact, mut battery) =
            (None, None, None, None, None);
        let mut slots = [None; 3];
        let mut begun = false;
        let mut held = Held::default();
        loop {
            let readings = self.sim.tick();
            let now = self.sim.now();
            if let Some(new) = readings.odometry {
                self.pilot.see_odometry(new);
                odometry = Some(new);
            }
            if let Some(new) = readings.scan {
                self.pilot.see_scan(&new.value);
                scan = Some(new);
            }
            if let Some(new) = readings.contact {
                self.pilot.see_contact(new.value);
                contact = Some(new);
            }
            imu = readings.imu.or(imu);
            battery = readings.battery.or(battery);
            if let Some(new) = readings.sightings {
                self.pilot.see_people(new);
            }
            readings
                .heard
                .into_iter()
                .for_each(|heard| self.pilot.hear(heard));
            // The first second is for the sensors: the battery speaks rarely.
            if now < Stamp(200_000_000) {
                continue;
            }
            if !begun {
                begun = true;
                let max_speed_mps = 1.0;
                self.pilot.begin(
                    Intent {
                        goal: goal.clone(),
                        max_speed_mps,
                        within,
                    },
                    now,
                );
            }
            wait += 1;
            if wait % 25 == 0 {
                let tick = self.pilot.tick(now, held);
                if let Some(twist) = tick.wish {
                    self.sequence += 1;
                    let command = Command {
                        source: Source::Model,
                        sequence: self.sequence,
                        epoch: self.reflexes.epoch(),
                        at: now,
                        valid_for: Duration::from_millis(250),
                        twist,
                    };
                    slots[0] = Some(self.session.of(Source::Model).sign(command));
                }
                if let Some(measured) = tick.ended {
                    return measured;
                }
            }
            if wait % 3 == 0 {
                let seen = Snapshot {
                    now,
                    scan: scan.as_ref(),
                    odometry,
                    imu,
                    battery,
                    contact,
                    hazards: &Hazards::NONE,
                    parent: Some(now),
                    degraded: false,
                    wanted: Default::default(),
                };
                let (approved, record) = self.reflexes.step(&seen, slots);
                held = Held {
                    severity: record.decision.severity,
                    causes: record.decision.causes,
                };
                self.log.push(record);
                let until = Stamp(now.0 + 5 * STEP.as_nanos() as u64);
                self.sim.drive(approved.twist(), until);
            }
        }
    }

    fn touched_gently(&self) -> bool {
        self.sim
            .collisions()
            .iter()
            .all(|collision| collision.speed_mps <= 0.1)
    }
}

#[test]
fn the_one_who_calls_for_help_is_found_behind_a_wall() {
    for seed in 0..5 {
        let mut rig = Rig::example("rescue.toml", seed);
        rig.does(Goal::WaitFor(Event::Voice), 20);
        let approach = Goal::Approach {
            whom: Whom::Voice,
            stop_at_m: 1.2,
        };
        let measured = rig.does(approach, 120);
        assert_eq!(measured.ended, Ended::Done, "seed {seed}: {measured}");
        let at = rig.sim.pose();
        let far = (at.x_m - 8.2).hypot(at.y_m - 2.0);
        assert!((0.7..2.0).contains(&far), "seed {seed}: {far} m from Ana");
        assert!(
            rig.touched_gently(),
            "seed {seed}: {:?}",
            rig.sim.collisions()
        );
    }
}

#[test]
fn a_place_is_reached_between_carts_that_stop_for_nobody() {
    for seed in 0..5 {
        let mut rig = Rig::example("warehouse.toml", seed);
        let there = Goal::GoTo {
            x_m: 12.5,
            y_m: 1.5,
        };
        // Somebody speaks every fifteen seconds: it is told, and goes on.
        let mut measured = rig.does(there.clone(), 180);
        while let Ended::Heard(_) = measured.ended {
            measured = rig.does(there.clone(), 180);
        }
        assert_eq!(measured.ended, Ended::Done, "seed {seed}: {measured}");
        assert!(
            rig.touched_gently(),
            "seed {seed}: {:?}",
            rig.sim.collisions()
        );
    }
}

#[test]
fn where_the_floor_ends_the_robot_stops_and_says_why() {
    let mut rig = Rig::example("ledge.toml", 1);
    let measured = rig.does(Goal::GoTo { x_m: 7.0, y_m: 3.0 }, 120);
    assert_ne!(measured.ended, Ended::Done, "{measured}");
    assert!(!rig.sim.fell(), "{measured}");
    assert!(measured.held.contains(&"cliff".to_owned()), "{measured}");
}

#[test]
fn a_goal_inside_a_box_is_refused_with_a_free_place() {
    let mut rig = Rig::example("rescue.toml", 1);
    rig.does(Goal::Turn { to_rad: 0.5 }, 20);
    let measured = rig.does(Goal::GoTo { x_m: 4.0, y_m: 2.0 }, 120);
    match &measured.ended {
        Ended::Impossible(why) => assert!(why.contains("nearest free place"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_can_be_approached_who_was_neither_heard_nor_seen() {
    let mut rig = Rig::example("ledge.toml", 1);
    for whom in [Whom::Voice, Whom::Person] {
        let measured = rig.does(
            Goal::Approach {
                whom,
                stop_at_m: 1.2,
            },
            60,
        );
        assert!(matches!(measured.ended, Ended::Impossible(_)), "{measured}");
    }
}

#[test]
fn a_turn_ends_where_it_was_asked_to_and_what_takes_too_long_says_so() {
    let mut rig = Rig::example("ledge.toml", 1);
    let measured = rig.does(Goal::Turn { to_rad: 2.0 }, 20);
    assert_eq!(measured.ended, Ended::Done);
    assert!(
        (rig.sim.pose().heading_rad - 2.0).abs() < 0.15,
        "{measured}"
    );
    let measured = rig.does(Goal::WaitFor(Event::Person), 2);
    assert_eq!(measured.ended, Ended::TooLong);
}

#[test]
fn the_decisions_of_a_mission_are_made_again_hash_for_hash() {
    let mut rig = Rig::example("rescue.toml", 3);
    rig.does(Goal::GoTo { x_m: 2.5, y_m: 1.5 }, 60);
    let may = rig.reflexes.rules().config().envelopes();
    let log = rig.log.clone();
    let count = log.len() as u64;
    assert!(count > 100);
    match crate::reflex::arbiter::replay(&may, log.clone()) {
        crate::reflex::arbiter::Replayed::Same { decisions, .. } => assert_eq!(decisions, count),
        other => panic!("{other:?}"),
    }
    let mut changed = log;
    changed[50].decision.twist.linear_mps += 0.1;
    changed[50].hash = changed[50].chained(changed[49].hash);
    let replayed = crate::reflex::arbiter::replay(&may, changed);
    assert!(matches!(
        replayed,
        crate::reflex::arbiter::Replayed::Differs { number: 51, .. }
    ));
}

#[test]
fn a_robot_on_an_open_floor_stops_before_it_ends() {
    let text = "name = \"edge\"\nsize_m = [12.0, 4.0]\n[robot]\nat = [4.0, 2.0]\n\
                [[cliffs]]\nfrom = [7.0, 0.0]\nto = [8.0, 4.0]\n";
    let mut rig = Rig::new(World::parse(text, "edge.toml").unwrap(), 1);
    let goal = Goal::GoTo {
        x_m: 10.0,
        y_m: 2.0,
    };
    let measured = rig.does(goal, 40);
    assert!(!rig.sim.fell(), "{measured}");
    assert!(measured.held.contains(&"cliff".to_owned()), "{measured}");
}
