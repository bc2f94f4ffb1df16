#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::{
    Simulation, frame, png,
    world::{World, WorldError},
};
use crate::{
    body::{
        errand,
        hal::{Stamp, Twist},
        robot::RobotFile,
    },
    nav::tree::Tree,
};

const OPEN: &str = "name = \"open\"\nsize_m = [6.0, 4.0]\n[robot]\nat = [1.0, 2.0]\n";

fn sim(more: &str) -> Simulation {
    Simulation::new(
        World::parse(&format!("{OPEN}{more}"), "open.toml").unwrap(),
        None,
    )
}

fn forever(linear_mps: f32, angular_radps: f32) -> (Twist, Stamp) {
    let twist = Twist {
        linear_mps,
        angular_radps,
    };
    (twist, Stamp(u64::MAX))
}

fn run(sim: &mut Simulation, ticks: usize) {
    for _ in 0..ticks {
        sim.tick();
    }
}

#[test]
fn the_same_seed_gives_the_same_world_and_another_seed_another() {
    let hash = |seed| {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples/robots/warehouse.toml");
        let mut sim = Simulation::new(World::read(&file).unwrap(), Some(seed));
        let (twist, until) = forever(0.5, 0.3);
        sim.drive(twist, until);
        run(&mut sim, 3000);
        sim.hash()
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn every_world_robot_and_tree_in_the_examples_can_be_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/robots");
    let (mut worlds, mut robots, mut trees) = (0, 0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".robot.toml") {
            RobotFile::read(&path).unwrap();
            robots += 1;
        } else if name.ends_with(".tree.toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            errand::check(&Tree::parse(&text).unwrap()).unwrap();
            trees += 1;
        } else if name.ends_with(".toml") {
            World::read(&path).unwrap();
            worlds += 1;
        }
    }
    assert_eq!((worlds, robots, trees), (3, 3, 1));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = "name = \"x\"\nsize_m = [6.0, 4.0]\n[robot]\nat = [1.0, 2.0]\nwheels = 3\n";
    let error = World::parse(text, "x.toml").unwrap_err().to_string();
    assert!(
        error.contains("x.toml") && error.contains("line 5"),
        "{error}"
    );
    assert!(error.contains("wheels"), "{error}");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (more, what) in [
        (
            "[[people]]\nname = \"Ana\"\nroute = [[9.0, 1.0]]\n",
            "people[0] (Ana)",
        ),
        (
            "[[walls]]\nfrom = [1.0, 1.0]\nto = [1.0, 1.0]\n",
            "walls[0]",
        ),
        ("[lidar]\npoints = 0\n", "lidar"),
        ("[battery]\ncharge = 1.5\n", "battery"),
        (
            "[[obstacles]]\nroute = [[1.0, 1.0]]\nspeed_mps = nan\n",
            "obstacles[0]",
        ),
    ] {
        match World::parse(&format!("{OPEN}{more}"), "w.toml") {
            Err(WorldError::Impossible { what: named, .. }) => assert_eq!(named, what),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn the_motors_stop_by_themselves_when_nobody_speaks_to_them() {
    let mut sim = sim("");
    sim.drive(forever(0.5, 0.0).0, Stamp(1_000_000_000));
    run(&mut sim, 450);
    assert!((sim.wheels().linear_mps - 0.5).abs() < 1e-3);
    run(&mut sim, 350);
    assert_eq!(sim.wheels().linear_mps, 0.0);
    assert!(sim.pose().x_m > 1.3);
}

#[test]
fn a_motion_that_is_not_a_number_is_no_motion() {
    let mut sim = sim("");
    sim.drive(forever(f32::NAN, 0.0).0, Stamp(u64::MAX));
    run(&mut sim, 500);
    assert_eq!(sim.pose().x_m, 1.0);
}

#[test]
fn the_scanner_measures_the_walls_and_the_wheels_the_way() {
    let mut sim = sim("[lidar]\nnoise_m = 0.0\n");
    let (twist, until) = forever(0.5, 0.0);
    sim.drive(twist, until);
    let mut last = None;
    for _ in 0..1000 {
        let readings = sim.tick();
        if let (Some(scan), Some(odometry)) = (readings.scan, readings.odometry) {
            last = Some((scan.value, odometry.value));
        }
    }
    let (scan, odometry) = last.unwrap();
    let truth = sim.pose();
    assert!((odometry.pose.x_m - truth.x_m).abs() < 0.01);
    let ahead = scan.ranges_m[180];
    assert!(
        (ahead - (6.0 - truth.x_m)).abs() < 0.01,
        "{ahead} {truth:?}"
    );
}

#[test]
fn a_wall_is_hit_once_with_the_speed_of_the_robot_and_holds_it() {
    let mut sim = sim("");
    let (twist, until) = forever(0.6, 0.0);
    sim.drive(twist, until);
    run(&mut sim, 6000);
    assert_eq!(sim.collisions().len(), 1);
    assert!((sim.collisions()[0].speed_mps - 0.6).abs() < 0.01);
    assert!(sim.pose().x_m <= 5.82, "{:?}", sim.pose());
}

#[test]
fn a_cliff_is_seen_before_the_robot_falls_and_a_fallen_robot_lies() {
    let mut sim = sim("[[cliffs]]\nfrom = [3.0, 0.0]\nto = [6.0, 4.0]\n");
    let (twist, until) = forever(0.5, 0.0);
    sim.drive(twist, until);
    let mut warned_at = None;
    for _ in 0..3000 {
        let cliff = sim
            .tick()
            .contact
            .is_some_and(|contact| contact.value.cliff);
        if cliff && warned_at.is_none() {
            warned_at = Some(sim.pose().x_m);
        }
    }
    let warned_at = warned_at.unwrap();
    assert!(warned_at < 2.75, "{warned_at}");
    assert!(sim.fell());
    let lies = sim.pose().x_m;
    run(&mut sim, 500);
    assert_eq!(sim.pose().x_m, lies);
}

#[test]
fn a_call_is_heard_with_its_direction_and_the_caller_is_seen_when_nothing_is_between() {
    let person = "[[people]]\nname = \"Ana\"\nroute = [[4.0, 2.0]]\n\
                  says = [{ text = \"help me\", after_s = 0.2, every_s = 1.0 }]\n";
    let wall = "[[walls]]\nfrom = [2.5, 0.5]\nto = [2.5, 3.5]\n";
    for (more, sees) in [
        (String::from(person), true),
        (format!("{person}{wall}"), false),
    ] {
        let mut sim = sim(&more);
        let (mut heard, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..1500 {
            let readings = sim.tick();
            heard.extend(readings.heard);
            seen.extend(
                readings
                    .sightings
                    .into_iter()
                    .flat_map(|sightings| sightings.value),
            );
        }
        assert!(heard.len() >= 2, "{heard:?}");
        assert_eq!(heard[0].value.text, "help me");
        assert!(heard[0].value.bearing_rad.unwrap().abs() < 0.3);
        assert_eq!(!seen.is_empty(), sees);
        if let Some(person) = seen.first() {
            assert!((person.range_m - 3.0).abs() < 0.01);
        }
        sim.say("I am here to assist");
        assert!(sim.said()[0].heard_by.contains(&"Ana".to_owned()));
    }
}

#[test]
fn a_slope_leans_the_robot_by_how_it_stands_on_it() {
    let slope =
        "[[slopes]]\narea = { from = [0.0, 0.0], to = [6.0, 4.0] }\nsteep_deg = 10\ndown_deg = ";
    let lean = |down: &str| {
        let mut sim = sim(&format!("{slope}{down}\n"));
        let mut last = None;
        for _ in 0..10 {
            last = sim.tick().imu.or(last);
        }
        let imu = last.unwrap().value;
        (
            imu.pitch_rad.to_degrees().round(),
            imu.roll_rad.to_degrees().round(),
        )
    };
    assert_eq!(lean("0"), (10.0, -0.0));
    assert_eq!(lean("-90"), (-0.0, 10.0));
}

#[test]
fn people_wait_for_the_robot_and_carts_do_not() {
    let cart = "[[obstacles]]\nroute = [[4.0, 2.0], [0.5, 2.0]]\nspeed_mps = 0.5\n";
    let mut carted = sim(cart);
    run(&mut carted, 5000);
    assert!(!carted.collisions().is_empty());
    assert_eq!(carted.collisions()[0].speed_mps, 0.0);
    let person = "[[people]]\nname = \"Ben\"\nroute = [[4.0, 2.0], [0.5, 2.0]]\nspeed_mps = 0.5\n";
    let mut waited = sim(person);
    run(&mut waited, 5000);
    assert!(waited.collisions().is_empty());
}

#[test]
fn a_frame_shows_the_robot_where_it_is() {
    let mut sim = sim("");
    run(&mut sim, 30);
    let canvas = frame(&sim.scene(), 20.0);
    assert_eq!((canvas.width, canvas.height), (120, 80));
    assert_eq!(canvas.at(18, 40), [20, 110, 190]);
    let bytes = png(&canvas).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert_eq!(pixels[(40 * 120 + 18) * 3..][..3], [20, 110, 190]);
}
