//! What recall knows of the episodes of one namespace without reading them.

use std::collections::HashMap;

use bytemuck::{Pod, Zeroable};
use gpak_kernel::memory::{Episode, Filter};
use jiff::Timestamp;

use super::{
    postings::Postings,
    scan,
    sketch::{SAMPLE, Sketch},
    words::{self, Term},
};

/// In place of a number where there is none.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of an episode. `u32`s but for `span` are numbers of names or places of rows.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    /// Its row in the file; 0 for one that was forgotten.
    pub(super) id: i64,
    /// When it happened, in microseconds.
    at: i64,
    pub(super) conversation: u32,
    pub(super) speaker: u32,
    label: u32,
    tags: u32,
    run: u32,
    kind: u32,
    /// The turns before and after it in its conversation.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Words of its text, and of it and its neighbours together.
    words: u32,
    pub(super) span: u32,
    /// One over the length of its vector; 0 for one that says nothing.
    unit: f32,
    workspace: u32,
}

/// A number for each of many names, so that rows are compared by numbers.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    fn get(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// All names; their places are their numbers.
    pub(super) fn all(&self) -> &[String] {
        &self.names
    }

    /// Names of which the place is the number.
    pub(super) fn of(names: Vec<String>) -> Self {
        let numbers = names.iter().zip(0..).map(|(name, n)| (name.clone(), n));
        Self {
            numbers: numbers.collect(),
            names,
        }
    }
}

/// The episodes of a namespace, in the order of their rows in the file.
#[derive(Default)]
pub(super) struct Part {
    pub(super) rows: Vec<Row>,
    pub(super) vectors: Vec<i8>,
    pub(super) dimension: usize,
    pub(super) postings: Postings,
    pub(super) speakers: Names,
    pub(super) conversations: Names,
    pub(super) labels: Names,
    /// Each name is all the tags of an episode, one a line.
    pub(super) tags: Names,
    pub(super) runs: Names,
    pub(super) workspaces: Names,
    /// The last turn of each conversation.
    pub(super) ends: Vec<u32>,
    /// Rows that were forgotten.
    pub(super) dead: usize,
    /// Of all rows, if they are many.
    pub(super) sketch: Option<Sketch>,
}

impl Part {
    pub(super) fn new(dimension: usize) -> Self {
        Self {
            dimension,
            ..Self::default()
        }
    }

    /// Adds the next row. A vector of another shape counts as none.
    pub(super) fn push(&mut self, id: i64, episode: &Episode, vector: &[i8]) {
        let place = self.rows.len() as u32;
        let (terms, length) = words::of_episode(episode);
        let conversation = episode.conversation.as_deref();
        let conversation = conversation.map_or(NONE, |name| self.conversations.number(name));
        let before = self.follow(conversation, place);
        self.postings.push(place, &terms);
        let speaker = episode.speaker.as_deref();
        let run = episode.origin.map(|origin| origin.run.to_string());
        let workspace = episode.workspace.as_deref();
        let start = self.vectors.len();
        let unit = self.add_vector(vector);
        self.rows.push(Row {
            id,
            at: episode.at.as_microsecond(),
            conversation,
            speaker: speaker.map_or(NONE, |name| self.speakers.number(name)),
            label: self.labels.number(&episode.label.to_string()),
            tags: self.tags.number(&episode.tags.join("\n")),
            run: run.map_or(NONE, |run| self.runs.number(&run)),
            kind: episode.kind as u32,
            before,
            after: NONE,
            words: u32::from(length),
            span: 0,
            unit,
            workspace: workspace.map_or(NONE, |name| self.workspaces.number(name)),
        });
        self.measure(place);
        self.measure(before);
        if let Some(sketch) = &mut self.sketch {
            sketch.push(self.vectors.get(start..).unwrap_or_default());
        }
    }

    /// Makes a sketch of the rows, if they are more than `exact` and it was not made before. What it is made
    /// of is among the first `exact` rows, so that it is the same whenever it is made.
    pub(super) fn make_sketch(&mut self, exact: usize) {
        if self.sketch.is_some() || self.rows.len() <= exact || self.dimension == 0 {
            return;
        }
        let vectors = || self.vectors.chunks_exact(self.dimension);
        let sample = vectors().take(exact).step_by((exact / SAMPLE).max(1));
        self.sketch = Sketch::fit(sample, self.dimension).map(|mut sketch| {
            vectors().for_each(|vector| sketch.push(vector));
            sketch
        });
    }

