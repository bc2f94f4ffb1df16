//! The occupancy grid: what the scanner saw where.

use crate::body::hal::{Pose, Scan};

/// A cell, by column and row.
pub type Cell = (i32, i32);

/// A cell counts as taken from here on, and as free from minus this; between, nobody knows.
const SURE: i8 = 8;
/// A cell changes its mind after as many scans as this says.
const MOST: i8 = 40;
const HIT: i8 = 9;
const PASS: i8 = -3;

/// What the scanner saw, in square cells around the origin of the map.
#[derive(Clone, Debug)]
pub struct Grid {
    resolution_m: f32,
    /// How far it reaches in each direction, in cells.
    half: i32,
    cells: Vec<i8>,
}

impl Grid {
    /// An unknown floor, in cells of that size, that reaches so far in each direction.
    pub fn new(resolution_m: f32, reach_m: f32) -> Self {
        let half = (reach_m / resolution_m).ceil().clamp(1.0, 4000.0) as i32;
        let side = (2 * half + 1) as usize;
        Self {
            resolution_m,
            half,
            cells: vec![0; side * side],
        }
    }

    /// How wide a cell is.
    pub fn resolution_m(&self) -> f32 {
        self.resolution_m
    }

    /// The cell at a point of the map.
    pub fn cell(&self, x_m: f32, y_m: f32) -> Cell {
        let place = |value: f32| (value / self.resolution_m).round() as i32;
        (place(x_m), place(y_m))
    }

    /// The middle of a cell.
    pub fn middle(&self, (column, row): Cell) -> (f32, f32) {
        (
            column as f32 * self.resolution_m,
            row as f32 * self.resolution_m,
        )
    }

    fn index(&self, (column, row): Cell) -> Option<usize> {
        let inside = |value: i32| (-self.half..=self.half).contains(&value);
        let side = 2 * self.half + 1;
        (inside(column) && inside(row))
            .then(|| ((row + self.half) * side + column + self.half) as usize)
    }

    fn value(&self, cell: Cell) -> Option<i8> {
        self.cells.get(self.index(cell)?).copied()
    }

    /// Whether a cell is on the map at all.
    pub fn has(&self, cell: Cell) -> bool {
        self.index(cell).is_some()
    }

    /// Whether something is in the cell.
    pub fn is_taken(&self, cell: Cell) -> bool {
        self.value(cell).is_some_and(|value| value >= SURE)
    }

    /// Whether the cell was seen to be empty.
    pub fn is_free(&self, cell: Cell) -> bool {
        self.value(cell).is_some_and(|value| value <= -SURE)
    }

    /// Says that a cell is taken, whatever the scanner sees there: a floor that ends is not seen.
    pub fn take(&mut self, cell: Cell) {
        if let Some(value) = self.index(cell).and_then(|index| self.cells.get_mut(index)) {
            *value = i8::MAX;
        }
    }

    /// Every taken cell.
    pub fn taken(&self) -> impl Iterator<Item = Cell> + '_ {
        let side = 2 * self.half + 1;
        self.cells
            .iter()
            .enumerate()
            .filter(|(_, value)| **value >= SURE)
            .map(move |(index, _)| {
                let index = index as i32;
                (index % side - self.half, index / side - self.half)
            })
    }

    /// Adds what a scan saw from a place. Distances that are no reading add nothing; rays that met
    /// nothing free what they passed, up to that many metres.
    pub fn add(&mut self, scan: &Scan, from: Pose, free_up_to_m: f32) {
        let start = self.cell(from.x_m, from.y_m);
        for (index, range) in scan.ranges_m.iter().enumerate() {
            if range.is_nan() || *range < scan.range_min_m {
                continue;
            }
            let hit = *range <= scan.range_max_m;
            let reach = range
                .min(scan.range_max_m)
                .min(if hit { f32::MAX } else { free_up_to_m });
            let angle = from.heading_rad + scan.angle_min_rad + scan.angle_step_rad * index as f32;
            let end = self.cell(
                from.x_m + reach * angle.cos(),
                from.y_m + reach * angle.sin(),
            );
            for cell in line(start, end) {
                if cell != end {
                    self.change(cell, PASS);
                }
            }
            self.change(end, if hit { HIT } else { PASS });
        }
    }

    fn change(&mut self, cell: Cell, by: i8) {
        let Some(value) = self.index(cell).and_then(|index| self.cells.get_mut(index)) else {
            return;
        };
        if *value < i8::MAX {
            *value = value.saturating_add(by).clamp(-MOST, MOST);
        }
    }
}

/// The cells on a straight line, both ends included (Bresenham).
pub fn line((mut x, mut y): Cell, (to_x, to_y): Cell) -> impl Iterator<Item = Cell> {
    let (dx, dy) = ((to_x - x).abs(), -(to_y - y).abs());
    let (step_x, step_y) = ((to_x - x).signum(), (to_y - y).signum());
    let mut error = dx + dy;
    let mut over = false;
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let cell = (x, y);
        over = cell == (to_x, to_y);
        let twice = 2 * error;
        if twice >= dy {
            error += dy;
            x += step_x;
        }
        if twice <= dx {
            error += dx;
            y += step_y;
        }
        Some(cell)
    })
}
