//! The models behind HTTP, against real servers and against one that does whatever a test wants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg(all(feature = "openai", feature = "ollama", feature = "pull"))]

mod faults;
mod faulty;
mod llama;
mod ollama;
mod overhead;
mod python;
mod reached;
mod resilience;
mod rows;
mod shapes;
mod support;
