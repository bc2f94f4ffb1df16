//! Embedders of servers: Ollama, and what has OpenAI's API.

use std::{collections::HashMap, sync::Mutex, sync::PoisonError};

use async_trait::async_trait;
use gpak_kernel::{memory::MemoryError, model::embedding::EmbeddingModel};

use super::Embedder;

/// Texts that are sent at a time.
const BATCH: usize = 64;

/// Vectors that are kept to be given again, by the hash of their text.
const KEPT: usize = 4096;

/// Makes vectors by a server.
pub struct RemoteEmbedder {
    model: EmbeddingModel,
    id: String,
    dimension: usize,
    kept: Mutex<HashMap<blake3::Hash, Vec<f32>>>,
}

impl RemoteEmbedder {
    /// Asks the server for one vector, to know how long they are.
    ///
    /// # Errors
    /// [`MemoryError::Embedder`] with what the server says.
    pub async fn connect(model: EmbeddingModel) -> Result<Self, MemoryError> {
        let probe = ["dimension".to_owned()];
        let vectors = model.embed(&probe).await.map_err(failed)?;
        Ok(Self::known(model, vectors.first().map_or(0, Vec::len)))
    }

    /// One of which is known how long its vectors are: nothing is sent yet.
    pub fn known(model: EmbeddingModel, dimension: usize) -> Self {
        Self {
            id: model.id(),
            dimension,
            kept: Mutex::default(),
            model,
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<blake3::Hash, Vec<f32>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: gpak_kernel::model::ModelError) -> MemoryError {
    MemoryError::Embedder(format!("no vectors could be made: {error}"))
}

#[async_trait]
impl Embedder for RemoteEmbedder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn licence(&self) -> &str {
        "LicenseRef-of-the-server"
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
        let keys: Vec<blake3::Hash> = texts.iter().map(|t| blake3::hash(t.as_bytes())).collect();
        let mut made: HashMap<blake3::Hash, Vec<f32>> = HashMap::new();
        let mut missing: Vec<(blake3::Hash, String)> = Vec::new();
        for (key, text) in keys.iter().zip(texts) {
            if let Some(vector) = self.kept().get(key) {
                made.insert(*key, vector.clone());
            } else if text.trim().is_empty() {
                // Some servers refuse it, and it says nothing anyway.
                made.insert(*key, vec![0.0; self.dimension]);
            } else if !missing.iter().any(|(other, _)| other == key) {
                missing.push((*key, text.clone()));
            }
        }
        for batch in missing.chunks(BATCH) {
            let texts: Vec<String> = batch.iter().map(|(_, text)| text.clone()).collect();
            let vectors = self.model.embed(&texts).await.map_err(failed)?;
            if let Some(other) = vectors.iter().find(|v| v.len() != self.dimension) {
                return Err(MemoryError::Embedder(format!(
                    "the embedder {} made a vector of {} numbers in place of {}; its model was changed, give \
                     it another name",
                    self.id,
                    other.len(),
                    self.dimension
                )));
            }
            for ((key, _), mut vector) in batch.iter().zip(vectors) {
                let length = vector.iter().map(|part| part * part).sum::<f32>().sqrt();
                if length > 0.0 {
                    vector.iter_mut().for_each(|part| *part /= length);
                }
                made.insert(*key, vector);
            }
        }
        let mut kept = self.kept();
        if kept.len() + missing.len() > KEPT {
            kept.clear();
        }
        for (key, _) in missing.iter().take(KEPT) {
            if let Some(vector) = made.get(key) {
                kept.insert(*key, vector.clone());
            }
        }
        drop(kept);
        Ok(keys
            .iter()
            .map(|key| made.get(key).cloned().unwrap_or_default())
            .collect())
    }
}
