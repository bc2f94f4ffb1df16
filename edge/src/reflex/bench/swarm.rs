//! From a hazard that one node publishes to the standing motors of another, over Zenoh.
//!
//! This process publishes, and stands in for the other robot's hardware; the other robot's process hears,
//! checks the signature and writes the hazard to its board; its reflexes stop the motors. Beside it the same by
//! Zenoh alone: a bare session at both ends, whose bytes nobody signs, checks or reads.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use zenoh::{Session, Wait as _, qos::Priority, sample::Sample};

use super::{
    Bench, BenchError, Finding, enter,
    hardware::{NEVER, Rig},
    histogram, system,
};
use crate::{
    mesh::{MeshConfig, Node, Warning, hear, open, publisher, secret, wire::HazardSaid},
    reflex::{
        clock::{after, now, sleep_until},
        command::nanos,
        realtime,
        shm::{Board, Hazards},
        verdict::{Hazard, HazardKind},
    },
};

/// The file that says to the parent of the measurements that it is on a mesh.
const MESH: &str = "mesh.toml";
/// The file that says to it where to listen with Zenoh alone.
const BARE: &str = "zenoh";
/// What is said by Zenoh alone, and where.
const SUBJECT: &str = "bench/hazard";
/// A peer is heard twenty times a second at most.
const PACE: Duration = Duration::from_millis(56);
/// For how long a hazard holds: it is over when the next one is said.
const HOLDS_MS: u64 = 20;

