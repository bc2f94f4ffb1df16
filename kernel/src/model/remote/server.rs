//! A server at the other end of HTTP.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use reqwest::{Request, Response, Url, header};
use rustls_platform_verifier::BuilderVerifierExt;
use serde_json::Value;

use super::{Connection, Failure, Key, failure};
use crate::model::ModelError;

/// Bytes of a failure's body that are read.
const BODY: usize = 64 * 1024;

/// Talks to one server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Server {
    client: reqwest::Client,
    base: Url,
    key: Option<Key>,
    first_token: Duration,
    idle: Duration,
    window: u32,
}

impl Server {
    /// The server of that connection; nothing is sent yet.
    ///
    /// # Errors
    /// If an address makes no sense.
    pub(crate) fn new(connection: &Connection) -> Result<Self, ModelError> {
        let base = address(&connection.base_url)?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(connection, &base)?)
            .user_agent(concat!("gpak/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connection.connect);
        if let Some(proxy) = &connection.proxy {
            let proxy = reqwest::Proxy::all(proxy.as_str()).map_err(|_| {
                unusable("the proxy's address makes no sense; one is http://host:port")
            })?;
            builder = builder.proxy(proxy);
        } else if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| unusable(error.without_url().to_string()))?;
        Ok(Self {
            client,
            base,
            key: connection.key.clone(),
            first_token: connection.first_token,
            idle: connection.idle,
            window: super::DEFAULT_WINDOW,
        })
    }

    /// With what is known of the model's window.
    pub(crate) fn with_window(mut self, window: u32) -> Self {
        self.window = window;
        self
    }

    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    /// Its host, to know it by.
    pub(crate) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// The address that is sent to; it may hold a name and a password.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The address that may be shown.
    pub(crate) fn shown(&self) -> String {
        let mut shown = self.base.clone();
        // Both fail only for an address without a host, which this is not.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.as_str().trim_end_matches('/').to_owned()
    }

    pub(crate) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let sent = self.client.execute(request);
        let response = self
            .within(self.first_token, sent)
            .await?
            .map_err(|error| self.transport(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let head = |name: &str| {
            let value = response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        // Azure and OpenAI say milliseconds in a header of their own.
        let ms = head("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok());
        let retry_after = ms.map(|ms| (ms / 1000.0).to_string());
        let retry_after = retry_after.or_else(|| head(header::RETRY_AFTER.as_str()));
        let body = self.body(response).await;
        Err(failure::of_status(
            status,
            retry_after.as_deref(),
            &body,
            self.key(),
            self.window,
            Timestamp::now(),
        ))
    }

    /// Fails if an answer that was to be a stream is one document: an error that is said with status
    /// 200, or a server that does not stream.
    pub(crate) async fn check_streams(&self, response: Response) -> Result<Response, Failure> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
        if !matches!(kind.as_str(), "application/json" | "text/html") {
            return Ok(response);
        }
        let body = self.body(response).await;
        let said = serde_json::from_str::<Value>(&body).ok();
        match said.filter(|said| said.get("error").is_some_and(|error| !error.is_null())) {
            Some(said) => Err(self.error_event(&said)),
            None => Err(self.malformed(format!("the server answered with {kind} and no stream"))),
        }
    }

    /// The body of a failure, as far as it comes.
    async fn body(&self, response: Response) -> String {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Ok(Some(Ok(piece))) = self.within(self.idle, stream.next()).await {
            bytes.extend_from_slice(&piece);
            if bytes.len() > BODY {
                break;
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The JSON at an address below the base.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.get_at(&self.join(path)).await
    }

    /// The JSON at an address.
    pub(crate) async fn get_at(&self, address: &str) -> Result<Value, Failure> {
        self.json(self.with_key(self.client.get(address))).await
    }

    /// The JSON that comes for some JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.client.post(self.join(path)).json(body);
        self.json(self.with_key(request)).await
    }

    /// The bytes that come for some JSON, as they come.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, Failure>> + Unpin + use<>, Failure> {
        let request = self.with_key(self.client.post(self.join(path)).json(body));
        let request = request.build().map_err(|error| self.transport(error))?;
        let response = self.send(request).await?;
        let server = self.clone();
        Ok(response.bytes_stream().map(move |bytes| {
            let broken = |error: reqwest::Error| {
                server.malformed(format!("the stream broke off: {}", error.without_url()))
            };
            Ok(bytes.map_err(broken)?.to_vec())
        }))
    }

    fn transport(&self, error: reqwest::Error) -> Failure {
        failure::of_transport(error, &self.shown(), self.key())
    }

    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{}", self.base(), path.trim_start_matches('/'))
    }

    pub(crate) fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }

    async fn json(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let request = request.build().map_err(|error| self.transport(error))?;
        let response = self.send(request).await?;
        let body = self.within(self.idle, response.bytes()).await?;
        let body = body.map_err(|error| self.transport(error))?;
        serde_json::from_slice(&body)
            .map_err(|error| self.malformed(format!("it is no JSON: {error}")))
    }

    /// The next item of a stream, in time. Before the first token a server has longer.
    pub(crate) async fn next<T>(
        &self,
        stream: &mut (impl Stream<Item = T> + Unpin),
        begun: bool,
    ) -> Result<Option<T>, Failure> {
        let limit = if begun { self.idle } else { self.first_token };
        self.within(limit, stream.next()).await
    }

    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let silent = |_| ModelError::Unreachable {
            message: format!(
                "{} said nothing for {} s",
                self.shown(),
                limit.as_secs_f64()
            ),
        };
        Ok(tokio::time::timeout(limit, work).await.map_err(silent)?)
    }

    /// What an error that came in a stream means.
    pub(crate) fn error_event(&self, event: &Value) -> Failure {
        failure::of_event(event, self.key(), self.window)
    }

    /// A reply that makes no sense.
    pub(crate) fn malformed(&self, why: impl AsRef<str>) -> Failure {
        let message = failure::scrub(why.as_ref(), self.key());
        ModelError::Malformed { message }.into()
    }
}

fn unusable(message: impl Into<String>) -> ModelError {
    let message = message.into();
    ModelError::Unusable { message }
}

fn address(text: &str) -> Result<Url, ModelError> {
    let url = Url::parse(text.trim()).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| {
        unusable("the server's address makes no sense; one is http://127.0.0.1:8080/v1")
    })
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// TLS by ring, trusting whom the system trusts (a company's own authority too). Where nothing is
/// encrypted nobody need be trusted, and a system without certificates will do.
fn tls(connection: &Connection, base: &Url) -> Result<rustls::ClientConfig, ModelError> {
    let failed = |error: rustls::Error| {
        unusable(format!(
            "TLS cannot be set up: {error}; install the system's certificates (ca-certificates)"
        ))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let proxy = connection.proxy.as_deref().unwrap_or_default();
    let builder = if base.scheme() == "https" || proxy.starts_with("https:") {
        builder.with_platform_verifier().map_err(failed)?
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}
