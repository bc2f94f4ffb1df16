//! Who may do what: users and their roles, passwords, API keys, access and refresh tokens.
//!
//! ```text
//!   password ──► POST /auth/login ──► access token (15 minutes) + refresh token (30 days)
//!                POST /auth/refresh ◄──────── rotates; one used twice ends its family
//!   API key ────► Authorization: Bearer gpak_…
//!   one-time link ──► GET /login ──► a session cookie of the browser
//!                        │
//!                        ▼
//!                  Who { name, role } ──► handlers
//! ```
//!
//! Every credential is looked up on every request, so that one that is revoked ends at once.

pub mod jwt;
pub mod keys;
pub mod limits;
pub mod login;
pub mod once;
pub mod tokens;
pub mod users;
pub mod who;

pub use who::Who;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do. Each may do what those before may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at runs
    Viewer,
    /// Starts runs, answers them, decides on what they ask for
    Operator,
    /// Manages users and keys, and overrides
    Admin,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl rusqlite::ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl rusqlite::types::FromSql for Role {
    fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        let text = value.as_str()?;
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(rusqlite::types::FromSqlError::InvalidType)
    }
}
