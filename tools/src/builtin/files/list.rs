//! `list_files`: what is in a folder, with the number of lines of each text file.

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Reader, arguments};
use crate::{
    text::{Summary, many, summarize},
    walk::{Found, Globs, Kind, Walk, is_gone, walk},
    workspace::{Inside, io_error, rejected},
};

/// Lines are counted in files up to this size, and in this many bytes in all.
const COUNTED: u64 = 16 * 1024 * 1024;
const COUNTED_IN_ALL: u64 = 256 * 1024 * 1024;
/// More entries are not looked at.
const SEEN: usize = 20_000;
/// Where a call does not say whether to list the folders inside too, they are if that makes no more entries.
const SMALL: usize = 40;

/// Of so many files the three longest are said, of fewer the longest.
const MANY: usize = 6;
/// In a list of at most so many, how each file begins is shown.
const BEGUN: usize = 12;

#[derive(Deserialize)]
struct Args {
    path: Option<String>,
    recursive: Option<bool>,
    glob: Option<String>,
    sort: Option<Sort>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Sort {
    Name,
    Lines,
    Size,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "list_files",
        "List the files in a folder, each with its number of lines and its size.",
        Effect::Pure,
        json!({
            "path": {"type": "string", "maxLength": 400, "description": "The folder, relative to the workspace; \".\" if left out."},
            "recursive": {"type": "boolean", "description": "Whether to list the folders inside it too; if left out, only where there is little in them."},
            "glob": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Only files with such a name, in all folders inside; all files if left out."},
            "sort": {"type": "string", "enum": ["name", "lines", "size"], "description": "By name, or the longest or the largest first."},
        }),
        0,
    )
}

/// A line of the list.
struct Entry {
    path: Inside,
    kind: Kind,
    size: u64,
    lines: Option<u64>,
    first: String,
    about: String,
}

pub(in crate::builtin) fn list(reader: &Reader<'_>, args: &Value) -> Result<String, ToolError> {
    let Args {
        path,
        recursive,
        glob,
        sort,
    } = arguments(args)?;
    let workspace = &reader.workspace;
    let path = workspace.parse(path.as_deref().unwrap_or("."))?;
    let real = workspace.locate(&path)?;
    let (_, metadata) = workspace
        .open_located(&real)
        .map_err(|e| io_error("open", &path, &e))?;
    if !metadata.is_dir() {
        let file = Found {
            path: real,
            kind: Kind::File,
        };
        let about = look(reader, file, &mut 0)?.map(|entry| entry.about);
        return Ok(format!(
            "{path} is a file, not a folder: {}; use read_file {{\"path\":\"{path}\"}} to read it",
            about.unwrap_or_default()
        ));
    }
    let (chosen, unmatched) = match glob.as_deref() {
        None => (choose(reader, &real, recursive)?, None),
        Some(glob) => {
            let matching = matching(reader, &real, glob)?;
            if matching.found.is_empty() {
                (choose(reader, &real, recursive)?, Some(glob))
            } else {
                (matching, None)
            }
        }
    };
    let notes = notes(reader, &chosen, unmatched);
    let mut entries = look_at(reader, chosen.found)?;
    if entries.is_empty() {
        return Ok(format!("{path} is an empty folder"));
    }
    match sort.unwrap_or(Sort::Name) {
        Sort::Name => {}
        Sort::Lines => entries.sort_by_key(|entry| std::cmp::Reverse(entry.lines)),
        Sort::Size => entries.sort_by_key(|entry| std::cmp::Reverse(entry.size)),
    }
    Ok(show(reader, &path, &entries, &notes))
}

/// What is in the workspace, where that is little enough to be told with the task.
pub(crate) fn overview(reader: &Reader<'_>) -> Result<Option<String>, ToolError> {
    let root = Inside::default();
    let chosen = choose(reader, &root, None)?;
    if chosen.found.is_empty() || chosen.found.len() > SMALL {
        return Ok(None);
    }
    let notes = notes(reader, &chosen, None);
    let entries = look_at(reader, chosen.found)?;
    Ok(Some(show(reader, &root, &entries, &notes)))
}

