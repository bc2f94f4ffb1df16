//! A robot's body: what its sensors say, and the few ways in which it can be moved.

pub mod actions;
pub mod control;
pub mod driver;
pub mod errand;
pub mod hal;
pub mod intent;
pub mod live;
pub mod mavlink;
pub mod perception;
pub mod pilot;
pub mod record;
pub mod robot;
pub mod ros2;
pub mod sim;
pub mod telemetry;
