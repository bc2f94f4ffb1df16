//! Embedders: text in, vectors out.
//!
//! [`StaticEmbedder`] is compiled in and is what a store uses unless it is given another. [`MiniLm`] is the model
//! that it is made of, and [`RemoteEmbedder`] asks a server. An [`Alignment`] maps vectors of one into the space
//! of another.

use async_trait::async_trait;
use gpak_kernel::memory::MemoryError;

mod align;
#[cfg(feature = "minilm")]
mod minilm;
mod remote;
mod table;

pub use align::{AlignError, Alignment, FEWEST, Fit, Pair};
#[cfg(feature = "minilm")]
pub use minilm::MiniLm;
pub use remote::RemoteEmbedder;
pub use table::StaticEmbedder;

/// Makes vectors of texts, so that texts of like meaning have vectors of like direction.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// Its name, which is kept with every vector: vectors of different ids are never compared.
    fn id(&self) -> &str;

    /// How many numbers a vector has.
    fn dimension(&self) -> usize;

    /// The licence of its weights, as an SPDX expression.
    fn licence(&self) -> &str;

    /// A vector for each text, of length 1, or of zeros for a text that says nothing to it.
    ///
    /// # Errors
    /// [`MemoryError::Embedder`] with what to do.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError>;
}

/// Turns a vector into signed bytes, the largest part of it into ±127. Only its direction is kept.
pub fn quantise(vector: &[f32]) -> Vec<i8> {
    let largest = vector.iter().fold(0f32, |max, part| max.max(part.abs()));
    let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let round = |part: &f32| (part * scale).round() as i8;
    vector.iter().map(round).collect()
}
