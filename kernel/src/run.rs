//! A run, from its task to its outcome.
//!
//! [`Machine`] decides and does nothing; [`Driver`] does what the machine says, journals it, and tells
//! the machine. [`State`] is what both know: the fold of the run's events.

mod answer;
mod aside;
mod astray;
mod beginning;
mod calling;
pub mod check;
pub mod child;
mod driver;
pub mod episodes;
mod file_names;
mod machine;
pub mod nested;
mod own;
mod ports;
mod progress;
mod remembering;
pub mod replay;
mod state;
mod status;
pub mod undo;
mod unfinished;
pub mod waiting;

pub use driver::{DriveError, Driver, Ended, Resumption};
pub use machine::{Machine, Next, Waiting};
pub use own::OwnCall;
pub use ports::{Answer, Clock, Human, Introduced, Nobody, Observer, SystemClock};
pub use remembering::Remembering;
pub use state::{Compaction, OpenCall, Stage, State, Turn};
pub use status::Status;
