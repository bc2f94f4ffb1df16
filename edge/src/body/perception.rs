//! From readings to what the mind is told: a few words, and not too often.
//!
//! The reflexes have long stopped the body when the mind hears of it. What is told is labelled with the
//! sensor it came from: words that a microphone heard inform, and authorise nothing.

use std::{collections::BTreeMap, time::Duration};

use super::{
    hal::{Heard, Sighting, Stamp},
    pilot::Held,
};
use crate::reflex::verdict::Severity;

/// Something the mind should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percept {
    /// Which sensor says so: `microphone`, `camera`, `reflexes`, `mesh`, `person`.
    pub sensor: &'static str,
    /// What, in words.
    pub text: String,
}

/// How long until the same is told again.
const AGAIN: Duration = Duration::from_secs(20);
/// How long between any two percepts of one sensor.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the reflexes must hold the body until the mind is told.
const HELD: Duration = Duration::from_millis(700);
/// How near a person must be to be told of.
const NEAR_M: f32 = 4.0;
/// Of what was heard, so many characters.
const LONGEST: usize = 200;
/// So many different things are remembered as told.
const MOST: usize = 64;

/// Filters what is told.
#[derive(Debug, Default)]
pub struct Perception {
    told: BTreeMap<String, Stamp>,
    last: BTreeMap<&'static str, Stamp>,
    held_since: Option<Stamp>,
    is_taken: bool,
}

impl Perception {
    /// Somebody said something.
    pub fn heard(&mut self, heard: &Heard, now: Stamp) -> Option<Percept> {
        let words: String = heard
            .text
            .chars()
            .filter(|c| !c.is_control())
            .take(LONGEST)
            .collect();
        if words.trim().is_empty() {
            return None;
        }
        let place = heard
            .bearing_rad
            .map(|bearing| format!(" (from {})", side(bearing)));
        let text = format!("heard: {words:?}{}", place.unwrap_or_default());
        self.tell("microphone", words, text, now)
    }

    /// Somebody is in sight.
    pub fn sees(&mut self, sightings: &[Sighting], now: Stamp) -> Option<Percept> {
        let near = sightings
            .iter()
            .filter(|sighting| sighting.range_m <= NEAR_M);
        let nearest = near.min_by(|one, other| one.range_m.total_cmp(&other.range_m))?;
        let (what, range) = (&nearest.what, nearest.range_m);
        let text = format!("{what} {range:.1} m {}", side(nearest.bearing_rad));
        self.tell("camera", what.clone(), text, now)
    }

    /// The reflexes hold the body, or let it go.
    pub fn held(&mut self, held: Held, wishes: bool, now: Stamp) -> Option<Percept> {
        if held.severity < Severity::Stop || !(wishes || held.severity == Severity::Latch) {
            self.held_since = None;
            return None;
        }
        let since = *self.held_since.get_or_insert(now);
        if since.age(now) < HELD {
            return None;
        }
        let text = match held.severity {
            Severity::Latch => {
                format!(
                    "e-stop: the body stands until a person releases it ({})",
                    held.causes
                )
            }
            _ => format!("blocked: the reflexes stopped the body for {}", held.causes),
        };
        self.tell("reflexes", text.clone(), text, now)
    }

    /// A person took the body over, or let it go.
    pub fn taken(&mut self, is_held: bool, now: Stamp) -> Option<Percept> {
        if std::mem::replace(&mut self.is_taken, is_held) == is_held {
            return None;
        }
        let text = match is_held {
            true => "a person holds the body: it does not move by itself until they let it go",
            false => "the person let the body go: it is yours again",
        };
        self.tell("person", text.to_owned(), text.to_owned(), now)
    }

    /// A peer warned.
    pub fn warned(&mut self, peer: &str, what: &str, now: Stamp) -> Option<Percept> {
        let text = format!("peer {peer} warns of {what}");
        self.tell("mesh", text.clone(), text, now)
    }

    fn tell(
        &mut self,
        sensor: &'static str,
        key: String,
        text: String,
        now: Stamp,
    ) -> Option<Percept> {
        let key = format!("{sensor} {key}");
        let recent = |at: Option<&Stamp>, pause| at.is_some_and(|at| at.age(now) < pause);
        if recent(self.told.get(&key), AGAIN) || recent(self.last.get(sensor), PAUSE) {
            return None;
        }
        if self.told.len() >= MOST {
            self.told.retain(|_, at| at.age(now) < AGAIN);
            if self.told.len() >= MOST {
                return None;
            }
        }
        self.told.insert(key, now);
        self.last.insert(sensor, now);
        Some(Percept { sensor, text })
    }
}

/// A direction in words.
pub fn side(bearing_rad: f32) -> String {
    let degrees = bearing_rad.to_degrees().round();
    match degrees {
        _ if degrees.abs() <= 15.0 => "ahead".to_owned(),
        _ if degrees.abs() >= 165.0 => "behind".to_owned(),
        _ if degrees > 0.0 => format!("{degrees}° to the left"),
        _ => format!("{}° to the right", -degrees),
    }
}
