//! `edit_file`: replaces a piece of text that stands in a file exactly once.

use std::borrow::Cow;

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use similar::get_close_matches;

use super::{
    super::{
        arguments,
        change::{Act, Plan, read_all},
    },
    writable,
};
use crate::{
    text::{Content, LineCount, head, many, sniff},
    workspace::{Inside, Workspace, rejected},
};

/// Larger files are edited by a command.
const EDITED: u64 = 32 * 1024 * 1024;
/// How many lines are compared with what was not found, and how much of a line is shown.
const COMPARED: usize = 5_000;
const SHOWN: usize = 300;
/// How many places of several are named.
const NAMED: usize = 10;

#[derive(Deserialize)]
struct Args {
    path: String,
    old: String,
    new: String,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "edit_file",
        "Replace one piece of text in a file. `old` must stand in the file exactly once, so give whole lines, exactly as read_file shows them.",
        Effect::Reversible,
        json!({
            "path": {"type": "string", "minLength": 1, "description": "The file, relative to the workspace."},
            "old": {"type": "string", "minLength": 1, "description": "The text to replace."},
            "new": {"type": "string", "description": "The text to put there."},
        }),
        3,
    )
}

pub(in crate::builtin) fn plan(workspace: &Workspace, args: &Value) -> Result<Plan, ToolError> {
    let Args { path, old, new } = arguments(args)?;
    let place = workspace.place(&workspace.parse(&path)?)?;
    writable(&place)?;
    let path = place.path();
    let Some(metadata) = place.metadata()? else {
        return Err(workspace.not_found(path));
    };
    if metadata.is_dir() {
        return Err(rejected(format!(
            "{path} is a folder; name a file in it{}",
            workspace.names_in(path)
        )));
    }
    if !metadata.is_file() || metadata.len() > EDITED {
        return Err(rejected(format!(
            "{path} is too large or no plain file; edit it with run_command"
        )));
    }
    let bytes = read_all(&place)?;
    if let Content::Binary(kind) = sniff(&bytes) {
        return Err(rejected(format!(
            "{path} is binary ({kind}) and cannot be edited as text"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        rejected(format!(
            "{path} is not UTF-8 text; edit it with run_command"
        ))
    })?;
    let edit = find(path, &text, &old, &new)?;
    let (before, rest) = (
        text.get(..edit.at).unwrap_or_default(),
        text.get(edit.at + edit.old.len()..),
    );
    let edited = [before, &edit.new, rest.unwrap_or_default()].concat();
    let line = line_of(&text, edit.at);
    let total = LineCount::of(edited.as_bytes());
    let said = format!(
        "edited {path} at line {line}: {} replaced with {}; it has {} now",
        many(LineCount::of(edit.old.as_bytes()), "line"),
        many(LineCount::of(edit.new.as_bytes()), "line"),
        many(total, "line")
    );
    Ok(Plan {
        said,
        act: Act::Write {
            place,
            bytes: edited.into_bytes(),
        },
    })
}

struct Edit<'a> {
    at: usize,
    old: Cow<'a, str>,
    new: Cow<'a, str>,
}

fn find<'a>(path: &Inside, text: &str, old: &'a str, new: &'a str) -> Result<Edit<'a>, ToolError> {
    if old.is_empty() {
        return Err(rejected(format!(
            "old is empty; give the text to replace, or use write_file {{\"path\":\"{path}\"}} to write the whole file"
        )));
    }
    if old == new {
        return Err(rejected(
            "old and new are the same, so there is nothing to change".to_owned(),
        ));
    }
    let mut edit = Edit {
        at: 0,
        old: old.into(),
        new: new.into(),
    };
    let mut places: Vec<_> = text.match_indices(old).map(|(at, _)| at).collect();
    if places.is_empty() && text.contains("\r\n") && !old.contains('\r') {
        // Lines are shown without the carriage returns of Windows, so they come back without.
        edit.old = old.replace('\n', "\r\n").into();
        edit.new = new.replace("\r\n", "\n").replace('\n', "\r\n").into();
        places = text
            .match_indices(edit.old.as_ref())
            .map(|(at, _)| at)
            .collect();
    }
    match *places {
        [at] => Ok(Edit { at, ..edit }),
        [] => Err(absent(path, text, old, new)),
        _ => Err(ambiguous(path, text, &places)),
    }
}

fn ambiguous(path: &Inside, text: &str, places: &[usize]) -> ToolError {
    let lines: Vec<_> = places
        .iter()
        .take(NAMED)
        .map(|&at| line_of(text, at).to_string())
        .collect();
    let more = if places.len() > NAMED {
        " and more"
    } else {
        ""
    };
    rejected(format!(
        "old stands in {path} {} times, at lines {}{more}; nothing was changed. Give more of the lines around the one you mean, so that old stands there only once",
        places.len(),
        lines.join(", ")
    ))
}

fn absent(path: &Inside, text: &str, old: &str, new: &str) -> ToolError {
    let nothing = format!("old does not stand in {path}; nothing was changed.");
    if text.is_empty() {
        return rejected(format!(
            "{path} is empty; use write_file {{\"path\":\"{path}\"}} to fill it"
        ));
    }
    if !new.trim().is_empty() && text.contains(new) {
        return rejected(format!(
            "{nothing} new stands there already, so it may be done"
        ));
    }
    if let Some((from, lines)) = but_for_blanks(text, old) {
        return rejected(format!(
            "{nothing} Blanks differ. From line {from} the file has exactly:\n{}",
            head(&lines, 4 * SHOWN)
        ));
    }
    let wanted = old
        .lines()
        .map(str::trim)
        .max_by_key(|line| line.len())
        .unwrap_or_default();
    let lines: Vec<_> = text
        .lines()
        .take(COMPARED)
        .map(|line| head(line.trim(), SHOWN))
        .collect();
    let mut close = get_close_matches(head(wanted, SHOWN), &lines, 3, 0.5);
    close.dedup();
    let shown: Vec<_> = text
        .lines()
        .take(COMPARED)
        .enumerate()
        .filter(|(_, line)| close.contains(&head(line.trim(), SHOWN)))
        .take(3)
        .map(|(index, line)| format!("line {}: {}", index + 1, head(line, SHOWN)))
        .collect();
    if shown.is_empty() {
        return rejected(format!(
            "{nothing} Use read_file {{\"path\":\"{path}\"}} and copy the text from there"
        ));
    }
    rejected(format!("{nothing} The closest is\n{}", shown.join("\n")))
}

/// Where the lines of `old` stand if blanks at their ends and between words do not count.
fn but_for_blanks(text: &str, old: &str) -> Option<(usize, String)> {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let wanted: Vec<_> = old.trim().lines().map(words).collect();
    let lines: Vec<_> = text.lines().take(COMPARED).collect();
    let found = lines.windows(wanted.len().max(1)).position(|window| {
        window
            .iter()
            .zip(&wanted)
            .all(|(line, wanted)| words(line) == *wanted)
    })?;
    let exact = lines.get(found..found + wanted.len())?.join("\n");
    Some((found + 1, exact))
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at)
        .map_or(1, |before| before.matches('\n').count() + 1)
}
