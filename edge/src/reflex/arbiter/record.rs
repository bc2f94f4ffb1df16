//! The log of decisions: what went in, what came out, and the chain.

use super::{Authority, Decision, Envelope, Heard, Input, Refusal, State, arbitrate};
use crate::{
    body::hal::{Stamp, Twist},
    reflex::{
        command::{Command, Signed, Source},
        shm::cell::{Cell, Packer, Unpacker},
        verdict::{Causes, Severity, Verdict},
    },
};

/// One decision as it is logged: eight-byte words, little-endian, always as many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// One more than that before it; the first is 1.
    pub number: u64,
    /// What it was made of.
    pub input: Input,
    /// What it is.
    pub decision: Decision,
    /// BLAKE3 of the hash before it (zeros before the first), and the bytes of the rest.
    pub hash: [u8; 32],
}

const HASH_WORDS: usize = 4;

impl Record {
    /// How long each is in a log.
    pub const BYTES: usize = Self::WORDS * 8;

    pub(super) fn new(number: u64, input: Input, decision: Decision, before: [u8; 32]) -> Self {
        let mut record = Self {
            number,
            input,
            decision,
            hash: [0; 32],
        };
        record.hash = record.chained(before);
        record
    }

    /// The hash that it must have after that one.
    pub fn chained(&self, before: [u8; 32]) -> [u8; 32] {
        let bytes = self.to_bytes();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&before);
        hasher.update(
            bytes
                .get(..(Self::WORDS - HASH_WORDS) * 8)
                .unwrap_or_default(),
        );
        *hasher.finalize().as_bytes()
    }

    /// As it is logged.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut words = [0_u64; Self::WORDS];
        self.pack(&mut Packer::over(&mut words));
        let mut bytes = [0; Self::BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From the log; nothing if the bytes cannot be one.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let mut words = [0_u64; Self::WORDS];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(from.try_into().ok()?);
        }
        Self::unpack(&mut Unpacker::over(&words))
    }
}

impl Cell for Record {
    const WORDS: usize = 1 + Input::WORDS + Decision::WORDS + HASH_WORDS;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.number);
        self.input.pack(to);
        self.decision.pack(to);
        to.bytes32(&self.hash);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            number: from.word()?,
            input: Input::unpack(from)?,
            decision: Decision::unpack(from)?,
            hash: from.bytes32()?,
        })
    }
}

impl Cell for Input {
    const WORDS: usize = 2 + Verdict::WORDS + 3 * (1 + Signed::WORDS);

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.at.0);
        to.halves(self.epoch, u32::from(self.latched));
        self.verdict.pack(to);
        for slot in &self.slots {
            match slot {
                Some(heard) => {
                    to.word(1 + u64::from(heard.authentic));
                    heard.signed.pack(to);
                }
                None => to.zeros(1 + Signed::WORDS),
            }
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let at = Stamp(from.word()?);
        let (epoch, latched) = from.halves()?;
        let verdict = Verdict::unpack(from)?;
        let mut slots = [None; 3];
        for slot in &mut slots {
            match from.word()? {
                0 => from.skip(Signed::WORDS)?,
                mark @ 1..=2 => {
                    *slot = Some(Heard {
                        signed: Signed::unpack(from)?,
                        authentic: mark == 2,
                    });
                }
                _ => return None,
            }
        }
        Some(Self {
            at,
            epoch,
            latched: latched == 1,
            verdict,
            slots,
        })
    }
}

impl Cell for Decision {
    const WORDS: usize = 5;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.at.0);
        to.halves(self.epoch, self.causes.bits());
        let mut word = self.authority as u64 | (self.severity as u64) << 8;
        word |= self.source.map_or(0, |source| source as u64 + 1) << 16;
        for (index, refused) in self.refused.iter().enumerate() {
            word |= refused.map_or(0, |refusal| refusal as u64 + 1) << (24 + 8 * index);
        }
        to.word(word);
        to.twist(self.wanted);
        to.twist(self.twist);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let at = Stamp(from.word()?);
        let (epoch, causes) = from.halves()?;
        let [authority, severity, source, model, mission, manual, ..] = from.word()?.to_le_bytes();
        let refusal = |byte: u8| match byte.checked_sub(1) {
            None => Some(None),
            Some(place) => Refusal::ALL.get(usize::from(place)).copied().map(Some),
        };
        Some(Self {
            at,
            authority: *Authority::ALL.get(usize::from(authority))?,
            source: match source.checked_sub(1) {
                None => None,
                Some(place) => Some(*Source::ALL.get(usize::from(place))?),
            },
            wanted: from.twist()?,
            twist: from.twist()?,
            severity: *Severity::ALL.get(usize::from(severity))?,
            causes: Causes::from_bits(causes),
            refused: [refusal(model)?, refusal(mission)?, refusal(manual)?],
            epoch,
        })
    }
}

impl Cell for Signed {
    const WORDS: usize = 10;

    fn pack(&self, to: &mut Packer<'_>) {
        for word in self.command.to_bytes().chunks_exact(8) {
            to.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
        to.bytes32(&self.tag);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let command = Command {
            source: *Source::ALL.get(usize::try_from(from.word()?).ok()?)?,
            sequence: from.word()?,
            epoch: u32::try_from(from.word()?).ok()?,
            at: Stamp(from.word()?),
            valid_for: std::time::Duration::from_nanos(from.word()?),
            twist: from.twist()?,
        };
        let tag = from.bytes32()?;
        Some(Self { command, tag })
    }
}

/// What replaying a log found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Replayed {
    /// Every decision is the one that its input gives, and the chain holds.
    Same {
        /// How many.
        decisions: u64,
        /// The last hash.
        hash: [u8; 32],
    },
    /// This one is not.
    Differs {
        /// Its number.
        number: u64,
        /// Its motion as logged.
        logged: Twist,
        /// Its motion as its input gives it.
        made: Twist,
    },
}

/// Makes the decisions of a log again, from its first, and compares them hash for hash. It needs what each
/// source may wish (from the configuration), and no key.
pub fn replay(may: &[Envelope; 3], records: impl IntoIterator<Item = Record>) -> Replayed {
    let (mut state, mut hash) = (State::default(), [0; 32]);
    let mut decisions = 0;
    for logged in records {
        let (next, decision) = arbitrate(may, state, &logged.input);
        decisions += 1;
        let made = Record::new(decisions, logged.input, decision, hash);
        if made.hash != logged.hash {
            return Replayed::Differs {
                number: logged.number,
                logged: logged.decision.twist,
                made: decision.twist,
            };
        }
        (state, hash) = (next, made.hash);
    }
    Replayed::Same { decisions, hash }
}
