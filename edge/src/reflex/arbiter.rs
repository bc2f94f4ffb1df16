//! The arbiter: who may move the body, and how fast.
//!
//! [`arbitrate`] is a pure function of what it knew and what it is given. The order of authority is
//!
//! > e-stop latch > hard reflex > manual > soft reflex > mission > model
//!
//! A source says one thing: what is in its slot now. If that is refused, or too old, the source says
//! nothing; no motion goes on because the one who wished it is gone. Every decision says its reason and
//! is chained by BLAKE3 to the one before it, so that [`replay`] finds any that was not made so.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    command::{Release, SessionKey, Signed, Source, SourceKey, nanos},
    verdict::{Bounds, Causes, Severity, Verdict},
};
use crate::body::hal::{Stamp, Twist};

mod record;
#[cfg(test)]
mod tests;

pub use record::{Record, Replayed, replay};

/// What a source may wish.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Its fastest motion.
    pub bounds: Bounds,
    /// For how long a wish of it may stand.
    pub valid_for: Duration,
}

/// The keys of those whose word counts.
#[derive(Clone, Debug)]
pub struct Authorities {
    keys: [SourceKey; 3],
}

impl Authorities {
    /// Those of a session.
    pub fn new(session: &SessionKey) -> Self {
        Self {
            keys: Source::ALL.map(|source| session.of(source)),
        }
    }

    /// Whether a person made the request to end an e-stop.
    pub fn released(&self, release: &Release) -> bool {
        let [_, _, manual] = &self.keys;
        manual.released(release)
    }

    /// What is in the slots, and whether it carries its source's mark.
    fn hear(&self, slots: [Option<Signed>; 3]) -> [Option<Heard>; 3] {
        let mut heard = [None; 3];
        for ((heard, key), slot) in heard.iter_mut().zip(&self.keys).zip(slots) {
            *heard = slot.map(|signed| Heard {
                signed,
                authentic: key.signed(&signed),
            });
        }
        heard
    }
}

/// A command, and whether it carries the mark of the source in whose slot it is: with that in the log, a
/// decision can be replayed without the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// The command.
    pub signed: Signed,
    /// Whether the mark is right.
    pub authentic: bool,
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It is in the slot of another source.
    WrongSource,
    /// Its mark is not that of its source's key.
    Unsigned,
    /// A number of it is not finite.
    NotFinite,
    /// It was made for another epoch.
    OtherEpoch,
    /// Its sequence was used before.
    Replayed,
    /// It was made later than now.
    FromTheFuture,
    /// It stands no more.
    Stale,
    /// It would stand longer than its source may wish.
    TooLong,
    /// It is faster than its source may wish.
    TooFast,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::WrongSource,
        Self::Unsigned,
        Self::NotFinite,
        Self::OtherEpoch,
        Self::Replayed,
        Self::FromTheFuture,
        Self::Stale,
        Self::TooLong,
        Self::TooFast,
    ];

    /// What is wrong with the command.
    pub fn name(self) -> &'static str {
        match self {
            Self::WrongSource => "in the slot of another source",
            Self::Unsigned => "not signed by its source",
            Self::NotFinite => "not finite",
            Self::OtherEpoch => "of another epoch",
            Self::Replayed => "seen before",
            Self::FromTheFuture => "made later than now",
            Self::Stale => "too old",
            Self::TooLong => "valid for too long",
            Self::TooFast => "out of its envelope",
        }
    }
}

/// Whose word a decision is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// Nobody says anything: the body rests.
    Nobody,
    /// The model, as it wished.
    Model,
    /// The mission, as it wished.
    Mission,
    /// A reflex that only a person outranks held a wish back.
    SoftReflex,
    /// A person, as they wished.
    Manual,
    /// A reflex that nobody outranks held a wish back.
    HardReflex,
    /// The e-stop.
    EStop,
}

impl Authority {
    /// All of them, the weakest first.
    pub const ALL: [Self; 7] = [
        Self::Nobody,
        Self::Model,
        Self::Mission,
        Self::SoftReflex,
        Self::Manual,
        Self::HardReflex,
        Self::EStop,
    ];
}

