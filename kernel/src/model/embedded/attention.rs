//! Causal attention of new tokens over all that are known.
//!
//! Several query heads share one key head, so the queries of such a group are rows of one matrix and
//! keys and values are read once for all of them. Scores are made for a block of rows or keys at a
//! time: whole, they would be the largest thing in memory, and the system would clear every page of
//! them anew in each layer.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, Device, Error, InplaceOp1, Layout, Result, Tensor, utils::barrier_pool,
};

/// Scores that are made at once when several tokens are read.
const SCORES: usize = 1 << 19;
/// Keys that are looked at at once when one token is written. A product of so few with the queries of
/// a group stays on the thread that asks for it, and the threads share out the blocks.
const KEYS: usize = 256;

/// Lets `[heads, count, head]` queries, of the tokens from `start` on, look at the keys and values
/// `[kv_heads, window, head]` of the tokens up to each of them. Gives `[heads, count, head]`.
pub(super) fn attend(
    query: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    start: usize,
) -> Result<Tensor> {
    let (heads, count, head) = query.dims3()?;
    let kv_heads = keys.dim(0)?;
    let query = (query * (1.0 / (head as f64).sqrt()))?;
    let query = query.reshape((kv_heads, heads / kv_heads, count, head))?;
    match count {
        1 => one(&query.squeeze(2)?, keys, values, start + 1),
        _ => several(&query, keys, values, start),
    }?
    .reshape((heads, count, head))
}

/// For `[kv_heads, group, count, head]` queries.
fn several(query: &Tensor, keys: &Tensor, values: &Tensor, start: usize) -> Result<Tensor> {
    let (kv_heads, group, count, head) = query.dims4()?;
    let step = (SCORES / (group * (start + count))).clamp(8, 128);
    let mut parts = Vec::new();
    for first in (0..count).step_by(step) {
        let rows = step.min(count - first);
        let known = start + first + rows;
        let query = query.narrow(2, first, rows)?.contiguous()?;
        let query = query.reshape((kv_heads, group * rows, head))?;
        let mut mixed = Vec::new();
        for kv in 0..kv_heads {
            let keys = keys.get(kv)?.narrow(0, 0, known)?;
            let values = values.get(kv)?.narrow(0, 0, known)?;
            let scores = query.get(kv)?.matmul(&keys.t()?)?;
            scores.inplace_op1(&Softmax { rows, known })?;
            mixed.push(scores.matmul(&values)?.reshape((group, rows, head))?);
        }
        parts.push(Tensor::cat(&mixed, 0)?);
    }
    Tensor::cat(&parts, 1)
}

/// The softmax of scores `[group * rows, known]`, of which each row sees one more than the one before
/// it and the last of each group sees all.
struct Softmax {
    rows: usize,
    known: usize,
}

impl InplaceOp1 for Softmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(scores) = storage else {
            return Err(Error::Msg("scores are 32-bit floats".into()));
        };
        let (from, to) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::Msg("scores are in one piece".into()))?;
        let scores = scores.get_mut(from..to).unwrap_or_default();
        let rows: Vec<_> = scores.chunks_mut(self.known).map(Mutex::new).collect();
        barrier_pool().execute_chunked(rows.len(), |range| {
            for i in range {
                let Some(row) = rows.get(i) else { return };
                let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
                let seen = self.known - self.rows + i % self.rows + 1;
                let (seen, hidden) = row.split_at_mut(seen);
                let scale = 1.0 / weigh(seen, largest(seen));
                seen.iter_mut().for_each(|weight| *weight *= scale);
                hidden.fill(0.0);
            }
        });
        Ok(())
    }
}

/// For `[kv_heads, group, head]` queries: the mean over the first `known` keys is that over blocks of
/// them, each weighed by its largest score.
fn one(query: &Tensor, keys: &Tensor, values: &Tensor, known: usize) -> Result<Tensor> {
    let (kv_heads, group, head) = query.dims3()?;
    let blocks = known.div_ceil(KEYS);
    let parts: Vec<Mutex<Option<Result<Part>>>> =
        (0..kv_heads * blocks).map(|_| Mutex::default()).collect();
    barrier_pool().execute_chunked(parts.len(), |range| {
        for (i, slot) in parts.iter().enumerate().take(range.end).skip(range.start) {
            let (kv, first) = (i / blocks, i % blocks * KEYS);
            let part = Part::of(query, keys, values, kv, first, KEYS.min(known - first));
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(part);
        }
    });
    let mut mixed = Vec::with_capacity(kv_heads * group * head);
    let mut parts = parts.into_iter();
    for _ in 0..kv_heads {
        let mut whole = Part::none(group, head);
        for part in parts.by_ref().take(blocks) {
            let part = part.into_inner().unwrap_or_else(PoisonError::into_inner);
            whole.join(&part.ok_or_else(|| Error::Msg("a block was left out".into()))??);
        }
        mixed.extend(whole.mean());
    }
    Tensor::from_vec(mixed, (kv_heads, group, head), &Device::Cpu)
}

/// What the queries of a group found among some keys.
struct Part {
    /// Each query's largest score, and the sum of its weights relative to that.
    rows: Vec<(f32, f32)>,
    /// The values by these weights, `[group, head]`.
    mixed: Vec<f32>,
}

impl Part {
    fn none(group: usize, head: usize) -> Self {
        Self {
            rows: vec![(f32::NEG_INFINITY, 0.0); group],
            mixed: vec![0.0; group * head],
        }
    }

