//! `write_file`: makes a file, or replaces all of it.

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        arguments,
        change::{Act, Plan, read_all},
    },
    writable,
};
use crate::{
    text::{LineCount, many},
    undo::SAVED_LIMIT,
    workspace::{Workspace, rejected},
};

/// Files of so few lines are replaced without a question.
const LITTLE: u64 = 3;

#[derive(Deserialize)]
struct Args {
    path: String,
    content: String,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "write_file",
        "Write a text file: a new one, or all of an existing one anew. Folders are made as needed. To change a part of a file, use edit_file.",
        Effect::Reversible,
        json!({
            "path": {"type": "string", "minLength": 1, "maxLength": 400, "description": "The file, relative to the workspace."},
            "content": {"type": "string", "description": "All of its text."},
        }),
        2,
    )
}

pub(in crate::builtin) fn plan(workspace: &Workspace, args: &Value) -> Result<Plan, ToolError> {
    let Args { path: raw, content } = arguments(args)?;
    if content
        .lines()
        .any(|line| line.starts_with("<file path=\""))
    {
        return Err(rejected(
            "content has a line <file …>, which only marks what read_file shows and stands in no file; nothing was written. Give the text alone, or use edit_file to change a part of it".to_owned(),
        ));
    }
    let path = workspace.parse(&raw)?;
    let folder = |path| {
        rejected(format!(
            "{path} is a folder; name a file in it: \"{path}/notes.md\""
        ))
    };
    if raw.ends_with('/') && !path.is_root() {
        return Err(folder(&path));
    }
    let place = workspace.place(&path)?;
    writable(&place)?;
    let path = place.path();
    let size = format!(
        "{}, {}",
        many(LineCount::of(content.as_bytes()), "line"),
        many(content.len() as u64, "byte")
    );
    let mut said = format!("wrote {path} ({size})");
    match place.metadata()? {
        Some(metadata) if metadata.is_dir() => return Err(folder(path)),
        Some(metadata) if !metadata.is_file() => {
            return Err(rejected(format!(
                "{path} is neither a file nor a folder; choose another path"
            )));
        }
        Some(metadata) if metadata.len() <= SAVED_LIMIT => {
            let before = read_all(&place)?;
            if before == content.as_bytes() {
                let said =
                    format!("{path} has exactly this content already ({size}); nothing changed");
                return Ok(Plan {
                    said,
                    act: Act::Nothing,
                });
            }
            let lines = LineCount::of(&before);
            let (few, many) = (LineCount::of(content.as_bytes()), many(lines, "line"));
            if lines > LITTLE && few * 2 < lines {
                return Err(rejected(format!(
                    "{path} is there already and has {many}, most of which would be lost; nothing was written. To change a part of it use edit_file; to write it anew give all of its text"
                )));
            }
            said += &format!("; it had {many} before");
        }
        _ => {}
    }
    Ok(Plan {
        said,
        act: Act::Write {
            place,
            bytes: content.into_bytes(),
        },
    })
}
