//! A gpak node away from the core.
//!
//! What is here: the link to the core with its outbox ([`link`]), a robot's body behind hardware traits
//! ([`body`]), the reflexes that no mind can delay ([`reflex`]), the mesh of peers ([`mesh`]) and navigation
//! ([`nav`]). How it stands to the rest:
//!
//! - It uses the kernel for the mind's loop, the memory for what must survive, and the contract for what
//!   is said to others; nothing uses it but the command line.
//! - Reflexes run in a process of their own, with no async runtime, no network and no model.
//! - The model sends intents with an envelope and a validity, never velocities.

pub mod body;
pub mod link;
pub mod mesh;
pub mod nav;
pub mod reflex;
