//! A request that a client sends again because it saw no answer is not a second one.
//!
//! OpenAI's own clients do that silently, up to twice, and say so in `x-stainless-retry-count`; others may
//! send an `Idempotency-Key`. Either way the run that a request makes is decided, and written down, before
//! it is made.

use axum::http::HeaderMap;
use gpak_kernel::event::RunId;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::serve::{
    House,
    access::{Who, once::Once},
    db::now,
    problem::{Answered, Problem},
};

/// Seconds within which a request that says it is a retry is one.
const RECENT: i64 = 15 * 60;

/// The run that this request makes: the same as before, if it came before.
pub async fn run_of(
    house: &House,
    who: &Who,
    headers: &HeaderMap,
    (path, body): (&'static str, &[u8]),
) -> Answered<RunId> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes()).update(&[0]).update(body);
    let fingerprint = *hasher.finalize().as_bytes();
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = said("idempotency-key").map(str::to_owned);
    let again = said("x-stainless-retry-count").and_then(|count| count.parse::<u32>().ok());
    let is_retry = key.is_some() || again.is_some_and(|count| count > 0);
    let run = match &key {
        Some(key) => Once::of(&who.name, key).0,
        None => RunId::random(),
    };
    let name = match &key {
        Some(key) => format!("v1:{key}"),
        None => format!("sdk:{}", blake3::Hash::from_bytes(fingerprint).to_hex()),
    };
    let user = who.name.clone();
    let decide = move |transaction: &Transaction<'_>| {
        let known = transaction.query_row(
            "SELECT fingerprint, kind FROM once WHERE user = ?1 AND key = ?2 AND created > ?3",
            params![user, name, now() - RECENT],
            |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?)),
        );
        if is_retry && let Some((asked, run)) = known.optional()? {
            return Ok((asked == fingerprint).then_some(run));
        }
        transaction.execute(
            "INSERT INTO once (user, key, fingerprint, boot, kind, created)
             VALUES (?1, ?2, ?3, '', ?4, ?5)
             ON CONFLICT (user, key) DO UPDATE SET
             fingerprint = excluded.fingerprint, kind = excluded.kind, created = excluded.created",
            params![user, name, fingerprint, run.to_string(), now()],
        )?;
        Ok(Some(run.to_string()))
    };
    match house.store.write(decide).await? {
        Some(run) => run.parse().map_err(Problem::internal),
        None => Err(Problem::unprocessable(
            "another request was made with this Idempotency-Key",
        )),
    }
}
