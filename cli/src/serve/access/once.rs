//! Requests that are made once, however often they are sent: those with an `Idempotency-Key`.
//!
//! The answer is kept for a day and given again. A request that is being answered is told so (409), one
//! that says something else under the same key is refused (422). What a dead service left half done is
//! done again, by the same run id, so that it is the same run: see [`Once`].

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use gpak_kernel::event::RunId;
use rusqlite::{OptionalExtension, Transaction, params};

use super::Who;
use crate::serve::{House, db::now, problem::Problem};

/// Seconds that an answer is kept.
const KEPT: i64 = 24 * 3600;
/// Bytes of an answer that is kept.
const LARGEST: usize = 4 * 1024 * 1024;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The run that a request with a key makes, if it makes one: always the same for the same key.
#[derive(Debug, Clone, Copy)]
pub struct Once(pub RunId);

impl Once {
    /// That of a user's key.
    pub fn of(user: &str, key: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-26 idempotent run");
        for part in [user, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut bits = [0; 16];
        hasher.finalize_xof().fill(&mut bits);
        Self(RunId::from_u128(u128::from_le_bytes(bits)))
    }
}

/// What is known of a key.
enum Known {
    /// Nothing, or what a dead service left: it is to be done.
    New,
    /// It is being done.
    InFlight,
    /// Something else was asked under it.
    Other,
    /// It was done, and this was the answer.
    Done(u16, String, Vec<u8>),
}

/// Makes requests with a key once.
pub async fn once(State(house): State<House>, request: Request, next: Next) -> Response {
    let key = request.headers().get(&KEY).cloned();
    // Those of OpenAI's protocol may be answered by streams, and see to it themselves.
    let is_native = !request.uri().path().starts_with("/v1/");
    let (Some(key), &Method::POST, true) = (key, request.method(), is_native) else {
        return next.run(request).await;
    };
    let Some(who) = request.extensions().get::<Who>().cloned() else {
        return next.run(request).await;
    };
    let key = match key.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => key.to_owned(),
        _ => {
            let problem = Problem::bad("the Idempotency-Key is no text of 1 to 255 characters");
            return problem.into_response();
        }
    };
    // On its own, so that it is finished and its answer kept even if the client goes away.
    let done = tokio::spawn(answer(house, who, key, request, next)).await;
    match done {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(why) => Problem::internal(why).into_response(),
    }
}

async fn answer(
    house: House,
    who: Who,
    key: String,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await;
    let body = body.map_err(|why| Problem::bad(format!("the body cannot be read: {why}")))?;
    let fingerprint = fingerprint(&parts.method, &parts.uri.to_string(), &body);
    match begin(&house, &who, &key, fingerprint).await? {
        Known::New => {}
        Known::Done(status, kind, body) => return Ok(again(status, &kind, body)),
        Known::InFlight => {
            let what = "the same request is being answered";
            return Err(Problem::conflict(what)
                .help("ask again in a moment")
                .after(1));
        }
        Known::Other => {
            return Err(Problem::unprocessable(
                "another request was made with this Idempotency-Key",
            )
            .help("take a fresh key for each request"));
        }
    }
    parts.extensions.insert(Once::of(&who.name, &key));
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    keep(&house, &who, key, response).await
}

fn fingerprint(method: &Method, uri: &str, body: &Bytes) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [method.as_str().as_bytes(), uri.as_bytes(), body] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

async fn begin(
    house: &House,
    who: &Who,
    key: &str,
    fingerprint: [u8; 32],
) -> Result<Known, Problem> {
    let (user, key, boot) = (who.name.clone(), key.to_owned(), house.boot.clone());
    let begin = move |transaction: &Transaction<'_>| {
        transaction.execute("DELETE FROM once WHERE created < ?1", [now() - KEPT])?;
        let known = transaction.query_row(
            "SELECT fingerprint, boot, status, kind, body FROM once WHERE user = ?1 AND key = ?2",
            params![user, key],
            |row| {
                let asked: [u8; 32] = row.get(0)?;
                if asked != fingerprint {
                    return Ok(Known::Other);
                }
                let status: Option<u16> = row.get(2)?;
                Ok(match status {
                    Some(status) => Known::Done(status, row.get(3)?, row.get(4)?),
                    None if row.get::<_, String>(1)? == boot => Known::InFlight,
                    None => Known::New,
                })
            },
        );
        let known = known.optional()?;
        if matches!(known, None | Some(Known::New)) {
            transaction.execute(
                "INSERT INTO once (user, key, fingerprint, boot, created)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (user, key) DO UPDATE SET boot = excluded.boot",
                params![user, key, fingerprint, boot, now()],
            )?;
        }
        Ok(known.unwrap_or(Known::New))
    };
    Ok(house.store.write(begin).await?)
}

/// Keeps an answer; not one that says that it was not done, so that it can be tried again.
async fn keep(
    house: &House,
    who: &Who,
    key: String,
    response: Response,
) -> Result<Response, Problem> {
    let status = response.status();
    let user = who.name.clone();
    let in_vain = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT | StatusCode::UNAUTHORIZED
        );
    if in_vain {
        let forget = move |transaction: &Transaction<'_>| {
            let sql = "DELETE FROM once WHERE user = ?1 AND key = ?2";
            transaction.execute(sql, params![user, key])
        };
        house.store.write(forget).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, LARGEST).await.map_err(Problem::internal)?;
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (kind, kept) = (kind.to_owned(), body.to_vec());
    let keep = move |transaction: &Transaction<'_>| {
        transaction.execute(
            "UPDATE once SET status = ?3, kind = ?4, body = ?5 WHERE user = ?1 AND key = ?2",
            params![user, key, status.as_u16(), kind, kept],
        )
    };
    house.store.write(keep).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn again(status: u16, kind: &str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
