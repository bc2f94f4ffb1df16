//! How a credential is had: `/auth/…`, `/login`, and the users and keys that are managed over HTTP.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Role, Who,
    keys::{self, Kind},
    tokens::{self, Tokens},
    users::{self, User},
    who::{COOKIE, cookie},
};
use crate::serve::{
    House,
    listen::Peer,
    problem::{Answered, Problem},
    take::{Asked, Body, Part, whole},
};

/// How long a browser stays signed in.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// A password, or the token of a link that was not opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user.
    user: Option<String>,
    /// Its password.
    password: Option<String>,
    /// The token of the link that `gpak serve` prints.
    token: Option<String>,
}

/// Log in with a password, or with the token of the first link
#[utoipa::path(post, path = "/auth/login", tag = "access", security(()), request_body = Login, responses(
    (status = 200, body = Tokens), (status = 401, body = Problem), (status = 422, body = Problem),
    (status = 429, body = Problem)))]
pub async fn login(
    State(house): State<House>,
    Extension(peer): Extension<Peer>,
    Body(login): Body<Login>,
) -> Answered<Json<Tokens>> {
    let who = verified(&house, peer, login).await?;
    Ok(Json(
        tokens::begin(&house.store, &house.signing, &who).await?,
    ))
}

/// Who it is that shows this.
async fn verified(house: &House, peer: Peer, login: Login) -> Answered<Who> {
    let _turn = house.limits.login(peer.0).await?;
    let wrong = || {
        house.metrics.refused("login");
        Problem::unauthorized("the user or the password is wrong")
    };
    Ok(match login {
        Login {
            token: Some(token), ..
        } => keys::spend(&house.store, &token).await?.ok_or_else(wrong)?,
        Login {
            user: Some(user),
            password: Some(password),
            ..
        } if password.len() <= users::LONGEST => {
            let store = house.store.clone();
            let verify = move || users::verify(&store, &user, &password);
            let verified = tokio::task::spawn_blocking(verify).await;
            let user = verified.map_err(Problem::internal)??.ok_or_else(wrong)?;
            Who {
                id: user.id,
                name: user.name,
                role: user.role,
            }
        }
        _ => {
            return Err(wrong().help("a login has `user` and `password`, or a `token`"));
        }
    })
}

/// Begin a session of a browser: the credential is a cookie that no script can read
#[utoipa::path(post, path = "/auth/session", tag = "access", request_body = Login, responses(
    (status = 204), (status = 401, body = Problem), (status = 422, body = Problem),
    (status = 429, body = Problem)))]
pub async fn begin_session(
    State(house): State<House>,
    Extension(peer): Extension<Peer>,
    Body(login): Body<Login>,
) -> Answered<Response> {
    let who = verified(&house, peer, login).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    let cookie = session_of(&house, &who).await?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// End the session of a browser
#[utoipa::path(delete, path = "/auth/session", tag = "access", responses(
    (status = 204), (status = 401, body = Problem)))]
pub async fn end_session(
    State(house): State<House>,
    _: Who,
    headers: HeaderMap,
) -> Answered<Response> {
    if let Some(secret) = cookie(&headers) {
        keys::end_session(&house.store, secret).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let over = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    let over = HeaderValue::from_str(&over).map_err(Problem::internal)?;
    response.headers_mut().insert(header::SET_COOKIE, over);
    Ok(response)
}

/// The cookie of a new session of theirs.
async fn session_of(house: &House, who: &Who) -> Answered<HeaderValue> {
    let session = ("browser".to_owned(), who.role);
    let owner = (who.id, Kind::Session);
    let (_, secret) = keys::make(&house.store, owner, session, Some(SESSION)).await?;
    let secure = if house.tls { "; Secure" } else { "" };
    let cookie = format!(
        "{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        SESSION.as_secs()
    );
    HeaderValue::from_str(&cookie).map_err(Problem::internal)
}

/// A refresh token, and what the next access token is to allow.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The refresh token of the last login or refresh.
    refresh_token: String,
    /// No more than that role; never more than the login had.
    role: Option<Role>,
}

/// Get the next two tokens for a refresh token
#[utoipa::path(post, path = "/auth/refresh", tag = "access", security(()), request_body = Refresh, responses(
    (status = 200, body = Tokens), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 422, body = Problem), (status = 429, body = Problem)))]
pub async fn refresh(
    State(house): State<House>,
    Extension(peer): Extension<Peer>,
    Body(refresh): Body<Refresh>,
) -> Answered<Json<Tokens>> {
    drop(house.limits.login(peer.0).await?);
    let Refresh {
        refresh_token,
        role,
    } = refresh;
    let (store, signing) = (&house.store, &house.signing);
    Ok(Json(
        tokens::refresh(store, signing, &refresh_token, role).await?,
    ))
}

