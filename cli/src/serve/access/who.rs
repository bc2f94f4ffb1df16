//! Who a request is from: the first thing that is known of it, or it goes no further.

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Role, keys, tokens, users};
use crate::serve::{House, problem::Problem};

/// The cookie of a browser that opened the first link.
pub const COOKIE: &str = "gpak_session";

/// Somebody who showed a credential that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The user's number.
    pub id: i64,
    /// The user's name.
    pub name: String,
    /// What the credential allows, and never more than the user may.
    pub role: Role,
}

impl Who {
    /// Fails unless it may do what that role may.
    pub fn needs(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "this takes the role {role}, and the credential has {}",
            self.role
        ))
        .help("use a credential of a user with that role; `gpak serve users list` shows the roles"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let who = parts.extensions.get::<Self>().cloned();
        who.ok_or_else(|| Problem::unauthorized("this takes a credential"))
    }
}

/// What is answered without a credential: whether the service lives, and how one is had.
fn is_open(method: &Method, path: &str) -> bool {
    match path {
        "/healthz" | "/readyz" | "/login" => *method == Method::GET || *method == Method::HEAD,
        "/auth/login" | "/auth/refresh" => *method == Method::POST,
        _ => false,
    }
}

/// Finds out who asks, and turns away who may not.
pub async fn identify(State(house): State<House>, mut request: Request, next: Next) -> Response {
    if is_open(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    let who = match find(&house, request.headers()) {
        Ok(who) => who,
        Err(problem) => {
            house.metrics.refused("credential");
            return problem.into_response();
        }
    };
    if let Err(problem) = house.limits.admit(who.id) {
        house.metrics.refused("rate");
        return problem.into_response();
    }
    request.extensions_mut().insert(who);
    next.run(request).await
}

fn find(house: &House, headers: &HeaderMap) -> Result<Who, Problem> {
    let bad =
        || Problem::unauthorized("the credential does not count: it is wrong, revoked or too old");
    if let Some(said) = headers.get(header::AUTHORIZATION) {
        let said = said.to_str().unwrap_or_default();
        let (scheme, credential) = said.split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthorized("only bearer credentials count"));
        }
        let credential = credential.trim();
        let who = match credential.starts_with(keys::PREFIX) {
            true => keys::find(&house.store, credential, keys::Kind::Key)?,
            false => tokens::who(&house.store, &house.signing, credential)?,
        };
        return who.ok_or_else(bad);
    }
    if let Some(secret) = cookie(headers) {
        return keys::find(&house.store, secret, keys::Kind::Session)?.ok_or_else(bad);
    }
    Err(Problem::unauthorized("this takes a credential"))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, secret)| secret)
}

/// The role of a user now, for a credential that has `role`.
pub(super) fn bounded(user: &users::User, role: Role) -> Who {
    Who {
        id: user.id,
        name: user.name.clone(),
        role: role.min(user.role),
    }
}
