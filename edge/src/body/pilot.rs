//! The pilot: it turns an intent into motions, tick by tick, and says what came of it.
//!
//! Pure: readings and the time go in, motions come out. What it wishes is a wish; the arbiter decides.

use std::collections::BTreeSet;

use super::{
    hal::{Contact, Heard, Odometry, Pose, Scan, Sighting, Stamp, Stamped, Twist, wrap},
    intent::{Ended, Event, Goal, Intent, Measured, Whom},
    perception::side,
};
use crate::{
    nav::{
        follow::{Follower, Gait, Step},
        grid::Grid,
        plan::{Clearance, Margin, NoWay, Way, nearest, plan},
    },
    reflex::{
        config::ReflexConfig,
        verdict::{Causes, Severity},
    },
};

#[cfg(test)]
mod tests;

/// What a body is, to its pilot.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// How far it reaches from its middle.
    pub radius_m: f32,
    /// Its fastest.
    pub speed_mps: f32,
    /// Its fastest turn.
    pub turn_radps: f32,
    /// How long it may stand before something that does not let it on.
    pub patience_s: f32,
    /// How far before it its cliff sensor sees the floor end.
    pub edge_m: f32,
}

impl Build {
    /// The body that the reflexes know.
    pub fn of(config: &ReflexConfig) -> Self {
        let body = &config.body;
        let long = body.front_m.max(body.back_m);
        let contact = config.contact.as_ref();
        Self {
            radius_m: long.max(body.half_width_m),
            speed_mps: body.forward_mps,
            turn_radps: body.turn_radps * 0.8,
            patience_s: 3.0,
            edge_m: contact
                .and_then(|contact| contact.cliff_m)
                .unwrap_or_default(),
        }
    }
}

/// What the reflexes do with the body just now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// How bad it is.
    pub severity: Severity,
    /// Why.
    pub causes: Causes,
}

/// What a tick gives.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    /// The motion it wishes; nothing if it wishes none.
    pub wish: Option<Twist>,
    /// How the intent ended, if it did.
    pub ended: Option<Measured>,
}

/// A voice, as a line on the map.
#[derive(Clone, Debug)]
struct Voice {
    at: Stamp,
    text: String,
    from: (f32, f32),
    /// Of the map.
    direction_rad: Option<f32>,
}

/// What is being done.
#[derive(Debug)]
struct Doing {
    intent: Intent,
    began: Stamp,
    moved_m: f32,
    held: BTreeSet<&'static str>,
    follower: Option<Follower>,
    planned: Stamp,
    /// Where it was when it last got on.
    got_on: (Pose, Stamp),
    backing: Option<Pose>,
    tries: u32,
    /// Of a path, which point; of a look around, how far.
    stage: usize,
    swept_rad: f32,
    /// The voice that the way was made for.
    voice: Stamp,
}

/// Turns intents into motions.
#[derive(Debug)]
pub struct Pilot {
    build: Build,
    grid: Grid,
    odometry: Option<Stamped<Odometry>>,
    nearest_m: Option<f32>,
    people: Vec<Sighting>,
    seen_at: Stamp,
    voice: Option<Voice>,
    doing: Option<Doing>,
}

const BACK_M: f32 = 0.25;
const TRIES: u32 = 4;
const VOICE_STEP_M: f32 = 3.0;

impl Pilot {
    /// Of a body that knows nothing of where it is yet.
    pub fn new(build: Build) -> Self {
        Self {
            build,
            grid: Grid::new(0.1, 25.0),
            odometry: None,
            nearest_m: None,
            people: Vec::new(),
            seen_at: Stamp(0),
            voice: None,
            doing: None,
        }
    }

    /// The map as far as it was seen.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Where the wheels say the body is.
    pub fn pose(&self) -> Option<Pose> {
        self.odometry.map(|odometry| odometry.value.pose)
    }

    /// The people in sight.
    pub fn people(&self) -> &[Sighting] {
        &self.people
    }

