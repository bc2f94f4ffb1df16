//! What ties a request to what came of it: a trace id, from the client's `traceparent` or fresh.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use serde_json::{Map, Value};
use tracing::Instrument;

use super::House;

const HEADER: &str = "traceparent";

/// The trace that a request is a part of (W3C Trace Context).
#[derive(Debug, Clone)]
pub struct Trace {
    /// 32 hex digits.
    pub id: String,
    /// 16 hex digits, of this request's own span.
    pub span: String,
    /// 16 hex digits, of the client's span.
    pub parent: Option<String>,
}

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let said = headers.get(HEADER).and_then(|said| said.to_str().ok());
        let said = said.and_then(Self::of_header);
        let fresh = || uuid::Uuid::new_v4().as_simple().to_string();
        Self {
            span: fresh().chars().take(16).collect(),
            parent: said.as_ref().map(|said| said.span.clone()),
            id: said.map_or_else(fresh, |said| said.id),
        }
    }

    /// The trace and the span in `00-<32 hex>-<16 hex>-<2 hex>`.
    pub fn of_header(header: &str) -> Option<Self> {
        let id = trace_id(header)?.to_owned();
        let span = header.split('-').nth(2)?.to_owned();
        let parent = None;
        Some(Self { id, span, parent })
    }

    fn header(&self) -> String {
        format!("00-{}-{}-01", self.id, self.span)
    }

    /// Kept with a run, so that its drives are parts of the same trace.
    pub fn note(&self, meta: &mut Map<String, Value>) {
        let header = Value::String(self.header());
        meta.entry(HEADER).or_insert(header);
    }
}

/// The trace id in `00-<32 hex>-<16 hex>-<2 hex>`.
fn trace_id(header: &str) -> Option<&str> {
    let mut parts = header.split('-');
    let (version, id, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |text: &str| text.bytes().all(|b| b == b'0');
    let fits = version.len() == 2 && id.len() == 32 && parent.len() == 16;
    (fits && is_hex(version) && is_hex(id) && is_hex(parent) && !is_zero(id)).then_some(id)
}

/// The trace id of a run that was asked for with that.
pub fn of_meta(meta: &Map<String, Value>) -> Option<&str> {
    trace_id(header_of(meta)?)
}

/// The `traceparent` that a run was asked for with.
pub fn header_of(meta: &Map<String, Value>) -> Option<&str> {
    meta.get(HEADER)?.as_str()
}

/// Gives each request its trace, and counts it.
pub async fn trace(State(house): State<House>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let trace = Trace::of(request.headers());
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", |route| route.as_str()).to_owned();
    let span = tracing::info_span!("request", trace = trace.id, method, route);
    request.extensions_mut().insert(trace.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    house.metrics.answered(&method, &route, status, took);
    house.traces.request(&trace, &method, &route, status, took);
    span.in_scope(|| tracing::info!(status, ms = took.as_secs_f64() * 1e3, "answered"));
    if let Ok(value) = HeaderValue::from_str(&trace.header()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_traceparent_is_taken() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), Some(id));
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71-01",
        ] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
