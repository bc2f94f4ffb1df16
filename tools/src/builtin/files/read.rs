//! `read_file`: shows a file, or some of its lines, without ever loading all of it.

use std::io::Read;

use gpak_kernel::tool::{Effect, ToolError, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Reader, arguments};
use crate::{
    text::{Content, LineCount, Stop, many, read_some, sniff},
    workspace::{Inside, io_error, rejected},
};

/// How far a file is read to count its lines.
const COUNTED: u64 = 8 * 1024 * 1024 * 1024;

#[derive(Deserialize)]
struct Args {
    path: String,
    from_line: Option<u64>,
    to_line: Option<u64>,
}

pub(in crate::builtin) fn spec() -> ToolSpec {
    super::super::spec(
        "read_file",
        "Read a text file, or some lines of it. Says how many lines it has.",
        Effect::Pure,
        json!({
            "path": {"type": "string", "minLength": 1, "maxLength": 400, "description": "The file, relative to the workspace."},
            "from_line": {"type": "integer", "minimum": 1, "description": "The first line to read; 1 if left out."},
            "to_line": {"type": "integer", "minimum": 1, "description": "The last line to read; the end if left out."},
        }),
        1,
    )
}

pub(in crate::builtin) fn read(reader: &Reader<'_>, args: &Value) -> Result<String, ToolError> {
    let Args {
        path,
        from_line,
        to_line,
    } = arguments(args)?;
    let workspace = &reader.workspace;
    let path = workspace.parse(&path)?;
    let (file, metadata) = workspace.open_at(&path)?;
    if metadata.is_dir() {
        return Err(rejected(format!(
            "{path} is a folder; use list_files {{\"path\":\"{path}\"}}{}",
            workspace.names_in(&path)
        )));
    }
    if !metadata.is_file() {
        return Err(rejected(format!(
            "{path} is neither a file nor a folder and cannot be read"
        )));
    }
    let (from, to) = (
        from_line.unwrap_or(1).max(1),
        to_line.unwrap_or(u64::MAX).max(1),
    );
    if from > to {
        return Err(rejected(format!(
            "to_line {to} is before from_line {from}; use {{\"path\":\"{path}\",\"from_line\":{to},\"to_line\":{from}}}"
        )));
    }
    let lines = match take_lines(file, from, to, reader.output_bytes, reader.stop)
        .map_err(|e| io_error("read", &path, &e))?
    {
        Taken::Binary(kind) => {
            return Ok(format!(
                "{path} is binary: {kind}, {}; it cannot be read as text",
                many(metadata.len(), "byte")
            ));
        }
        Taken::Lines(lines) => lines,
    };
    reader.stop.check()?;
    show(&path, from, &lines)
}

fn show(path: &Inside, from: u64, lines: &Lines) -> Result<String, ToolError> {
    if lines.total == 0 {
        return Ok(format!("{path} is empty (0 lines, 0 bytes)"));
    }
    if lines.shown == 0 {
        return Err(rejected(format!(
            "{path} has only {}, so there is no line {from}; use read_file {{\"path\":\"{path}\"}}",
            many(lines.total, "line")
        )));
    }
    let last = from + lines.shown - 1;
    let total = if lines.counted {
        lines.total.to_string()
    } else {
        format!("more than {}", lines.total)
    };
    let range = if from == last {
        from.to_string()
    } else {
        format!("{from}-{last}")
    };
    // Tags, so that no small model takes what is said about the file for a line of it.
    let mut text = format!(
        "<file path=\"{path}\" lines=\"{range} of {total}\">\n{}\n</file>",
        lines.text()
    );
    if lines.cut > 0 {
        text += &format!(
            "\n…truncated: line {last} goes on for {}",
            many(lines.cut, "more byte")
        );
    }
    if lines.full && last < lines.total {
        let next = last + 1;
        text += &format!(
            "\n…truncated; for more use read_file {{\"path\":\"{path}\",\"from_line\":{next}}}"
        );
    }
    if lines.is_lossy() {
        text += "\n(not UTF-8: characters that cannot be read are shown as \u{fffd})";
    }
    Ok(text)
}

enum Taken {
    Binary(&'static str),
    Lines(Lines),
}

/// Lines taken from a file.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    shown: u64,
    /// Bytes of the last shown line that did not fit.
    cut: u64,
    /// Whether there was no room for all that was asked for.
    full: bool,
    total: u64,
    /// Whether `total` is all there are.
    counted: bool,
}

impl Lines {
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes).replace("\r\n", "\n");
        let text = text.strip_suffix('\n').unwrap_or(&text);
        // A line that was cut may have been cut within a character.
        let text = if self.cut > 0 {
            text.trim_end_matches('\u{fffd}')
        } else {
            text
        };
        text.to_owned()
    }

    fn is_lossy(&self) -> bool {
        self.cut == 0 && std::str::from_utf8(&self.bytes).is_err()
    }
}

/// Reads a file in pieces: keeps lines `from` to `to` as far as they fit into `room` bytes, counts the rest.
fn take_lines(
    mut file: impl Read,
    from: u64,
    to: u64,
    room: usize,
    stop: &Stop,
) -> std::io::Result<Taken> {
    let mut buffer = vec![0; 64 * 1024];
    let (mut lines, mut count, mut seen) = (Lines::default(), LineCount::default(), 0);
    let mut taker = Taker {
        line: 1,
        from,
        to,
        room,
        start: 0,
        done: false,
    };
    loop {
        let read = read_some(&mut file, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if seen == 0
            && let Content::Binary(kind) = sniff(bytes)
        {
            return Ok(Taken::Binary(kind));
        }
        seen += read as u64;
        count.add(bytes);
        taker.take(bytes, &mut lines);
        lines.counted = read == 0;
        if read == 0 || seen > COUNTED || stop.check().is_err() {
            break;
        }
    }
    lines.total = count.lines();
    taker.end(&mut lines);
    Ok(Taken::Lines(lines))
}

/// Where the reading is.
struct Taker {
    line: u64,
    from: u64,
    to: u64,
    room: usize,
    /// Where in the kept bytes the line begins that is being read.
    start: usize,
    done: bool,
}

impl Taker {
    fn take(&mut self, mut bytes: &[u8], lines: &mut Lines) {
        while !self.done && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = rest;
            if self.line >= self.from {
                self.keep(piece, lines);
            }
            if end.is_some() {
                self.end_line(lines);
            }
        }
    }

    fn keep(&mut self, piece: &[u8], lines: &mut Lines) {
        let room = self.room.saturating_sub(lines.bytes.len());
        if lines.cut > 0 || piece.len() > room {
            lines.full = true;
            if self.start > 0 {
                // It does not fit as a whole; it is shown with the next call.
                lines.bytes.truncate(self.start);
                self.done = true;
                return;
            }
            let end = piece.strip_suffix(b"\n").unwrap_or(piece);
            let kept = if lines.cut > 0 {
                0
            } else {
                room.min(end.len())
            };
            lines
                .bytes
                .extend_from_slice(end.get(..kept).unwrap_or_default());
            lines.cut += (end.len() - kept) as u64;
            return;
        }
        lines.bytes.extend_from_slice(piece);
    }

    fn end_line(&mut self, lines: &mut Lines) {
        if self.line >= self.from && !self.done {
            lines.shown += 1;
            self.start = lines.bytes.len();
            self.done = self.line == self.to || lines.cut > 0;
        }
        self.line += 1;
    }

    /// The last line may have no end.
    fn end(&mut self, lines: &mut Lines) {
        if !self.done && (lines.bytes.len() > self.start || lines.cut > 0) {
            lines.shown += 1;
        }
    }
}