    /// The last words that were heard.
    pub fn words(&self) -> Option<&str> {
        self.voice.as_ref().map(|voice| voice.text.as_str())
    }

    /// From where in the direction of the body the last words came, as far as is known.
    pub fn voice_bearing(&self) -> Option<f32> {
        let direction = self.voice.as_ref()?.direction_rad?;
        Some(wrap(direction - self.pose()?.heading_rad))
    }

    /// How far the nearest person in sight is.
    pub fn person_m(&self) -> Option<f32> {
        self.people
            .iter()
            .map(|person| person.range_m)
            .reduce(f32::min)
    }

    /// Whether it has something to do.
    pub fn is_busy(&self) -> bool {
        self.doing.is_some()
    }

    /// What the wheels say.
    pub fn see_odometry(&mut self, odometry: Stamped<Odometry>) {
        if let (Some(before), Some(doing)) = (self.odometry, &mut self.doing) {
            let (was, is) = (before.value.pose, odometry.value.pose);
            doing.moved_m += (is.x_m - was.x_m).hypot(is.y_m - was.y_m);
            doing.swept_rad += wrap(is.heading_rad - was.heading_rad).abs();
        }
        self.odometry = Some(odometry);
    }

    /// What the scanner says.
    pub fn see_scan(&mut self, scan: &Scan) {
        self.nearest_m = scan.nearest_m();
        if let Some(pose) = self.pose() {
            self.grid.add(scan, pose, 4.0);
        }
    }

    /// What bumper and cliff sensor say. A floor that ends is on the map from then on.
    pub fn see_contact(&mut self, contact: Contact) {
        if let (true, Some(pose)) = (contact.cliff, self.pose()) {
            let reach = self.build.radius_m + self.build.edge_m;
            for side in [-0.8_f32, -0.4, 0.0, 0.4, 0.8] {
                let angle = pose.heading_rad + side;
                let (x, y) = (
                    pose.x_m + reach * angle.cos(),
                    pose.y_m + reach * angle.sin(),
                );
                let cell = self.grid.cell(x, y);
                self.grid.take(cell);
            }
        }
    }

    /// Whom the camera sees.
    pub fn see_people(&mut self, people: Stamped<Vec<Sighting>>) {
        self.seen_at = people.at;
        self.people = people.value;
    }

    /// What the microphone heard.
    pub fn hear(&mut self, heard: Stamped<Heard>) {
        let Some(pose) = self.pose() else { return };
        let bearing = heard.value.bearing_rad;
        self.voice = Some(Voice {
            at: heard.at,
            text: heard.value.text,
            from: (pose.x_m, pose.y_m),
            direction_rad: bearing.map(|bearing| wrap(pose.heading_rad + bearing)),
        });
    }

    /// Begins something; what was begun before is over, and says so.
    pub fn begin(&mut self, intent: Intent, now: Stamp) -> Option<Measured> {
        let before = self.cancel(now);
        let pose = self.pose().unwrap_or_default();
        self.doing = Some(Doing {
            intent,
            began: now,
            moved_m: 0.0,
            held: BTreeSet::new(),
            follower: None,
            planned: Stamp(0),
            got_on: (pose, now),
            backing: None,
            tries: 0,
            stage: 0,
            swept_rad: 0.0,
            voice: Stamp(0),
        });
        before
    }

    /// What is being done is not wanted any more.
    pub fn cancel(&mut self, now: Stamp) -> Option<Measured> {
        let doing = self.doing.take()?;
        Some(self.measure(&doing, Ended::Cancelled, now))
    }

