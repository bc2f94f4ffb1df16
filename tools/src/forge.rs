//! Tools that the model makes for itself while it works.
//!
//! ```text
//! make_tool ──► examples, each in a fresh sandbox ──► MadeStore (per workspace, all versions)
//!     │                                                    │
//!     └── Event::ToolMade ──► this run, from the next step └──► later runs, gpak tools
//! ```
//!
//! A made tool is a script package ([`crate::wasm`]) that is in no folder: one tool, its source, its
//! examples, and what it was granted. All of it is in the journal, so a run that is resumed, forked or
//! undone has the tools that it had, whatever became of the store. A later run is offered those that the
//! store has for its workspace, the latest version of each.

mod making;
mod store;

pub use making::{MAKE_TOOL, MakeTool};
pub use store::{Kept, MadeStore, Offer};
