//! Where what is on the board.

use std::sync::atomic::{AtomicU32, AtomicU64};

use super::{
    cell::{Cell, Hazards, MotorOut, Status},
    slot::Slot,
};
use crate::{
    body::hal::{Battery, Contact, Imu, Odometry, Stamped},
    reflex::{
        arbiter::Record,
        command::{Release, Signed},
    },
};

/// Says that this is a board.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"gpakbrd\0");
/// The version of this layout: another is refused.
pub(super) const VERSION: u32 = 1;
/// How many decisions are kept for those who read them late.
pub(super) const RING: usize = 1024;

/// A cache line, so that those who write different things do not slow each other.
#[repr(C, align(64))]
pub(super) struct Line<T>(pub T);

#[repr(C, align(64))]
pub(super) struct Head {
    pub magic: AtomicU64,
    pub version: AtomicU32,
    pub reserved: AtomicU32,
    /// The size of what is fixed, of a record, and of the ring: another layout differs in one of them.
    pub shape: AtomicU64,
    /// For how many points there is room in the scan's slot.
    pub scan_points: AtomicU64,
}

/// A slot for values of `W` words.
#[repr(C, align(64))]
pub(super) struct Fixed<const W: usize> {
    pub owner: AtomicU32,
    pub count: AtomicU64,
    pub sequences: [AtomicU64; 2],
    pub words: [[AtomicU64; W]; 2],
}

impl<const W: usize> Fixed<W> {
    pub fn slot(&self) -> Slot<'_> {
        Slot {
            count: &self.count,
            sequences: &self.sequences,
            words: self.words.as_flattened(),
        }
    }
}

#[repr(C, align(64))]
pub(super) struct Heart {
    pub owner: AtomicU32,
    /// The parent's process.
    pub pid: AtomicU32,
    /// Its latest beat.
    pub beat: AtomicU64,
}

/// One decision of the ring.
#[repr(C)]
pub(super) struct Entry {
    /// Its number when whole, 0 while it is written.
    pub number: AtomicU64,
    pub words: [AtomicU64; Record::WORDS],
}

/// The part of the board whose size is known; the scan's two copies follow it.
#[repr(C, align(64))]
pub(super) struct Layout {
    pub head: Head,
    /// Rung when something came in.
    pub bell: Line<AtomicU32>,
    /// Rung when something went out to the motors.
    pub motor_bell: Line<AtomicU32>,
    pub heart: Heart,
    /// How often the e-stop was pressed.
    pub pressed: Line<AtomicU32>,
    /// What `pressed` was when the e-stop was released last: a press after that still holds.
    pub released: Line<AtomicU32>,
    pub odometry: Fixed<{ <Stamped<Odometry> as Cell>::WORDS }>,
    pub imu: Fixed<{ <Stamped<Imu> as Cell>::WORDS }>,
    pub battery: Fixed<{ <Stamped<Battery> as Cell>::WORDS }>,
    pub contact: Fixed<{ <Stamped<Contact> as Cell>::WORDS }>,
    pub commands: [Fixed<{ Signed::WORDS }>; 3],
    pub release: Fixed<{ Release::WORDS }>,
    pub hazards: Fixed<{ Hazards::WORDS }>,
    pub motor: Fixed<{ MotorOut::WORDS }>,
    pub status: Fixed<{ Status::WORDS }>,
    pub decided: Line<AtomicU64>,
    pub ring: [Entry; RING],
    /// The scan's slot: its words follow.
    pub scan: Fixed<0>,
}

/// The words of a scan before its points: its stamp, its geometry, how many points.
pub(super) const SCAN_HEAD: usize = 4;

/// How many words a copy of a scan takes.
pub(super) fn scan_words(points: usize) -> usize {
    SCAN_HEAD + points.div_ceil(2)
}

/// The size of a board.
pub(super) fn size(scan_points: usize) -> usize {
    size_of::<Layout>() + 2 * scan_words(scan_points) * size_of::<AtomicU64>()
}

/// What tells this layout from another.
pub(super) fn shape() -> u64 {
    (size_of::<Layout>() as u64) << 32 | (Record::WORDS as u64) << 16 | RING as u64
}
