//! Commands: who wants the body to move, how, and for how long that stands.
//!
//! A command is worth something only while it is fresh, was never seen before, belongs to the present
//! epoch, and carries the mark of its source's key. The key is made when a body starts and goes to the
//! reflex process over its standard input: what can write to the board but has no key moves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::body::hal::{Device, Stamp, Twist};

pub use super::arbiter::Approved;

/// Who commands, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The model's intents, as the planner turns them into motion.
    Model,
    /// A mission from the core, as the planner turns it into motion.
    Mission,
    /// A person who holds the dead man's switch.
    Manual,
}

impl Source {
    /// All of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Model, Self::Mission, Self::Manual];

    /// Its place in [`Source::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Mission => "mission",
            Self::Manual => "manual",
        }
    }
}

/// A wish to move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Command {
    /// Who wishes.
    pub source: Source,
    /// Greater than that of any command of this source before it.
    pub sequence: u64,
    /// The epoch it was made for: the reflexes begin a new one when they start and when the e-stop is
    /// released, and what was wished before counts no longer.
    pub epoch: u32,
    /// When it was made.
    pub at: Stamp,
    /// For how long after that it stands.
    pub valid_for: Duration,
    /// The motion.
    pub twist: Twist,
}

/// The number of bytes that are signed of a command.
const COMMAND_BYTES: usize = 48;

impl Command {
    /// What is signed: every field, little-endian, in one order.
    pub fn to_bytes(&self) -> [u8; COMMAND_BYTES] {
        let mut bytes = [0; COMMAND_BYTES];
        let fields = [
            self.source as u64,
            self.sequence,
            u64::from(self.epoch),
            self.at.0,
            nanos(self.valid_for),
            u64::from(self.twist.linear_mps.to_bits())
                | u64::from(self.twist.angular_radps.to_bits()) << 32,
        ];
        for (to, field) in bytes.chunks_exact_mut(8).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Until when it stands.
    pub fn until(&self) -> Stamp {
        Stamp(self.at.0.saturating_add(nanos(self.valid_for)))
    }
}

/// A command and the mark of its source's key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signed {
    /// The command.
    pub command: Command,
    /// BLAKE3 of its bytes, keyed.
    pub tag: [u8; 32],
}

/// The request to end an e-stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The epoch in which the e-stop holds. Releasing begins the next, so that no request works twice.
    pub epoch: u32,
    /// When it was made.
    pub at: Stamp,
    /// The mark of the key of [`Source::Manual`]: only a person ends an e-stop.
    pub tag: [u8; 32],
}

impl Release {
    fn to_bytes(epoch: u32, at: Stamp) -> [u8; 24] {
        let mut bytes = *b"release.\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        for (to, field) in bytes
            .chunks_exact_mut(8)
            .skip(1)
            .zip([u64::from(epoch), at.0])
        {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

/// The secret of one life of a body, from which each source's key is derived.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// A new one, from the system's randomness.
    ///
    /// # Errors
    ///
    /// The system has none to give.
    pub fn new() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The one with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the reflex process's standard input.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key of a source.
    pub fn of(&self, source: Source) -> SourceKey {
        let context = match source {
            Source::Model => "gpak reflex 1 command of the model",
            Source::Mission => "gpak reflex 1 command of a mission",
            Source::Manual => "gpak reflex 1 command of a person",
        };
        SourceKey(blake3::derive_key(context, &self.0))
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey")
    }
}

/// What a source signs its commands with.
#[derive(Clone)]
pub struct SourceKey([u8; 32]);

impl std::fmt::Debug for SourceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SourceKey")
    }
}

impl SourceKey {
    /// The command, signed.
    pub fn sign(&self, command: Command) -> Signed {
        let tag = *blake3::keyed_hash(&self.0, &command.to_bytes()).as_bytes();
        Signed { command, tag }
    }

    /// Whether this key signed the command.
    pub fn signed(&self, signed: &Signed) -> bool {
        // `blake3::Hash` compares in constant time.
        blake3::keyed_hash(&self.0, &signed.command.to_bytes()) == signed.tag
    }

    /// The request to end the e-stop that holds in an epoch.
    pub fn release(&self, epoch: u32, at: Stamp) -> Release {
        let tag = *blake3::keyed_hash(&self.0, &Release::to_bytes(epoch, at)).as_bytes();
        Release { epoch, at, tag }
    }

    /// Whether this key made the request.
    pub fn released(&self, release: &Release) -> bool {
        blake3::keyed_hash(&self.0, &Release::to_bytes(release.epoch, release.at)) == release.tag
    }
}

/// What a drive took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Applied {
    /// The motion, at that time.
    Taken {
        /// What it does now.
        twist: Twist,
        /// Since when.
        at: Stamp,
    },
    /// It is not active, or cannot be reached: it was put into its safe state.
    Safe,
}

/// A device that moves the body.
pub trait Drive: Device {
    /// Does what the arbiter approved, and nothing else: nobody else can make an [`Approved`].
    fn write(&mut self, approved: Approved) -> Applied;
    /// Stops. It cannot fail, may be called at any time and any number of times, and never waits.
    fn safe(&mut self);
}

/// A duration in nanoseconds, as long as they can say.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
