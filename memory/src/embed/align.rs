//! One latent space: vectors of one embedder, mapped into the space of another.
//!
//! Two embedders say the same of a text in different directions, so that their vectors cannot be compared. A
//! linear map, fitted on vectors that both made of the same texts, brings the one into the space of the
//! other. How good that is depends on the two: it is measured on texts that the fit did not see, and the
//! figure stays with the map.

use std::cmp::Ordering;

use nalgebra::{DMatrix, RowDVector, linalg::Cholesky};
use serde::{Deserialize, Serialize};

/// How many neighbours are compared.
const NEIGHBOURS: usize = 10;
/// Texts without which nothing can be said of a fit.
pub const FEWEST: usize = 100;
/// Strengths of the ridge, as parts of the mean variance of the vectors' numbers.
const RIDGES: [f64; 5] = [1e-3, 1e-2, 1e-1, 0.3, 1.0];

/// The vectors that two embedders made of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Of the one whose vectors are to be mapped.
    pub from: Vec<f32>,
    /// Of the one whose space they are mapped into.
    pub to: Vec<f32>,
}

/// How a map was fitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fit")]
pub enum Fit {
    /// Turned and moved, and nothing else: orthogonal Procrustes (Schönemann, "A generalized solution of the
    /// orthogonal Procrustes problem", Psychometrika 31, 1966), between the means.
    Procrustes,
    /// Any linear map and a shift, by least squares with a ridge (Hoerl and Kennard, Technometrics 12, 1970).
    Ridge {
        /// Its strength.
        strength: f64,
    },
}

/// A map from the space of one embedder into that of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignment {
    /// The id of the embedder whose vectors it maps.
    pub from: String,
    /// The id of the embedder into whose space.
    pub to: String,
    /// How it was fitted.
    pub fit: Fit,
    /// Of the ten texts that are nearest to a text by the second embedder's own vectors, the part that its
    /// mapped vector finds, among texts that the fit did not see.
    pub recall: f64,
    /// How many texts that was measured on.
    pub measured_on: usize,
    /// A row for each number of a vector that is mapped.
    rows: Vec<Vec<f32>>,
    /// What is added to all.
    shift: Vec<f32>,
}

/// Why two spaces were not aligned, or a vector not mapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlignError {
    /// Too few texts.
    #[error("{0} texts are too few to align two embedders on: at least {FEWEST} are needed")]
    TooFew(usize),
    /// The vectors are not all alike.
    #[error("the vectors of one embedder are of different lengths, or hold numbers that are none")]
    Uneven,
    /// Nothing fits.
    #[error("no linear map leads from one embedder to the other")]
    Singular,
    /// It is for vectors of other embedders.
    #[error("the alignment is from {from} to {to}, and the vector is one of {found}")]
    Foreign {
        /// The embedder whose vectors it maps.
        from: String,
        /// The embedder into whose space.
        to: String,
        /// The embedder that the vector is of.
        found: String,
    },
}

/// A fitted map: `x · matrix + shift`.
struct Map {
    matrix: DMatrix<f64>,
    shift: RowDVector<f64>,
}

/// Vectors of the same texts, one a row, in both spaces.
struct Texts {
    from: DMatrix<f64>,
    to: DMatrix<f64>,
}