    /// Makes the row at `place` the last of its conversation. Answers the one before it.
    fn follow(&mut self, conversation: u32, place: u32) -> u32 {
        if conversation == NONE {
            return NONE;
        }
        let at = conversation as usize;
        if self.ends.len() <= at {
            self.ends.resize(at + 1, NONE);
        }
        let Some(end) = self.ends.get_mut(at) else {
            return NONE;
        };
        let before = std::mem::replace(end, place);
        if let Some(row) = self.rows.get_mut(before as usize) {
            row.after = place;
        }
        before
    }

    /// Counts again the words of the row at `place` and its neighbours.
    fn measure(&mut self, place: u32) {
        let words = |row: Option<&Row>| row.map_or(0, |row| row.words);
        let at = |place: u32| self.rows.get(place as usize);
        let Some(row) = at(place) else {
            return;
        };
        let before = at(row.before);
        let before2 = before.and_then(|row| at(row.before));
        let span = row.words + words(before) + words(before2) + words(at(row.after));
        if let Some(row) = self.rows.get_mut(place as usize) {
            self.postings.words += u64::from(span);
            self.postings.words -= u64::from(row.span);
            row.span = span;
        }
    }

    fn add_vector(&mut self, vector: &[i8]) -> f32 {
        let start = self.vectors.len();
        self.vectors.resize(start + self.dimension, 0);
        self.set_vector(start, vector)
    }

    /// Writes a vector at a place of all vectors. Answers one over its length.
    fn set_vector(&mut self, start: usize, vector: &[i8]) -> f32 {
        match self.vectors.get_mut(start..start + self.dimension) {
            Some(room) if room.len() == vector.len() => room.copy_from_slice(vector),
            _ => return 0.0,
        }
        match scan::dot(vector, vector) {
            0 => 0.0,
            square => 1.0 / (square as f32).sqrt(),
        }
    }

    /// Gives the row of that id another vector, if it is one of these.
    pub(super) fn revise(&mut self, id: i64, vector: &[i8]) -> bool {
        let Ok(at) = self.rows.binary_search_by_key(&id, |row| row.id.abs()) else {
            return false;
        };
        let unit = self.set_vector(at * self.dimension, vector);
        if let Some(row) = self.rows.get_mut(at).filter(|row| row.id > 0) {
            row.unit = unit;
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.set(at, vector);
        }
        true
    }

    /// Forgets the row of that id, if it is one of these: nothing finds it any more, and nothing is left of
    /// its words and its vector.
    pub(super) fn forget(&mut self, id: i64) -> bool {
        let Ok(at) = self.rows.binary_search_by_key(&id, |row| row.id.abs()) else {
            return false;
        };
        let (place, start) = (at as u32, at * self.dimension);
        if let Some(vector) = self.vectors.get_mut(start..start + self.dimension) {
            vector.fill(0);
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.forget(at);
        }
        self.postings.remove(place);
        let Some(row) = self.rows.get_mut(at).filter(|row| row.id > 0) else {
            return false;
        };
        self.postings.words -= u64::from(row.span);
        let gone = *row;
        *row = Row {
            id: -id,
            before: NONE,
            after: NONE,
            ..Row::zeroed()
        };
        if let Some(row) = self.rows.get_mut(gone.before as usize) {
            row.after = gone.after;
        }
        if let Some(row) = self.rows.get_mut(gone.after as usize) {
            row.before = gone.before;
        }
        let after2 = self.rows.get(gone.after as usize);
        let after2 = after2.map_or(NONE, |row| row.after);
        for neighbour in [gone.before, gone.after, after2] {
            self.measure(neighbour);
        }
        if gone.after == NONE
            && let Some(end) = self.ends.get_mut(gone.conversation as usize)
        {
            *end = gone.before;
        }
        self.dead += 1;
        true
    }

    /// The cosine of the angle between the query and the row at `place`.
    pub(super) fn like(&self, query: &Direction, place: u32) -> f32 {
        let start = place as usize * self.dimension;
        let vector = self.vectors.get(start..start + self.dimension);
        let (Some(vector), Some(row)) = (vector, self.rows.get(place as usize)) else {
            return 0.0;
        };
        if vector.len() != query.values.len() {
            return 0.0;
        }
        scan::dot(&query.values, vector) as f32 * query.unit * row.unit
    }

    /// Likewise for each row.
    pub(super) fn all_like(&self, query: &Direction) -> Vec<f32> {
        let rows = &self.rows;
        if query.values.len() != self.dimension || query.unit == 0.0 {
            return vec![0.0; rows.len()];
        }
        let mut units = rows.iter().map(|row| row.unit * query.unit);
        let mut likes = Vec::with_capacity(rows.len());
        scan::dots(&query.values, &self.vectors, &mut |product| {
            likes.push(product as f32 * units.next().unwrap_or(0.0));
        });
        likes
    }

