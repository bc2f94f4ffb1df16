//! The mesh: peers on one network that know of each other, and warn each other.
//!
//! Zenoh carries the bytes; who may speak is ours. Every message is signed by its sender, whose key must
//! be among those that are trusted; it belongs to one life of the sender and counts up in it, so that none
//! is taken twice; and each sender may say only so much. A [hazard](watch) may slow or stop a body. There
//! is no message that releases one: a hazard ends when its time is over.

mod config;
mod node;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod wire;

pub use config::{MeshConfig, MeshError, secret};
pub use node::{Node, OnNews, Warning};
pub(crate) use node::{hear, network, open, publisher};
