//! A server behind streamable HTTP.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
    redirect::{Attempt, Policy},
};
use rmcp::transport::{
    AuthClient, AuthorizationManager, StreamableHttpClientTransport,
    streamable_http_client::StreamableHttpClientTransportConfig,
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::{config::Token, oauth, process::MESSAGE};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// A way to a server.
pub(super) struct Way {
    address: Url,
    client: reqwest::Client,
    config: StreamableHttpClientTransportConfig,
}

impl Way {
    /// That to the server at that address. The error says what is wrong with the settings.
    pub(super) async fn new(
        url: &str,
        headers: &BTreeMap<String, String>,
        token: Option<Token>,
    ) -> Result<Self, String> {
        let address = address(url)?;
        let headers = headers
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_str(value).ok().map(|mut value| {
                    value.set_sensitive(true);
                    value
                });
                let header = name.parse::<HeaderName>().ok().zip(value);
                header.ok_or_else(|| {
                    format!("the header `{name}` or its value has a character that none may have")
                })
            })
            .collect::<Result<_, _>>()?;
        let token = match token {
            Some(token) => Some(oauth::given(token).await?),
            None => None,
        };
        let client = client(&address).map_err(|why| format!("HTTP cannot be set up: {why}"))?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(address.as_str())
            .custom_headers(headers)
            .max_json_response_size(MESSAGE)
            .max_sse_event_size(MESSAGE);
        config.auth_header = token;
        Ok(Self {
            address,
            client,
            config,
        })
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &Url {
        &self.address
    }

    /// With what the settings give.
    pub(super) fn plain(self) -> StreamableHttpClientTransport<reqwest::Client> {
        StreamableHttpClientTransport::with_client(self.client, self.config)
    }

    /// With the tokens that this has.
    pub(super) fn with(
        self,
        manager: AuthorizationManager,
    ) -> StreamableHttpClientTransport<AuthClient<reqwest::Client>> {
        let client = AuthClient::new(self.client, manager);
        StreamableHttpClientTransport::with_client(client, self.config)
    }
}

/// Reads an address that a server can have.
pub(super) fn address(url: &str) -> Result<Url, String> {
    let address = Url::parse(url).ok();
    let address = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    address
        .ok_or_else(|| format!("`{url}` is no address of a server; one is https://example.org/mcp"))
}

/// Whether what is sent to `url` stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// The crate's own client would panic without a provider of cryptography for the whole process.
fn client(url: &Url) -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    let builder = match url.scheme() {
        "https" => builder.with_platform_verifier()?,
        // Where nothing is encrypted nobody need be trusted, and a system without certificates will do.
        _ => builder.with_root_certificates(rustls::RootCertStore::empty()),
    };
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(builder.with_no_client_auth())
        .user_agent(concat!("gpak/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(Policy::custom(follow));
    let client = match is_loopback(url) {
        true => client.no_proxy(),
        false => client,
    };
    Ok(client.build()?)
}

/// A message may be sent on to another path of the same server, and nowhere else: its headers are secret.
pub(super) fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_message = matches!(attempt.status().as_u16(), 307 | 308);
    let first = attempt.previous().first();
    let is_same = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_message && is_same && attempt.previous().len() <= REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}
