//! all-MiniLM-L6-v2 itself, which understands more than the table that is made of it, at a hundredth of its
//! speed. `gpak models pull minilm` fetches its weights; its vocabulary is that of the table.

use std::{
    cmp::Reverse,
    num::NonZero,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, Module, VarBuilder, embedding, layer_norm, linear};
use gpak_kernel::memory::MemoryError;

use super::{Embedder, table::StaticEmbedder};

const HIDDEN: usize = 384;
const INNER: usize = 1536;
const HEADS: usize = 12;
const LAYERS: usize = 6;
const POSITIONS: usize = 512;
const EPSILON: f64 = 1e-12;

/// Tokens of a text that are read, as the model was trained.
const LONGEST: usize = 256;

/// The tokens before and after a text, and that which fills up shorter ones.
const CLS: u32 = 101;
const SEP: u32 = 102;
const PAD: u32 = 0;

/// Texts that go through the model at a time.
const BATCH: usize = 16;

/// Vectors with the places of their texts.
type Placed = Vec<(usize, Vec<f32>)>;

/// The embedder. Clones share it.
#[derive(Clone)]
pub struct MiniLm(Arc<Model>);

struct Model {
    words: Embedding,
    positions: Embedding,
    kinds: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    table: StaticEmbedder,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
    last: LayerNorm,
}

impl MiniLm {
    /// Reads the weights, 91 MB of safetensors. Blocks.
    ///
    /// # Errors
    /// [`MemoryError::Embedder`] if they are not there or not those of the model.
    pub fn open(weights: &Path) -> std::result::Result<Self, MemoryError> {
        let wrong = |why: String| {
            MemoryError::Embedder(format!(
                "the weights of MiniLM in {} cannot be read ({why}); `gpak models pull minilm` fetches them",
                weights.display()
            ))
        };
        let bytes = std::fs::read(weights).map_err(|e| wrong(e.to_string()))?;
        let table = StaticEmbedder::load()?;
        let model = Model::read(bytes, table).map_err(|e| wrong(e.to_string()))?;
        Ok(Self(Arc::new(model)))
    }
}

impl Model {
    fn read(bytes: Vec<u8>, table: StaticEmbedder) -> Result<Self> {
        let all = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu)?;
        let at = all.pp("embeddings");
        let norm = |at: VarBuilder<'_>| layer_norm(HIDDEN, EPSILON, at);
        let layer = |number: usize| {
            let at = all.pp("encoder.layer").pp(number);
            let own = at.pp("attention.self");
            let mixed = at.pp("attention.output");
            let output = at.pp("output");
            Ok(Layer {
                query: linear(HIDDEN, HIDDEN, own.pp("query"))?,
                key: linear(HIDDEN, HIDDEN, own.pp("key"))?,
                value: linear(HIDDEN, HIDDEN, own.pp("value"))?,
                output: linear(HIDDEN, HIDDEN, mixed.pp("dense"))?,
                norm: norm(mixed.pp("LayerNorm"))?,
                widen: linear(HIDDEN, INNER, at.pp("intermediate.dense"))?,
                narrow: linear(INNER, HIDDEN, output.pp("dense"))?,
                last: norm(output.pp("LayerNorm"))?,
            })
        };
        Ok(Self {
            words: embedding(table.size(), HIDDEN, at.pp("word_embeddings"))?,
            positions: embedding(POSITIONS, HIDDEN, at.pp("position_embeddings"))?,
            kinds: embedding(2, HIDDEN, at.pp("token_type_embeddings"))?,
            norm: norm(at.pp("LayerNorm"))?,
            layers: (0..LAYERS).map(layer).collect::<Result<_>>()?,
            table,
        })
    }

    /// The vectors of texts, in their order.
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut rows: Vec<(usize, Vec<u32>)> =
            texts.iter().map(|t| self.ids(t)).enumerate().collect();
        // Texts of like length together, so that little is filled up; the longest first, so that all cores are done
        // at about the same time.
        rows.sort_by_key(|(_, ids)| Reverse(ids.len()));
        let batches: Vec<_> = rows.chunks(BATCH).collect();
        let next = AtomicUsize::new(0);
        // A core takes batch after batch: products of matrices this small gain little from more than one.
        let work = || {
            let mut made = Placed::new();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                let places = batch.iter().map(|(place, _)| *place);
                made.extend(places.zip(self.forward(batch)?));
            }
            Ok(made)
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let made: Vec<Result<Placed>> = std::thread::scope(|scope| {
            let others = (1..cores.min(batches.len())).map(|_| scope.spawn(work));
            let others: Vec<_> = others.collect();
            let own = work();
            let joined = others.into_iter().map(|other| {
                let stopped = |_| {
                    Err(candle_core::Error::Msg(
                        "a thread of it panicked".to_owned(),
                    ))
                };
                other.join().unwrap_or_else(stopped)
            });
            std::iter::once(own).chain(joined).collect()
        });
        let mut vectors = vec![Vec::new(); texts.len()];
        for made in made {
            for (place, vector) in made? {
                if let Some(to) = vectors.get_mut(place) {
                    *to = vector;
                }
            }
        }
        Ok(vectors)
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        let tokens = self.table.tokens(text);
        let tokens = tokens.into_iter().take(LONGEST - 2);
        [CLS].into_iter().chain(tokens).chain([SEP]).collect()
    }

    fn forward(&self, rows: &[(usize, Vec<u32>)]) -> Result<Vec<Vec<f32>>> {
        let longest = rows.iter().map(|(_, ids)| ids.len()).max().unwrap_or(0);
        let filled = |fill: fn(Option<&u32>) -> f32| -> Vec<f32> {
            let row = |ids: &Vec<u32>| (0..longest).map(|n| fill(ids.get(n))).collect::<Vec<_>>();
            rows.iter().flat_map(|(_, ids)| row(ids)).collect()
        };
        let ids: Vec<u32> = rows
            .iter()
            .flat_map(|(_, ids)| (0..longest).map(|n| ids.get(n).copied().unwrap_or(PAD)))
            .collect();
        let (count, device) = (rows.len(), &Device::Cpu);
        let ids = Tensor::from_vec(ids, (count, longest), device)?;
        let there = filled(|id| f32::from(u8::from(id.is_some())));
        let there = Tensor::from_vec(there, (count, longest, 1), device)?;
        let bias = filled(|id| if id.is_some() { 0.0 } else { f32::MIN });
        let bias = Tensor::from_vec(bias, (count, 1, 1, longest), device)?;
        let places = Tensor::arange(0, longest as u32, device)?;
        let kind = self.kinds.forward(&Tensor::zeros(1, DType::U32, device)?)?;
        let mut x = self
            .words
            .forward(&ids)?
            .broadcast_add(&self.positions.forward(&places)?)?
            .broadcast_add(&kind)?;
        x = self.norm.forward(&x)?;
        for layer in &self.layers {
            x = layer.forward(&x, &bias)?;
        }
        let mean = x
            .broadcast_mul(&there)?
            .sum(1)?
            .broadcast_div(&there.sum(1)?)?;
        let length = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        mean.broadcast_div(&length)?.to_vec2()
    }
}

