//! A node on the mesh: what it hears goes to the reflexes from the network's own thread, with nothing to
//! wait for between; what it warns of is said again until it is over.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use gpak_kernel::identity::{PublicKey, SecretKey};
use zenoh::{
    Session, Wait as _,
    pubsub::Publisher,
    qos::{CongestionControl, Priority},
    sample::{Locality, Sample},
};

use super::{
    config::{MeshConfig, MeshError},
    watch::{News, Peer, Watch},
    wire::{self, HazardSaid, Presence, Said, What},
};
use crate::{
    body::{hal::Stamp, telemetry::Telemetry},
    reflex::{
        clock::{after, now, sleep_until},
        realtime,
        verdict::{Hazard, HazardKind},
    },
};

/// How often a hazard is said again.
const AGAIN: Duration = Duration::from_millis(250);
/// A peer that was heard so lately is there.
const LATELY: Duration = Duration::from_secs(5);
/// How often a node says how its body is.
const TELEMETRY: Duration = Duration::from_millis(500);
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// How often a peer that is not there is tried.
const CONNECT_AGAIN: &str =
    r#"{"period_init_ms": 100, "period_max_ms": 1000, "period_increase_factor": 2}"#;

/// A danger that this node warns of.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The danger; its time to live counts from each time that it is said.
    pub hazard: HazardSaid,
    /// Until when it is said.
    pub until: Stamp,
}

/// What is done with news: all the hazards that hold, and the one that is new, with the name of its peer.
pub type OnNews = Box<dyn FnMut(&[Hazard], Option<(&str, &Hazard)>) + Send>;

struct Heard {
    watch: Watch,
    on_news: OnNews,
}

struct Voice {
    session: Session,
    subjects: Subjects,
    key: SecretKey,
    epoch: u64,
    sequence: AtomicU64,
    warnings: Mutex<Vec<Warning>>,
    presence: Mutex<Presence>,
    telemetry: Mutex<Option<Telemetry>>,
}

