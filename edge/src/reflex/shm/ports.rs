//! Who writes to the board, each to one slot.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::{
    Board, BoardError,
    cell::{Cell, Hazards, MotorOut, Packer, Status},
    slot::Slot,
};
use crate::{
    body::hal::{Battery, Contact, Imu, Odometry, Stamp, Stamped, Twist},
    reflex::{
        clock,
        command::{Command, Release, Signed, Source, SourceKey},
    },
};

/// A slot of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The laser scanner.
    Scan,
    /// The wheels.
    Odometry,
    /// The inertial sensor.
    Imu,
    /// The battery.
    Battery,
    /// Bumper and cliff sensor.
    Contact,
    /// What a source wishes.
    Command(Source),
    /// The request to end an e-stop.
    Release,
    /// What peers warn of.
    Hazards,
    /// What the motors are to do: written by the reflexes only.
    Motor,
    /// What the reflexes say of themselves.
    Status,
    /// That the parent lives.
    Heart,
}

impl Board {
    pub(super) fn slot(&self, port: Port) -> Slot<'_> {
        let layout = self.layout();
        let [model, mission, manual] = &layout.commands;
        match port {
            Port::Odometry => layout.odometry.slot(),
            Port::Imu => layout.imu.slot(),
            Port::Battery => layout.battery.slot(),
            Port::Contact => layout.contact.slot(),
            Port::Command(Source::Model) => model.slot(),
            Port::Command(Source::Mission) => mission.slot(),
            Port::Command(Source::Manual) => manual.slot(),
            Port::Release => layout.release.slot(),
            Port::Hazards => layout.hazards.slot(),
            Port::Motor => layout.motor.slot(),
            Port::Status | Port::Heart => layout.status.slot(),
            Port::Scan => Slot {
                words: self.map.scan(),
                ..layout.scan.slot()
            },
        }
    }

    fn owner(&self, port: Port) -> &AtomicU32 {
        let layout = self.layout();
        let [model, mission, manual] = &layout.commands;
        match port {
            Port::Scan => &layout.scan.owner,
            Port::Odometry => &layout.odometry.owner,
            Port::Imu => &layout.imu.owner,
            Port::Battery => &layout.battery.owner,
            Port::Contact => &layout.contact.owner,
            Port::Command(Source::Model) => &model.owner,
            Port::Command(Source::Mission) => &mission.owner,
            Port::Command(Source::Manual) => &manual.owner,
            Port::Release => &layout.release.owner,
            Port::Hazards => &layout.hazards.owner,
            Port::Motor => &layout.motor.owner,
            Port::Status => &layout.status.owner,
            Port::Heart => &layout.heart.owner,
        }
    }

    /// Writes the wheels.
    ///
    /// # Errors
    ///
    /// Another does; so for all the others.
    pub fn odometry_writer(&self) -> Result<Writer<Stamped<Odometry>>, BoardError> {
        Writer::claim(self, Port::Odometry)
    }

    /// Writes the inertial sensor.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn imu_writer(&self) -> Result<Writer<Stamped<Imu>>, BoardError> {
        Writer::claim(self, Port::Imu)
    }

    /// Writes the battery.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn battery_writer(&self) -> Result<Writer<Stamped<Battery>>, BoardError> {
        Writer::claim(self, Port::Battery)
    }

    /// Writes bumper and cliff sensor.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn contact_writer(&self) -> Result<Writer<Stamped<Contact>>, BoardError> {
        Writer::claim(self, Port::Contact)
    }

    /// Writes what a source wishes, signed already. [`Board::commander`] signs.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn command_writer(&self, source: Source) -> Result<Writer<Signed>, BoardError> {
        Writer::claim(self, Port::Command(source))
    }

    /// Writes what a source wishes, numbered and signed.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn commander(&self, source: Source, key: SourceKey) -> Result<Commander, BoardError> {
        let writer = self.command_writer(source)?;
        // Goes on behind what a writer before it may have used up in this epoch.
        let sequence = self
            .command(source)
            .map_or(0, |signed| signed.command.sequence);
        Ok(Commander {
            writer,
            key,
            source,
            sequence,
        })
    }

    /// Writes requests to end an e-stop.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn release_writer(&self) -> Result<Writer<Release>, BoardError> {
        Writer::claim(self, Port::Release)
    }

    /// Writes what peers warn of: all of it, each time.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn hazards_writer(&self) -> Result<Writer<Hazards>, BoardError> {
        Writer::claim(self, Port::Hazards)
    }

    /// Says that this process, the parent, lives.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn heart(&self) -> Result<Heart, BoardError> {
        let claim = Claim::make(self, Port::Heart)?;
        let heart = &self.layout().heart;
        heart.pid.store(std::process::id(), Ordering::Relaxed);
        Ok(Heart { claim })
    }

    pub(crate) fn motor_writer(&self) -> Result<Writer<MotorOut>, BoardError> {
        Writer::claim(self, Port::Motor)
    }

    pub(crate) fn status_writer(&self) -> Result<Writer<Status>, BoardError> {
        Writer::claim(self, Port::Status)
    }

    /// What turns the wheels: it reads what the motors are to do, and stops by itself.
    pub fn wheels(&self) -> Wheels {
        Wheels {
            board: self.clone(),
        }
    }
}

