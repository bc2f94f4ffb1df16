//! Tools for files.

use gpak_kernel::tool::ToolError;

use crate::workspace::{Place, rejected};

pub(super) mod delete;
pub(super) mod edit;
pub(super) mod list;
pub(super) mod read;
pub(super) mod relocate;
pub(super) mod write;

/// Refuses files that a user made read-only: a rename would replace them all the same.
fn writable(place: &Place) -> Result<(), ToolError> {
    use cap_std::fs::MetadataExt as _;
    let read_only = place
        .metadata()?
        .is_some_and(|metadata| metadata.is_file() && metadata.mode() & 0o222 == 0);
    if read_only {
        return Err(rejected(format!(
            "{} is read-only; leave it as it is, or ask the user",
            place.path()
        )));
    }
    Ok(())
}
