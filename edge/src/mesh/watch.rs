//! Who is believed what. Pure: messages and times go in, hazards come out.

use std::{collections::BTreeMap, time::Duration};

use gpak_kernel::identity::PublicKey;

use super::wire::{
    Envelope, HazardSaid, LONGEST, PURPOSE, Presence, Said, What, hazards, presence, telemetry,
};
use crate::{
    body::{hal::Stamp, telemetry::Telemetry},
    reflex::verdict::Hazard,
};

/// A hazard holds for so long at most without being said again.
pub const LONGEST_LIFE: Duration = Duration::from_secs(30);
/// A peer's hazards that hold at one time, at most.
pub const MOST_HAZARDS: usize = 16;
/// Of what holds a peer's body, so many causes are kept.
const MOST_CAUSES: usize = 32;
/// Messages of a peer: so many at once, and so many a second.
const BURST: f64 = 40.0;
const PER_SECOND: f64 = 20.0;
/// How far a peer's clock may be off from ours.
const CLOCKS: Duration = Duration::from_secs(30);

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("unreadable")]
    Unreadable,
    /// It is our own, as the network gave it back.
    #[error("our own")]
    Own,
    /// Its sender is not among the trusted.
    #[error("of a stranger")]
    Stranger,
    /// Its sender says too much.
    #[error("too many")]
    Flood,
    /// Its signature is not its sender's.
    #[error("forged")]
    Forged,
    /// It was said before, or before something that was heard.
    #[error("said before")]
    Replayed,
    /// Its time is not about now.
    #[error("of another time")]
    OtherTime,
    /// It came on a subject that is not its own.
    #[error("on a wrong subject")]
    Subject,
    /// A number in it cannot be.
    #[error("impossible")]
    Impossible,
    /// The peer has as many hazards as it may.
    #[error("too many hazards")]
    Full,
}

/// What a message told that is new.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A hazard, or that it still holds; whether it was not known before.
    Hazard(Hazard, bool),
    /// A peer lives.
    Presence,
    /// A peer said how its body is.
    Telemetry,
}

/// What is known of a peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its key.
    pub key: PublicKey,
    /// What it said of itself last.
    pub presence: Option<Presence>,
    /// How its body was when it said so last, and when that was.
    pub telemetry: Option<(Stamp, Box<Telemetry>)>,
    /// When it was heard last.
    pub heard: Option<Stamp>,
    /// What of it was refused, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    epoch: u64,
    sequence: u64,
    left: f64,
    counted: Stamp,
    hazards: Vec<Hazard>,
}

/// Knows the peers and their hazards.
#[derive(Clone, Debug)]
pub struct Watch {
    own: PublicKey,
    peers: BTreeMap<String, Peer>,
    strangers: u64,
}

impl Watch {
    /// Of those who are trusted, for the node with that key: it is no peer of itself.
    pub fn new(own: PublicKey, trusted: &[PublicKey]) -> Self {
        let peers = trusted.iter().filter(|key| **key != own).map(|key| {
            let peer = Peer {
                key: *key,
                presence: None,
                telemetry: None,
                heard: None,
                refused: BTreeMap::new(),
                epoch: 0,
                sequence: 0,
                left: BURST,
                counted: Stamp(0),
                hazards: Vec::new(),
            };
            (key.to_string(), peer)
        });
        Self {
            own,
            peers: peers.collect(),
            strangers: 0,
        }
    }

    /// The peers.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// How many messages came from nobody who is trusted, or could not be read.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// The hazards that hold now, of all peers.
    pub fn hazards(&self, now: Stamp) -> Vec<Hazard> {
        let all = self.peers.values().flat_map(|peer| &peer.hazards);
        all.filter(|hazard| hazard.until > now).copied().collect()
    }

    /// Hears a message.
    ///
    /// # Errors
    ///
    /// It is not believed; says why, and changes nothing but counts.
    pub fn hear(
        &mut self,
        subject: &str,
        bytes: &[u8],
        now: Stamp,
        unix_ms: u64,
    ) -> Result<News, Refusal> {
        let envelope: Option<Envelope> = (bytes.len() <= LONGEST)
            .then(|| serde_json::from_slice(bytes).ok())
            .flatten();
        let Some(envelope) = envelope else {
            self.strangers = self.strangers.saturating_add(1);
            return Err(Refusal::Unreadable);
        };
        if envelope.from == self.own {
            return Err(Refusal::Own);
        }
        let Some(peer) = self.peers.get_mut(&envelope.from.to_string()) else {
            self.strangers = self.strangers.saturating_add(1);
            return Err(Refusal::Stranger);
        };
        let news = peer.hear(subject, &envelope, now, unix_ms);
        if let Err(refusal) = news {
            let count = peer.refused.entry(refusal).or_insert(0);
            *count = count.saturating_add(1);
        }
        news
    }
}

