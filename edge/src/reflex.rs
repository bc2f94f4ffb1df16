//! The reflexes: what stops the body, whatever the mind, the network or another process does.
//!
//! They live in a process of their own (`gpak reflexd`) that alone moves the actuators. What goes in and
//! out of it is on a [board](shm) of shared memory. What it does is pure and can be replayed: the
//! [rules] turn readings into [bounds](verdict), the [arbiter] turns bounds and [commands](command)
//! into one motion, with the reason.

pub mod arbiter;
pub mod bench;
pub mod clock;
pub mod command;
pub mod config;
pub mod cycle;
pub mod drive;
pub mod latch;
pub mod launch;
pub mod process;
pub mod realtime;
pub mod rules;
pub mod shm;
pub mod step;
pub mod verdict;
