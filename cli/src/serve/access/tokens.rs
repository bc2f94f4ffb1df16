//! Access and refresh tokens: JWTs signed with a key that never leaves the service's store.
//!
//! A login begins a family of refresh tokens. Each refresh gives the next of the family and ends the one
//! before; one that comes again later is in other hands, and ends the whole family. A client whose answer
//! was lost asks again at once: within [`GRACE`] it gets the same token as before, and no harm is done.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Role, Who, jwt, users, who::bounded};
use crate::{
    failure::Failure,
    serve::{
        db::{self, Store, Stored, now},
        problem::Problem,
    },
};

/// How long an access token counts.
const ACCESS: Duration = Duration::from_secs(15 * 60);
/// How long a family lives.
const REFRESH: Duration = Duration::from_secs(30 * 24 * 3600);
/// Seconds within which a refresh that was answered before is answered again.
const GRACE: i64 = 10;

/// The key that tokens are signed with.
pub struct Signing {
    sign: EncodingKey,
    check: DecodingKey,
}

impl Signing {
    /// The key in the store, made the first time.
    pub fn open(store: &Store) -> Result<Self, Failure> {
        jwt::install();
        let fresh = db::random()?;
        let key: Vec<u8> = store.write_now(|transaction| {
            transaction.execute(
                "INSERT INTO secrets (name, value) VALUES ('jwt', ?1) ON CONFLICT DO NOTHING",
                [fresh.as_bytes()],
            )?;
            let sql = "SELECT value FROM secrets WHERE name = 'jwt'";
            transaction.query_row(sql, [], |row| row.get(0))
        })?;
        Ok(Self {
            sign: EncodingKey::from_secret(&key),
            check: DecodingKey::from_secret(&key),
        })
    }

    fn encode(&self, claims: &Claims) -> Result<String, Problem> {
        encode(&Header::new(Algorithm::HS256), claims, &self.sign).map_err(Problem::internal)
    }

    /// The claims of a token that counts and is for that.
    fn decode(&self, token: &str, kind: Kind) -> Option<Claims> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        let claims: Claims = decode(token, &self.check, &validation).ok()?.claims;
        (claims.kind == kind).then_some(claims)
    }
}

const ISSUER: &str = "gpak";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Access,
    Refresh,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The user's name, for people; what counts is the number.
    sub: String,
    user: i64,
    role: Role,
    kind: Kind,
    family: String,
    jti: String,
    exp: i64,
}

/// What a login and a refresh give.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Goes with each request, as `Authorization: Bearer`.
    pub access_token: String,
    /// Gets the next two.
    pub refresh_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds that the access token counts.
    pub expires_in: u64,
    /// What the access token allows.
    pub role: Role,
}

/// A family of refresh tokens, as it stands.
struct Family {
    id: String,
    user: i64,
    role: Role,
    current: String,
    expires: i64,
}

/// Begins a family for somebody who logged in.
pub async fn begin(store: &Store, signing: &Signing, who: &Who) -> Result<Tokens, Problem> {
    let family = Family {
        id: db::random()?,
        user: who.id,
        role: who.role,
        current: db::random()?,
        expires: later(REFRESH),
    };
    let tokens = family.tokens(signing, who)?;
    let begin = move |transaction: &Transaction<'_>| {
        transaction.execute("DELETE FROM families WHERE expires < ?1", [now()])?;
        transaction.execute(
            "INSERT INTO families (id, user, role, current, rotated, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                family.id,
                family.user,
                family.role,
                family.current,
                now(),
                family.expires
            ],
        )
    };
    store.write(begin).await?;
    Ok(tokens)
}

/// What a refresh comes to.
enum Turn {
    /// The next tokens, or those of a moment ago.
    Goes(Family, Who),
    /// The token was used before: the family is over.
    Reused(String),
    /// There is no such family, or it is over.
    Gone,
}

