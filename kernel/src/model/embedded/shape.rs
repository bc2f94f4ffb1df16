//! What a GGUF file says about the network in it.

use super::gguf::Gguf;
use crate::model::ModelError;

/// How the rotary embedding pairs the numbers of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rope {
    /// Each number with the one half a head further (Qwen).
    Halves,
    /// Neighbours (Llama, as GGUF files permute it).
    Pairs,
}

/// The dimensions of a decoder of the Llama or Qwen families.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Dimensions {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head: usize,
    pub(super) vocabulary: usize,
    /// Tokens the model was trained to see at once.
    pub(super) context: usize,
    pub(super) epsilon: f32,
    pub(super) rope: Rope,
    pub(super) rope_base: f32,
    /// Positions are divided by this.
    pub(super) rope_scale: f32,
}

impl Dimensions {
    /// Reads and checks them.
    ///
    /// # Errors
    /// If the network is of a family that the engine does not know, or the numbers contradict each
    /// other or the tensors.
    pub(super) fn of(gguf: &Gguf) -> Result<Self, ModelError> {
        let family = gguf.text("general.architecture").unwrap_or_default();
        let rope = match family {
            "llama" => Rope::Pairs,
            "qwen2" | "qwen3" => Rope::Halves,
            "" => return Err(gguf.unusable("does not say what model it is; pick another file")),
            other => {
                return Err(gguf.unusable(format_args!(
                    "is a `{other}` model; the embedded engine runs `llama`, `qwen2` and `qwen3` \
                     models (use Ollama for others)"
                )));
            }
        };
        let number = |key: &str| {
            let value = gguf.number(&format!("{family}.{key}"));
            value.and_then(|v| usize::try_from(v).ok())
        };
        let needed = |key: &str| {
            let value = number(key).filter(|v| (1..=1 << 24).contains(v));
            value.ok_or_else(|| gguf.unusable(format_args!("lacks a sensible `{family}.{key}`")))
        };
        let heads = needed("attention.head_count")?;
        let width = needed("embedding_length")?;
        let dimensions = Self {
            layers: needed("block_count")?,
            width,
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            head: number("attention.key_length").unwrap_or(width / heads),
            vocabulary: gguf
                .shape("token_embd.weight")
                .and_then(|shape| shape.first().copied())
                .unwrap_or_default(),
            context: needed("context_length")?,
            epsilon: gguf
                .real(&format!("{family}.attention.layer_norm_rms_epsilon"))
                .unwrap_or(1e-5),
            rope,
            rope_base: gguf
                .real(&format!("{family}.rope.freq_base"))
                .unwrap_or(10_000.0),
            rope_scale: linear_scale(gguf, family),
        };
        dimensions.check(gguf, family)?;
        Ok(dimensions)
    }

    /// Bytes of keys and values for each token of context.
    pub(super) fn bytes_per_token(&self) -> usize {
        2 * self.layers * self.kv_heads * self.head * size_of::<f32>()
    }

    fn check(&self, gguf: &Gguf, family: &str) -> Result<(), ModelError> {
        let (queries, keys) = (self.heads * self.head, self.kv_heads * self.head);
        let consistent = self.kv_heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && self.head > 0
            && self.head.is_multiple_of(2)
            && self.layers <= 1024
            && self.epsilon > 0.0
            && self.rope_base > 0.0
            && self.rope_scale > 0.0
            && gguf
                .number(&format!("{family}.rope.dimension_count"))
                .is_none_or(|n| n == self.head as u64);
        let fits = |name: String, shape: &[usize]| gguf.shape(&name) == Some(shape);
        let layer = |i: usize| {
            fits(format!("blk.{i}.attn_q.weight"), &[queries, self.width])
                && fits(format!("blk.{i}.attn_k.weight"), &[keys, self.width])
                && fits(format!("blk.{i}.attn_v.weight"), &[keys, self.width])
                && fits(
                    format!("blk.{i}.attn_output.weight"),
                    &[self.width, queries],
                )
                && fits(format!("blk.{i}.attn_norm.weight"), &[self.width])
        };
        let embedding = [self.vocabulary, self.width];
        if !consistent
            || !fits("token_embd.weight".into(), &embedding)
            || !(0..self.layers).all(layer)
        {
            return Err(gguf.unusable(
                "has dimensions that the embedded engine cannot run; pick another model or quantisation",
            ));
        }
        Ok(())
    }
}

fn linear_scale(gguf: &Gguf, family: &str) -> f32 {
    match gguf.text(&format!("{family}.rope.scaling.type")) {
        Some("linear") => gguf
            .real(&format!("{family}.rope.scaling.factor"))
            .unwrap_or(1.0),
        _ => 1.0,
    }
}
