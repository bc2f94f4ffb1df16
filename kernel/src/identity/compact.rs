//! Keeping a capsule small.

use std::collections::BTreeSet;

use super::{
    canonical,
    capsule::{Capsule, Learned},
    edit::Edit,
};

/// Two items say the same if at least this part of all their words is in both.
const ALIKE: f64 = 0.8;

/// The edits after which no more than so many items and canonical bytes are left, as far as those allow that
/// are `kept`.
///
/// Items that say the same are merged first, which loses no evidence. Then items are retired: those that no
/// model is told of, those with the least evidence, the oldest first. All of it stays in the history.
pub(super) fn make_room(
    capsule: &Capsule,
    items: usize,
    bytes: usize,
    kept: &dyn Fn(&Learned) -> bool,
) -> Vec<Edit> {
    let mut room = Room {
        left: capsule
            .learned
            .iter()
            .map(|item| (**item).clone())
            .collect(),
        size: capsule.bytes().len(),
        edits: Vec::new(),
    };
    let fits = |room: &Room| room.left.len() <= items && room.size <= bytes;
    while !fits(&room) && room.merge(kept) {}
    while !fits(&room) && room.retire(kept) {}
    room.edits
}

struct Room {
    left: Vec<Learned>,
    size: usize,
    edits: Vec<Edit>,
}

impl Room {
    /// Merges two items that say the same, if there are any.
    fn merge(&mut self, kept: &dyn Fn(&Learned) -> bool) -> bool {
        let words: Vec<_> = self.left.iter().map(|item| words(&item.text)).collect();
        let pairs = (0..self.left.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let alike = pairs.filter(|(a, b)| match (words.get(*a), words.get(*b)) {
            (Some(a), Some(b)) => are_alike(a, b),
            _ => false,
        });
        // The older one stays, unless that one may go and the younger one may not.
        let mut ways = alike.flat_map(|(older, younger)| [(older, younger), (younger, older)]);
        let can =
            |stays: &Learned, goes: &Learned| !kept(goes) && (stays.is_shown() || !goes.is_shown());
        let found = ways.find_map(|(stays, goes)| {
            let (stays, goes) = (self.left.get(stays)?, self.left.get(goes)?);
            can(stays, goes).then(|| (stays.clone(), goes.clone()))
        });
        let Some((mut stays, goes)) = found else {
            return false;
        };
        let news = |origin: &&_| !stays.evidence.contains(*origin);
        let news: Vec<_> = goes.evidence.iter().filter(news).copied().collect();
        if !news.is_empty() && !kept(&stays) {
            self.edits.push(Edit::Revise {
                id: stays.id,
                text: stays.text.clone(),
                evidence: news.clone(),
                label: stays.label.clone(),
            });
            stays.evidence.extend(news);
            let over = stays.evidence.len().saturating_sub(super::EVIDENCE);
            stays.evidence.drain(..over);
            self.replace(stays.clone());
        }
        self.edits.push(Edit::Retire {
            id: goes.id,
            into: Some(stays.id),
        });
        self.remove(&goes);
        true
    }

    /// Retires the least of all items, if one may go.
    fn retire(&mut self, kept: &dyn Fn(&Learned) -> bool) -> bool {
        let may_go = self.left.iter().filter(|item| !kept(item));
        let least = may_go.min_by_key(|item| (item.is_shown(), item.evidence.len(), item.id));
        let Some(least) = least.cloned() else {
            return false;
        };
        self.edits.push(Edit::Retire {
            id: least.id,
            into: None,
        });
        self.remove(&least);
        true
    }

    fn replace(&mut self, with: Learned) {
        if let Some(item) = self.left.iter_mut().find(|item| item.id == with.id) {
            self.size = self.size + size(&with) - size(item);
            *item = with;
        }
    }

    fn remove(&mut self, gone: &Learned) {
        self.size = self.size.saturating_sub(size(gone));
        self.left.retain(|item| item.id != gone.id);
    }
}

/// Canonical bytes of an item, with the comma behind it.
fn size(item: &Learned) -> usize {
    canonical::bytes(item).len() + 1
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn are_alike(a: &BTreeSet<String>, b: &BTreeSet<String>) -> bool {
    let both = a.intersection(b).count();
    let all = a.len() + b.len() - both;
    all > 0 && both as f64 >= ALIKE * all as f64
}
