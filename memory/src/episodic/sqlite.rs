//! The store on SQLite.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use gpak_kernel::memory::{
    Consolidated, Episode, EpisodeId, Filter, Hit, Kept, Memory, MemoryError, Query, Record, Stats,
    Vector,
};
use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    cache::{self, Origin},
    consolidate,
    failure::Failure,
    fuse::Weights,
    index::Index,
    read, recall, schema, write,
};
use crate::embed::{Embedder, StaticEmbedder, quantise};

/// Texts that are embedded and written at a time.
const BATCH: usize = 512;

/// Bytes that a text may have.
const LARGEST: usize = 1 << 20;

/// A memory in one SQLite file. Clones share it.
///
/// Work is done on tokio's blocking threads, one that writes at a time and any number that read. Every method may
/// be dropped at any await: what had begun is then finished.
#[derive(Clone)]
pub struct SqliteMemory(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    path: PathBuf,
    embedder: Arc<dyn Embedder>,
    writer: Mutex<Connection>,
    /// Connections that nobody reads with at present.
    readers: Mutex<Vec<Connection>>,
    /// Held while somebody reads; alone by who forgets: a reader would keep the old pages in the log.
    reading: RwLock<()>,
    index: Arc<RwLock<Index>>,
    /// Who writes the index to its own file, if somebody does.
    saver: Mutex<Option<JoinHandle<()>>>,
    /// Rows of a namespace up to which all are compared.
    exact: AtomicUsize,
    /// Why the embedder made no vectors the last time, if it did not.
    trouble: Mutex<Option<String>>,
}

/// Connections that are kept for the next readers.
const READERS: usize = 4;

/// Up to so many episodes of a namespace are all compared with a question and all ranked, which takes 1 ms and
/// 2 ms for so many. Of more, those are ranked that words and sketches of the vectors find.
const EXACT: usize = 50_000;

impl SqliteMemory {
    /// Opens `memory.db` in the folder `dir` with the embedder that is compiled in, making both where
    /// they are missing. Blocks.
    ///
    /// # Errors
    /// [`MemoryError::Store`], with what to do, if the folder or the file cannot be used, or the file is
    /// of a newer gpak or of another program.
    pub fn open(dir: &Path) -> Result<Self, MemoryError> {
        Self::open_with(dir, Arc::new(StaticEmbedder::load()?))
    }

