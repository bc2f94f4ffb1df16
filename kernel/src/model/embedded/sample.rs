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
        let weight = |logit: f32| f64::from((logit - best.1) / self.temperature).exp();
        let total: f64 = candidates(logits, allowed).map(|(_, l)| weight(l)).sum();
        let mut left = self.rng.f64() * total;
        for (token, logit) in candidates(logits, allowed) {
            left -= weight(logit);
            if left <= 0.0 {
                return Some(token);
            }
        }
        Some(best.0)
    }
}

pub(super) fn candidates<'a>(
    logits: &'a [f32],
    allowed: Option<&'a SimpleVob>,
) -> impl Iterator<Item = (u32, f32)> {
    let numbered = (0..).zip(logits.iter().copied());
    numbered.filter(move |(token, logit)| {
        let in_mask = |mask: &SimpleVob| (*token as usize) < mask.len() && mask.is_allowed(*token);
        logit.is_finite() && allowed.is_none_or(in_mask)
    })
}

fn best(logits: &[f32], allowed: Option<&SimpleVob>) -> Option<(u32, f32)> {
    // Strictly greater, so that the first of equals wins on every machine.
    candidates(logits, allowed).reduce(|a, b| if b.1 > a.1 { b } else { a })
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
    fn nothing_is_drawn_where_nothing_is_allowed() {
        assert_eq!(sampler(0.0, 0).draw(&[f32::NAN], None), None);
        assert_eq!(
            sampler(1.0, 0).draw(&[1.0], Some(&SimpleVob::alloc(1))),
            None
        );
    }
}
