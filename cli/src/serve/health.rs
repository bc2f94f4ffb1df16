//! Whether the service is well: for those who watch over it.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use gpak_kernel::journal::RunFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    House,
    access::Who,
    problem::{Answered, Problem},
};

/// That it is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: &'static str,
}

/// Bytes that the beginning of a run may take, with all that the journal keeps beside it.
const ROOM: u64 = 1 << 20;

const OK: Health = Health { status: "ok" };

/// Say that the process lives
#[utoipa::path(get, path = "/healthz", tag = "operation", security(()), responses(
    (status = 200, body = Health)))]
pub async fn healthz() -> Json<Health> {
    Json(OK)
}

/// Say whether runs can be started: not while it stops, nor while its journal cannot be read or its disk is
/// full
#[utoipa::path(get, path = "/readyz", tag = "operation", security(()), responses(
    (status = 200, body = Health), (status = 503, body = Problem)))]
pub async fn readyz(State(house): State<House>) -> Answered<Json<Health>> {
    if house.work.is_draining() {
        return Err(Problem::unavailable("the service is stopping"));
    }
    if house.home.room().is_some_and(|room| room < ROOM) {
        return Err(
            Problem::unavailable("the disk with the journal is full").help("free some space on it")
        );
    }
    let one = RunFilter {
        limit: Some(1),
        ..RunFilter::default()
    };
    match house.work.journal().runs(&one).await {
        Ok(_) => Ok(Json(OK)),
        // Whoever asks without a credential is not told where files are.
        Err(why) => {
            tracing::error!("not ready: {why}");
            Err(Problem::unavailable("the journal cannot be read"))
        }
    }
}

/// What the service counts, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text")))]
pub async fn metrics(State(house): State<House>, _: Who) -> Answered<impl IntoResponse> {
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = house
        .metrics
        .text(house.work.load())
        .map_err(Problem::internal)?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, KIND)], text))
}
