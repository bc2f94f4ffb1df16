//! The memory that the settings name: what makes its vectors, and whether a server looks through it.

use std::sync::Arc;

use gpak_kernel::{
    memory::Memory,
    model::{
        embedding::{Api, EmbeddingModel},
        openai::Connection,
    },
};
use gpak_memory::{
    QdrantMemory, QdrantSettings, SqliteMemory,
    embed::{Embedder, MiniLm, RemoteEmbedder, StaticEmbedder},
};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    home::Home,
    pulling,
    servers::{self, Secret},
    settings::Settings,
    wire,
};

/// The environment variable with the key of a Qdrant server.
const KEY: &str = "QDRANT_API_KEY";

/// What the settings say of a Qdrant server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QdrantSaid {
    /// Its gRPC address.
    pub url: String,
    /// The first part of the collection's name.
    pub collection: Option<String>,
    /// The key it wants, if it is not in the environment.
    pub api_key: Option<Secret>,
}

impl QdrantSaid {
    fn settings(&self) -> QdrantSettings {
        let mut settings = QdrantSettings::new(&self.url);
        let said = self.api_key.as_ref().map(|key| key.expose().to_owned());
        let key = said.or_else(|| std::env::var(KEY).ok());
        settings.api_key = key.filter(|key| !key.trim().is_empty());
        if let Some(collection) = &self.collection {
            settings.collection = collection.clone();
        }
        settings
    }
}

/// The memory of this user.
///
/// # Errors
/// If the file or the embedder cannot be used.
pub async fn open(home: &Home, settings: &Settings) -> Result<Arc<dyn Memory>, Failure> {
    let Some(qdrant) = &settings.qdrant.value else {
        return Ok(Arc::new(open_file(home, settings).await?));
    };
    let (embedder, qdrant) = (embedder(home, settings).await?, qdrant.settings());
    let data = home.data.clone();
    let opened = spawn_blocking(move || QdrantMemory::open_with(&data, embedder, qdrant)).await;
    Ok(Arc::new(opened.map_err(broke)??))
}

/// Likewise, without the server.
///
/// # Errors
/// As of [`open`].
pub async fn open_file(home: &Home, settings: &Settings) -> Result<SqliteMemory, Failure> {
    let embedder = embedder(home, settings).await?;
    let data = home.data.clone();
    let opened = spawn_blocking(move || SqliteMemory::open_with(&data, embedder)).await;
    Ok(opened.map_err(broke)??)
}

fn broke(why: tokio::task::JoinError) -> Failure {
    Failure::new(format!("the memory cannot be opened: {why}"))
}

/// What makes the memory's vectors.
///
/// # Errors
/// If there is none of that name, or it does not answer.
pub async fn embedder(home: &Home, settings: &Settings) -> Result<Arc<dyn Embedder>, Failure> {
    let id = settings.embedder.value.as_deref().unwrap_or("static");
    let server = |api: Api, base: String, key, name: &str| {
        let mut connection = Connection::new(base);
        connection.key = key;
        EmbeddingModel::new(&connection, api, name).map_err(servers::unconnected)
    };
    let model = match id.split_once('/') {
        None if id == "static" => return Ok(Arc::new(StaticEmbedder::load()?)),
        None if id == "minilm" => return minilm(home).await,
        Some(("ollama", name)) => {
            let said = &settings.ollama.value;
            let base = servers::ollama_address(said);
            server(Api::Ollama, base, said.key("OLLAMA_API_KEY")?, name)?
        }
        Some(("openai", name)) => {
            let said = &settings.openai.value;
            let base = servers::openai_address(said);
            server(Api::OpenAi, base, said.key("OPENAI_API_KEY")?, name)?
        }
        _ => {
            return Err(Failure::usage(format!("there is no embedder `{id}`")).help(
                "`memory.embedder` in the settings is `static` (the built-in one), `minilm`, \
                 `ollama/NAME` or `openai/NAME`",
            ));
        }
    };
    let (data, id) = (home.data.clone(), model.id());
    let known = spawn_blocking(move || SqliteMemory::dimension_of(&data, &id)).await;
    // A server that is away now keeps nobody from remembering, once it was there.
    Ok(Arc::new(match known.map_err(broke)?? {
        Some(dimension) => RemoteEmbedder::known(model, dimension),
        None => RemoteEmbedder::connect(model).await?,
    }))
}

async fn minilm(home: &Home) -> Result<Arc<dyn Embedder>, Failure> {
    let stop = CancellationToken::new();
    let located =
        pulling::on_demand(wire::models(home)?, "embedded/minilm".to_owned(), stop).await?;
    let opened = spawn_blocking(move || MiniLm::open(&located.path)).await;
    Ok(Arc::new(opened.map_err(broke)??))
}

/// What is said of it, for `gpak config show`.
pub fn lines(settings: &Settings) -> Vec<(String, String, String)> {
    let quoted = |text: &str| format!("{text:?}");
    let embedder = settings.embedder.value.as_deref().unwrap_or("static");
    let mut lines = vec![(
        "memory.embedder".to_owned(),
        quoted(embedder),
        settings.embedder.origin.to_string(),
    )];
    if let Some(qdrant) = &settings.qdrant.value {
        let key = qdrant.api_key.as_ref().map(|_| "\"***\"".to_owned());
        let given = [
            ("url", Some(quoted(&servers::shown(&qdrant.url)))),
            ("collection", qdrant.collection.as_deref().map(quoted)),
            ("api_key", key),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let origin = settings.qdrant.origin.to_string();
        lines.extend(
            given.map(|(name, value)| (format!("memory.qdrant.{name}"), value, origin.clone())),
        );
    }
    lines
}