    /// Likewise, with that embedder.
    ///
    /// # Errors
    /// As of [`SqliteMemory::open`].
    pub fn open_with(dir: &Path, embedder: Arc<dyn Embedder>) -> Result<Self, MemoryError> {
        let writer = schema::open(dir)?;
        let reader = schema::open(dir)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            path: dir.join(schema::FILE),
            writer: Mutex::new(writer),
            readers: Mutex::new(vec![reader]),
            reading: RwLock::new(()),
            index: Arc::new(RwLock::new(Index::new(embedder.dimension()))),
            saver: Mutex::new(None),
            exact: AtomicUsize::new(EXACT),
            trouble: Mutex::new(None),
            embedder,
        })))
    }

    /// How many numbers the vectors of that embedder have in the memory of the folder `dir`, if there are any.
    /// Blocks.
    ///
    /// # Errors
    /// As of [`SqliteMemory::open`].
    pub fn dimension_of(dir: &Path, embedder: &str) -> Result<Option<usize>, MemoryError> {
        let connection = schema::open(dir)?;
        let path = dir.join(schema::FILE);
        read::dimension(&connection, embedder).map_err(|failure| failure.about(&path))
    }

    /// Compares a question with all episodes of a namespace up to so many, in place of 50,000.
    pub fn exact_up_to(&self, episodes: usize) {
        self.0.exact.store(episodes, Relaxed);
    }

    /// What fits the query by other weights than recall's own, to see what each part is worth.
    ///
    /// # Errors
    /// As of [`Memory::recall`].
    pub async fn recall_with(
        &self,
        query: &Query,
        weights: Weights,
    ) -> Result<Vec<Hit>, MemoryError> {
        let made = self.vectors(std::slice::from_ref(&query.text)).await;
        let vector = made.into_iter().next().unwrap_or_default();
        let query = query.clone();
        let inner = Arc::clone(&self.0);
        self.read(move |connection| {
            let index = inner.index(connection)?;
            let exact = inner.exact.load(Relaxed);
            recall::recall(connection, &index, &query, &vector, &weights, exact)
        })
        .await
    }

    /// A vector for each text; where the embedder fails, empty ones, which is noted: words alone will do, and
    /// nothing is lost that can be embedded later.
    pub(super) async fn vectors(&self, texts: &[String]) -> Vec<Vec<f32>> {
        let made = self.0.embedder.embed(texts).await;
        let failed = made.as_ref().err().map(ToString::to_string);
        if let Some(why) = &failed {
            tracing::warn!("{why}; words alone are used");
        }
        *self.trouble() = failed;
        made.unwrap_or_else(|_| vec![Vec::new(); texts.len()])
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What makes its vectors.
    #[cfg(feature = "qdrant")]
    pub(super) fn embedder(&self) -> &dyn Embedder {
        &*self.0.embedder
    }

    /// Keeps other processes from telling a server what is new, while it is held; nothing if another one does.
    #[cfg(feature = "qdrant")]
    pub(super) fn lock_outbox(&self) -> Result<Option<std::fs::File>, MemoryError> {
        schema::try_lock(&self.0.path.with_extension("outbox"))
    }

    /// How many episodes have no vector of this store's embedder, and so are found by words only.
    ///
    /// # Errors
    /// [`MemoryError::Store`] with what to do.
    pub async fn foreign_vectors(&self) -> Result<u64, MemoryError> {
        let embedder = self.0.embedder.id().to_owned();
        self.read(move |connection| read::foreign_count(connection, &embedder))
            .await
    }

    /// Makes the vectors of up to `most` such episodes, the latest first. Answers how many; fewer than `most` if
    /// it was the last of them. It can be stopped at any time and goes on where it was.
    ///
    /// # Errors
    /// [`MemoryError::Embedder`] or [`MemoryError::Store`] with what to do.
    pub async fn reembed(&self, most: usize) -> Result<usize, MemoryError> {
        let embedder = self.0.embedder.id().to_owned();
        let id = embedder.clone();
        let rows = self
            .read(move |connection| read::foreign(connection, &id, most))
            .await?;
        let texts: Vec<String> = rows.iter().map(|(_, e)| embedded_text(e)).collect();
        let made = self.0.embedder.embed(&texts).await?;
        let mut vectors = Vec::with_capacity(rows.len());
        for ((row, _), vector) in rows.iter().zip(made) {
            let values = quantise(&vector);
            self.check_vector(&values)?;
            vectors.push((*row, values));
        }
        let count = vectors.len();
        let last = count < most;
        self.write(move |connection| {
            if !vectors.is_empty() {
                write::revise(connection, &vectors, &embedder)?;
            }
            if last {
                write::revised(connection)?;
            }
            Ok(())
        })
        .await?;
        Ok(count)
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            job(&mut writer).map_err(|failure| failure.about(&inner.path))
        })
        .await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let reading = inner.reading.read().unwrap_or_else(PoisonError::into_inner);
            let idle = inner.readers().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => schema::open(&inner.dir)?,
            };
            let done = job(&mut connection).map_err(|failure| failure.about(&inner.path));
            let mut readers = inner.readers();
            if readers.len() < READERS {
                readers.push(connection);
            }
            drop(reading);
            done
        })
        .await
    }

    /// Records of episodes, with vectors made here where `vectors` has none of our embedder.
    async fn keep(
        &self,
        episodes: Vec<(Episode, u64, Option<Vector>)>,
    ) -> Result<Vec<Kept>, MemoryError> {
        for (episode, ..) in &episodes {
            check(episode)?;
        }
        let embedder = self.0.embedder.id().to_owned();
        let ours =
            |vector: &Option<Vector>| vector.as_ref().is_some_and(|v| v.embedder == embedder);
        let mut rows = Vec::with_capacity(episodes.len());
        for batch in episodes.chunks(BATCH) {
            let bare = batch.iter().filter(|(_, _, vector)| !ours(vector));
            let texts: Vec<String> = bare.map(|(episode, ..)| embedded_text(episode)).collect();
            let made = match texts.is_empty() {
                true => Vec::new(),
                false => self.vectors(&texts).await,
            };
            let mut made = made.into_iter();
            for (episode, uses, vector) in batch {
                let values = match vector {
                    Some(vector) if vector.embedder == embedder => {
                        self.check_vector(&vector.values)?;
                        vector.values.clone()
                    }
                    _ => {
                        let made = made.next().unwrap_or_default();
                        let values = quantise(&made);
                        if !values.is_empty() {
                            self.check_vector(&values)?;
                        }
                        values
                    }
                };
                rows.push(write::New {
                    id: episode.id(),
                    episode: episode.clone(),
                    uses: *uses,
                    vector: values,
                });
            }
        }
        self.write(move |connection| write::keep(connection, rows, &embedder))
            .await
    }

    fn check_vector(&self, values: &[i8]) -> Result<(), MemoryError> {
        let (has, wanted) = (values.len(), self.0.embedder.dimension());
        if has == wanted {
            return Ok(());
        }
        Err(MemoryError::Embedder(format!(
            "a vector of the embedder {} has {has} dimensions in place of {wanted}; export it again, or \
             leave the vectors out of the import",
            self.0.embedder.id()
        )))
    }
}

