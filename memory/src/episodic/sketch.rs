//! Finding the nearest of very many vectors without comparing them whole.
//!
//! A sketch of a vector is its shadow on the 64 directions in which the store's vectors differ most. All
//! sketches are compared with the question's, which is a quarter of the work or less, and the nearest few
//! thousand then whole.
//!
//! Measured on 100,000 vectors of made-up texts of the static embedder (256 numbers), ten nearest of each of
//! 200 questions: sketches find .999 of them among the best 4,000, with nothing to build but shadows
//! (2 µs a row). A graph (HNSW of usearch 2.26, 16 links, 128 candidates when made) finds .94 in 3.6 ms with
//! 1,024 candidates, makes 2,400 rows a second, holds every vector again and takes six minutes to compile.

use super::scan;

/// Directions that are kept.
const SIZE: usize = 64;

/// Rows that the directions are taken from.
pub(super) const SAMPLE: usize = 2048;

/// Each round turns the directions nearer to those that differ most; more make no difference that counts.
const ROUNDS: usize = 8;

/// The sketches of the first so many rows of a part.
pub(super) struct Sketch {
    /// Numbers of a direction.
    dimension: usize,
    /// Directions of length 1 at right angles, one after the other.
    pub(super) directions: Vec<f32>,
    /// A shadow for each row, as bytes.
    pub(super) shadows: Vec<i8>,
    /// One over the length of each; 0 for a row that has no vector.
    pub(super) units: Vec<f32>,
}

impl Sketch {
    /// Finds the directions for a store that has vectors like these; nothing if they are too few or too short
    /// for it to be worth anything.
    pub(super) fn fit<'a>(
        sample: impl Iterator<Item = &'a [i8]>,
        dimension: usize,
    ) -> Option<Self> {
        let sample: Vec<Vec<f32>> = sample.map(unit).filter(|row| !row.is_empty()).collect();
        if dimension < 2 * SIZE || sample.len() < SIZE {
            return None;
        }
        let mut directions: Vec<Vec<f32>> = sample
            .iter()
            .step_by(sample.len() / SIZE)
            .take(SIZE)
            .cloned()
            .collect();
        straighten(&mut directions);
        for _ in 0..ROUNDS {
            let mut next = vec![vec![0.0; dimension]; SIZE];
            for row in &sample {
                for (direction, next) in directions.iter().zip(&mut next) {
                    add(next, row, dot(direction, row));
                }
            }
            straighten(&mut next);
            directions = next;
        }
        Some(Self::of(
            dimension,
            directions.concat(),
            Vec::new(),
            Vec::new(),
        ))
    }

    /// One of which the parts are known.
    pub(super) fn of(
        dimension: usize,
        directions: Vec<f32>,
        shadows: Vec<i8>,
        units: Vec<f32>,
    ) -> Self {
        Self {
            dimension,
            directions,
            shadows,
            units,
        }
    }

    /// How many rows it covers.
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, vector: &[i8]) {
        let place = self.len();
        self.shadows.resize(self.shadows.len() + SIZE, 0);
        self.units.push(0.0);
        self.set(place, vector);
    }

    /// Gives the row at `place` another vector.
    pub(super) fn set(&mut self, place: usize, vector: &[i8]) {
        let shadow = self.shadow(vector);
        let square = scan::dot(&shadow, &shadow);
        let room = self.shadows.get_mut(place * SIZE..(place + 1) * SIZE);
        if let (Some(room), Some(unit)) = (room, self.units.get_mut(place)) {
            room.copy_from_slice(&shadow);
            *unit = if square > 0 {
                1.0 / (square as f32).sqrt()
            } else {
                0.0
            };
        }
    }

    /// Wipes the row at `place`.
    pub(super) fn forget(&mut self, place: usize) {
        self.set(place, &[]);
    }

    fn shadow(&self, vector: &[i8]) -> Vec<i8> {
        let vector: Vec<f32> = vector.iter().map(|part| f32::from(*part)).collect();
        let directions = self.directions.chunks_exact(self.dimension);
        let shadow: Vec<f32> = directions.map(|other| dot(other, &vector)).collect();
        crate::embed::quantise(&shadow)
    }

    /// The places of about the nearest `count` rows of those that are admitted.
    pub(super) fn nearest(
        &self,
        vector: &[i8],
        count: usize,
        admits: impl Fn(u32) -> bool,
    ) -> Vec<Near> {
        let mut best = Best::new(count);
        let mut units = self.units.iter().zip(0..);
        scan::dots(&self.shadow(vector), &self.shadows, &mut |product| {
            if let Some((unit, place)) = units.next() {
                let like = product as f32 * unit;
                if best.wants(like) && admits(place) {
                    best.offer(Near { like, place });
                }
            }
        });
        best.take()
    }
}

