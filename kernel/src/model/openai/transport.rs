//! How `async-openai` reaches a server.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use async_openai::{Client, config::Config, error::OpenAIError, middleware::HttpRequestFactory};
use reqwest::{
    Response,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use secrecy::SecretString;

use crate::model::remote::{Failure, Server};

/// A server's address and key. The crate's own configuration reads the environment, which only `cli`
/// does here, and panics at a key that fits into no header.
#[derive(Clone)]
pub(super) struct Endpoint {
    base: String,
    key: SecretString,
    headers: HeaderMap,
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        &self.base
    }

    fn api_key(&self) -> &SecretString {
        &self.key
    }
}

/// A client that sends once, through `server`, which knows what a failure means. The crate's own way
/// would try again by itself and drop the headers that say how long to wait.
pub(super) fn client(server: &Server) -> Client<Endpoint> {
    let key = server.key().map(|key| key.expose()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    // A key that fits into no header is sent as none, and the server says that one is missing.
    if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {key}"))
        && !key.is_empty()
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let endpoint = Endpoint {
        base: server.base().to_owned(),
        key: key.into(),
        headers,
    };
    let once = Once {
        server: server.clone(),
    };
    Client::build(server.client().clone(), endpoint).with_http_service(once)
}

#[derive(Clone)]
struct Once {
    server: Server,
}

impl tower_service::Service<HttpRequestFactory> for Once {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let server = self.server.clone();
        Box::pin(async move {
            let boxed = |failure: Failure| OpenAIError::Boxed(Box::new(failure));
            let response = server.send(request.build().await?).await.map_err(boxed)?;
            server.check_streams(response).await.map_err(boxed)
        })
    }
}

/// What an error of the crate means: our own, or a stream that is no stream.
pub(super) fn failed(server: &Server, error: OpenAIError) -> Failure {
    match error {
        OpenAIError::Boxed(inner) => match inner.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(other) => server.malformed(other.to_string()),
        },
        OpenAIError::JSONDeserialize(why, _) => {
            server.malformed(format!("a piece of it is no JSON: {why}"))
        }
        other => server.malformed(format!("the stream broke off: {other}")),
    }
}
