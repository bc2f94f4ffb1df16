//! `gpak serve` as its clients meet it: the real binary on a free port, a real journal, real connections;
//! only the mind is scripted.

mod access;
mod bench;
mod deploy;
mod disk;
mod events;
mod guard;
pub mod house;
mod mcp;
mod node;
mod once;
mod openai;
mod openai_npm;
mod page;
pub mod python;
mod readme;
mod runs;
mod schemathesis;
mod stopping;
mod tls;
mod traces;
mod webhooks;
