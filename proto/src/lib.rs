//! The wire contract of gpak: what nodes say to each other, and nothing else.
//!
//! The contract is in the `.proto` files beside this crate, one package per version; what is here is generated
//! from them, clients and servers both.
//!
//! - `identity.proto`: a node wakes, is told who it is, and says what it made of that.
//! - `control.proto`: telemetry up, commands down, and emergency stops on a stream of their own.
//! - `experience.proto`: what travels over NATS JetStream, and the receipts that let a node forget it.
//!
//! What is signed travels as the bytes that were signed. A field is never given another meaning or number; what
//! cannot be said by adding fields gets a package of its own (`gpak.v2`).
//!
//! This crate uses none of ours, so that a client in another language needs nothing but its files.

/// The first version of the contract: the package `gpak.v1`.
#[allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("gpak.v1");
}
