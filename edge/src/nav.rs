//! Finding a way, and keeping to it.
//!
//! A [grid](grid::Grid) of what the scanner saw, a [`plan`] over it, a [follower](follow) that turns
//! the plan into speeds, and [behaviour trees](tree) for what is to be done in which order. All of it is
//! pure: time and readings come in, motions go out.

pub mod follow;
pub mod grid;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod tree;
