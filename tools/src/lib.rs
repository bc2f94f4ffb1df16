//! User space of gpak: what a run can call.
//!
//! [`builtin::all`] makes the tools that come with gpak:
//!
//! | tool | effect | |
//! |---|---|---|
//! | `list_files`, `read_file`, `search_files` | pure | look at the workspace |
//! | `write_file`, `edit_file`, `move_file`, `delete_file` | reversible | change it, and can put it back |
//! | `run_command` | irreversible | whatever a shell does, in reach of the workspace |
//! | `update_plan`, `ask_user`, `finish`, `pin_fact` | control | speak to the machine, which answers them itself |
//!
//! Beside them, [`ReadHistory`] reads what a run said and saw out of its journal, and [`repository`] reads
//! what a repository says to those who work in it, with a tool that opens its skills.
//!
//! [`copies::all`] makes those that only the machine calls, to try several ways in copies of the
//! workspace; [`unstartable`] knows what no check can be.
//!
//! [`wasm`] has the tools that users bring, [`forge`] those that the model makes for itself.
//!
//! Three things hold for all tools for files:
//!
//! - **Inside the workspace.** A path is resolved once, through a handle of the workspace folder. No
//!   `..`, no absolute path and no symlink leads out, whatever is exchanged meanwhile. `.git`, `.gpak`
//!   and gpak's own folders are never written, also where they do not exist yet.
//! - **Nothing is lost.** A call saves what it replaces, and writes down what it will do, before it
//!   acts; then it acts in one instant. So a call can be undone ([`Tool::compensate`]), a whole run can
//!   be checked before it is undone ([`UndoStore::conflicts`]), and a call that a crash interrupted can
//!   be made again under its id: it finds out whether it was done (`resumable`).
//! - **Nothing is endless.** A file is never loaded to be looked at, output is bounded and says how to
//!   get the rest, and dropping the future of a call stops the work, a command's processes included.
//!
//! ```no_run
//! # use std::sync::Arc;
//! use gpak_kernel::tool::Toolbox;
//! use gpak_tools::builtin::{self, Options};
//!
//! let options = Options { protected: vec!["/home/me/.config/gpak".into()], ..Options::new("/home/me/.local/share/gpak/undo") };
//! let toolbox = Toolbox::new(builtin::all(&options))?;
//! # Ok::<(), gpak_kernel::tool::DuplicateTool>(())
//! ```
//!
//! [`Tool::compensate`]: gpak_kernel::tool::Tool::compensate

pub mod builtin;
mod check;
pub mod copies;
pub mod forge;
mod group;
mod history;
mod kept;
pub mod mcp;
pub mod repository;
mod schema;
pub mod script;
mod spelling;
mod staged;
mod text;
mod undo;
mod walk;
pub mod wasm;
mod workspace;

pub use check::unstartable;
pub use history::ReadHistory;
pub use undo::{Conflict, UndoStore};
