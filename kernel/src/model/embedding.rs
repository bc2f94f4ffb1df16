//! Vectors of texts, made by a server: Ollama's API, and OpenAI's, which many others have, too.

use serde_json::{Value, json};

use super::{
    ModelError,
    remote::{Connection, Server},
};

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `POST /api/embed`.
    Ollama,
    /// `POST /embeddings`.
    OpenAi,
}

impl Api {
    /// The name of the provider, as in front of a model's name.
    pub fn provider(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
        }
    }
}

/// A model of a server that makes vectors.
#[derive(Clone)]
pub struct EmbeddingModel {
    server: Server,
    api: Api,
    name: String,
}

impl EmbeddingModel {
    /// The model of that name at a server; nothing is sent yet.
    ///
    /// # Errors
    /// If an address makes no sense.
    pub fn new(
        connection: &Connection,
        api: Api,
        name: impl Into<String>,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            server: Server::new(connection)?,
            api,
            name: name.into(),
        })
    }

    /// `provider/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.api.provider(), self.name)
    }

    /// A vector for each text, all of one length, as the server made them.
    ///
    /// # Errors
    /// What the server says, or [`ModelError::Malformed`] if it has not answered with that many vectors.
    pub async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (path, body) = match self.api {
            Api::Ollama => ("api/embed", json!({"model": self.name, "input": texts})),
            Api::OpenAi => (
                "embeddings",
                json!({"model": self.name, "input": texts, "encoding_format": "float"}),
            ),
        };
        let answer = self.server.post(path, &body).await;
        let answer = answer.map_err(|failure| failure.error)?;
        let vectors = match self.api {
            Api::Ollama => answer.get("embeddings").and_then(Value::as_array).cloned(),
            Api::OpenAi => in_order(&answer),
        };
        let vectors: Option<Vec<Vec<f32>>> = vectors.and_then(|vectors| {
            let numbers = |vector: &Value| serde_json::from_value(vector.clone()).ok();
            vectors.iter().map(numbers).collect()
        });
        let is_whole = |vectors: &Vec<Vec<f32>>| {
            let length = vectors.first().map_or(0, Vec::len);
            vectors.len() == texts.len()
                && length > 0
                && vectors.iter().all(|vector| {
                    vector.len() == length && vector.iter().all(|part| part.is_finite())
                })
        };
        vectors.filter(is_whole).ok_or_else(|| {
            let failure = self.server.malformed(format!(
                "it was asked for {} vectors of the model {} and did not answer with them",
                texts.len(),
                self.name
            ));
            failure.error
        })
    }
}

/// The vectors of OpenAI's answer, which say their places themselves.
fn in_order(answer: &Value) -> Option<Vec<Value>> {
    let mut all: Vec<(u64, Value)> = Vec::new();
    for (item, place) in answer.get("data")?.as_array()?.iter().zip(0..) {
        let place = item.get("index").and_then(Value::as_u64).unwrap_or(place);
        all.push((place, item.get("embedding")?.clone()));
    }
    all.sort_by_key(|(place, _)| *place);
    Some(all.into_iter().map(|(_, vector)| vector).collect())
}
