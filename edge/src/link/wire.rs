//! Messages of the contract, as what they mean here.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use gpak_kernel::{
    entry::Hash,
    identity::{History, Prompt, Refusal, Version},
    memory::{Episode, EpisodeId, Record, Vector},
};
use gpak_proto::v1;
use jiff::{SignedDuration, Timestamp};
use prost::Message;

/// The stream of JetStream's that batches go up in.
pub const EXPERIENCES: &str = "GPAK_EXPERIENCE";
/// The stream that receipts come down in.
pub const RECEIPTS: &str = "GPAK_RECEIPT";
/// Bytes of a batch after it was unpacked, at most: what somebody sends is not unpacked without end.
pub const LARGEST_BATCH: usize = 8 << 20;
/// Bytes of a batch as it travels, at most: NATS takes a megabyte.
pub const LARGEST_MESSAGE: usize = 900 << 10;

/// What was sent and makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// It cannot be unpacked.
    #[error("it cannot be unpacked: {0}")]
    Packed(String),
    /// It is no message of this contract.
    #[error("it is no message of gpak.v1: {0}")]
    Message(String),
    /// A batch is not named after what is in it.
    #[error("the batch is not what its name says: it was changed on its way")]
    Name,
    /// An experience is not named after what is in it.
    #[error("the experience is not what its name says: it was changed on its way")]
    Experience,
    /// An experience cannot be read.
    #[error("the experience cannot be read: {0}")]
    Episode(String),
    /// The prompt cannot be read.
    #[error("the prompt cannot be read: {0}")]
    Prompt(String),
}

/// The subject that a node's batches go up on.
pub fn experience_subject(node: &impl AsRef<str>) -> String {
    format!("gpak.experience.{}", node.as_ref())
}

/// The subject that a node's receipts come down on.
pub fn receipt_subject(node: &impl AsRef<str>) -> String {
    format!("gpak.receipt.{}", node.as_ref())
}

/// The header that JetStream tells repeated messages by.
pub fn headers(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    headers
}

/// A time, as the contract has it.
pub fn stamp(at: Timestamp) -> prost_types::Timestamp {
    SystemTime::from(at).into()
}

/// How far a clock of the other side is ahead of ours. Nothing if it says nothing that can be a time.
pub fn ahead(said: Option<prost_types::Timestamp>, now: Timestamp) -> Option<SignedDuration> {
    let said = SystemTime::try_from(said?).ok()?;
    let said = Timestamp::try_from(said).ok()?;
    Some(said.duration_since(now))
}

/// What is said of clocks that differ; nothing where it is under a minute.
pub fn skew(ahead: SignedDuration) -> Option<String> {
    let by = Duration::from_secs(ahead.unsigned_abs().as_secs());
    let side = if ahead.is_negative() {
        "behind"
    } else {
        "ahead of"
    };
    (by.as_secs() >= 60).then(|| {
        format!("the core's clock is {by:?} {side} this machine's; nothing goes by it, and logs of the two do not fit")
    })
}

/// What a node that has `have` versions lacks, and its prompt.
pub fn injection(history: &History, prompt: &Prompt, have: u64, now: Timestamp) -> v1::Injection {
    let have = usize::try_from(have).unwrap_or(usize::MAX);
    let fresh = history.versions().iter().skip(have);
    v1::Injection {
        versions: fresh.map(|version| version.line().into_bytes()).collect(),
        prompt: serde_json::to_vec(prompt).unwrap_or_default(),
        clock: Some(stamp(now)),
    }
}

/// The versions of an injection, which are not checked yet, for who has `have` of them.
///
/// # Errors
/// The first that cannot be read.
pub fn versions(injection: &v1::Injection, have: u64) -> Result<Vec<Version>, Refusal> {
    let numbered = (have.saturating_add(1)..).zip(&injection.versions);
    numbered
        .map(|(number, line)| Version::read(line, number))
        .collect()
}

/// The prompt of an injection, which is not checked yet.
///
/// # Errors
/// If it cannot be read.
pub fn prompt(injection: &v1::Injection) -> Result<Prompt, Garbage> {
    serde_json::from_slice(&injection.prompt).map_err(|why| Garbage::Prompt(why.to_string()))
}

/// An experience, with its vector where it has one.
pub fn experience(record: &Record) -> v1::Experience {
    let embedding = record.vector.as_ref().map(|vector| v1::Embedding {
        embedder: vector.embedder.clone(),
        values: vector.values.iter().map(|x| x.cast_unsigned()).collect(),
    });
    v1::Experience {
        id: record.id.0.to_vec(),
        episode: serde_json::to_vec(&record.episode).unwrap_or_default(),
        embedding,
    }
}

/// An experience as it is remembered.
///
/// # Errors
/// If it cannot be read, or is not what its name says.
pub fn record(said: &v1::Experience) -> Result<Record, Garbage> {
    let episode: Episode =
        serde_json::from_slice(&said.episode).map_err(|why| Garbage::Episode(why.to_string()))?;
    let id = episode.id();
    if id.0[..] != said.id[..] {
        return Err(Garbage::Experience);
    }
    let vector = said.embedding.as_ref().map(|embedding| Vector {
        embedder: embedding.embedder.clone(),
        values: embedding.values.iter().map(|x| x.cast_signed()).collect(),
    });
    Ok(Record {
        place: 0,
        id,
        episode,
        uses: 0,
        vector,
    })
}

/// A batch of a node's, under the name of what is in it.
pub fn batch(
    node: v1::Node,
    experiences: Vec<v1::Experience>,
    now: Timestamp,
) -> v1::ExperienceBatch {
    v1::ExperienceBatch {
        id: name(&node, &experiences).to_string(),
        node: Some(node),
        sent: Some(stamp(now)),
        experiences,
    }
}

/// The hash of who says what. Who sends the same again names it the same.
fn name(node: &v1::Node, experiences: &[v1::Experience]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-26 experience batch");
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(node.id.as_bytes());
    part(&node.instance);
    for experience in experiences {
        part(&experience.encode_to_vec());
    }
    Hash(*hasher.finalize().as_bytes())
}

/// A batch as it travels.
///
/// # Errors
/// If it cannot be packed.
pub fn pack(batch: &v1::ExperienceBatch) -> Result<Vec<u8>, Garbage> {
    zstd::bulk::compress(&batch.encode_to_vec(), zstd::DEFAULT_COMPRESSION_LEVEL)
        .map_err(|why| Garbage::Packed(why.to_string()))
}

/// A batch that came.
///
/// # Errors
/// If it is none, or was changed on its way.
pub fn unpack(bytes: &[u8]) -> Result<v1::ExperienceBatch, Garbage> {
    let bytes = zstd::bulk::decompress(bytes, LARGEST_BATCH)
        .map_err(|why| Garbage::Packed(why.to_string()))?;
    let batch = v1::ExperienceBatch::decode(bytes.as_slice())
        .map_err(|why| Garbage::Message(why.to_string()))?;
    let node = batch.node.clone().unwrap_or_default();
    match name(&node, &batch.experiences).to_string() == batch.id {
        true => Ok(batch),
        false => Err(Garbage::Name),
    }
}

/// The name of an experience in a receipt.
pub fn episode_id(bytes: &[u8]) -> Option<EpisodeId> {
    bytes.try_into().ok().map(EpisodeId)
}