    fn of(
        query: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        kv: usize,
        first: usize,
        count: usize,
    ) -> Result<Self> {
        let keys = keys.get(kv)?.narrow(0, first, count)?;
        let values = values.get(kv)?.narrow(0, first, count)?;
        let scores = query.get(kv)?.matmul(&keys.t()?)?;
        let mut weights = scores.flatten_all()?.to_vec1::<f32>()?;
        let rows = weights.chunks_mut(count).map(|row| {
            let largest = largest(row);
            (largest, weigh(row, largest))
        });
        let rows: Vec<_> = rows.collect();
        let weights = Tensor::from_vec(weights, (rows.len(), count), &Device::Cpu)?;
        let mixed = weights.matmul(&values)?.flatten_all()?.to_vec1()?;
        Ok(Self { rows, mixed })
    }

    fn join(&mut self, other: &Self) {
        let head = self.mixed.len() / self.rows.len().max(1);
        let ours = self.rows.iter_mut().zip(self.mixed.chunks_mut(head));
        let theirs = other.rows.iter().zip(other.mixed.chunks(head));
        for (((most, sum), mixed), ((most_there, sum_there), mixed_there)) in ours.zip(theirs) {
            let joint = most.max(*most_there);
            let (here, there) = ((*most - joint).exp(), (most_there - joint).exp());
            *sum = *sum * here + sum_there * there;
            *most = joint;
            for (x, y) in mixed.iter_mut().zip(mixed_there) {
                *x = *x * here + y * there;
            }
        }
    }

    fn mean(&self) -> impl Iterator<Item = f32> {
        let head = self.mixed.len() / self.rows.len().max(1);
        let rows = self.rows.iter().zip(self.mixed.chunks(head));
        rows.flat_map(|((_, sum), mixed)| mixed.iter().map(move |x| x / sum))
    }
}

fn largest(scores: &[f32]) -> f32 {
    // In lanes, because a chain of single comparisons waits for each of them.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (whole, rest) = scores.as_chunks::<16>();
    for chunk in whole {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > lane { *score } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Makes scores weights relative to the largest, and gives their sum.
fn weigh(scores: &mut [f32], largest: f32) -> f32 {
    let mut lanes = [0.0; 16];
    let (whole, rest) = scores.as_chunks_mut::<16>();
    for chunk in whole {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *score = exp(*score - largest);
            *lane += *score;
        }
    }
    let mut sum = lanes.iter().sum();
    for score in rest {
        *score = exp(*score - largest);
        sum += *score;
    }
    sum
}

/// e to the `x`, for `x` up to 0, to the last bit or two. The system's is called once a number; this
/// becomes a loop over several at once.
///
/// The polynomial is that of Cephes' `expf`.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    // The low bits of `shifted` are n; shifted into the exponent, they are a factor of 2^n.
    f32::from_bits((y.to_bits()).wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: usize = 8;
    const KV_HEADS: usize = 2;
    const HEADS: usize = 6;
    const WINDOW: usize = 700;

    /// Numbers around 0 that repeat late.
    fn numbers(shape: (usize, usize, usize), seed: u64) -> Tensor {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = shape.0 * shape.1 * shape.2;
        let numbers = (0..count).map(|_| random.f32() * 4.0 - 2.0).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    /// Attention as it is defined, one query at a time.
    fn expected(query: &Tensor, keys: &Tensor, values: &Tensor, start: usize) -> Vec<f64> {
        let three = |t: &Tensor| t.to_vec3::<f32>().unwrap();
        let (query, keys, values) = (three(query), three(keys), three(values));
        let mut all = Vec::new();
        for (h, rows) in query.iter().enumerate() {
            let kv = h / (HEADS / KV_HEADS);
            for (i, row) in rows.iter().enumerate() {
                let score = |key: &Vec<f32>| {
                    let products = row.iter().zip(key).map(|(a, b)| f64::from(a * b));
                    (products.sum::<f64>() / (HEAD as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = keys[kv][..=start + i].iter().map(score).collect();
                let sum: f64 = weights.iter().sum();
                all.extend((0..HEAD).map(|d| {
                    let mixed = weights.iter().zip(&values[kv]);
                    mixed.map(|(w, v)| w * f64::from(v[d])).sum::<f64>() / sum
                }));
            }
        }
        all
    }

    #[test]
    fn each_token_sees_itself_and_all_before_it() {
        let (keys, values) = (
            numbers((KV_HEADS, WINDOW, HEAD), 1),
            numbers((KV_HEADS, WINDOW, HEAD), 2),
        );
        for (start, count) in [
            (0, 1),
            (0, 2),
            (0, 130),
            (1, 1),
            (255, 1),
            (256, 1),
            (600, 100),
            (699, 1),
        ] {
            let query = numbers((HEADS, count, HEAD), 3);
            let got = attend(&query, &keys, &values, start).unwrap();
            let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
            let expected = expected(&query, &keys, &values, start);
            assert_eq!(got.len(), expected.len());
            for (a, b) in got.iter().zip(expected) {
                assert!(
                    (f64::from(*a) - b).abs() < 1e-5,
                    "{a} is not {b} ({start}, {count})"
                );
            }
        }
    }

    #[test]
    fn the_exponential_is_one() {
        for i in 0..87_000 {
            let x = -(i as f32) / 1000.0;
            let (got, expected) = (exp(x), x.exp());
            assert!(
                (got - expected).abs() <= expected * 4e-7,
                "{x}: {got} is not {expected}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }
}
