//! A way from here to there over a grid: A* with a margin around what is taken, then straightened.

use std::collections::{HashMap, VecDeque};

use pathfinding::prelude::astar;

use super::grid::{Cell, Grid, line};

/// What a step straight ahead costs; a diagonal one costs 14.
const STRAIGHT: u32 = 10;
const DIAGONAL: u32 = 14;
/// An unknown cell costs more: it may turn out to be taken.
const UNKNOWN: u32 = 6;
/// So do cells just outside the margin.
const NEAR: u32 = 12;

/// What a way must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Never closer to what is taken: the body's radius and something more.
    pub hard_m: f32,
    /// Rather not closer than this.
    pub soft_m: f32,
}

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoWay {
    /// The goal is not on the map.
    #[error("({x_m:.1}, {y_m:.1}) is off the map, which reaches {reach_m:.0} m each way")]
    OffTheMap {
        /// The goal.
        x_m: f32,
        /// The goal.
        y_m: f32,
        /// How far the map reaches.
        reach_m: f32,
    },
    /// Something is at the goal.
    #[error(
        "({x_m:.1}, {y_m:.1}) is taken by an obstacle or too close to one; the nearest free place is \
         ({free_x_m:.1}, {free_y_m:.1})"
    )]
    Taken {
        /// The goal.
        x_m: f32,
        /// The goal.
        y_m: f32,
        /// The nearest free place.
        free_x_m: f32,
        /// The nearest free place.
        free_y_m: f32,
    },
    /// Obstacles are all around the goal, or all around the body.
    #[error("no way leads to ({x_m:.1}, {y_m:.1}): it is closed off by obstacles")]
    ClosedOff {
        /// The goal.
        x_m: f32,
        /// The goal.
        y_m: f32,
    },
}

/// How far every cell near something taken is from it, in cells; others are far.
#[derive(Clone, Debug)]
pub struct Clearance {
    near: HashMap<Cell, f32>,
    hard: f32,
    soft: f32,
}

impl Clearance {
    /// Of a grid.
    pub fn new(grid: &Grid, margin: Margin) -> Self {
        let hard = margin.hard_m / grid.resolution_m();
        let soft = (margin.soft_m / grid.resolution_m()).max(hard);
        let reach = soft.ceil() as i32;
        let disc: Vec<(Cell, f32)> = (-reach..=reach)
            .flat_map(|dx| (-reach..=reach).map(move |dy| ((dx, dy), (dx as f32).hypot(dy as f32))))
            .filter(|(_, distance)| *distance <= soft)
            .collect();
        let mut near = HashMap::new();
        for (x, y) in grid.taken() {
            for ((dx, dy), distance) in &disc {
                let least = near.entry((x + dx, y + dy)).or_insert(*distance);
                *least = f32::min(*least, *distance);
            }
        }
        Self { near, hard, soft }
    }

    /// Whether the body may stand there.
    pub fn allows(&self, cell: Cell) -> bool {
        self.near
            .get(&cell)
            .is_none_or(|distance| *distance > self.hard)
    }

    fn extra(&self, grid: &Grid, cell: Cell) -> u32 {
        let near = self.near.get(&cell).map_or(0, |distance| {
            let part = (self.soft - distance) / (self.soft - self.hard).max(1e-3);
            (part.clamp(0.0, 1.0) * NEAR as f32) as u32
        });
        near + if grid.is_free(cell) { 0 } else { UNKNOWN }
    }

    /// Whether the body may go straight from one to the other.
    pub fn sees(&self, from: Cell, to: Cell) -> bool {
        line(from, to).all(|cell| self.allows(cell))
    }
}

/// A way: points of the map, the first where the body is, the last the goal.
pub type Way = Vec<(f32, f32)>;

