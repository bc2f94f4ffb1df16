//! Traces by OpenTelemetry (OTLP over HTTP), where the environment names a collector
//! (`OTEL_EXPORTER_OTLP_ENDPOINT`, `…_TRACES_ENDPOINT`, `…_HEADERS`; `OTEL_SERVICE_NAME`).
//!
//! A run's spans are made of its entries, with the names of the GenAI conventions
//! (<https://opentelemetry.io/docs/specs/semconv/gen-ai/>): what the journal says is what the trace says. No
//! text of a run is in them: not what was asked, answered, called with or given.
//!
//! ```text
//!   POST /api/v1/runs                        the request
//!   └─ invoke_agent gpak                     each time a driver has the run
//!      ├─ chat <model>                       each reply
//!      └─ execute_tool <tool>                each call
//! ```

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, Outcome, RunId},
    run::Ended,
};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::trace::Trace;
use crate::failure::Failure;

/// Spans that wait to be sent, at most; more are left out, and counted.
const WAITING: usize = 8192;
/// Spans that are sent at a time.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const PAUSE: Duration = Duration::from_secs(2);

/// Where spans go, if anywhere.
#[derive(Default)]
pub struct Traces {
    queue: Option<mpsc::Sender<SpanData>>,
    left_out: AtomicU64,
}

impl Traces {
    /// To the collector that the environment names, until `stop`; what waits then is sent first.
    pub fn from_env(
        stop: CancellationToken,
    ) -> Result<(Self, Option<tokio::task::JoinHandle<()>>), Failure> {
        let named = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let is_named = named
            .iter()
            .any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()));
        if !is_named {
            return Ok((Self::default(), None));
        }
        let failed = |why: String| {
            Failure::usage(format!("traces cannot be sent: {why}")).help(
                "OTEL_EXPORTER_OTLP_ENDPOINT is the collector's address, as http://localhost:4318",
            )
        };
        // It is the process's provider already, if somebody else was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client.map_err(|why| failed(why.to_string()))?)
            .build()
            .map_err(|why| failed(why.to_string()))?;
        let resource = Resource::builder();
        let resource = match std::env::var("OTEL_SERVICE_NAME") {
            Ok(_) => resource,
            Err(_) => resource.with_service_name("gpak"),
        };
        exporter.set_resource(&resource.build());
        let (queue, spans) = mpsc::channel(WAITING);
        let sending = tokio::spawn(send(exporter, spans, stop));
        let traces = Self {
            queue: Some(queue),
            left_out: AtomicU64::new(0),
        };
        Ok((traces, Some(sending)))
    }

    /// Whether anybody wants spans.
    pub fn are_wanted(&self) -> bool {
        self.queue.is_some()
    }

    fn tell(&self, span: SpanData) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(span).is_err() && self.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "the collector of traces is slower than they are made: some are left out"
            );
        }
    }

    /// A request was answered.
    pub fn request(&self, trace: &Trace, method: &str, route: &str, status: u16, took: Duration) {
        if !self.are_wanted() {
            return;
        }
        let end = SystemTime::now();
        let mut span = span(
            (trace_id(&trace.id), span_id(&trace.span)),
            trace.parent.as_deref().map_or(SpanId::INVALID, span_id),
            format!("{method} {route}"),
            (end.checked_sub(took).unwrap_or(end), end),
        );
        span.parent_span_is_remote = trace.parent.is_some();
        span.span_kind = SpanKind::Server;
        span.attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        if status >= 500 {
            span.status = Status::error("");
        }
        self.tell(span);
    }
}

async fn send(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let is_last = tokio::select! {
            taken = spans.recv_many(&mut batch, BATCH) => taken == 0,
            () = stop.cancelled() => true,
        };
        if is_last {
            spans.close();
            while spans.recv_many(&mut batch, BATCH).await > 0 {}
        } else if batch.len() < BATCH {
            let more = async {
                while batch.len() < BATCH && spans.recv_many(&mut batch, BATCH).await > 0 {}
            };
            tokio::select! {
                _ = tokio::time::timeout(PAUSE, more) => {}
                () = stop.cancelled() => {}
            }
        }
        if !batch.is_empty()
            && let Err(why) = exporter.export(std::mem::take(&mut batch)).await
        {
            tracing::warn!("spans were not sent: {why}");
        }
        if is_last {
            return;
        }
    }
}

/// A run while one driver has it.
pub struct Driving {
    run: RunId,
    trace: TraceId,
    parent: SpanId,
    own: SpanId,
    began: SystemTime,
}

impl Driving {
    /// From its entry `seq` on, as a part of the trace that its request's `traceparent` names, or of its own.
    pub fn new(run: RunId, traceparent: Option<&str>, seq: u64) -> Self {
        let named = traceparent.and_then(Trace::of_header);
        Self {
            run,
            trace: match &named {
                Some(trace) => trace_id(&trace.id),
                None => trace_id(&run.to_string()),
            },
            parent: named.map_or(SpanId::INVALID, |trace| span_id(&trace.span)),
            own: made_of(run, seq, "drive"),
            began: SystemTime::now(),
        }
    }

