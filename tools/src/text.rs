//! What is in a file, without loading it.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gpak_kernel::tool::ToolError;

/// How much of a file's beginning decides whether it is text.
const SNIFFED: usize = 8 * 1024;
/// More unreadable characters than one in this many, and it is no text.
const UNREADABLE: usize = 10;

/// Set when nobody waits any more for what is being done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails once it is set; nobody sees the error.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(ToolError::Fatal("the call was cancelled".to_owned()));
        }
        Ok(())
    }
}

/// What the beginning of a file says of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Text,
    /// Of this kind, as far as one can tell.
    Binary(&'static str),
}

/// Looks at the beginning of a file.
pub(crate) fn sniff(head: &[u8]) -> Content {
    let head = head.get(..SNIFFED).unwrap_or(head);
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Content::Binary(kind);
    }
    if head.contains(&0) {
        return Content::Binary("of unknown type");
    }
    // A character cut off by the end of the head is one unreadable chunk at most.
    let unreadable: usize = head.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    if unreadable > 3 + head.len() / UNREADABLE {
        return Content::Binary("of unknown type");
    }
    Content::Text
}

const MAGIC: [(&[u8], &str); 14] = [
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x7fELF", "an ELF program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\0asm", "a WebAssembly module"),
    (b"OggS", "Ogg media"),
    (b"GGUF", "a GGUF model"),
];

/// Counts lines: line ends, and a last line without one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LineCount {
    ends: u64,
    open: bool,
}

impl LineCount {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.ends += memchr::memchr_iter(b'\n', bytes).count() as u64;
        self.open = bytes.last().map_or(self.open, |&last| last != b'\n');
    }

    pub(crate) fn lines(self) -> u64 {
        self.ends + u64::from(self.open)
    }

    pub(crate) fn of(bytes: &[u8]) -> u64 {
        let mut count = Self::default();
        count.add(bytes);
        count.lines()
    }
}

/// What a whole file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Summary {
    Text {
        lines: u64,
        /// The first line that is not blank, cut.
        first: String,
    },
    Binary(&'static str),
}

/// Reads a file to its end to say what it is.
pub(crate) fn summarize(mut file: impl Read, stop: &Stop) -> io::Result<Summary> {
    let mut buffer = vec![0; 64 * 1024];
    let mut count = LineCount::default();
    let mut first = None;
    loop {
        let read = read_some(&mut file, &mut buffer)?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if first.is_none() {
            if let Content::Binary(kind) = sniff(bytes) {
                return Ok(Summary::Binary(kind));
            }
            first = Some(first_line(bytes));
        }
        count.add(bytes);
        if read == 0 || stop.check().is_err() {
            return Ok(Summary::Text {
                lines: count.lines(),
                first: first.unwrap_or_default(),
            });
        }
    }
}

/// The first line that is not blank, cut.
fn first_line(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let bytes = bytes.get(..bytes.len().min(16 * SHOWN)).unwrap_or_default();
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    let shown = head(line, SHOWN);
    let cut = if shown.len() < line.len() { "…" } else { "" };
    format!("{shown}{cut}")
}

/// Reads at most as much as fits; 0 at the end.
pub(crate) fn read_some(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// `1 line`, `2 lines`.
pub(crate) fn many(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ if what.ends_with("ch") => format!("{count} {what}es"),
        _ => format!("{count} {what}s"),
    }
}

/// The longest beginning of `text` of at most `bytes` that ends between characters.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_without_an_end_is_a_line() {
        assert_eq!(LineCount::of(b""), 0);
        assert_eq!(LineCount::of(b"\n"), 1);
        assert_eq!(LineCount::of(b"a\nb"), 2);
        assert_eq!(LineCount::of(b"a\nb\n"), 2);
    }

    #[test]
    fn text_in_any_script_is_text_and_noise_is_binary() {
        assert_eq!(sniff("äöü 日本語 🚀\n".as_bytes()), Content::Text);
        assert_eq!(sniff(b"caf\xe9 au lait"), Content::Text);
        assert_eq!(
            sniff(&[0xf0, 0xc8, 0x01, 0x02, 0xfe, 0xff].repeat(20)),
            Content::Binary("of unknown type")
        );
        assert_eq!(
            sniff(b"\x89PNG\r\n\x1a\n\0\0"),
            Content::Binary("a PNG image")
        );
        let cut = "日".repeat(SNIFFED);
        assert_eq!(sniff(cut.as_bytes()), Content::Text);
    }

    #[test]
    fn counts_are_said_in_english() {
        assert_eq!(many(1, "line"), "1 line");
        assert_eq!(many(3, "line"), "3 lines");
        assert_eq!(many(2, "entry"), "2 entries");
        assert_eq!(many(2, "match"), "2 matches");
    }
}
