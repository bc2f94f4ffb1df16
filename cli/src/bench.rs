//! Measures models: on our own agent tasks, and on public data of function calls.

pub mod agent;
pub mod bfcl;
pub mod check;
pub mod evals;
pub mod peer;
