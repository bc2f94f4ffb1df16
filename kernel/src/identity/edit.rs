//! What can be changed in a capsule, and by whom.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    canonical::EXACT,
    capsule::{Capsule, EVIDENCE, ITEMS, ItemId, LONGEST_TEXT, Learned, MOST_BYTES},
};
use crate::{label::Label, memory::Origin};

/// One change of a capsule.
///
/// The first version gives the name, the persona and the constitution, and none after it can. A pinned item
/// is neither revised nor retired; only the user pins, takes a pin off (in a version before the one that
/// uses it), endorses, and reverts. Whoever is not the user gives evidence for what was learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Edit {
    /// Gives the name.
    Name {
        /// It.
        text: String,
    },
    /// Gives the persona.
    Persona {
        /// It.
        text: String,
    },
    /// Adds a rule to the constitution.
    Rule {
        /// It.
        text: String,
    },
    /// Sets the mission.
    Mission {
        /// It.
        text: String,
    },
    /// Sets the constraints.
    Constraints {
        /// All of them.
        texts: Vec<String>,
    },
    /// Adds what was learnt.
    Add {
        /// Its number, which no item had before.
        id: ItemId,
        /// What it says.
        text: String,
        /// What it was learnt from.
        evidence: Vec<Origin>,
        /// Where it came from.
        label: Label,
    },
    /// Says what was learnt in other words, or with more evidence.
    Revise {
        /// The item.
        id: ItemId,
        /// What it says now.
        text: String,
        /// What the revision was learnt from, beside what the item was.
        evidence: Vec<Origin>,
        /// Where the revision came from.
        label: Label,
    },
    /// Takes an item out. Its text and its evidence stay in the history.
    Retire {
        /// The item.
        id: ItemId,
        /// The item that says the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<ItemId>,
    },
    /// Keeps an item from being revised or retired.
    Pin {
        /// The item.
        id: ItemId,
    },
    /// Lets a pinned item be revised and retired, by later versions.
    Unpin {
        /// The item.
        id: ItemId,
    },
    /// Stands by an item.
    Endorse {
        /// The item.
        id: ItemId,
    },
    /// Brings back the content of an older version, byte by byte. The only edit of its version.
    Revert {
        /// That version.
        to: u64,
    },
}

/// Why an edit cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The first version gave it.
    #[error(
        "the {0} was given by version 1 and never changes; a new identity can have another one"
    )]
    Core(&'static str),
    /// The first version says who the agent is.
    #[error(
        "version 1 gives one name, one persona, the rules, a mission and constraints, and nothing else"
    )]
    Founding,
    /// There is no such item.
    #[error("there is no item {0}; `gpak identity show` shows those there are")]
    NoItem(ItemId),
    /// It is pinned.
    #[error(
        "item {0} is pinned: it can be neither revised nor retired; `gpak identity edit unpin {0}` first, \
         which only the user can"
    )]
    Pinned(ItemId),
    /// The number was used before.
    #[error("the number {0} is taken; the next free one is {1}")]
    Taken(ItemId, ItemId),
    /// Only the user can do this.
    #[error("only the user can {0}")]
    NotByUser(&'static str),
    /// What was learnt was learnt from something.
    #[error("item {0} has no evidence: whoever is not the user must say what it was learnt from")]
    NoEvidence(ItemId),
    /// A text is empty.
    #[error("{0} is empty")]
    Empty(String),
    /// A text is too long.
    #[error("{what} has {bytes} bytes, more than the {LONGEST_TEXT} that one text may have")]
    TooLong {
        /// Which.
        what: String,
        /// Its length.
        bytes: usize,
    },
    /// A number cannot be written exactly.
    #[error("the number {0} is too large to be signed: it must be below 2^53")]
    TooLarge(u64),
    /// Too many items.
    #[error("{0} learned items are more than the {ITEMS} that fit; retire or merge some")]
    TooMany(usize),
    /// Too much of everything.
    #[error("{0} bytes are more than the {MOST_BYTES} of a capsule; retire or shorten something")]
    TooBig(usize),
    /// An item cannot be merged into itself, nor into one that is gone.
    #[error("item {0} cannot be retired into item {1}: that one is not there")]
    Into(ItemId, ItemId),
    /// There is no such version.
    #[error("there is no version {to} to go back to; there are 1 to {last}")]
    NoVersion {
        /// The version.
        to: u64,
        /// The last there is.
        last: u64,
    },
    /// It comes with others.
    #[error("a revert is the only edit of its version")]
    NotAlone,
    /// Nothing would be another.
    #[error("that changes nothing")]
    Nothing,
}

