//! What a node is called, and how two of one name are told apart.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::Write,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use gpak_proto::v1;

/// A node's name: a label of DNS (RFC 1123) in lower case, as it is in its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(String);

/// Why a node is not spoken with.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It has no name that can be one.
    #[error(
        "`{0}` is no name of a node; one has up to 63 lower-case letters, digits and hyphens in between"
    )]
    Name(String),
    /// It does not say which of several it is.
    #[error("the node {0} gives no instance of 16 bytes, by which two of one name are told apart")]
    NoInstance(NodeId),
    /// Another one has its name.
    #[error(
        "another node is called {0}: give one of the two another name, or, if this is the same one set up \
         anew, `gpak core forget {0}` on the core"
    )]
    Twice(NodeId),
    /// Its certificate is another one's.
    #[error(
        "the certificate of this connection is not for the node {0}; `gpak core enrol {0}` on the core makes one"
    )]
    Certificate(NodeId),
    /// The list of nodes could not be read or written.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeError;

    fn from_str(s: &str) -> Result<Self, NodeError> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = !s.is_empty()
            && s.len() <= 63
            && s.chars().all(fits)
            && !s.starts_with('-')
            && !s.ends_with('-');
        match is_name {
            true => Ok(Self(s.to_owned())),
            false => Err(NodeError::Name(s.chars().take(80).collect())),
        }
    }
}

impl AsRef<str> for NodeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Which of several nodes of one name it is: random, and made once.
pub type Instance = [u8; 16];

/// The nodes that a core knows, in a file: the first that comes with a name has it. Several processes may have it open.
pub struct Registry {
    path: PathBuf,
    one: Mutex<()>,
}

impl Registry {
    /// Those in the file `path`, which may be missing.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        let registry = Self {
            path: path.to_owned(),
            one: Mutex::default(),
        };
        registry.read()?;
        Ok(registry)
    }

    /// Who speaks, if nobody else has the name.
    ///
    /// # Errors
    /// Why it is not spoken with.
    pub fn admit(&self, node: Option<&v1::Node>) -> Result<NodeId, NodeError> {
        let said = node.map_or("", |node| &node.id);
        let id: NodeId = said.parse()?;
        let instance = node.map_or(&[][..], |node| &node.instance);
        if instance.len() != 16 {
            return Err(NodeError::NoInstance(id));
        }
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        self.change(|known| match known.get(id.as_ref()) {
            Some(first) if *first == instance => Ok((false, id)),
            Some(_) => Err(NodeError::Twice(id)),
            None => {
                known.insert(id.to_string(), instance);
                Ok((true, id))
            }
        })
    }

    /// Gives a name free. Answers whether somebody had it.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn forget(&self, id: &NodeId) -> Result<bool, NodeError> {
        self.change(|known| {
            let was_known = known.remove(id.as_ref()).is_some();
            Ok((was_known, was_known))
        })
    }

    /// Changes the list as it is in the file now, while nobody else does.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(bool, T), NodeError>,
    ) -> Result<T, NodeError> {
        let _one = self.one.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |why: std::io::Error| self.failed(why.to_string());
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = fs::File::create(self.path.with_extension("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut known = self.read()?;
        let (is_changed, answer) = change(&mut known)?;
        if is_changed {
            self.write(&known)?;
        }
        Ok(answer)
    }

    fn read(&self) -> Result<BTreeMap<String, String>, NodeError> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| self.failed(format!("it is no list of nodes: {why}"))),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(why) => Err(self.failed(why.to_string())),
        }
    }

    fn failed(&self, why: String) -> NodeError {
        NodeError::File {
            path: self.path.clone(),
            why,
        }
    }

    /// Whole, beside its place, and then in it.
    fn write(&self, known: &BTreeMap<String, String>) -> Result<(), NodeError> {
        let failed = |why: std::io::Error| self.failed(why.to_string());
        let bytes = serde_json::to_vec_pretty(known).map_err(|why| failed(why.into()))?;
        let beside = self.path.with_extension("new");
        let mut file = fs::File::create(&beside).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&beside, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, byte: u8) -> v1::Node {
        v1::Node {
            id: id.into(),
            instance: vec![byte; 16],
        }
    }

    #[test]
    fn the_first_node_of_a_name_has_it_also_after_the_core_was_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodes.json");
        let registry = Registry::open(&path).unwrap();
        let first = registry.admit(Some(&node("scout-1", 1))).unwrap();
        let registry = Registry::open(&path).unwrap();
        registry.admit(Some(&node("scout-1", 1))).unwrap();
        let why = registry.admit(Some(&node("scout-1", 2))).unwrap_err();
        assert!(why.to_string().contains("another node is called scout-1"));
        // Another process forgets it, and this one knows.
        let other = Registry::open(&path).unwrap();
        assert!(other.forget(&first).unwrap());
        assert!(!registry.forget(&first).unwrap());
        registry.admit(Some(&node("scout-1", 2))).unwrap();
    }

    #[test]
    fn what_is_no_name_is_not_one() {
        let long = "a".repeat(64);
        for name in ["", "-a", "a-", "A", "a.b", "a*", "a>", "a b", &long] {
            assert!(name.parse::<NodeId>().is_err(), "{name}");
        }
        "a-1".parse::<NodeId>().unwrap();
    }
}
