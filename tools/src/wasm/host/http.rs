//! Requests to granted hosts.

use std::{error::Error as _, sync::Arc, time::Duration};

use reqwest::{
    Method, StatusCode, Url,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderMap,
        HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
};

use super::{Host, House, failure};
use crate::wasm::{
    HostPattern, Secret,
    bindings::gpak::tool::{
        http::{self, Header, Request, Response},
        types::{Failure, FailureKind},
    },
    net::{Barred, Reach, is_public},
};

/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// Bytes of a response, of a request's headers, and how many headers there may be.
const BODY: usize = 8 * 1024 * 1024;
const HEADERS: usize = 100;
/// Headers that are the client's own business.
const OWN: [HeaderName; 9] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    TRAILER,
    UPGRADE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
];

impl http::Host for Host {
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Failure>> {
        let timeout = request
            .timeout_ms
            .map(|ms| Duration::from_millis(ms.into()));
        let sent = match timeout {
            None => self.exchange(request).await,
            Some(timeout) => match tokio::time::timeout(timeout, self.exchange(request)).await {
                Ok(sent) => sent,
                Err(_) => Err(failure(
                    FailureKind::TimedOut,
                    format!("no answer came within {} ms", timeout.as_millis()),
                )),
            },
        };
        Ok(sent)
    }
}

/// A request on its way, from one redirect to the next.
struct Sending {
    method: Method,
    url: Url,
    headers: Vec<(HeaderName, String)>,
    body: Option<Vec<u8>>,
}

impl Host {
    async fn exchange(&mut self, request: Request) -> Result<Response, Failure> {
        let mut sending = parse(request)?;
        if !matches!(sending.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            self.acts(&format!("a {} request", sending.method))?;
        }
        for _ in 0..=REDIRECTS {
            let mut used = Vec::new();
            let response = self.send_once(&sending, &mut used).await?;
            if let Some(next) = redirected(&response, &sending)? {
                sending = next;
                continue;
            }
            return read(response, &used).await;
        }
        Err(failure(
            FailureKind::Unavailable,
            format!(
                "it was sent on more than {REDIRECTS} times, to {}",
                sending.url
            ),
        ))
    }

    async fn send_once(
        &mut self,
        sending: &Sending,
        used: &mut Vec<(String, Secret)>,
    ) -> Result<reqwest::Response, Failure> {
        let (host, reach) = self.reach(&sending.url)?;
        let headers = self.headers(sending, &host, reach, used)?;
        let house = self.house()?.clone();
        let client = house.network.client(reach).map_err(|why| {
            failure(
                FailureKind::Unavailable,
                format!("requests cannot be sent from here: {why}"),
            )
        })?;
        let mut request = client
            .request(sending.method.clone(), sending.url.clone())
            .headers(headers);
        if let Some(body) = &sending.body {
            request = request.body(body.clone());
        }
        let response = request.send().await.map_err(|why| unsent(&why))?;
        self.web = Some(host);
        Ok(response)
    }

    fn house(&self) -> Result<&Arc<House>, Failure> {
        self.house.as_ref().ok_or_else(|| {
            let message = "nothing is sent while tools are described".to_owned();
            failure(FailureKind::Denied, message)
        })
    }

    /// Whether requests may go there, and where that may be.
    fn reach(&self, url: &Url) -> Result<(String, Reach), Failure> {
        let invalid = |why: &str| failure(FailureKind::Invalid, format!("{url} {why}"));
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(invalid("names no host"));
        };
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("is neither http:// nor https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid(
                "has a name or password in it; send a header with a secret instead",
            ));
        }
        let granted =
            |hosts: &[HostPattern]| hosts.iter().any(|pattern| pattern.matches(host, port));
        if granted(&self.grant().private_hosts) {
            return Ok((host.to_owned(), Reach::Private));
        }
        if !granted(&self.grant().hosts) {
            return Err(failure(
                FailureKind::Denied,
                format!("requests to {host}:{port} were not granted"),
            ));
        }
        // An address is not resolved, and so not judged there.
        let address = host.trim_start_matches('[').trim_end_matches(']').parse();
        match address {
            Ok(address) if !is_public(address) => {
                let barred = Barred(format!("{address}, which")).to_string();
                Err(failure(FailureKind::Denied, barred))
            }
            _ => Ok((host.to_owned(), Reach::Open)),
        }
    }

    /// The headers with secrets put in.
    fn headers(
        &self,
        sending: &Sending,
        host: &str,
        reach: Reach,
        used: &mut Vec<(String, Secret)>,
    ) -> Result<HeaderMap, Failure> {
        let house = self.house()?;
        let mut headers = HeaderMap::new();
        let port = sending.url.port_or_known_default().unwrap_or_default();
        for (name, value) in &sending.headers {
            let names = secret_names(value);
            let mut filled = value.clone();
            for secret in &names {
                let asked = self.grant().secrets.get(secret);
                let asked = asked.filter(|ask| ask.hosts.iter().any(|to| to.matches(host, port)));
                if asked.is_none() {
                    return Err(failure(
                        FailureKind::Denied,
                        format!("the secret {secret} was not granted for {host}:{port}"),
                    ));
                }
                if sending.url.scheme() != "https" && reach == Reach::Open {
                    return Err(failure(
                        FailureKind::Denied,
                        format!("the secret {secret} is sent by https:// only"),
                    ));
                }
                let Some(found) = house.secrets.get(&house.package, secret) else {
                    return Err(failure(
                        FailureKind::Unavailable,
                        format!(
                            "the secret {secret} is not set; set the environment variable {secret}"
                        ),
                    ));
                };
                filled = filled.replace(&placeholder(secret), found.expose());
                used.push((secret.clone(), found));
            }
            let mut filled = HeaderValue::from_str(&filled).map_err(|_| {
                failure(
                    FailureKind::Invalid,
                    format!("the value of the header {name} cannot be sent"),
                )
            })?;
            filled.set_sensitive(!names.is_empty());
            headers.append(name, filled);
        }
        Ok(headers)
    }
}

