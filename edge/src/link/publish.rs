//! A node's end of the way up: what waits in its outbox goes to the core when the line is free.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::StreamExt;
use gpak_kernel::model::{ModelError, resilience::backoff};
use gpak_proto::v1;
use jiff::Timestamp;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    ingest,
    node::NodeId,
    outbox::{Outbox, OutboxError, Waiting},
    wire::{self, Garbage},
};

/// NATS is not there, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[error(
    "NATS does not answer as it should: {0}; nothing is lost, and what waits is sent when it does"
)]
pub struct LinkDown(String);

pub(super) fn down(why: impl ToString) -> LinkDown {
    LinkDown(why.to_string())
}

/// Does a job over a connection to NATS until it is cancelled: again, with a longer wait from one to the next, where
/// NATS is not there or the job ends.
pub async fn keep_on<E: std::fmt::Display>(
    url: &str,
    cancel: &CancellationToken,
    job: impl AsyncFn(&async_nats::Client) -> Result<(), E>,
) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let session = async {
            let nats = async_nats::connect(url)
                .await
                .map_err(|why| why.to_string())?;
            job(&nats).await.map_err(|why| why.to_string())
        };
        let ended = tokio::select! {
            () = cancel.cancelled() => return,
            ended = session => ended,
        };
        if let Err(why) = ended {
            tracing::warn!("{why}");
        }
        // What held for a while was no failure.
        failures = if began.elapsed() > LONG { 0 } else { failures };
        let message = String::new();
        let error = ModelError::Unreachable { message };
        let wait = backoff(failures, &error, fastrand::f64()).unwrap_or(LONG);
        failures = failures.saturating_add(1);
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long a connection must have held for the next one to be tried at once.
const LONG: Duration = Duration::from_secs(10);

/// How often it is looked whether the last receipt has come.
const GLANCE: Duration = Duration::from_millis(50);

/// Why publishing ended.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// NATS.
    #[error(transparent)]
    Down(#[from] LinkDown),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// An experience cannot be packed.
    #[error(transparent)]
    Garbage(#[from] Garbage),
}

/// When a node may send, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes in an hour; nothing is no bound. A batch that is larger than this goes alone in its hour.
    pub bytes_per_hour: Option<u64>,
    /// From which hour of the day to which (UTC), the last one left out; from 22 to 6 is at night. Nothing is all
    /// day.
    pub hours: Option<(u8, u8)>,
}

impl Allowance {
    /// No bounds.
    pub const FREE: Self = Self {
        bytes_per_hour: None,
        hours: None,
    };

    /// Whether a batch of `bytes` may go now, after `spent` in this hour.
    pub fn lets(&self, now: Timestamp, spent: u64, bytes: u64) -> bool {
        let hour = u8::try_from(now.as_second().rem_euclid(86_400) / 3600).unwrap_or(0);
        let is_time = match self.hours {
            None => true,
            Some((from, to)) if from <= to => (from..to).contains(&hour),
            Some((from, to)) => hour >= from || hour < to,
        };
        let is_cheap = match self.bytes_per_hour {
            None => true,
            Some(0) => false,
            Some(_) if spent == 0 => true,
            Some(most) => spent.saturating_add(bytes) <= most,
        };
        is_time && is_cheap
    }
}

/// How a node sends.
#[derive(Debug, Clone)]
pub struct Manner {
    /// When, and how much.
    pub allowance: Allowance,
    /// How often it is looked whether something waits.
    pub look: Duration,
    /// After how long a batch without a receipt is sent again.
    pub again: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            allowance: Allowance::FREE,
            look: Duration::from_secs(2),
            again: Duration::from_secs(60),
        }
    }
}

/// Sends what waits in an outbox.
pub struct Publisher {
    outbox: Arc<Outbox>,
    node: v1::Node,
    id: NodeId,
    manner: Manner,
    /// Whether the node is at work and leaves the line alone.
    busy: watch::Receiver<bool>,
}

impl Publisher {
    /// For the node of that name.
    ///
    /// # Errors
    /// If the outbox cannot be used.
    pub fn new(
        outbox: Arc<Outbox>,
        id: NodeId,
        manner: Manner,
        busy: watch::Receiver<bool>,
    ) -> Result<Self, OutboxError> {
        Ok(Self {
            node: outbox.node(&id)?,
            outbox,
            id,
            manner,
            busy,
        })
    }