impl Layer {
    fn forward(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (rows, length, _) = x.dims3()?;
        let split = |y: Tensor| {
            let y = y.reshape((rows, length, HEADS, HIDDEN / HEADS))?;
            y.transpose(1, 2)?.contiguous()
        };
        let query = split(self.query.forward(x)?)?;
        let key = split(self.key.forward(x)?)?;
        let value = split(self.value.forward(x)?)?;
        let scale = 1.0 / ((HIDDEN / HEADS) as f64).sqrt();
        let scores = (query.matmul(&key.t()?.contiguous()?)? * scale)?.broadcast_add(bias)?;
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&value)?;
        let mixed = mixed.transpose(1, 2)?.reshape((rows, length, HIDDEN))?;
        let x = self.norm.forward(&(self.output.forward(&mixed)? + x)?)?;
        let inner = self.widen.forward(&x)?.apply_op1_no_bwd(&Gelu)?;
        self.last.forward(&(self.narrow.forward(&inner)? + &x)?)
    }
}

/// The Gaussian error linear unit, x Φ(x). candle's own calls a function of libm for each number; this loop
/// becomes instructions on whole registers.
struct Gelu;

/// The error function to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let sum = ((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_74;
    let sum = (sum * t + 0.254_829_6) * t;
    (1.0 - sum * (-z * z).exp()).copysign(x)
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Some((start, end)), values) =
            (layout.contiguous_offsets(), storage.as_slice::<f32>()?)
        else {
            candle_core::bail!("gelu is for numbers in a row");
        };
        let gelu = |x: &f32| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        let made: Vec<f32> = values
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .map(gelu)
            .collect();
        Ok((CpuStorage::F32(made), layout.shape().clone()))
    }
}

#[async_trait]
impl Embedder for MiniLm {
    fn id(&self) -> &str {
        "minilm-l6-v2"
    }

    fn dimension(&self) -> usize {
        HIDDEN
    }

    fn licence(&self) -> &str {
        "Apache-2.0"
    }

    async fn embed(&self, texts: &[String]) -> std::result::Result<Vec<Vec<f32>>, MemoryError> {
        let failed = |why: String| MemoryError::Embedder(format!("MiniLM failed: {why}"));
        let (model, texts) = (Arc::clone(&self.0), texts.to_vec());
        let made = tokio::task::spawn_blocking(move || model.embed(&texts)).await;
        let made = made.map_err(|e| failed(e.to_string()))?;
        made.map_err(|e| failed(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_candles_to_six_places() -> Result<()> {
        let values: Vec<f32> = (-800..=800).map(|n| n as f32 / 100.0).collect();
        let values = Tensor::new(values, &Device::Cpu)?;
        let ours = values.apply_op1_no_bwd(&Gelu)?.to_vec1::<f32>()?;
        let theirs = values.gelu_erf()?.to_vec1::<f32>()?;
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 2e-6, "{a} is not {b}");
        }
        Ok(())
    }
}
