//! A body that lives: the simulator in its thread, the pilot in its own, and the board between them and
//! the reflexes.

mod flight;
mod simulated;

pub use flight::{Flight, Flown, Outside};
pub use simulated::{Simulated, Start, robot_toml};

use super::hal::{Heard, Sighting, Stamped};

/// What sensors say that is not on the board: the reflexes do not need it.
#[derive(Clone, Debug)]
pub enum Sense {
    /// Somebody spoke.
    Heard(Stamped<Heard>),
    /// Who is in sight.
    Sightings(Stamped<Vec<Sighting>>),
    /// A peer warned of something that was not known.
    Warned {
        /// What it is called.
        peer: String,
        /// Of what.
        what: String,
    },
}
