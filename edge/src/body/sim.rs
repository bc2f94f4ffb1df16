//! A simulated body in a simulated world: physics, a laser scanner by ray casting, people who speak.
//!
//! [`Simulation`] is pure but for what it is told: the same world, seed and commands give the same
//! readings, bit for bit, whatever the clock does. How fast its ticks come is for others to say.

mod physics;
mod picture;
#[cfg(test)]
mod tests;
mod voices;
pub mod world;

pub use physics::{Collision, EDGE_M, Readings, STEP, Scene, Simulation};
pub use picture::{Canvas, frame, png, terminal};
pub use voices::Said;