/// The vector as numbers, of length 1; empty for one of zeros.
fn unit(vector: &[i8]) -> Vec<f32> {
    let square = scan::dot(vector, vector);
    if square == 0 {
        return Vec::new();
    }
    let length = (square as f32).sqrt();
    vector
        .iter()
        .map(|part| f32::from(*part) / length)
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Sixteen sums side by side, which the compiler can hold in registers.
    let mut sums = [0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn add(to: &mut [f32], row: &[f32], times: f32) {
    to.iter_mut().zip(row).for_each(|(to, x)| *to += times * x);
}

/// Makes directions of length 1 and at right angles to those before them (Gram and Schmidt). One that is
/// nothing but others becomes zeros.
fn straighten(directions: &mut [Vec<f32>]) {
    for at in 0..directions.len() {
        let (before, rest) = directions.split_at_mut(at);
        let Some(this) = rest.first_mut() else {
            continue;
        };
        let length = dot(this, this).sqrt();
        // Twice, because the first time leaves what rounding adds.
        for _ in 0..2 {
            for other in before.iter() {
                let shared = dot(this, other);
                add(this, other, -shared);
            }
        }
        let left = dot(this, this).sqrt();
        let scale = if left > length * 1e-4 {
            1.0 / left
        } else {
            0.0
        };
        this.iter_mut().for_each(|part| *part *= scale);
    }
}

/// A row, and how like it is to what is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) like: f32,
    pub(super) place: u32,
}

/// The best few of many. Of equal ones those that come first are kept.
pub(super) struct Best {
    most: usize,
    /// What is not above this is not among the best.
    floor: f32,
    near: Vec<Near>,
}

impl Best {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            floor: f32::NEG_INFINITY,
            near: Vec::with_capacity(2 * most),
        }
    }

    /// Whether so like a row may be among the best.
    #[inline]
    pub(super) fn wants(&self, like: f32) -> bool {
        like > self.floor
    }

    /// Rows are offered in the order of their places.
    #[inline]
    pub(super) fn offer(&mut self, near: Near) {
        if self.wants(near.like) {
            self.near.push(near);
            if self.near.len() >= 2 * self.most.max(1) {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        let better = |a: &Near, b: &Near| b.like.total_cmp(&a.like).then(a.place.cmp(&b.place));
        if self.near.len() > self.most {
            self.near.select_nth_unstable_by(self.most, better);
            self.near.truncate(self.most);
            let likes = self.near.iter().map(|near| near.like);
            self.floor = likes.fold(f32::INFINITY, f32::min);
        }
    }

    /// The best, in no order.
    pub(super) fn take(mut self) -> Vec<Near> {
        self.cut();
        self.near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors that differ more in some directions than in others, as those of texts do.
    fn vectors(count: usize, seed: u64) -> Vec<Vec<i8>> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut one = || {
            let part = |n: usize| (random.f32() - 0.5) / (1.0 + (n * 73 % 256) as f32 / 24.0);
            let vector: Vec<f32> = (0..256).map(part).collect();
            crate::embed::quantise(&vector)
        };
        (0..count).map(|_| one()).collect()
    }

    fn sketch(vectors: &[Vec<i8>]) -> Sketch {
        let sample = vectors.iter().step_by(2).map(Vec::as_slice);
        let mut sketch = Sketch::fit(sample, 256).unwrap();
        vectors.iter().for_each(|vector| sketch.push(vector));
        sketch
    }

    #[test]
    fn nearly_all_of_the_nearest_are_among_those_that_look_nearest() {
        let rows = vectors(4000, 1);
        let sketch = sketch(&rows);
        let mut found = 0;
        for question in vectors(50, 2) {
            let near = sketch.nearest(&question, 400, |_| true);
            assert_eq!(near.len(), 400);
            let like = |place: &usize| {
                let row = &rows[*place];
                scan::dot(row, &question) as f32 / (scan::dot(row, row) as f32).sqrt()
            };
            let mut all: Vec<usize> = (0..rows.len()).collect();
            all.sort_by(|a, b| like(b).total_cmp(&like(a)));
            let is_near = |place: &&usize| near.iter().any(|near| near.place as usize == **place);
            found += all[..10].iter().filter(is_near).count();
        }
        assert!(found >= 490, "{found} of 500");
    }

    #[test]
    fn directions_are_at_right_angles_and_the_same_every_time() {
        let rows = vectors(500, 3);
        let sketch = sketch(&rows);
        let directions: Vec<&[f32]> = sketch.directions.chunks_exact(256).collect();
        for (at, one) in directions.iter().enumerate() {
            for (other_at, other) in directions.iter().enumerate() {
                let wanted = f32::from(at == other_at);
                assert!((dot(one, other) - wanted).abs() < 1e-3);
            }
        }
        assert_eq!(self::sketch(&rows).directions, sketch.directions);
    }

    #[test]
    fn what_cannot_be_sketched_is_not() {
        let rows = vectors(63, 4);
        assert!(Sketch::fit(rows.iter().map(Vec::as_slice), 256).is_none());
        let zeros = vec![vec![0i8; 256]; 100];
        assert!(Sketch::fit(zeros.iter().map(Vec::as_slice), 256).is_none());
        let short = vec![vec![1i8; 100]; 100];
        assert!(Sketch::fit(short.iter().map(Vec::as_slice), 100).is_none());
        let same = vec![vec![1i8; 256]; 100];
        let sketch = Sketch::fit(same.iter().map(Vec::as_slice), 256).unwrap();
        assert!(sketch.directions.iter().all(|part| part.is_finite()));
    }

    #[test]
    fn the_best_are_kept_and_of_equal_ones_the_first() {
        let mut best = Best::new(3);
        for place in 0..100 {
            let like = (place % 10) as f32;
            best.offer(Near { like, place });
        }
        let mut places: Vec<u32> = best.take().iter().map(|near| near.place).collect();
        places.sort_unstable();
        assert_eq!(places, [9, 19, 29]);
        assert!(Best::new(0).take().is_empty());
    }
}
