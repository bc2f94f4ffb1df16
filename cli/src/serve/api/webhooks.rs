//! `/api/v1/webhooks`

use std::sync::LazyLock;

use axum::{Json, extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;
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
    #[schema(
        pattern = "^https?://[A-Za-z0-9.-]+(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?(/[A-Za-z0-9/_.~%?=&-]*)?$",
        max_length = 2000
    )]
    url: String,
    /// What to tell: `run.created`, `run.waiting`, `run.completed`, `run.failed`, `run.cancelled`; all,
    /// where nothing is said.
    #[serde(default)]
    events: Vec<Told>,
}

/// What can be told of a run.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub enum Told {
    /// It was created.
    #[serde(rename = "run.created")]
    Created,
    /// It waits for somebody.
    #[serde(rename = "run.waiting")]
    Waiting,
    /// It ended with an answer.
    #[serde(rename = "run.completed")]
    Completed,
    /// It ended without.
    #[serde(rename = "run.failed")]
    Failed,
    /// Somebody ended it.
    #[serde(rename = "run.cancelled")]
    Cancelled,
}

impl Told {
    fn as_str(self) -> &'static str {
        let [created, waiting, completed, failed, cancelled] = EVENTS;
        match self {
            Self::Created => created,
            Self::Waiting => waiting,
            Self::Completed => completed,
            Self::Failed => failed,
            Self::Cancelled => cancelled,
        }
    }
}

/// The addresses that are taken, as [`NewWebhook`] says in the interface's description.
static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let form = r"^https?://[A-Za-z0-9.-]+(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?(/[A-Za-z0-9/_.~%?=&-]*)?$";
    Regex::new(form).ok()
});

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
    let fits = ADDRESS.as_ref().is_some_and(|form| form.is_match(&new.url));
    if !fits || new.url.len() > 2000 {
        return Err(Problem::unprocessable(
            "the address is one as in https://example.org/hooks/gpak, of 2000 characters at most",
        ));
    }
    let mut events: Vec<String> = EVENTS.map(str::to_owned).to_vec();
    if !new.events.is_empty() {
        events = new
            .events
            .iter()
            .map(|told| told.as_str().to_owned())
            .collect();
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
