//! The core's end of the way up: what its nodes learnt becomes its memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{AckPolicy, PullConsumer, pull},
    stream,
};
use futures::StreamExt;
use gpak_kernel::memory::{Memory, MemoryError, Record, Vector};
use gpak_memory::embed::{Alignment, quantise};
use gpak_proto::v1;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{
    node::Registry,
    publish::{LinkDown, down},
    wire,
};

/// The tag of all that came from a node.
pub const TAG: &str = "experience";
/// How long a batch that could not be kept now waits.
const LATER: Duration = Duration::from_secs(5);
/// How long a receipt is kept for a node that is away.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Takes experiences into the core's memory.
pub struct Ingest {
    memory: Arc<dyn Memory>,
    registry: Arc<Registry>,
    /// By the embedder whose vectors each maps.
    alignments: BTreeMap<String, Alignment>,
    /// How long JetStream waits before it sends a batch again that was not acknowledged.
    patience: Duration,
}

impl Ingest {
    /// Into that memory, from the nodes that the registry lets in.
    pub fn new(memory: Arc<dyn Memory>, registry: Arc<Registry>, patience: Duration) -> Self {
        Self {
            memory,
            registry,
            alignments: BTreeMap::new(),
            patience,
        }
    }

    /// Maps vectors of one embedder into the memory's space. Those of others are made anew from their texts.
    #[must_use]
    pub fn with(mut self, alignment: Alignment) -> Self {
        self.alignments.insert(alignment.from.clone(), alignment);
        self
    }

    /// Takes what comes, until it is cancelled or NATS is gone.
    ///
    /// # Errors
    /// If NATS does not do what it is asked.
    pub async fn run(
        &self,
        nats: &async_nats::Client,
        cancel: &CancellationToken,
    ) -> Result<(), LinkDown> {
        let context = jetstream::new(nats.clone());
        let consumer = self.consumer(&context).await?;
        let mut batches = consumer.messages().await.map_err(down)?;
        loop {
            let message = tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                message = batches.next() => message,
            };
            let message = message
                .ok_or_else(|| down("it ended the consumer"))?
                .map_err(down)?;
            match self.take(&message.payload).await {
                Ok((node, receipt)) => {
                    // The receipt is safe before JetStream may forget the batch.
                    receive(&context, &node, &receipt).await?;
                    message.double_ack().await.map_err(down)?;
                }
                Err(Untaken::Garbage(why)) => {
                    tracing::warn!("a batch of experiences is dropped: {why}");
                    message.ack_with(AckKind::Term).await.map_err(down)?;
                }
                Err(Untaken::Later(why)) => {
                    tracing::warn!("a batch of experiences waits: {why}");
                    message
                        .ack_with(AckKind::Nak(Some(LATER)))
                        .await
                        .map_err(down)?;
                }
            }
        }
    }

    async fn consumer(&self, context: &jetstream::Context) -> Result<PullConsumer, LinkDown> {
        streams(context).await?;
        let stream = context.get_stream(wire::EXPERIENCES).await.map_err(down)?;
        let config = pull::Config {
            durable_name: Some("core".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.patience,
            ..pull::Config::default()
        };
        stream.create_consumer(config).await.map_err(down)
    }

    /// Commits a batch to the memory, once, however often it comes: what is known there is left as it is, in the
    /// transaction that keeps the rest.
    ///
    /// # Errors
    /// If it is garbage, or cannot be kept now.
    pub async fn take(&self, payload: &[u8]) -> Result<(String, v1::Receipt), Untaken> {
        let batch = wire::unpack(payload).map_err(Untaken::Garbage)?;
        let node = batch.node.clone().unwrap_or_default();
        let mut receipt = v1::Receipt {
            batch: batch.id,
            ..v1::Receipt::default()
        };
        let mut refuse = |id: &[u8], reason: String| {
            let id = id.to_vec();
            receipt.refused.push(v1::RefusedExperience { id, reason });
        };
        let admitted = match self.registry.admit(Some(&node)) {
            Ok(id) => id,
            Err(why @ super::NodeError::Name(_)) => {
                return Err(Untaken::Garbage(wire::Garbage::Message(why.to_string())));
            }
            Err(why @ super::NodeError::File { .. }) => {
                return Err(Untaken::Later(MemoryError::Store(why.to_string())));
            }
            Err(why) => {
                let all = batch.experiences.iter();
                all.for_each(|said| refuse(&said.id, why.to_string()));
                return Ok((node.id, receipt));
            }
        };
        let mut records = Vec::new();
        for said in &batch.experiences {
            match wire::record(said) {
                Ok(record) => records.push(self.ours(record, admitted.as_ref())),
                Err(why) => refuse(&said.id, why.to_string()),
            }
        }
        let (committed, refused) = self.keep(records).await.map_err(Untaken::Later)?;
        refused.into_iter().for_each(|(id, why)| refuse(&id, why));
        receipt.committed = committed;
        Ok((node.id, receipt))
    }

    /// Keeps all of them at once; where one cannot be kept, each by itself.
    async fn keep(&self, records: Vec<Record>) -> Result<Sorted, MemoryError> {
        let ids = records.iter().map(|record| record.id.0.to_vec()).collect();
        match self.memory.import(records.clone()).await {
            Ok(_) => return Ok((ids, Vec::new())),
            Err(MemoryError::Invalid(_)) => {}
            Err(why) => return Err(why),
        }
        let (mut committed, mut refused) = (Vec::new(), Vec::new());
        for record in records {
            let id = record.id.0.to_vec();
            match self.memory.import(vec![record]).await {
                Ok(_) => committed.push(id),
                Err(MemoryError::Invalid(why)) => refused.push((id, why)),
                Err(why) => return Err(why),
            }
        }
        Ok((committed, refused))
    }

    /// A record as this memory has it: tagged with its node, with a vector of the memory's embedder or none. Its
    /// label stays.
    fn ours(&self, mut record: Record, node: &str) -> Record {
        for tag in [TAG.to_owned(), format!("node:{node}")] {
            if !record.episode.tags.contains(&tag) {
                record.episode.tags.push(tag);
            }
        }
        if let Some(vector) = &record.vector
            && let Some(alignment) = self.alignments.get(&vector.embedder)
        {
            record.vector = map(alignment, vector);
        }
        record
    }
}

