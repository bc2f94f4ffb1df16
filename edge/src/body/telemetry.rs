//! How a body is, in numbers, as its board says: for people, for the robot's API, and for peers.

use serde::{Deserialize, Serialize};

use super::hal::{Contact, Imu, Odometry, Stamp, Twist};
use crate::reflex::{
    shm::{Board, ScanBuffer},
    verdict::{Causes, Severity},
};

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Where the wheels say that it is, and how fast.
    pub odometry: Option<Odometry>,
    /// How old that is.
    pub odometry_age_ms: Option<u64>,
    /// How it leans and turns.
    pub imu: Option<Imu>,
    /// What is left of its battery, 0 to 1.
    pub battery: Option<f32>,
    /// What it touches, and whether the floor ends.
    pub contact: Option<Contact>,
    /// How far the nearest thing is.
    pub nearest_m: Option<f32>,
    /// What its motors are to do now.
    pub motors: Twist,
    /// How bad the reflexes find it.
    pub severity: Severity,
    /// Why, by name.
    pub causes: Vec<String>,
    /// Whether the e-stop holds.
    pub latched: bool,
    /// Whether the reflexes run in the real-time class.
    pub realtime: bool,
    /// How many decisions they made.
    pub decisions: u64,
    /// How many ticks they missed.
    pub missed: u64,
    /// How long ago they said so; nothing if they never did.
    pub reflexes_age_ms: Option<u64>,
}

/// What it does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The e-stop holds until a person releases it.
    EStop,
    /// A person drives it.
    Manual,
    /// A person holds its mission.
    Held,
    /// The reflexes hold it.
    Stopped,
    /// It moves.
    Moves,
    /// It stands.
    Rests,
}

impl Telemetry {
    /// As it is at that time.
    pub fn read(board: &Board, now: Stamp) -> Self {
        let age = |at: Stamp| u64::try_from(at.age(now).as_millis()).unwrap_or(u64::MAX);
        let odometry = board.odometry();
        let said = board.status();
        let status = said.unwrap_or_default();
        let mut scans = ScanBuffer::new(board);
        board.read_scan(&mut scans);
        let scan = scans.scan().map(|scan| &scan.value);
        Self {
            odometry: odometry.map(|odometry| odometry.value),
            odometry_age_ms: odometry.map(|odometry| age(odometry.at)),
            imu: board.imu().map(|imu| imu.value),
            battery: board.battery().map(|battery| battery.value.charge),
            contact: board.contact().map(|contact| contact.value),
            nearest_m: scan.and_then(super::hal::Scan::nearest_m),
            motors: board.wheels().twist(now),
            severity: status.severity,
            causes: names(status.causes),
            latched: status.latched,
            realtime: status.realtime,
            decisions: status.decisions,
            missed: status.missed,
            reflexes_age_ms: said.map(|status| age(status.at)),
        }
    }
}

fn names(causes: Causes) -> Vec<String> {
    causes.iter().map(|cause| cause.name().to_owned()).collect()
}