impl Alignment {
    /// Fits maps on most of the pairs, chooses the one that finds most on some of the others, and says how
    /// much it finds on the rest. Always the same for the same pairs.
    ///
    /// # Errors
    /// If there are too few pairs, or they do not belong together.
    pub fn fit(from: &str, to: &str, pairs: &[Pair]) -> Result<Self, AlignError> {
        if pairs.len() < FEWEST {
            return Err(AlignError::TooFew(pairs.len()));
        }
        let part = |is: fn(usize) -> bool| Texts::of(pairs, is);
        // Of ten texts, six to fit on, two to choose by, two to measure on.
        let fitted = part(|at| at % 5 < 3)?;
        let choosing = part(|at| at % 5 == 3)?;
        let both = part(|at| at % 5 != 4)?;
        let measuring = part(|at| at % 5 == 4)?;
        let ridges = RIDGES.map(|strength| Fit::Ridge { strength });
        let fits = std::iter::once(Fit::Procrustes).chain(ridges);
        let scored = fits.filter_map(|fit| Some((fitted.fit(fit)?.recall(&choosing), fit)));
        // The first of equals, so that of two that are as good the simpler one is taken.
        let best = scored.reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (_, fit) = best.ok_or(AlignError::Singular)?;
        let map = both.fit(fit).ok_or(AlignError::Singular)?;
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            fit,
            recall: map.recall(&measuring),
            measured_on: measuring.from.nrows(),
            rows: map
                .matrix
                .row_iter()
                .map(|row| row.iter().map(|x| *x as f32).collect())
                .collect(),
            shift: map.shift.iter().map(|x| *x as f32).collect(),
        })
    }

    /// The vector in the other space, of length 1, or of zeros where it said nothing.
    ///
    /// # Errors
    /// [`AlignError::Foreign`] if it is not a vector of the embedder that this is for.
    pub fn map(&self, embedder: &str, vector: &[f32]) -> Result<Vec<f32>, AlignError> {
        if embedder != self.from || vector.len() != self.rows.len() {
            return Err(AlignError::Foreign {
                from: self.from.clone(),
                to: self.to.clone(),
                found: format!("{embedder} ({} numbers)", vector.len()),
            });
        }
        if vector.iter().all(|x| *x == 0.0) {
            return Ok(vec![0.0; self.shift.len()]);
        }
        let mut mapped = self.shift.clone();
        for (x, row) in vector.iter().zip(&self.rows) {
            for (sum, weight) in mapped.iter_mut().zip(row) {
                *sum += x * weight;
            }
        }
        let length = mapped.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            mapped.iter_mut().for_each(|x| *x /= length);
        }
        Ok(mapped)
    }
}

impl Texts {
    /// Those of the pairs whose place is so.
    fn of(pairs: &[Pair], is: fn(usize) -> bool) -> Result<Self, AlignError> {
        let some: Vec<&Pair> = pairs
            .iter()
            .enumerate()
            .filter_map(|(at, pair)| is(at).then_some(pair))
            .collect();
        let from = some.iter().map(|pair| pair.from.as_slice());
        let to = some.iter().map(|pair| pair.to.as_slice());
        Ok(Self {
            from: matrix(from.collect())?,
            to: matrix(to.collect())?,
        })
    }

    fn fit(&self, fit: Fit) -> Option<Map> {
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
}

impl Map {
    /// The part of the nearest texts that mapped vectors find.
    fn recall(&self, texts: &Texts) -> f64 {
        let mut mapped = &texts.from * &self.matrix;
        mapped.row_iter_mut().for_each(|mut row| row += &self.shift);
        let (mapped, own) = (unit(mapped), unit(texts.to.clone()));
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

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// Vectors of texts about a few things: in clusters, as those of real texts are.
    fn vectors(rng: &mut Rng, count: usize, width: usize) -> Vec<Vec<f32>> {
        let mut random = |scale: f32| -> Vec<f32> {
            let numbers = (0..width).map(|_| (rng.f32() + rng.f32() + rng.f32() - 1.5) * scale);
            numbers.collect()
        };
        let things: Vec<Vec<f32>> = (0..20).map(|_| random(1.0)).collect();
        (0..count)
            .map(|at| {
                let own = random(0.7);
                let thing = &things[at % things.len()];
                unit_of(own.iter().zip(thing).map(|(a, b)| a + b).collect())
            })
            .collect()
    }

    fn unit_of(vector: Vec<f32>) -> Vec<f32> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect()
    }

    fn times(vector: &[f32], matrix: &[Vec<f32>], shift: f32) -> Vec<f32> {
        let width = matrix[0].len();
        (0..width)
            .map(|to| {
                let products = vector.iter().zip(matrix).map(|(x, row)| x * row[to]);
                products.sum::<f32>() + shift
            })
            .collect()
    }

    fn a_matrix(rng: &mut Rng, rows: usize, columns: usize) -> Vec<Vec<f32>> {
        let mut row = || (0..columns).map(|_| rng.f32() - 0.5).collect();
        (0..rows).map(|_| row()).collect()
    }

    /// A turn: reflections, one after the other.
    fn turned(vector: &[f32], mirrors: &[Vec<f32>]) -> Vec<f32> {
        mirrors.iter().fold(vector.to_vec(), |vector, mirror| {
            let along: f32 = vector.iter().zip(mirror).map(|(a, b)| a * b).sum();
            let pairs = vector.iter().zip(mirror);
            pairs.map(|(a, b)| a - 2.0 * along * b).collect()
        })
    }

    fn pairs(from: Vec<Vec<f32>>, to: impl Fn(&[f32]) -> Vec<f32>) -> Vec<Pair> {
        let pair = |from: Vec<f32>| Pair {
            to: to(&from),
            from,
        };
        from.into_iter().map(pair).collect()
    }

