//! One row against 4-bit weights, on processors without AVX-512 VNNI.
//!
//! Candle repacks such weights into tiles for prompts. For a single row the tiles are worse than the
//! weights as they are: they are half as large again, and a token written is bound by memory. Candle
//! multiplies by its tiles all the same; with AVX-512 VNNI these are quick enough, without they made
//! writing take 1.7 times as long (EPYC Zen 3, 1.5B Q4_K_M, `gpak models bench`).

use candle_core::{
    Device, Error, Result, Tensor,
    quantized::{GgmlDType, QTensor, k_quants},
};

/// Whether a product of one row with `weight` is better made by [`product`].
pub(super) fn is_better(weight: &QTensor) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has_quick_tiles = is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let has_quick_tiles = true;
    weight.dtype() == GgmlDType::Q4K && !has_quick_tiles
}

/// The product of the one row of `x` with `weight`, a matrix in [`GgmlDType::Q4K`].
pub(super) fn product(weight: &QTensor, x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = weight.shape().dims2()?;
    let data = weight.data()?;
    // SAFETY: a block is plain numbers, so any bytes are one. `align_to` gives only what is aligned
    // and whole; that this is all of the matrix is checked below.
    #[allow(unsafe_code)]
    let (_, blocks, _) = unsafe { data.align_to::<k_quants::BlockQ4K>() };
    if blocks.len() * k_quants::QK_K != rows * columns {
        return Err(Error::Msg(
            "a weight matrix is not laid out as expected".into(),
        ));
    }
    let row = x.flatten_all()?.to_vec1::<f32>()?;
    let mut y = vec![0.0; rows];
    k_quants::matmul((1, columns, rows), &row, blocks, &mut y)?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = rows;
    }
    Tensor::from_vec(y, shape, &Device::Cpu)
}
