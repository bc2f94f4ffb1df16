//! A person logs in, in a browser.

use std::{path::Path, sync::Arc, time::Duration};

use oauth2::TokenResponse as _;
use reqwest::Url;
use rmcp::transport::{
    AuthorizationManager, AuthorizationRequest, AuthorizationSession, CredentialStore as _,
    auth::{AuthorizationMetadata, OAuthTokenResponse},
};
use tokio::time::timeout;

use super::{
    given, manager,
    redirect::Redirect,
    store::Store,
    told,
    web::{Web, plain},
};
use crate::mcp::{
    config::{Grant, OAuth},
    refused::is_plain,
};

/// Characters of what an authorization server says when it refuses.
const SAID: usize = 300;

/// What a person is asked for, and how.
pub struct Login<'a> {
    /// What is to be allowed beside what was allowed before and what the server asks for.
    pub scopes: Vec<String>,
    /// How long they may take.
    pub patience: Duration,
    /// Told of the address that they log in at.
    pub open: &'a (dyn Fn(&str) + Send + Sync),
}

/// A person has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Where: the issuer, if the authorization server names itself.
    pub issuer: Option<String>,
    /// What is allowed, as far as is said.
    pub scopes: Vec<String>,
    /// How long the token lasts, as far as is said.
    pub lasts: Option<Duration>,
    /// Whether it is renewed without the person.
    pub renews: bool,
}

/// Why nobody was logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The settings do not go with a login.
    #[error("{0}")]
    Settings(String),
    /// The server does not ask who calls, and does not say where one could log in.
    #[error("the server lets everybody in, and names no place to log in at")]
    Needless,
    /// The server does not say where one logs in, or lies about it.
    #[error("where to log in cannot be found out: {0}")]
    Undiscovered(String),
    /// The authorization server wants to know gpak, and cannot be told.
    #[error("{0}")]
    Unregistered(String),
    /// The port for the browser cannot be opened.
    #[error("a port of this machine, for the browser to come back to, cannot be opened: {0}")]
    Port(std::io::Error),
    /// Nobody came back.
    #[error("nobody logged in within {seconds} s, so nothing was changed; run it again")]
    Late {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The authorization server, or the person there, said no.
    #[error("the authorization server says no: {0}")]
    Refused(String),
    /// No token that can be used was given.
    #[error("{0}")]
    Unfinished(String),
    /// What is kept of a login cannot be read, written or removed.
    #[error("{0}")]
    Store(std::io::Error),
}

/// Logs a person in to the server at `url`. `challenge` asks that what it says to somebody unknown.
pub(in crate::mcp) async fn log_in(
    url: &Url,
    oauth: &OAuth,
    folder: &Path,
    challenge: impl Future<Output = Challenge>,
    asked: Login<'_>,
) -> Result<LoggedIn, LoginError> {
    if oauth.grant == Grant::Client {
        let why = "`oauth.grant` in its settings says that gpak calls it for itself; nobody has to log in";
        return Err(LoginError::Settings(why.to_owned()));
    }
    if let Some(scope) = asked.scopes.iter().find(|scope| !is_plain(scope)) {
        let scope = scope.escape_debug();
        return Err(LoginError::Settings(format!("`{scope}` is no scope")));
    }
    let web = Arc::new(Web::new(url, oauth.private_hosts).map_err(LoginError::Settings)?);
    web.judge(url.as_str()).map_err(|why| {
        LoginError::Settings(format!("a login to it could be listened to: {why}"))
    })?;
    let mut manager = manager(url, &web).await.map_err(LoginError::Undiscovered)?;
    let metadata = discovered(&mut manager, &web, &challenge.await).await?;
    let store = Store::new(folder, url);
    let before = store.read().map_err(LoginError::Store)?;
    let before = before.map(|login| login.credentials);
    let granted = before.filter(|before| before.issuer == metadata.issuer);
    let granted = granted.map_or_else(Vec::new, |before| before.granted_scopes);
    let named = match oauth.scopes.is_empty() {
        true => [granted, manager.select_initial_scopes(&[]).await].concat(),
        false => oauth.scopes.clone(),
    };
    let scopes = union(named.iter().chain(&asked.scopes));

    let redirect = Redirect::open(oauth.redirect_port)
        .await
        .map_err(LoginError::Port)?;
    let request = AuthorizationRequest::new(redirect.uri())
        .with_initial_scope_selection()
        .with_scopes(scopes.clone());
    let (request, secret) =
        identified(request, &mut manager, oauth, &metadata, &web, &scopes).await?;
    let kept = oauth
        .client_secret
        .is_none()
        .then(|| secret.clone())
        .flatten();
    manager.set_credential_store(store.clone().with_secret(kept));
    let session = AuthorizationSession::new(manager, request).await;
    let session = session.map_err(|(_, why)| LoginError::Unregistered(told(&web, &why)))?;
    let token = authorized(&session, redirect, &store, &web, &asked).await?;
    if !token.token_type().as_ref().eq_ignore_ascii_case("bearer") {
        store.remove().map_err(LoginError::Store)?;
        let kind = plain(token.token_type().as_ref(), SAID);
        return Err(LoginError::Unfinished(format!(
            "it gave a token of the kind `{kind}`, and gpak can only use those of the kind Bearer"
        )));
    }
    let granted = session.auth_manager.get_current_scopes().await;
    Ok(LoggedIn {
        issuer: metadata.issuer,
        scopes: granted,
        lasts: token.expires_in(),
        renews: token.refresh_token().is_some(),
    })
}

