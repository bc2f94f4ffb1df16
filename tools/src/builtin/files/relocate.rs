//! `move_file`: moves or renames a file or a folder, and replaces nothing.

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{
    arguments,
    change::{Act, Plan},
};
use crate::workspace::{Workspace, already_there, rejected};

#[derive(Deserialize)]
struct Args {
    from: String,
    to: String,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "move_file",
        "Move or rename a file or a folder. Folders are made as needed; an existing file is never replaced.",
        Effect::Reversible,
        json!({
            "from": {"type": "string", "minLength": 1, "maxLength": 400, "description": "What to move, relative to the workspace."},
            "to": {"type": "string", "minLength": 1, "maxLength": 400, "description": "Its new path, or an existing folder to put it in."},
        }),
        2,
    )
}

pub(in crate::builtin) fn plan(workspace: &Workspace, args: &Value) -> Result<Plan, ToolError> {
    let Args { from, to: raw } = arguments(args)?;
    let from = workspace.place(&workspace.parse(&from)?)?;
    let Some(metadata) = from.metadata()? else {
        return Err(workspace.not_found(from.path()));
    };
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(rejected(format!(
            "{} is neither a file nor a folder; leave it alone",
            from.path()
        )));
    }
    let mut target = workspace.parse(&raw)?;
    // As `mv` does: into a folder, under the same name.
    if target.is_root() || raw.ends_with('/') || workspace.root().is_dir(target.as_path()) {
        target = target.join(from.path().name());
    }
    let to = workspace.place(&target)?;
    if from.path() == to.path() {
        let said = format!("{} is there already; nothing changed", from.path());
        return Ok(Plan {
            said,
            act: Act::Nothing,
        });
    }
    if to.path().below(from.path()).is_some() {
        return Err(rejected(format!(
            "{} cannot be moved into itself ({})",
            from.path(),
            to.path()
        )));
    }
    if to.metadata()?.is_some() {
        return Err(already_there(to.path()));
    }
    let said = format!("moved {} to {}", from.path(), to.path());
    Ok(Plan {
        said,
        act: Act::Move { from, to },
    })
}