/// Where a node speaks. They are declared, so that the network knows who listens before anything is said.
struct Subjects {
    hazards: Vec<(HazardKind, Publisher<'static>)>,
    presence: Publisher<'static>,
    telemetry: Publisher<'static>,
}

/// A node, until it is dropped.
pub struct Node {
    name: String,
    voice: Arc<Voice>,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Joins the mesh.
    ///
    /// # Errors
    ///
    /// The key cannot be had, or the network does not let it.
    pub fn join(config: &MeshConfig, on_news: OnNews) -> Result<Self, MeshError> {
        let failed = |why: zenoh::Error| MeshError::Network(why.to_string());
        let key = config.secret()?;
        let session = open(&config.listen, &config.connect).map_err(failed)?;
        let heard = Arc::new(Mutex::new(Heard {
            watch: Watch::new(key.public(), &config.trusted),
            on_news,
        }));
        for subject in ["swarm/hazards/**", "swarm/presence/*", "swarm/telemetry/*"] {
            let heard = heard.clone();
            let take = move |sample: &Sample| {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.take(sample.key_expr().as_str(), &sample.payload().to_bytes());
            };
            hear(&session, subject, take).map_err(failed)?;
        }
        let presence = Presence {
            name: config.name.clone(),
            pose: None,
            battery: None,
            mode: "rests".to_owned(),
        };
        let voice = Arc::new(Voice {
            subjects: Subjects::declare(&session, &key.public()).map_err(failed)?,
            session,
            key,
            epoch: unix_ms(),
            sequence: AtomicU64::new(0),
            warnings: Mutex::default(),
            presence: Mutex::new(presence),
            telemetry: Mutex::default(),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (speaking, told) = (voice.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("mesh".to_owned())
            .spawn(move || speaking.repeat(&told))
            .map_err(|why| MeshError::Network(why.to_string()))?;
        Ok(Self {
            name: config.name.clone(),
            voice,
            heard,
            stop,
            thread: Some(thread),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its public key.
    pub fn key(&self) -> PublicKey {
        self.voice.key.public()
    }

    /// Warns of a danger: at once, and again until its end.
    pub fn warn(&self, warning: Warning) {
        self.voice.say_hazard(&warning.hazard);
        let mut warnings = self
            .voice
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match warnings
            .iter_mut()
            .find(|known| known.hazard == warning.hazard)
        {
            Some(known) => known.until = known.until.max(warning.until),
            None => warnings.push(warning),
        }
    }

    /// How this node is, from now on.
    pub fn is(&self, presence: Presence) {
        *self
            .voice
            .presence
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = presence;
    }

    /// How its body is, from now on; peers are told twice a second.
    pub fn measures(&self, telemetry: Telemetry) {
        let mut told = self
            .voice
            .telemetry
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *told = Some(telemetry);
    }

    /// What is known of the peers.
    pub fn peers(&self) -> Vec<Peer> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.watch.peers().cloned().collect()
    }

    /// How many peers were heard lately.
    pub fn visible(&self, now: Stamp) -> u32 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = |peer: &&Peer| peer.heard.is_some_and(|at| at.age(now) < LATELY);
        heard
            .watch
            .peers()
            .filter(lately)
            .count()
            .try_into()
            .unwrap_or(u32::MAX)
    }

    /// How many messages came from nobody who is trusted.
    pub fn strangers(&self) -> u64 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.watch.strangers()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.voice.session.close().wait();
    }
}

thread_local! {
    /// A thread of the network's that hears is in the real-time class from its first message on, where that is
    /// granted: what a peer warns of does not wait behind ordinary work.
    static RAISED: () = drop(realtime::enter(realtime::HEARERS));
}

impl Heard {
    fn take(&mut self, subject: &str, bytes: &[u8]) {
        let time = now();
        match self.watch.hear(subject, bytes, time, unix_ms()) {
            Ok(News::Hazard(hazard, is_new)) => {
                let all = self.watch.hazards(time);
                let name = self.watch.peers().find(|peer| peer.has(&hazard));
                let name = name.map_or_else(String::new, Peer::called);
                (self.on_news)(&all, is_new.then_some((name.as_str(), &hazard)));
            }
            Ok(News::Presence | News::Telemetry) => {}
            Err(refusal) => tracing::debug!("a message on {subject} is refused: {refusal}"),
        }
    }
}

impl Subjects {
    fn declare(session: &Session, key: &PublicKey) -> zenoh::Result<Self> {
        let publisher = |subject, priority| publisher(session, subject, priority);
        let hazards = HazardKind::ALL.into_iter().map(|kind| {
            let publisher = publisher(wire::hazards(kind), Priority::RealTime)?;
            Ok((kind, publisher))
        });
        Ok(Self {
            hazards: hazards.collect::<zenoh::Result<_>>()?,
            presence: publisher(wire::presence(key), Priority::Data)?,
            telemetry: publisher(wire::telemetry(key), Priority::DataLow)?,
        })
    }
}

impl Voice {
    fn say(&self, subject: &Publisher<'static>, what: What) {
        let said = Said {
            epoch: self.epoch,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            at_ms: unix_ms(),
            what,
        };
        let sent = wire::seal(&self.key, &said)
            .map_err(|why| why.to_string())
            .and_then(|bytes| subject.put(bytes).wait().map_err(|why| why.to_string()));
        if let Err(why) = sent {
            tracing::warn!("nothing is said on {}: {why}", subject.key_expr());
        }
    }

    fn say_hazard(&self, hazard: &HazardSaid) {
        let of_kind = |(kind, _): &&(HazardKind, _)| *kind == hazard.kind;
        if let Some((_, subject)) = self.subjects.hazards.iter().find(of_kind) {
            self.say(subject, What::Hazard(hazard.clone()));
        }
    }

    fn repeat(&self, stop: &AtomicBool) {
        let (mut next, mut beat, mut measure) = (now(), now(), now());
        while !stop.load(Ordering::Acquire) {
            let time = now();
            let warnings = {
                let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                warnings.retain(|warning| warning.until > time);
                warnings.clone()
            };
            warnings
                .iter()
                .for_each(|warning| self.say_hazard(&warning.hazard));
            if time >= beat {
                beat = after(time, BEAT);
                let presence = self
                    .presence
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                self.say(&self.subjects.presence, What::Presence(presence));
            }
            if time >= measure {
                measure = after(time, TELEMETRY);
                let telemetry = self
                    .telemetry
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let telemetry = telemetry.clone();
                if let Some(telemetry) = telemetry {
                    let what = What::Telemetry(Box::new(telemetry));
                    self.say(&self.subjects.telemetry, what);
                }
            }
            next = after(next, AGAIN).max(now());
            sleep_until(next);
        }
    }
}

/// A session of the network that the mesh is on.
pub(crate) fn open(listen: &[String], connect: &[String]) -> zenoh::Result<Session> {
    let network = network(listen, connect).and_then(low_latency)?;
    zenoh::open(network).wait()
}

/// What speaks on a subject: at once, and not at all to a peer that cannot take it.
pub(crate) fn publisher(
    session: &Session,
    subject: String,
    priority: Priority,
) -> zenoh::Result<Publisher<'static>> {
    let publisher = session.declare_publisher(subject).express(true);
    let publisher = publisher.congestion_control(CongestionControl::Drop);
    publisher.priority(priority).wait()
}

/// Calls with what others say on a subject, from the network's own thread, until the session is closed.
pub(crate) fn hear(
    session: &Session,
    subject: &str,
    heard: impl Fn(&Sample) + Send + Sync + 'static,
) -> zenoh::Result<()> {
    let subscriber = session.declare_subscriber(subject);
    let subscriber = subscriber.allowed_origin(Locality::Remote);
    let subscriber = subscriber.callback(move |sample| {
        RAISED.with(|()| {});
        heard(&sample);
    });
    subscriber.background().wait()
}

/// A peer that listens and connects where it is told to, or finds the others by multicast.
pub(crate) fn network(listen: &[String], connect: &[String]) -> zenoh::Result<zenoh::Config> {
    let mut network = zenoh::Config::default();
    let list = |places: &[String]| serde_json::to_string(places).unwrap_or_default();
    network.insert_json5("mode", "\"peer\"")?;
    let is_named = !listen.is_empty() || !connect.is_empty();
    network.insert_json5(
        "scouting/multicast/enabled",
        if is_named { "false" } else { "true" },
    )?;
    if is_named {
        network.insert_json5("listen/endpoints", &list(listen))?;
        network.insert_json5("connect/endpoints", &list(connect))?;
        // Peers start in any order, and come again: who is not there is tried for as long as it takes, behind
        // the session, which does not wait for it.
        network.insert_json5("connect/timeout_ms", "-1")?;
        network.insert_json5("connect/exit_on_failure", "false")?;
        network.insert_json5("connect/retry", CONNECT_AGAIN)?;
        network.insert_json5("open/return_conditions/connect_scouted", "false")?;
    }
    Ok(network)
}

/// Peers of ours write to the network from the thread that speaks, in place of one more that would first have to
/// wake up; others are spoken to in the usual way. A peer that hangs is dropped when its lease ends, long before
/// its messages of at most [`wire::LONGEST`] bytes would fill what the system holds for it.
fn low_latency(mut network: zenoh::Config) -> zenoh::Result<zenoh::Config> {
    network.insert_json5("transport/unicast/qos/enabled", "false")?;
    network.insert_json5("transport/unicast/lowlatency", "true")?;
    Ok(network)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
