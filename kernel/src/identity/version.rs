//! One link of an identity's chain, and why one is refused.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    canonical,
    capsule::{Capsule, Core, ItemId},
    edit::{Edit, EditError, Ground, abouts},
    key::{PublicKey, SecretKey, Signature},
};
use crate::{
    entry::Hash,
    label::{Label, serde_as_text},
};

/// What the signatures of versions are for.
const PURPOSE: &str = "gpak 2026-11-26 identity version";
/// Bytes of a version as it is stored, at most: what somebody offers is not read without end.
const LONGEST: usize = 1 << 20;

/// The name of an identity: the hash of its key, its core and the time it was made, so that it names no
/// other. Written as 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdentityId(Hash);

impl IdentityId {
    fn of(key: &PublicKey, core: &Core, made: Timestamp) -> Self {
        let parts = (key, core, made);
        Self(canonical::hash("gpak 2026-11-26 identity", &parts))
    }
}

impl fmt::Display for IdentityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IdentityId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        s.parse().map(Self)
    }
}

serde_as_text!(IdentityId);

/// What is signed of a version. The edits are signed by their hashes, one each, so that it can be said which
/// of them was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose version it is.
    pub identity: IdentityId,
    /// What it is signed with.
    pub key: PublicKey,
    /// Counts from 1.
    pub version: u64,
    /// The hash of the version before; zero for the first.
    pub parent: Hash,
    /// When it was signed, by the clock of whoever did. Nothing goes by it.
    pub time: Timestamp,
    /// Who asked for it: the user, or the agent itself.
    pub by: Label,
    /// Why, for people.
    pub reason: String,
    /// The hash of each edit.
    pub edits: Vec<Hash>,
    /// The hash of the content that the edits give.
    pub content: Hash,
}

impl Header {
    /// What the next version has as its parent.
    pub fn hash(&self) -> Hash {
        canonical::hash(PURPOSE, self)
    }
}

/// A signed list of edits, behind the version before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What is signed.
    pub header: Header,
    /// The edits.
    pub edits: Vec<Edit>,
    /// The signature over the header's canonical bytes.
    pub signature: Signature,
}

/// Why a version, or a prompt made from one, is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("version {version} cannot be read{}: {why}", at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default())]
    Unreadable {
        /// The version.
        version: u64,
        /// What of it, as far as that can be told.
        at: Option<String>,
        /// What is wrong.
        why: String,
    },
    /// It is not what was signed.
    #[error("version {version} is not what was signed: {what} was changed")]
    Tampered {
        /// The version.
        version: u64,
        /// What was changed.
        what: String,
    },
    /// It is signed, and by somebody else or for somebody else.
    #[error("version {version} is foreign: it is {what}")]
    Foreign {
        /// The version.
        version: u64,
        /// In which way.
        what: String,
    },
    /// It was taken before.
    #[error("version {version} is a replay: it was taken already, and {have} is here")]
    Replayed {
        /// The version.
        version: u64,
        /// The latest here.
        have: u64,
    },
    /// It is older than what is here.
    #[error(
        "version {version} would be a downgrade: {have} is here; `gpak identity revert` goes back with a \
         version of its own"
    )]
    Downgraded {
        /// The version.
        version: u64,
        /// The latest here.
        have: u64,
    },
    /// Another version of the same number was signed, too.
    #[error(
        "version {version} is not the one that is here, and both are signed: the identity was changed in \
         two places; keep one of them, and make the other's edits again with `gpak identity edit`"
    )]
    Forked {
        /// The version.
        version: u64,
    },
    /// Versions are missing in between.
    #[error("version {version} does not follow version {have}, which is the latest here")]
    Gap {
        /// The version.
        version: u64,
        /// The latest here.
        have: u64,
    },
    /// It is signed, and does what no version may.
    #[error("version {version} does what none may{}: {why}", at.as_ref().map(|at| format!(" with {at}")).unwrap_or_default())]
    Forbidden {
        /// The version.
        version: u64,
        /// The edit, where it is one alone.
        at: Option<String>,
        /// The rule.
        why: EditError,
    },
}

/// Where a chain stands: what the next version must fit.
pub(super) struct End<'a> {
    pub(super) identity: Option<IdentityId>,
    pub(super) key: PublicKey,
    pub(super) parent: Hash,
    pub(super) contents: &'a [Capsule],
    pub(super) used: ItemId,
}

/// What a signed version is to say.
pub(super) struct Saying {
    pub(super) by: Label,
    pub(super) reason: String,
    pub(super) time: Timestamp,
    pub(super) edits: Vec<Edit>,
}

