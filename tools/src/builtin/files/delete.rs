//! `delete_file`: deletes a file, or an empty folder.

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        arguments,
        change::{Act, Plan},
    },
    writable,
};
use crate::{
    text::many,
    workspace::{Workspace, rejected},
};

#[derive(Deserialize)]
struct Args {
    path: String,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "delete_file",
        "Delete a file, or a folder that is empty.",
        Effect::Reversible,
        json!({"path": {"type": "string", "minLength": 1, "maxLength": 400, "description": "The file, relative to the workspace."}}),
        1,
    )
}

pub(in crate::builtin) fn plan(workspace: &Workspace, args: &Value) -> Result<Plan, ToolError> {
    let Args { path } = arguments(args)?;
    let path = workspace.parse(&path)?;
    let place = workspace.place(&path)?;
    writable(&place)?;
    let path = place.path();
    let Some(metadata) = place.metadata()? else {
        return Err(workspace.not_found(path));
    };
    let said = if metadata.is_dir() {
        let entries = workspace
            .root()
            .read_dir(path.as_path())
            .map_or(0, Iterator::count) as u64;
        if entries > 0 {
            return Err(rejected(format!(
                "{path} is a folder with {}, and only empty folders are deleted; delete what is in it first{}",
                many(entries, "entry"),
                workspace.names_in(path)
            )));
        }
        format!("deleted the empty folder {path}")
    } else if metadata.is_file() {
        format!("deleted {path} ({})", many(metadata.len(), "byte"))
    } else {
        return Err(rejected(format!(
            "{path} is neither a file nor a folder; leave it alone"
        )));
    };
    Ok(Plan {
        said,
        act: Act::Remove { place },
    })
}
