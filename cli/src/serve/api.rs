//! The native interface, `/api/v1`.

pub mod approvals;
pub mod docs;
pub mod events;
pub mod memory;
pub mod node;
pub mod runs;
pub mod state;
pub mod tools;
pub mod webhooks;