/// Names of what was committed, and of what was not, and why.
type Sorted = (Vec<Vec<u8>>, Vec<(Vec<u8>, String)>);

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Untaken {
    /// It never will be.
    #[error(transparent)]
    Garbage(wire::Garbage),
    /// It is kept where it is.
    #[error(transparent)]
    Later(MemoryError),
}

/// Vectors have a direction and no length: signed bytes are brought to length 1 for the map.
fn map(alignment: &Alignment, vector: &Vector) -> Option<Vector> {
    let length = vector
        .values
        .iter()
        .map(|x| f32::from(*x).powi(2))
        .sum::<f32>()
        .sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    let values: Vec<f32> = vector
        .values
        .iter()
        .map(|x| f32::from(*x) * scale)
        .collect();
    let mapped = alignment.map(&vector.embedder, &values).ok()?;
    Some(Vector {
        embedder: alignment.to.clone(),
        values: quantise(&mapped),
    })
}

async fn receive(
    context: &jetstream::Context,
    node: &str,
    receipt: &v1::Receipt,
) -> Result<(), LinkDown> {
    let subject = wire::receipt_subject(&node);
    let bytes = receipt.encode_to_vec();
    let kept = context.publish(subject, bytes.into()).await.map_err(down)?;
    kept.await.map_err(down)?;
    Ok(())
}

/// Makes the two streams, if they are not there.
///
/// # Errors
/// If NATS does not do what it is asked.
pub async fn streams(context: &jetstream::Context) -> Result<(), LinkDown> {
    let experiences = stream::Config {
        name: wire::EXPERIENCES.to_owned(),
        subjects: vec![wire::experience_subject(&"*")],
        retention: stream::RetentionPolicy::WorkQueue,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    let receipts = stream::Config {
        name: wire::RECEIPTS.to_owned(),
        subjects: vec![wire::receipt_subject(&"*")],
        max_age: KEPT,
        ..stream::Config::default()
    };
    for config in [experiences, receipts] {
        context.get_or_create_stream(config).await.map_err(down)?;
    }
    Ok(())
}