    /// What the filter lets through, told by what is known without reading the episodes; their time is told
    /// to the microsecond. Nothing if it lets everything through.
    pub(super) fn sieve(&self, filter: &Filter) -> Option<Sieve> {
        let numbers = |names: &Names, wanted: &[String]| -> Vec<u32> {
            wanted.iter().filter_map(|name| names.get(name)).collect()
        };
        let only = |names: &Names, wanted: Option<String>| {
            wanted.map(|name| numbers(names, std::slice::from_ref(&name)))
        };
        let tagged = |all: &str| filter.tags.iter().all(|tag| all.lines().any(|t| t == tag));
        let tags = self.tags.all().iter().zip(0..);
        let labels: Vec<String> = filter.labels.iter().map(ToString::to_string).collect();
        let sieve = Sieve {
            kinds: filter.kinds.iter().map(|kind| *kind as u32).collect(),
            run: only(&self.runs, filter.run.map(|run| run.to_string())),
            conversation: only(&self.conversations, filter.conversation.clone()),
            workspace: only(&self.workspaces, filter.workspace.clone()).map(|mut own| {
                own.push(NONE);
                own
            }),
            labels: (!labels.is_empty()).then(|| numbers(&self.labels, &labels)),
            tags: (!filter.tags.is_empty()).then(|| {
                tags.filter(|(all, _)| tagged(all))
                    .map(|(_, n)| n)
                    .collect()
            }),
            time: filter.time.as_ref().map(|time| {
                let micro = |time: Timestamp| time.as_microsecond();
                (micro(time.start), micro(time.end))
            }),
        };
        let open = sieve.kinds.is_empty()
            && sieve.run.is_none()
            && sieve.workspace.is_none()
            && sieve.conversation.is_none()
            && sieve.labels.is_none()
            && sieve.tags.is_none()
            && sieve.time.is_none();
        (!open).then_some(sieve)
    }

    /// The names of speakers, conversations, labels, tags, runs and workspaces, as far as any row still has them: what was
    /// forgotten leaves a mark that is nobody's name.
    pub(super) fn used_names(&self) -> [Vec<String>; 6] {
        let used = |names: &Names, number: fn(&Row) -> u32| {
            let mut used = vec![false; names.all().len()];
            for row in self.rows.iter().filter(|row| row.id > 0) {
                if let Some(used) = used.get_mut(number(row) as usize) {
                    *used = true;
                }
            }
            let names = names.all().iter().zip(&used).zip(0..);
            names
                .map(|((name, used), n)| {
                    if *used {
                        name.clone()
                    } else {
                        format!("\0{n}")
                    }
                })
                .collect()
        };
        [
            used(&self.speakers, |row| row.speaker),
            used(&self.conversations, |row| row.conversation),
            used(&self.labels, |row| row.label),
            used(&self.tags, |row| row.tags),
            used(&self.runs, |row| row.run),
            used(&self.workspaces, |row| row.workspace),
        ]
    }

    /// The numbers of the speakers in whose names a term is asked for.
    pub(super) fn named(&self, asked: &[Term]) -> Vec<u32> {
        let is_asked = |name: &&String| words::terms(name).iter().any(|t| asked.contains(t));
        let speakers = self.speakers.all().iter().zip(0..);
        speakers
            .filter(|(name, _)| is_asked(name))
            .map(|(_, number)| number)
            .collect()
    }
}

/// A vector to compare with.
pub(super) struct Direction {
    pub(super) values: Vec<i8>,
    pub(super) unit: f32,
}

impl Direction {
    pub(super) fn of(vector: &[f32]) -> Self {
        let values = crate::embed::quantise(vector);
        let square = scan::dot(&values, &values);
        let unit = if square > 0 {
            1.0 / (square as f32).sqrt()
        } else {
            0.0
        };
        Self { values, unit }
    }
}

/// A filter as numbers.
pub(super) struct Sieve {
    kinds: Vec<u32>,
    run: Option<Vec<u32>>,
    /// The folder's, and that of none.
    workspace: Option<Vec<u32>>,
    conversation: Option<Vec<u32>>,
    labels: Option<Vec<u32>>,
    tags: Option<Vec<u32>>,
    time: Option<(i64, i64)>,
}

impl Sieve {
    pub(super) fn admits(&self, row: &Row) -> bool {
        let among = |numbers: &Option<Vec<u32>>, number: u32| {
            numbers.as_ref().is_none_or(|all| all.contains(&number))
        };
        (self.kinds.is_empty() || self.kinds.contains(&row.kind))
            && among(&self.run, row.run)
            && among(&self.workspace, row.workspace)
            && among(&self.conversation, row.conversation)
            && among(&self.labels, row.label)
            && among(&self.tags, row.tags)
            && self
                .time
                .is_none_or(|(from, to)| (from..=to).contains(&row.at))
    }
}
