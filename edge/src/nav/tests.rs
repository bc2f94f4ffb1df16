#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use proptest::prelude::*;

use super::{
    follow::{Follower, Gait, Step},
    grid::{Cell, Grid},
    plan::{Clearance, Margin, NoWay, plan},
    tree::{Args, Leaves, Status, Tree, TreeError},
};
use crate::body::hal::{Pose, Scan, wrap};

const MARGIN: Margin = Margin {
    hard_m: 0.3,
    soft_m: 0.6,
};

fn grid(taken: &[Cell]) -> Grid {
    let mut grid = Grid::new(0.1, 5.0);
    taken.iter().for_each(|cell| grid.take(*cell));
    grid
}

/// Whether any way leads there, by flooding.
fn is_reachable(grid: &Grid, clearance: &Clearance, from: Cell, to: Cell) -> bool {
    let mut seen = std::collections::HashSet::from([from]);
    let mut open = vec![from];
    while let Some((x, y)) = open.pop() {
        if (x, y) == to {
            return true;
        }
        for next in [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)] {
            if grid.has(next) && clearance.allows(next) && seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
}

fn cells() -> impl Strategy<Value = Vec<Cell>> {
    prop::collection::vec((-40..40, -40..40), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_way_keeps_its_margin_and_is_found_where_there_is_one(
        taken in cells(), from in (-45..45, -45..45), to in (-45..45, -45..45)
    ) {
        let grid = grid(&taken);
        let clearance = Clearance::new(&grid, MARGIN);
        prop_assume!(clearance.allows(from));
        let (start, goal) = (grid.middle(from), grid.middle(to));
        match plan(&grid, MARGIN, start, goal) {
            Ok(way) => {
                prop_assert_eq!(way[0], start);
                prop_assert_eq!(*way.last().unwrap(), goal);
                for (one, other) in way.iter().zip(&way[1..]) {
                    let (one, other) = (grid.cell(one.0, one.1), grid.cell(other.0, other.1));
                    prop_assert!(clearance.sees(one, other), "{one:?} to {other:?}");
                }
            }
            Err(NoWay::Taken { free_x_m, free_y_m, .. }) => {
                prop_assert!(!clearance.allows(to));
                prop_assert!(clearance.allows(grid.cell(free_x_m, free_y_m)));
            }
            Err(_) => prop_assert!(!is_reachable(&grid, &clearance, from, to)),
        }
    }

    #[test]
    fn a_follower_arrives_on_any_free_way(
        to in (-3.0_f32..3.0, -3.0_f32..3.0), by in (-3.0_f32..3.0, -3.0_f32..3.0),
        heading in -3.1_f32..3.1,
    ) {
        let gait = Gait::default();
        let mut follower = Follower::new(vec![(0.0, 0.0), by, to], gait);
        let mut at = Pose { heading_rad: heading, ..Pose::default() };
        let mut arrived = false;
        for _ in 0..2000 {
            match follower.step(at) {
                Step::Arrived => { arrived = true; break; }
                Step::Go(twist) => {
                    prop_assert!(twist.linear_mps >= 0.0 && twist.linear_mps <= gait.speed_mps);
                    prop_assert!(twist.angular_radps.abs() <= gait.turn_radps);
                    at.x_m += 0.05 * twist.linear_mps * at.heading_rad.cos();
                    at.y_m += 0.05 * twist.linear_mps * at.heading_rad.sin();
                    at.heading_rad = wrap(at.heading_rad + 0.05 * twist.angular_radps);
                }
            }
        }
        prop_assert!(arrived, "ends at {at:?}");
        prop_assert!((at.x_m - to.0).hypot(at.y_m - to.1) <= gait.arrived_m + 1e-3);
    }

    #[test]
    fn a_tree_never_ticks_more_leaves_than_its_budget_and_cancels_all_that_runs(
        ends in prop::collection::vec(0_u8..3, 6), budget in 1_u32..20
    ) {
        let text = format!("name = \"t\"\nbudget = {budget}\n[root]\nparallel = [\n\
            {{ sequence = [{{ action = \"a\" }}, {{ action = \"b\" }}] }},\n\
            {{ fallback = [{{ action = \"c\" }}, {{ not = {{ action = \"d\" }} }}] }},\n\
            {{ retry = {{ action = \"e\" }}, times = 2 }},\n\
            {{ within = {{ action = \"f\" }}, ticks = 2 }} ]\n");
        let mut tree = Tree::parse(&text).unwrap();
        let mut leaves = Script { ends, running: [false; 6], calls: 0 };
        for _ in 0..10 {
            leaves.calls = 0;
            tree.tick(&mut leaves);
            prop_assert!(leaves.calls <= budget);
        }
        tree.cancel(&mut leaves);
        prop_assert_eq!(leaves.running, [false; 6]);
    }
}

/// Leaves that end as they are told: running, success, failure.
struct Script {
    ends: Vec<u8>,
    running: [bool; 6],
    calls: u32,
}

impl Leaves for Script {
    fn act(&mut self, leaf: usize, _: &str, _: &Args) -> Status {
        self.calls += 1;
        let status =
            [Status::Running, Status::Success, Status::Failure][usize::from(self.ends[leaf])];
        self.running[leaf] = status == Status::Running;
        status
    }

    fn holds(&mut self, _: &str, args: &Args) -> bool {
        args.get("so")
            .and_then(toml::Value::as_bool)
            .unwrap_or(false)
    }

    fn cancel(&mut self, leaf: usize, _: &str) {
        self.running[leaf] = false;
    }
}

#[test]
fn a_goal_that_is_closed_off_is_a_clear_error() {
    let ring: Vec<Cell> = (-10..=10)
        .flat_map(|n| [(n + 20, -10), (n + 20, 10), (10, n), (30, n)])
        .collect();
    let error = plan(&grid(&ring), MARGIN, (-1.0, 0.0), (2.0, 0.0)).unwrap_err();
    assert_eq!(error, NoWay::ClosedOff { x_m: 2.0, y_m: 0.0 });
    assert!(error.to_string().contains("closed off"), "{error}");
    let error = plan(&grid(&[]), MARGIN, (0.0, 0.0), (9.0, 0.0)).unwrap_err();
    assert!(matches!(error, NoWay::OffTheMap { .. }), "{error}");
    let error = plan(&grid(&[]), MARGIN, (0.0, 0.0), (f32::NAN, 0.0)).unwrap_err();
    assert!(matches!(error, NoWay::OffTheMap { .. }), "{error}");
}

#[test]
fn a_body_too_close_to_a_wall_finds_its_way_out() {
    let wall: Vec<Cell> = (-20..=20).map(|y| (2, y)).collect();
    let way = plan(&grid(&wall), MARGIN, (0.0, 0.0), (-2.0, 0.0)).unwrap();
    assert_eq!(*way.last().unwrap(), (-2.0, 0.0));
}

#[test]
fn a_scan_takes_what_it_hits_and_frees_what_it_passes_and_unread_rays_say_nothing() {
    let mut grid = Grid::new(0.1, 5.0);
    let scan = Scan {
        angle_min_rad: 0.0,
        angle_step_rad: std::f32::consts::FRAC_PI_2,
        range_min_m: 0.1,
        range_max_m: 4.0,
        ranges_m: vec![2.0, f32::INFINITY, f32::NAN, 0.01],
    };
    for _ in 0..5 {
        grid.add(&scan, Pose::default(), 3.0);
    }
    assert!(grid.is_taken((20, 0)) && grid.is_free((10, 0)));
    assert!(grid.is_free((0, 20)) && !grid.is_free((0, 35)) && !grid.is_taken((0, 40)));
    assert!(!grid.is_free((-10, 0)) && !grid.is_free((0, -10)));
    for _ in 0..30 {
        let gone = Scan {
            ranges_m: vec![3.0, 3.0, 3.0, 3.0],
            ..scan.clone()
        };
        grid.add(&gone, Pose::default(), 3.0);
    }
    assert!(grid.is_free((20, 0)), "what moved away is free again");
}

#[test]
fn a_sequence_goes_on_where_it_was_and_a_fallback_takes_the_next() {
    let text = "name = \"t\"\n[root]\nsequence = [{ condition = \"c\", so = true }, { action = \"a\" }, \
                { fallback = [{ condition = \"c\", so = false }, { action = \"b\" }] }]\n";
    let mut tree = Tree::parse(text).unwrap();
    let mut leaves = Script {
        ends: vec![0; 6],
        running: [false; 6],
        calls: 0,
    };
    assert_eq!(tree.tick(&mut leaves), Status::Running);
    assert!(leaves.running[1]);
    leaves.ends[1] = 1;
    leaves.ends[3] = 2;
    assert_eq!(tree.tick(&mut leaves), Status::Failure);
    tree.cancel(&mut leaves);
    leaves.ends[3] = 1;
    assert_eq!(tree.tick(&mut leaves), Status::Success);
}

#[test]
fn a_file_that_is_no_tree_says_where() {
    for (root, where_) in [
        (
            "sequence = [{ action = \"a\" }, { nap = 3 }]",
            "root.sequence[1]",
        ),
        ("retry = { action = \"a\" }\ntries = 3", "root"),
        ("not = { sequence = [1] }", "root.not.sequence[0]"),
        ("action = 3", "root"),
        ("repeat = { action = \"a\" }\ntimes = -1", "root"),
    ] {
        match Tree::parse(&format!("name = \"t\"\n[root]\n{root}\n")) {
            Err(TreeError::Node { at, .. }) => assert_eq!(at, where_, "{root}"),
            other => panic!("{root}: {other:?}"),
        }
    }
    assert!(matches!(
        Tree::parse("name = \"t\"\nspeed = 1\n[root]\n"),
        Err(TreeError::Syntax(_))
    ));
}
