//! What a package asks for and what it was granted: the same things, the second no more than the first.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::net::HostPattern;

/// What a package asks for, or was granted. Nothing by default: then it can compute and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asks {
    /// To know what time it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clock: bool,
    /// Random bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub random: bool,
    /// Variables of gpak's environment, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Hosts that it sends requests to: `api.example.com`, `*.example.com`, `example.com:8443`. Without a
    /// port: 443 and 80.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Hosts that may be this machine or one of its network: `localhost:8080`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private_hosts: Vec<HostPattern>,
    /// Secrets, which the host puts into headers on the way to these hosts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretAsk>,
    /// Folders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FolderAsk>,
    /// Room for values that it keeps, in KiB; none with 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub kv_kib: u32,
    /// Pure tools that it calls, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invoke: Vec<String>,
    /// The interfaces of WASI 0.2, for guests whose language cannot do without: with the folders above, and
    /// without network or environment. The clock and random bytes come with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wasi: bool,
}

/// A secret that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretAsk {
    /// Hosts that it is sent to; each is among `hosts` or `private_hosts`.
    pub hosts: Vec<HostPattern>,
    /// What it is and where to get it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A folder that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderAsk {
    /// Relative to the workspace, `.` for all of it; or absolute, which can only be read.
    pub path: String,
    /// What it does there.
    #[serde(default)]
    pub access: FileAccess,
}

/// What is done in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAccess {
    /// Files are read and listed.
    #[default]
    Read,
    /// They are changed, too.
    Write,
}

/// Something that a component can import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// To know what time it is.
    Clock,
    /// Random bytes.
    Random,
    /// Variables of the environment.
    Environment,
    /// Requests to hosts.
    Http,
    /// Files.
    Files,
    /// Values that it keeps.
    Values,
    /// Calls of other tools.
    Invoke,
    /// WASI.
    Wasi,
}

impl Capability {
    /// What `[asks]` says to have it.
    pub fn line(self) -> &'static str {
        match self {
            Self::Clock => "clock = true",
            Self::Random => "random = true",
            Self::Environment => "environment = [\"NAME\"]",
            Self::Http => "hosts = [\"api.example.com\"]",
            Self::Files => "files = [{ path = \".\", access = \"read\" }]",
            Self::Values => "kv_kib = 64",
            Self::Invoke => "invoke = [\"TOOL\"]",
            Self::Wasi => "wasi = true",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clock => "the clock",
            Self::Random => "random bytes",
            Self::Environment => "variables of the environment",
            Self::Http => "requests to hosts",
            Self::Files => "files",
            Self::Values => "values kept from call to call",
            Self::Invoke => "calls of other tools",
            Self::Wasi => "WASI",
        })
    }
}

