//! The board: what sensors, commanders, reflexes and motors tell each other, in memory that their
//! processes share.
//!
//! One process makes it ([`Board::create`]), others open it by its [path](Board::path); another version
//! or layout of it is refused. Each [slot](Port) has one [writer](Writer) at a time, and any number of
//! readers that never wait; a writer that dies in mid-write leaves the value that was there before. Who
//! waits, waits for a bell with a deadline.

use std::{
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use rustix::thread::futex;

use super::{
    arbiter::Record,
    clock::{now, timespec},
    command::{Release, Signed, Source},
};
use crate::body::hal::{Battery, Contact, Imu, Odometry, Stamp, Stamped};

pub mod cell;
mod layout;
mod map;
mod ports;
mod ring;
mod scan;
mod slot;
#[cfg(test)]
mod tests;
mod values;

use cell::{Cell, Unpacker};

use layout::Layout;
use map::Map;
pub use ports::{Commander, Heart, Port, Wheels, Writer};
pub use ring::Decisions;
pub use scan::{ScanBuffer, ScanWriter};
pub use values::{Hazards, MotorOut, Status};

/// What is wrong with a board.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The system does not give it.
    #[error("cannot {what}: {why}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        why: std::io::Error,
    },
    /// It is something else.
    #[error("this is no board of gpak's reflexes; give the path that `gpak robot run` prints")]
    NotABoard,
    /// It is of another version of gpak.
    #[error(
        "the board is of version {theirs}, this gpak knows {ours}: start both processes from the same gpak"
    )]
    Version {
        /// That of the board.
        theirs: u32,
        /// That of this program.
        ours: u32,
    },
    /// Its version is right and its layout is not.
    #[error("the board is laid out differently: start both processes from the same build of gpak")]
    Layout,
    /// Another writes to this slot.
    #[error("process {pid} writes {port:?} already; there can be one writer")]
    Claimed {
        /// The slot.
        port: Port,
        /// Whose it is.
        pid: u32,
    },
    /// A scan has more points than there is room for.
    #[error(
        "a scan of {points} points does not fit on a board for {room}: make the board for more"
    )]
    TooManyPoints {
        /// That many.
        points: usize,
        /// For so many.
        room: usize,
    },
}

/// The shared memory. Cloning it is cheap and shares it.
#[derive(Clone)]
pub struct Board {
    map: Arc<Map>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Board").field(&self.path()).finish()
    }
}

impl Board {
    /// A new board with room for scans of so many points.
    ///
    /// # Errors
    ///
    /// The system gives no memory.
    pub fn create(scan_points: usize) -> Result<Self, BoardError> {
        Map::create(scan_points).map(|map| Self { map: Arc::new(map) })
    }

    /// The board that another process made.
    ///
    /// # Errors
    ///
    /// It is none, or of another version or layout.
    pub fn open(path: &Path) -> Result<Self, BoardError> {
        Map::open(path).map(|map| Self { map: Arc::new(map) })
    }

    /// Where other processes of this user open it, while this process lives.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// For scans of how many points there is room.
    pub fn scan_points(&self) -> usize {
        self.map.scan_points()
    }

    fn layout(&self) -> &Layout {
        self.map.layout()
    }

    fn read<T: Cell>(&self, port: Port) -> Option<T> {
        let slot = self.slot(port);
        let (_, value) = slot.read(|words| T::unpack(&mut Unpacker::shared(words)))?;
        value
    }

    /// How many values were written to a slot.
    pub(super) fn count(&self, port: Port) -> u64 {
        self.slot(port).count()
    }

    /// The newest odometry.
    pub fn odometry(&self) -> Option<Stamped<Odometry>> {
        self.read(Port::Odometry)
    }

    /// The newest of the inertial sensor.
    pub fn imu(&self) -> Option<Stamped<Imu>> {
        self.read(Port::Imu)
    }

    /// The newest of the battery.
    pub fn battery(&self) -> Option<Stamped<Battery>> {
        self.read(Port::Battery)
    }