/// What a decision is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// Now.
    pub at: Stamp,
    /// The present epoch.
    pub epoch: u32,
    /// Whether the e-stop holds.
    pub latched: bool,
    /// What the rules say.
    pub verdict: Verdict,
    /// What is in each source's slot, in the order of [`Source::ALL`].
    pub slots: [Option<Heard>; 3],
}

/// What the arbiter knew of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    sequence: u64,
    tag: [u8; 32],
}

/// What the arbiter knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    epoch: u32,
    seen: [Option<Seen>; 3],
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Stamp,
    /// Whose word it is.
    pub authority: Authority,
    /// The source whose wish it was, if any.
    pub source: Option<Source>,
    /// What it wished.
    pub wanted: Twist,
    /// What the body does.
    pub twist: Twist,
    /// How bad it is.
    pub severity: Severity,
    /// What held the wish back, or would have.
    pub causes: Causes,
    /// What was wrong with each source's command, in the order of [`Source::ALL`].
    pub refused: [Option<Refusal>; 3],
    /// The epoch.
    pub epoch: u32,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let twist = self.twist;
        match self.source {
            None => f.write_str("nobody wishes to move")?,
            Some(source) => {
                let (wanted, name) = (self.wanted, source.name());
                write!(
                    f,
                    "{name} wishes {:.2} m/s, {:.2} rad/s",
                    wanted.linear_mps, wanted.angular_radps
                )?;
                if wanted != twist {
                    write!(
                        f,
                        ", gets {:.2}, {:.2}",
                        twist.linear_mps, twist.angular_radps
                    )?;
                }
            }
        }
        if self.authority == Authority::EStop {
            f.write_str("; e-stop")?;
        }
        if !self.causes.is_empty() {
            write!(f, "; {}", self.causes)?;
        }
        for (source, refused) in Source::ALL.iter().zip(self.refused) {
            if let Some(refusal) = refused {
                write!(f, "; {} refused: {}", source.name(), refusal.name())?;
            }
        }
        Ok(())
    }
}

/// Decides. The same knowledge and the same input give the same decision, always.
pub fn arbitrate(may: &[Envelope; 3], mut state: State, input: &Input) -> (State, Decision) {
    if state.epoch != input.epoch {
        // What was seen in another epoch cannot come again: its commands are refused for their epoch.
        state = State {
            epoch: input.epoch,
            seen: [None; 3],
        };
    }
    let mut refused = [None; 3];
    let mut chosen = None;
    let places = Source::ALL.iter().zip(may).zip(&input.slots);
    for ((((source, may), slot), seen), refused) in places.zip(&mut state.seen).zip(&mut refused) {
        let Some(heard) = slot else { continue };
        match judge(may, *source, heard, seen, input) {
            // The strongest comes last.
            Ok(twist) => chosen = Some((*source, twist)),
            Err(refusal) => *refused = Some(refusal),
        }
    }
    let (authority, twist) = settle(input, chosen);
    let verdict = &input.verdict;
    let decision = Decision {
        at: input.at,
        authority,
        source: chosen.map(|(source, _)| source),
        wanted: chosen.map(|(_, twist)| twist).unwrap_or_default(),
        twist,
        severity: if input.latched {
            Severity::Latch
        } else {
            verdict.severity
        },
        causes: verdict.hard_causes.and(verdict.soft_causes),
        refused,
        epoch: input.epoch,
    };
    (state, decision)
}

/// What the body does with a wish.
fn settle(input: &Input, chosen: Option<(Source, Twist)>) -> (Authority, Twist) {
    if input.latched {
        return (Authority::EStop, Twist::default());
    }
    let Some((source, wanted)) = chosen else {
        return (Authority::Nobody, Twist::default());
    };
    let hard = input.verdict.hard.limit(wanted);
    let (own, twist) = match source {
        Source::Manual => return (held(hard == wanted, Authority::Manual), hard),
        Source::Mission => (Authority::Mission, input.verdict.soft.limit(hard)),
        Source::Model => (Authority::Model, input.verdict.soft.limit(hard)),
    };
    if twist != hard {
        // Limiting to the soft bounds may not leave the hard ones.
        return (Authority::SoftReflex, input.verdict.hard.limit(twist));
    }
    (held(hard == wanted, own), twist)
}

