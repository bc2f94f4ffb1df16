//! The pilot's thread: it looks at the board, does what is ordered, and tells the mind what it should know.

use std::{
    collections::VecDeque,
    f32::consts::{FRAC_PI_2, PI},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    thread::JoinHandle,
    time::Duration,
};

use gpak_kernel::label::Label;
use tokio::sync::{mpsc, oneshot};

use crate::{
    body::{
        actions::{Order, Said},
        driver::Sense,
        hal::{Speaker, Stamp},
        intent::Measured,
        perception::{Percept, Perception, side},
        pilot::{Build, Held, Pilot, Tick},
        record::Recorder,
        telemetry::Telemetry,
    },
    mesh::{
        Node, Warning,
        wire::{HazardSaid, Presence},
    },
    reflex::{
        clock::{after, now, sleep_until},
        command::{Source, SourceKey},
        launch::Pulse,
        shm::{Board, BoardError, Commander, Decisions, ScanBuffer},
        verdict::{HazardKind, Severity},
    },
};

/// Nothing was taken yet.
const NEVER: Stamp = Stamp(0);
/// How often the pilot looks.
const EVERY: Duration = Duration::from_millis(50);
/// For how long one of its wishes stands.
const STANDS: Duration = Duration::from_millis(250);
/// So many percepts wait for the mind at most; the oldest is dropped.
const PERCEPTS: usize = 16;
/// A cliff is warned of for so long after it was seen, and again if it is seen then.
const WARN_FOR: Duration = Duration::from_secs(20);
const WARN_AGAIN: Duration = Duration::from_secs(10);

/// What the pilot stands between.
pub struct Outside {
    /// The board.
    pub board: Board,
    /// For whom it flies.
    pub source: Source,
    /// The key with which their wishes are signed.
    pub key: SourceKey,
    /// What is ordered.
    pub orders: mpsc::Receiver<Order>,
    /// What the other sensors say.
    pub senses: Receiver<Sense>,
    /// The loudspeaker.
    pub speaker: Box<dyn Speaker>,
    /// What the body is.
    pub build: Build,
    /// The peers, if it is on a mesh, and how far around a cliff they are warned.
    pub mesh: Option<(Arc<Node>, f32)>,
    /// Where all is written down.
    pub recorder: Recorder,
}

/// A person's hold on the mission: as long as it holds, the pilot wishes nothing.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<AtomicBool>);

