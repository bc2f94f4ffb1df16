//! `/api/v1/webhooks`

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::serve::{
    House,
    access::{Role, Who},
    db,
    problem::{Answered, Problem},
    take::{Body, Part},
    webhooks::{self, Delivery, EVENTS, Webhook},
};

/// An address to tell of runs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where to post: `http://…` or `https://…`.
    #[schema(pattern = "^https?://", max_length = 2000)]
    url: String,
    /// What to tell: `run.created`, `run.waiting`, `run.completed`, `run.failed`, `run.cancelled`; all,
    /// where nothing is said.
    #[serde(default)]
    events: Vec<String>,
}

/// A webhook that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeWebhook {
    /// Its id.
    id: String,
    /// What messages to it are signed with; it is shown this once.
    secret: String,
}

/// Have an address told of runs
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", request_body = NewWebhook, responses(
    (status = 201, body = MadeWebhook)))]
pub async fn add(
    State(house): State<House>,
    who: Who,
    Body(new): Body<NewWebhook>,
) -> Answered<(StatusCode, Json<MadeWebhook>)> {
    who.needs(Role::Admin)?;
    let address = new.url.parse::<axum::http::Uri>().ok();
    let fits = address.is_some_and(|address| {
        let scheme = address.scheme_str();
        matches!(scheme, Some("http" | "https")) && address.host().is_some_and(|it| !it.is_empty())
    });
    if !fits || new.url.len() > 2000 {
        return Err(Problem::unprocessable(
            "the address begins with http:// or https://",
        ));
    }
    let events = match new.events.is_empty() {
        true => EVENTS.map(str::to_owned).to_vec(),
        false => new.events,
    };
    if let Some(unknown) = events
        .iter()
        .find(|event| !EVENTS.contains(&event.as_str()))
    {
        return Err(
            Problem::unprocessable(format!("there is no event `{unknown}`"))
                .help(format!("there are {}", EVENTS.join(", "))),
        );
    }
    let id: String = db::random()?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect();
    let secret = format!("whsec_{}", STANDARD.encode(db::random()?));
    let made = (id.clone(), secret.clone());
    webhooks::add(&house.store, made, new.url, events).await?;
    Ok((StatusCode::CREATED, Json(MadeWebhook { id, secret })))
}

/// List the addresses that are told of runs
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", responses(
    (status = 200, body = Vec<Webhook>)))]
pub async fn list(State(house): State<House>, who: Who) -> Answered<Json<Vec<Webhook>>> {
    who.needs(Role::Admin)?;
    Ok(Json(webhooks::list(&house.store)?))
}

/// Have an address told no more
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook")),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn remove(
    State(house): State<House>,
    who: Who,
    Part(id): Part<String>,
) -> Answered<StatusCode> {
    who.needs(Role::Admin)?;
    match webhooks::remove(&house.store, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(none()),
    }
}

fn none() -> Problem {
    Problem::missing("there is no such webhook").help("GET /api/v1/webhooks lists them")
}

/// Look at what was, or is to be, sent to an address
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook")),
    responses((status = 200, body = Vec<Delivery>), (status = 404, body = Problem)))]
pub async fn deliveries(
    State(house): State<House>,
    who: Who,
    Part(id): Part<String>,
) -> Answered<Json<Vec<Delivery>>> {
    who.needs(Role::Admin)?;
    if !webhooks::list(&house.store)?.iter().any(|one| one.id == id) {
        return Err(none());
    }
    Ok(Json(webhooks::deliveries(&house.store, &id, 200)?))
}

/// Try again what was given up
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/deliveries/{delivery}/retry", tag = "webhooks",
    params(("id" = String, Path, description = "The webhook"),
        ("delivery" = String, Path, description = "The delivery")),
    responses((status = 202), (status = 404, body = Problem)))]
pub async fn retry(
    State(house): State<House>,
    who: Who,
    Part((id, delivery)): Part<(String, String)>,
) -> Answered<StatusCode> {
    who.needs(Role::Admin)?;
    if !webhooks::retry(&house.store, id, delivery).await? {
        return Err(Problem::missing(
            "there is no such delivery that did not arrive",
        ));
    }
    house.deliveries.notify_one();
    Ok(StatusCode::ACCEPTED)
}