/// The right to write to a slot, given back when dropped. Of a process that died it can be taken.
pub(super) struct Claim {
    pub board: Board,
    pub port: Port,
}

impl Claim {
    pub fn make(board: &Board, port: Port) -> Result<Self, BoardError> {
        let owner = board.owner(port);
        let me = std::process::id();
        let mut held = 0;
        loop {
            match owner.compare_exchange(held, me, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let board = board.clone();
                    return Ok(Self { board, port });
                }
                Err(pid) if lives(pid) => return Err(BoardError::Claimed { port, pid }),
                Err(pid) => held = pid,
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let owner = self.board.owner(self.port);
        let me = std::process::id();
        // Whoever else holds it by now took it for good reason.
        let _ = owner.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Whether a process runs: one that is dead and not yet buried does not.
fn lives(pid: u32) -> bool {
    if pid == 0 {
        return false;
    }
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => false,
        // Its state is behind its name, which is in parentheses and may have any in it.
        Ok(stat) => stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.trim_start().chars().next())
            .is_some_and(|state| !matches!(state, 'Z' | 'X')),
    }
}

/// Writes one slot.
pub struct Writer<T> {
    claim: Claim,
    value: PhantomData<fn(T)>,
}

impl<T: Cell> Writer<T> {
    fn claim(board: &Board, port: Port) -> Result<Self, BoardError> {
        Ok(Self {
            claim: Claim::make(board, port)?,
            value: PhantomData,
        })
    }

    /// Writes a value and wakes the reflexes. Never waits.
    pub fn write(&mut self, value: &T) {
        self.put(value);
        self.claim.board.ring();
    }

    /// Writes a value and wakes nobody.
    pub(crate) fn put(&mut self, value: &T) {
        let slot = self.claim.board.slot(self.claim.port);
        slot.write(|words| value.pack(&mut Packer::shared(words)));
    }

    /// Whom it writes for.
    pub fn board(&self) -> &Board {
        &self.claim.board
    }
}

/// Writes what a source wishes.
pub struct Commander {
    writer: Writer<Signed>,
    key: SourceKey,
    source: Source,
    sequence: u64,
}

impl Commander {
    /// Wishes a motion from now on, for that long, in the present epoch. Without reflexes there is no
    /// epoch, and nobody to hear it.
    pub fn send(&mut self, twist: Twist, valid_for: Duration) -> Command {
        self.sequence += 1;
        let epoch = self
            .writer
            .board()
            .status()
            .map_or(0, |status| status.epoch);
        let command = Command {
            source: self.source,
            sequence: self.sequence,
            epoch,
            at: clock::now(),
            valid_for,
            twist,
        };
        self.writer.write(&self.key.sign(command));
        command
    }

    /// Wishes nothing more, from now on.
    pub fn withdraw(&mut self) {
        self.send(Twist::default(), Duration::ZERO);
    }
}

/// Says that the parent lives.
pub struct Heart {
    claim: Claim,
}

impl Heart {
    /// Says so now. Wakes nobody: that it beats changes nothing, only that it stops.
    pub fn beat(&mut self) {
        let heart = &self.claim.board.layout().heart;
        heart.beat.store(clock::now().0, Ordering::Release);
    }
}

/// The end at which the motors are.
pub struct Wheels {
    board: Board,
}

impl Wheels {
    /// What the wheels do at that time: what the reflexes said, while it stands; else nothing. This is
    /// the last watchdog: with dead reflexes nothing moves.
    pub fn twist(&self, now: Stamp) -> Twist {
        match self.board.motor() {
            Some(out) if now <= out.until && out.at <= out.until => out.twist,
            _ => Twist::default(),
        }
    }

    /// When what they do now ends by itself, if it is not said again.
    pub fn until(&self) -> Stamp {
        self.board.motor().map_or(Stamp(0), |out| out.until)
    }

    /// Waits until the reflexes say something, or until then.
    pub fn wait(&self, seen: u32, until: Stamp) -> u32 {
        self.board.wait_motor_rung(seen, until);
        self.board.motor_rung()
    }
}
