//! `/api/v1/memory`: what is remembered across runs.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use gpak_kernel::{
    label::Label,
    memory::{Episode, EpisodeId, Filter, Kind, Memory, Query},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::runs::short_enough;
use crate::serve::{
    House,
    access::{Role, Who},
    problem::{Answered, Problem},
    take::{Asked, Body, Part},
};

/// Memories of an answer, at most.
const LARGEST: usize = 500;

async fn memory(house: &House) -> Answered<Arc<dyn Memory>> {
    Ok(house.work.memory().await?)
}

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// The question, or words of what is looked for; without, the latest are listed.
    #[param(min_length = 1, pattern = "\\S")]
    q: Option<String>,
    /// Whose memory.
    #[serde(default)]
    namespace: String,
    /// At most so many.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// Memories, best or latest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Found {
    /// Each with its `id` and `episode`; if something was looked for, with its `score`, and `why`.
    #[schema(value_type = Vec<Object>)]
    memories: Vec<Value>,
}

/// Search what is remembered, or list it
#[utoipa::path(get, path = "/api/v1/memory", tag = "memory", params(Looked), responses(
    (status = 200, body = Found), (status = 400, body = Problem), (status = 422, body = Problem)))]
pub async fn search(
    State(house): State<House>,
    _: Who,
    Asked(looked): Asked<Looked>,
) -> Answered<Json<Found>> {
    let limit = looked.limit.unwrap_or(10);
    if !(1..=LARGEST).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is 1 to {LARGEST}")));
    }
    let memory = memory(&house).await?;
    let memories = match looked.q {
        Some(text) => {
            short_enough(&text)?;
            let mut query = Query::new(text, looked.namespace, Timestamp::now());
            query.limit = limit;
            let hits = memory.recall(&query).await?;
            hits.iter().map(|hit| json!(hit)).collect()
        }
        None => {
            let filter = Filter::namespace(looked.namespace);
            let found = memory.list(&filter, limit).await?;
            let named = |episode: &Episode| json!({"id": episode.id(), "episode": episode});
            found.iter().map(named).collect()
        }
    };
    Ok(Json(Found { memories }))
}

/// Something to remember.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMemory {
    /// What.
    #[schema(min_length = 1, max_length = 65536, pattern = "\\S")]
    text: String,
    /// Whose memory it is.
    #[serde(default)]
    namespace: String,
    /// `episodic` (what happened), `semantic` (what is true) or `procedural` (how it is done).
    #[serde(default = "semantic")]
    #[schema(value_type = String, pattern = "^(episodic|semantic|procedural)$")]
    kind: Kind,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// How much it matters, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    importance: Option<f32>,
}

fn semantic() -> Kind {
    Kind::Semantic
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Remembered {
    /// Its id.
    id: String,
    /// Whether it was not remembered before.
    new: bool,
}

/// Remember something
#[utoipa::path(post, path = "/api/v1/memory", tag = "memory", request_body = NewMemory, responses(
    (status = 201, body = Remembered), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn add(
    State(house): State<House>,
    who: Who,
    Body(new): Body<NewMemory>,
) -> Answered<(StatusCode, Json<Remembered>)> {
    who.needs(Role::Operator)?;
    short_enough(&new.text)?;
    let mut episode = Episode::new(new.text, Label::User, Timestamp::now());
    episode.kind = new.kind;
    episode.namespace = new.namespace;
    episode.tags = new.tags;
    episode.importance = new.importance.unwrap_or(episode.importance);
    let kept = memory(&house).await?.remember(vec![episode]).await?;
    let kept = kept
        .first()
        .ok_or_else(|| Problem::internal("nothing was kept"))?;
    let remembered = Remembered {
        id: kept.id.to_string(),
        new: kept.new,
    };
    Ok((StatusCode::CREATED, Json(remembered)))
}

/// Forget something, for good
#[utoipa::path(delete, path = "/api/v1/memory/{id}", tag = "memory",
    params(("id" = String, Path, description = "The memory")),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(house): State<House>,
    who: Who,
    Part(id): Part<String>,
) -> Answered<StatusCode> {
    who.needs(Role::Operator)?;
    let id: EpisodeId = id.parse().map_err(Problem::missing)?;
    match memory(&house).await?.forget(&[id]).await? {
        0 => Err(Problem::missing(format!("nothing is remembered as {id}"))
            .help("GET /api/v1/memory lists what is")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
