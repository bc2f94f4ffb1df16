//! The drive whose motors read the board: a simulator, or the bridge to a body on a network, each with
//! its own watchdog ([`Wheels`](super::shm::Wheels)).

use std::time::Duration;

use super::{
    clock::{after, now},
    command::{Applied, Approved, Drive},
    shm::{Board, BoardError, MotorOut, Writer},
};
use crate::body::hal::{Device, DeviceError, Lifecycle, Twist};

/// Writes what the motors are to do.
pub struct BoardDrive {
    out: Writer<MotorOut>,
    stands: Duration,
    lifecycle: Lifecycle,
    number: u64,
}

impl BoardDrive {
    /// On that board. The motors believe it for that long.
    ///
    /// # Errors
    ///
    /// Another drives: there is one who does.
    pub fn new(board: &Board, stands: Duration) -> Result<Self, BoardError> {
        Ok(Self {
            out: board.motor_writer()?,
            stands,
            lifecycle: Lifecycle::Inactive,
            number: 0,
        })
    }

    fn put(&mut self, out: MotorOut) {
        self.out.put(&out);
        self.out.board().ring_motor();
    }
}

impl Device for BoardDrive {
    fn name(&self) -> &'static str {
        "drive"
    }

    fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        self.lifecycle = Lifecycle::Active;
        Ok(())
    }

    fn deactivate(&mut self) {
        self.safe();
        self.lifecycle = Lifecycle::Inactive;
    }
}

impl Drive for BoardDrive {
    fn write(&mut self, approved: Approved) -> Applied {
        if self.lifecycle != Lifecycle::Active {
            self.safe();
            return Applied::Safe;
        }
        self.number = approved.number();
        let (twist, at) = (approved.twist(), approved.at());
        self.put(MotorOut {
            number: self.number,
            at,
            until: after(at, self.stands),
            twist,
        });
        Applied::Taken { twist, at }
    }

    fn safe(&mut self) {
        let at = now();
        self.put(MotorOut {
            number: self.number,
            at,
            until: at,
            twist: Twist::default(),
        });
    }
}

impl Drop for BoardDrive {
    fn drop(&mut self) {
        self.safe();
    }
}
