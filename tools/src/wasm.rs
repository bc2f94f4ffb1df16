//! Tools that users bring: components of the worlds in `tools/wit`, in a sandbox.

mod asks;
mod bindings;
mod cache;
mod code;
mod component;
mod described;
pub(crate) mod engine;
mod error;
mod files;
mod host;
pub(crate) mod limits;
mod manifest;
mod net;
mod package;
mod packages;
pub(crate) mod sandbox;
pub(crate) mod schema;
mod secrets;
mod stop;
mod tool;

pub use asks::{Asks, Capability, FileAccess, FolderAsk, SecretAsk};
pub use cache::Cache;
pub use described::Described;
pub use error::WasmError;
pub use host::{LogLine, Logged};
pub use limits::Limits;
pub use manifest::{Declared, Example, Kind, MANIFEST, Manifest};
pub use net::{HostPattern, Names, SystemNames};
pub use package::{Candidate, Package};
pub use packages::{Listed, Offered, Options, Packages, Unusable};
pub use secrets::{EnvironmentSecrets, Secret, Secrets};
pub use stop::Stopped;
pub use tool::{Called, PackagedTool};
