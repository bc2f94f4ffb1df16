//! The forward pass of the Llama and Qwen families over quantised weights.
//!
//! One sequence at a time. The keys and values of what was read stay in the [`Network`] and can be
//! cut back to any length, so that a prompt which shares its beginning with the last one costs only
//! what is new.

use std::{fs::File, sync::Arc, thread};

use candle_core::{
    DType, Device, Error, IndexOp, Module, Result, Tensor,
    quantized::{GgmlDType, QMatMul, QTensor},
};
use candle_nn::{
    ops::{rms_norm, silu},
    rotary_emb::{rope, rope_i},
};

use super::{
    attention::attend,
    gguf::Gguf,
    shape::{Dimensions, Rope},
    single,
};

/// Whether to stop now. Asked between layers and between tensors.
pub(super) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// What [`Network`] answers when its [`Stop`] said so.
pub(super) fn stopped() -> Error {
    Error::Msg("stopped".into())
}

/// Rows that are read at once. Larger is hardly faster, and later to cancel.
pub(super) const CHUNK: usize = 128;
/// Rows from which on candle may have a better way than to multiply them with several weights in one go.
const MANY: usize = 32;

/// A loaded model and the sequence it has read.
pub(super) struct Network {
    pub(super) shape: Dimensions,
    /// Tokens there is room for.
    pub(super) window: usize,
    embedding: QMatMul,
    layers: Vec<Layer>,
    norm: Tensor,
    output: QMatMul,
    cos: Tensor,
    sin: Tensor,
    length: usize,
}

struct Layer {
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    mix: Linear,
    feed_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    /// `[kv_heads, window, head]`, so that what each head knows is one piece of memory. Zeroed by the
    /// system on first touch, so that it takes the memory of the longest sequence so far and not of the
    /// window.
    keys: Tensor,
    values: Tensor,
}

struct Linear {
    weight: QMatMul,
    bias: Option<Tensor>,
    /// The same weight, where single rows have a better way.
    single: Option<Arc<QTensor>>,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [y] = forward([self], x)?;
        Ok(y)
    }
}

/// What each of several layers makes of the same input.
fn forward<const N: usize>(linears: [&Linear; N], x: &Tensor) -> Result<[Tensor; N]> {
    let is_row = x.dims().iter().rev().skip(1).all(|rows| *rows == 1);
    let singles = linears.iter().map(|linear| linear.single.as_deref());
    let ys = match singles.collect::<Option<Vec<_>>>().filter(|_| is_row) {
        Some(weights) => single::products(&weights, x)?,
        None => match together(&linears, x)? {
            Some(ys) => ys,
            None => {
                let ys = linears.iter().map(|linear| linear.weight.forward(x));
                ys.collect::<Result<_>>()?
            }
        },
    };
    let ys = linears
        .iter()
        .zip(ys)
        .map(|(linear, y)| match &linear.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        });
    let ys: Vec<_> = ys.collect::<Result<_>>()?;
    ys.try_into()
        .map_err(|_| Error::Msg("a product was left out".into()))
}

/// The products of a few rows with several weights, where candle can make them in one go: the rows are
/// quantised once, and the threads meet once.
fn together(linears: &[&Linear], x: &Tensor) -> Result<Option<Vec<Tensor>>> {
    let rows: usize = x.dims().iter().rev().skip(1).product();
    let weights = linears.iter().map(|linear| match &linear.weight {
        QMatMul::QTensor(weight) => Some(weight.as_ref()),
        QMatMul::Tensor(_) | QMatMul::TensorF16(_) => None,
    });
    let weights = weights.collect::<Option<Vec<_>>>();
    match weights.filter(|weights| weights.len() > 1 && rows < MANY) {
        Some(weights) => QTensor::gemv_fused_shared_lhs(&weights, x),
        None => Ok(None),
    }
}

impl Network {
    /// Reads the weights and brings them into the form the kernels want, which is most of the work of
    /// a first prompt if it is left to it.
    pub(super) fn load(
        gguf: &Gguf,
        shape: Dimensions,
        window: usize,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let layers = load_layers(gguf, &shape, window, stop)?;
        let mut source = Source::open(gguf)?;
        let embedding = source.quantised("token_embd.weight")?;
        let output = if gguf.shape("output.weight").is_some() {
            QMatMul::from_arc(source.quantised("output.weight")?)?
        } else {
            QMatMul::from_arc(Arc::clone(&embedding))?
        };
        let norm = source.plain("output_norm.weight")?;
        let (cos, sin) = angles(&mut source, &shape, window)?;
        Ok(Self {
            embedding: QMatMul::from_arc(embedding)?,
            layers,
            norm,
            output,
            cos,
            sin,
            length: 0,
            shape,
            window,
        })
    }

