//! Tools that users bring: added, called, changed, removed.

pub mod doing;
mod files;
pub mod guest;
pub mod home;

mod nested;
mod packages;
mod stopped;
mod undo;
mod values;
mod wasi;
