//! JavaScript, in a sandbox: the interpreter, and the tool `run_script`.
//!
//! ```text
//! run_script ──► Interpreter (QuickJS-ng as a component, tools/script)
//!                     │ host.call(function, json)
//!                     ▼
//!                  Desk ──► Staged: the workspace as the script sees it
//!                                │ once it has ended without an error
//!                                ▼
//!                             Batch: all changes put in place, undone, or finished after a crash
//! ```
//!
//! A script has nothing but the functions of its [`desk`]: no network, no processes, no environment. What
//! it changes is staged, so that a script that fails changes nothing, and one that is only tried out
//! ([`RunScript::trial`]) does not either.

mod batch;
mod desk;
mod interpreter;
mod outcome;
mod source;
mod staged;
mod tool;

pub use interpreter::ScriptLimits;
pub use outcome::{Outcome, Staging};
pub use tool::{RUN_SCRIPT, RunScript};
