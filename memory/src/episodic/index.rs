//! What recall scans: the vectors of all episodes and what orders them, in memory.
//!
//! The scan is exact: every vector of a namespace is compared. Rows come in the order of their ids, and
//! never change, so that a store that grew is caught up with by reading what is new.

use std::collections::HashMap;

use gpak_kernel::memory::Episode;
use jiff::Timestamp;

use crate::embed::quantise;

/// A number for each of many names, so that rows are compared by numbers.
#[derive(Default)]
pub(super) struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.0.get(name) {
            return *number;
        }
        let number = self.0.len() as u32;
        self.0.insert(name.to_owned(), number);
        number
    }

    /// The number of `name`, if any row has it.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    /// All names and their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(name, number)| (name.as_str(), *number))
    }
}

/// What is known of an episode without reading it.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) namespace: u32,
    pub(super) conversation: Option<u32>,
    pub(super) speaker: Option<u32>,
    pub(super) at: Timestamp,
    pub(super) importance: f32,
    pub(super) uses: u64,
    /// The place in the index of the turns before and after it in its conversation.
    pub(super) before: Option<u32>,
    pub(super) after: Option<u32>,
    /// One over the length of its vector; 0 for one that says nothing.
    unit: f32,
}

/// All rows and their vectors.
#[derive(Default)]
pub(super) struct Index {
    pub(super) rows: Vec<Row>,
    vectors: Vec<i8>,
    dimension: usize,
    pub(super) namespaces: Names,
    pub(super) speakers: Names,
    conversations: Names,
    /// The last turn of each conversation of each namespace.
    ends: HashMap<(u32, u32), u32>,
    /// Deletions when this was read.
    pub(super) forgotten: i64,
}

impl Index {
    /// An index of vectors of that many dimensions.
    pub(super) fn new(dimension: usize, forgotten: i64) -> Self {
        Self {
            dimension,
            forgotten,
            ..Self::default()
        }
    }

    /// How many numbers its vectors have.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The id of the last row.
    pub(super) fn last(&self) -> i64 {
        self.rows.last().map_or(0, |row| row.id)
    }

    /// Adds the next row. A vector of another shape counts as none.
    pub(super) fn push(&mut self, id: i64, episode: &Episode, uses: u64, vector: &[i8]) {
        let place = self.rows.len() as u32;
        let namespace = self.namespaces.number(&episode.namespace);
        let speaker = episode.speaker.as_deref();
        let conversation = episode.conversation.as_deref();
        let conversation = conversation.map(|name| self.conversations.number(name));
        let before = conversation.and_then(|name| self.ends.insert((namespace, name), place));
        if let Some(row) = before.and_then(|before| self.rows.get_mut(before as usize)) {
            row.after = Some(place);
        }
        let start = self.vectors.len();
        self.vectors.resize(start + self.dimension, 0);
        let mut unit = 0.0;
        if vector.len() == self.dimension
            && let Some(room) = self.vectors.get_mut(start..)
        {
            room.copy_from_slice(vector);
            let square = dot(vector, vector);
            unit = if square > 0 {
                1.0 / (square as f32).sqrt()
            } else {
                0.0
            };
        }
        self.rows.push(Row {
            id,
            namespace,
            conversation,
            speaker: speaker.map(|name| self.speakers.number(name)),
            at: episode.at,
            importance: episode.importance,
            uses,
            before,
            after: None,
            unit,
        });
    }

    /// The place of the row of that id.
    pub(super) fn place(&self, id: i64) -> Option<usize> {
        self.rows.binary_search_by_key(&id, |row| row.id).ok()
    }

    /// The cosine of the angle between the query and each row; 0 for rows of other namespaces.
    pub(super) fn compare(&self, query: &[f32], namespace: Option<u32>) -> Vec<f32> {
        let query = quantise(query);
        let square = dot(&query, &query);
        if square == 0 || query.len() != self.dimension {
            return vec![0.0; self.rows.len()];
        }
        let unit = 1.0 / (square as f32).sqrt();
        let vectors = self.vectors.chunks_exact(self.dimension);
        let rows = self.rows.iter().zip(vectors);
        rows.map(|(row, vector)| {
            if namespace.is_some_and(|wanted| wanted != row.namespace) {
                return 0.0;
            }
            dot(&query, vector) as f32 * unit * row.unit
        })
        .collect()
    }
}

/// The sum of products. Written so that the compiler uses the wide registers: products of bytes fit into
/// 16 bits, and 32 of them are summed at a time.
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let (a, a_rest) = a.as_chunks::<32>();
    let (b, b_rest) = b.as_chunks::<32>();
    let product = |(a, b): (&i8, &i8)| i32::from(i16::from(*a) * i16::from(*b));
    let whole: i32 = a
        .iter()
        .zip(b)
        .map(|(a, b)| a.iter().zip(b).map(product).sum::<i32>())
        .sum();
    whole + a_rest.iter().zip(b_rest).map(product).sum::<i32>()
}
