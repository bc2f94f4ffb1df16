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
            "path": {"type": "string", "description": "The folder, relative to the workspace; \".\" if left out."},
            "recursive": {"type": "boolean", "description": "Whether to list the folders inside it too."},
            "glob": {"type": "string", "minLength": 1, "description": "Only files like this, in all folders inside: \"*.md\"."},
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
    let mut counted = 0;
    if !metadata.is_dir() {
        let entry = look(
            reader,
            Found {
                path: real,
                kind: Kind::File,
            },
            &mut counted,
        )?;
        let about = entry.map(|entry| entry.about).unwrap_or_default();
        return Ok(format!(
            "{path} is a file, not a folder: {about}; use read_file {{\"path\":\"{path}\"}} to read it"
        ));
    }
    let globs = glob
        .as_deref()
        .map(|glob| Globs::new(workspace, &real, glob))
        .transpose()?;
    let options = Walk {
        recursive: recursive.unwrap_or(globs.is_some()),
        globs,
    };
    let (mut entries, mut seen) = (Vec::new(), 0);
    walk(workspace, &real, &options, |found| {
        reader.stop.check()?;
        seen += 1;
        entries.extend(look(reader, found, &mut counted)?);
        Ok(seen < SEEN)
    })?;
    match sort.unwrap_or(Sort::Name) {
        Sort::Name => {}
        Sort::Lines => entries.sort_by_key(|entry| std::cmp::Reverse(entry.lines)),
        Sort::Size => entries.sort_by_key(|entry| std::cmp::Reverse(entry.size)),
    }
    if entries.is_empty() {
        return Ok(match glob {
            Some(glob) => format!("no file under {path} matches {glob}"),
            None => format!("{path} is an empty folder"),
        });
    }
    let mut notes = Vec::new();
    if seen >= SEEN {
        notes.push(format!(
            "only the first {SEEN} were looked at, there are more"
        ));
    }
    if options.recursive && workspace.root().exists(".gitignore") {
        notes.push("without what .gitignore leaves out".to_owned());
    }
    Ok(show(reader, &path, &entries, &notes))
}

fn show(reader: &Reader<'_>, path: &Inside, entries: &[Entry], notes: &[String]) -> String {
    let mut text = head(path, entries, notes);
    for (index, entry) in entries.iter().enumerate() {
        let end = if entry.kind == Kind::Folder { "/" } else { "" };
        let line = format!("\n{}{end} ({})", entry.path, entry.about);
        if text.len() + line.len() > reader.output_bytes {
            text += &format!(
                "\n…truncated: {index} of {} shown; list a folder inside, or give a glob like \"*.md\"",
                entries.len()
            );
            break;
        }
        text += &line;
    }
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
    let mut counted: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry.lines?, entry.path.as_str())))
        .collect();
    if counted.len() > 1 {
        let lines = counted.iter().map(|(lines, _)| lines).sum();
        parts.push(format!("{} in all", many(lines, "line")));
    }
    let mut text = format!("{path}: {}", parts.join(", "));
    for note in notes {
        text += &format!("; {note}");
    }
    // A small model does not find the longest of thirty by itself.
    if counted.len() > 5 {
        counted.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
        let longest: Vec<_> = counted
            .iter()
            .take(3)
            .map(|(lines, path)| format!("{path} ({})", many(*lines, "line")))
            .collect();
        text += &format!("\nthe longest: {}", longest.join(", "));
    }
    text
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
                Summary::Text { lines } => {
                    entry.lines = Some(lines);
                    format!("{}, {size}", many(lines, "line"))
                }
            };
        }
    }
    Ok(Some(entry))
}
