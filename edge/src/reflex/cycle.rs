//! The loop of the reflexes: it looks at the board whenever something comes in, at every tick, and when
//! something gets too old; it decides, and it moves. Nothing in it allocates, waits for another, or does
//! IO: what must be written to a disk or said to a person is done by another thread
//! ([`super::process`]).

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use super::{
    arbiter::Record,
    clock::{after, now},
    command::{Drive, Signed, Source},
    realtime,
    rules::Snapshot,
    shm::{Board, BoardError, Hazards, Port, ScanBuffer, Status, Writer},
    step::Reflexes,
};
use crate::body::hal::{DeviceError, Stamp, Twist};

/// So often within a tick the reflexes are woken: whoever rings more often waits for the next tick, or
/// it would have the processor to itself.
const TURNS_A_TICK: u32 = 64;

/// What other threads of the reflex process tell the loop, and it them.
#[derive(Debug, Default)]
pub struct Signals {
    /// The loop is to end.
    pub stop: AtomicBool,
    /// The parent is dead.
    pub orphaned: AtomicBool,
    /// The loop says: the e-stop holds, and must be on disk.
    pub latched: AtomicBool,
    /// The loop says: it is in the real-time class.
    pub realtime: AtomicBool,
    /// The loop says: so many releases of the e-stop were granted.
    pub releases: AtomicU32,
}

/// How a tick went, for those who measure.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// When it should have been.
    pub due: Stamp,
    /// How much later it was.
    pub late: Duration,
}

/// The loop, and all it needs.
pub struct Cycle<D> {
    board: Board,
    reflexes: Reflexes,
    drive: D,
    out: Writer<Status>,
    scan: ScanBuffer,
    hazards: Hazards,
    hazards_seen: u64,
    release_seen: u64,
    status: Status,
    /// How fast a tick is due after the other.
    tick: Duration,
    on_latch: Option<std::thread::Thread>,
}

impl<D: Drive> Cycle<D> {
    /// Over that board, moving that drive.
    ///
    /// # Errors
    ///
    /// Other reflexes are at this board already.
    pub fn new(board: Board, reflexes: Reflexes, drive: D) -> Result<Self, BoardError> {
        let out = board.status_writer()?;
        let status = Status {
            pid: std::process::id(),
            epoch: reflexes.epoch(),
            ..Status::default()
        };
        Ok(Self {
            scan: ScanBuffer::new(&board),
            tick: reflexes.rules().config().tick(),
            hazards: Hazards::NONE,
            hazards_seen: 0,
            // A request of before was for reflexes that are no more.
            release_seen: board.count(Port::Release),
            board,
            reflexes,
            drive,
            out,
            status,
            on_latch: None,
        })
    }

    /// Wakes that thread when the e-stop begins or ends, or the real-time class is lost.
    pub fn tell(&mut self, thread: std::thread::Thread) {
        self.on_latch = Some(thread);
    }

    /// Makes the drive work.
    ///
    /// # Errors
    ///
    /// It says why it does not.
    pub fn activate(&mut self) -> Result<(), DeviceError> {
        self.drive.activate()
    }

    /// Says whether memory is locked.
    pub fn set_locked(&mut self, locked: bool) {
        self.status.locked = locked;
    }

    /// Goes round until it is told to stop or the parent is dead, and leaves the drive safe.
    pub fn run(&mut self, signals: &Signals, mut ticked: impl FnMut(Tick)) {
        let mut due = after(now(), self.tick);
        let mut turns = 0;
        loop {
            let seen = self.board.rung();
            let expires = self.turn(signals);
            let orphaned = signals.orphaned.load(Ordering::Acquire);
            if orphaned || signals.stop.load(Ordering::Acquire) {
                break;
            }
            turns += 1;
            if turns < TURNS_A_TICK {
                self.board.wait_rung(seen, due.min(expires));
            } else {
                super::clock::sleep_until(due);
            }
            let woken = now();
            if woken >= due {
                turns = 0;
                due = self.ticked(due, woken, &mut ticked);
            }
        }
        self.drive.safe();
    }

