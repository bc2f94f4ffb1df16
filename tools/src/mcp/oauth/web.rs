//! How rmcp's OAuth reaches authorization servers.
//!
//! Their addresses come from the MCP server, so each request is judged: it goes over TLS, save within this
//! machine; it does not go to addresses of this machine or its network unless the MCP server is there
//! itself, or the user's settings say so; it is not sent on to another host; it ends after a while, and so
//! does its answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use oauth2::http;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use rmcp::transport::{
    OAuthHttpClient, OAuthHttpClientError, OAuthHttpClientFuture, OAuthHttpRedirectPolicy,
    OAuthHttpRequest,
};
use serde::Deserialize;

use crate::{
    mcp::{http as mcp_http, locked},
    wasm::net::{is_public, tls},
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const LONGEST: usize = 256 * 1024;
/// Characters of what a server says went wrong.
const SAID: usize = 200;
/// Variables that name a proxy.
const PROXIES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The way to the authorization servers of one MCP server.
pub(super) struct Web {
    following: reqwest::Client,
    stopping: reqwest::Client,
    /// Whether the MCP server is of this machine.
    is_local: bool,
    /// Whether addresses of this machine and its network may be reached.
    reaches_private: bool,
    /// What went wrong with the last request: the library's errors do not say.
    trouble: Mutex<Option<String>>,
}

/// Why a request was not made, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    #[error("{0} is not https")]
    Plain(Url),
    #[error(
        "{0} is of this machine or its network, and the MCP server is not; `oauth.private_hosts = true` in its settings allows that"
    )]
    Private(String),
    #[error("{url} did not answer within {} s", ANSWER.as_secs())]
    Silent { url: Url },
    #[error("{url} answered with more than {LONGEST} bytes")]
    TooLong { url: Url },
    #[error("{url} cannot be reached: {why}")]
    Unreachable { url: Url, why: String },
}

impl Web {
    /// The way for the MCP server at that address. The error says why there is none.
    pub(super) fn new(server: &Url, private_hosts: bool) -> Result<Self, String> {
        let is_local = mcp_http::is_loopback(server);
        let reaches_private =
            private_hosts || is_local || literal(server).is_some_and(|ip| !is_public(ip));
        // A proxy finds the addresses itself, and may itself be of the network.
        let is_judged =
            !reaches_private && !PROXIES.iter().any(|name| std::env::var_os(name).is_some());
        let made = |policy| -> Result<_, Box<dyn std::error::Error>> {
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls()?)
                .user_agent(concat!("gpak/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .referer(false)
                .redirect(policy);
            let client = if is_local { client.no_proxy() } else { client };
            let client = if is_judged {
                client.dns_resolver(Judge)
            } else {
                client
            };
            Ok(client.build()?)
        };
        let failed = |why: Box<dyn std::error::Error>| format!("HTTP cannot be set up: {why}");
        Ok(Self {
            following: made(Policy::custom(mcp_http::follow)).map_err(failed)?,
            stopping: made(Policy::none()).map_err(failed)?,
            is_local,
            reaches_private,
            trouble: Mutex::default(),
        })
    }

    /// Whether a request may go to that address. The error says why not.
    pub(super) fn judge(&self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|_| format!("`{url}` is no address"))?;
        self.check(&url).map_err(|why| why.to_string())
    }

    fn check(&self, url: &Url) -> Result<(), WebError> {
        let is_within = self.is_local && mcp_http::is_loopback(url);
        if url.scheme() != "https" && !(url.scheme() == "http" && is_within) {
            return Err(WebError::Plain(url.clone()));
        }
        if !self.reaches_private
            && (mcp_http::is_loopback(url) || literal(url).is_some_and(|ip| !is_public(ip)))
        {
            return Err(WebError::Private(url.to_string()));
        }
        Ok(())
    }

    /// What went wrong with the last request, once.
    pub(super) fn take_trouble(&self) -> Option<String> {
        locked(&self.trouble).take()
    }

    async fn send(
        &self,
        request: OAuthHttpRequest,
    ) -> Result<http::Response<Vec<u8>>, OAuthHttpClientError> {
        let client = match request.redirect_policy {
            OAuthHttpRedirectPolicy::Follow => &self.following,
            _ => &self.stopping,
        };
        let request = reqwest::Request::try_from(request.request)?;
        let url = request.url().clone();
        self.check(&url)?;
        let answer = tokio::time::timeout(ANSWER, whole(client, request)).await;
        let answer = answer.map_err(|_| WebError::Silent { url: url.clone() })??;
        let trouble = refusal(&answer).map(|said| format!("{url} answered {said}"));
        *locked(&self.trouble) = trouble;
        Ok(answer)
    }
}

impl OAuthHttpClient for Web {
    fn execute(&self, request: OAuthHttpRequest) -> OAuthHttpClientFuture<'_> {
        Box::pin(async move {
            let sent = self.send(request).await;
            sent.inspect_err(|why| *locked(&self.trouble) = Some(why.to_string()))
        })
    }
}

