//! `search_files`: the lines that match, as ripgrep finds them.

mod instead;

use std::io::{self, Read};

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use grep_matcher::Matcher as _;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, sinks::Lossy};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Reader, arguments};
use crate::{
    text::{Stop, head, many},
    walk::{Globs, Kind, Walk, walk},
    workspace::{Inside, rejected},
};

/// More matching lines are not counted.
const COUNTED: u64 = 100_000;
/// How much of a line is shown, and how much of it before the match.
const SHOWN: usize = 300;
const SHOWN_BEFORE: usize = 100;
/// Lines longer than this are not searched.
const LINE: usize = 32 * 1024 * 1024;

#[derive(Deserialize)]
struct Args {
    pattern: String,
    path: Option<String>,
    glob: Option<String>,
}

pub(super) fn spec() -> ToolSpec {
    super::spec(
        "search_files",
        "Search the text of files. Gives each line that matches, with its file and line number.",
        Effect::Pure,
        json!({
            "pattern": {"type": "string", "minLength": 1, "maxLength": 400, "description": "What to search: a word, or a regular expression."},
            "path": {"type": "string", "maxLength": 400, "description": "The folder or file to search, relative to the workspace; \".\" if left out."},
            "glob": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Only files with such a name; all files if left out."},
        }),
        1,
    )
}

pub(super) fn search(reader: &Reader<'_>, args: &Value) -> Result<String, ToolError> {
    let Args {
        pattern,
        path,
        glob,
    } = arguments(args)?;
    if pattern.contains('\n') {
        return Err(rejected("pattern has a line break, and lines are searched one by one; search for one line of it".to_owned()));
    }
    let workspace = &reader.workspace;
    let path = workspace.parse(path.as_deref().unwrap_or("."))?;
    let real = workspace.locate(&path)?;
    let mut notes = Vec::new();
    let mut files = files_of(reader, &real, glob.as_deref())?;
    if let Some(glob) = glob.filter(|_| files.is_empty()) {
        files = files_of(reader, &real, None)?;
        notes.push(format!("no file matches {glob}, so all were searched"));
    }
    let matcher = matcher(&pattern, false, &mut notes)?;
    let mut hits = Hits::default();
    hits.search_all(reader, &matcher, &files)?;
    if hits.lines == 0 && pattern.chars().any(char::is_alphabetic) {
        let matcher = self::matcher(&pattern, true, &mut Vec::new())?;
        hits = Hits::default();
        hits.search_all(reader, &matcher, &files)?;
        if hits.lines > 0 {
            notes.push(
                "upper and lower case taken as the same, as nothing matched exactly".to_owned(),
            );
        }
    }
    let mut text = hits.show(&pattern, &path, files.len() as u64, &notes);
    if hits.lines == 0 {
        text += &instead::of(reader, &pattern, &files)?;
    }
    Ok(text)
}

/// The files to search: one, or those of a folder that match.
fn files_of(
    reader: &Reader<'_>,
    real: &Inside,
    glob: Option<&str>,
) -> Result<Vec<Inside>, ToolError> {
    let workspace = &reader.workspace;
    if !workspace.root().is_dir(real.as_path()) {
        return Ok(vec![real.clone()]);
    }
    let globs = glob
        .map(|glob| Globs::new(workspace, real, glob))
        .transpose()?;
    let options = Walk {
        recursive: true,
        globs,
    };
    let mut files = Vec::new();
    walk(workspace, real, &options, |found| {
        reader.stop.check()?;
        files.extend((found.kind == Kind::File).then_some(found.path));
        Ok(true)
    })?;
    Ok(files)
}

fn matcher(
    pattern: &str,
    any_case: bool,
    notes: &mut Vec<String>,
) -> Result<RegexMatcher, ToolError> {
    let mut builder = RegexMatcherBuilder::new();
    builder
        .line_terminator(Some(b'\n'))
        .case_insensitive(any_case);
    builder.build(pattern).or_else(|_| {
        notes.push("pattern is no regular expression, so it was searched as plain text".to_owned());
        builder
            .fixed_strings(true)
            .build(pattern)
            .map_err(|e| rejected(format!("pattern cannot be searched: {e}")))
    })
}

