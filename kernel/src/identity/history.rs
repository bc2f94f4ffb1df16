//! The chain of versions, from the first to the latest.

use jiff::Timestamp;

use super::{
    capsule::{Capsule, Core, ItemId, Learned},
    compact,
    edit::{Edit, EditError, Ground},
    key::{PublicKey, SecretKey},
    version::{End, IdentityId, Refusal, Saying, Version},
};
use crate::{entry::Hash, label::Label, memory::Origin};

/// All versions of an identity, each of them checked, with the content of each.
#[derive(Debug, Clone)]
pub struct History {
    identity: IdentityId,
    key: PublicKey,
    versions: Vec<Version>,
    /// What each version gave. They share what they have in common.
    contents: Vec<Capsule>,
    used: ItemId,
}

/// What an identity begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Founding {
    /// What never changes.
    pub core: Core,
    /// What it is for.
    pub mission: String,
    /// What binds it beside the constitution.
    pub constraints: Vec<String>,
}

/// One difference between two contents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// What is another.
    pub what: String,
    /// What it was; nothing where it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; nothing where it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl History {
    /// A new identity, with its first version signed.
    ///
    /// # Errors
    /// If a text is empty or too long.
    pub fn found(
        secret: &SecretKey,
        founding: Founding,
        time: Timestamp,
    ) -> Result<Self, EditError> {
        let Core {
            name,
            persona,
            constitution,
        } = founding.core;
        let mut edits = vec![Edit::Name { text: name }];
        edits.extend((!persona.is_empty()).then_some(Edit::Persona { text: persona }));
        edits.extend(constitution.into_iter().map(|text| Edit::Rule { text }));
        edits.push(Edit::Mission {
            text: founding.mission,
        });
        edits.push(Edit::Constraints {
            texts: founding.constraints,
        });
        let end = Self::beginning(secret.public());
        let first = end.sign(
            secret,
            Saying {
                by: Label::User,
                reason: "the beginning".to_owned(),
                time,
                edits,
            },
        )?;
        // What was just made and signed is what the check would give.
        Self::open(secret.public(), None, [first]).map_err(|_| EditError::Founding)
    }

    /// The history of these versions, checked from the first on.
    ///
    /// `key` is the one that its owner is known by, and `identity` the one that is expected, if one is.
    ///
    /// # Errors
    /// The first version that is not what it must be, and in which way.
    pub fn open(
        key: PublicKey,
        identity: Option<IdentityId>,
        versions: impl IntoIterator<Item = Version>,
    ) -> Result<Self, Refusal> {
        let mut versions = versions.into_iter();
        let Some(first) = versions.next() else {
            return Err(Refusal::Gap {
                version: 0,
                have: 0,
            });
        };
        let end = End {
            identity,
            ..Self::beginning(key)
        };
        let (content, used) = end.check(&first)?;
        let mut history = Self {
            identity: first.header.identity,
            key,
            versions: vec![first],
            contents: vec![content],
            used,
        };
        for version in versions {
            history.take(version)?;
        }
        Ok(history)
    }

    /// What the latest of these versions gives, without a look at the signatures of those before it: the
    /// signature of the latest holds for the hash of its content, and so for all that is in it. Much quicker
    /// than [`History::open`], for a run that only wants to know who it is.
    ///
    /// # Errors
    /// As of [`History::open`].
    pub fn newest(
        key: PublicKey,
        identity: IdentityId,
        versions: &[Version],
    ) -> Result<Capsule, Refusal> {
        match Self::newest_if_whole(key, identity, versions) {
            Some(capsule) => Ok(capsule),
            None => {
                Self::open(key, Some(identity), versions.to_vec()).map(|history| history.capsule())
            }
        }
    }

    fn newest_if_whole(
        key: PublicKey,
        identity: IdentityId,
        versions: &[Version],
    ) -> Option<Capsule> {
        let mut contents = Vec::with_capacity(versions.len());
        let mut used = ItemId::default();
        for version in versions {
            let ground = Ground {
                before: &contents,
                by: &version.header.by,
                used,
            };
            let (content, now_used) = ground.made(&version.edits).ok()?;
            contents.push(content);
            used = now_used;
        }
        let (latest, content) = (versions.last()?, contents.pop()?);
        let header = &latest.header;
        let is_whole = latest.is_signed()
            && header.key == key
            && header.identity == identity
            && header.version == versions.len() as u64
            && header.content == content.hash();
        is_whole.then_some(content)
    }

    /// Where a chain stands before its first version.
    fn beginning(key: PublicKey) -> End<'static> {
        End {
            identity: None,
            key,
            parent: Hash::ZERO,
            contents: &[],
            used: ItemId::default(),
        }
    }

    fn end(&self) -> End<'_> {
        End {
            identity: Some(self.identity),
            key: self.key,
            parent: self.hash(),
            contents: &self.contents,
            used: self.used,
        }
    }

    /// Whose it is.
    pub fn identity(&self) -> IdentityId {
        self.identity
    }

    /// What it is signed with.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// The number of the latest version.
    pub fn latest(&self) -> u64 {
        self.versions.len() as u64
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The hash of the latest version, which names all that led to it.
    pub fn hash(&self) -> Hash {
        self.versions
            .last()
            .map_or(Hash::ZERO, |version| version.header.hash())
    }

    /// What the latest version gave.
    pub fn capsule(&self) -> Capsule {
        self.contents.last().cloned().unwrap_or_else(Capsule::empty)
    }

    /// What that version gave.
    pub fn at(&self, version: u64) -> Option<&Capsule> {
        let before = usize::try_from(version).ok()?.checked_sub(1)?;
        self.contents.get(before)
    }

    /// The number that the next learned item gets.
    pub fn next_item(&self) -> ItemId {
        ItemId(self.used.0.saturating_add(1))
    }

    /// Signs the next version. [`History::take`] appends it.
    ///
    /// # Errors
    /// If an edit cannot be made.
    pub fn sign(
        &self,
        secret: &SecretKey,
        by: Label,
        reason: impl Into<String>,
        time: Timestamp,
        edits: Vec<Edit>,
    ) -> Result<Version, EditError> {
        let saying = Saying {
            by,
            reason: reason.into(),
            time,
            edits,
        };
        self.end().sign(secret, saying)
    }

    /// Appends the next version, if it is what it must be.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take(&mut self, version: Version) -> Result<(), Refusal> {
        let at = usize::try_from(version.header.version).ok();
        let known = at.and_then(|at| self.versions.get(at.checked_sub(1)?));
        if let Some(known) = known {
            return Err(self.of_known(&version, known));
        }
        let (content, used) = self.end().check(&version)?;
        self.versions.push(version);
        self.contents.push(content);
        self.used = used;
        Ok(())
    }

    /// Why a version is not taken whose number is here already.
    fn of_known(&self, offered: &Version, known: &Version) -> Refusal {
        let (version, have) = (offered.header.version, self.latest());
        let header = &offered.header;
        let is_whole = offered.is_signed() && offered.changed_edit().is_none();
        match offered.differs_from(known) {
            None => Refusal::Replayed { version, have },
            Some(what) if !is_whole => Refusal::Tampered { version, what },
            Some(_) if header.key == self.key && header.identity == self.identity => {
                Refusal::Forked { version }
            }
            Some(_) => Refusal::Foreign {
                version,
                what: format!(
                    "of the identity {} with the key {}, not of {} with {}",
                    header.identity, header.key, self.identity, self.key
                ),
            },
        }
    }

    /// Takes what is new in another copy of this history, all of it or nothing. Answers how many versions
    /// that were.
    ///
    /// # Errors
    /// If the copy is older, the same, of another identity, or not what was signed.
    pub fn catch_up(&mut self, copy: Vec<Version>) -> Result<usize, Refusal> {
        let have = self.latest();
        let last = copy.last().map_or(0, |version| version.header.version);
        let mut after = self.clone();
        let mut fresh = 0;
        for version in copy {
            let number = version.header.version;
            match after.take(version) {
                Ok(()) => fresh += 1,
                // The part that both have in common.
                Err(Refusal::Replayed { .. }) if number <= have => {}
                Err(why) => return Err(why),
            }
        }
        match (fresh, last) {
            (0, version) if version < have => Err(Refusal::Downgraded { version, have }),
            (0, version) => Err(Refusal::Replayed { version, have }),
            _ => {
                *self = after;
                Ok(fresh)
            }
        }
    }

    /// The edits, and behind them those that make room: items that say the same are merged, and the least
    /// of them are retired, until no more than `items` and `bytes` are left. What the edits themselves bring
    /// stays.
    ///
    /// # Errors
    /// If an edit cannot be made.
    pub fn with_room(
        &self,
        by: &Label,
        edits: Vec<Edit>,
        items: usize,
        bytes: usize,
    ) -> Result<Vec<Edit>, EditError> {
        let before = self.capsule();
        let ground = Ground {
            before: &self.contents,
            by,
            used: self.used,
        };
        let content = ground.content(&edits)?;
        let pinned = |item: &Learned| {
            let earlier = before.item(item.id);
            item.pinned || earlier.is_none_or(|earlier| earlier.pinned)
        };
        let more = compact::make_room(&content, items, bytes, &pinned);
        Ok(edits.into_iter().chain(more).collect())
    }

    /// The content that these edits would give.
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn candidate(&self, by: &Label, edits: &[Edit]) -> Result<Capsule, EditError> {
        let ground = Ground {
            before: &self.contents,
            by,
            used: self.used,
        };
        ground.apply(edits).map(|(content, _)| content)
    }

    /// All that an item was ever learnt from, also by items that were merged into it, and also if it is gone:
    /// oldest first, each entry once.
    pub fn evidence(&self, id: ItemId) -> Vec<Origin> {
        let mut found: Vec<Origin> = Vec::new();
        let mut of = vec![id];
        // Backwards, so that it is known what was merged into it before what that was made of is met.
        for version in self.versions.iter().rev() {
            for edit in version.edits.iter().rev() {
                match edit {
                    Edit::Retire {
                        id,
                        into: Some(into),
                    } if of.contains(into) => of.push(*id),
                    Edit::Add { id, evidence, .. } | Edit::Revise { id, evidence, .. }
                        if of.contains(id) =>
                    {
                        found.extend(evidence.iter().rev());
                    }
                    _ => {}
                }
            }
        }
        let mut once: Vec<Origin> = Vec::new();
        for origin in found.into_iter().rev() {
            if !once.contains(&origin) {
                once.push(origin);
            }
        }
        once
    }
}

