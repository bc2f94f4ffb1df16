//! From a hazard that one node publishes to the standing motors of another, over Zenoh.
//!
//! This process publishes, and stands in for the other robot's hardware; the other robot's process hears,
//! checks the signature and writes the hazard to its board; its reflexes stop the motors.

use std::{
    net::TcpListener,
    time::{Duration, SystemTime},
};

use super::{
    Bench, BenchError, Finding, enter,
    hardware::{NEVER, Rig},
    histogram, system,
};
use crate::{
    mesh::{MeshConfig, MeshError, Node, Warning, secret, wire::HazardSaid},
    reflex::{
        clock::{after, now, sleep_until},
        command::nanos,
        realtime,
        verdict::HazardKind,
    },
};

/// The file that says to the parent of the measurements that it is on a mesh.
pub(super) const MESH: &str = "mesh.toml";
/// A peer is heard twenty times a second at most.
const PACE: Duration = Duration::from_millis(56);
/// For how long a hazard holds: it is over when the next one is said.
const HOLDS_MS: u64 = 20;

fn on_mesh(why: MeshError) -> BenchError {
    system("join the mesh")(std::io::Error::other(why))
}

/// Removes the file again, or every parent after this would be on the mesh.
struct Joined<'a>(&'a Bench);

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0.folder.join(MESH));
    }
}

/// Both ends of a mesh of two; the other end's file is written.
fn here(bench: &Bench) -> Result<MeshConfig, BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(system("find a free port"))?;
    let port = listener
        .local_addr()
        .map_err(system("find a free port"))?
        .port();
    drop(listener);
    let key = bench.folder.join("here.key");
    let public = secret(&key).map_err(on_mesh)?.public();
    let there = format!(
        "name = \"there\"\nkey = {:?}\ntrusted = [\"{public}\"]\nlisten = [\"tcp/127.0.0.1:{port}\"]\n",
        bench.folder.join("there.key")
    );
    std::fs::write(bench.folder.join(MESH), there).map_err(system("write mesh.toml"))?;
    Ok(MeshConfig {
        name: "here".to_owned(),
        key,
        trusted: Vec::new(),
        listen: Vec::new(),
        connect: vec![format!("tcp/127.0.0.1:{port}")],
        warn_radius_m: 1.0,
    })
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
fn publish_and_wait(rig: &mut Rig, node: &Node, number: u16) -> Option<Duration> {
    let mut seen = rig.board.motor_rung();
    let begin = now();
    let patience = after(begin, Duration::from_millis(HOLDS_MS));
    node.warn(Warning {
        hazard: hazard(number),
        until: begin,
    });
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
    let config = here(bench)?;
    let _joined = Joined(bench);
    let mut rig = Rig::start(bench, 360)?;
    let node = Node::join(&config, Box::new(|_, _| {})).map_err(on_mesh)?;
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
        match publish_and_wait(&mut rig, &node, number) {
            Some(took) => taken.saturating_record(nanos(took)),
            None if taken.is_empty() => {}
            None => lost += 1,
        }
    };
    if granted {
        let _ = realtime::leave();
    }
    measured?;
    let name = "hazard published to peer's motor stop, Zenoh";
    let mut finding = Finding::new(name, rig.realtime(), bench.load, &taken)
        .must("p50", 150.0)
        .must("p99", 500.0)
        .must("p99.9", 1000.0);
    finding.missed = Some(lost);
    Ok(finding)
}
