//! Tools that users bring: components of the worlds in `tools/wit`, in a sandbox.

mod asks;
mod bindings;
mod component;
mod engine;
mod error;
mod files;
mod limits;
mod manifest;
mod net;
mod stop;

pub use asks::{Asks, Capability, FileAccess, FolderAsk, SecretAsk};
pub use error::WasmError;
pub use limits::Limits;
pub use manifest::{Declared, Example, Kind, MANIFEST, Manifest};
pub use net::HostPattern;
pub use stop::Stopped;
