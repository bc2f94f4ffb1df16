//! Linear maps between two spaces, and how much of a space they find.

use std::cmp::Ordering;

use nalgebra::{DMatrix, RowDVector, linalg::Cholesky};

use super::{AlignError, Fit, Pair};

/// How many neighbours are compared.
const NEIGHBOURS: usize = 10;

/// A fitted map: `x · matrix + shift`.
pub(super) struct Map {
    matrix: DMatrix<f64>,
    shift: RowDVector<f64>,
}

/// Vectors of the same texts, one a row, in both spaces.
pub(super) struct Texts {
    from: DMatrix<f64>,
    to: DMatrix<f64>,
}

impl Texts {
    pub(super) fn of(pairs: &[Pair]) -> Result<Self, AlignError> {
        let from = pairs.iter().map(|pair| pair.from.as_slice());
        let to = pairs.iter().map(|pair| pair.to.as_slice());
        Ok(Self {
            from: matrix(from.collect())?,
            to: matrix(to.collect())?,
        })
    }

    pub(super) fn fit(&self, fit: Fit) -> Option<Map> {
        let (mean_from, mean_to) = (self.from.row_mean(), self.to.row_mean());
        let x = less(&self.from, &mean_from);
        let y = less(&self.to, &mean_to);
        let both = x.tr_mul(&y);
        let matrix = match fit {
            Fit::Procrustes => {
                let parts = both.svd(true, true);
                parts.u? * parts.v_t?
            }
            Fit::Ridge { strength } => {
                let mut own = x.tr_mul(&x);
                let mean = own.diagonal().mean();
                own.iter_mut()
                    .step_by(x.ncols() + 1)
                    .for_each(|on_the_diagonal| *on_the_diagonal += strength * mean);
                Cholesky::new(own)?.solve(&both)
            }
        };
        let shift = mean_to - mean_from * &matrix;
        let is_sound = matrix.iter().all(|x| x.is_finite());
        is_sound.then_some(Map { matrix, shift })
    }

    /// How many of these texts are among the nearest to those that stand in their places, in the second space; these
    /// texts' own vectors there, or what a map makes of those in the first.
    pub(super) fn found_by(&self, asked: &Self, map: Option<&Map>) -> usize {
        let own = match map {
            Some(map) => map.apply(&self.from),
            None => unit(self.to.clone()),
        };
        let scores = unit(asked.to.clone()) * own.transpose();
        let found = scores.row_iter().enumerate().filter(|(at, row)| {
            let meant = row.iter().nth(*at).copied().unwrap_or_default();
            // One of the scores that are as good is its own.
            row.iter().filter(|score| **score >= meant).count() <= NEIGHBOURS
        });
        found.count()
    }
}

impl Map {
    /// The rows of the matrix, and what is added to all.
    pub(super) fn numbers(&self) -> (Vec<Vec<f32>>, Vec<f32>) {
        let narrow = |x: &f64| *x as f32;
        let rows = self.matrix.row_iter();
        let rows = rows.map(|row| row.iter().map(narrow).collect());
        (rows.collect(), self.shift.iter().map(narrow).collect())
    }

    /// Vectors of the first space, one a row, in the second one, of length 1.
    fn apply(&self, vectors: &DMatrix<f64>) -> DMatrix<f64> {
        let mut mapped = vectors * &self.matrix;
        mapped.row_iter_mut().for_each(|mut row| row += &self.shift);
        unit(mapped)
    }

    /// The part of the nearest texts that mapped vectors find.
    pub(super) fn recall(&self, texts: &Texts) -> f64 {
        let (mapped, own) = (self.apply(&texts.from), unit(texts.to.clone()));
        let (found, meant) = (&mapped * own.transpose(), &own * own.transpose());
        let count = texts.from.nrows();
        let found = (0..count).map(|at| {
            let near = nearest(&found, at);
            let meant = nearest(&meant, at);
            let both = meant.iter().filter(|text| near.contains(text)).count();
            both as f64 / meant.len().max(1) as f64
        });
        found.sum::<f64>() / count.max(1) as f64
    }
}

/// The texts that are nearest to that one, but for itself.
fn nearest(scores: &DMatrix<f64>, at: usize) -> Vec<usize> {
    let row: Vec<f64> = scores.row(at).iter().copied().collect();
    let mut texts: Vec<(usize, f64)> = row.into_iter().enumerate().collect();
    texts.retain(|(text, _)| *text != at);
    let order = |a: &(usize, f64), b: &(usize, f64)| {
        let by_score = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
        by_score.then(a.0.cmp(&b.0))
    };
    texts.sort_by(order);
    texts.truncate(NEIGHBOURS);
    texts.into_iter().map(|(text, _)| text).collect()
}

/// One vector a row.
fn matrix(vectors: Vec<&[f32]>) -> Result<DMatrix<f64>, AlignError> {
    let width = vectors.first().map_or(0, |vector| vector.len());
    let is_even =
        |vector: &&[f32]| vector.len() == width && vector.iter().all(|number| number.is_finite());
    if width == 0 || !vectors.iter().all(is_even) {
        return Err(AlignError::Uneven);
    }
    let numbers = vectors.iter().flat_map(|vector| vector.iter());
    let numbers = numbers.map(|number| f64::from(*number));
    Ok(DMatrix::from_row_iterator(vectors.len(), width, numbers))
}

fn less(matrix: &DMatrix<f64>, mean: &RowDVector<f64>) -> DMatrix<f64> {
    let mut less = matrix.clone();
    less.row_iter_mut().for_each(|mut row| row -= mean);
    less
}

/// Each row of length 1, but for those of zeros.
fn unit(mut matrix: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in matrix.row_iter_mut() {
        let length = row.norm();
        if length > 0.0 {
            row /= length;
        }
    }
    matrix
}
