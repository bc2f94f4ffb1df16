//! The kernel of gpak: a reason-act loop over a journal.
//!
//! ```text
//!              ┌──────── Machine ────────┐   decides: a pure fold of events
//!   apply      │  State ─ Gate ─ context │   next()
//!  ┌──────────►│                         ├──────────┐
//!  │           └─────────────────────────┘          ▼
//!  │                                     Record · Think · Act · Wait · Done
//!  │           ┌──────── Driver ─────────┐          │
//!  └───────────┤ append, then apply      │◄─────────┘
//!              └──┬───────┬───────┬────┬─┘   does: the only part with IO
//!              Journal  Model   Tool  Human        (ports)
//! ```
//!
//! - [`run`]: the [`run::Machine`] that decides, the [`run::Driver`] that does, the [`run::State`]
//!   that both read.
//! - [`event`], [`entry`]: what is journaled, and the hash chain over it.
//! - [`journal`], [`memory`], [`model`], [`tool`]: the ports. [`label`]: where text came from.
//! - [`strategy`]: how a task is done, and when that changes.
//! - [`identity`]: who the agent is, and which of its two selves speaks.
//! - [`policy`]: the one gate before every tool. [`context`]: what the model is shown.
//!
//! Invariants: an event is in the journal before the machine knows it; an act is in the journal before
//! it is made; nothing but the gate leads to a tool; the machine has no IO, no clock and no randomness,
//! so that any run can be rebuilt, forked and replayed from its entries alone.

pub mod context;
pub mod entry;
pub mod event;
pub mod identity;
pub mod journal;
pub mod label;
pub mod memory;
pub mod model;
pub mod policy;
pub mod run;
pub mod strategy;
pub mod tool;