impl End<'_> {
    fn number(&self) -> u64 {
        self.contents.len() as u64 + 1
    }

    fn ground<'a>(&'a self, by: &'a Label) -> Ground<'a> {
        Ground {
            before: self.contents,
            by,
            used: self.used,
        }
    }

    /// Signs the next version.
    pub(super) fn sign(&self, secret: &SecretKey, saying: Saying) -> Result<Version, EditError> {
        let Saying {
            by,
            reason,
            time,
            edits,
        } = saying;
        let (content, _) = self.ground(&by).apply(&edits)?;
        let identity = self
            .identity
            .unwrap_or_else(|| IdentityId::of(&self.key, &content.core, time));
        let header = Header {
            identity,
            key: self.key,
            version: self.number(),
            parent: self.parent,
            time,
            by,
            reason,
            edits: edits.iter().map(edit_hash).collect(),
            content: content.hash(),
        };
        let signature = secret.sign(PURPOSE, &canonical::bytes(&header));
        Ok(Version {
            header,
            edits,
            signature,
        })
    }

    /// The content that a version gives, and the highest number that an item ever had then.
    pub(super) fn check(&self, version: &Version) -> Result<(Capsule, ItemId), Refusal> {
        let Header {
            version: number, ..
        } = version.header;
        if !version.is_signed() {
            return Err(Refusal::Tampered {
                version: number,
                what: self.changed(version),
            });
        }
        let header = &version.header;
        self.check_owner(header)?;
        let have = self.number() - 1;
        if number != self.number() {
            return Err(Refusal::Gap {
                version: number,
                have,
            });
        }
        if header.parent != self.parent {
            return Err(Refusal::Forked {
                version: number.saturating_sub(1).max(1),
            });
        }
        if let Some(what) = version.changed_edit() {
            return Err(Refusal::Tampered {
                version: number,
                what,
            });
        }
        let applied = self.ground(&header.by).apply(&version.edits);
        let (content, used) = applied.map_err(|why| self.forbidden(version, why))?;
        let identity = IdentityId::of(&self.key, &content.core, header.time);
        if self.identity.is_none() && header.identity != identity {
            return Err(Refusal::Foreign {
                version: number,
                what: "named after another identity".to_owned(),
            });
        }
        match content.hash() == header.content {
            true => Ok((content, used)),
            false => Err(Refusal::Tampered {
                version: number,
                what: "the hash of its content".to_owned(),
            }),
        }
    }

    fn check_owner(&self, header: &Header) -> Result<(), Refusal> {
        let foreign = |what| {
            Err(Refusal::Foreign {
                version: header.version,
                what,
            })
        };
        if header.key != self.key {
            return foreign(format!(
                "signed with the key {}, not with {}",
                header.key, self.key
            ));
        }
        match self.identity {
            Some(identity) if identity != header.identity => foreign(format!(
                "of the identity {}, not of {identity}",
                header.identity
            )),
            _ => Ok(()),
        }
    }

    /// Which part of a version that does not fit its signature was changed, as far as the chain before it
    /// tells.
    fn changed(&self, version: &Version) -> String {
        let header = &version.header;
        if let Some(what) = version.changed_edit() {
            return what;
        }
        let applied = self.ground(&header.by).apply(&version.edits);
        let content = applied.ok().map(|(content, _)| content.hash());
        let what = if header.version != self.number() {
            "its header or its signature"
        } else if header.key != self.key {
            "its key"
        } else if self.identity.is_some_and(|id| id != header.identity) {
            "the name of its identity"
        } else if header.parent != self.parent {
            "the hash of the version before it"
        } else if content.is_some_and(|content| content != header.content) {
            "the hash of its content"
        } else {
            "its time, its author, its reason or its signature"
        };
        what.to_owned()
    }

    /// Names the edit that breaks a rule: the first without which the ones before it would do.
    fn forbidden(&self, version: &Version, why: EditError) -> Refusal {
        let ground = self.ground(&version.header.by);
        let breaks = |count: usize| {
            let some = version.edits.get(..count).unwrap_or_default();
            ground.apply(some) == Err(why.clone())
        };
        let is_of_one = !matches!(
            why,
            EditError::TooMany(_) | EditError::TooBig(_) | EditError::Nothing
        );
        let counts = (1..=version.edits.len()).filter(|_| is_of_one);
        let at = counts.into_iter().find(|count| breaks(*count));
        let abouts = abouts(&version.edits);
        Refusal::Forbidden {
            version: version.header.version,
            at: at.and_then(|count| abouts.into_iter().nth(count - 1)),
            why,
        }
    }
}

impl Version {
    /// Whether the header is signed with the key that it names.
    pub(super) fn is_signed(&self) -> bool {
        let header = canonical::bytes(&self.header);
        self.header.key.holds(PURPOSE, &header, &self.signature)
    }

    /// Why this is not the version of the same number that is known, if it is not.
    pub(super) fn differs_from(&self, known: &Self) -> Option<String> {
        let (is, was) = (&self.header, &known.header);
        let what = match self.changed_edit() {
            Some(what) => return Some(what),
            None if is.key != was.key => "its key",
            None if is.identity != was.identity => "the name of its identity",
            None if is.parent != was.parent => "the hash of the version before it",
            None if is.content != was.content => "the hash of its content",
            None if is.time != was.time => "its time",
            None if is.by != was.by => "its author",
            None if is.reason != was.reason => "its reason",
            None if is.edits != was.edits => "the hash of an edit",
            None if self.signature != known.signature => "its signature",
            None => return None,
        };
        Some(what.to_owned())
    }