/// End a login: none of its tokens counts any more
#[utoipa::path(post, path = "/auth/logout", tag = "access", request_body = Refresh, responses(
    (status = 204), (status = 401, body = Problem)))]
pub async fn logout(
    State(house): State<House>,
    _: Who,
    Body(refresh): Body<Refresh>,
) -> Answered<StatusCode> {
    tokens::end(&house.store, &house.signing, &refresh.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where the link leads.
#[derive(Deserialize, IntoParams)]
pub struct Link {
    /// The token of the link.
    token: String,
}

/// Opens a session of a browser with a link that is good once.
pub async fn open(
    State(house): State<House>,
    Extension(peer): Extension<Peer>,
    Asked(link): Asked<Link>,
) -> Answered<Response> {
    drop(house.limits.login(peer.0).await?);
    let spent = keys::spend(&house.store, &link.token).await?;
    let who = spent.ok_or_else(|| {
        Problem::unauthorized("the link was opened before, or is too old")
            .help("`gpak serve link` prints another")
    })?;
    let cookie = session_of(&house, &who).await?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Who a credential stands for.
#[derive(Serialize, ToSchema)]
pub struct Me {
    /// The user.
    name: String,
    /// What the credential allows.
    role: Role,
}

/// Say who the credential stands for
#[utoipa::path(get, path = "/api/v1/me", tag = "access", responses(
    (status = 200, body = Me), (status = 401, body = Problem)))]
pub async fn me(who: Who) -> Json<Me> {
    let Who { name, role, .. } = who;
    Json(Me { name, role })
}

/// List the users
#[utoipa::path(get, path = "/api/v1/users", tag = "access", responses(
    (status = 200, body = Vec<User>), (status = 403, body = Problem)))]
pub async fn list_users(State(house): State<House>, who: Who) -> Answered<Json<Vec<User>>> {
    who.needs(Role::Admin)?;
    Ok(Json(users::list(&house.store)?))
}

/// List the API keys: one's own, or as admin all
#[utoipa::path(get, path = "/api/v1/keys", tag = "access", responses(
    (status = 200, body = Vec<keys::KeyInfo>), (status = 401, body = Problem)))]
pub async fn list_keys(State(house): State<House>, who: Who) -> Answered<Json<Vec<keys::KeyInfo>>> {
    let only = (who.role < Role::Admin).then_some(who.name.as_str());
    Ok(Json(keys::list(&house.store, only)?))
}

/// What a key is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    #[schema(max_length = 100)]
    #[serde(default)]
    name: String,
    /// What it allows; no more than the credential that asks for it.
    role: Option<Role>,
    /// Days after which it ends; never, where nothing is said.
    #[schema(minimum = 1, maximum = 36500)]
    #[serde(default, deserialize_with = "whole")]
    days: Option<u32>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub struct MadeKey {
    /// Its id, to revoke it by.
    id: String,
    /// The key itself: it is shown this once.
    key: String,
}

/// Make an API key for oneself
#[utoipa::path(post, path = "/api/v1/keys", tag = "access", request_body = Option<NewKey>, responses(
    (status = 201, body = MadeKey), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub async fn make_key(
    State(house): State<House>,
    who: Who,
    Body(new): Body<NewKey>,
) -> Answered<(StatusCode, Json<MadeKey>)> {
    let role = new.role.unwrap_or(who.role);
    who.needs(role)?;
    if new.name.chars().count() > 100 || new.days.is_some_and(|days| !(1..=36500).contains(&days)) {
        return Err(Problem::unprocessable(
            "a key's name has 100 characters at most, and it lives 1 to 36500 days",
        ));
    }
    let lifetime = new
        .days
        .map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    let made = keys::make(
        &house.store,
        (who.id, Kind::Key),
        (new.name, role),
        lifetime,
    );
    let (id, key) = made.await?;
    Ok((StatusCode::CREATED, Json(MadeKey { id, key })))
}

/// Revoke an API key: one's own, or as admin any
#[utoipa::path(delete, path = "/api/v1/keys/{id}", tag = "access",
    params(("id" = String, Path, description = "The key's id")),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn revoke_key(
    State(house): State<House>,
    who: Who,
    Part(id): Part<String>,
) -> Answered<StatusCode> {
    let only = (who.role < Role::Admin).then_some(who.id);
    match keys::revoke(&house.store, id, only).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(
            Problem::missing("there is no such key, or it is revoked already")
                .help("GET /api/v1/keys lists them"),
        ),
    }
}