fn on_mesh(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BenchError {
    system("join the mesh")(std::io::Error::other(why))
}

/// What the parent has joined, until it is dropped.
pub(super) enum Joined {
    Mesh(#[expect(dead_code, reason = "it is kept")] Node),
    Bare(#[expect(dead_code, reason = "it is kept")] Session),
    Nothing,
}

impl Joined {
    /// What the folder says: what is warned of goes to the board from the network's own thread.
    pub(super) fn join(folder: &Path, board: &Board) -> Result<Self, BenchError> {
        if let Ok(place) = std::fs::read_to_string(folder.join(BARE)) {
            let session = open(&[place], &[]).map_err(on_mesh)?;
            let writer = Mutex::new(board.hazards_writer()?);
            let write = move |sample: &Sample| {
                let number = sample.payload().to_bytes().first().copied();
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.write(&Hazards::new(&[heard(number.unwrap_or(0))]));
            };
            hear(&session, SUBJECT, write).map_err(on_mesh)?;
            return Ok(Self::Bare(session));
        }
        let file = folder.join(MESH);
        if !file.exists() {
            return Ok(Self::Nothing);
        }
        let config = MeshConfig::read(&file).map_err(on_mesh)?;
        let mut writer = board.hazards_writer()?;
        let heard = Box::new(move |all: &[Hazard], _: Option<(&str, &Hazard)>| {
            writer.write(&Hazards::new(all));
        });
        Node::join(&config, heard).map(Self::Mesh).map_err(on_mesh)
    }
}

/// What the other end makes of a byte by Zenoh alone.
fn heard(number: u8) -> Hazard {
    let said = hazard(number.into());
    Hazard {
        kind: said.kind,
        stop: said.stop,
        x_m: said.x_m,
        y_m: said.y_m,
        radius_m: said.radius_m,
        until: after(now(), Duration::from_millis(said.ttl_ms)),
        peer: 1,
    }
}

/// A file that tells the parents what to join. It is removed again, or every parent after this would.
struct Told(PathBuf);

impl Told {
    fn tell(bench: &Bench, file: &str, text: String) -> Result<Self, BenchError> {
        let path = bench.folder.join(file);
        std::fs::write(&path, text).map_err(system("tell the parent what to join"))?;
        Ok(Self(path))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the other end listens.
fn place() -> Result<String, BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = listener.map_err(system("find a free port"))?;
    Ok(format!("tcp/{address}"))
}

/// A hazard over the robot's place, which is another each time.
fn hazard(number: u16) -> HazardSaid {
    HazardSaid {
        kind: HazardKind::Cliff,
        stop: true,
        x_m: f32::from(number) * 1e-5,
        y_m: 0.0,
        radius_m: 1.0,
        ttl_ms: HOLDS_MS,
    }
}

/// Publishes it, and waits until the reflexes have told the motors to stand.
fn publish_and_wait(rig: &mut Rig, publish: impl FnOnce()) -> Option<Duration> {
    let mut seen = rig.board.motor_rung();
    let begin = now();
    let patience = after(begin, Duration::from_millis(HOLDS_MS));
    publish();
    while rig.is_told_to_move() {
        if now() > patience {
            return None;
        }
        rig.board.wait_motor_rung(seen, patience);
        seen = rig.board.motor_rung();
    }
    Some(begin.age(now()))
}

/// From the call that publishes to a motor that is told to stand.
pub(super) fn hazard_to_stop(bench: &Bench) -> Result<Finding, BenchError> {
    let place = place()?;
    let key = bench.folder.join("here.key");
    let public = secret(&key).map_err(on_mesh)?.public();
    let there = bench.folder.join("there.key");
    let there = format!(
        "name = \"there\"\nkey = {there:?}\ntrusted = [\"{public}\"]\nlisten = [\"{place}\"]\n"
    );
    let _told = Told::tell(bench, MESH, there)?;
    let here = MeshConfig {
        name: "here".to_owned(),
        key,
        trusted: Vec::new(),
        listen: Vec::new(),
        connect: vec![place],
        warn_radius_m: 1.0,
    };
    let rig = Rig::start(bench, 360)?;
    let node = Node::join(&here, Box::new(|_, _| {})).map_err(on_mesh)?;
    let name = "hazard published to peer's motor stop, Zenoh";
    let finding = published_to_stop(bench, rig, name, |number| {
        node.warn(Warning {
            hazard: hazard(number),
            until: now(),
        });
    })?;
    Ok(finding
        .must("p50", 150.0)
        .must("p99", 500.0)
        .must("p99.9", 1000.0))
}

/// The same with a bare session at both ends: what of it is Zenoh's.
pub(super) fn byte_to_stop(bench: &Bench) -> Result<Finding, BenchError> {
    let place = place()?;
    let _told = Told::tell(bench, BARE, place.clone())?;
    let rig = Rig::start(bench, 360)?;
    let session = open(&[], &[place]).map_err(on_mesh)?;
    let publisher = publisher(&session, SUBJECT.to_owned(), Priority::RealTime);
    let publisher = publisher.map_err(on_mesh)?;
    let name = "the same by Zenoh alone, unsigned";
    published_to_stop(bench, rig, name, |number| {
        // What is not said does not stop anything, and is counted as lost.
        let _ = publisher.put([number as u8]).wait();
    })
}

fn published_to_stop(
    bench: &Bench,
    mut rig: Rig,
    name: &str,
    publish: impl Fn(u16),
) -> Result<Finding, BenchError> {
    let mut taken = histogram()?;
    let until = after(now(), bench.duration.max(Duration::from_secs(1)));
    let mut random = fastrand::Rng::with_seed(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(1, |since| since.as_secs()),
    );
    let granted = enter();
    // The first that arrives says that both have found each other.
    let never = after(now(), NEVER * 4);
    let (mut number, mut lost) = (0_u16, 0_u64);
    let measured = loop {
        if now() > until && !taken.is_empty() {
            break Ok(());
        }
        if taken.is_empty() && now() > never {
            break Err(BenchError::Never("a hazard over Zenoh"));
        }
        if let Err(why) = rig.drive(true, NEVER, "a motion") {
            break Err(why);
        }
        let begin = after(now(), PACE + Duration::from_micros(random.u64(0..4000)));
        while now() < begin {
            rig.sense();
            sleep_until(rig.due().min(begin));
        }
        number = number.wrapping_add(1);
        match publish_and_wait(&mut rig, || publish(number)) {
            Some(took) => taken.saturating_record(nanos(took)),
            None if taken.is_empty() => {}
            None => lost += 1,
        }
    };
    if granted {
        let _ = realtime::leave();
    }
    measured?;
    let mut finding = Finding::new(name, rig.realtime(), bench.load, &taken);
    finding.missed = Some(lost);
    Ok(finding)
}