fn parse(request: Request) -> Result<Sending, Failure> {
    let invalid = |why: String| failure(FailureKind::Invalid, why);
    let method = Method::from_bytes(request.method.to_ascii_uppercase().as_bytes());
    let method = method.map_err(|_| invalid(format!("{:?} is no method", request.method)))?;
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(invalid(format!("{method} is not sent")));
    }
    let url = Url::parse(&request.url)
        .map_err(|why| invalid(format!("{:?} is no address: {why}", request.url)))?;
    if request.headers.len() > HEADERS {
        return Err(failure(
            FailureKind::TooLarge,
            format!("more than {HEADERS} headers"),
        ));
    }
    let mut headers = Vec::new();
    for Header { name, value } in request.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
        if OWN.contains(&parsed) {
            return Err(invalid(format!(
                "the header {parsed} is set by the host; leave it out"
            )));
        }
        headers.push((parsed, value));
    }
    Ok(Sending {
        method,
        url,
        headers,
        body: request.body,
    })
}

/// Where a response sends the request on to, as browsers do it (Fetch, HTTP-redirect fetch).
fn redirected(response: &reqwest::Response, sent: &Sending) -> Result<Option<Sending>, Failure> {
    let status = response.status();
    let keeps = matches!(
        status,
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    );
    let moves = matches!(
        status,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
    );
    let Some(location) = response.headers().get(LOCATION).filter(|_| keeps || moves) else {
        return Ok(None);
    };
    let url = location
        .to_str()
        .ok()
        .and_then(|to| sent.url.join(to).ok())
        .ok_or_else(|| {
            failure(
                FailureKind::Unavailable,
                format!("{} sent it on to what is no address", sent.url),
            )
        })?;
    let stays = url.origin() == sent.url.origin();
    let becomes_get = match status {
        StatusCode::SEE_OTHER => sent.method != Method::HEAD,
        _ => moves && sent.method == Method::POST,
    };
    let method = if becomes_get {
        Method::GET
    } else {
        sent.method.clone()
    };
    let is_kept = |(name, value): &&(HeaderName, String)| {
        let of_body = becomes_get && *name == CONTENT_TYPE;
        let of_host = matches!(*name, AUTHORIZATION | COOKIE) || !secret_names(value).is_empty();
        !of_body && (stays || !of_host)
    };
    Ok(Some(Sending {
        method,
        url,
        headers: sent.headers.iter().filter(is_kept).cloned().collect(),
        body: sent.body.clone().filter(|_| !becomes_get),
    }))
}

/// Reads a response, as far as it may be, and takes secrets out that the host sent back.
async fn read(
    mut response: reqwest::Response,
    used: &[(String, Secret)],
) -> Result<Response, Failure> {
    let too_large = || {
        failure(
            FailureKind::TooLarge,
            format!("the response has more than {BODY} bytes; ask for less at once"),
        )
    };
    if response
        .content_length()
        .is_some_and(|length| length > BODY as u64)
    {
        return Err(too_large());
    }
    let (status, url) = (response.status().as_u16(), response.url().to_string());
    let headers = response.headers().iter().map(|(name, value)| Header {
        name: name.to_string(),
        value: redacted_text(&String::from_utf8_lossy(value.as_bytes()), used),
    });
    let headers = headers.collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|why| unsent(&why))? {
        if body.len() + chunk.len() > BODY {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        status,
        headers,
        body: redacted(body, used),
        url,
    })
}

fn redacted_text(text: &str, used: &[(String, Secret)]) -> String {
    let redact = |text: String, (name, secret): &(String, Secret)| {
        text.replace(secret.expose(), &placeholder(name))
    };
    used.iter().fold(text.to_owned(), redact)
}

fn redacted(body: Vec<u8>, used: &[(String, Secret)]) -> Vec<u8> {
    used.iter().fold(body, |body, (name, secret)| {
        let mut rest = body.as_slice();
        let mut clean = Vec::new();
        while let Some(at) = memchr::memmem::find(rest, secret.expose().as_bytes()) {
            clean.extend_from_slice(rest.get(..at).unwrap_or_default());
            clean.extend_from_slice(placeholder(name).as_bytes());
            rest = rest.get(at + secret.expose().len()..).unwrap_or_default();
        }
        if clean.is_empty() {
            return body;
        }
        clean.extend_from_slice(rest);
        clean
    })
}

fn placeholder(secret: &str) -> String {
    format!("{{{{secret:{secret}}}}}")
}

/// The secrets that a value names.
fn secret_names(value: &str) -> Vec<String> {
    let parts = value.split("{{secret:").skip(1);
    parts
        .filter_map(|part| part.split_once("}}"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn unsent(error: &reqwest::Error) -> Failure {
    let mut cause = error.source();
    let mut last = None;
    while let Some(why) = cause {
        if let Some(barred) = why.downcast_ref::<Barred>() {
            return failure(FailureKind::Denied, barred.to_string());
        }
        last = Some(why.to_string());
        cause = why.source();
    }
    let to = error
        .url()
        .map_or_else(String::new, |url| format!(" from {url}"));
    let kind = if error.is_timeout() {
        FailureKind::TimedOut
    } else {
        FailureKind::Unavailable
    };
    let why = last.unwrap_or_else(|| error.to_string());
    failure(kind, format!("no answer{to}: {why}"))
}
