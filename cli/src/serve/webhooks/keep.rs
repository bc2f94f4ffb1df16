//! Webhooks and what is to be sent to them, in the service's store.

use std::collections::HashMap;

use gpak_kernel::event::RunId;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use utoipa::ToSchema;

use crate::serve::db::{Store, Stored, now};

/// An address that is told of runs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What it is told.
    pub events: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    #[serde(skip)]
    pub(super) secret: String,
}

/// Something that was, or is to be, sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id, which the receiver is told too.
    pub id: String,
    /// `pending`, `delivered`, or `dead` if it was given up.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, in seconds since 1970.
    pub due: i64,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is sent.
    pub body: String,
    #[serde(skip)]
    pub(super) webhook: String,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let events: String = row.get(2)?;
    Ok(Webhook {
        id: row.get(0)?,
        url: row.get(1)?,
        events: events.split(' ').map(str::to_owned).collect(),
        created: row.get(3)?,
        secret: row.get(4)?,
    })
}

/// All webhooks, the oldest first.
pub fn list(store: &Store) -> Stored<Vec<Webhook>> {
    store.read(|connection| {
        connection
            .prepare_cached(
                "SELECT id, url, events, created, secret FROM webhooks ORDER BY created, id",
            )?
            .query_map([], read)?
            .collect()
    })
}

/// Adds one.
pub async fn add(
    store: &Store,
    (id, secret): (String, String),
    url: String,
    events: Vec<String>,
) -> Stored<()> {
    let add = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "INSERT INTO webhooks (id, url, events, secret, created) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, url, events.join(" "), secret, now()],
        )
    };
    store.write(add).await.map(drop)
}

/// Removes one, with all that was to be sent to it. False if there is none.
pub async fn remove(store: &Store, id: String) -> Stored<bool> {
    let remove = move |transaction: &Transaction<'_>| {
        Ok(transaction.execute("DELETE FROM webhooks WHERE id = ?1", [id])? == 1)
    };
    store.write(remove).await
}

/// How far each webhook was told of each run.
pub(super) fn seen(store: &Store) -> Stored<HashMap<(String, String), u64>> {
    store.read(|connection| {
        connection
            .prepare_cached("SELECT webhook, run, seq FROM webhook_seen")?
            .query_map([], |row| {
                let seq: i64 = row.get(2)?;
                Ok(((row.get(0)?, row.get(1)?), seq.cast_unsigned()))
            })?
            .collect()
    })
}

/// How far a webhook was told of a run.
pub(super) fn seen_of(store: &Store, webhook: &str, run: RunId) -> Stored<u64> {
    store.read(|connection| {
        let seen = connection
            .prepare_cached("SELECT seq FROM webhook_seen WHERE webhook = ?1 AND run = ?2")?
            .query_row(params![webhook, run.to_string()], |row| {
                row.get::<_, i64>(0)
            });
        Ok(seen.optional()?.unwrap_or(0).cast_unsigned())
    })
}

/// Writes down what is to be sent, and how far was looked.
pub(super) async fn note(
    store: &Store,
    webhook: &str,
    run: RunId,
    seq: u64,
    messages: Vec<(u64, String)>,
) -> Stored<()> {
    let webhook = webhook.to_owned();
    let note = move |transaction: &Transaction<'_>| {
        let run = run.to_string();
        for (number, body) in messages {
            // The same entry is the same message, however often it is looked at.
            let id = format!("msg_{webhook}_{run}_{number}");
            transaction.execute(
                "INSERT INTO deliveries (id, webhook, body, state, attempts, due, created)
                 VALUES (?1, ?2, ?3, 'pending', 0, ?4, ?4) ON CONFLICT DO NOTHING",
                params![id, webhook, body, now()],
            )?;
        }
        transaction.execute(
            "INSERT INTO webhook_seen (webhook, run, seq)
             SELECT id, ?2, ?3 FROM webhooks WHERE id = ?1
             ON CONFLICT (webhook, run) DO UPDATE SET seq = max(seq, excluded.seq)",
            params![webhook, run, seq.cast_signed()],
        )
    };
    store.write(note).await.map(drop)
}

const COLUMNS: &str = "id, state, attempts, due, error, body, webhook";

fn read_delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get(0)?,
        state: row.get(1)?,
        attempts: row.get(2)?,
        due: row.get(3)?,
        error: row.get(4)?,
        body: row.get(5)?,
        webhook: row.get(6)?,
    })
}

/// What was, or is to be, sent to a webhook, the latest first.
pub fn deliveries(store: &Store, webhook: &str, limit: usize) -> Stored<Vec<Delivery>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    store.read(|connection| {
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE webhook = ?1 ORDER BY created DESC, id LIMIT ?2"
        );
        let mut select = connection.prepare_cached(&sql)?;
        select
            .query_map(params![webhook, limit], read_delivery)?
            .collect()
    })
}

/// Tries again what was given up, or is not due yet. False if there is no such delivery.
pub async fn retry(store: &Store, webhook: String, id: String) -> Stored<bool> {
    let retry = move |transaction: &Transaction<'_>| {
        let changed = transaction.execute(
            "UPDATE deliveries SET state = 'pending', attempts = 0, due = ?3
             WHERE webhook = ?1 AND id = ?2 AND state <> 'delivered'",
            params![webhook, id, now()],
        )?;
        Ok(changed == 1)
    };
    store.write(retry).await
}

/// What is to be sent now, and when there will be something if there is nothing.
pub(super) fn due(store: &Store, limit: usize) -> Stored<(Vec<Delivery>, Option<i64>)> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    store.read(|connection| {
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE state = 'pending' AND due <= ?1 ORDER BY due LIMIT ?2"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let due: rusqlite::Result<Vec<_>> =
            select.query_map(params![now(), limit], read_delivery)?.collect();
        let next = connection
            .prepare_cached("SELECT min(due) FROM deliveries WHERE state = 'pending' AND due > ?1")?
            .query_row([now()], |row| row.get(0))?;
        Ok((due?, next))
    })
}

/// Writes down what became of an attempt: delivered, to be tried at a time, or given up.
pub(super) async fn tried(
    store: &Store,
    id: String,
    became: Result<(), (String, Option<i64>)>,
) -> Stored<()> {
    let tried = move |transaction: &Transaction<'_>| {
        let (state, error, due) = match became {
            Ok(()) => ("delivered", None, None),
            Err((why, Some(due))) => ("pending", Some(why), Some(due)),
            Err((why, None)) => ("dead", Some(why), None),
        };
        transaction.execute(
            "UPDATE deliveries SET state = ?2, error = ?3, due = coalesce(?4, due),
             attempts = attempts + 1 WHERE id = ?1",
            params![id, state, error, due],
        )?;
        // What was delivered long ago is of no more interest.
        transaction.execute(
            "DELETE FROM deliveries WHERE state = 'delivered' AND created < ?1",
            [now() - 7 * 24 * 3600],
        )
    };
    store.write(tried).await.map(drop)
}