    /// What the first edit that is not what was signed is about.
    pub(super) fn changed_edit(&self) -> Option<String> {
        if self.edits.len() != self.header.edits.len() {
            return Some(format!(
                "the number of its edits, {} of which are signed and {} are here,",
                self.header.edits.len(),
                self.edits.len()
            ));
        }
        let hashes = self.edits.iter().map(edit_hash);
        let at = hashes
            .zip(&self.header.edits)
            .position(|(is, signed)| is != *signed)?;
        abouts(&self.edits).into_iter().nth(at)
    }

    /// The version as it is stored and sent: one line of canonical JSON.
    pub fn line(&self) -> String {
        canonical::text(self)
    }

    /// Reads what [`Version::line`] wrote, and nothing else: the same JSON written in another way is
    /// refused, so that no byte can be changed unnoticed. It is not checked yet.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], of version `number`, with the place.
    pub fn read(line: &[u8], number: u64) -> Result<Self, Refusal> {
        let unreadable = |at: Option<String>, why: String| Refusal::Unreadable {
            version: number,
            at,
            why,
        };
        if line.len() > LONGEST {
            let why = format!("it has {} bytes, and {LONGEST} are the most", line.len());
            return Err(unreadable(None, why));
        }
        let read: Result<Self, _> = serde_json::from_slice(line);
        let version = read.map_err(|why| {
            let column = why.column().min(line.len());
            unreadable(
                place(line.get(..column).unwrap_or_default()),
                why.to_string(),
            )
        })?;
        let canonical = canonical::bytes(&version);
        match canonical == line {
            true if version.header.version != number => Err(Refusal::Tampered {
                version: number,
                what: format!("its number, which is {},", version.header.version),
            }),
            true => Ok(version),
            false => {
                let same = canonical.iter().zip(line).take_while(|(a, b)| a == b);
                let column = same.count();
                let at = place(line.get(..column + 1).unwrap_or(line));
                let why = format!("byte {} is not as it was written", column + 1);
                Err(unreadable(at, why))
            }
        }
    }
}

fn edit_hash(edit: &Edit) -> Hash {
    canonical::hash("gpak 2026-11-26 identity edit", edit)
}

/// What of a version a line is about to say after these bytes. In canonical JSON the edits come first, each
/// beginning with its kind, and no text in them can look like that beginning.
fn place(said: &[u8]) -> Option<String> {
    const BEGINS: &str = r#"{"edit":""#;
    let said = String::from_utf8_lossy(said);
    if said.contains(r#"],"header":{"#) {
        return Some("its header or signature".to_owned());
    }
    let (before, edit) = said.rsplit_once(BEGINS)?;
    let number = before.matches(BEGINS).count() + 1;
    let kind = edit.split('"').next().unwrap_or_default();
    let id = edit.split_once(r#""id":"#).map(|(_, id)| {
        let digits = id.chars().take_while(char::is_ascii_digit);
        format!(" of item {}", digits.collect::<String>())
    });
    Some(format!("edit {number} ({kind}{})", id.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Founding, History};

    #[test]
    fn the_owner_of_the_key_cannot_have_signed_what_no_version_may_do() {
        let secret = SecretKey::from_bytes(&[1; 32]);
        let founding = Founding {
            core: Core {
                name: "Ada".into(),
                ..Core::default()
            },
            ..Founding::default()
        };
        let mut history = History::found(&secret, founding, Timestamp::UNIX_EPOCH).unwrap();
        let sign = |history: &History, edits| {
            let (by, time) = (Label::User, Timestamp::UNIX_EPOCH);
            history.sign(&secret, by, "", time, edits).unwrap()
        };
        let id = ItemId(1);
        let add = Edit::Add {
            id,
            text: "x".into(),
            evidence: vec![],
            label: Label::User,
        };
        history.take(sign(&history, vec![add])).unwrap();
        history
            .take(sign(&history, vec![Edit::Pin { id }]))
            .unwrap();

        // As by a signer that does not look at what it signs.
        let mission = Edit::Mission { text: "y".into() };
        let mut sly = sign(&history, vec![mission.clone()]);
        sly.edits = vec![mission, Edit::Retire { id, into: None }];
        sly.header.edits = sly.edits.iter().map(edit_hash).collect();
        sly.signature = secret.sign(PURPOSE, &canonical::bytes(&sly.header));
        let why = history.take(sly.clone()).unwrap_err();
        let forbidden = Refusal::Forbidden {
            version: 4,
            at: Some("item 1, which it retires".into()),
            why: EditError::Pinned(id),
        };
        assert_eq!(why, forbidden);

        // What is signed for one purpose is not signed for another.
        sly.signature = secret.sign("another", &canonical::bytes(&sly.header));
        assert!(!sly.is_signed());
    }
}