/// What the edits of one version meet.
pub(super) struct Ground<'a> {
    /// The contents of all versions before, oldest first.
    pub(super) before: &'a [Capsule],
    /// Who asks for them.
    pub(super) by: &'a Label,
    /// The highest number that an item ever had.
    pub(super) used: ItemId,
}

impl Ground<'_> {
    /// The content that the edits give, and the highest number that an item ever had then.
    pub(super) fn apply(&self, edits: &[Edit]) -> Result<(Capsule, ItemId), EditError> {
        let (capsule, used) = self.made(edits)?;
        self.check_size(&capsule)?;
        Ok((capsule, used))
    }

    /// The content that the edits give, however large.
    pub(super) fn content(&self, edits: &[Edit]) -> Result<Capsule, EditError> {
        self.made(edits).map(|(capsule, _)| capsule)
    }

    /// Likewise, with the highest number that an item ever had then.
    pub(super) fn made(&self, edits: &[Edit]) -> Result<(Capsule, ItemId), EditError> {
        let mut capsule = match self.before.last() {
            Some(last) => last.clone(),
            None => Capsule::empty(),
        };
        let mut used = self.used;
        let mut core = (*capsule.core).clone();
        let mut given = BTreeSet::new();
        for edit in edits {
            check_texts(edit)?;
            match (edit, self.before.is_empty()) {
                (Edit::Name { text }, true) if given.insert("name") => core.name.clone_from(text),
                (Edit::Persona { text }, true) if given.insert("persona") => {
                    core.persona.clone_from(text);
                }
                (Edit::Rule { text }, true) => core.constitution.push(text.clone()),
                (Edit::Name { .. }, false) => return Err(EditError::Core("name")),
                (Edit::Persona { .. }, false) => return Err(EditError::Core("persona")),
                (Edit::Rule { .. }, false) => return Err(EditError::Core("constitution")),
                (Edit::Mission { text }, _) => capsule.mission.clone_from(text),
                (Edit::Constraints { texts }, _) => capsule.constraints.clone_from(texts),
                (_, true) => return Err(EditError::Founding),
                (Edit::Revert { to }, false) => capsule = self.revert(*to, edits)?,
                (edit, false) => self.learn(&mut capsule, edit, &mut used)?,
            }
        }
        if self.before.is_empty() {
            if !given.contains("name") {
                return Err(EditError::Empty("the name".to_owned()));
            }
            capsule.core = Arc::new(core);
        }
        Ok((capsule, used))
    }

    fn check_size(&self, capsule: &Capsule) -> Result<(), EditError> {
        if capsule.learned.len() > ITEMS {
            return Err(EditError::TooMany(capsule.learned.len()));
        }
        let bytes = capsule.bytes().len();
        if bytes > MOST_BYTES {
            return Err(EditError::TooBig(bytes));
        }
        match self.before.last() == Some(capsule) {
            true => Err(EditError::Nothing),
            false => Ok(()),
        }
    }

    fn revert(&self, to: u64, edits: &[Edit]) -> Result<Capsule, EditError> {
        self.only_user("go back to an older version")?;
        if edits.len() > 1 {
            return Err(EditError::NotAlone);
        }
        let older = usize::try_from(to)
            .ok()
            .and_then(|to| self.before.get(to.checked_sub(1)?));
        let last = self.before.len() as u64;
        older.cloned().ok_or(EditError::NoVersion { to, last })
    }

    /// An edit of what was learnt.
    fn learn(
        &self,
        capsule: &mut Capsule,
        edit: &Edit,
        used: &mut ItemId,
    ) -> Result<(), EditError> {
        match edit {
            Edit::Add {
                id,
                text,
                evidence,
                label,
            } => {
                if *id <= *used {
                    return Err(EditError::Taken(*id, ItemId(used.0.saturating_add(1))));
                }
                self.check_evidence(*id, evidence)?;
                *used = *id;
                capsule.learned.push(Arc::new(Learned {
                    id: *id,
                    text: text.clone(),
                    evidence: joined(&[], evidence),
                    label: label.clone(),
                    pinned: false,
                    endorsed: false,
                }));
            }
            Edit::Revise {
                id,
                text,
                evidence,
                label,
            } => {
                self.check_evidence(*id, evidence)?;
                let item = self.changeable(capsule, *id)?;
                // A person's words are a person's. Other words are made of the old ones, too.
                let label = match self.by {
                    Label::User => label.clone(),
                    _ => item.label.clone().or_less_trusted(label),
                };
                item.endorsed &= item.text == *text;
                item.text.clone_from(text);
                item.evidence = joined(&item.evidence, evidence);
                item.label = label;
            }
            Edit::Retire { id, into } => {
                self.changeable(capsule, *id)?;
                if let Some(into) = into
                    && (into == id || capsule.item(*into).is_none())
                {
                    return Err(EditError::Into(*id, *into));
                }
                capsule.learned.retain(|item| item.id != *id);
            }
            Edit::Pin { id } => {
                self.only_user("pin an item")?;
                item(capsule, *id)?.pinned = true;
            }
            Edit::Unpin { id } => {
                self.only_user("take a pin off")?;
                item(capsule, *id)?.pinned = false;
            }
            Edit::Endorse { id } => {
                self.only_user("endorse an item")?;
                item(capsule, *id)?.endorsed = true;
            }
            _ => return Err(EditError::Founding),
        }
        Ok(())
    }

    /// The item, if it is pinned neither now nor in the version before.
    fn changeable<'c>(
        &self,
        capsule: &'c mut Capsule,
        id: ItemId,
    ) -> Result<&'c mut Learned, EditError> {
        let before = self.before.last().and_then(|before| before.item(id));
        let item = item(capsule, id)?;
        match item.pinned || before.is_some_and(|before| before.pinned) {
            true => Err(EditError::Pinned(id)),
            false => Ok(item),
        }
    }

    fn only_user(&self, what: &'static str) -> Result<(), EditError> {
        match self.by {
            Label::User => Ok(()),
            _ => Err(EditError::NotByUser(what)),
        }
    }

    fn check_evidence(&self, id: ItemId, evidence: &[Origin]) -> Result<(), EditError> {
        if let Some(far) = evidence.iter().find(|origin| origin.entry > EXACT) {
            return Err(EditError::TooLarge(far.entry));
        }
        match evidence.is_empty() && *self.by != Label::User {
            true => Err(EditError::NoEvidence(id)),
            false => Ok(()),
        }
    }
}

