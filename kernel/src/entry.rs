//! The hash chain: an [`Event`] sealed with its run, number, time and label.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    event::{Event, RunId},
    label::{Label, serde_as_text},
};

/// A BLAKE3 hash, written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first entry of a run has as `prev`.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(s)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|e| format!("`{s}` is no BLAKE3 hash: {e}"))
    }
}

serde_as_text!(Hash);

/// The end of a run's journal: what the next entry is chained to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last entry; 0 when there is none.
    pub seq: u64,
    /// Its hash; zero when there is none.
    pub hash: Hash,
}

impl Head {
    /// Of a run without entries.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: Hash::ZERO,
    };
}

/// An event with its run, number, time, label and hashes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// Counts the entries of the run, from 1.
    pub seq: u64,
    /// When it was sealed, UTC.
    pub time: Timestamp,
    /// Where the event's content came from.
    pub label: Label,
    /// Hash of the entry before; zero for the first.
    pub prev: Hash,
    /// Hash over `prev` and the canonical bytes of everything else.
    pub hash: Hash,
    /// What happened.
    pub event: Event,
}

/// An entry that is not what was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Its content does not give its hash.
    #[error("entry {seq} of run {run} was changed after it was written")]
    Changed {
        /// The run.
        run: RunId,
        /// The entry.
        seq: u64,
    },
    /// It does not follow the entry before it.
    #[error(
        "entry {seq} of run {run} does not follow the one before it: an entry was removed, added or reordered"
    )]
    Unchained {
        /// The run.
        run: RunId,
        /// The entry.
        seq: u64,
    },
    /// It is no entry at all.
    #[error("entry {seq} of run {run} cannot be read: {message}")]
    Unreadable {
        /// The run.
        run: RunId,
        /// The entry.
        seq: u64,
        /// What is wrong.
        message: String,
    },
}

impl Entry {
    /// Seals `event` behind `head`.
    pub fn seal(run: RunId, head: Head, time: Timestamp, event: Event) -> Self {
        let (seq, label) = (head.seq + 1, event.label());
        let body = canonical(&event);
        let hash = chain_hash(head.hash, run, seq, time, &label, body.as_bytes());
        Self {
            run,
            seq,
            time,
            label,
            prev: head.hash,
            hash,
            event,
        }
    }

    /// The head of a journal that ends with this entry.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// The event's canonical JSON: the bytes that were hashed, unless a newer version of gpak added
    /// fields that this one does not know.
    pub fn body(&self) -> String {
        canonical(&self.event)
    }

    /// Reads a stored entry and checks it against the one before.
    ///
    /// # Errors
    /// If it is not what was sealed behind `head`.
    pub fn open(stored: Stored<'_>, head: Head) -> Result<Self, ChainError> {
        let Stored {
            run,
            seq,
            time,
            label,
            prev,
            hash,
            body,
        } = stored;
        if seq != head.seq + 1 || prev != head.hash {
            return Err(ChainError::Unchained { run, seq });
        }
        if chain_hash(prev, run, seq, time, &label, body.as_bytes()) != hash {
            return Err(ChainError::Changed { run, seq });
        }
        let event = parse(body).map_err(|message| ChainError::Unreadable { run, seq, message })?;
        Ok(Self {
            run,
            seq,
            time,
            label,
            prev,
            hash,
            event,
        })
    }
}

/// An entry as a journal stores it, with the event as its canonical JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<'a> {
    /// See [`Entry::run`].
    pub run: RunId,
    /// See [`Entry::seq`].
    pub seq: u64,
    /// See [`Entry::time`].
    pub time: Timestamp,
    /// See [`Entry::label`].
    pub label: Label,
    /// See [`Entry::prev`].
    pub prev: Hash,
    /// See [`Entry::hash`].
    pub hash: Hash,
    /// The canonical JSON of [`Entry::event`].
    pub body: &'a str,
}

/// Reads an event; one that this version knows must be whole.
fn parse(body: &str) -> Result<Event, String> {
    let event = serde_json::from_str(body).map_err(|e| e.to_string())?;
    if let Event::Unknown(value) = &event {
        match value.get("type").and_then(Value::as_str) {
            None => return Err("it has no type".to_owned()),
            Some(name) if Event::TYPES.contains(&name) => {
                return Err(format!("it is no whole `{name}` event"));
            }
            Some(_) => {}
        }
    }
    Ok(event)
}

/// JSON without white space, the members of every object sorted by name, numbers as they are: what is
/// read back is what was written. (RFC 8785 would make doubles of all numbers.)
///
/// Events are made of structs, text and JSON values, which always serialise; if one did not, its entry
/// would carry the reason and could not be read.
pub(crate) fn canonical(value: &impl Serialize) -> String {
    let sorted = serde_json::to_value(value).map(|mut value| {
        value.sort_all_objects();
        value.to_string()
    });
    sorted.unwrap_or_else(|why| format!("unserialisable: {why}"))
}

fn chain_hash(
    prev: Hash,
    run: RunId,
    seq: u64,
    time: Timestamp,
    label: &Label,
    body: &[u8],
) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-22 journal entry");
    hasher.update(&prev.0);
    for field in [
        run.to_string().as_bytes(),
        &seq.to_le_bytes(),
        time.to_string().as_bytes(),
        label.to_string().as_bytes(),
        body,
    ] {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    Hash(*hasher.finalize().as_bytes())
}
