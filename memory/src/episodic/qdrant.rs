//! The store on Qdrant: episodes are found by a server, and kept here.
//!
//! The SQLite file stays the truth. What is remembered or forgotten is written there first and then sent to a
//! collection of the server; what cannot be sent waits, and the file finds it meanwhile. A collection can be made
//! again of the file at any time. Episodes that other machines sent to the same collection are found, too.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use gpak_kernel::memory::{
    Consolidated, Episode, EpisodeId, Filter, Hit, Kept, Memory, MemoryError, Query, Record, Stats,
};
use jiff::Timestamp;
use qdrant_client::{
    Qdrant, QdrantError,
    qdrant::{DeletePointsBuilder, GetPointsBuilder, PointId, UpsertPointsBuilder},
};

use super::{SqliteMemory, Weights};
use crate::embed::Embedder;

mod ask;
mod outbox;
mod point;
mod shape;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);

/// Batches that a recall sends before it asks; more have been waiting for long, and the file is asked.
const BEFORE_ASKING: usize = 4;

/// Where a server is.
#[derive(Clone)]
pub struct QdrantSettings {
    /// Its gRPC address, as in `https://qdrant.example.org:6334`; `https` is TLS.
    pub url: String,
    /// Its API key, if it wants one.
    pub api_key: Option<String>,
    /// The first part of the collection's name; the other is the embedder's id.
    pub collection: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// How long a server that failed is left alone.
    pub pause: Duration,
}

impl QdrantSettings {
    /// A server without an API key, and the collection `gpak-` and the embedder's id.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            collection: "gpak".to_owned(),
            timeout: Duration::from_secs(15),
            pause: Duration::from_secs(5),
        }
    }
}

/// A memory that a Qdrant server looks through. Clones share it.
#[derive(Clone)]
pub struct QdrantMemory(Arc<Inner>);

struct Inner {
    local: SqliteMemory,
    client: Qdrant,
    settings: QdrantSettings,
    collection: String,
    /// Server and collection, by which the outbox knows them.
    target: String,
    /// Whether the collection was seen to be there and of our shape.
    ready: AtomicBool,
    /// Held by who sends.
    sending: tokio::sync::Mutex<()>,
    trouble: Mutex<Option<Trouble>>,
}

/// Why the server was not asked, and until when it is left alone.
#[derive(Clone)]
struct Trouble {
    why: String,
    until: Instant,
}

impl QdrantMemory {
    /// Opens `memory.db` in the folder `dir`, as [`SqliteMemory::open_with`] does, with that server. The
    /// server is not called yet. Blocks.
    ///
    /// # Errors
    /// As there, and [`MemoryError::Invalid`] if the address is none.
    pub fn open_with(
        dir: &Path,
        embedder: Arc<dyn Embedder>,
        settings: QdrantSettings,
    ) -> Result<Self, MemoryError> {
        let collection = format!("{}-{}", settings.collection, embedder.id());
        let local = SqliteMemory::open_with(dir, embedder)?;
        let client = Qdrant::from_url(&settings.url)
            .api_key(settings.api_key.clone())
            .connect_timeout(CONNECT)
            .timeout(settings.timeout)
            .skip_compatibility_check()
            .build()
            .map_err(|error| {
                let url = &settings.url;
                MemoryError::Invalid(format!(
                    "`{url}` is no address of a Qdrant server ({error}); one looks like \
                     `http://localhost:6334`"
                ))
            })?;
        Ok(Self(Arc::new(Inner {
            target: format!("{} {collection}", settings.url),
            local,
            client,
            collection,
            settings,
            ready: AtomicBool::new(false),
            sending: tokio::sync::Mutex::new(()),
            trouble: Mutex::new(None),
        })))
    }

    /// What fits the query by other weights than recall's own.
    ///
    /// # Errors
    /// As of [`Memory::recall`].
    pub async fn recall_with(
        &self,
        query: &Query,
        weights: Weights,
    ) -> Result<Vec<Hit>, MemoryError> {
        match self.send(BEFORE_ASKING).await {
            Ok(true) => {}
            // What waits would not be found.
            Ok(false) | Err(_) => return self.0.local.recall_with(query, weights).await,
        }
        match self.ask(query, weights).await {
            Ok(hits) => Ok(hits),
            Err(Failed::Server(error)) => {
                self.note(&error);
                self.0.local.recall_with(query, weights).await
            }
            Err(Failed::Memory(error)) => Err(error),
        }
    }

    /// Sends what waits, up to so many batches. Answers whether nothing waits any more.
    async fn send(&self, most: usize) -> Result<bool, String> {
        let _one = self.0.sending.lock().await;
        if let Some(trouble) = self.trouble() {
            if Instant::now() < trouble.until {
                return Err(trouble.why);
            }
        }
        let sent = self.try_send(most).await;
        match sent {
            Ok(all) => {
                *self.trouble_mut() = None;
                Ok(all)
            }
            Err(Failed::Server(error)) => Err(self.note(&error)),
            Err(Failed::Memory(error)) => Err(error.to_string()),
        }
    }