impl Peer {
    /// Its name, or the beginning of its key.
    pub fn called(&self) -> String {
        let key = || self.key.to_string().chars().take(8).collect();
        let presence = self.presence.as_ref();
        presence.map_or_else(key, |presence| presence.name.clone())
    }

    /// Whether it warned of that.
    pub fn has(&self, hazard: &Hazard) -> bool {
        self.hazards.contains(hazard)
    }

    /// How many of its hazards hold.
    pub fn holding(&self, now: Stamp) -> usize {
        self.hazards
            .iter()
            .filter(|hazard| hazard.until > now)
            .count()
    }

    fn hear(
        &mut self,
        subject: &str,
        envelope: &Envelope,
        now: Stamp,
        unix_ms: u64,
    ) -> Result<News, Refusal> {
        // A forger who floods in a peer's name may not silence the peer: what is forged is not counted
        // against it. Checking costs less than the network brings.
        if !self
            .key
            .holds(PURPOSE, envelope.said.as_bytes(), &envelope.signature)
        {
            return Err(Refusal::Forged);
        }
        let said: Said = serde_json::from_str(&envelope.said).map_err(|_| Refusal::Unreadable)?;
        if said.at_ms.abs_diff(unix_ms) > CLOCKS.as_millis() as u64 {
            return Err(Refusal::OtherTime);
        }
        if (said.epoch, said.sequence) <= (self.epoch, self.sequence) {
            return Err(Refusal::Replayed);
        }
        let wanted = match &said.what {
            What::Hazard(hazard) => hazards(hazard.kind),
            What::Presence(_) => presence(&self.key),
            What::Telemetry(_) => telemetry(&self.key),
        };
        if subject != wanted {
            return Err(Refusal::Subject);
        }
        let since = self.counted.age(now).as_secs_f64();
        self.left = (self.left + since * PER_SECOND).min(BURST);
        self.counted = now;
        if self.left < 1.0 {
            return Err(Refusal::Flood);
        }
        self.left -= 1.0;
        (self.epoch, self.sequence) = (said.epoch, said.sequence);
        self.heard = Some(now);
        match said.what {
            What::Hazard(hazard) => self.warned(&hazard, now),
            What::Presence(said) => {
                self.presence = Some(bounded(said));
                Ok(News::Presence)
            }
            What::Telemetry(mut said) => {
                said.causes.truncate(MOST_CAUSES);
                for cause in &mut said.causes {
                    *cause = short(cause, 40);
                }
                self.telemetry = Some((now, said));
                Ok(News::Telemetry)
            }
        }
    }

    fn warned(&mut self, said: &HazardSaid, now: Stamp) -> Result<News, Refusal> {
        let place = said.x_m.is_finite() && said.y_m.is_finite();
        let is_large = said.radius_m > 0.0;
        if !place || !is_large || said.ttl_ms == 0 {
            return Err(Refusal::Impossible);
        }
        let life = Duration::from_millis(said.ttl_ms).min(LONGEST_LIFE);
        let until = Stamp(now.0.saturating_add(life.as_nanos() as u64));
        self.hazards.retain(|hazard| hazard.until > now);
        let number = self.key.to_string();
        let number = number
            .get(..16)
            .and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let mut hazard = Hazard {
            kind: said.kind,
            stop: said.stop,
            x_m: said.x_m,
            y_m: said.y_m,
            radius_m: said.radius_m,
            until,
            peer: number.unwrap_or_default(),
        };
        let same = |known: &&mut Hazard| is_same(known, &hazard);
        if let Some(known) = self.hazards.iter_mut().find(same) {
            // What was said before holds until its end, whatever is said now.
            hazard.until = hazard.until.max(known.until);
            *known = hazard;
            return Ok(News::Hazard(hazard, false));
        }
        if self.hazards.len() >= MOST_HAZARDS {
            return Err(Refusal::Full);
        }
        self.hazards.push(hazard);
        Ok(News::Hazard(hazard, true))
    }
}

/// A hazard that is said again is the same; one that moved, grew or became worse is another.
fn is_same(one: &Hazard, other: &Hazard) -> bool {
    let form = |hazard: &Hazard| {
        let numbers = [hazard.x_m, hazard.y_m, hazard.radius_m].map(f32::to_bits);
        (hazard.kind, hazard.stop, numbers)
    };
    form(one) == form(other)
}

fn short(text: &str, most: usize) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(most).collect()
}

fn bounded(mut presence: Presence) -> Presence {
    presence.name = short(&presence.name, 40);
    presence.mode = short(&presence.mode, 20);
    presence
}