fn searcher() -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(LINE))
        .build()
}

impl Reader<'_> {
    /// Tells `heard` of each line of a file that matches, with its number, until it has enough.
    fn lines(
        &self,
        matcher: &RegexMatcher,
        searcher: &mut Searcher,
        path: &Inside,
        mut heard: impl FnMut(u64, &str) -> bool,
    ) -> io::Result<()> {
        let (file, metadata) = self.workspace.open_located(path)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = UntilStopped {
            file,
            stop: self.stop,
        };
        let sink = Lossy(|number, line: &str| Ok(heard(number, line)));
        searcher.search_reader(matcher, file, sink)
    }
}

#[derive(Default)]
struct Hits {
    text: String,
    shown: u64,
    lines: u64,
    files: u64,
    /// Files that could not be searched.
    skipped: u64,
}

impl Hits {
    fn search_all(
        &mut self,
        reader: &Reader<'_>,
        matcher: &RegexMatcher,
        files: &[Inside],
    ) -> Result<(), ToolError> {
        let mut searcher = searcher();
        for path in files {
            reader.stop.check()?;
            if self.lines > COUNTED {
                break;
            }
            if self
                .search_one(reader, matcher, &mut searcher, path)
                .is_err()
            {
                reader.stop.check()?;
                self.skipped += 1;
            }
        }
        Ok(())
    }

    fn search_one(
        &mut self,
        reader: &Reader<'_>,
        matcher: &RegexMatcher,
        searcher: &mut Searcher,
        path: &Inside,
    ) -> io::Result<()> {
        let before = self.lines;
        let searched = reader.lines(matcher, searcher, path, |number, line| {
            self.lines += 1;
            let line = format!("\n{path}:{number}: {}", clip(matcher, line));
            if self.shown + 1 == self.lines && self.text.len() + line.len() <= reader.output_bytes {
                self.text += &line;
                self.shown += 1;
            }
            self.lines <= COUNTED
        });
        self.files += u64::from(self.lines > before);
        searched
    }

    fn show(&self, pattern: &str, path: &Inside, searched: u64, notes: &[String]) -> String {
        let mut text = if self.lines == 0 {
            format!(
                "nothing in {path} matches \"{pattern}\" ({} searched)",
                many(searched, "file")
            )
        } else {
            let more = if self.lines > COUNTED {
                "more than "
            } else {
                ""
            };
            let verb = if self.lines == 1 { "matches" } else { "match" };
            format!(
                "{more}{} in {} {verb} \"{pattern}\"",
                many(self.lines.min(COUNTED), "line"),
                many(self.files, "file")
            )
        };
        for note in notes {
            text += &format!("; {note}");
        }
        if self.skipped > 0 {
            text += &format!("; {} could not be searched", many(self.skipped, "file"));
        }
        if self.lines > 0 {
            text += ":";
            text += &self.text;
        }
        if self.shown < self.lines {
            text += &format!(
                "\n…truncated: {} of them shown; narrow it with path, glob or a longer pattern",
                self.shown
            );
        }
        text
    }
}

/// A line as it is shown: around the match if it is long.
fn clip(matcher: &RegexMatcher, line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.len() <= SHOWN {
        return line.to_owned();
    }
    let at = matcher
        .find(line.as_bytes())
        .ok()
        .flatten()
        .map_or(0, |found| found.start());
    let from = line.floor_char_boundary(at.saturating_sub(SHOWN_BEFORE));
    let rest = line.get(from..).unwrap_or(line);
    let shown = head(rest, SHOWN);
    let before = if from > 0 { "…" } else { "" };
    let after = if shown.len() < rest.len() { "…" } else { "" };
    format!("{before}{shown}{after}")
}

/// A file that ends in an error when nobody waits any more.
struct UntilStopped<'a, F> {
    file: F,
    stop: &'a Stop,
}

impl<F: Read> Read for UntilStopped<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.file.read(buffer)
    }
}
