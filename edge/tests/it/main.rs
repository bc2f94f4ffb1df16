//! Tests of the edge at its public surface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod drivers;
mod link;
mod mesh;
mod python;
mod ros2;
mod steady;
