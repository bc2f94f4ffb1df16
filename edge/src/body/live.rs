//! A body that lives: its driver, the pilot in a thread of its own, and the board between them and the
//! reflexes.

mod flight;
mod simulated;

pub use flight::{Flight, Flown, Hold, Outside, Seen};
pub use simulated::{Simulated, robot_toml};
