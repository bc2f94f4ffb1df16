//! Tells others what becomes of runs, by requests to addresses that an admin gave.
//!
//! ```text
//!   entry ──► journal ──► notice: which entries of the run were not looked at yet?
//!                            │ one transaction: what is to be sent, and how far was looked
//!                            ▼
//!                        deliveries ──► send, again and again with longer pauses ──► delivered
//!                                                                      └── in the end ──► dead
//! ```
//!
//! What is to be told is read from the journal, and how far that was done is written down with it: so a
//! service that dies in between tells it when it is back. A receiver may be told twice, and knows it by
//! the id. Each is signed as Standard Webhooks has it (HMAC-SHA-256 over id, time and body).

mod keep;
mod send;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use gpak_kernel::{
    entry::Entry,
    event::{Event, Outcome, RunId},
    journal::RunFilter,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{House, problem::Answered};

pub use keep::{Delivery, Webhook, add, deliveries, list, remove, retry};

/// What can be told of a run.
pub const EVENTS: [&str; 5] = [
    "run.created",
    "run.waiting",
    "run.completed",
    "run.failed",
    "run.cancelled",
];

/// Runs of which there may be something to tell.
#[derive(Default)]
pub struct Notices {
    runs: Mutex<BTreeSet<RunId>>,
    new: Notify,
}

impl Notices {
    /// An entry was appended.
    pub fn entry(&self, entry: &Entry) {
        if told(&entry.event).is_some() {
            self.look_at(entry.run);
        }
    }

    /// There may be something to tell of that run.
    pub fn look_at(&self, run: RunId) {
        self.lock().insert(run);
        self.new.notify_one();
    }

    async fn taken(&self) -> BTreeSet<RunId> {
        loop {
            let runs = std::mem::take(&mut *self.lock());
            if !runs.is_empty() {
                return runs;
            }
            self.new.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of an event, if anything is.
fn told(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::RunCreated { spec } => ("run.created", json!({"task": spec.task})),
        Event::RunPaused { reason } => ("run.waiting", json!({"reason": reason})),
        Event::RunFinished { outcome } => match outcome {
            Outcome::Completed { answer } => ("run.completed", json!({"answer": answer})),
            Outcome::Failed { reason } => ("run.failed", json!({"reason": reason})),
            Outcome::Cancelled => ("run.cancelled", json!({})),
        },
        _ => return None,
    })
}

/// Notices and sends, until the service stops.
pub async fn run(house: House) {
    let looked = async {
        if let Err(why) = catch_up(&house).await {
            tracing::error!("webhooks may miss something: {}", why.detail);
        }
        loop {
            for run in house.notices.taken().await {
                if let Err(why) = notice(&house, run).await {
                    tracing::error!(%run, "webhooks are not told: {}", why.detail);
                }
            }
        }
    };
    tokio::select! {
        () = looked => {}
        () = send::send(&house) => {}
        () = house.stop.cancelled() => {}
    }
}

/// Looks at the runs that went on while nobody looked.
async fn catch_up(house: &House) -> Answered<()> {
    let seen = keep::seen(&house.store)?;
    let webhooks = keep::list(&house.store)?;
    if webhooks.is_empty() {
        return Ok(());
    }
    for summary in house.work.journal().runs(&RunFilter::default()).await? {
        let run = summary.run;
        let behind = |webhook: &Webhook| {
            let last = seen.get(&(webhook.id.clone(), run.to_string()));
            let is_new = summary.updated.as_second() >= webhook.created;
            is_new && last.is_none_or(|last| *last < summary.entries)
        };
        if webhooks.iter().any(behind) {
            house.notices.look_at(run);
        }
    }
    Ok(())
}

/// Writes down what is to be told of a run, and that it was looked at so far.
async fn notice(house: &House, run: RunId) -> Answered<()> {
    let webhooks = keep::list(&house.store)?;
    if webhooks.is_empty() {
        return Ok(());
    }
    let entries = house.work.journal().read(run, 1).await?;
    for webhook in webhooks {
        let last = keep::seen_of(&house.store, &webhook.id, run)?;
        let new = entries.iter().filter(|entry| {
            // What happened before there was a webhook is not told to it.
            entry.seq > last && entry.time.as_second() >= webhook.created
        });
        let messages = new.filter_map(|entry| {
            let (kind, data) = told(&entry.event)?;
            let is_wanted = webhook.events.iter().any(|event| event == kind);
            is_wanted.then(|| message(entry, kind, data))
        });
        let messages: Vec<_> = messages.collect();
        let seq = entries.last().map_or(0, |entry| entry.seq);
        keep::note(&house.store, &webhook.id, run, seq, messages).await?;
    }
    house.deliveries.notify_one();
    Ok(())
}

/// What is sent: its number in the run, and its text.
fn message(entry: &Entry, kind: &str, data: Value) -> (u64, String) {
    let mut all = json!({"run": entry.run, "entry": entry.seq});
    if let (Some(all), Value::Object(data)) = (all.as_object_mut(), data) {
        all.extend(data);
    }
    let body = json!({"type": kind, "timestamp": entry.time, "data": all});
    (entry.seq, body.to_string())
}
