//! The link between a node and its core.
//!
//! ```text
//!             core                                     node
//!   Link ── identity, commands, stops (gRPC) ──► Follower ── IdentityStore
//!   Ingest ◄── experience (NATS JetStream) ───── Publisher ── Outbox
//!      └────── receipts (JetStream) ──────────────────►┘
//! ```
//!
//! - Down: the core's [`server::Link`] says who a node is. The [`client::Follower`] takes nothing that the
//!   owner of the identity did not sign, keeps it, and goes on from what it kept while there is no network.
//! - Up: what was learnt waits in an [`outbox::Outbox`] until the core's [`ingest::Ingest`] has it in its own
//!   memory and says so with a receipt. An acknowledgement of JetStream's alone removes nothing.
//! - [`certificates`]: who may speak on the link at all.
//!
//! Nothing here goes by a clock of the other side: it is told apart how far they differ, and no more.

pub mod certificates;
pub mod client;
mod condensing;
pub mod ingest;
pub mod node;
pub mod outbox;
pub mod publish;
pub mod server;
pub mod wire;

pub use node::{NodeError, NodeId, Registry};
