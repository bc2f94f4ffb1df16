//! Who says what, and who hears it.

use super::{
    physics::noise,
    world::{Point, Saying, World},
};
use crate::body::{
    actions::EARSHOT_M,
    hal::{Heard, Pose, Stamp, Stamped, wrap},
};

/// What the loudspeaker said.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// When.
    pub at: Stamp,
    /// The words.
    pub text: String,
    /// Those who were near enough to hear it.
    pub heard_by: Vec<String>,
}

/// Everybody's voices.
pub(super) struct Voices {
    /// Of each person, in order, what they say and when they say it next.
    due: Vec<Vec<(Saying, Stamp)>>,
    said: Vec<Said>,
}

impl Voices {
    /// Each first word comes up to half a second later than written, by the seed.
    pub fn new(world: &World, random: &mut fastrand::Rng) -> Self {
        let mut due = Vec::new();
        for person in &world.people {
            let says = person.says.iter().map(|saying| {
                let first = saying.after_s + random.f32() / 2.0;
                (saying.clone(), seconds(first))
            });
            due.push(says.collect());
        }
        Self {
            due,
            said: Vec::new(),
        }
    }

    pub fn said(&self) -> &[Said] {
        &self.said
    }

    pub fn say(&mut self, at: Stamp, text: &str, from: Pose, people: &[(String, Point, f32)]) {
        let near = people
            .iter()
            .filter(|(_, [x, y], _)| (x - from.x_m).hypot(y - from.y_m) <= EARSHOT_M);
        let heard_by = near.map(|(name, ..)| name.clone()).collect();
        self.said.push(Said {
            at,
            text: text.to_owned(),
            heard_by,
        });
    }

    /// What the microphone hears now, with a direction that is good to a few degrees.
    pub fn hear(
        &mut self,
        at: Stamp,
        pose: Pose,
        people: &[(String, Point, f32)],
        random: &mut fastrand::Rng,
    ) -> Vec<Stamped<Heard>> {
        let mut heard = Vec::new();
        for (says, (_, [x, y], _)) in self.due.iter_mut().zip(people) {
            let (dx, dy) = (x - pose.x_m, y - pose.y_m);
            let range = dx.hypot(dy);
            for (saying, due) in says {
                if at < *due {
                    continue;
                }
                *due = if saying.every_s > 0.0 {
                    Stamp(at.0 + seconds(saying.every_s).0)
                } else {
                    Stamp(u64::MAX)
                };
                if range <= saying.range_m {
                    let bearing = dy.atan2(dx) - pose.heading_rad + 0.05 * noise(random);
                    let value = Heard {
                        text: saying.text.clone(),
                        bearing_rad: Some(wrap(bearing)),
                    };
                    heard.push(Stamped { at, value });
                }
            }
        }
        heard
    }
}

fn seconds(seconds: f32) -> Stamp {
    Stamp((f64::from(seconds) * 1e9) as u64)
}