fn item(capsule: &mut Capsule, id: ItemId) -> Result<&mut Learned, EditError> {
    let found = capsule.learned.iter_mut().find(|item| item.id == id);
    found.map(Arc::make_mut).ok_or(EditError::NoItem(id))
}

/// Both, each entry once, the latest where they are too many.
fn joined(old: &[Origin], new: &[Origin]) -> Vec<Origin> {
    let mut all: Vec<Origin> = Vec::new();
    for origin in old.iter().chain(new) {
        all.retain(|known| known != origin);
        all.push(*origin);
    }
    let over = all.len().saturating_sub(EVIDENCE);
    all.split_off(over)
}

fn check_texts(edit: &Edit) -> Result<(), EditError> {
    let check = |what: String, text: &str, may_be_empty: bool| match text.len() {
        bytes if bytes > LONGEST_TEXT => Err(EditError::TooLong { what, bytes }),
        _ if !may_be_empty && text.trim().is_empty() => Err(EditError::Empty(what)),
        _ => Ok(()),
    };
    match edit {
        Edit::Name { text } => check("the name".into(), text, false),
        Edit::Persona { text } => check("the persona".into(), text, true),
        Edit::Rule { text } => check("a rule of the constitution".into(), text, false),
        Edit::Mission { text } => check("the mission".into(), text, true),
        Edit::Constraints { texts } => texts
            .iter()
            .try_for_each(|text| check("a constraint".into(), text, false)),
        Edit::Add { id, text, .. } | Edit::Revise { id, text, .. } => {
            check(format!("item {id}"), text, false)
        }
        _ => Ok(()),
    }
}

impl Edit {
    /// What of the capsule it is about, for people. `rule` counts the rules of its version.
    pub(super) fn about(&self, rule: usize) -> String {
        match self {
            Self::Name { .. } => "the name".to_owned(),
            Self::Persona { .. } => "the persona".to_owned(),
            Self::Rule { .. } => format!("rule {rule} of the constitution"),
            Self::Mission { .. } => "the mission".to_owned(),
            Self::Constraints { .. } => "the constraints".to_owned(),
            Self::Add { id, .. } => format!("item {id}, which it adds"),
            Self::Revise { id, .. } => format!("item {id}, which it revises"),
            Self::Retire { id, .. } => format!("item {id}, which it retires"),
            Self::Pin { id } => format!("item {id}, which it pins"),
            Self::Unpin { id } => format!("item {id}, whose pin it takes off"),
            Self::Endorse { id } => format!("item {id}, which it endorses"),
            Self::Revert { to } => format!("the revert to version {to}"),
        }
    }
}

/// What each edit is about.
pub(super) fn abouts(edits: &[Edit]) -> Vec<String> {
    let mut rules = 0;
    let about = |edit: &Edit| {
        rules += usize::from(matches!(edit, Edit::Rule { .. }));
        edit.about(rules)
    };
    edits.iter().map(about).collect()
}
