//! Models of a model hub, over HTTPS.
//!
//! The crate `hf-hub` knows where the hub is (and that `HF_ENDPOINT` moves it) and how its addresses are
//! made; the transfer is our own, because it has to go on after an interruption, give up quickly
//! where there is no network, and not believe a server that ignores a range.

use std::time::Duration;

use hf_hub::api::sync::ApiBuilder;
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use super::{
    Watch,
    part::{Broken, Part, Refused},
    pull::{Failure, Network},
};

/// How long a server may be silent in the middle of a file.
const SILENCE: Duration = Duration::from_secs(30);
/// Connections in a row that may bring nothing, once one brought something.
const FRUITLESS: u32 = 3;

/// Fetches what `part` lacks of a file of a repository.
pub(super) fn fetch(
    network: &Network,
    repository: &str,
    path: &str,
    part: &mut Part,
    watch: &mut dyn Watch,
) -> Result<(), Failure> {
    let url = address(network, repository, path)?;
    let agent = agent(network.connect);
    let mut fruitless = 0;
    let mut worked = false;
    loop {
        let before = part.len();
        let error = match once(&agent, &url, part, watch) {
            Ok(()) => return Ok(()),
            Err(Failure::Source(error)) => error,
            Err(stop) => return Err(stop),
        };
        let progress = part.len() > before;
        worked |= progress;
        fruitless = if progress { 0 } else { fruitless + 1 };
        if !worked || fruitless >= FRUITLESS {
            return Err(Failure::Source(error));
        }
        std::thread::sleep(network.pause * (fruitless + 1));
    }
}

/// Whether the hub answers at all about this file.
pub(super) fn answers(network: &Network, repository: &str, path: &str) -> bool {
    let url = address(network, repository, path).ok();
    url.is_some_and(|url| agent(network.connect).head(&url).call().is_ok())
}

fn address(network: &Network, repository: &str, path: &str) -> Result<String, Failure> {
    let mut builder = ApiBuilder::from_env().with_progress(false).with_token(None);
    if let Some(endpoint) = &network.hub {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let api = builder
        .build()
        .map_err(|error| Failure::Source(error.to_string()))?;
    Ok(api.model(repository.to_owned()).url(path))
}

fn agent(connect: Duration) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("gpak/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE));
    config.build().into()
}

/// One connection. `Ok`: the part is whole.
fn once(agent: &Agent, url: &str, part: &mut Part, watch: &mut dyn Watch) -> Result<(), Failure> {
    if part.len() == part.total() {
        return Ok(());
    }
    let range = format!("bytes={}-", part.len());
    let reply = agent
        .get(url)
        .header(header::RANGE, range)
        .header(header::ACCEPT_ENCODING, "identity")
        .call();
    let reply = reply.map_err(|error| Failure::Source(unreachable(error)))?;
    place(&reply, part)?;
    let mut reader = reply.into_body().into_reader();
    match part.append_all(&mut reader, watch) {
        Ok(()) if part.len() == part.total() => Ok(()),
        Ok(()) => Err(broke_off(part, "the connection ended")),
        Err(Broken::Read(error)) => Err(broke_off(part, &error.to_string())),
        Err(Broken::Refused(Refused::Bytes(reason))) => Err(Failure::Source(reason)),
        Err(Broken::Refused(Refused::Stop(error))) => Err(Failure::Stop(error)),
    }
}

fn unreachable(error: ureq::Error) -> String {
    let reason = match error {
        ureq::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    format!("it cannot be reached ({reason})")
}

fn broke_off(part: &Part, why: &str) -> Failure {
    Failure::Source(format!(
        "it broke off after {} of {} bytes: {why}",
        part.len(),
        part.total()
    ))
}

/// Makes sure that the reply goes on where the part ends.
fn place(reply: &Response<Body>, part: &mut Part) -> Result<(), Failure> {
    match reply.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = reply
                .headers()
                .get(header::CONTENT_RANGE)
                .and_then(|value| value.to_str().ok());
            let (start, total) = range.and_then(content_range).unwrap_or((0, None));
            if start != part.len() {
                return Err(Failure::Source(
                    "it answered with another range than asked for".into(),
                ));
            }
            same_size(total, part)
        }
        StatusCode::OK => {
            part.restart().map_err(Failure::Stop)?;
            same_size(reply.body().content_length(), part)
        }
        StatusCode::NOT_FOUND => Err(Failure::Source("it has no such file (404)".into())),
        status => Err(Failure::Source(format!("it answered {status}"))),
    }
}

fn same_size(size: Option<u64>, part: &Part) -> Result<(), Failure> {
    match size {
        Some(size) if size != part.total() => Err(Failure::Source(format!(
            "its file has {size} bytes, not {}",
            part.total()
        ))),
        _ => Ok(()),
    }
}

/// Start and full size in `bytes 5-9/10` (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}