impl Asks {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they have it.
    pub fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Clock => self.clock || self.wasi,
            Capability::Random => self.random || self.wasi,
            Capability::Environment => !self.environment.is_empty(),
            Capability::Http => !self.hosts.is_empty() || !self.private_hosts.is_empty(),
            Capability::Files => !self.files.is_empty(),
            Capability::Values => self.kv_kib > 0,
            Capability::Invoke => !self.invoke.is_empty(),
            Capability::Wasi => self.wasi,
        }
    }

    /// In words, a line for each thing, for the person who grants it.
    pub fn lines(&self) -> Vec<String> {
        self.items().into_iter().map(|(_, line)| line).collect()
    }

    /// The same with the name by which [`Asks::without`] leaves it out.
    pub fn items(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut item = |name: String, line: String| all.push((name, line));
        for folder in &self.files {
            let place = match folder.path.as_str() {
                "." => "the whole workspace".to_owned(),
                path if Path::new(path).is_absolute() => format!("the folder {path}"),
                path => format!("{path} of the workspace"),
            };
            let verb = match folder.access {
                FileAccess::Read => "read",
                FileAccess::Write => "read and change",
            };
            item(
                format!("files:{}", folder.path),
                format!("{verb} files in {place}"),
            );
        }
        for host in &self.hosts {
            item(format!("hosts:{host}"), format!("send requests to {host}"));
        }
        for host in &self.private_hosts {
            item(
                format!("private_hosts:{host}"),
                format!("send requests to {host}, also where that is this machine or its network"),
            );
        }
        for (name, secret) in &self.secrets {
            let hosts: Vec<_> = secret.hosts.iter().map(ToString::to_string).collect();
            let what = match secret.description.as_str() {
                "" => String::new(),
                what => format!(" ({what})"),
            };
            item(
                format!("secrets:{name}"),
                format!(
                    "have the secret {name}{what} sent to {}",
                    hosts.join(" and ")
                ),
            );
        }
        for name in &self.environment {
            item(
                format!("environment:{name}"),
                format!("read the environment variable {name}"),
            );
        }
        for name in &self.invoke {
            item(format!("invoke:{name}"), format!("call the tool {name}"));
        }
        if self.kv_kib > 0 {
            item(
                "kv_kib".to_owned(),
                format!("keep {} KiB of values", self.kv_kib),
            );
        }
        if self.clock {
            item("clock".to_owned(), "know what time it is".to_owned());
        }
        if self.random {
            item("random".to_owned(), "have random bytes".to_owned());
        }
        if self.wasi {
            item(
                "wasi".to_owned(),
                "use WASI (the clock, random bytes, the folders above; no network)".to_owned(),
            );
        }
        all
    }

    /// Without one thing, named as in [`Asks::items`]; None if there is none of that name.
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut rest = self.clone();
        match name.split_once(':') {
            None => match name {
                "clock" => rest.clock = false,
                "random" => rest.random = false,
                "wasi" => rest.wasi = false,
                "kv_kib" => rest.kv_kib = 0,
                "environment" => rest.environment.clear(),
                "hosts" => rest.hosts.clear(),
                "private_hosts" => rest.private_hosts.clear(),
                "secrets" => rest.secrets.clear(),
                "files" => rest.files.clear(),
                "invoke" => rest.invoke.clear(),
                _ => return None,
            },
            Some(("files", path)) => rest.files.retain(|folder| folder.path != path),
            Some(("hosts", host)) => rest.hosts.retain(|one| one.to_string() != host),
            Some(("private_hosts", host)) => {
                rest.private_hosts.retain(|one| one.to_string() != host);
            }
            Some(("secrets", name)) => {
                rest.secrets.remove(name);
            }
            Some(("environment", name)) => rest.environment.retain(|one| one != name),
            Some(("invoke", name)) => rest.invoke.retain(|one| one != name),
            Some(_) => return None,
        }
        (rest != *self).then_some(rest)
    }

    /// Whether all of it is among what `others` have.
    pub fn is_within(&self, others: &Self) -> bool {
        let files = |folder: &FolderAsk| {
            let same = others
                .files
                .iter()
                .filter(|other| other.path == folder.path);
            same.map(|other| other.access).max() >= Some(folder.access)
        };
        let secret = |(name, secret): (&String, &SecretAsk)| {
            let other = others.secrets.get(name);
            other.is_some_and(|other| is_subset(&secret.hosts, &other.hosts))
        };
        self.clock <= others.clock
            && self.random <= others.random
            && self.wasi <= others.wasi
            && self.kv_kib <= others.kv_kib
            && is_subset(&self.environment, &others.environment)
            && is_subset(&self.hosts, &others.hosts)
            && is_subset(&self.private_hosts, &others.private_hosts)
            && is_subset(&self.invoke, &others.invoke)
            && self.files.iter().all(files)
            && self.secrets.iter().all(secret)
    }

    /// What is wrong with them, if something is.
    pub(crate) fn fault(&self) -> Option<String> {
        const MOST_KIB: u32 = 64 * 1024;
        if self.kv_kib > MOST_KIB {
            return Some(format!(
                "asks.kv_kib is {}; it goes up to {MOST_KIB}",
                self.kv_kib
            ));
        }
        for folder in &self.files {
            let path = Path::new(&folder.path);
            let parts = || path.components();
            let up = parts().any(|part| matches!(part, std::path::Component::ParentDir));
            if folder.path.is_empty() || up {
                return Some(format!(
                    "asks.files has the path {:?}; write a folder relative to the workspace (\".\" for all \
                     of it), or an absolute one to read, without ..",
                    folder.path
                ));
            }
            if path.is_absolute() && folder.access == FileAccess::Write {
                return Some(format!(
                    "asks.files wants to change {}; files are changed in the workspace only, where gpak can \
                     undo it",
                    folder.path
                ));
            }
        }
        for (name, secret) in &self.secrets {
            let known =
                |host: &HostPattern| self.hosts.contains(host) || self.private_hosts.contains(host);
            if secret.hosts.is_empty() {
                return Some(format!(
                    "asks.secrets.{name} names no hosts that it is sent to"
                ));
            }
            if let Some(host) = secret.hosts.iter().find(|host| !known(host)) {
                return Some(format!(
                    "asks.secrets.{name} is for {host}, which is not among asks.hosts"
                ));
            }
        }
        let empty = self
            .environment
            .iter()
            .chain(&self.invoke)
            .any(String::is_empty);
        empty.then(|| "asks.environment and asks.invoke take names that are not empty".to_owned())
    }
}

fn is_subset<T: PartialEq>(some: &[T], all: &[T]) -> bool {
    some.iter().all(|one| all.contains(one))
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
