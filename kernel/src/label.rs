//! Where a piece of text came from.

use std::{fmt, str::FromStr};

/// The source of a piece of text, and so how far it is trusted. Written `user`, `self`,
/// `tool:read_file`, `web:example.org`, `peer:scout-2`, `repo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// The person the run works for.
    User,
    /// The run itself: its mind and its machine.
    Own,
    /// The workspace's own instructions (`AGENTS.md`).
    Repo,
    /// The result of a tool.
    Tool(String),
    /// A host on the network.
    Web(String),
    /// Another agent.
    Peer(String),
}

impl Label {
    /// Whether text with this label can authorise an act. Text from outside can inform; it cannot
    /// authorise.
    pub fn is_trusted(&self) -> bool {
        self.distance() == 0
    }

    /// The one of both that is trusted less: what is made of several texts is trusted no more than the
    /// worst of them.
    pub fn or_less_trusted(self, other: &Self) -> Self {
        match other.distance() > self.distance() {
            true => other.clone(),
            false => self,
        }
    }

    /// How far away a text comes from.
    fn distance(&self) -> u8 {
        match self {
            Self::User | Self::Own => 0,
            Self::Repo => 1,
            Self::Tool(_) => 2,
            Self::Web(_) => 3,
            Self::Peer(_) => 4,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Own => f.write_str("self"),
            Self::Repo => f.write_str("repo"),
            Self::Tool(name) => write!(f, "tool:{name}"),
            Self::Web(host) => write!(f, "web:{host}"),
            Self::Peer(agent) => write!(f, "peer:{agent}"),
        }
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s.split_once(':') {
            None if s == "user" => Self::User,
            None if s == "self" => Self::Own,
            None if s == "repo" => Self::Repo,
            Some(("tool", name)) => Self::Tool(name.to_owned()),
            Some(("web", host)) => Self::Web(host.to_owned()),
            Some(("peer", agent)) => Self::Peer(agent.to_owned()),
            _ => {
                return Err(format!(
                    "`{s}` is no label; one is `user`, `self`, `repo`, `tool:…`, `web:…` or `peer:…`"
                ));
            }
        })
    }
}

/// Serialises a type as the text its `Display` writes and its `FromStr` reads.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

serde_as_text!(Label);
