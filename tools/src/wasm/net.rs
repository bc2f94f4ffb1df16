//! Hosts that a tool may reach, and the way to them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

mod address;
mod client;

pub(crate) use address::is_public;
pub(crate) use client::{Barred, Network, Reach, tls};
pub use client::{Names, SystemNames};

/// A host as a manifest names it: `api.example.com`, `*.example.com` (any name below), with `:PORT`, or an
/// address. Without a port it stands for 443 and 80.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern {
    /// In lower case, without a dot at the end. IPv6 without brackets.
    name: String,
    below: bool,
    port: Option<u16>,
}

impl HostPattern {
    /// Whether it stands for that host and port.
    pub(crate) fn matches(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let named = if self.below {
            let rest = host.strip_suffix(self.name.as_str());
            rest.is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        } else {
            host == self.name
        };
        named
            && self
                .port
                .map_or(port == 443 || port == 80, |own| own == port)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.below {
            f.write_str("*.")?;
        }
        match self.name.contains(':') {
            true => write!(f, "[{}]", self.name)?,
            false => f.write_str(&self.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = |why: &str| {
            format!(
                "the host {text:?} is not one: {why}; write one like \"api.example.com\", \
                 \"*.example.com\" or \"localhost:8080\""
            )
        };
        let (below, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (name, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, rest.strip_prefix(':')),
            None => match rest.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, Some(port)),
                _ => (rest, None),
            },
        };
        let port = port.map(|port| port.parse().map_err(|_| fault("its port is no number")));
        let port = port.transpose()?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(fault(
                "it has letters, digits, - and . only, and no scheme or path",
            ));
        }
        if below && !name.contains('.') {
            return Err(fault(
                "a star stands for names below a domain with two parts",
            ));
        }
        Ok(Self { name, below, port })
    }
}

impl Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_stands_for_itself_and_a_star_for_what_is_below() {
        for (pattern, name, port, is) in [
            ("example.com", "example.com", 443, true),
            ("example.com", "EXAMPLE.com.", 80, true),
            ("example.com", "example.com", 8080, false),
            ("example.com", "api.example.com", 443, false),
            ("example.com", "badexample.com", 443, false),
            ("*.example.com", "api.example.com", 443, true),
            ("*.example.com", "a.b.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*.example.com", "badexample.com", 443, false),
            ("*.example.com", ".example.com", 443, false),
            ("localhost:8080", "localhost", 8080, true),
            ("localhost:8080", "localhost", 443, false),
            ("[::1]:80", "[::1]", 80, true),
            ("::1", "::1", 443, true),
        ] {
            assert_eq!(
                host(pattern).matches(name, port),
                is,
                "{pattern} for {name}:{port}"
            );
        }
    }

    #[test]
    fn what_is_no_host_is_refused_and_others_are_written_as_they_were_read() {
        for text in [
            "",
            "*",
            "*.com",
            "https://a.b",
            "a.b/c",
            "a b",
            "a.b:http",
            "user@a.b",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        for text in ["a.b", "*.a.b", "a.b:1", "*.a.b:1", "[::1]", "[::1]:1"] {
            assert_eq!(host(text).to_string(), text);
        }
    }
}
