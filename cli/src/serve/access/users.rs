//! Users, in the service's own store.

use std::sync::OnceLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use utoipa::ToSchema;

use super::Role;
use crate::{
    failure::Failure,
    serve::db::{self, Store, Stored, now},
};

/// Characters that a password has at least.
const SHORTEST: usize = 10;
/// Bytes that a password has at most: hashing more only costs time.
pub const LONGEST: usize = 1024;

/// Somebody who may use the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// Its number.
    #[serde(skip)]
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Whether it can log in with a password.
    pub password: bool,
}

const COLUMNS: &str = "id, name, role, created, password IS NOT NULL";

fn read(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        created: row.get(3)?,
        password: row.get(4)?,
    })
}

/// All users, by name.
pub fn list(store: &Store) -> Stored<Vec<User>> {
    store.read(|connection| {
        let sql = format!("SELECT {COLUMNS} FROM users ORDER BY name");
        connection
            .prepare_cached(&sql)?
            .query_map([], read)?
            .collect()
    })
}

/// The user of that name.
pub fn named(store: &Store, name: &str) -> Stored<Option<User>> {
    store.read(|connection| by(connection, "name", &name))
}

/// The user whose number that is.
pub(super) fn by_id(connection: &Connection, id: i64) -> rusqlite::Result<Option<User>> {
    by(connection, "id", &id)
}

fn by(
    connection: &Connection,
    column: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Option<User>> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE {column} = ?1");
    connection
        .prepare_cached(&sql)?
        .query_row([value], read)
        .optional()
}

/// Makes a user. Blocks while the password is hashed.
pub fn add(store: &Store, name: &str, role: Role, password: Option<&str>) -> Result<User, Failure> {
    if !is_name(name) {
        return Err(Failure::usage(format!("`{name}` is no name for a user"))
            .help("a name has 1 to 64 letters, digits, `.`, `_`, `-` and `@`"));
    }
    let hash = password.map(hash).transpose()?;
    let made = store.write_now(|transaction| {
        let made = transaction.execute(
            "INSERT INTO users (name, role, password, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO NOTHING",
            params![name, role, hash, now()],
        )?;
        Ok((made == 1).then(|| transaction.last_insert_rowid()))
    })?;
    let taken = || {
        Failure::usage(format!("there is a user {name} already"))
            .help("`gpak serve users list` shows them")
    };
    let id = made.ok_or_else(taken)?;
    Ok(User {
        id,
        name: name.to_owned(),
        role,
        created: now(),
        password: hash.is_some(),
    })
}

/// The admin of a service that has no users yet, who is made now; nobody, if there are some.
pub fn first(store: &Store) -> Result<Option<User>, Failure> {
    let made = store.write_now(|transaction| {
        let made = transaction.execute(
            "INSERT INTO users (name, role, created)
             SELECT 'admin', ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM users)",
            params![Role::Admin, now()],
        )?;
        Ok(made == 1)
    })?;
    match made {
        true => Ok(named(store, "admin")?),
        false => Ok(None),
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

/// Gives a user another password, and ends its sessions. False if there is no such user.
pub fn set_password(store: &Store, name: &str, password: &str) -> Result<bool, Failure> {
    let hash = hash(password)?;
    Ok(store.write_now(|transaction| {
        let changed = transaction.execute(
            "UPDATE users SET password = ?2 WHERE name = ?1",
            params![name, hash],
        )?;
        transaction.execute(
            "DELETE FROM families WHERE user = (SELECT id FROM users WHERE name = ?1)",
            [name],
        )?;
        Ok(changed == 1)
    })?)
}

/// Removes a user with all its keys and sessions. False if there is none of that name.
pub fn remove(store: &Store, name: &str) -> Result<bool, Failure> {
    Ok(store.write_now(|transaction| {
        Ok(transaction.execute("DELETE FROM users WHERE name = ?1", [name])? == 1)
    })?)
}

fn hash(password: &str) -> Result<String, Failure> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(Failure::usage(format!(
            "a password has {SHORTEST} characters at least and {LONGEST} bytes at most"
        )));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    let hash = hash.map_err(|why| Failure::new(format!("the password cannot be hashed: {why}")))?;
    Ok(hash.to_string())
}

/// The user of that name, if the password is right. Takes as long where there is no such user, so that
/// names cannot be guessed by the time it takes. Blocks.
pub fn verify(store: &Store, name: &str, password: &str) -> Stored<Option<User>> {
    /// Of a password that nobody knows.
    static NOBODY: OnceLock<String> = OnceLock::new();
    let nobody = NOBODY.get_or_init(|| {
        let hash = db::random().and_then(|secret| hash(&secret));
        hash.unwrap_or_default()
    });
    let found = store.read(|connection| {
        connection
            .prepare_cached("SELECT password FROM users WHERE name = ?1")?
            .query_row([name], |row| row.get::<_, Option<String>>(0))
            .optional()
    })?;
    let known = found.flatten();
    let hash = PasswordHash::new(known.as_deref().unwrap_or(nobody));
    let right = hash.is_ok_and(|hash| {
        let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
        verified.is_ok()
    });
    if !right || known.is_none() {
        return Ok(None);
    }
    named(store, name)
}
