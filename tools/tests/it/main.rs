//! The built-in tools as a run uses them.

mod bench;
mod change;
mod confine;
mod control;
mod edit;
mod list;
mod read;
mod search;
mod shell;
mod undo;
