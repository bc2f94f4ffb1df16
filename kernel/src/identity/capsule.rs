//! What a self consists of.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::canonical;
use crate::{entry::Hash, label::Label, memory::Origin};

/// Learned items of one capsule, at most.
pub const ITEMS: usize = 256;
/// Entries that one item names as its evidence, at most. Older ones stay in the history.
pub const EVIDENCE: usize = 16;
/// Bytes of one text, at most.
pub const LONGEST_TEXT: usize = 8 * 1024;
/// Canonical bytes of one capsule, at most.
pub const MOST_BYTES: usize = 256 * 1024;

/// A self: what it is, what it is for, what binds it, and what it learnt. It says nothing of its version, so
/// that an older content can come back byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capsule {
    /// What never changes.
    pub core: Arc<Core>,
    /// What it is for; may be empty.
    pub mission: String,
    /// What binds it beside the constitution.
    pub constraints: Vec<String>,
    /// What it learnt, oldest first.
    pub learned: Vec<Arc<Learned>>,
}

/// What never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// What it is called.
    pub name: String,
    /// Who it is and how it speaks; may be empty.
    pub persona: String,
    /// The rules that stand above all else.
    pub constitution: Vec<String>,
}

/// The number of a learned item. No two items of one history have the same, also when the first of them is
/// gone.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ItemId(pub u32);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for ItemId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let id = s.parse().map(Self);
        id.map_err(|_| format!("`{s}` is no item; `gpak identity show` shows their numbers"))
    }
}

/// Something that was learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// Its number.
    pub id: ItemId,
    /// What it says.
    pub text: String,
    /// The entries that it was learnt from, oldest first.
    pub evidence: Vec<Origin>,
    /// Where it came from.
    pub label: Label,
    /// Whether it can be neither revised nor retired.
    pub pinned: bool,
    /// Whether the user stands by it.
    pub endorsed: bool,
}

impl Learned {
    /// Whether a model is told of it. What came from outside can inform; it cannot shape the self unless the
    /// user stands by it.
    pub fn is_shown(&self) -> bool {
        self.label.is_trusted() || self.endorsed
    }
}

impl Capsule {
    /// One that says nothing yet.
    pub(super) fn empty() -> Self {
        Self {
            core: Arc::default(),
            mission: String::new(),
            constraints: Vec::new(),
            learned: Vec::new(),
        }
    }

    /// Its canonical bytes (RFC 8785).
    pub fn bytes(&self) -> Vec<u8> {
        canonical::bytes(self)
    }

    /// The hash of its canonical bytes.
    pub fn hash(&self) -> Hash {
        canonical::hash("gpak 2026-11-26 identity capsule", self)
    }

    /// The learned item of that number.
    pub fn item(&self, id: ItemId) -> Option<&Arc<Learned>> {
        self.learned.iter().find(|item| item.id == id)
    }
}
