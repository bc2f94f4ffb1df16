//! Tools that users bring: added, called, changed, removed.

pub mod guest;
pub mod home;

mod packages;
