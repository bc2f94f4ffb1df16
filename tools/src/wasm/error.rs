//! What can be wrong with a tool that somebody brings.

use std::{io, path::Path};

/// Why a package cannot be read, added or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WasmError {
    /// This machine cannot run Wasm.
    #[error("Wasm tools cannot run on this machine: {0}")]
    Engine(String),
    /// A file or folder cannot be used.
    #[error("{0}")]
    File(String),
    /// `tool.toml` is not right.
    #[error("{path}: {why}")]
    Manifest {
        /// The file.
        path: String,
        /// What is wrong, where, and what would be right.
        why: String,
    },
    /// The component is not one, or not one of ours.
    #[error("{0}")]
    Component(String),
    /// What it says of itself is not right.
    #[error("{0}")]
    Description(String),
    /// It needs more than it asks for, or was granted.
    #[error("{0}")]
    Grant(String),
    /// Something of it is not what it was when it was added.
    #[error("{0}")]
    Changed(String),
    /// There is none of that name.
    #[error("there is no tool package `{0}`; gpak tools list shows those there are")]
    Unknown(String),
}

impl WasmError {
    /// A file or folder that cannot be used: `cannot WHAT PATH: …`.
    pub(crate) fn file(what: &str, path: &Path, why: &io::Error) -> Self {
        let then = match why.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free some space and try again"
            }
            _ => "",
        };
        Self::File(format!("cannot {what} {}: {why}{then}", path.display()))
    }
}
