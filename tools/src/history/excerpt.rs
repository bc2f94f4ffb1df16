//! Pieces of texts of any length, with what cannot be read made readable.

use gpak_kernel::{context::READ_HISTORY, model::CallId, tool::ToolError};

use crate::{text::many, workspace::rejected};

/// The text of a call's result from byte `from` on, as much as fits, and how to go on.
pub(super) fn from(text: &str, id: CallId, from: usize, room: usize) -> Result<String, ToolError> {
    if from > 0 && from >= text.len() {
        return Err(rejected(format!(
            "the result of {id} has only {}; use {READ_HISTORY} {{\"call\":\"{id}\"}}",
            many(text.len() as u64, "byte")
        )));
    }
    let from = text.floor_char_boundary(from);
    let rest = text.get(from..).unwrap_or_default();
    let (shown, taken) = fitting(rest, room);
    let to = from + taken;
    if from == 0 && to == text.len() {
        return Ok(shown);
    }
    let more = match text.len() - to {
        0 => String::new(),
        _ => {
            format!("\n…truncated; for more use {READ_HISTORY} {{\"call\":\"{id}\",\"from\":{to}}}")
        }
    };
    Ok(format!(
        "bytes {from} to {to} of {} of the result of {id}:\n{shown}{more}",
        text.len()
    ))
}

/// The beginning of a text, at most about `room` bytes of it, and how to get the rest.
pub(super) fn beginning(text: &str, id: CallId, room: usize) -> String {
    let (shown, taken) = fitting(text, room);
    match text.len() - taken {
        0 => shown,
        left => format!(
            "{shown}\n…truncated: {}; for them use {READ_HISTORY} {{\"call\":\"{id}\",\"from\":{taken}}}",
            many(left as u64, "more byte")
        ),
    }
}

/// The beginning of a text that takes at most `room` bytes when it is made readable, and how many bytes of
/// the text that is. Ends with a line if one ends near the end.
pub(super) fn fitting(text: &str, room: usize) -> (String, usize) {
    let mut shown = String::new();
    for (at, c) in text.char_indices() {
        let before = shown.len();
        readable(c, &mut shown);
        if shown.len() > room {
            shown.truncate(before);
            return match shown.rfind('\n') {
                // Line ends are shown as they are, so the same line ends in both.
                Some(end) if end >= room / 4 * 3 => {
                    let cut = shown.len() - end;
                    let taken = text
                        .get(..at)
                        .and_then(|taken| taken.rfind('\n'))
                        .unwrap_or(at);
                    shown.truncate(shown.len() - cut);
                    (shown, taken + 1)
                }
                _ => (shown, at),
            };
        }
    }
    (shown, text.len())
}

/// All of a short text.
pub(super) fn whole(text: &str) -> String {
    fitting(text, usize::MAX).0
}

fn readable(c: char, into: &mut String) {
    match c {
        '\n' | '\t' => into.push(c),
        '\r' => {}
        char::REPLACEMENT_CHARACTER => into.push('?'),
        c if c.is_control() => into.extend(c.escape_default()),
        c => into.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: CallId = CallId { reply: 3, index: 0 };

    #[test]
    fn piece_by_piece_the_whole_is_read() {
        let text: String = (0..500).map(|n| format!("line {n} é\n")).collect();
        let (mut read, mut from) = (String::new(), 0);
        for _ in 0..100 {
            let piece = super::from(&text, ID, from, 300).unwrap();
            let piece = piece.split_once(":\n").unwrap().1;
            let Some((shown, hint)) = piece.split_once("\n…truncated; for more use ") else {
                read.push_str(piece);
                break;
            };
            read.push_str(shown);
            read.push('\n');
            let next = hint.split("\"from\":").nth(1).unwrap();
            from = next.trim_end_matches('}').parse().unwrap();
        }
        assert_eq!(read, text);
        let past = super::from(&text, ID, text.len(), 300).unwrap_err();
        assert!(past.to_string().contains("{\"call\":\"3.0\"}"), "{past}");
    }

    #[test]
    fn what_cannot_be_read_is_made_readable() {
        assert_eq!(whole("a\u{0}b\u{fffd}\r\n"), "a\\u{0}b?\n");
        let one_line = "x".repeat(1000);
        assert_eq!(fitting(&one_line, 100), ("x".repeat(100), 100));
    }
}
