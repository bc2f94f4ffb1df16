//! Long random secrets that stand for a user: API keys, a browser's session, and links that open one.
//! Only their hashes are kept; as they are random, a fast hash does.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Role, Who, users, who::bounded};
use crate::{
    failure::Failure,
    serve::db::{self, Store, Stored, now},
};

/// What every secret begins with, so that people and scanners know what they have found.
pub const PREFIX: &str = "gpak_";

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Programs send it with each request.
    Key,
    /// A browser has it as a cookie.
    Session,
    /// It is good for one session or login.
    Link,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Session => "session",
            Self::Link => "link",
        }
    }
}

/// What is known of a key; the key itself is not.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct KeyInfo {
    /// Its id.
    pub id: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// What it allows, if the user may do as much.
    pub role: Role,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// When it ends, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
}

/// Makes a secret for a user, and gives its id and itself. It is shown this once.
pub async fn make(
    store: &Store,
    (user, kind): (i64, Kind),
    (name, role): (String, Role),
    lifetime: Option<Duration>,
) -> Result<(String, String), Failure> {
    let secret = format!("{PREFIX}{}", db::random()?);
    let id: String = db::random()?.chars().take(12).collect();
    let expires = lifetime.map(|lifetime| {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        now().saturating_add(seconds)
    });
    let (hash, made) = (hash(&secret), id.clone());
    let insert = move |transaction: &rusqlite::Transaction<'_>| {
        transaction.execute(
            "DELETE FROM keys WHERE kind <> 'key' AND expires < ?1",
            [now()],
        )?;
        transaction.execute(
            "INSERT INTO keys (id, hash, kind, user, name, role, created, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![made, hash, kind.as_str(), user, name, role, now(), expires],
        )
    };
    store.write(insert).await?;
    Ok((id, secret))
}

/// Whose secret it is, if it counts.
pub fn find(store: &Store, secret: &str, kind: Kind) -> Stored<Option<Who>> {
    let hash = hash(secret);
    store.read(|connection| {
        let found = connection
            .prepare_cached(
                "SELECT user, role FROM keys WHERE hash = ?1 AND kind = ?2 AND revoked IS NULL
                 AND (expires IS NULL OR expires > ?3)",
            )?
            .query_row(params![hash, kind.as_str(), now()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            });
        let Some((user, role)) = found.optional()? else {
            return Ok(None);
        };
        let user = users::by_id(connection, user)?;
        Ok(user.map(|user| bounded(&user, role)))
    })
}

/// Whose link it is; it counts no more afterwards.
pub async fn spend(store: &Store, secret: &str) -> Stored<Option<Who>> {
    let hash = hash(secret);
    let spent = move |transaction: &rusqlite::Transaction<'_>| {
        let found = transaction.query_row(
            "DELETE FROM keys WHERE hash = ?1 AND kind = 'link' AND expires > ?2
             RETURNING user, role",
            params![hash, now()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        );
        let Some((user, role)) = found.optional()? else {
            return Ok(None);
        };
        let user = users::by_id(transaction, user)?;
        Ok(user.map(|user| bounded(&user, role)))
    };
    store.write(spent).await
}

/// The API keys of that user, or of all, newest first.
pub fn list(store: &Store, user: Option<&str>) -> Stored<Vec<KeyInfo>> {
    let read = |row: &Row<'_>| {
        Ok(KeyInfo {
            id: row.get(0)?,
            name: row.get(1)?,
            user: row.get(2)?,
            role: row.get(3)?,
            created: row.get(4)?,
            expires: row.get(5)?,
            revoked: row.get(6)?,
        })
    };
    store.read(|connection| {
        connection
            .prepare_cached(
                "SELECT keys.id, keys.name, users.name, keys.role, keys.created, expires, revoked
                 FROM keys JOIN users ON users.id = keys.user
                 WHERE kind = 'key' AND (?1 IS NULL OR users.name = ?1)
                 ORDER BY keys.created DESC, keys.id",
            )?
            .query_map([user], read)?
            .collect()
    })
}

/// Ends an API key, of that user if one is given. False if there is none of that id that counts.
pub async fn revoke(store: &Store, id: String, user: Option<i64>) -> Stored<bool> {
    let revoke = move |transaction: &rusqlite::Transaction<'_>| {
        let revoked = transaction.execute(
            "UPDATE keys SET revoked = ?2 WHERE id = ?1 AND kind = 'key' AND revoked IS NULL
             AND (?3 IS NULL OR user = ?3)",
            params![id, now(), user],
        )?;
        Ok(revoked == 1)
    };
    store.write(revoke).await
}

fn hash(secret: &str) -> [u8; 32] {
    *blake3::hash(secret.as_bytes()).as_bytes()
}
