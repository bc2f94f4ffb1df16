//! What the service counts, as Prometheus reads it.

use std::{sync::atomic::AtomicU64, time::Duration};

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, Outcome},
    run::Ended,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Upper bounds of the buckets of times, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0,
];

/// A word that tells counts apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    tool: String,
    outcome: &'static str,
}

type Times = Family<By, Histogram, fn() -> Histogram>;

/// The counts.
pub struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter>,
    request_seconds: Times,
    refused: Family<By, Counter>,
    created: Counter,
    ended: Family<By, Counter>,
    replies: Family<By, Counter>,
    failures: Counter,
    tokens: Family<By, Counter>,
    cost: Counter<f64, AtomicU64>,
    calls: Family<Called, Counter>,
    reply_seconds: Times,
    call_seconds: Times,
    queued: Gauge,
    driven: Gauge,
    watchers: Gauge,
    deliveries: Family<By, Counter>,
}

fn times() -> Times {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("gpak"),
            requests: Family::default(),
            request_seconds: times(),
            refused: Family::default(),
            created: Counter::default(),
            ended: Family::default(),
            replies: Family::default(),
            failures: Counter::default(),
            tokens: Family::default(),
            cost: Counter::default(),
            calls: Family::default(),
            reply_seconds: times(),
            call_seconds: times(),
            queued: Gauge::default(),
            driven: Gauge::default(),
            watchers: Gauge::default(),
            deliveries: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let seconds = || Unit::Seconds;
        registry.register(
            "requests",
            "Requests, by what they came to",
            self.requests.clone(),
        );
        let times = self.request_seconds.clone();
        registry.register_with_unit("request", "Times to answer", seconds(), times);
        registry.register(
            "refused",
            "Requests that were turned away",
            self.refused.clone(),
        );
        registry.register(
            "runs_created",
            "Runs that were created",
            self.created.clone(),
        );
        registry.register(
            "drives_ended",
            "How drives of runs ended",
            self.ended.clone(),
        );
        registry.register("steps", "Replies of models", self.replies.clone());
        registry.register(
            "model_failures",
            "Replies that failed",
            self.failures.clone(),
        );
        registry.register("tokens", "Tokens sent and replied", self.tokens.clone());
        registry.register("cost_dollars", "US dollars spent", self.cost.clone());
        registry.register("tool_calls", "Calls of tools", self.calls.clone());
        let times = self.reply_seconds.clone();
        registry.register_with_unit("reply", "Times that models took", seconds(), times);
        let times = self.call_seconds.clone();
        registry.register_with_unit("tool_call", "Times that calls took", seconds(), times);
        registry.register("queue", "Runs that wait for a driver", self.queued.clone());
        registry.register("driven", "Runs that have a driver", self.driven.clone());
        let sent = self.deliveries.clone();
        registry.register("webhooks", "Attempts to send webhooks", sent);
        registry.register("watchers", "Streams that are open", self.watchers.clone());
    }

    /// A webhook was sent, and arrived or did not.
    pub fn delivered(&self, arrived: bool) {
        let by = if arrived { "arrived" } else { "failed" };
        let by = by.to_owned();
        self.deliveries.get_or_create(&By { by }).inc();
    }

    /// A request was answered.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        self.requests
            .get_or_create(&Asked {
                method: method.to_owned(),
                route: route.to_owned(),
                status,
            })
            .inc();
        let by = route.to_owned();
        self.request_seconds
            .get_or_create(&By { by })
            .observe(took.as_secs_f64());
    }

    /// A request was turned away.
    pub fn refused(&self, by: &str) {
        let by = by.to_owned();
        self.refused.get_or_create(&By { by }).inc();
    }

    /// A run was created.
    pub fn created(&self) {
        self.created.inc();
    }

    /// A driver let its run go.
    pub fn let_go(&self, ended: &Ended) {
        let by = match ended {
            Ended::Finished(Outcome::Completed { .. }) => "completed",
            Ended::Finished(Outcome::Failed { .. }) => "failed",
            Ended::Finished(Outcome::Cancelled) => "cancelled",
            Ended::Paused(_) => "waits",
        };
        let by = by.to_owned();
        self.ended.get_or_create(&By { by }).inc();
    }

    /// An entry was appended.
    pub fn entry(&self, entry: &Entry) {
        match &entry.event {
            Event::ModelReplied { reply } => {
                let by = |by: &str| By { by: by.to_owned() };
                let model = By {
                    by: reply.model.clone(),
                };
                self.replies.get_or_create(&model).inc();
                let took = Duration::from_millis(reply.usage.total_ms);
                self.reply_seconds
                    .get_or_create(&model)
                    .observe(took.as_secs_f64());
                let usage = &reply.usage;
                self.tokens.get_or_create(&by("input")).inc_by(usage.input);
                self.tokens
                    .get_or_create(&by("cached"))
                    .inc_by(usage.cached);
                self.tokens
                    .get_or_create(&by("output"))
                    .inc_by(usage.output);
                self.cost.inc_by(usage.cost.max(0.0));
            }
            Event::ModelFailed { .. } => {
                self.failures.inc();
            }
            Event::ToolFinished {
                tool, outcome, ms, ..
            } => {
                let outcome = match outcome {
                    CallOutcome::Done { .. } => "done",
                    CallOutcome::Failed { .. } => "failed",
                    CallOutcome::Refused { .. } => "refused",
                    CallOutcome::Unknown { .. } => "unknown",
                };
                // What a model makes up is no name to count by.
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let known = tool.len() <= 64 && tool.chars().all(is_name);
                let tool = if known {
                    tool.clone()
                } else {
                    "other".to_owned()
                };
                let took = Duration::from_millis(*ms);
                let by = By { by: tool.clone() };
                self.calls.get_or_create(&Called { tool, outcome }).inc();
                self.call_seconds
                    .get_or_create(&by)
                    .observe(took.as_secs_f64());
            }
            _ => {}
        }
    }

    /// A stream is open as long as this is held.
    pub fn watcher(&self) -> Watcher {
        self.watchers.inc();
        Watcher(self.watchers.clone())
    }

    /// All of it, as text.
    pub fn text(&self, (queued, driven): (usize, usize)) -> Result<String, std::fmt::Error> {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.queued.set(number(queued));
        self.driven.set(number(driven));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// An open stream.
pub struct Watcher(Gauge);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.dec();
    }
}