    /// Tells what an entry says that took time.
    pub fn entry(&self, traces: &Traces, entry: &Entry) {
        if !traces.are_wanted() {
            return;
        }
        if let Some(span) = self.of(entry) {
            traces.tell(span);
        }
    }

    /// The driver let it go.
    pub fn end(&self, traces: &Traces, ended: Option<&Ended>) {
        if !traces.are_wanted() {
            return;
        }
        let ids = (self.trace, self.own);
        let name = "invoke_agent gpak".to_owned();
        let mut span = span(ids, self.parent, name, (self.began, SystemTime::now()));
        span.attributes = vec![
            KeyValue::new("gen_ai.operation.name", "invoke_agent"),
            KeyValue::new("gen_ai.agent.name", "gpak"),
            KeyValue::new("gen_ai.conversation.id", self.run.to_string()),
        ];
        let (word, failed) = match ended {
            Some(Ended::Finished(Outcome::Completed { .. })) => ("completed", false),
            Some(Ended::Finished(Outcome::Failed { .. })) => ("failed", true),
            Some(Ended::Finished(Outcome::Cancelled)) => ("cancelled", false),
            Some(Ended::Paused(_)) => ("waiting", false),
            None => ("not driven", true),
        };
        span.attributes.push(KeyValue::new("gpak.run.status", word));
        if failed {
            span.status = Status::error("");
        }
        traces.tell(span);
    }

    fn of(&self, entry: &Entry) -> Option<SpanData> {
        let end = SystemTime::from(entry.time);
        let (name, ms, kind, attributes, failed) = match &entry.event {
            Event::ModelReplied { reply } => {
                let (provider, model) = reply.model.split_once('/').unwrap_or(("", &reply.model));
                let usage = &reply.usage;
                let mut attributes = vec![
                    KeyValue::new("gen_ai.operation.name", "chat"),
                    KeyValue::new("gen_ai.provider.name", provider.to_owned()),
                    KeyValue::new("gen_ai.request.model", model.to_owned()),
                    KeyValue::new("gen_ai.usage.input_tokens", usage.input as i64),
                    KeyValue::new("gen_ai.usage.output_tokens", usage.output as i64),
                    KeyValue::new("gpak.usage.cached_tokens", usage.cached as i64),
                    KeyValue::new("gpak.usage.cost", usage.cost),
                ];
                if let Some(spoken) = &reply.spoken {
                    let why = serde_json::json!(spoken);
                    attributes.push(KeyValue::new("gpak.mind.spoken", why.to_string()));
                }
                (
                    format!("chat {model}"),
                    usage.total_ms,
                    SpanKind::Client,
                    attributes,
                    false,
                )
            }
            Event::ModelFailed { .. } => {
                let operation = KeyValue::new("gen_ai.operation.name", "chat");
                (
                    "chat".to_owned(),
                    0,
                    SpanKind::Client,
                    vec![operation],
                    true,
                )
            }
            Event::ToolFinished {
                call,
                tool,
                outcome,
                ms,
                ..
            } => {
                let attributes = vec![
                    KeyValue::new("gen_ai.operation.name", "execute_tool"),
                    KeyValue::new("gen_ai.tool.name", tool.clone()),
                    KeyValue::new("gen_ai.tool.call.id", call.to_string()),
                ];
                let failed = !matches!(outcome, CallOutcome::Done { .. });
                (
                    format!("execute_tool {tool}"),
                    *ms,
                    SpanKind::Internal,
                    attributes,
                    failed,
                )
            }
            _ => return None,
        };
        let start = end.checked_sub(Duration::from_millis(ms)).unwrap_or(end);
        let ids = (self.trace, made_of(entry.run, entry.seq, "entry"));
        let mut span = span(ids, self.own, name, (start, end));
        span.span_kind = kind;
        span.attributes = attributes;
        span.attributes
            .push(KeyValue::new("gpak.entry", entry.seq as i64));
        if failed {
            span.status = Status::error("");
        }
        Some(span)
    }
}

fn span(
    (trace, own): (TraceId, SpanId),
    parent: SpanId,
    name: String,
    (start_time, end_time): (SystemTime, SystemTime),
) -> SpanData {
    let state = TraceState::default();
    SpanData {
        span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, state),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time,
        end_time,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("gpak")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// Always the same for the same part of a run, so that an entry that is told twice is one span.
fn made_of(run: RunId, seq: u64, what: &str) -> SpanId {
    let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-26 span id");
    hasher.update(run.to_string().as_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(what.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    SpanId::from_bytes(bytes)
}

fn trace_id(hex: &str) -> TraceId {
    TraceId::from_hex(hex).unwrap_or(TraceId::INVALID)
}

fn span_id(hex: &str) -> SpanId {
    SpanId::from_hex(hex).unwrap_or(SpanId::INVALID)
}