impl Inner {
    fn readers(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index, as the file is now.
    fn index(&self, connection: &mut Connection) -> Result<RwLockReadGuard<'_, Index>, Failure> {
        let now = read::mark(connection)?;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        if index.mark == now {
            return Ok(index);
        }
        drop(index);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let (embedder, dimension) = (self.embedder.id(), self.embedder.dimension());
        if index.mark.generation != now.generation {
            let origin = Origin::of(connection, embedder, dimension)?;
            if let Some(loaded) = cache::load(&self.dir, &origin, now) {
                *index = loaded;
            }
        }
        read::catch_up(connection, &mut index, embedder)?;
        index.sketch(self.exact.load(Relaxed));
        if cache::is_due(&index) {
            self.save(&mut index, Origin::of(connection, embedder, dimension)?);
        }
        Ok(RwLockWriteGuard::downgrade(index))
    }

    /// Has the index written to its file by another thread, if that has nothing to do.
    fn save(&self, index: &mut Index, origin: Origin) {
        let mut saver = self.saver.lock().unwrap_or_else(PoisonError::into_inner);
        if saver.as_ref().is_some_and(|saver| !saver.is_finished()) {
            return;
        }
        index.written = index.rows();
        let (shared, dir) = (Arc::clone(&self.index), self.dir.clone());
        *saver = Some(std::thread::spawn(move || {
            let saved = schema::open(&dir).and_then(|mut connection| {
                let index = shared.read().unwrap_or_else(PoisonError::into_inner);
                let saved = cache::save(&dir, &mut connection, origin, &index);
                saved.map_err(|failure| failure.about(&dir.join(schema::FILE)))
            });
            if let Err(error) = saved {
                tracing::warn!("the index of the memory was not written: {error}");
            }
        }));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let saver = self.saver.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(saver) = saver.take() {
            // What it could not do, it has told.
            let _ = saver.join();
        }
    }
}

#[async_trait]
impl Memory for SqliteMemory {
    async fn remember(&self, episodes: Vec<Episode>) -> Result<Vec<Kept>, MemoryError> {
        self.keep(episodes.into_iter().map(|e| (e, 0, None)).collect())
            .await
    }