fn held(granted: bool, own: Authority) -> Authority {
    if granted { own } else { Authority::HardReflex }
}

/// The motion of a command, if it counts.
fn judge(
    envelope: &Envelope,
    source: Source,
    heard: &Heard,
    seen: &mut Option<Seen>,
    input: &Input,
) -> Result<Twist, Refusal> {
    let signed = &heard.signed;
    let command = &signed.command;
    if command.source != source {
        return Err(Refusal::WrongSource);
    }
    let again =
        seen.is_some_and(|seen| seen.sequence == command.sequence && same(&seen.tag, &signed.tag));
    if !heard.authentic {
        return Err(Refusal::Unsigned);
    }
    let twist = command.twist;
    if !(twist.linear_mps.is_finite() && twist.angular_radps.is_finite()) {
        return Err(Refusal::NotFinite);
    }
    if command.epoch != input.epoch {
        return Err(Refusal::OtherEpoch);
    }
    if !again && seen.is_some_and(|seen| command.sequence <= seen.sequence) {
        return Err(Refusal::Replayed);
    }
    if command.at > input.at {
        return Err(Refusal::FromTheFuture);
    }
    // From here on its sequence is used up, whatever is wrong with the rest.
    *seen = Some(Seen {
        sequence: command.sequence,
        tag: signed.tag,
    });
    if command.valid_for > envelope.valid_for {
        return Err(Refusal::TooLong);
    }
    if input.at.0 - command.at.0 > nanos(command.valid_for) {
        return Err(Refusal::Stale);
    }
    if !envelope.bounds.allow(twist) {
        return Err(Refusal::TooFast);
    }
    Ok(twist)
}

/// Compared as [`blake3::Hash`] does, in constant time.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*one) == *other
}

/// A motion that the arbiter approved. Nothing else can make one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Approved {
    twist: Twist,
    at: Stamp,
    number: u64,
}

impl Approved {
    /// The motion.
    pub fn twist(&self) -> Twist {
        self.twist
    }

    /// When it was approved.
    pub fn at(&self) -> Stamp {
        self.at
    }

    /// The number of the decision.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// [`arbitrate`] with what it knows, and the chain of what it decided.
#[derive(Clone, Debug)]
pub struct Arbiter {
    keys: Authorities,
    may: [Envelope; 3],
    state: State,
    number: u64,
    hash: [u8; 32],
}

impl Arbiter {
    /// One that has decided nothing yet.
    pub fn new(session: &SessionKey, may: [Envelope; 3]) -> Self {
        Self {
            keys: Authorities::new(session),
            may,
            state: State::default(),
            number: 0,
            hash: [0; 32],
        }
    }

    /// Whose word counts.
    pub fn authorities(&self) -> &Authorities {
        &self.keys
    }

    /// Decides what comes of what is in the slots.
    pub fn decide(
        &mut self,
        at: Stamp,
        epoch: u32,
        latched: bool,
        verdict: Verdict,
        slots: [Option<Signed>; 3],
    ) -> (Approved, Record) {
        self.decide_heard(Input {
            at,
            epoch,
            latched,
            verdict,
            slots: self.keys.hear(slots),
        })
    }

    fn decide_heard(&mut self, input: Input) -> (Approved, Record) {
        let (state, decision) = arbitrate(&self.may, self.state, &input);
        self.state = state;
        self.number += 1;
        let record = Record::new(self.number, input, decision, self.hash);
        self.hash = record.hash;
        let approved = Approved {
            twist: decision.twist,
            at: decision.at,
            number: self.number,
        };
        (approved, record)
    }
}
