//! How a server is reached.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

/// Characters of a server's name.
const LONGEST: usize = 32;

/// A server that a user trusts enough to name it in their settings.
#[derive(Clone)]
pub struct ServerConfig {
    /// What its tools are named by.
    pub name: ServerName,
    /// Where it is.
    pub transport: Transport,
    /// How long it may take to start and to list its tools.
    pub start_timeout: Duration,
    /// How long a call may go on without a sign of life.
    pub timeout: Duration,
    /// Patterns of the tools that are offered, with `*` for any text; all, where this is empty.
    pub tools: Vec<String>,
}

/// Where a server is.
#[derive(Clone)]
pub enum Transport {
    /// It is a program that is started, and speaks on its standard input and output.
    Command {
        /// The program: a path, or a name that is looked up on the `PATH`.
        program: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables beside the few that every program needs. They may be secret.
        env: BTreeMap<String, String>,
        /// The folder it is started in.
        folder: PathBuf,
    },
    /// It is behind streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Headers of every request. They may be secret.
        headers: BTreeMap<String, String>,
        /// Where its bearer token comes from, if it wants one: asked for at each connection. It may block.
        token: Option<Token>,
        /// How a token is had by OAuth where `token` gives none.
        oauth: OAuth,
    },
}

/// How gpak is known to the authorization server of an MCP server.
#[derive(Clone, Default)]
pub struct OAuth {
    /// In whose name it asks.
    pub grant: Grant,
    /// What it is known as, where somebody registered it; else it registers itself.
    pub client_id: Option<String>,
    /// The secret that belongs to `client_id`, if it has one. It may block.
    pub client_secret: Option<Token>,
    /// The address of a page that says who it is (a client ID metadata document), for authorization servers
    /// that take one in place of a registration.
    pub client_metadata_url: Option<String>,
    /// What is asked for; what the server names, where this is empty.
    pub scopes: Vec<String>,
    /// The port of this machine that a browser is sent back to; a free one, where none is named.
    pub redirect_port: Option<u16>,
    /// Whether its authorization server may be of this machine or its network though the MCP server is not.
    pub private_hosts: bool,
}

/// In whose name a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grant {
    /// A person's, who logs in once, in a browser (OAuth's `authorization_code`).
    #[default]
    Person,
    /// Its own, by `client_id` and `client_secret` (`client_credentials`).
    Client,
}

/// Gives a token, or says why it cannot.
pub type Token = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

impl ServerConfig {
    /// Changes when the server is another: by a program, an address, an argument, the name of a variable.
    /// Values of variables and headers may be secrets, and change without the server being another.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-25 mcp server");
        let mut add = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        match &self.transport {
            Transport::Command {
                program,
                args,
                env,
                folder,
            } => {
                ["command", program].into_iter().for_each(&mut add);
                args.iter().for_each(|arg| add(arg));
                add("in");
                add(&folder.to_string_lossy());
                env.keys().for_each(|name| add(name));
            }
            Transport::Http { url, headers, .. } => {
                ["http", url].into_iter().for_each(&mut add);
                headers.keys().for_each(|name| add(name));
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Whether the settings let this tool of the server be offered.
    pub(super) fn offers(&self, tool: &str) -> bool {
        self.tools.is_empty() || self.tools.iter().any(|pattern| is_match(pattern, tool))
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn is_match(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.filter_map(|at| text.get(at..))
        .any(|text| is_match(rest, text))
}

/// The name of a server: `[a-z0-9_-]`, at most 32 of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(String);

impl ServerName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "`{text}` cannot be the name of a server; one is of a to z, 0 to 9, `_` and `-`, and has at most {LONGEST} of them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is) in [
            ("*", "read_file", true),
            ("read_*", "read_file", true),
            ("*_file", "read_file", true),
            ("r*d*e", "read_file", true),
            ("read", "read_file", false),
            ("*x*", "read_file", false),
        ] {
            assert_eq!(is_match(pattern, text), is, "{pattern}");
        }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for name in ["", "Files", "a.b", "a b", &"x".repeat(33)] {
            assert!(name.parse::<ServerName>().is_err(), "{name}");
        }
        assert_eq!(
            "my-files_2".parse::<ServerName>().unwrap().as_str(),
            "my-files_2"
        );
    }
}