/// Finds a way.
///
/// # Errors
///
/// There is none; says why, and what could be gone to instead.
pub fn plan(grid: &Grid, margin: Margin, from: (f32, f32), to: (f32, f32)) -> Result<Way, NoWay> {
    let clearance = Clearance::new(grid, margin);
    let (start, goal) = (grid.cell(from.0, from.1), grid.cell(to.0, to.1));
    let (x_m, y_m) = to;
    if !grid.has(goal) || !x_m.is_finite() || !y_m.is_finite() {
        let reach_m = grid.reach_m();
        return Err(NoWay::OffTheMap { x_m, y_m, reach_m });
    }
    if !clearance.allows(goal) {
        let free = nearest(grid, &clearance, goal).ok_or(NoWay::ClosedOff { x_m, y_m })?;
        let (free_x_m, free_y_m) = grid.middle(free);
        return Err(NoWay::Taken {
            x_m,
            y_m,
            free_x_m,
            free_y_m,
        });
    }
    // A body that stands too close to something may still leave: only the way out of the margin is free.
    let leaving = |cell: Cell| {
        let (dx, dy) = (cell.0 - start.0, cell.1 - start.1);
        !grid.is_taken(cell) && ((dx * dx + dy * dy) as f32).sqrt() <= clearance.hard + 1.0
    };
    let stuck = !clearance.allows(start);
    let open = |cell: Cell| grid.has(cell) && (clearance.allows(cell) || (stuck && leaving(cell)));
    let found = astar(
        &start,
        |cell| steps(*cell, open, |cell| clearance.extra(grid, cell)),
        |cell| distance(*cell, goal),
        |cell| *cell == goal,
    );
    let (cells, _) = found.ok_or(NoWay::ClosedOff { x_m, y_m })?;
    let mut way: Way = straighten(&clearance, &cells)
        .into_iter()
        .map(|cell| grid.middle(cell))
        .collect();
    if let Some(first) = way.first_mut() {
        *first = from;
    }
    match way.as_mut_slice() {
        [.., last] if cells.len() > 1 => *last = to,
        _ => way.push(to),
    }
    Ok(way)
}

/// The nearest place where the body may stand, by rings around a cell.
pub fn nearest(grid: &Grid, clearance: &Clearance, around: Cell) -> Option<Cell> {
    let mut queue = VecDeque::from([around]);
    let mut seen = std::collections::HashSet::from([around]);
    while let Some(cell) = queue.pop_front() {
        if clearance.allows(cell) && grid.has(cell) {
            return Some(cell);
        }
        for (dx, dy) in [(1, 0), (-1, 0), (0, 1), (0, -1)] {
            let next = (cell.0 + dx, cell.1 + dy);
            if grid.has(next) && seen.insert(next) {
                queue.push_back(next);
            }
        }
    }
    None
}

/// The steps from a cell, none of them across a corner.
fn steps(
    (x, y): Cell,
    open: impl Fn(Cell) -> bool,
    extra: impl Fn(Cell) -> u32,
) -> Vec<(Cell, u32)> {
    let mut steps = Vec::with_capacity(8);
    for dx in -1..=1 {
        for dy in -1..=1 {
            let next = (x + dx, y + dy);
            if (dx, dy) == (0, 0) || !open(next) {
                continue;
            }
            let diagonal = dx != 0 && dy != 0;
            if diagonal && !(open((x + dx, y)) && open((x, y + dy))) {
                continue;
            }
            let cost = if diagonal { DIAGONAL } else { STRAIGHT };
            steps.push((next, cost + extra(next)));
        }
    }
    steps
}

fn distance(from: Cell, to: Cell) -> u32 {
    let (dx, dy) = (from.0.abs_diff(to.0), from.1.abs_diff(to.1));
    STRAIGHT * dx.abs_diff(dy) + DIAGONAL * dx.min(dy)
}

/// Leaves out every point that the one before can do without.
fn straighten(clearance: &Clearance, cells: &[Cell]) -> Vec<Cell> {
    let mut kept: Vec<Cell> = Vec::new();
    let mut cells = cells.iter().copied().peekable();
    while let Some(cell) = cells.next() {
        let needed = match (kept.last(), cells.peek()) {
            (Some(before), Some(after)) => !clearance.sees(*before, *after),
            _ => true,
        };
        if needed {
            kept.push(cell);
        }
    }
    kept
}

impl Grid {
    /// How far the map reaches in each direction.
    pub fn reach_m(&self) -> f32 {
        let mut cell = 0;
        while self.has((cell + 1, 0)) {
            cell += 1;
        }
        cell as f32 * self.resolution_m()
    }
}