/// What a server said to somebody unknown.
pub(in crate::mcp) enum Challenge {
    /// It let them in, or cannot be asked.
    None,
    /// It did not; its `WWW-Authenticate`, if it had one.
    Some(Option<String>),
}

/// Finds out where one logs in.
async fn discovered(
    manager: &mut AuthorizationManager,
    web: &Web,
    challenge: &Challenge,
) -> Result<AuthorizationMetadata, LoginError> {
    let header = match challenge {
        Challenge::Some(header) => header.as_deref(),
        Challenge::None => None,
    };
    let found = manager.resolve_metadata_from_challenge(header).await;
    let found = found.map_err(|why| LoginError::Undiscovered(told(web, &why)))?;
    if !found.source.is_discovered() && matches!(challenge, Challenge::None) {
        return Err(LoginError::Needless);
    }
    let metadata = found.metadata;
    let registration = metadata.registration_endpoint.iter();
    let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint];
    for endpoint in endpoints.into_iter().chain(registration) {
        web.judge(endpoint).map_err(LoginError::Undiscovered)?;
    }
    manager.set_metadata(metadata.clone());
    Ok(metadata)
}

/// Says in the request who asks. Gives the secret of that client, too.
async fn identified(
    request: AuthorizationRequest,
    manager: &mut AuthorizationManager,
    oauth: &OAuth,
    metadata: &AuthorizationMetadata,
    web: &Web,
    scopes: &[String],
) -> Result<(AuthorizationRequest, Option<String>), LoginError> {
    let with = |request: AuthorizationRequest, id: String, secret: Option<String>| {
        let request = request.with_preregistered_client(id);
        match &secret {
            Some(secret) => (request.with_client_secret(secret), Some(secret.clone())),
            None => (request, None),
        }
    };
    if let Some(id) = &oauth.client_id {
        let secret = match &oauth.client_secret {
            Some(secret) => Some(given(secret.clone()).await.map_err(LoginError::Settings)?),
            None => None,
        };
        return Ok(with(request, id.clone(), secret));
    }
    let extra = metadata
        .additional_fields
        .get("client_id_metadata_document_supported");
    if let (Some(page), Some(true)) = (
        &oauth.client_metadata_url,
        extra.and_then(|is| is.as_bool()),
    ) {
        return Ok((request.with_client_metadata_url(page), None));
    }
    if metadata.registration_endpoint.is_none() {
        return Err(LoginError::Unregistered(format!(
            "its authorization server{} takes nobody that it does not know; register gpak there by hand, with the \
             redirect address http://127.0.0.1/callback, and name the `client_id` in `oauth` in its settings",
            metadata
                .issuer
                .as_ref()
                .map_or_else(String::new, |issuer| format!(" ({issuer})"))
        )));
    }
    let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    let registered = manager
        .register_client("gpak", &request.redirect_uri, &scopes)
        .await;
    let registered = registered.map_err(|why| LoginError::Unregistered(told(web, &why)))?;
    Ok(with(
        request,
        registered.client_id,
        registered.client_secret,
    ))
}

/// Sends the person there, waits until they come back, and gets the token.
async fn authorized(
    session: &AuthorizationSession,
    redirect: Redirect,
    store: &Store,
    web: &Web,
    asked: &Login<'_>,
) -> Result<OAuthTokenResponse, LoginError> {
    let address = session.get_authorization_url();
    let state = Url::parse(address).ok().and_then(|url| {
        let mut pairs = url.query_pairs();
        let state = pairs.find(|(key, _)| key == "state");
        state.map(|(_, state)| state.into_owned())
    });
    let state = state.ok_or_else(|| LoginError::Unfinished("the login has no state".to_owned()))?;
    (asked.open)(address);
    let visited = timeout(asked.patience, redirect.visit(&state)).await;
    let visited = visited.map_err(|_| LoginError::Late {
        seconds: asked.patience.as_secs(),
    })?;
    let (visit, said) = visited.map_err(LoginError::Port)?;
    let outcome = match said {
        Ok(()) => {
            let finished = async {
                // A process that renews the login before would put that over this one.
                let _alone = store.acquire_refresh_guard().await?;
                session.handle_callback_url(visit.url.as_str()).await
            };
            let token = finished.await;
            token.map_err(|why| LoginError::Unfinished(told(web, &why)))
        }
        Err(why) => Err(LoginError::Refused(plain(&why, SAID))),
    };
    let page = match &outcome {
        Ok(_) => Ok("gpak is logged in. You can close this page.".to_owned()),
        Err(why) => Err(format!("gpak is not logged in: {why}")),
    };
    visit.show(page).await;
    outcome
}

/// Each once, in the order in which they first come.
fn union<'a>(scopes: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for scope in scopes {
        if !all.contains(scope) {
            all.push(scope.clone());
        }
    }
    all
}

/// Forgets the login to the server at `url`. Tells whether there was one.
pub(in crate::mcp) fn log_out(url: &Url, folder: &Path) -> Result<bool, LoginError> {
    Store::new(folder, url).remove().map_err(LoginError::Store)
}