    /// Sends and hears receipts until it is cancelled or NATS is gone.
    ///
    /// # Errors
    /// If NATS or the outbox does not do what it is asked.
    pub async fn run(
        &self,
        nats: &async_nats::Client,
        cancel: &CancellationToken,
    ) -> Result<(), PublishError> {
        let context = jetstream::new(nats.clone());
        ingest::streams(&context).await?;
        let mut receipts = self.receipts(&context).await?;
        let sending = async {
            loop {
                self.send(&context).await?;
                // Nothing more may go now.
                tokio::time::sleep(self.manner.look).await;
            }
        };
        let receiving = async {
            loop {
                self.receive(receipts.next().await).await?;
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            ended = sending => ended,
            ended = receiving => ended,
        }
    }

    /// Sends what waits and hears receipts until nothing waits any more, NATS is gone, or the time is up. Answers what
    /// waits still.
    ///
    /// # Errors
    /// If NATS or the outbox does not do what it is asked: then all is kept, and waits.
    pub async fn flush(&self, url: &str, patience: Duration) -> Result<Waiting, PublishError> {
        let cancel = CancellationToken::new();
        let sending = async {
            let nats = async_nats::connect(url).await.map_err(down)?;
            self.run(&nats, &cancel).await
        };
        let emptied = async {
            while self.waiting().await?.experiences > 0 {
                tokio::time::sleep(GLANCE).await;
            }
            Ok::<_, PublishError>(())
        };
        tokio::select! {
            biased;
            ended = emptied => ended?,
            ended = sending => ended?,
            () = tokio::time::sleep(patience) => {}
        }
        self.waiting().await
    }

    async fn waiting(&self) -> Result<Waiting, PublishError> {
        let outbox = Arc::clone(&self.outbox);
        blocking(move || outbox.waiting()).await
    }

    async fn receive(&self, receipt: Option<Received>) -> Result<(), PublishError> {
        let message = receipt.ok_or_else(|| down("it ended the consumer"))?;
        let message = message.map_err(down)?;
        match v1::Receipt::decode(message.payload.clone()) {
            Ok(receipt) => {
                let outbox = Arc::clone(&self.outbox);
                blocking(move || outbox.receive(&receipt)).await?;
            }
            Err(why) => tracing::warn!("a receipt makes no sense: {why}"),
        }
        message.ack().await.map_err(down)?;
        Ok(())
    }

    /// Sends batches until none may go.
    async fn send(&self, context: &jetstream::Context) -> Result<(), PublishError> {
        while !*self.busy.borrow() {
            let (outbox, node) = (Arc::clone(&self.outbox), self.node.clone());
            let again = self.manner.again;
            let next = blocking(move || {
                let now = Timestamp::now();
                let before = now.saturating_sub(again).unwrap_or(now);
                let spent = outbox.spent(now)?;
                Ok((outbox.next(&node, now, before)?, spent, now))
            });
            let (Some(batch), spent, now) = next.await? else {
                return Ok(());
            };
            let packed = wire::pack(&batch)?;
            let bytes = packed.len();
            if !self.manner.allowance.lets(now, spent, bytes as u64) {
                return Ok(());
            }
            let subject = wire::experience_subject(&self.id);
            let headers = wire::headers(&batch.id);
            let kept = context.publish_with_headers(subject, headers, packed.into());
            kept.await.map_err(down)?.await.map_err(down)?;
            let outbox = Arc::clone(&self.outbox);
            blocking(move || outbox.sent(&batch.id, bytes, Timestamp::now())).await?;
        }
        Ok(())
    }

    async fn receipts(&self, context: &jetstream::Context) -> Result<pull::Stream, PublishError> {
        let instance: String = self
            .node
            .instance
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let config = pull::Config {
            durable_name: Some(format!("{}-{instance}", self.id)),
            ack_policy: AckPolicy::Explicit,
            deliver_policy: DeliverPolicy::All,
            filter_subject: wire::receipt_subject(&self.id),
            ..pull::Config::default()
        };
        let stream = context.get_stream(wire::RECEIPTS).await.map_err(down)?;
        let consumer = stream.create_consumer(config).await.map_err(down)?;
        Ok(consumer.messages().await.map_err(down)?)
    }
}

type Received = Result<jetstream::Message, async_nats::jetstream::consumer::pull::MessagesError>;

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, OutboxError> + Send + 'static,
) -> Result<T, PublishError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => Ok(done?),
        Err(why) => Err(down(why).into()),
    }
}
