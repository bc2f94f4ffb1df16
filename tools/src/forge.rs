//! Tools that the model makes for itself while it works.
//!
//! ```text
//! make_tool ──► examples, each in a fresh sandbox ──► MadeStore (per workspace, all versions)
//!     │                                                    │
//!     └── Event::ToolMade ──► this run, from the next step └──► later runs, gpak tools
//! ```
//!
//! A model with native tool calls gives a tool's parts as arguments; one that works by programs writes a
//! definition, from which they follow ([`MakeTool::of_definitions`]).
//!
//! A made tool is a script package ([`crate::wasm`]) that is in no folder: one tool, its source, its
//! examples, and what it was granted. All of it is in the journal, so a run that is resumed, forked or
//! undone has the tools that it had, whatever became of the store. A later run is offered those that the
//! store has for its workspace, the latest version of each.

mod definition;
mod making;
mod store;

pub use making::{MAKE_TOOL, MakeTool};
pub use store::{Kept, MadeStore, Offer};