    /// Forgets all after the first `length` tokens.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Reads up to [`CHUNK`] tokens, and gives what the layers made of each, `[1, tokens, width]`.
    pub(super) fn advance(&mut self, tokens: &[u32], stop: Stop<'_>) -> Result<Tensor> {
        let (start, count) = (self.length, tokens.len());
        let end = start + count;
        if count == 0 || end > self.window {
            return Err(Error::Msg(format!(
                "{count} tokens after {start} do not fit"
            )));
        }
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        let pass = Pass {
            shape: &self.shape,
            start,
            count,
            cos: self.cos.narrow(0, start, count)?,
            sin: self.sin.narrow(0, start, count)?,
        };
        let mut x = self.embedding.embedding(&tokens)?.unsqueeze(0)?;
        for layer in &self.layers {
            if stop() {
                return Err(stopped());
            }
            x = pass.layer(layer, &x)?;
        }
        self.length = end;
        Ok(x)
    }

    /// The logits of what follows the token of that row of what [`Network::advance`] gave.
    pub(super) fn logits(&self, hidden: &Tensor, row: usize) -> Result<Tensor> {
        let row = hidden.i((.., row..=row, ..))?.contiguous()?;
        let row = rms_norm(&row, &self.norm, self.shape.epsilon)?;
        self.output.forward(&row)?.flatten_all()
    }

    /// Keys and values of the first `length` tokens, layer by layer, as 16-bit floats.
    pub(super) fn remembered(&self, length: usize) -> Result<Vec<(Tensor, Tensor)>> {
        let half = |t: &Tensor| t.narrow(1, 0, length)?.to_dtype(DType::F16);
        let layers = self.layers.iter();
        layers
            .map(|l| Ok((half(&l.keys)?, half(&l.values)?)))
            .collect()
    }

    /// Makes `length` tokens known again from what [`Network::remembered`] gave.
    pub(super) fn remember(&mut self, length: usize, layers: &[(Tensor, Tensor)]) -> Result<()> {
        if layers.len() != self.layers.len() {
            return Err(Error::Msg("the state is of another model".into()));
        }
        for (layer, (keys, values)) in self.layers.iter().zip(layers) {
            layer.keys.slice_set(&keys.to_dtype(DType::F32)?, 1, 0)?;
            layer
                .values
                .slice_set(&values.to_dtype(DType::F32)?, 1, 0)?;
        }
        self.length = length;
        Ok(())
    }

    /// Rounds what is known to 16-bit floats, so that going on from here is exactly like going on from
    /// a stored state.
    pub(super) fn round(&mut self) -> Result<()> {
        let layers = self.remembered(self.length)?;
        self.remember(self.length, &layers)
    }
}

/// What all layers of one pass share.
struct Pass<'a> {
    shape: &'a Dimensions,
    start: usize,
    count: usize,
    cos: Tensor,
    sin: Tensor,
}

impl Pass<'_> {
    fn layer(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let h = rms_norm(x, &layer.attention_norm, self.shape.epsilon)?;
        let [query, key, value] = forward([&layer.query, &layer.key, &layer.value], &h)?;
        let query = self.heads(&query, layer.query_norm.as_ref())?;
        let key = self.heads(&key, layer.key_norm.as_ref())?;
        let value = self.heads(&value, None)?;
        layer.keys.slice_set(&self.rotate(&key)?, 1, self.start)?;
        layer.values.slice_set(&value, 1, self.start)?;
        let mixed = attend(
            &self.rotate(&query)?,
            &layer.keys,
            &layer.values,
            self.start,
        )?;
        let mixed = mixed.transpose(0, 1)?.reshape((1, self.count, ()))?;
        let x = (x + layer.mix.forward(&mixed)?)?;
        let h = rms_norm(&x, &layer.feed_norm, self.shape.epsilon)?;
        let [gate, up] = forward([&layer.gate, &layer.up], &h)?;
        let h = (silu(&gate)? * up)?;
        x + layer.down.forward(&h)?
    }

    /// `[1, count, width]` to `[heads, count, head]`.
    fn heads(&self, y: &Tensor, norm: Option<&Tensor>) -> Result<Tensor> {
        let y = y.reshape((self.count, (), self.shape.head))?;
        let y = y.transpose(0, 1)?.contiguous()?;
        match norm {
            Some(norm) => rms_norm(&y, norm, self.shape.epsilon),
            None => Ok(y),
        }
    }

    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.unsqueeze(0)?;
        match self.shape.rope {
            Rope::Halves => rope(&x, &self.cos, &self.sin),
            Rope::Pairs => rope_i(&x, &self.cos, &self.sin),
        }?
        .squeeze(0)
    }
}