fn look_at(reader: &Reader<'_>, found: Vec<Found>) -> Result<Vec<Entry>, ToolError> {
    let (mut entries, mut counted) = (Vec::new(), 0);
    for found in found {
        reader.stop.check()?;
        entries.extend(look(reader, found, &mut counted)?);
    }
    Ok(entries)
}

/// What is to be listed, by name.
struct Chosen {
    found: Vec<Found>,
    /// Whether it was looked for in the folders inside too.
    deep: bool,
}

fn matching(reader: &Reader<'_>, folder: &Inside, glob: &str) -> Result<Chosen, ToolError> {
    let options = Walk {
        recursive: true,
        globs: Some(Globs::new(&reader.workspace, folder, glob)?),
    };
    Ok(Chosen {
        found: collect(reader, folder, &options, SEEN)?,
        deep: true,
    })
}

fn choose(
    reader: &Reader<'_>,
    folder: &Inside,
    recursive: Option<bool>,
) -> Result<Chosen, ToolError> {
    let walk = |recursive, most| {
        let options = Walk {
            recursive,
            globs: None,
        };
        collect(reader, folder, &options, most)
    };
    if let Some(deep) = recursive {
        let found = walk(deep, SEEN)?;
        return Ok(Chosen { found, deep });
    }
    // Both walks: what stands in the folder itself is listed even if it is ignored.
    let mut found = walk(false, SEEN)?;
    let mut within = walk(true, SMALL + 1)?;
    let seen = within.len();
    within.retain(|one| one.path.parent().as_ref() != Some(folder));
    let deep = !within.is_empty() && seen <= SMALL && found.len() + within.len() <= SMALL;
    if deep {
        found.append(&mut within);
        found.sort_by(|a, b| a.path.names().cmp(b.path.names()));
    }
    Ok(Chosen { found, deep })
}

fn collect(
    reader: &Reader<'_>,
    folder: &Inside,
    options: &Walk,
    most: usize,
) -> Result<Vec<Found>, ToolError> {
    let mut all = Vec::new();
    walk(&reader.workspace, folder, options, |found| {
        reader.stop.check()?;
        all.push(found);
        Ok(all.len() < most)
    })?;
    Ok(all)
}

fn notes(reader: &Reader<'_>, chosen: &Chosen, unmatched: Option<&str>) -> Vec<String> {
    let mut notes = Vec::new();
    if chosen.found.len() >= SEEN {
        notes.push(format!(
            "only the first {SEEN} were looked at, there are more"
        ));
    }
    let passed_by = chosen.deep || unmatched.is_some();
    if passed_by && reader.workspace.root().exists(".gitignore") {
        notes.push("without what .gitignore leaves out".to_owned());
    }
    if let Some(glob) = unmatched {
        let is_all = chosen.deep || chosen.found.iter().all(|one| one.kind != Kind::Folder);
        notes.push(if is_all {
            format!("nothing matches {glob}, so this is all there is")
        } else {
            format!("nothing matches {glob}, so this is what is in the folder itself")
        });
    }
    notes
}

fn show(reader: &Reader<'_>, path: &Inside, entries: &[Entry], notes: &[String]) -> String {
    let mut text = head(path, entries, notes);
    let longest = longest(entries).unwrap_or_default();
    let begun = entries.len() <= BEGUN;
    for (index, entry) in entries.iter().enumerate() {
        let end = if entry.kind == Kind::Folder { "/" } else { "" };
        let mut line = format!("\n{}{end} ({})", entry.path, entry.about);
        if begun && !entry.first.is_empty() {
            line += &format!(" begins: {}", entry.first);
        }
        if text.len() + line.len() + longest.len() > reader.output_bytes {
            text += &format!(
                "\n…truncated: {index} of {} shown; list a folder inside, or give a glob like \"*.md\"",
                entries.len()
            );
            break;
        }
        text += &line;
    }
    text += &longest;
    text
}

