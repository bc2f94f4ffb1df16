//! JavaScript, in a sandbox: the interpreter, and the tool `run_script`.
//!
//! ```text
//! run_script ──► Interpreter (QuickJS-ng as a component, tools/script)
//!                     │ host.call(function, json)
//!                     ▼
//!                  Desk ──► staged changes, put in place once it has ended without an error
//! ```
//!
//! A script has nothing but the functions of its desk: no network, no processes, no environment. What
//! it changes is staged, so that a script that fails changes nothing, and one that is only tried out
//! ([`RunScript::trial`]) does not either.

mod desk;
mod hint;
pub(crate) mod interpreter;
mod nothing;
mod outcome;
mod source;
mod tool;

pub use interpreter::ScriptLimits;
pub use outcome::Outcome;
pub use tool::{RUN_SCRIPT, RunScript};