    /// Goes on.
    pub fn tick(&mut self, now: Stamp, held: Held) -> Tick {
        let Some(mut doing) = self.doing.take() else {
            return Tick::default();
        };
        if held.severity >= Severity::Stop {
            doing
                .held
                .extend(held.causes.iter().map(|cause| cause.name()));
        }
        let too_long = doing.began.age(now) > doing.intent.within;
        let next = match self.pose() {
            _ if too_long => Err(Ended::TooLong),
            None => Ok(Twist::default()),
            Some(pose) => self.go_on(&mut doing, pose, now, held),
        };
        match next {
            Ok(wish) => {
                self.doing = Some(doing);
                Tick {
                    wish: Some(wish),
                    ended: None,
                }
            }
            Err(ended) => Tick {
                wish: Some(Twist::default()),
                ended: Some(self.measure(&doing, ended, now)),
            },
        }
    }

    fn measure(&self, doing: &Doing, ended: Ended, now: Stamp) -> Measured {
        Measured {
            ended,
            pose: self.pose().unwrap_or_default(),
            moved_m: doing.moved_m,
            took_s: doing.began.age(now).as_secs_f32(),
            nearest_m: self.nearest_m,
            person_m: self.person_m(),
            held: doing.held.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn go_on(&self, doing: &mut Doing, at: Pose, now: Stamp, held: Held) -> Result<Twist, Ended> {
        match doing.intent.goal.clone() {
            Goal::Stop => {
                let twist = self.odometry.map(|odometry| odometry.value.twist);
                let moves = twist.is_some_and(|twist| {
                    twist.linear_mps.abs() > 0.01 || twist.angular_radps.abs() > 0.02
                });
                if moves {
                    Ok(Twist::default())
                } else {
                    Err(Ended::Done)
                }
            }
            Goal::Turn { to_rad } => turn(at, to_rad, self.build.turn_radps),
            Goal::WaitFor(event) => self.wait(doing, event, held),
            Goal::GoTo { x_m, y_m } => {
                self.interrupted(doing)?;
                self.travel(doing, at, (x_m, y_m), now, held)
            }
            Goal::FollowPath(points) => {
                self.interrupted(doing)?;
                let Some(point) = points.get(doing.stage) else {
                    return Err(Ended::Done);
                };
                match self.travel(doing, at, *point, now, held) {
                    Err(Ended::Done) => {
                        doing.stage += 1;
                        doing.follower = None;
                        doing.planned = Stamp(0);
                        Ok(Twist::default())
                    }
                    other => other,
                }
            }
            Goal::Approach { whom, stop_at_m } => {
                self.approach(doing, at, (whom, stop_at_m), now, held)
            }
        }
    }

    fn wait(&self, doing: &Doing, event: Event, held: Held) -> Result<Twist, Ended> {
        let happened = match event {
            Event::Voice => self
                .voice
                .as_ref()
                .is_some_and(|voice| voice.at > doing.began),
            Event::Person => !self.people.is_empty(),
            Event::Clear => held.severity < Severity::Stop,
        };
        if happened {
            Err(Ended::Done)
        } else {
            Ok(Twist::default())
        }
    }

    /// Somebody spoke since it began: the mind wants to know.
    fn interrupted(&self, doing: &Doing) -> Result<(), Ended> {
        match &self.voice {
            Some(voice) if voice.at > doing.began => Err(Ended::Heard(voice.text.clone())),
            _ => Ok(()),
        }
    }

    /// Where a person in sight is.
    fn place(at: Pose, person: &Sighting) -> (f32, f32) {
        let angle = at.heading_rad + person.bearing_rad;
        (
            at.x_m + person.range_m * angle.cos(),
            at.y_m + person.range_m * angle.sin(),
        )
    }

    /// The nearest person in sight who may be meant.
    fn meant(&self, at: Pose, whom: Whom) -> Option<&Sighting> {
        let may_be = |person: &&Sighting| match (whom, &self.voice) {
            (Whom::Person, _) => true,
            (Whom::Voice, Some(voice)) => voice.direction_rad.is_none_or(|direction| {
                let (x, y) = Self::place(at, person);
                let (dx, dy) = (x - voice.from.0, y - voice.from.1);
                dx.hypot(dy) < 0.8 || wrap(dy.atan2(dx) - direction).abs() < 0.45
            }),
            (Whom::Voice, None) => false,
        };
        let people = self.people.iter().filter(may_be);
        people.min_by(|one, other| one.range_m.total_cmp(&other.range_m))
    }

    fn approach(
        &self,
        doing: &mut Doing,
        at: Pose,
        (whom, stop_at_m): (Whom, f32),
        now: Stamp,
        held: Held,
    ) -> Result<Twist, Ended> {
        if let Some(person) = self.meant(at, whom) {
            if person.range_m <= stop_at_m + 0.1 {
                return match turn(
                    at,
                    at.heading_rad + person.bearing_rad,
                    self.build.turn_radps,
                ) {
                    Err(Ended::Done) => Err(Ended::Done),
                    other => other,
                };
            }
            let (x, y) = Self::place(at, person);
            let part = (person.range_m - stop_at_m) / person.range_m;
            let to = (at.x_m + (x - at.x_m) * part, at.y_m + (y - at.y_m) * part);
            let aims = doing.stage == 1;
            if !aims || doing.planned.age(now).as_secs_f32() > 0.5 {
                doing.stage = 1;
                doing.follower = None;
            }
            return match self.travel(doing, at, self.free(to), now, held) {
                Err(Ended::Done) if person.range_m <= stop_at_m + 0.6 => Err(Ended::Done),
                Err(Ended::Done) => Ok(Twist::default()),
                other => other,
            };
        }
        let Some(voice) = self.voice.as_ref().filter(|_| whom == Whom::Voice) else {
            let nobody = match (whom, &self.voice) {
                (Whom::Voice, _) => "nobody has spoken; `wait_for` a voice first".to_owned(),
                (Whom::Person, Some(voice)) => format!(
                    "no person is in sight. {:?} was heard{}: `approach` that voice, {{\"whom\": \"voice\"}}",
                    voice.text,
                    self.voice_bearing()
                        .map_or(String::new(), |bearing| format!(" {}", side(bearing)))
                ),
                (Whom::Person, None) => {
                    "no person is in sight; `look`, `turn`, or `go_to` another place first"
                        .to_owned()
                }
            };
            // One who was in sight a moment ago may be again.
            let lost = doing.stage == 1 && self.seen_at.age(now).as_secs_f32() < 3.0;
            return match lost {
                true => turn_on(self.build.turn_radps),
                false => Err(Ended::Impossible(nobody)),
            };
        };
        let Some(direction) = voice.direction_rad else {
            let why = "the microphone cannot tell where the voice came from";
            return Err(Ended::Impossible(why.to_owned()));
        };
        if doing.voice != voice.at {
            doing.voice = voice.at;
            doing.stage = 0;
            doing.follower = None;
            doing.swept_rad = 0.0;
        }
        if doing.stage == 2 {
            // It is where the voice led it: it looks around, then waits for the next word.
            return match doing.swept_rad < 6.5 {
                true => turn_on(self.build.turn_radps),
                false => Ok(Twist::default()),
            };
        }
        let (x, y) = (
            voice.from.0 + VOICE_STEP_M * direction.cos(),
            voice.from.1 + VOICE_STEP_M * direction.sin(),
        );
        match self.travel(doing, at, self.free((x, y)), now, held) {
            Err(Ended::Done) => {
                doing.stage = 2;
                doing.swept_rad = 0.0;
                Ok(Twist::default())
            }
            other => other,
        }
    }

    fn margin(&self) -> Margin {
        Margin {
            hard_m: self.build.radius_m + 0.1,
            soft_m: self.build.radius_m + 0.4,
        }
    }

    /// The nearest place to that where the body may stand.
    fn free(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let clearance = Clearance::new(&self.grid, self.margin());
        let cell = self.grid.cell(x, y);
        if clearance.allows(cell) {
            return (x, y);
        }
        nearest(&self.grid, &clearance, cell).map_or((x, y), |cell| self.grid.middle(cell))
    }

    fn travel(
        &self,
        doing: &mut Doing,
        at: Pose,
        to: (f32, f32),
        now: Stamp,
        held: Held,
    ) -> Result<Twist, Ended> {
        if let Some(from) = doing.backing {
            let back = (at.x_m - from.x_m).hypot(at.y_m - from.y_m);
            let long = doing.got_on.1.age(now).as_secs_f32() > 2.0 * self.build.patience_s;
            if back < BACK_M && !long {
                return Ok(Twist {
                    linear_mps: -0.1,
                    angular_radps: 0.0,
                });
            }
            doing.backing = None;
            doing.follower = None;
            doing.got_on = (at, now);
        }
        self.stuck(doing, at, now, held)?;
        let old = doing.planned.age(now).as_secs_f32() > 1.0;
        if doing.follower.is_none() || (old && !self.still_good(doing, at)) {
            let way = self.way(at, to)?;
            let speed_mps = self.build.speed_mps.min(doing.intent.max_speed_mps);
            let gait = Gait {
                speed_mps,
                turn_radps: self.build.turn_radps,
                ..Gait::default()
            };
            doing.follower = Some(Follower::new(way, gait));
            doing.planned = now;
        }
        match doing.follower.as_mut().map(|follower| follower.step(at)) {
            Some(Step::Go(twist)) => Ok(twist),
            _ => Err(Ended::Done),
        }
    }

    fn way(&self, at: Pose, to: (f32, f32)) -> Result<Way, Ended> {
        let planned = plan(&self.grid, self.margin(), (at.x_m, at.y_m), to);
        planned.map_err(|why: NoWay| Ended::Impossible(why.to_string()))
    }

    /// Whether what is left of the way is still free as far as is known.
    fn still_good(&self, doing: &Doing, at: Pose) -> bool {
        let clearance = Clearance::new(&self.grid, self.margin());
        let Some(follower) = &doing.follower else {
            return false;
        };
        let mut from = self.grid.cell(at.x_m, at.y_m);
        follower.left().iter().all(|(x, y)| {
            let to = self.grid.cell(*x, *y);
            let sees = clearance.sees(from, to);
            from = to;
            sees
        })
    }

    /// It did not get on for too long: it backs off and tries another way, and gives up after a few.
    fn stuck(&self, doing: &mut Doing, at: Pose, now: Stamp, held: Held) -> Result<(), Ended> {
        let (from, since) = doing.got_on;
        let moved = (at.x_m - from.x_m).hypot(at.y_m - from.y_m);
        let turned = wrap(at.heading_rad - from.heading_rad).abs();
        if moved > 0.05 || turned > 0.2 {
            doing.got_on = (at, now);
            return Ok(());
        }
        if since.age(now).as_secs_f32() < self.build.patience_s {
            return Ok(());
        }
        doing.tries += 1;
        if doing.tries > TRIES {
            let why = match held.causes.is_empty() {
                true => "the wheels turn and the body does not move".to_owned(),
                false => format!("the reflexes hold it: {}", held.causes),
            };
            return Err(Ended::Blocked(why));
        }
        doing.backing = Some(at);
        doing.got_on = (at, now);
        Ok(())
    }
}

fn turn(at: Pose, to_rad: f32, fastest_radps: f32) -> Result<Twist, Ended> {
    let left = wrap(to_rad - at.heading_rad);
    if left.abs() < 0.05 {
        return Err(Ended::Done);
    }
    let speed = (2.0 * left).clamp(-fastest_radps, fastest_radps);
    Ok(Twist {
        linear_mps: 0.0,
        angular_radps: speed.abs().max(0.1).copysign(left),
    })
}

fn turn_on(fastest_radps: f32) -> Result<Twist, Ended> {
    Ok(Twist {
        linear_mps: 0.0,
        angular_radps: fastest_radps.min(0.8),
    })
}
