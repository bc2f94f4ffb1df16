//! A body's hardware: what its sensors say goes to the board, what the reflexes let through goes to its
//! motors. Which one a robot has is written in its `robot.toml` ([`RobotFile`](super::robot::RobotFile)).
//!
//! Every driver passes one suite (`edge/tests/it/drivers`): it says and moves nothing while it is inactive,
//! stamps what it says with this machine's clock, takes motions from the board only, stops by itself when
//! they run out, and can be made safe at any time.

mod loudspeaker;
mod motors;
mod sensors;

pub(crate) use loudspeaker::Loudspeaker;
pub(crate) use motors::Motors;
pub use sensors::{Outlet, ScanSensor, Sense, SenseSensor, Sensor, Sensors};

use super::hal::{Device, DeviceError, Lifecycle, Speaker};

/// A body's hardware.
pub trait Driver: Device {
    /// The motors rest at once and until the driver is activated again, whatever the board says. It cannot
    /// fail, may be called at any time and any number of times, and never waits.
    fn safe(&self);
    /// How many messages of the body could not be read, or said what cannot be.
    fn refused(&self) -> u64;
    /// Its loudspeaker, as long as it is active.
    fn speaker(&self) -> Box<dyn Speaker>;
}

/// For how long a body may say nothing until it counts as failed.
pub(crate) const SILENT: std::time::Duration = std::time::Duration::from_secs(3);

/// What a driver has while it is active.
pub(crate) struct Hold<T> {
    open: Option<T>,
    failed: bool,
}

impl<T> Default for Hold<T> {
    fn default() -> Self {
        Self {
            open: None,
            failed: false,
        }
    }
}

impl<T> Hold<T> {
    /// What it has, while it has it.
    pub(crate) fn get(&self) -> Option<&T> {
        self.open.as_ref()
    }

    /// Keeps what could be opened; what could not is an error until the next try or until it is let go.
    pub(crate) fn keep(&mut self, opened: Result<T, DeviceError>) -> Result<(), DeviceError> {
        self.failed = opened.is_err();
        self.open = Some(opened?);
        Ok(())
    }

    /// Gives it up, and forgets a failure.
    pub(crate) fn let_go(&mut self) -> Option<T> {
        self.failed = false;
        self.open.take()
    }

    /// Where in its life the driver is, whose hardware works or does not.
    pub(crate) fn lifecycle(&self, works: impl FnOnce(&T) -> bool) -> Lifecycle {
        match &self.open {
            Some(open) if works(open) => Lifecycle::Active,
            Some(_) => Lifecycle::Error,
            None if self.failed => Lifecycle::Error,
            None => Lifecycle::Inactive,
        }
    }
}

/// The words of a failure of a device.
pub(crate) fn failed(
    device: &'static str,
) -> impl Fn(&dyn std::fmt::Display) -> DeviceError + Clone {
    move |why| DeviceError::Failed {
        device,
        why: why.to_string(),
    }
}
