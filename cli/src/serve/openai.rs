//! OpenAI's protocol, for any client that speaks it: `/v1/models`, `/v1/chat/completions`,
//! `/v1/responses`.
//!
//! The model `gpak` is the agent: each request is a run, or goes on with one. All that a client is told of
//! it, a response, a chunk, a number in a stream, is read from the run's entries ([`pieces`]), so that it
//! can be had again at any time and is the same each time. The models `gpak/active` and, of a mind of two
//! selves, `gpak/core` are the minds alone ([`raw`]).
//!
//! A run may stop to ask for an approval, which is given over `/api/v1/approvals` and not here: a request
//! waits for it as it waits for the model.

mod ask;
mod begin;
mod chat;
mod pieces;
mod raw;
mod responses;
mod retry;
mod stream;
pub mod tools;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use gpak_kernel::model::Model;
use serde_json::{Value, json};

use super::{
    House,
    access::Who,
    problem::{Answered, Problem},
    take::Part,
};

pub use begin::META;

/// The agent.
pub const AGENT: &str = "gpak";
/// The mind that runs think with where none is named; of two selves, the active one.
pub const ACTIVE: &str = "gpak/active";
/// The core self, where there are two.
pub const CORE: &str = "gpak/core";

/// The routes.
pub fn router() -> Router<House> {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::retrieve))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .layer(DefaultBodyLimit::disable())
}

fn listed(id: &str) -> Value {
    // 2026-11-26: a date has to be told, and the model behind it changes with the settings.
    json!({"id": id, "object": "model", "created": 1_795_651_200, "owned_by": "gpak"})
}

async fn models(State(house): State<House>, _: Who) -> Answered<Json<Value>> {
    let (_, selves) = house.work.mind().await?;
    let core = selves.map(|_| CORE);
    let names = [AGENT, ACTIVE].into_iter().chain(core);
    let data: Vec<_> = names.map(listed).collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

async fn model(
    State(house): State<House>,
    _: Who,
    Part(id): Part<String>,
) -> Answered<Json<Value>> {
    asked(&house, &id).await?;
    Ok(Json(listed(&id)))
}

/// Who is asked.
enum Asked {
    /// The agent.
    Agent,
    /// A mind alone, and its name here.
    Mind(&'static str, Arc<dyn Model>),
}

async fn asked(house: &House, model: &str) -> Answered<Asked> {
    let name = match model {
        AGENT => return Ok(Asked::Agent),
        ACTIVE => ACTIVE,
        CORE => CORE,
        other => {
            return Err(no_model(other).help(
                "`gpak` is the agent, `gpak/active` the mind alone, `gpak/core` the core self of two",
            ));
        }
    };
    let (mind, selves) = house.work.mind().await?;
    match (name, selves) {
        (CORE, Some(selves)) => Ok(Asked::Mind(CORE, selves.core)),
        (CORE, None) => Err(no_model(CORE)
            .help("`mind.core` in the settings names the core self, and none is named")),
        (name, Some(selves)) => Ok(Asked::Mind(name, selves.active)),
        (name, None) => Ok(Asked::Mind(name, mind)),
    }
}

fn no_model(name: &str) -> Problem {
    let status = StatusCode::NOT_FOUND;
    let what = format!("there is no model `{name}` here");
    Problem::new(status, "model-not-found", what)
}

/// Says of a problem what clients of this protocol read.
pub async fn errors(State(_): State<House>, request: Request, next: Next) -> Response {
    let is_ours = request.uri().path().starts_with("/v1/");
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !is_ours || kind.is_none_or(|kind| kind != "application/problem+json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |name: &str| {
        problem
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let message = match text("help") {
        "" => text("detail").to_owned(),
        help => format!("{}: {help}", text("detail")),
    };
    let code = text("type")
        .trim_start_matches("urn:gpak:")
        .replace('-', "_");
    let kind = match parts.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    // Clients try again what is in conflict; nothing here is mended by that.
    if parts.status == StatusCode::CONFLICT {
        parts.status = StatusCode::BAD_REQUEST;
    }
    let error = json!({"error": {"message": message, "type": kind, "code": code, "param": null}});
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(error.to_string())).into_response()
}
