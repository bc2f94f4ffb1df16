//! What recall looks in: all episodes of the file, in memory, each namespace apart.
//!
//! A store that grew, or of which something was forgotten, is caught up with by reading what is new.

use std::collections::BTreeMap;

use gpak_kernel::memory::Episode;
use serde::{Deserialize, Serialize};

use super::part::Part;

/// How far a file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Changes to what was there before; -1 if nothing was read yet.
    pub(super) generation: i64,
    /// The last row.
    pub(super) row: i64,
    /// The last deletion.
    pub(super) gone: i64,
    /// The last vector that was made again.
    pub(super) revised: i64,
}

/// The episodes by namespace.
pub(super) struct Index {
    pub(super) parts: BTreeMap<String, Part>,
    pub(super) dimension: usize,
    pub(super) mark: Mark,
    /// Rows when it was last written to, or read from, its own file.
    pub(super) written: usize,
}

impl Index {
    /// An index of vectors of that many dimensions that has read nothing.
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            parts: BTreeMap::new(),
            dimension,
            mark: Mark {
                generation: -1,
                ..Mark::default()
            },
            written: 0,
        }
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, id: i64, episode: &Episode, vector: &[i8]) {
        if !self.parts.contains_key(&episode.namespace) {
            let part = Part::new(self.dimension);
            self.parts.insert(episode.namespace.clone(), part);
        }
        if let Some(part) = self.parts.get_mut(&episode.namespace) {
            part.push(id, episode, vector);
        }
        self.mark.row = id;
    }

    /// Forgets the row of that id.
    pub(super) fn forget(&mut self, id: i64) {
        let _ = self.parts.values_mut().any(|part| part.forget(id));
    }

    /// Gives the row of that id another vector.
    pub(super) fn revise(&mut self, id: i64, vector: &[i8]) {
        let _ = self.parts.values_mut().any(|part| part.revise(id, vector));
    }

    /// The parts of that namespace, or all.
    pub(super) fn parts_of(&self, namespace: Option<&str>) -> Vec<&Part> {
        match namespace {
            Some(name) => self.parts.get(name).into_iter().collect(),
            None => self.parts.values().collect(),
        }
    }

    /// Makes sketches of what has grown beyond `exact` rows.
    pub(super) fn sketch(&mut self, exact: usize) {
        for part in self.parts.values_mut() {
            part.make_sketch(exact);
        }
    }

    /// Rows that it holds, the forgotten among them.
    pub(super) fn rows(&self) -> usize {
        self.parts.values().map(|part| part.rows.len()).sum()
    }

    /// Whether so much was forgotten that it should be read anew.
    pub(super) fn is_worn(&self) -> bool {
        let dead: usize = self.parts.values().map(|part| part.dead).sum();
        dead > 1000 && dead > self.rows() / 4
    }
}
