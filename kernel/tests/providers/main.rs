//! The models behind HTTP, against real servers and against one that does whatever a test wants.

mod faults;
mod faulty;
mod llama;
mod ollama;
mod python;
mod reached;
mod resilience;
mod shapes;
mod support;
