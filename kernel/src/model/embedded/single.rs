//! One row against 4- and 6-bit weights, on processors without AVX-512 VNNI.
//!
//! Candle repacks 4-bit weights into tiles for prompts. For a single row the tiles are worse than the
//! weights as they are: they are half as large again, and a token written is bound by memory. Candle
//! multiplies by its tiles all the same; with AVX-512 VNNI these are quick enough, without they made
//! writing take 1.7 times as long (EPYC Zen 3, 1.5B Q4_K_M, `gpak models bench`).
//!
//! Products of one row with several matrices are made together: the row is quantised once, and the
//! threads meet once and not once a matrix.

use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::{
    Device, Error, Result, Tensor,
    quantized::{
        GgmlDType, QTensor,
        k_quants::{BlockQ4K, BlockQ6K, BlockQ8K, GgmlType, QK_K},
    },
    utils::barrier_pool,
};

/// Rows of a matrix whose products are made in one go.
const GO: usize = 4;

/// Whether a product of one row with `weight` is better made by [`products`].
pub(super) fn is_better(weight: &QTensor) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_quick_tiles = is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let has_quick_tiles = true;
    let rows = weight.shape().dims().first().copied().unwrap_or_default();
    matches!(weight.dtype(), GgmlDType::Q4K | GgmlDType::Q6K)
        && rows.is_multiple_of(GO)
        && !has_quick_tiles
}

/// The products of the one row of `x` with each of the matrices, all of which [`is_better`] is for.
pub(super) fn products(weights: &[&QTensor], x: &Tensor) -> Result<Vec<Tensor>> {
    let data = weights.iter().map(|weight| weight.data());
    let data = data.collect::<Result<Vec<_>>>()?;
    let row = x.flatten_all()?.to_vec1::<f32>()?;
    let mut matrices = Vec::with_capacity(weights.len());
    for (weight, data) in weights.iter().zip(&data) {
        matrices.push(Matrix::of(weight, data, row.len())?);
    }
    let mut quantised = vec![BlockQ8K::zeros(); row.len() / QK_K];
    BlockQ8K::from_float(&row, &mut quantised);
    let goes = matrices.iter().map(|m| m.product.len() / GO).sum();
    barrier_pool().execute_chunked(goes, |range| {
        let mut first = 0;
        for matrix in &matrices {
            let goes = matrix.product.len() / GO;
            for go in range.start.max(first)..range.end.min(first + goes) {
                matrix.go(go - first, &quantised);
            }
            first += goes;
        }
    });
    let done = matrices.into_iter().map(|matrix| {
        let product: Vec<f32> = matrix.product.into_iter().map(read).collect();
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = product.len();
        }
        Tensor::from_vec(product, shape, &Device::Cpu)
    });
    done.collect()
}

/// A matrix and its product with a row, of which several threads write a part each: floats as bits,
/// because only integers can be shared so.
struct Matrix<'a> {
    blocks: Blocks<'a>,
    product: Vec<AtomicU32>,
}

enum Blocks<'a> {
    Four(&'a [BlockQ4K]),
    Six(&'a [BlockQ6K]),
}

impl<'a> Matrix<'a> {
    fn of(weight: &QTensor, data: &'a [u8], columns: usize) -> Result<Self> {
        let (rows, expected) = weight.shape().dims2()?;
        let blocks = match weight.dtype() {
            GgmlDType::Q4K => Blocks::Four(blocks(data)),
            _ => Blocks::Six(blocks(data)),
        };
        let count = match blocks {
            Blocks::Four(blocks) => blocks.len(),
            Blocks::Six(blocks) => blocks.len(),
        };
        if count * QK_K != rows * columns || columns != expected {
            return Err(Error::Msg(
                "a weight matrix is not laid out as expected".into(),
            ));
        }
        let product = (0..rows).map(|_| AtomicU32::new(0)).collect();
        Ok(Self { blocks, product })
    }

    fn go(&self, go: usize, row: &[BlockQ8K]) {
        let four = match self.blocks {
            Blocks::Four(blocks) => dot(blocks, go, row),
            Blocks::Six(blocks) => dot(blocks, go, row),
        };
        let products = self.product.iter().skip(go * GO);
        for (slot, product) in products.zip(four.unwrap_or_default()) {
            slot.store(product.to_bits(), Ordering::Relaxed);
        }
    }
}

fn read(product: AtomicU32) -> f32 {
    f32::from_bits(product.into_inner())
}

fn blocks<B: GgmlType<VecDotType = BlockQ8K>>(data: &[u8]) -> &[B] {
    // SAFETY: a block is plain numbers, so any bytes are one. `align_to` gives only what is aligned
    // and whole; that this is all of the matrix is checked by the caller.
    #[allow(unsafe_code)]
    let (_, blocks, _) = unsafe { data.align_to::<B>() };
    blocks
}

/// The products of the `go`-th four rows.
fn dot<B: GgmlType<VecDotType = BlockQ8K>>(
    blocks: &[B],
    go: usize,
    row: &[BlockQ8K],
) -> Option<[f32; GO]> {
    let width = row.len();
    let mut rows = blocks.get(go * GO * width..)?.chunks_exact(width);
    let [a, b, c, d] = [rows.next()?, rows.next()?, rows.next()?, rows.next()?];
    let (a, b, c, d) = B::vec_dot_4(width * QK_K, a, b, c, d, row);
    Some([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Module, quantized::QMatMul};

    #[test]
    fn products_made_together_are_those_made_one_by_one() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut numbers = |rows: usize| {
            let numbers = (0..rows * 512).map(|_| random.f32() - 0.5).collect();
            Tensor::from_vec(numbers, (rows, 512), &Device::Cpu).unwrap()
        };
        let kinds = [
            (12, GgmlDType::Q4K),
            (4, GgmlDType::Q6K),
            (64, GgmlDType::Q4K),
        ];
        let weights = kinds.map(|(rows, kind)| QTensor::quantize(&numbers(rows), kind).unwrap());
        let x = numbers(1).reshape((1, 1, 512)).unwrap();
        let together = products(&weights.each_ref().map(|w| w), &x).unwrap();
        for (weight, product) in weights.into_iter().zip(together) {
            let exact = weight.dequantize(&Device::Cpu).unwrap();
            let alone = QMatMul::Tensor(exact).forward(&x).unwrap();
            assert_eq!(product.dims(), alone.dims());
            let largest = (product - alone).unwrap().abs().unwrap().max_all();
            assert!(largest.unwrap().to_scalar::<f32>().unwrap() < 0.1);
        }
    }
}
