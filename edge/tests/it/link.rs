//! The link between a node and its core.

mod bed;
mod down;
mod lies;
mod python;
mod up;