    /// The newest of the bumper and the cliff sensor.
    pub fn contact(&self) -> Option<Stamped<Contact>> {
        self.read(Port::Contact)
    }

    /// What a source says.
    pub fn command(&self, source: Source) -> Option<Signed> {
        self.read(Port::Command(source))
    }

    /// The request to end an e-stop.
    pub fn release(&self) -> Option<Release> {
        self.read(Port::Release)
    }

    /// What peers warn of.
    pub fn hazards(&self) -> Option<Hazards> {
        self.read(Port::Hazards)
    }

    /// What the motors are to do, if they are to do anything; whether it still stands is for
    /// [`Wheels`] to say.
    pub fn motor(&self) -> Option<MotorOut> {
        self.read(Port::Motor)
    }

    /// What the reflex process says of itself.
    pub fn status(&self) -> Option<Status> {
        self.read(Port::Status)
    }

    /// When the parent said last that it lives, and which process it is.
    pub fn beat(&self) -> Option<(Stamp, u32)> {
        let heart = &self.layout().heart;
        let pid = heart.pid.load(Ordering::Relaxed);
        match heart.beat.load(Ordering::Acquire) {
            0 => None,
            at => Some((Stamp(at), pid)),
        }
    }

    /// Presses the e-stop. Anybody may, at any time; only a person releases it.
    pub fn press(&self) {
        self.layout().pressed.0.fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    /// Whether the e-stop was pressed and not released.
    pub fn is_pressed(&self) -> bool {
        let layout = self.layout();
        layout.pressed.0.load(Ordering::Acquire) != layout.released.0.load(Ordering::Acquire)
    }

    /// How often the e-stop was pressed.
    pub(super) fn presses(&self) -> u32 {
        self.layout().pressed.0.load(Ordering::Acquire)
    }

    /// The e-stop is released for as many presses; one after that still holds.
    pub(super) fn set_released(&self, presses: u32) {
        self.layout().released.0.store(presses, Ordering::Release);
    }

    /// Wakes the reflexes: something came in. Writers do it by themselves.
    pub fn ring(&self) {
        ring(&self.layout().bell.0);
    }

    /// How often the reflexes were woken.
    pub fn rung(&self) -> u32 {
        self.layout().bell.0.load(Ordering::Acquire)
    }

    /// Waits until the reflexes are woken once more than that, or until then.
    pub fn wait_rung(&self, seen: u32, until: Stamp) {
        wait(&self.layout().bell.0, seen, until);
    }

    /// How often the motors were woken.
    pub fn motor_rung(&self) -> u32 {
        self.layout().motor_bell.0.load(Ordering::Acquire)
    }

    /// Waits until the motors are woken once more than that, or until then.
    pub fn wait_motor_rung(&self, seen: u32, until: Stamp) {
        wait(&self.layout().motor_bell.0, seen, until);
    }

    pub(crate) fn ring_motor(&self) {
        ring(&self.layout().motor_bell.0);
    }

    /// The decisions, from the oldest that is still here.
    pub fn decisions(&self) -> Decisions {
        Decisions::of(self.clone())
    }

    pub(super) fn log(&self, record: &Record) {
        ring::log(self.layout(), record);
    }

    fn decided(&self) -> &AtomicU64 {
        &self.layout().decided.0
    }
}

fn ring(bell: &AtomicU32) {
    bell.fetch_add(1, Ordering::AcqRel);
    // Not private: those who wait are other processes. It fails for a bad address only.
    let _ = futex::wake(bell, futex::Flags::empty(), i32::MAX.cast_unsigned());
}

fn wait(bell: &AtomicU32, seen: u32, until: Stamp) {
    // Who rings counts first and wakes then, so that the wake of a ring that was seen already may come late.
    while bell.load(Ordering::Acquire) == seen && now() < until {
        // Woken, interrupted, too late or rung before: all of them mean to look again.
        let _ = futex::wait_bitset(
            bell,
            futex::Flags::empty(),
            seen,
            Some(&timespec(until)),
            NonZeroU32::MAX,
        );
    }
}