impl Capsule {
    /// What is another in `later`.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut compare = |what: String, before: Option<String>, after: Option<String>| {
            if before != after {
                changes.push(Change {
                    what,
                    before,
                    after,
                });
            }
        };
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let (old, new) = (&self.core, &later.core);
        compare("name".into(), some(&old.name), some(&new.name));
        compare("persona".into(), some(&old.persona), some(&new.persona));
        let (rules, new_rules) = (&old.constitution, &new.constitution);
        for at in 0..rules.len().max(new_rules.len()) {
            let (before, after) = (rules.get(at), new_rules.get(at));
            compare(format!("rule {}", at + 1), before.cloned(), after.cloned());
        }
        compare("mission".into(), some(&self.mission), some(&later.mission));
        for at in 0..self.constraints.len().max(later.constraints.len()) {
            let (before, after) = (self.constraints.get(at), later.constraints.get(at));
            let what = format!("constraint {}", at + 1);
            compare(what, before.cloned(), after.cloned());
        }
        let both = self.learned.iter().chain(&later.learned);
        let mut ids: Vec<ItemId> = both.map(|item| item.id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let told = |capsule: &Self| capsule.item(id).map(|item| item.told());
            compare(format!("item {id}"), told(self), told(later));
        }
        changes
    }
}

impl Learned {
    /// The item in one line, for people.
    pub fn told(&self) -> String {
        let mut notes = vec![self.label.to_string()];
        notes.extend(self.pinned.then(|| "pinned".to_owned()));
        notes.extend(self.endorsed.then(|| "endorsed".to_owned()));
        notes.extend((!self.is_shown()).then(|| "not shown: not endorsed".to_owned()));
        let entries = self.evidence.len();
        notes.extend((entries > 0).then(|| match entries {
            1 => "1 entry".to_owned(),
            more => format!("{more} entries"),
        }));
        format!("{} ({})", self.text, notes.join(", "))
    }
}
