//! The index in a file of its own, `memory.index`, so that a process need not make it of the episodes again.
//!
//! It is a cache: a file that is not whole, or that was not made of this store, is made again. It holds
//! numbers, hashes of terms, and names (of namespaces, speakers, conversations, runs, folders, labels and tags), but no
//! text. It ends with a BLAKE3 hash of all before that. Numbers are as this processor writes them.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use bytemuck::{Pod, Zeroable};
use rusqlite::{Connection, TransactionBehavior};
use serde::{Deserialize, Serialize};

use super::{
    failure::Failure,
    index::{Index, Mark},
    part::{Names, Part, Row},
    postings::{Posting, Postings},
    read,
    sketch::Sketch,
    words::Term,
};

/// What the file begins with; then a number of which the bytes tell the processor's order.
const MAGIC: &[u8; 8] = b"GPAKIDX2";
const ORDER: u32 = 0x0102_0304;

/// The file's name in the data folder.
const FILE: &str = "memory.index";

/// Rows that are read from the store sooner than it is worth to write them here.
const WORTH: usize = 5_000;

/// Bytes of the header that are believed.
const HEADER: u64 = 1 << 30;

/// What the index was made of.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// The store's own number.
    store: Vec<u8>,
    embedder: String,
    dimension: usize,
}

impl Origin {
    /// Of the store that is open.
    pub(super) fn of(
        connection: &Connection,
        embedder: &str,
        dimension: usize,
    ) -> Result<Self, Failure> {
        let store = connection.query_row("SELECT store FROM state", [], |row| row.get(0))?;
        Ok(Self {
            store,
            embedder: embedder.to_owned(),
            dimension,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    origin: Origin,
    mark: Mark,
    parts: Vec<PartHeader>,
}

/// What of a part is not an array, and how long its arrays are.
#[derive(Serialize, Deserialize)]
struct PartHeader {
    namespace: String,
    speakers: Vec<String>,
    conversations: Vec<String>,
    labels: Vec<String>,
    tags: Vec<String>,
    runs: Vec<String>,
    workspaces: Vec<String>,
    words: u64,
    dead: usize,
    rows: usize,
    ends: usize,
    terms: usize,
    postings: usize,
    /// Bytes of a sketch's directions, if there is one.
    directions: Option<usize>,
    /// Bytes of the shadow of a row.
    shadow: usize,
}

impl PartHeader {
    fn of(namespace: &str, part: &Part) -> Self {
        let [speakers, conversations, labels, tags, runs, workspaces] = part.used_names();
        let sketch = part.sketch.as_ref();
        Self {
            namespace: namespace.to_owned(),
            speakers,
            conversations,
            labels,
            tags,
            runs,
            workspaces,
            words: part.postings.words,
            dead: part.dead,
            rows: part.rows.len(),
            ends: part.ends.len(),
            terms: part.postings.terms.len(),
            postings: part.postings.terms.values().map(Vec::len).sum(),
            directions: sketch.map(|sketch| sketch.directions.len()),
            shadow: sketch.map_or(0, |sketch| sketch.shadows.len() / sketch.len().max(1)),
        }
    }
}

/// Whether so much is new that it should be written.
pub(super) fn is_due(index: &Index) -> bool {
    let (rows, written) = (index.rows(), index.written);
    rows >= WORTH && rows - written.min(rows) >= WORTH.max(written / 8)
}

/// Writes the index, unless something was forgotten meanwhile.
pub(super) fn save(
    dir: &Path,
    connection: &mut Connection,
    origin: Origin,
    index: &Index,
) -> Result<(), Failure> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    remove_unfinished(dir);
    let number = NUMBER.fetch_add(1, Relaxed);
    let new = dir.join(format!("{FILE}.{}-{number}.new", std::process::id()));
    let written = write(&new, origin, index);
    if let Err(error) = &written {
        tracing::warn!("the index of the memory was not written: {error}");
    }
    // Whoever forgets removes the file afterwards; holding the store's lock, it is not we who come later.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = read::mark(&transaction)?;
    let same = (now.generation, now.gone) == (index.mark.generation, index.mark.gone);
    if written.is_err() || !same || fs::rename(&new, dir.join(FILE)).is_err() {
        // Another one that saves may have removed it.
        let _ = fs::remove_file(&new);
    }
    transaction.rollback()?;
    Ok(())
}

/// Removes the file, because something that is in it was forgotten.
pub(super) fn remove(dir: &Path) {
    let _ = fs::remove_file(dir.join(FILE));
    remove_unfinished(dir);
}

/// Removes what others began to write. One that is still at it writes in vain.
fn remove_unfinished(dir: &Path) {
    let begun = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(FILE) && name.ends_with(".new"))
    };
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    for path in files.map(|file| file.path()).filter(begun) {
        let _ = fs::remove_file(path);
    }
}