/// Makes a request, and reads its answer to the end.
async fn whole(
    client: &reqwest::Client,
    request: reqwest::Request,
) -> Result<http::Response<Vec<u8>>, OAuthHttpClientError> {
    let url = request.url().clone();
    let unreachable = |why: reqwest::Error| WebError::Unreachable {
        url: url.clone(),
        why: innermost(&why),
    };
    let mut response = client.execute(request).await.map_err(unreachable)?;
    let mut answer = http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        answer = answer.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(WebError::TooLong { url }.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(answer.body(body)?)
}

/// The cause of an error: what is around it says only that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let last = causes.last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What an answer says went wrong: its status, and the words that OAuth has for it (RFC 6749, 5.2). Nothing
/// else of an answer is repeated: a token could be in it.
fn refusal(answer: &http::Response<Vec<u8>>) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        error_description: Option<String>,
    }
    if answer.status().is_success() {
        return None;
    }
    let status = answer.status();
    let Ok(said) = serde_json::from_slice::<Refusal>(answer.body()) else {
        return Some(status.to_string());
    };
    let described = said.error_description.map(|text| format!(" ({text})"));
    let said = format!("{}{}", said.error, described.unwrap_or_default());
    Some(format!("{status}: {}", plain(&said, SAID)))
}

/// Text of a server without control characters, and not too much of it.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(longest).collect()
}

/// The address that an URL names without a name.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Resolves names to addresses of the open network.
struct Judge;

impl Resolve for Judge {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            let (public, private): (Vec<SocketAddr>, Vec<_>) = found
                .into_iter()
                .partition(|address| is_public(address.ip()));
            if let (true, Some(private)) = (public.is_empty(), private.first()) {
                let stands = format!("{host} stands for {}, which", private.ip());
                return Err(WebError::Private(stands).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_the_open_network_but_for_servers_of_this_machine() {
        for (server, private_hosts, url, says) in [
            (
                "https://example.org/mcp",
                false,
                "https://login.example.org/token",
                None,
            ),
            (
                "https://example.org/mcp",
                false,
                "http://login.example.org/token",
                Some("not https"),
            ),
            (
                "https://example.org/mcp",
                false,
                "ftp://login.example.org/token",
                Some("not https"),
            ),
            (
                "https://example.org/mcp",
                false,
                "file:///etc/passwd",
                Some("not https"),
            ),
            (
                "https://example.org/mcp",
                false,
                "http://127.0.0.1/token",
                Some("not https"),
            ),
            (
                "https://example.org/mcp",
                false,
                "https://127.0.0.1/token",
                Some("of this machine"),
            ),
            (
                "https://example.org/mcp",
                false,
                "https://localhost/token",
                Some("of this machine"),
            ),
            (
                "https://example.org/mcp",
                false,
                "https://[::1]/token",
                Some("of this machine"),
            ),
            (
                "https://example.org/mcp",
                false,
                "https://169.254.169.254/token",
                Some("of this machine"),
            ),
            (
                "https://example.org/mcp",
                true,
                "https://10.0.0.1/token",
                None,
            ),
            (
                "https://example.org/mcp",
                true,
                "http://10.0.0.1/token",
                Some("not https"),
            ),
            (
                "https://10.0.0.2/mcp",
                false,
                "https://10.0.0.1/token",
                None,
            ),
            (
                "http://127.0.0.1:8/mcp",
                false,
                "http://localhost:9/token",
                None,
            ),
            (
                "http://127.0.0.1:8/mcp",
                false,
                "http://example.org/token",
                Some("not https"),
            ),
            (
                "http://127.0.0.1:8/mcp",
                false,
                "https://example.org/token",
                None,
            ),
        ] {
            let web = Web::new(&Url::parse(server).unwrap(), private_hosts).unwrap();
            let judged = web.judge(url);
            match says {
                None => assert_eq!(judged, Ok(()), "{server} {url}"),
                Some(says) => {
                    let why = judged.unwrap_err();
                    assert!(why.contains(says), "{server} {url}: {why}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_this_machine_is_not_reached_from_elsewhere() {
        let found = Judge.resolve("localhost".parse().unwrap()).await;
        let why = found.err().unwrap().to_string();
        assert!(why.contains("localhost stands for"), "{why}");
    }

    #[test]
    fn of_an_answer_only_its_error_is_repeated() {
        let answer = |status: u16, body: &str| {
            let answer = http::Response::builder().status(status);
            refusal(&answer.body(body.as_bytes().to_vec()).unwrap())
        };
        let denied =
            r#"{"error":"invalid_grant","error_description":"gone\u001b[2J","token":"s3cret"}"#;
        assert_eq!(
            answer(400, denied).as_deref(),
            Some("400 Bad Request: invalid_grant (gone[2J)")
        );
        assert_eq!(
            answer(500, "s3cret").as_deref(),
            Some("500 Internal Server Error")
        );
        assert_eq!(answer(200, r#"{"error":"x"}"#), None);
    }
}
