//! One latent space: vectors of one embedder, mapped into the space of another.
//!
//! Two embedders say the same of a text in different directions, so that their vectors cannot be compared. A
//! linear map, fitted on vectors that both made of the same texts, brings the one into the space of the
//! other. How good that is depends on the two: it is measured on texts that the fit did not see, and the
//! figures stay with the map.
//!
//! A memory is asked with words that are not those of what is looked for. So a map is fitted for that, too: a
//! half of a text is mapped to where both halves are, in the other space, on the average. That finds more than a
//! map to the half's own vector does, and costs a little of the likeness to that space; both are measured.

use serde::{Deserialize, Serialize};

use super::Embedder;
use linear::{Map, Texts};

mod linear;
#[cfg(test)]
mod tests;

/// Texts without which nothing can be said of a fit.
pub const FEWEST: usize = 100;
/// Strengths of the ridge, as parts of the mean variance of the vectors' numbers.
const RIDGES: [f64; 5] = [1e-3, 1e-2, 1e-1, 0.3, 1.0];
/// Words of a text whose halves say something, too.
const HALVED: usize = 4;

/// The vectors that two embedders made of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Of the one whose vectors are to be mapped.
    pub from: Vec<f32>,
    /// Of the one whose space they are mapped into.
    pub to: Vec<f32>,
}

/// A text that both embedders read.
#[derive(Debug, Clone, PartialEq)]
struct Anchor {
    whole: Pair,
    halves: Option<[Pair; 2]>,
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
    /// How many of these texts are among the ten nearest to their other half, as the second embedder has it, when
    /// the half that is looked for is mapped: as a part of how many are when that one is the second embedder's own,
    /// too. 1.0 is as good as embedding again. None where no halves were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
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
    /// An embedder made no vectors of the texts. The text says what to do.
    #[error("{0}")]
    Embedder(String),
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

impl Alignment {
    /// Has both embedders read the texts, and their halves, and fits a map from the vectors of the one to those of the
    /// other: see [`Alignment::fit`]. The more texts, and the more they are like what will be looked for, the better.
    ///
    /// # Errors
    /// If there are too few texts, or an embedder fails.
    pub async fn between(
        from: &dyn Embedder,
        to: &dyn Embedder,
        texts: &[String],
    ) -> Result<Self, AlignError> {
        let halves: Vec<Option<[String; 2]>> = texts.iter().map(|text| halved(text)).collect();
        let all = texts.iter().chain(halves.iter().flatten().flatten());
        let all: Vec<String> = all.cloned().collect();
        let (ours, theirs) = (vectors(from, &all).await?, vectors(to, &all).await?);
        let pairs = ours.into_iter().zip(theirs);
        let mut pairs = pairs.map(|(from, to)| Pair { from, to });
        let wholes: Vec<Pair> = pairs.by_ref().take(texts.len()).collect();
        let anchors = wholes
            .into_iter()
            .zip(halves)
            .map(|(whole, halves)| Anchor {
                whole,
                halves: halves.and_then(|_| Some([pairs.next()?, pairs.next()?])),
            });
        Self::on(from.id(), to.id(), &anchors.collect::<Vec<_>>())
    }

    /// Fits maps on most of the pairs, chooses the one that finds most on some of the others, and says how
    /// much it finds on the rest. Always the same for the same pairs.
    ///
    /// # Errors
    /// If there are too few pairs, or they do not belong together.
    pub fn fit(from: &str, to: &str, pairs: &[Pair]) -> Result<Self, AlignError> {
        let alone = pairs.iter().map(|whole| Anchor {
            whole: whole.clone(),
            halves: None,
        });
        Self::on(from, to, &alone.collect::<Vec<_>>())
    }

    fn on(from: &str, to: &str, anchors: &[Anchor]) -> Result<Self, AlignError> {
        if anchors.len() < FEWEST {
            return Err(AlignError::TooFew(anchors.len()));
        }
        // A text's halves are where the text is: what is measured on was seen in no part.
        let part = |is: fn(usize) -> bool| -> Vec<&Anchor> {
            let those = anchors.iter().enumerate();
            those
                .filter_map(|(at, anchor)| is(at).then_some(anchor))
                .collect()
        };
        // Of ten texts, six to fit on, two to choose by, two to measure on.
        let fitted = Texts::of(&taught(&part(|at| at % 5 < 3)))?;
        let choosing = Texts::of(&wholes(&part(|at| at % 5 == 3)))?;
        let both = Texts::of(&taught(&part(|at| at % 5 != 4)))?;
        let held_out = part(|at| at % 5 == 4);
        let measuring = Texts::of(&wholes(&held_out))?;
        let ridges = RIDGES.map(|strength| Fit::Ridge { strength });
        let fits = std::iter::once(Fit::Procrustes).chain(ridges);
        let scored = fits.filter_map(|fit| Some((fitted.fit(fit)?.recall(&choosing), fit)));
        // The first of equals, so that of two that are as good the simpler one is taken.
        let best = scored.reduce(|a, b| if b.0 > a.0 { b } else { a });
        let (_, fit) = best.ok_or(AlignError::Singular)?;
        let map = both.fit(fit).ok_or(AlignError::Singular)?;
        let (rows, shift) = map.numbers();
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
            fit,
            recall: map.recall(&measuring),
            measured_on: held_out.len(),
            kept: kept(&map, &held_out)?,
            rows,
            shift,
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
        Ok(unit(mapped))
    }
}

async fn vectors(embedder: &dyn Embedder, texts: &[String]) -> Result<Vec<Vec<f32>>, AlignError> {
    let made = embedder.embed(texts).await;
    made.map_err(|why| AlignError::Embedder(why.to_string()))
}

/// The two halves of a text, by words.
fn halved(text: &str) -> Option<[String; 2]> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (first, second) = words.split_at(words.len() / 2);
    (words.len() >= HALVED).then(|| [first.join(" "), second.join(" ")])
}

/// What is fitted on: a text has its own vector, and its halves have the mean of theirs.
fn taught(anchors: &[&Anchor]) -> Vec<Pair> {
    let halves = anchors.iter().flat_map(|anchor| anchor.halves.iter());
    let halves = halves.flat_map(|[first, second]| {
        let sum = first.to.iter().zip(&second.to).map(|(a, b)| a + b);
        let mean = unit(sum.collect());
        [first, second].map(|half| Pair {
            from: half.from.clone(),
            to: mean.clone(),
        })
    });
    wholes(anchors).into_iter().chain(halves).collect()
}

fn wholes(anchors: &[&Anchor]) -> Vec<Pair> {
    anchors.iter().map(|anchor| anchor.whole.clone()).collect()
}

/// See [`Alignment::kept`].
fn kept(map: &Map, anchors: &[&Anchor]) -> Result<Option<f64>, AlignError> {
    let halves = anchors.iter().filter_map(|anchor| anchor.halves.as_ref());
    let (first, second): (Vec<Pair>, Vec<Pair>) = halves
        .map(|[first, second]| (first.clone(), second.clone()))
        .unzip();
    if first.is_empty() {
        return Ok(None);
    }
    let (first, second) = (Texts::of(&first)?, Texts::of(&second)?);
    let again = first.found_by(&second, None) + second.found_by(&first, None);
    let mapped = first.found_by(&second, Some(map)) + second.found_by(&first, Some(map));
    Ok((again > 0).then(|| mapped as f64 / again as f64))
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}