    /// Counts a tick, and says when the next is due: on the same grid, however late this one was.
    fn ticked(&mut self, due: Stamp, woken: Stamp, ticked: &mut impl FnMut(Tick)) -> Stamp {
        let late = due.age(woken);
        let period = self.tick.as_nanos().max(1);
        let missed = u64::try_from(late.as_nanos() / period).unwrap_or(u64::MAX);
        self.status.late_ns = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.status.missed = self.status.missed.saturating_add(missed);
        ticked(Tick { due, late });
        let step = u64::try_from(period).unwrap_or(u64::MAX);
        Stamp(
            due.0
                .saturating_add(step.saturating_mul(missed.saturating_add(1))),
        )
    }

    /// Looks, decides and moves, once. Says when it must look again at the latest.
    pub fn turn(&mut self, signals: &Signals) -> Stamp {
        let realtime = realtime::is_granted();
        if signals.realtime.swap(realtime, Ordering::AcqRel) != realtime {
            self.wake();
        }
        self.status.realtime = realtime;
        let presses = self.board.presses();
        if self.board.is_pressed() {
            self.reflexes.press();
        }
        self.released(signals, presses);
        let _ = self.board.read_scan(&mut self.scan);
        self.read_hazards();
        let slots = Source::ALL.map(|source| self.board.command(source));
        let board = &self.board;
        let orphaned = signals.orphaned.load(Ordering::Acquire);
        let parent = board.beat().map(|(at, _)| at).filter(|_| !orphaned);
        let snapshot = Snapshot {
            scan: self.scan.scan(),
            odometry: board.odometry(),
            imu: board.imu(),
            battery: board.battery(),
            contact: board.contact(),
            hazards: &self.hazards,
            parent,
            wanted: Twist::default(),
            degraded: !realtime,
            // After all was read, so that nothing of it is of the future.
            now: now(),
        };
        let (approved, record) = self.reflexes.step(&snapshot, slots);
        let _ = self.drive.write(approved);
        let rules = self.reflexes.rules().next_expiry(&snapshot);
        let wishes = expiry(&slots, snapshot.now);
        self.say(signals, &record);
        let expires = wishes.into_iter().chain(rules).min();
        expires.unwrap_or(Stamp(u64::MAX))
    }

    fn released(&mut self, signals: &Signals, presses: u32) {
        let count = self.board.count(Port::Release);
        if count == self.release_seen {
            return;
        }
        self.release_seen = count;
        let Some(release) = self.board.release() else {
            return;
        };
        if self.reflexes.release(&release, now()).is_ok() {
            self.board.set_released(presses);
            signals.releases.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn read_hazards(&mut self) {
        let count = self.board.count(Port::Hazards);
        if count != self.hazards_seen
            && let Some(hazards) = self.board.hazards()
        {
            self.hazards_seen = count;
            self.hazards = hazards;
        }
    }

    fn say(&mut self, signals: &Signals, record: &Record) {
        let decision = &record.decision;
        let latched = self.reflexes.latched();
        if signals.latched.swap(latched, Ordering::AcqRel) != latched {
            self.wake();
        }
        let status = &mut self.status;
        status.at = decision.at;
        status.epoch = self.reflexes.epoch();
        status.decisions = record.number;
        status.latched = latched;
        status.severity = decision.severity;
        status.causes = decision.causes;
        status.twist = decision.twist;
        self.board.log(record);
        self.out.put(&self.status);
    }

    fn wake(&self) {
        if let Some(thread) = &self.on_latch {
            thread.unpark();
        }
    }
}

/// When the first wish ends that stands now.
fn expiry(slots: &[Option<Signed>; 3], now: Stamp) -> Option<Stamp> {
    slots
        .iter()
        .flatten()
        .map(|signed| Stamp(signed.command.until().0.saturating_add(1)))
        .filter(|until| *until > now)
        .min()
}
