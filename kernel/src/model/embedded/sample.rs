//! Draws a token from logits.

use fastrand::Rng;
use toktrie::SimpleVob;

use crate::model::Sampling;

/// Draws tokens for one reply, the same ones for the same seed.
pub(super) struct Sampler {
    temperature: f32,
    rng: Rng,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            rng: Rng::with_seed(sampling.seed),
        }
    }

    /// One token of those allowed (or of all), or none if none has a finite logit.
    pub(super) fn draw(&mut self, logits: &[f32], allowed: Option<&SimpleVob>) -> Option<u32> {
        let greedy = self.temperature.is_nan() || self.temperature <= 0.0;
        let best = best(logits, allowed)?;
        if greedy {
            return Some(best.0);
        }
        let temperature = self.temperature;
        let likely = || candidates(logits, allowed, best.1 - NEGLIGIBLE * temperature);
        let weight = |logit: f32| f64::from((logit - best.1) / temperature).exp();
        let total: f64 = likely().map(|(_, logit)| weight(logit)).sum();
        let mut left = self.rng.f64() * total;
        for (token, logit) in likely() {
            left -= weight(logit);
            if left <= 0.0 {
                return Some(token);
            }
        }
        Some(best.0)
    }
}

/// A token whose logit is so far below the best one's has a part of it (`exp(-25)`, 10⁻¹¹) that a whole
/// vocabulary of them does not change anything.
pub(super) const NEGLIGIBLE: f32 = 25.0;
/// Tokens that share a word of a mask.
const BLOCK: usize = 32;

/// The tokens that are allowed and have at least that logit, in order.
pub(super) fn candidates<'a>(
    logits: &'a [f32],
    allowed: Option<&'a SimpleVob>,
    least: f32,
) -> impl Iterator<Item = (u32, f32)> {
    let in_block = move |(first, block, word): (u32, &[f32], u32)| {
        let numbered = (0..).zip(block.iter().copied());
        let allowed = numbered.filter(move |(at, _)| word >> at & 1 == 1);
        let likely = allowed.filter(move |(_, logit)| logit.is_finite() && *logit >= least);
        likely
            .map(move |(at, logit)| (first + at, logit))
            .collect::<Vec<_>>()
    };
    blocks(logits, allowed)
        .filter(move |(_, block, _)| highest(block) >= least)
        .flat_map(in_block)
}

/// The allowed token with the highest logit: the first of equals, so that it is the same on every machine.
pub(super) fn best(logits: &[f32], allowed: Option<&SimpleVob>) -> Option<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for (first, block, word) in blocks(logits, allowed) {
        let least = best.map_or(f32::NEG_INFINITY, |(_, logit)| logit);
        if highest(block) <= least {
            continue;
        }
        for (at, logit) in (0..).zip(block.iter().copied()) {
            let is_better = best.is_none_or(|(_, best)| logit > best);
            if word >> at & 1 == 1 && logit.is_finite() && is_better {
                best = Some((first + at, logit));
            }
        }
    }
    best
}

/// The logits in the blocks of the mask's words: the first token of each, its logits, and which are allowed.
/// Blocks of which nothing is allowed are left out.
fn blocks<'a>(
    logits: &'a [f32],
    allowed: Option<&'a SimpleVob>,
) -> impl Iterator<Item = (u32, &'a [f32], u32)> {
    let words = allowed.map(SimpleVob::as_slice);
    let numbered = (0_u32..)
        .step_by(BLOCK)
        .zip(logits.chunks(BLOCK))
        .enumerate();
    numbered.filter_map(move |(at, (first, block))| {
        let word = words.map_or(u32::MAX, |words| words.get(at).copied().unwrap_or(0));
        (word != 0).then_some((first, block, word))
    })
}

/// The highest of them, without what is not a number: a loop that the compiler makes several of at once.
fn highest(block: &[f32]) -> f32 {
    let higher = |high: f32, logit: &f32| if *logit > high { *logit } else { high };
    block.iter().fold(f32::NEG_INFINITY, higher)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, seed: u64) -> Sampler {
        Sampler::new(&Sampling {
            temperature,
            seed,
            max_tokens: 1,
        })
    }

    #[test]
    fn without_temperature_the_best_allowed_token_is_drawn() {
        let mut mask = SimpleVob::alloc(4);
        mask.allow_token(0);
        mask.allow_token(2);
        let logits = [1.0, 9.0, 3.0, f32::NAN];
        assert_eq!(sampler(0.0, 0).draw(&logits, Some(&mask)), Some(2));
        assert_eq!(sampler(0.0, 0).draw(&logits, None), Some(1));
    }

    #[test]
    fn a_seed_repeats_and_draws_follow_the_distribution() {
        let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY];
        let draws = |seed| {
            let mut sampler = sampler(1.0, seed);
            (0..3000)
                .map(|_| sampler.draw(&logits, None).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let ones = draws(7).iter().filter(|t| **t == 1).count();
        assert!((1850..2150).contains(&ones), "{ones} of 3000");
        assert!(!draws(7).contains(&2));
    }

    #[test]
    fn a_whole_vocabulary_is_searched_as_one_by_one() {
        let mut rng = fastrand::Rng::with_seed(5);
        for size in [1, 31, 32, 33, 1000] {
            let logits: Vec<f32> = (0..size).map(|_| (rng.f32() * 40.0).round()).collect();
            let mut mask = SimpleVob::alloc(size);
            (0..size as u32)
                .filter(|_| rng.bool())
                .for_each(|token| mask.allow_token(token));
            for mask in [None, Some(&mask)] {
                let is_allowed = |token: u32| mask.is_none_or(|mask| mask.is_allowed(token));
                let one_by_one = || {
                    (0..)
                        .zip(logits.iter().copied())
                        .filter(|(t, _)| is_allowed(*t))
                };
                let first_best = one_by_one().reduce(|a, b| if b.1 > a.1 { b } else { a });
                assert_eq!(best(&logits, mask), first_best);
                let likely: Vec<_> = one_by_one().filter(|(_, logit)| *logit >= 20.0).collect();
                assert_eq!(candidates(&logits, mask, 20.0).collect::<Vec<_>>(), likely);
            }
        }
    }

    #[test]
    fn nothing_is_drawn_where_nothing_is_allowed() {
        assert_eq!(sampler(0.0, 0).draw(&[f32::NAN], None), None);
        assert_eq!(
            sampler(1.0, 0).draw(&[1.0], Some(&SimpleVob::alloc(1))),
            None
        );
    }
}
