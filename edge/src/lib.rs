//! A gpak node away from the core.
//!
//! What belongs here: the link to the core with its outbox, a robot's body behind hardware traits, the
//! reflexes that no mind can delay, the mesh of peers, navigation, and the fleet. None of it exists
//! yet; what is settled is how it will stand to the rest:
//!
//! - It uses the kernel for the mind's loop, the memory for what must survive, and the contract for what
//!   is said to others; nothing uses it but the command line.
//! - Reflexes run in a process of their own, with no async runtime, no network and no model.
//! - The model sends intents with an envelope and a validity, never velocities.

pub mod body;
pub mod link;