/// `docs: 2 files, 1 folder, 45 lines in all`
fn head(path: &Inside, entries: &[Entry], notes: &[String]) -> String {
    let folders = entries
        .iter()
        .filter(|entry| entry.kind == Kind::Folder)
        .count() as u64;
    let files = entries.len() as u64 - folders;
    let mut parts = Vec::new();
    if files > 0 || folders == 0 {
        parts.push(many(files, "file"));
    }
    if folders > 0 {
        parts.push(many(folders, "folder"));
    }
    let counted = counted(entries);
    if counted.len() > 1 {
        let lines = counted.iter().map(|(lines, _)| lines).sum();
        parts.push(format!("{} in all", many(lines, "line")));
    }
    let mut text = format!("{path}: {}", parts.join(", "));
    for note in notes {
        text += &format!("; {note}");
    }
    text
}

/// A small model does not find the longest of four by itself, nor what stands above a long list.
fn longest(entries: &[Entry]) -> Option<String> {
    let mut counted = counted(entries);
    if counted.len() < 3 {
        return None;
    }
    counted.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    if counted.len() < MANY {
        let (lines, path) = counted.first()?;
        return Some(format!("\nthe longest: {path} ({})", many(*lines, "line")));
    }
    let longest: String = (1..=3)
        .zip(&counted)
        .map(|(place, (lines, path))| format!("\n{place}. {path} ({})", many(*lines, "line")))
        .collect();
    Some(format!("\nthe three longest of them:{longest}"))
}

/// The files of which the lines are known.
fn counted(entries: &[Entry]) -> Vec<(u64, &str)> {
    entries
        .iter()
        .filter_map(|entry| Some((entry.lines?, entry.path.as_str())))
        .collect()
}

/// `None` if it is gone.
fn look(reader: &Reader<'_>, found: Found, counted: &mut u64) -> Result<Option<Entry>, ToolError> {
    let workspace = &reader.workspace;
    let Found { path, kind } = found;
    let mut entry = Entry {
        path,
        kind,
        size: 0,
        lines: None,
        first: String::new(),
        about: String::new(),
    };
    match kind {
        Kind::Folder => {
            let entries = workspace
                .root()
                .read_dir(entry.path.as_path())
                .map_or(0, Iterator::count);
            entry.about = many(entries as u64, "entry");
        }
        Kind::Link => {
            let target = workspace
                .root()
                .read_link_contents(entry.path.as_path())
                .unwrap_or_default();
            let is_inside = workspace.locate(&entry.path).is_ok();
            let about = if is_inside {
                ""
            } else {
                ", which is not in the workspace"
            };
            entry.about = format!("link to {}{about}", target.display());
        }
        Kind::Other => entry.about = "neither a file nor a folder".to_owned(),
        Kind::File => {
            let (file, metadata) = match workspace.open_located(&entry.path) {
                Ok(opened) => opened,
                Err(e) if is_gone(&e) => return Ok(None),
                Err(_) => {
                    entry.about = "cannot be read".to_owned();
                    return Ok(Some(entry));
                }
            };
            entry.size = metadata.len();
            let size = many(entry.size, "byte");
            if entry.size > COUNTED || *counted + entry.size > COUNTED_IN_ALL {
                entry.about = format!("{size}; lines not counted, read_file counts them");
                return Ok(Some(entry));
            }
            *counted += entry.size;
            let summary = summarize(file, reader.stop)
                .map_err(|e| rejected(format!("cannot read {}: {e}", entry.path)))?;
            entry.about = match summary {
                Summary::Binary(kind) => format!("{size}, {kind}"),
                Summary::Text { lines, first } => {
                    entry.lines = Some(lines);
                    entry.first = first;
                    format!("{}, {size}", many(lines, "line"))
                }
            };
        }
    }
    Ok(Some(entry))
}