/// Sines and cosines of the rotary embedding, `[window, head / 2]`.
fn angles(source: &mut Source<'_>, shape: &Dimensions, window: usize) -> Result<(Tensor, Tensor)> {
    let half = shape.head / 2;
    let stretch = match source.maybe("rope_freqs.weight")? {
        Some(factors) => factors.to_vec1::<f32>()?,
        None => vec![1.0; half],
    };
    let speeds = stretch.iter().enumerate().map(|(i, factor)| {
        let speed = shape.rope_base.powf(-2.0 * i as f32 / shape.head as f32);
        speed / factor / shape.rope_scale
    });
    let speeds = Tensor::from_iter(speeds, &Device::Cpu)?.reshape((1, half))?;
    let positions = Tensor::arange(0, window as u32, &Device::Cpu)?;
    let positions = positions.to_dtype(DType::F32)?.reshape((window, 1))?;
    let angles = positions.matmul(&speeds)?;
    Ok((angles.cos()?, angles.sin()?))
}

fn load_layers(
    gguf: &Gguf,
    shape: &Dimensions,
    window: usize,
    stop: Stop<'_>,
) -> Result<Vec<Layer>> {
    let readers = thread::available_parallelism().map_or(1, |n| n.get().min(8));
    let share = |first: usize| -> Result<Vec<(usize, Layer)>> {
        let mut source = Source::open(gguf)?;
        let mine = (first..shape.layers).step_by(readers);
        mine.map(|i| {
            if stop() {
                return Err(stopped());
            }
            Ok((i, source.layer(i, shape, window)?))
        })
        .collect()
    };
    let shares: Vec<Result<Vec<(usize, Layer)>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..readers)
            .map(|i| scope.spawn(move || share(i)))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|share| share.unwrap_or_else(|_| Err(Error::Msg("a loader panicked".into()))))
            .collect()
    });
    let shares = shares.into_iter().collect::<Result<Vec<_>>>()?;
    let mut layers: Vec<_> = shares.into_iter().flatten().collect();
    layers.sort_by_key(|(i, _)| *i);
    Ok(layers.into_iter().map(|(_, layer)| layer).collect())
}

/// One more open handle of the model file.
struct Source<'a> {
    gguf: &'a Gguf,
    file: File,
}

impl<'a> Source<'a> {
    fn open(gguf: &'a Gguf) -> Result<Self> {
        let file = File::open(&gguf.path)?;
        Ok(Self { gguf, file })
    }

    /// A weight matrix in a format the kernels are fast with.
    fn quantised(&mut self, name: &str) -> Result<Arc<QTensor>> {
        let tensor = self.gguf.tensor(&mut self.file, name)?;
        let slow = matches!(
            tensor.dtype(),
            GgmlDType::Q4_0 | GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1
        );
        if !slow {
            return Ok(Arc::new(tensor));
        }
        let exact = tensor.dequantize(&Device::Cpu)?;
        Ok(Arc::new(QTensor::quantize(&exact, GgmlDType::Q8_0)?))
    }

    fn plain(&mut self, name: &str) -> Result<Tensor> {
        self.gguf
            .tensor(&mut self.file, name)?
            .dequantize(&Device::Cpu)
    }

    fn maybe(&mut self, name: &str) -> Result<Option<Tensor>> {
        match self.gguf.shape(name) {
            Some(_) => self.plain(name).map(Some),
            None => Ok(None),
        }
    }

    fn linear(&mut self, name: &str) -> Result<Linear> {
        let weight = self.quantised(&format!("{name}.weight"))?;
        let linear = Linear {
            single: single::is_better(&weight).then(|| Arc::clone(&weight)),
            weight: QMatMul::from_arc(weight)?,
            bias: self.maybe(&format!("{name}.bias"))?,
        };
        if let QMatMul::QTensor(weight) = &linear.weight {
            // The kernels repack a weight at its first use with several rows: here, where another
            // thread does the same with another layer, and not in the first prompt.
            let columns = weight.shape().dims().last().copied().unwrap_or_default();
            linear.forward(&Tensor::zeros((2, columns), DType::F32, &Device::Cpu)?)?;
        }
        Ok(linear)
    }

    fn layer(&mut self, i: usize, shape: &Dimensions, window: usize) -> Result<Layer> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let room = (shape.kv_heads, window, shape.head);
        Ok(Layer {
            attention_norm: self.plain(&name("attn_norm.weight"))?,
            query: self.linear(&name("attn_q"))?,
            key: self.linear(&name("attn_k"))?,
            value: self.linear(&name("attn_v"))?,
            query_norm: self.maybe(&name("attn_q_norm.weight"))?,
            key_norm: self.maybe(&name("attn_k_norm.weight"))?,
            mix: self.linear(&name("attn_output"))?,
            feed_norm: self.plain(&name("ffn_norm.weight"))?,
            gate: self.linear(&name("ffn_gate"))?,
            up: self.linear(&name("ffn_up"))?,
            down: self.linear(&name("ffn_down"))?,
            keys: Tensor::zeros(room, DType::F32, &Device::Cpu)?,
            values: Tensor::zeros(room, DType::F32, &Device::Cpu)?,
        })
    }
}
