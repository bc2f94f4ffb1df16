//! What peers say, as JSON: an envelope of who says it, the words, and their signature.
//!
//! The signature is over the words as they are written, so that a peer in any language can make one:
//! Ed25519 over `gpak.mesh.1`, a zero byte, and the bytes of `said`.

use gpak_kernel::identity::{PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize};

use crate::{
    body::{hal::Pose, telemetry::Telemetry},
    reflex::verdict::HazardKind,
};

/// What signatures are made for.
pub const PURPOSE: &str = "gpak.mesh.1";
/// Longer messages are refused unread.
pub const LONGEST: usize = 4096;

/// A message as it goes over the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Who says it.
    pub from: PublicKey,
    /// What, as JSON of [`Said`].
    pub said: String,
    /// That they do.
    pub signature: Signature,
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// Which life of the peer: the milliseconds since 1970 at which it began.
    pub epoch: u64,
    /// Counts what it said in that life.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// The kinds of messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// A danger.
    Hazard(HazardSaid),
    /// That the peer lives.
    Presence(Presence),
    /// How its body is.
    Telemetry(Box<Telemetry>),
}

/// A danger, as it is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HazardSaid {
    /// What it is; the subject must say the same.
    pub kind: HazardKind,
    /// Whether to stop there, or else to be slow.
    pub stop: bool,
    /// Where, on the map that all share.
    pub x_m: f32,
    /// Where.
    pub y_m: f32,
    /// How far around it reaches.
    pub radius_m: f32,
    /// For how long it holds if it is not said again.
    pub ttl_ms: u64,
}

/// That a peer lives, and how it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// What it is called.
    pub name: String,
    /// Where it is.
    #[serde(default)]
    pub pose: Option<Pose>,
    /// What is left of its battery.
    #[serde(default)]
    pub battery: Option<f32>,
    /// What it does: `rests`, `moves`, `held`.
    pub mode: String,
}

/// Signs what is said.
pub fn seal(key: &SecretKey, said: &Said) -> Result<Vec<u8>, serde_json::Error> {
    let said = serde_json::to_string(said)?;
    let envelope = Envelope {
        from: key.public(),
        signature: key.sign(PURPOSE, said.as_bytes()),
        said,
    };
    serde_json::to_vec(&envelope)
}

/// The subject of hazards of a kind.
pub fn hazards(kind: HazardKind) -> String {
    format!("swarm/hazards/{}", kind.name())
}

/// The subject of a peer's heartbeats.
pub fn presence(peer: &PublicKey) -> String {
    format!("swarm/presence/{peer}")
}

/// The subject of what a peer's body measures.
pub fn telemetry(peer: &PublicKey) -> String {
    format!("swarm/telemetry/{peer}")
}
