//! What the models behind HTTP share: where a server is and how it is reached, what its failures
//! mean, how its stream becomes a reply.
//!
//! The providers own what differs: the shape of a request and of the pieces that come back.
// With a provider left out some of this is used by nobody.
#![cfg_attr(
    not(all(feature = "openai", feature = "ollama")),
    allow(dead_code, unused_imports)
)]

mod asking;
mod draft;
mod failure;
mod names;
mod negotiate;
mod probe;
mod sent;
mod server;
mod tags;
mod turns;

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

pub(crate) use asking::Asking;
pub(crate) use draft::{Counts, Draft, Piece, Reading};
pub(crate) use failure::Failure;
pub(crate) use names::{Names, call_id};
use negotiate::less;
pub(crate) use probe::{PROBE_TEXT, is_an_answer, is_pong, missing, ping};
pub(crate) use sent::{Places, check_sent};
pub(crate) use server::Server;
pub(crate) use turns::joined;

/// Tokens of a window, where neither the server nor the options say how many: what the smallest
/// models in use have. A wrong guess upwards fails every long run, one downwards only compacts early.
pub const DEFAULT_WINDOW: u32 = 8192;

/// A result as a model with native calls sees it.
pub(crate) fn observed(text: &str, ok: bool) -> String {
    if ok {
        text.to_owned()
    } else {
        format!("Error: {text}")
    }
}

/// A key that no log, error or journal shows: it prints and serialises as `***`.
#[derive(Clone)]
pub struct Key(SecretString);

impl Key {
    /// The key in `text`, without the white space around it (the line end of a file or a command).
    pub fn new(text: &str) -> Self {
        Self(SecretString::from(text.trim()))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// Where a server is and how it is reached.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its address up to the API's own paths: `https://api.openai.com/v1`, `http://127.0.0.1:11434`.
    pub base_url: String,
    /// The key it asks for, if it asks for one.
    pub key: Option<Key>,
    /// The proxy that everything goes through (`http://host:port`). None: what the environment says
    /// (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), but no proxy to a server on this machine.
    pub proxy: Option<String>,
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long a server may say nothing before the first token: it may be loading the model or
    /// reading a long prompt.
    pub first_token: Duration,
    /// How long it may say nothing between two tokens.
    pub idle: Duration,
}

impl Connection {
    /// To this address, with no key, 10 s to connect, 10 min to the first token and 2 min between tokens.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            key: None,
            proxy: None,
            connect: Duration::from_secs(10),
            first_token: Duration::from_secs(600),
            idle: Duration::from_secs(120),
        }
    }
}