/// A file that is hashed as it is written.
struct Sink {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

fn write(path: &Path, origin: Origin, index: &Index) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut sink = Sink {
        file: BufWriter::with_capacity(1 << 20, options.open(path)?),
        hasher: blake3::Hasher::new(),
    };
    let parts = index.parts.iter();
    let header = Header {
        origin,
        mark: index.mark,
        parts: parts
            .map(|(name, part)| PartHeader::of(name, part))
            .collect(),
    };
    let header = serde_json::to_vec(&header)?;
    sink.put(MAGIC)?;
    sink.put(&ORDER.to_ne_bytes())?;
    sink.put(&(header.len() as u64).to_ne_bytes())?;
    sink.put(&header)?;
    for part in index.parts.values() {
        sink.put(bytemuck::cast_slice(&part.rows))?;
        sink.put(bytemuck::cast_slice(&part.vectors))?;
        sink.put(bytemuck::cast_slice(&part.ends))?;
        let mut terms: Vec<(&Term, &Vec<Posting>)> = part.postings.terms.iter().collect();
        terms.sort_unstable_by_key(|(term, _)| **term);
        let keys: Vec<Term> = terms.iter().map(|(term, _)| **term).collect();
        let counts: Vec<u32> = terms.iter().map(|(_, list)| list.len() as u32).collect();
        sink.put(bytemuck::cast_slice(&keys))?;
        sink.put(bytemuck::cast_slice(&counts))?;
        for (_, list) in terms {
            sink.put(bytemuck::cast_slice(list))?;
        }
        if let Some(sketch) = &part.sketch {
            sink.put(bytemuck::cast_slice(&sketch.directions))?;
            sink.put(bytemuck::cast_slice(&sketch.shadows))?;
            sink.put(bytemuck::cast_slice(&sketch.units))?;
        }
    }
    let sum = sink.hasher.finalize();
    sink.file.write_all(sum.as_bytes())?;
    sink.file.flush()
}

/// A file that is hashed as it is read.
struct Source {
    file: File,
    hasher: blake3::Hasher,
    /// Bytes that are left.
    left: u64,
}

impl Source {
    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        self.left = self.left.checked_sub(bytes.len() as u64)?;
        self.file.read_exact(bytes).ok()?;
        self.hasher.update(bytes);
        Some(())
    }

    /// So many of them; nothing if the file is not that long, before any room is made for them.
    fn array<T: Pod + Zeroable>(&mut self, count: usize) -> Option<Vec<T>> {
        let bytes = (count as u64).checked_mul(size_of::<T>() as u64)?;
        if bytes > self.left {
            return None;
        }
        let mut all = vec![T::zeroed(); count];
        self.fill(bytemuck::cast_slice_mut(&mut all))?;
        Some(all)
    }

    fn number<T: Pod>(&mut self) -> Option<T> {
        self.array(1)?.first().copied()
    }
}

/// Reads the index of that origin, as far as it goes; nothing if there is none that is whole. One of which
/// something was forgotten later is removed.
pub(super) fn load(dir: &Path, origin: &Origin, now: Mark) -> Option<Index> {
    let path = dir.join(FILE);
    let file = File::open(&path).ok()?;
    let left = file.metadata().ok()?.len();
    let mut source = Source {
        file,
        hasher: blake3::Hasher::new(),
        left,
    };
    let index = parse(&mut source, origin);
    if index.is_none() {
        tracing::warn!(
            "the index of the memory is made again: its file is not whole, or of another"
        );
    }
    let index = index.filter(|index| {
        let mark = index.mark;
        mark.generation == now.generation && mark.row <= now.row && mark.gone <= now.gone
    });
    if index
        .as_ref()
        .is_none_or(|index| index.mark.gone < now.gone)
    {
        remove(dir);
    }
    index
}

fn parse(source: &mut Source, origin: &Origin) -> Option<Index> {
    let magic: [u8; 8] = source.number()?;
    let order: u32 = source.number()?;
    if magic != *MAGIC || order != ORDER {
        return None;
    }
    let length: u64 = source.number()?;
    if length > HEADER {
        return None;
    }
    let header: Vec<u8> = source.array(length.try_into().ok()?)?;
    let header: Header = serde_json::from_slice(&header).ok()?;
    if header.origin != *origin {
        return None;
    }
    let mut index = Index::new(origin.dimension);
    index.mark = header.mark;
    for part in header.parts {
        let namespace = part.namespace.clone();
        index
            .parts
            .insert(namespace, parse_part(source, part, origin.dimension)?);
    }
    let sum = source.hasher.finalize();
    let mut wanted = [0; 32];
    source.fill(&mut wanted)?;
    index.written = index.rows();
    (sum == wanted && source.left == 0).then_some(index)
}

fn parse_part(source: &mut Source, header: PartHeader, dimension: usize) -> Option<Part> {
    let rows: Vec<Row> = source.array(header.rows)?;
    let vectors = source.array(header.rows.checked_mul(dimension)?)?;
    let ends = source.array(header.ends)?;
    let keys: Vec<Term> = source.array(header.terms)?;
    let counts: Vec<u32> = source.array(header.terms)?;
    let mut postings = Postings {
        words: header.words,
        ..Postings::default()
    };
    postings.terms.reserve(header.terms);
    for (key, count) in keys.into_iter().zip(counts) {
        postings.terms.insert(key, source.array(count as usize)?);
    }
    let sketch = match header.directions {
        Some(directions) => Some(Sketch::of(
            dimension,
            source.array(directions)?,
            source.array(header.rows.checked_mul(header.shadow)?)?,
            source.array(header.rows)?,
        )),
        None => None,
    };
    Some(Part {
        rows,
        vectors,
        dimension,
        postings,
        speakers: Names::of(header.speakers),
        conversations: Names::of(header.conversations),
        labels: Names::of(header.labels),
        tags: Names::of(header.tags),
        runs: Names::of(header.runs),
        workspaces: Names::of(header.workspaces),
        ends,
        dead: header.dead,
        sketch,
    })
}