    async fn recall(&self, query: &Query) -> Result<Vec<Hit>, MemoryError> {
        self.recall_with(query, Weights::FULL).await
    }

    async fn get(&self, id: EpisodeId) -> Result<Option<Episode>, MemoryError> {
        self.read(move |connection| read::get(connection, id)).await
    }

    async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Episode>, MemoryError> {
        let filter = filter.clone();
        self.read(move |connection| read::list(connection, &filter, limit))
            .await
    }

    async fn forget(&self, ids: &[EpisodeId]) -> Result<usize, MemoryError> {
        let ids = ids.to_vec();
        // The reader waits: a reading connection would keep the old pages in the log.
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let reading = inner
                .reading
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let mut writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = write::forget(&mut writer, &ids);
            if gone.as_ref().is_ok_and(|gone| *gone > 0) {
                cache::remove(&inner.dir);
            }
            drop(reading);
            gone.map_err(|failure| failure.about(&inner.path))
        })
        .await
    }

    async fn export(
        &self,
        filter: &Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>, MemoryError> {
        let filter = filter.clone();
        self.read(move |connection| read::export(connection, &filter, after, limit))
            .await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Kept>, MemoryError> {
        for record in &records {
            if record.episode.id() != record.id {
                return Err(MemoryError::Invalid(format!(
                    "record {} was changed after it was exported: its id does not fit its text; nothing \
                     was imported",
                    record.id
                )));
            }
        }
        let parts = records.into_iter().map(|r| (r.episode, r.uses, r.vector));
        self.keep(parts.collect()).await
    }

    async fn used(&self, ids: &[EpisodeId]) -> Result<(), MemoryError> {
        let ids = ids.to_vec();
        self.write(move |connection| write::used(connection, &ids))
            .await
    }

    async fn consolidate(&self, now: Timestamp) -> Result<Consolidated, MemoryError> {
        let inner = Arc::clone(&self.0);
        self.write(move |connection| {
            let index = inner.index(connection)?;
            consolidate::consolidate(connection, now, |episode| recall::like(&index, episode))
        })
        .await
    }

    async fn notice(&self) -> Option<String> {
        let why = self.trouble().clone()?;
        Some(format!(
            "{why}; memories are found by their words alone, and new ones get their vectors by `gpak memory \
             reembed`"
        ))
    }

    async fn stats(&self) -> Result<Stats, MemoryError> {
        let path = self.0.path.clone();
        self.read(move |connection| read::stats(connection, &path))
            .await
    }
}

/// Refuses what cannot be kept.
fn check(episode: &Episode) -> Result<(), MemoryError> {
    let no = |what: String| Err(MemoryError::Invalid(what));
    if episode.text.trim().is_empty() {
        return no("an empty text cannot be remembered; give it some words".to_owned());
    }
    let longest = episode
        .text
        .len()
        .max(episode.caption.as_ref().map_or(0, String::len));
    if longest > LARGEST {
        return no(format!(
            "a text of {longest} bytes is too large to be remembered; cut it into parts of at most \
             {LARGEST} bytes"
        ));
    }
    if !(0.0..=1.0).contains(&episode.importance) {
        let importance = episode.importance;
        return no(format!(
            "an importance of {importance} makes no sense; it is from 0 to 1"
        ));
    }
    Ok(())
}

/// What of an episode is embedded. Not the speaker: it would make all that somebody says alike.
fn embedded_text(episode: &Episode) -> String {
    let parts = [Some(&episode.text), episode.caption.as_ref()];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    parts.join(" ")
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, MemoryError> + Send + 'static,
) -> Result<T, MemoryError> {
    let done = tokio::task::spawn_blocking(job).await;
    done.map_err(|e| MemoryError::Store(format!("work on the memory was stopped: {e}")))?
}
