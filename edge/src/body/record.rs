//! The recording of a body's life: an MCAP file of what the sensors said, what was wanted, what was
//! decided, and the run's entries, each with its time.
//!
//! Readings, intents and entries are JSON; decisions are the arbiter's own records, so that a replay
//! makes them again from what they were made of, hash for hash.

use std::{
    collections::BTreeMap,
    fs::File,
    io::BufWriter,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use mcap::{
    MessageStream, Summary, WriteOptions, Writer,
    records::{MessageHeader, Metadata},
};
use serde::Serialize;
use tokio::sync::broadcast;

use super::hal::Stamp;
use crate::reflex::arbiter::{Envelope, Record, Replayed, replay};

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be had.
    #[error("{file}: {why}")]
    File {
        /// Its name.
        file: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It cannot be written or read as MCAP.
    #[error("the recording: {0}")]
    Mcap(#[from] mcap::McapError),
    /// It has no decisions to replay, or not all of them.
    #[error("{0}")]
    NotReplayable(String),
}

/// Where decisions are.
pub const DECISIONS: &str = "/reflex/decisions";
const METADATA: &str = "gpak.reflex";

struct Inner {
    writer: Writer<BufWriter<File>>,
    channels: BTreeMap<&'static str, u16>,
    sequence: u32,
}

/// What is told to those who watch, besides what is written: what happens, not what is measured.
const TOLD: [&str; 9] = [
    "/heard",
    "/intents",
    "/measured",
    "/override",
    "/percepts",
    "/reflex/reasons",
    "/said",
    "/tree",
    "/warnings",
];
/// Lines that one who watches may be behind.
const BEHIND: usize = 256;

/// Writes a recording. Cloning it is cheap and shares it.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Mutex<Option<Inner>>>,
    told: broadcast::Sender<Arc<str>>,
}

impl Recorder {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        let file = File::create(path).map_err(|why| RecordError::File {
            file: path.display().to_string(),
            why,
        })?;
        let options = WriteOptions::new()
            .compression(None)
            .profile("")
            .library(concat!("gpak ", env!("CARGO_PKG_VERSION")));
        let inner = Inner {
            writer: options.create(BufWriter::new(file))?,
            channels: BTreeMap::new(),
            sequence: 0,
        };
        Ok(Self {
            inner: Arc::new(Mutex::new(Some(inner))),
            told: broadcast::channel(BEHIND).0,
        })
    }

    /// Adds something as JSON. A recording that cannot go on says so once and ends.
    pub fn put(&self, channel: &'static str, at: Stamp, what: &impl Serialize) {
        if TOLD.contains(&channel) && self.told.receiver_count() > 0 {
            let line = serde_json::json!({"channel": channel, "at_ns": at.0, "what": what});
            // Whoever watched may be gone by now.
            let _ = self.told.send(line.to_string().into());
        }
        match serde_json::to_vec(what) {
            Ok(bytes) => self.write(channel, at, &bytes, "json"),
            Err(why) => tracing::warn!("{channel} is not recorded: {why}"),
        }
    }

    /// What happens from now on, a JSON object each.
    pub fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.told.subscribe()
    }

    /// Adds a decision.
    pub fn decision(&self, record: &Record) {
        self.write(
            DECISIONS,
            record.input.at,
            &record.to_bytes(),
            "gpak-decision",
        );
    }

    fn write(&self, channel: &'static str, at: Stamp, bytes: &[u8], encoding: &str) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = inner.as_mut()
            && let Err(why) = open.write(channel, at, bytes, encoding)
        {
            tracing::warn!("the recording ends here: {why}");
            *inner = None;
        }
    }

    /// Ends the file, with what a replay needs: what each source may wish, and how many decisions are
    /// missing.
    ///
    /// # Errors
    ///
    /// It cannot be written, or ended before.
    pub fn finish(&self, may: &[Envelope; 3], missed: u64) -> Result<(), RecordError> {
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut open) = inner else {
            let why = "the recording ended before the body did; look at the disk".to_owned();
            return Err(RecordError::NotReplayable(why));
        };
        let may = serde_json::to_string(may).unwrap_or_default();
        open.writer.write_metadata(&Metadata {
            name: METADATA.to_owned(),
            metadata: BTreeMap::from([
                ("may".to_owned(), may),
                ("missed".to_owned(), missed.to_string()),
            ]),
        })?;
        open.writer.finish()?;
        Ok(())
    }
}