    #[test]
    fn a_space_that_is_only_turned_is_turned_back() {
        let mut rng = Rng::with_seed(1);
        let mirrors: Vec<_> = (0..7).map(|_| vectors(&mut rng, 1, 24).remove(0)).collect();
        let texts = vectors(&mut rng, 400, 24);
        let pairs = pairs(texts, |vector| turned(vector, &mirrors));
        let alignment = Alignment::fit("a", "b", &pairs).unwrap();
        assert_eq!(alignment.fit, Fit::Procrustes, "of equals the simpler one");
        assert!(alignment.recall > 0.999, "{}", alignment.recall);
        assert_eq!(alignment.measured_on, 80);
        let new = vectors(&mut rng, 1, 24).remove(0);
        let (mapped, meant) = (alignment.map("a", &new).unwrap(), turned(&new, &mirrors));
        for (a, b) in mapped.iter().zip(&meant) {
            assert!((a - b).abs() < 1e-3, "{mapped:?} is not {meant:?}");
        }
    }

    #[test]
    fn a_space_that_is_bent_and_of_another_dimension_takes_more_than_a_turn() {
        let mut rng = Rng::with_seed(2);
        let matrix = a_matrix(&mut rng, 24, 40);
        let texts = vectors(&mut rng, 600, 24);
        let pairs = pairs(texts, |vector| unit_of(times(vector, &matrix, 0.2)));
        let alignment = Alignment::fit("a", "b", &pairs).unwrap();
        assert!(
            matches!(alignment.fit, Fit::Ridge { .. }),
            "{:?}",
            alignment.fit
        );
        assert!(alignment.recall > 0.9, "{}", alignment.recall);
        assert_eq!(alignment.map("a", &pairs[0].from).unwrap().len(), 40);
    }

    #[test]
    fn spaces_that_have_nothing_to_do_with_each_other_get_a_figure_that_says_so() {
        let mut rng = Rng::with_seed(3);
        let (from, to) = (vectors(&mut rng, 400, 16), vectors(&mut rng, 400, 16));
        let mut to = to.into_iter();
        rng.shuffle(to.as_mut_slice());
        let pairs: Vec<Pair> = from
            .into_iter()
            .zip(to)
            .map(|(from, to)| Pair { from, to })
            .collect();
        let alignment = Alignment::fit("a", "b", &pairs).unwrap();
        // By chance, ten of 79.
        assert!(alignment.recall < 0.25, "{}", alignment.recall);
    }

    #[test]
    fn vectors_of_another_embedder_are_not_mapped() {
        let mut rng = Rng::with_seed(4);
        let pairs = pairs(vectors(&mut rng, 100, 8), <[f32]>::to_vec);
        let alignment = Alignment::fit("a", "b", &pairs).unwrap();
        let vector = &pairs[0].from;
        assert!(alignment.map("a", vector).is_ok());
        assert_eq!(alignment.map("a", &[0.0; 8]).unwrap(), [0.0; 8]);
        for (embedder, vector) in [("b", vector.as_slice()), ("a", &vector[..7])] {
            let refused = alignment.map(embedder, vector);
            assert!(
                matches!(refused, Err(AlignError::Foreign { .. })),
                "{refused:?}"
            );
        }
        let json = serde_json::to_string(&alignment).unwrap();
        let again: Alignment = serde_json::from_str(&json).unwrap();
        assert_eq!(again, alignment);
    }

    #[test]
    fn what_cannot_be_aligned_is_said() {
        let mut rng = Rng::with_seed(5);
        let good = pairs(vectors(&mut rng, 120, 8), <[f32]>::to_vec);
        assert_eq!(
            Alignment::fit("a", "b", &good[..99]),
            Err(AlignError::TooFew(99))
        );
        let mut uneven = good.clone();
        uneven[7].from.pop();
        assert_eq!(Alignment::fit("a", "b", &uneven), Err(AlignError::Uneven));
        let mut none = good.clone();
        none[9].to[0] = f32::NAN;
        assert_eq!(Alignment::fit("a", "b", &none), Err(AlignError::Uneven));
        let flat: Vec<Pair> = good
            .iter()
            .map(|pair| Pair {
                from: vec![0.0; 8],
                to: pair.to.clone(),
            })
            .collect();
        // All texts look the same: there is nothing to find, and nothing breaks.
        if let Ok(alignment) = Alignment::fit("a", "b", &flat) {
            assert!(alignment.recall < 0.7, "{}", alignment.recall);
        }
    }
}
