//! `/api/v1/runs/{id}/events`: the entries of a run, as they stand in the journal, and as they come.
//!
//! An entry's number is its event's id, so that a stream that was cut at any entry goes on behind it
//! (`Last-Event-ID`), with nothing lost and nothing twice. A run that is over ends its stream; a client
//! that asks for what comes after the last entry of it is told that nothing will (204), and browsers then
//! leave off.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{self, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use gpak_kernel::{event::RunId, journal::RunFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::state::id;
use crate::serve::{
    House,
    access::Who,
    hub::Line,
    problem::{Answered, Problem},
    take::{Asked, Part},
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How often a stream on which nothing happens shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Seconds that a long poll waits at most.
const LONGEST_WAIT: u64 = 60;
/// Entries of an answer that is no stream.
const PAGE: usize = 1000;

/// Which entries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// From this number on; behind that of `Last-Event-ID`, where nothing is said.
    #[param(minimum = 1)]
    from: Option<u64>,
    /// Without a stream: wait so many seconds for an entry, if there is none yet.
    #[param(maximum = 60)]
    wait: Option<u64>,
}

/// Entries of a run.
#[derive(Debug, Serialize, ToSchema)]
pub struct Entries {
    /// The entries, oldest first.
    #[schema(value_type = Vec<Object>)]
    entries: Vec<Value>,
    /// Ask from this number on to go on.
    next: u64,
    /// Whether no more will come.
    over: bool,
}

/// Read the entries of a run: as a stream (Accept: text/event-stream), or as JSON
///
/// A stream that was cut goes on behind the entry whose number is in the header `Last-Event-ID`.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs",
    params(Wanted, ("id" = String, Path, description = "The run")),
    responses(
        (status = 200, description = "The entries", content(
            (Entries = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "The run is over, and you have all of it"),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn events(
    State(house): State<House>,
    _: Who,
    Part(run): Part<String>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Answered<Response> {
    let run = id(&run)?;
    if wanted.from == Some(0) {
        return Err(Problem::bad("entries are numbered from 1"));
    }
    let from = match (wanted.from, last_seen(&headers)?) {
        (Some(from), None) => from,
        (None, last) => last.map_or(1, |last| last.saturating_add(1)),
        // A browser that comes back sends both: the address it began with, and how far it got.
        (Some(from), Some(last)) => from.max(last.saturating_add(1)),
    };
    let (over, last) = standing(&house, run).await?;
    if from > last.saturating_add(1) {
        return Err(Problem::conflict(format!(
            "the run has {last} entries, so there is no {from} yet"
        )));
    }
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    if !accepts.is_some_and(|accept| accept.contains("text/event-stream")) {
        return page(&house, run, from, wanted.wait, over).await;
    }
    if over && from > last {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    if over {
        // What came behind the end (an undo) is there as well, and nothing more comes.
        let rest = house.work.journal().read(run, from).await?;
        let rest = rest
            .into_iter()
            .map(|entry| Ok(Arc::new(Line::new(&entry))));
        return Ok(sse(&house, stream::iter(rest)));
    }
    let journal = house.work.shared_journal();
    let lines = house.hub.watch(journal, run, from);
    Ok(sse(&house, lines))
}

fn last_seen(headers: &HeaderMap) -> Answered<Option<u64>> {
    let Some(said) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let said = said.to_str().unwrap_or_default().trim();
    if said.is_empty() {
        return Ok(None);
    }
    let number = said.parse().map(Some);
    number.map_err(|_| Problem::bad("Last-Event-ID is the number of an entry"))
}

/// Whether a run has ended, and the number of its last entry; fails if there is none.
async fn standing(house: &House, run: RunId) -> Answered<(bool, u64)> {
    let filter = RunFilter {
        prefix: Some(run.to_string()),
        ..RunFilter::default()
    };
    let found = house.work.journal().runs(&filter).await?;
    let summary = found.first();
    let none = || gpak_kernel::journal::JournalError::NoRun(run);
    let summary = summary.ok_or_else(none)?;
    Ok((summary.status.is_final(), summary.entries))
}

fn sse(
    house: &House,
    lines: impl Stream<Item = Result<Arc<Line>, String>> + Send + 'static,
) -> Response {
    let watcher = house.metrics.watcher();
    let stop = house.stop.clone().cancelled_owned();
    let events = lines
        .map(move |line| {
            let _open = &watcher;
            Ok::<_, Infallible>(event(line))
        })
        .take_until(stop);
    let alive = sse::KeepAlive::new().interval(HEARTBEAT).text("alive");
    let mut response = Sse::new(events).keep_alive(alive).into_response();
    // For proxies that would hold events back.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, header::HeaderValue::from_static("no"));
    response
}

fn event(line: Result<Arc<Line>, String>) -> sse::Event {
    match line {
        Ok(line) => sse::Event::default()
            .id(line.seq.to_string())
            .event("entry")
            .data(&line.text),
        // The client asks again, and is told in full.
        Err(why) => {
            tracing::error!("a stream ends: {why}");
            sse::Event::default()
                .event("problem")
                .data("the entries cannot be read")
        }
    }
}

/// The entries there are, or the first that come within so many seconds.
async fn page(
    house: &House,
    run: RunId,
    from: u64,
    wait: Option<u64>,
    over: bool,
) -> Answered<Response> {
    let wait = wait.unwrap_or(0);
    if wait > LONGEST_WAIT {
        return Err(Problem::bad(format!(
            "`wait` is {LONGEST_WAIT} seconds at most"
        )));
    }
    let journal = house.work.journal();
    let mut entries = journal.read(run, from).await?;
    if entries.is_empty() && !over && wait > 0 {
        let _open = house.metrics.watcher();
        let mut coming = journal.watch(run, from);
        tokio::select! {
            first = coming.next() => drop(first.transpose()?),
            () = tokio::time::sleep(Duration::from_secs(wait)) => {}
            () = house.stop.cancelled() => {}
        }
        entries = journal.read(run, from).await?;
    }
    let is_cut = entries.len() > PAGE;
    entries.truncate(PAGE);
    let next = entries.last().map_or(from, |entry| entry.seq + 1);
    let over = !is_cut && standing(house, run).await?.0;
    let entries = entries
        .iter()
        .map(|entry| serde_json::json!(entry))
        .collect();
    Ok(Json(Entries {
        entries,
        next,
        over,
    })
    .into_response())
}
