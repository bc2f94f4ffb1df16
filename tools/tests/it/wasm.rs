//! Tools that users bring: added, called, changed, removed.

pub mod doing;
mod files;
pub mod guest;
pub mod home;

mod packages;
mod undo;
mod values;
