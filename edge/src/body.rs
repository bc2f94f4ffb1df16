//! A robot's body: what its sensors say, and the few ways in which it can be moved.

pub mod hal;
pub mod sim;
