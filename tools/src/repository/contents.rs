//! What is in a workspace, with the texts themselves as far as there is room, for a model that works by
//! programs: what it sees it need not print, and a program for texts that were never seen is a guess.

use std::{collections::BTreeMap, fmt::Write as _, io::Read as _};

use gpak_kernel::tool::ToolError;

use crate::{
    text::{Content, LineCount, head, many, sniff},
    walk::{Kind, Walk, walk},
    workspace::{Inside, Workspace},
};

/// Files that are looked at.
const SEEN: usize = 4000;
/// Files that are listed one by one; of more, the folders are listed.
const LISTED: usize = 60;
/// Bytes of a file that is shown whole.
const WHOLE: usize = 1500;
/// Bytes of the beginning of one that is longer.
const BEGINNING: usize = 500;
/// Bytes of a file that are read at most.
const READ: u64 = 1 << 20;

struct Entry {
    path: Inside,
    size: u64,
    /// What is shown of it, if it is text.
    text: Option<Text>,
    is_shown: bool,
}

struct Text {
    shown: String,
    lines: u64,
    is_whole: bool,
}

/// The files of a workspace in about `limit` bytes: the smallest with what they hold.
pub(super) fn contents(workspace: &Workspace, limit: usize) -> Result<String, ToolError> {
    let mut found = Vec::new();
    let options = Walk {
        recursive: true,
        globs: None,
    };
    walk(workspace, &Inside::default(), &options, |one| {
        if one.kind == Kind::File {
            found.push(one.path);
        }
        Ok(found.len() < SEEN)
    })?;
    if found.len() > LISTED {
        return Ok(folders(&found, limit));
    }
    let mut entries: Vec<Entry> = found
        .into_iter()
        .filter_map(|path| look(workspace, path))
        .collect();
    choose(&mut entries, limit);
    Ok(entries.iter().fold(String::new(), |mut all, entry| {
        entry.write(&mut all);
        all
    }))
}

/// A file, or none if it cannot be opened: it is then not there for a program either.
fn look(workspace: &Workspace, path: Inside) -> Option<Entry> {
    let (file, metadata) = workspace.open_at(&path).ok()?;
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes).ok()?;
    let size = metadata.len();
    let is_text = !matches!(sniff(&bytes), Content::Binary(_)) && size <= READ;
    let text = is_text.then(|| {
        let all = String::from_utf8_lossy(&bytes);
        let is_whole = all.len() <= WHOLE;
        let shown = match is_whole {
            true => &all,
            false => head(&all, BEGINNING),
        };
        Text {
            shown: shown.trim_end_matches('\n').to_owned(),
            lines: LineCount::of(&bytes),
            is_whole,
        }
    });
    Some(Entry {
        path,
        size,
        text,
        is_shown: false,
    })
}

/// Shows the smallest texts, as many as there is room for.
fn choose(entries: &mut [Entry], limit: usize) {
    let names: usize = entries
        .iter()
        .map(|entry| entry.path.as_str().len() + 32)
        .sum();
    let mut left = limit.saturating_sub(names);
    let mut texts: Vec<&mut Entry> = entries.iter_mut().filter(|e| e.text.is_some()).collect();
    texts.sort_by_key(|entry| entry.text.as_ref().map_or(0, |text| text.shown.len()));
    for entry in texts {
        let size = entry.text.as_ref().map_or(0, |text| text.shown.len());
        let Some(rest) = left.checked_sub(size) else {
            break;
        };
        left = rest;
        entry.is_shown = true;
    }
}

impl Entry {
    fn write(&self, all: &mut String) {
        let path = &self.path;
        let _ = match self.text.as_ref() {
            Some(text) if self.is_shown => {
                let lines = many(text.lines, "line");
                let _ = write!(all, "--- {path} ({lines})\n{}\n", text.shown);
                match text.is_whole {
                    true => Ok(()),
                    false => writeln!(all, "[… only the beginning of its {lines} is shown]"),
                }
            }
            Some(text) => writeln!(all, "{path} ({}, not shown)", many(text.lines, "line")),
            None => writeln!(all, "{path} ({}, not shown)", many(self.size, "byte")),
        };
    }
}

/// The folders of many files, with how many of which kind are in each.
fn folders(files: &[Inside], limit: usize) -> String {
    let mut folders: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
    for file in files {
        let folder = file.parent().unwrap_or_default();
        let kind = file
            .name()
            .rsplit_once('.')
            .map_or("other", |(_, kind)| kind);
        *folders
            .entry(folder.as_str().to_owned())
            .or_default()
            .entry(kind)
            .or_default() += 1;
    }
    let mut all = String::new();
    let count = folders.len();
    for (at, (folder, kinds)) in folders.into_iter().enumerate() {
        let kinds: Vec<_> = kinds
            .into_iter()
            .map(|(kind, count)| format!("{count} .{kind}"))
            .collect();
        let folder = if folder.is_empty() { "." } else { &folder };
        let line = format!("{folder}/ ({})\n", kinds.join(", "));
        if all.len() + line.len() > limit {
            let _ = writeln!(all, "… and {} more folders", count - at);
            break;
        }
        all.push_str(&line);
    }
    all
}