impl Hold {
    /// Holds the mission.
    pub fn take(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Lets it go on.
    pub fn let_go(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it is held.
    pub fn holds(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// How it is, for decisions that need no mind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// How far the nearest person in sight is.
    pub person_m: Option<f32>,
    /// How far it is to the nearest thing ahead.
    pub ahead_m: Option<f32>,
    /// What was heard last.
    pub words: Option<String>,
    /// What is left of the battery.
    pub battery: Option<f32>,
    /// How bad the reflexes find it.
    pub severity: Severity,
}

/// A pilot at work, until it is dropped.
pub struct Flight {
    hold: Hold,
    seen: Arc<Mutex<Seen>>,
    percepts: Arc<Mutex<VecDeque<Percept>>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<Flown>>>,
}

/// What there is to say of a flight that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flown {
    /// How many decisions of the arbiter were recorded.
    pub decisions: u64,
    /// How many were missed.
    pub missed: u64,
}

impl Flight {
    /// Takes off.
    ///
    /// # Errors
    ///
    /// Another pilot, or another parent, has the board.
    pub fn start(outside: Outside) -> Result<Self, BoardError> {
        let percepts = Arc::new(Mutex::new(VecDeque::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let hold = Hold::default();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let board = &outside.board;
        let mut cockpit = Cockpit {
            hold: hold.clone(),
            seen: seen.clone(),
            pulse: Pulse::start(board, Duration::from_millis(5), Duration::from_millis(200))?,
            commander: board.commander(outside.source, outside.key.clone())?,
            scans: ScanBuffer::new(board),
            decisions: board.decisions(),
            pilot: Pilot::new(outside.build),
            perception: Perception::default(),
            percepts: percepts.clone(),
            waiting: None,
            odometry_at: NEVER,
            wished: false,
            flown: Flown::default(),
            last_said: String::new(),
            warned_at: NEVER,
            outside,
        };
        let told = stop.clone();
        let thread = std::thread::Builder::new()
            .name("pilot".to_owned())
            .spawn(move || {
                let mut next = now();
                while !told.load(Ordering::Acquire) {
                    cockpit.tick();
                    next = after(next, EVERY).max(now());
                    sleep_until(next);
                }
                cockpit.land()
            })
            .map_err(|why| BoardError::System {
                what: "start a thread",
                why,
            })?;
        Ok(Self {
            hold,
            seen,
            percepts,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What the mind should know, with where it is from; told once.
    pub fn noticed(&self) -> Vec<(String, Label)> {
        let mut percepts = self.percepts.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = percepts.drain(..);
        taken
            .map(|percept| (percept.text, Label::Tool(percept.sensor.to_owned())))
            .collect()
    }

    /// The mission's hold.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// How it is now.
    pub fn seen(&self) -> Seen {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it: the body stops. What there is to say of it is said once.
    pub fn end(&self) -> Flown {
        self.stop.store(true, Ordering::Release);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.end();
    }
}

struct Cockpit {
    hold: Hold,
    seen: Arc<Mutex<Seen>>,
    outside: Outside,
    pulse: Pulse,
    commander: Commander,
    scans: ScanBuffer,
    decisions: Decisions,
    pilot: Pilot,
    perception: Perception,
    percepts: Arc<Mutex<VecDeque<Percept>>>,
    waiting: Option<oneshot::Sender<Measured>>,
    odometry_at: Stamp,
    wished: bool,
    flown: Flown,
    last_said: String,
    warned_at: Stamp,
}

impl Cockpit {
    fn tick(&mut self) {
        self.pulse.alive();
        self.keep_decisions();
        let time = now();
        self.look(time);
        self.take_orders(time);
        if self
            .waiting
            .as_ref()
            .is_some_and(oneshot::Sender::is_closed)
        {
            self.waiting = None;
            self.pilot.cancel(time);
        }
        let status = self.outside.board.status().unwrap_or_default();
        let held = Held {
            severity: status.severity,
            causes: status.causes,
        };
        self.show(status.severity);
        let is_held = self.hold.holds();
        // Its time does not stand still meanwhile: what takes too long ends when it is let go.
        let tick = match is_held {
            true => Tick::default(),
            false => self.pilot.tick(time, held),
        };
        match tick.wish {
            Some(wish) => {
                self.commander.send(wish, STANDS);
                self.wished = true;
            }
            None if std::mem::take(&mut self.wished) => self.commander.withdraw(),
            None => {}
        }
        if let Some(measured) = tick.ended {
            self.answer(measured, time);
        }
        self.speak_to_peers(held, time);
        let percept = self.perception.held(held, self.wished, time);
        self.tell(percept, time);
        let percept = self.perception.taken(is_held, time);
        self.tell(percept, time);
    }

    fn show(&self, severity: Severity) {
        let scan = self.scans.scan();
        let seen = Seen {
            person_m: self.pilot.person_m(),
            ahead_m: scan.and_then(|scan| scan.value.nearest_toward(0.0, 0.5)),
            words: self.pilot.words().map(ToOwned::to_owned),
            battery: self.outside.board.battery().map(|read| read.value.charge),
            severity,
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn keep_decisions(&mut self) {
        for record in self.decisions.by_ref() {
            self.outside.recorder.decision(&record);
            self.flown.decisions += 1;
            let said = record.decision.to_string();
            let reason = said
                .split_once(';')
                .map(|(_, reason)| reason.to_owned())
                .unwrap_or_default();
            if reason != self.last_said {
                let at = record.input.at;
                let what = serde_json::json!({"number": record.number, "said": said});
                self.outside.recorder.put("/reflex/reasons", at, &what);
                self.last_said = reason;
            }
        }
        self.flown.missed = self.decisions.missed();
    }

    fn look(&mut self, time: Stamp) {
        let board = &self.outside.board;
        if let Some(odometry) = board
            .odometry()
            .filter(|odometry| odometry.at > self.odometry_at)
        {
            self.odometry_at = odometry.at;
            self.pilot.see_odometry(odometry);
        }
        if board.read_scan(&mut self.scans)
            && let Some(scan) = self.scans.scan()
        {
            self.pilot.see_scan(&scan.value);
        }
        if let Some(contact) = board.contact() {
            self.pilot.see_contact(contact.value);
        }
        while let Ok(sense) = self.outside.senses.try_recv() {
            let percept = match sense {
                Sense::Heard(heard) => {
                    let percept = self.perception.heard(&heard.value, time);
                    self.pilot.hear(heard);
                    percept
                }
                Sense::Sightings(sightings) => {
                    let percept = self.perception.sees(&sightings.value, time);
                    self.pilot.see_people(sightings);
                    percept
                }
                Sense::Warned { peer, what } => self.perception.warned(&peer, &what, time),
            };
            self.tell(percept, time);
        }
    }

    /// Where the floor ends here it ends for all.
    fn speak_to_peers(&mut self, held: Held, time: Stamp) {
        let Some((node, radius_m)) = &self.outside.mesh else {
            return;
        };
        let Some(pose) = self.pilot.pose() else {
            return;
        };
        let cliff = self
            .outside
            .board
            .contact()
            .is_some_and(|contact| contact.value.cliff);
        if cliff && self.warned_at.age(time) > WARN_AGAIN {
            self.warned_at = time;
            let ahead = self.outside.build.radius_m + self.outside.build.edge_m;
            let hazard = HazardSaid {
                kind: HazardKind::Cliff,
                stop: true,
                x_m: pose.x_m + ahead * pose.heading_rad.cos(),
                y_m: pose.y_m + ahead * pose.heading_rad.sin(),
                radius_m: *radius_m,
                ttl_ms: 2000,
            };
            self.outside.recorder.put("/warnings", time, &hazard);
            let until = after(time, WARN_FOR);
            node.warn(Warning { hazard, until });
        }
        let mode = match (held.severity >= Severity::Stop, self.pilot.is_busy()) {
            (true, _) => "held",
            (_, true) => "moves",
            _ => "rests",
        };
        node.measures(Telemetry::read(&self.outside.board, time));
        node.is(Presence {
            name: node.name().to_owned(),
            pose: Some(pose),
            battery: self
                .outside
                .board
                .battery()
                .map(|battery| battery.value.charge),
            mode: mode.to_owned(),
        });
    }

    fn tell(&mut self, percept: Option<Percept>, time: Stamp) {
        let Some(percept) = percept else { return };
        let what = serde_json::json!({"sensor": percept.sensor, "text": percept.text});
        self.outside.recorder.put("/percepts", time, &what);
        let mut percepts = self.percepts.lock().unwrap_or_else(PoisonError::into_inner);
        if percepts.len() >= PERCEPTS {
            percepts.pop_front();
        }
        percepts.push_back(percept);
    }

    fn take_orders(&mut self, time: Stamp) {
        while let Ok(order) = self.outside.orders.try_recv() {
            match order {
                Order::Do(intent, answer) => {
                    self.outside.recorder.put("/intents", time, &intent);
                    if let Some(measured) = self.pilot.begin(intent, time) {
                        self.answer(measured, time);
                    }
                    self.waiting = Some(answer);
                }
                Order::Say(text, answer) => {
                    let said = self.outside.speaker.say(&text);
                    let what = serde_json::json!({"text": text});
                    self.outside.recorder.put("/said", time, &what);
                    let words = self.pilot.words().map(ToOwned::to_owned);
                    let near = Said {
                        person_m: self.pilot.person_m(),
                        voice: words.map(|words| (words, self.pilot.voice_bearing())),
                    };
                    // Whoever asked may be gone by now.
                    let _ = answer.send(said.map(|()| near).map_err(|why| why.to_string()));
                }
                Order::Look(answer) => {
                    let _ = answer.send(self.describe());
                }
            }
        }
    }

    fn answer(&mut self, measured: Measured, time: Stamp) {
        self.outside.recorder.put("/measured", time, &measured);
        if let Some(answer) = self.waiting.take() {
            let _ = answer.send(measured);
        }
    }

    fn describe(&self) -> String {
        let Some(pose) = self.pilot.pose() else {
            return "the wheels say nothing yet: where the body is, nobody knows".to_owned();
        };
        let mut lines = vec![format!(
            "at ({:.2}, {:.2}), heading {:.0}°",
            pose.x_m,
            pose.y_m,
            pose.heading_rad.to_degrees()
        )];
        if let Some(scan) = self.scans.scan() {
            let scan = &scan.value;
            for (name, middle) in [
                ("ahead", 0.0),
                ("left", FRAC_PI_2),
                ("behind", PI),
                ("right", -FRAC_PI_2),
            ] {
                let nearest = scan.nearest_toward(middle, 0.5);
                let far = || format!("nothing within {:.0} m", scan.range_max_m);
                let text = nearest.map_or_else(far, |range| format!("{range:.1} m free"));
                lines.push(format!("{name}: {text}"));
            }
        }
        for person in self.pilot.people() {
            let side = side(person.bearing_rad);
            lines.push(format!("{} {:.1} m {side}", person.what, person.range_m));
        }
        if self.pilot.people().is_empty() {
            lines.push("no person in sight".to_owned());
        }
        if let Some(words) = self.pilot.words() {
            lines.push(format!("heard last: {words:?}"));
        }
        lines.join("\n")
    }

    fn land(mut self) -> Flown {
        let time = now();
        if let Some(measured) = self.pilot.cancel(time) {
            self.answer(measured, time);
        }
        self.commander.withdraw();
        self.keep_decisions();
        self.flown
    }
}
