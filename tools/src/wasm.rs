//! Tools that users bring: components of the worlds in `tools/wit`, or scripts, in a sandbox.
//!
//! - A **package** is a folder with a `tool.toml` ([`Manifest`]) that says what it asks for ([`Asks`]).
//!   [`Packages::read`] looks at it, [`Packages::add`] keeps it with what the user granted, and
//!   [`Packages::offer`] gives its tools to a run. Nothing is read or compiled before a first call.
//! - **What it was is what it is.** A component or manifest that changed since is refused ([`WasmError`]).
//! - **What is not granted is not there.** A component that imports more than it asks for is not added; one
//!   that imports more than was granted is not loaded. A tool is held to its effect, too: one that says it
//!   changes nothing sends no POST and keeps no value.
//! - **One call, one sandbox.** Each has its own memory and time ([`Limits`]), and dropping its future ends
//!   it. What goes wrong is an error that the model can read ([`Stopped`]).
//! - **Files are changed at the end of a call or not at all**, and put back by the host when it is undone.
//! - **Compiling has a limit too**: components over 48 MiB are refused, and one that is not compiled after
//!   30 seconds is an error of its own call or `add`.

mod asks;
mod bindings;
mod cache;
mod code;
pub(crate) mod compile;
mod component;
mod componentize;
mod described;
pub(crate) mod engine;
mod error;
pub(crate) mod files;
mod host;
pub(crate) mod limits;
pub(crate) mod manifest;
pub(crate) mod net;
mod package;
mod packages;
mod project;
pub(crate) mod sandbox;
mod scripted;
mod secrets;
mod stop;
mod tool;

pub use asks::{Asks, Capability, FileAccess, FolderAsk, SecretAsk};
pub use cache::Cache;
pub use componentize::{TOOL_WIT, componentize};
pub use described::Described;
pub use error::WasmError;
pub use host::{LogLine, Logged};
pub use limits::Limits;
pub use manifest::{Declared, Example, Kind, MANIFEST, Manifest, is_same_json};
pub use net::{HostPattern, Names, SystemNames};
pub use package::{Candidate, Package};
pub use packages::{Listed, Offered, Options, Packages, Unusable};
pub use project::{Language, Project};
pub use secrets::{EnvironmentSecrets, Secret, Secrets};
pub use stop::Stopped;
pub use tool::{Called, PackagedTool};