    async fn try_send(&self, most: usize) -> Result<bool, Failed> {
        let Inner {
            local,
            client,
            collection,
            ..
        } = &*self.0;
        // One process at a time, so that none sends again what another has just deleted.
        let Some(_alone) = local.lock_outbox()? else {
            return Ok(false);
        };
        if !self.0.ready.load(Relaxed) {
            self.prepare().await?;
            self.0.ready.store(true, Relaxed);
        }
        for _ in 0..most {
            let (target, embedder) = (self.0.target.clone(), local.embedder().id().to_owned());
            let next = move |connection: &mut _| outbox::next(connection, &target, &embedder);
            let batch = local.read(next).await?;
            if batch.is_empty() {
                return Ok(true);
            }
            if !batch.gone.is_empty() {
                let ids: Vec<PointId> = batch.gone.iter().map(|id| point::point_id(*id)).collect();
                let request = DeletePointsBuilder::new(collection).points(ids).wait(true);
                client.delete_points(request).await?;
            }
            if !batch.told.is_empty() {
                let points: Vec<_> = batch.told.iter().map(point::point).collect();
                let request = UpsertPointsBuilder::new(collection, points).wait(true);
                client.upsert_points(request).await?;
            }
            let target = self.0.target.clone();
            let reached = move |connection: &mut _| outbox::reached(connection, &target, &batch);
            local.write(reached).await?;
        }
        Ok(false)
    }

    /// How many episodes and deletions wait for the server.
    ///
    /// # Errors
    /// [`MemoryError::Store`] with what to do.
    pub async fn waiting(&self) -> Result<u64, MemoryError> {
        let target = self.0.target.clone();
        let waiting = move |connection: &mut _| outbox::waiting(connection, &target);
        self.0.local.read(waiting).await
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// [`MemoryError::Store`] if the server does not take it.
    pub async fn send_all(&self) -> Result<(), MemoryError> {
        while !self.send(usize::MAX).await.map_err(MemoryError::Store)? {
            // Another process sends at the moment.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn trouble_mut(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        self.0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.trouble_mut().clone()
    }

    /// Leaves the server alone for a while. Answers why.
    fn note(&self, error: &QdrantError) -> String {
        let why = shape::sentence(&self.0.settings.url, error);
        tracing::warn!("{why}");
        // It may have lost the collection.
        self.0.ready.store(false, Relaxed);
        *self.trouble_mut() = Some(Trouble {
            why: why.clone(),
            until: Instant::now() + self.0.settings.pause,
        });
        why
    }
}

/// Why something could not be done.
enum Failed {
    /// The server could or would not.
    Server(Box<QdrantError>),
    /// The file could not.
    Memory(MemoryError),
}

impl From<QdrantError> for Failed {
    fn from(error: QdrantError) -> Self {
        Self::Server(Box::new(error))
    }
}

impl From<MemoryError> for Failed {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

#[async_trait]
impl Memory for QdrantMemory {
    async fn remember(&self, episodes: Vec<Episode>) -> Result<Vec<Kept>, MemoryError> {
        let kept = self.0.local.remember(episodes).await?;
        // What does not reach the server waits; `notice` tells of it.
        let _ = self.send(usize::MAX).await;
        Ok(kept)
    }

    async fn recall(&self, query: &Query) -> Result<Vec<Hit>, MemoryError> {
        self.recall_with(query, Weights::FULL).await
    }

    async fn get(&self, id: EpisodeId) -> Result<Option<Episode>, MemoryError> {
        if let Some(episode) = self.0.local.get(id).await? {
            return Ok(Some(episode));
        }
        let is_gone = move |connection: &mut _| outbox::is_gone(connection, id);
        if self.0.local.read(is_gone).await? || self.send(0).await.is_err() {
            return Ok(None);
        }
        let ids = vec![point::point_id(id)];
        let request = GetPointsBuilder::new(&self.0.collection, ids).with_payload(true);
        match self.0.client.get_points(request).await {
            Ok(found) => {
                let point = found.result.first();
                Ok(point.and_then(|point| point::episode(&point.payload)))
            }
            Err(error) => {
                self.note(&error);
                Ok(None)
            }
        }
    }

    async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Episode>, MemoryError> {
        self.0.local.list(filter, limit).await
    }

    async fn forget(&self, ids: &[EpisodeId]) -> Result<usize, MemoryError> {
        let gone = self.0.local.forget(ids).await;
        let _ = self.send(usize::MAX).await;
        gone
    }

    async fn export(
        &self,
        filter: &Filter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Record>, MemoryError> {
        self.0.local.export(filter, after, limit).await
    }

    async fn import(&self, records: Vec<Record>) -> Result<Vec<Kept>, MemoryError> {
        let kept = self.0.local.import(records).await?;
        let _ = self.send(usize::MAX).await;
        Ok(kept)
    }

    async fn used(&self, ids: &[EpisodeId]) -> Result<(), MemoryError> {
        self.0.local.used(ids).await
    }

    async fn consolidate(&self, now: Timestamp) -> Result<Consolidated, MemoryError> {
        let done = self.0.local.consolidate(now).await?;
        let _ = self.send(usize::MAX).await;
        Ok(done)
    }

    async fn stats(&self) -> Result<Stats, MemoryError> {
        self.0.local.stats().await
    }

    async fn notice(&self) -> Option<String> {
        let Some(trouble) = self.trouble() else {
            return self.0.local.notice().await;
        };
        let waiting = self.waiting().await.unwrap_or(0);
        Some(format!(
            "{}; what is remembered is kept in this machine's file and found there, {waiting} changes \
             wait for the server",
            trouble.why
        ))
    }
}
