//! A vehicle that speaks MAVLink 2 (ArduPilot Rover, PX4): what it says becomes readings; what the reflexes
//! approve becomes set points of its velocity, before its own nose.
//!
//! MAVLink looks north, east and down, and its body forward, right and down; ours looks east, north and up,
//! and forward, left and up (ROS REP 103): conversions are in [`readings`] and in [`set_point`].

mod device;
mod messages;
mod texts;

pub use device::{Mavlink, MavlinkConfig};
pub use messages::{BadReading, Reader, Reading, readings, set_point};
