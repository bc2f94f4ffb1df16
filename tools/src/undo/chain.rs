//! Whether a run's calls can all be undone, before any is.

use std::collections::BTreeMap;

use gpak_kernel::{model::CallId, tool::ToolError};

use super::{Change, Manner, Record, What};
use crate::workspace::Inside;

/// Something that changed since a call, so that the call cannot be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where, relative to the workspace.
    pub path: String,
    /// What happened to it.
    pub why: String,
}

type Now<'a> = &'a dyn Fn(&Inside) -> Result<Option<What>, ToolError>;

/// Undoes `records` (newest first) in thought: what the newest left must be there now, and what an
/// older one left must be what the next newer one found.
pub(super) fn conflicts(
    records: &[(CallId, Option<Record>)],
    now: Now<'_>,
) -> Result<Vec<Conflict>, ToolError> {
    let mut thought = Thought {
        now,
        known: BTreeMap::new(),
        moves: Vec::new(),
    };
    let mut conflicts = Vec::new();
    for (call, record) in records {
        let Some(record) = record else {
            conflicts.push(Conflict {
                path: format!("call {call}"),
                why: "what undo needs was not kept".to_owned(),
            });
            continue;
        };
        if record.undone {
            continue;
        }
        let mut here = Vec::new();
        for change in &record.changes {
            here.push(thought.look(&change.path)?);
        }
        let pairs = || record.changes.iter().zip(&here);
        let is_undone = pairs().all(|(change, here)| change.was() == here.as_ref());
        // A crash may have come before all changes were in place; one that is not needs no undoing.
        let is_there = |change: &Change, here: &Option<What>| {
            record.manner == Manner::Replace && change.was() == here.as_ref()
        };
        let changed: Vec<_> = pairs()
            .filter(|(change, here)| change.after != **here && !is_there(change, here))
            .collect();
        if !changed.is_empty() && is_undone {
            continue;
        }
        for (change, here) in changed {
            let why = match (&change.after, here) {
                (_, None) => format!("it is gone since {} in call {call}", record.tool),
                (None, _) => format!("it is there again since {} in call {call}", record.tool),
                _ => format!("it was changed since {} in call {call}", record.tool),
            };
            conflicts.push(Conflict {
                path: change.path.to_string(),
                why,
            });
        }
        thought.undo(record);
    }
    Ok(conflicts)
}

/// The workspace as it would be after undoing.
struct Thought<'a> {
    now: Now<'a>,
    known: BTreeMap<Inside, Option<What>>,
    /// Moves that were undone, newest first.
    moves: Vec<(Inside, Inside)>,
}

impl Thought<'_> {
    fn look(&self, path: &Inside) -> Result<Option<What>, ToolError> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        // Where it is today: it went along with every later move of a folder above it.
        let mut path = path.clone();
        for (from, to) in self.moves.iter().rev() {
            if let Some(rest) = path.below(from) {
                path = under(to, rest);
            } else if path.below(to).is_some() {
                return Ok(None);
            }
        }
        (self.now)(&path)
    }

    fn undo(&mut self, record: &Record) {
        if let (Manner::Move, [from, to]) = (record.manner, record.changes.as_slice()) {
            let known = std::mem::take(&mut self.known);
            self.known = known
                .into_iter()
                // What was in the way of moving back is not what was there before the move.
                .filter(|(path, _)| path.below(&from.path).is_none())
                .map(|(path, what)| match path.below(&to.path) {
                    Some(rest) => (under(&from.path, rest), what),
                    None => (path, what),
                })
                .collect();
            self.moves.push((from.path.clone(), to.path.clone()));
        }
        // They are removed if they are empty, and if they are not, moving something to their place is
        // refused then.
        for folder in &record.folders {
            self.known.insert(folder.clone(), None);
        }
        for change in &record.changes {
            self.known
                .insert(change.path.clone(), change.was().cloned());
        }
    }
}

fn under(folder: &Inside, rest: &str) -> Inside {
    if rest.is_empty() {
        folder.clone()
    } else {
        folder.join(rest)
    }
}