impl Inner {
    fn write(
        &mut self,
        channel: &'static str,
        at: Stamp,
        bytes: &[u8],
        encoding: &str,
    ) -> Result<(), mcap::McapError> {
        let channel_id = match self.channels.get(channel) {
            Some(id) => *id,
            None => {
                let schema = match encoding {
                    "json" => {
                        self.writer
                            .add_schema(channel, "jsonschema", b"{\"type\":\"object\"}")?
                    }
                    _ => 0,
                };
                let id = self
                    .writer
                    .add_channel(schema, channel, encoding, &BTreeMap::new())?;
                self.channels.insert(channel, id);
                id
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        let header = MessageHeader {
            channel_id,
            sequence: self.sequence,
            log_time: at.0,
            publish_time: at.0,
        };
        self.writer.write_to_known_channel(&header, bytes)
    }
}

/// What is in a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// How many messages each channel has.
    pub channels: BTreeMap<String, u64>,
    /// What the replay of its decisions found.
    pub replayed: Replayed,
}

/// Makes the decisions of a recording again, and counts what else is in it.
///
/// # Errors
///
/// It is no recording of a body, or not all of it is there.
pub fn replay_file(path: &Path) -> Result<Recording, RecordError> {
    let bytes = std::fs::read(path).map_err(|why| RecordError::File {
        file: path.display().to_string(),
        why,
    })?;
    let (mut channels, mut records) = (BTreeMap::new(), Vec::new());
    for message in MessageStream::new(&bytes)? {
        let message = message?;
        let topic = message.channel.topic.clone();
        if topic == DECISIONS {
            let record = <&[u8; Record::BYTES]>::try_from(message.data.as_ref());
            let record = record.ok().and_then(Record::from_bytes);
            let broken =
                || RecordError::NotReplayable("a decision in it cannot be read".to_owned());
            records.push(record.ok_or_else(broken)?);
        }
        *channels.entry(topic).or_insert(0) += 1;
    }
    let may = envelopes(&bytes)?;
    if records.is_empty() {
        return Err(RecordError::NotReplayable(
            "there are no decisions in it".to_owned(),
        ));
    }
    let replayed = replay(&may, records);
    Ok(Recording { channels, replayed })
}

fn envelopes(bytes: &[u8]) -> Result<[Envelope; 3], RecordError> {
    let unfinished = || {
        RecordError::NotReplayable(
            "the recording was not finished, so that it does not say what each source may wish; \
             `gpak reflexd --replay` replays the log that is beside it"
                .to_owned(),
        )
    };
    let summary = Summary::read(bytes)?.ok_or_else(unfinished)?;
    let mut indexes = summary.metadata_indexes.iter();
    let index = indexes
        .find(|index| index.name == METADATA)
        .ok_or_else(unfinished)?;
    let metadata = mcap::read::metadata(bytes, index)?.metadata;
    match metadata.get("missed").map(String::as_str) {
        Some("0") => {}
        missed => {
            let missed = missed.unwrap_or("an unknown number of");
            let why = format!(
                "{missed} decisions are missing in it: they came faster than they were written"
            );
            return Err(RecordError::NotReplayable(why));
        }
    }
    let may = metadata.get("may").ok_or_else(unfinished)?;
    serde_json::from_str(may).map_err(|why| RecordError::NotReplayable(why.to_string()))
}
