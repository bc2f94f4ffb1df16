//! Servers that want OAuth: what a connection shows them, and how a person logs in.
//!
//! The protocol is rmcp's (`rmcp::transport::auth`): discovery of metadata (RFC 9728, RFC 8414, OpenID
//! Connect), registration, PKCE, scopes, resource indicators (RFC 8707), the check of issuers (RFC 9207) and
//! renewal. Here is what it leaves open: the way to the network ([`web`]), where logins are kept
//! ([`store`]), where browsers come back to ([`redirect`]), and how a person is asked ([`login`]).

mod login;
mod redirect;
mod store;
mod web;

use std::{path::Path, sync::Arc};

use reqwest::Url;
use rmcp::transport::{
    AuthError, AuthorizationManager, ClientCredentialsConfig, auth::OAuthClientConfig,
};

pub(super) use self::login::{Challenge, log_in, log_out};
pub use self::login::{LoggedIn, Login, LoginError};
use self::{
    store::Store,
    web::{Web, WebError, plain},
};
use super::{
    config::{Grant, OAuth, Token},
    refused::Shown,
};

/// Characters of an error that comes from elsewhere.
const WORDS: usize = 600;

/// What a connection shows its server.
pub(super) struct Access {
    pub(super) shown: Shown,
    /// What has tokens, and renews them.
    pub(super) manager: Option<AuthorizationManager>,
    pub(super) teller: Option<Teller>,
}

impl Access {
    /// That, and nothing that OAuth gave.
    pub(super) fn without_login(shown: Shown) -> Self {
        Self {
            shown,
            manager: None,
            teller: None,
        }
    }
}

/// Says why a token could not be had.
pub(super) struct Teller(Arc<Web>);

impl Teller {
    /// Why, in words, if that is why a request failed.
    pub(super) fn told(&self, why: &(dyn std::error::Error + 'static)) -> Option<String> {
        let mut causes = std::iter::successors(Some(why), |why| why.source());
        let why = causes.find_map(|why| why.downcast_ref::<AuthError>())?;
        Some(told(&self.0, why))
    }
}

/// What a server at that address is shown, according to what is kept in `folder`.
///
/// # Errors
/// If a token cannot be had, in words.
pub(super) async fn access(url: &Url, oauth: &OAuth, folder: &Path) -> Result<Access, String> {
    let web = Arc::new(Web::new(url, oauth.private_hosts)?);
    let with = |shown, manager| Access {
        shown,
        manager: Some(manager),
        teller: Some(Teller(web.clone())),
    };
    match oauth.grant {
        Grant::Client => {
            let manager = own(url, oauth, &web).await?;
            Ok(with(Shown::Client, manager))
        }
        Grant::Person => {
            let store = Store::new(folder, url);
            let Some(login) = store.read().map_err(|why| why.to_string())? else {
                return Ok(Access::without_login(Shown::Nothing));
            };
            let mut manager = manager(url, &web).await?;
            manager.set_credential_store(store);
            let known = manager.initialize_from_store().await;
            if !known.map_err(|why| told(&web, &why))? {
                return Ok(Access::without_login(Shown::Lapsed));
            }
            let client = login.credentials.client_id;
            let secret = match (&oauth.client_id, &oauth.client_secret) {
                (Some(id), Some(secret)) if *id == client => Some(given(secret.clone()).await?),
                _ => login.client_secret,
            };
            if let Some(secret) = secret {
                // The address is not used any more, and there has to be one.
                let config =
                    OAuthClientConfig::new(client, url.as_str()).with_client_secret(secret);
                let configured = manager.configure_client(config);
                configured.map_err(|why| told(&web, &why))?;
            }
            // Renewed here where that is due: a connection that fails over it could not say why.
            match manager.get_access_token().await {
                Ok(_) => Ok(with(Shown::Login, manager)),
                Err(AuthError::AuthorizationRequired) => Ok(Access::without_login(Shown::Lapsed)),
                Err(why) => Err(told(&web, &why)),
            }
        }
    }
}

/// Gets a token for gpak itself.
async fn own(url: &Url, oauth: &OAuth, web: &Arc<Web>) -> Result<AuthorizationManager, String> {
    let (Some(client_id), Some(secret)) = (&oauth.client_id, &oauth.client_secret) else {
        return Err("`oauth` wants a `client_id` and a `client_secret_cmd`".to_owned());
    };
    let client_secret = given(secret.clone()).await?;
    let words = |why: AuthError| told(web, &why);
    let mut manager = manager(url, web).await?;
    let found = manager.resolve_metadata().await.map_err(words)?;
    web.judge(&found.metadata.token_endpoint)?;
    manager.set_metadata(found.metadata);
    let scopes = match oauth.scopes.is_empty() {
        true => manager.select_initial_scopes(&[]).await,
        false => oauth.scopes.clone(),
    };
    let config = ClientCredentialsConfig::ClientSecret {
        client_id: client_id.clone(),
        client_secret,
        scopes,
        resource: Some(url.to_string()),
    };
    manager
        .validate_client_credentials_metadata(&config)
        .map_err(words)?;
    manager
        .configure_client_credentials(&config)
        .map_err(words)?;
    manager
        .exchange_client_credentials(&config)
        .await
        .map_err(words)?;
    Ok(manager)
}

async fn manager(url: &Url, web: &Arc<Web>) -> Result<AuthorizationManager, String> {
    let made = AuthorizationManager::new_with_oauth_http_client(url.clone(), web.clone()).await;
    made.map_err(|why| told(web, &why))
}

/// What the user's settings give, which may block.
pub(super) async fn given(token: Token) -> Result<String, String> {
    let given = tokio::task::spawn_blocking(move || token()).await;
    given.map_err(|why| why.to_string()).flatten()
}

/// What went wrong, in words that a user can act on. The library's hide why a request failed.
fn told(web: &Web, why: &AuthError) -> String {
    let trouble = web.take_trouble();
    let said = match why {
        AuthError::DiscoveryRequestFailed { source, .. } if source.is::<WebError>() => {
            source.to_string()
        }
        AuthError::DiscoveryRequestFailed { url, source } => format!("{url}: {source}"),
        AuthError::AuthorizationServerMismatch {
            expected_issuer,
            received_issuer,
        } => format!(
            "an answer that {expected_issuer} should have given says that it is of {received_issuer}; nothing of it is used"
        ),
        AuthError::AuthorizationServerMissingIssuer { expected_issuer } => format!(
            "an answer that {expected_issuer} should have given does not say whose it is; nothing of it is used"
        ),
        AuthError::PkceUnsupported => {
            "its authorization server does not take PKCE's S256, without which a login could be stolen".to_owned()
        }
        AuthError::TokenExchangeFailed(_)
        | AuthError::TokenRefreshFailed(_)
        | AuthError::ClientCredentialsError(_)
            if trouble.is_some() =>
        {
            format!("no token was given: {}", trouble.unwrap_or_default())
        }
        // What the library repeats of an answer that it cannot read could be secret.
        AuthError::TokenExchangeFailed(_) | AuthError::TokenRefreshFailed(_) => {
            "no token was given: what the authorization server answered is no token".to_owned()
        }
        AuthError::RegistrationFailed(_) if trouble.is_some() => {
            format!("gpak was not registered: {}", trouble.unwrap_or_default())
        }
        other => other.to_string(),
    };
    plain(&said, WORDS)
}