/// The next tokens of a family; with `role`, the access token allows no more than that.
pub async fn refresh(
    store: &Store,
    signing: &Signing,
    token: &str,
    role: Option<Role>,
) -> Result<Tokens, Problem> {
    let over = || Problem::unauthorized("the refresh token does not count").help("log in again");
    let claims = signing.decode(token, Kind::Refresh).ok_or_else(over)?;
    let next = db::random()?;
    let turn = move |transaction: &Transaction<'_>| turn(transaction, &claims, next);
    match store.write(turn).await? {
        Turn::Goes(family, mut who) => {
            if let Some(role) = role {
                who.needs(role)?;
                who.role = role;
            }
            family.tokens(signing, &who)
        }
        Turn::Reused(user) => {
            tracing::warn!(user, "a refresh token was used twice; its family is ended");
            Err(over())
        }
        Turn::Gone => Err(over()),
    }
}

fn turn(transaction: &Transaction<'_>, claims: &Claims, next: String) -> rusqlite::Result<Turn> {
    let found = transaction.query_row(
        "SELECT user, role, current, before, rotated, expires FROM families
         WHERE id = ?1 AND revoked IS NULL AND expires > ?2",
        params![claims.family, now()],
        |row| {
            let family = Family {
                id: claims.family.clone(),
                user: row.get(0)?,
                role: row.get(1)?,
                current: row.get(2)?,
                expires: row.get(5)?,
            };
            Ok((
                family,
                row.get::<_, Option<String>>(3)?,
                row.get::<_, i64>(4)?,
            ))
        },
    );
    let Some((mut family, before, rotated)) = found.optional()? else {
        return Ok(Turn::Gone);
    };
    let Some(user) = users::by_id(transaction, family.user)? else {
        return Ok(Turn::Gone);
    };
    let who = bounded(&user, family.role);
    if claims.jti == family.current {
        transaction.execute(
            "UPDATE families SET before = current, current = ?2, rotated = ?3 WHERE id = ?1",
            params![family.id, next, now()],
        )?;
        family.current = next;
        return Ok(Turn::Goes(family, who));
    }
    let is_retry = before.as_ref() == Some(&claims.jti) && now() - rotated <= GRACE;
    if is_retry {
        return Ok(Turn::Goes(family, who));
    }
    transaction.execute(
        "UPDATE families SET revoked = ?2 WHERE id = ?1",
        params![family.id, now()],
    )?;
    Ok(Turn::Reused(who.name))
}

impl Family {
    fn tokens(&self, signing: &Signing, who: &Who) -> Result<Tokens, Problem> {
        let claims = |kind, role, jti: &str, exp| Claims {
            iss: ISSUER.to_owned(),
            sub: who.name.clone(),
            user: who.id,
            role,
            kind,
            family: self.id.clone(),
            jti: jti.to_owned(),
            exp,
        };
        let access = claims(Kind::Access, who.role, "", later(ACCESS));
        let refresh = claims(Kind::Refresh, self.role, &self.current, self.expires);
        Ok(Tokens {
            access_token: signing.encode(&access)?,
            refresh_token: signing.encode(&refresh)?,
            token_type: "Bearer".to_owned(),
            expires_in: ACCESS.as_secs(),
            role: who.role,
        })
    }
}

/// Whose access token it is, if it counts.
pub fn who(store: &Store, signing: &Signing, token: &str) -> Stored<Option<Who>> {
    let Some(claims) = signing.decode(token, Kind::Access) else {
        return Ok(None);
    };
    store.read(|connection| {
        if !is_alive(connection, &claims.family)? {
            return Ok(None);
        }
        let user = users::by_id(connection, claims.user)?;
        Ok(user.map(|user| bounded(&user, claims.role)))
    })
}

fn is_alive(connection: &Connection, family: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM families WHERE id = ?1 AND revoked IS NULL")?
        .exists([family])
}

/// Ends the family that a refresh token belongs to.
pub async fn end(store: &Store, signing: &Signing, token: &str) -> Result<(), Problem> {
    if let Some(claims) = signing.decode(token, Kind::Refresh) {
        let end = move |transaction: &Transaction<'_>| {
            transaction.execute("DELETE FROM families WHERE id = ?1", [&claims.family])
        };
        store.write(end).await?;
    }
    Ok(())
}

fn later(than_now: Duration) -> i64 {
    now().saturating_add(i64::try_from(than_now.as_secs()).unwrap_or(i64::MAX))
}
