//! `edit_file`: replaces a piece of text that stands in a file exactly once, or every time it stands there.

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
    spelling::Words,
    text::{Content, LineCount, head, many, sniff},
    workspace::{Inside, Place, Workspace, rejected},
};

/// Larger files are edited by a command, and none is made larger by replacing many places.
const EDITED: u64 = 32 * 1024 * 1024;
/// How many lines are compared with what was not found, and how much of a line is shown.
const COMPARED: usize = 5_000;
/// How like `old` a line must be, from 0 to 1, to be what was meant.
const ALIKE: f32 = 0.8;
const SHOWN: usize = 300;
/// How many places of several are named.
const NAMED: usize = 10;

#[derive(Deserialize)]
struct Args {
    path: String,
    old: String,
    new: String,
    all: Option<bool>,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "edit_file",
        "Replace text in a file. `old` must stand in the file exactly as given, and only once, unless `all` is true.",
        Effect::Reversible,
        json!({
            "path": {"type": "string", "minLength": 1, "maxLength": 400, "description": "The file, relative to the workspace."},
            "old": {"type": "string", "minLength": 1, "description": "The text to replace."},
            "new": {"type": "string", "description": "The text to put there."},
            "all": {"type": "boolean", "description": "Whether to replace it everywhere in the file."},
        }),
        3,
    )
}

pub(in crate::builtin) fn plan(workspace: &Workspace, args: &Value) -> Result<Plan, ToolError> {
    let Args {
        path,
        old,
        new,
        all,
    } = arguments(args)?;
    let place = workspace.place(&workspace.parse(&path)?)?;
    writable(&place)?;
    let path = place.path();
    let text = text_of(workspace, &place)?;
    let edit = find(path, &text, &old, &new, all.unwrap_or(false))?;
    if edit.times > 1 && edit.size_in(&text) > EDITED {
        return Err(rejected(format!(
            "old stands in {path} {} times, and with new in its place everywhere the file would be too large; nothing was changed. Give a shorter new, or more of the lines around the place you mean",
            edit.times
        )));
    }
    let edited = text.replace(edit.old.as_ref(), &edit.new);
    let line = line_of(&text, edit.at);
    let (places, each) = match edit.times {
        1 => (format!("at line {line}"), ""),
        times => (
            format!("in {times} places, the first at line {line}"),
            " each",
        ),
    };
    let said = format!(
        "edited and saved {path} {places}: {} replaced with {}{each}; it has {} now",
        many(LineCount::of(edit.old.as_bytes()), "line"),
        many(LineCount::of(edit.new.as_bytes()), "line"),
        many(LineCount::of(edited.as_bytes()), "line")
    );
    Ok(Plan {
        said,
        act: Act::Write {
            place,
            bytes: edited.into_bytes(),
        },
    })
}

fn text_of(workspace: &Workspace, place: &Place) -> Result<String, ToolError> {
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
    let bytes = read_all(place)?;
    if let Content::Binary(kind) = sniff(&bytes) {
        return Err(rejected(format!(
            "{path} is binary ({kind}) and cannot be edited as text"
        )));
    }
    String::from_utf8(bytes).map_err(|_| {
        rejected(format!(
            "{path} is not UTF-8 text; edit it with run_command"
        ))
    })
}

struct Edit<'a> {
    /// Where it stands first.
    at: usize,
    /// How often it stands there.
    times: usize,
    old: Cow<'a, str>,
    new: Cow<'a, str>,
}

impl Edit<'_> {
    /// How many bytes `text` has once it is made.
    fn size_in(&self, text: &str) -> u64 {
        let (times, old, new) = (self.times as u64, self.old.len(), self.new.len());
        (text.len() as u64)
            .saturating_sub(times.saturating_mul(old as u64))
            .saturating_add(times.saturating_mul(new as u64))
    }
}

fn find<'a>(
    path: &Inside,
    text: &str,
    old: &'a str,
    new: &'a str,
    all: bool,
) -> Result<Edit<'a>, ToolError> {
    if old.is_empty() {
        return Err(rejected(format!(
            "old is empty; give the text to replace, or use write_file {{\"path\":\"{path}\"}} to write the whole file"
        )));
    }
    if old == new {
        let meant = match text.contains(old) {
            true => None,
            false => meant(path, text, old, new),
        };
        return Err(rejected(format!(
            "old and new are the same, so there is nothing to change{}",
            meant.map_or_else(String::new, |meant| format!(". {meant}"))
        )));
    }
    let mut edit = Edit {
        at: 0,
        times: 0,
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
        [] => Err(absent(path, text, old, new)),
        [at, ref more @ ..] if all || more.is_empty() => Ok(Edit {
            at,
            times: places.len(),
            ..edit
        }),
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
        "old stands in {path} {} times, at lines {}{more}; nothing was changed. Give more of the lines around the one you mean, so that old stands there only once, or replace it everywhere with \"all\":true",
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
    if let Some(meant) = meant(path, text, old, new) {
        return rejected(format!("{nothing} {meant}"));
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

/// The call that may have been meant: with the line or the word that is most like a short `old`.
fn meant(path: &Inside, text: &str, old: &str, new: &str) -> Option<String> {
    let lines = text.lines().take(COMPARED);
    let (stands, place) = if Words::can_be_close(old) {
        let mut words = Words::default();
        for (index, line) in lines.enumerate() {
            words.add(|| format!("line {}", index + 1), line);
        }
        words.closest_to(old)?
    } else {
        let old = old.trim();
        if old.contains('\n') || old.len() > SHOWN {
            return None;
        }
        let lines: Vec<_> = lines
            .map(str::trim)
            .filter(|line| line.len() <= SHOWN)
            .collect();
        let close = get_close_matches(old, &lines, 2, ALIKE);
        let [line] = *close else { return None };
        (line.to_owned(), String::from("a line"))
    };
    let call = json!({"path": path.as_str(), "old": stands, "new": new});
    Some(format!(
        "It has \"{stands}\" ({place}): did you mean edit_file {call}?"
    ))
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
