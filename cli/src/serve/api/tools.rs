//! `/api/v1/tools` and `/api/v1/models`: what runs can use.

use axum::{Json, extract::State};
use gpak_kernel::model::catalogue;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    serve::{
        House,
        access::Who,
        problem::{Answered, Problem},
    },
    wire,
};

/// A tool that runs can call.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tool {
    /// Its name.
    name: String,
    /// What it does.
    description: String,
    /// The JSON Schema of its arguments.
    #[schema(value_type = Object)]
    input: Value,
    /// What a call does to the world: `pure`, `idempotent`, `reversible` or `irreversible`.
    effect: String,
}

/// List the tools that runs can call, those of their workspaces and of MCP servers aside
#[utoipa::path(get, path = "/api/v1/tools", tag = "tools", responses((status = 200, body = Vec<Tool>)))]
pub async fn tools(State(house): State<House>, _: Who) -> Answered<Json<Vec<Tool>>> {
    let tools = house.work.tools().await?.into_iter().map(|spec| Tool {
        name: spec.name,
        description: spec.description,
        input: spec.input,
        effect: json!(spec.effect).as_str().unwrap_or_default().to_owned(),
    });
    Ok(Json(tools.collect()))
}

/// A model that runs can think with.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    /// As `provider/name`.
    pub id: String,
    /// Whether it is used where none is named.
    pub default: bool,
    /// `ready`, `here` or `can_be_pulled`.
    pub state: String,
}

/// List the models that runs can think with
#[utoipa::path(get, path = "/api/v1/models", tag = "tools", responses((status = 200, body = Vec<Model>)))]
pub async fn models(State(house): State<House>, _: Who) -> Answered<Json<Vec<Model>>> {
    let home = house.home.clone();
    let list = move || wire::models(&home).map(|store| store.list());
    let listed = tokio::task::spawn_blocking(list)
        .await
        .map_err(Problem::internal)??;
    let default = house.work.default_model();
    let mut models = vec![Model {
        id: default.to_owned(),
        default: true,
        state: "ready".to_owned(),
    }];
    models.extend(
        listed
            .into_iter()
            .filter(|one| one.id != default)
            .filter_map(|one| {
                let state = match one.state {
                    catalogue::State::Here { .. } => "here",
                    catalogue::State::Partial { .. } | catalogue::State::Absent => "can_be_pulled",
                    catalogue::State::Damaged { .. } => return None,
                };
                Some(Model {
                    id: one.id,
                    default: false,
                    state: state.to_owned(),
                })
            }),
    );
    Ok(Json(models))
}
