//! Texts that are too long to be shown whole: head, tail, and where the rest is.

use std::borrow::Cow;

use serde_json::Value;

use super::READ_HISTORY;
use crate::model::CallId;

/// How much of a text decides whether it is one.
const SNIFFED: usize = 8 * 1024;
/// More characters that cannot be read than one in this many, and it is no text.
const UNREADABLE: usize = 10;

/// Where the whole of a text is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whole {
    /// It is the result of this call.
    Call(CallId),
    /// It was said in, or after, this step; 0 is before the first.
    Step(u32),
    /// In the journal, and the model has no tool to read it.
    Journal,
}

/// The most bytes of a result in a window of so many tokens.
pub(super) fn longest_result(window: usize) -> usize {
    (window / 8 * 5).clamp(256, 20 * 1024)
}

/// Whether a result is not shown as it is.
pub(super) fn is_cut(text: &str, limit: usize) -> bool {
    text.len() > limit || is_binary(text)
}

/// A result of no more than `limit` bytes. What is no text is named and not shown.
pub(super) fn result(text: &str, limit: usize, whole: Whole) -> Cow<'_, str> {
    if is_binary(text) {
        return Cow::Owned(format!(
            "[binary data, {} bytes, not shown{}]",
            text.len(),
            at(whole, 0)
        ));
    }
    head_and_tail(text, limit, whole)
}

/// The beginning and the end of a text that is longer than `limit` bytes, with a mark between them that
/// says where the rest is. Never longer than `limit`, but for a mark that is.
pub(super) fn head_and_tail(text: &str, limit: usize, whole: Whole) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mark = |left_out: usize, from: usize| {
        format!(
            "\n[… {left_out} bytes left out here{} …]\n",
            at(whole, from)
        )
    };
    let room = limit.saturating_sub(mark(text.len(), text.len()).len());
    let head = head(text, room / 3 * 2);
    let tail = tail(text, room / 3);
    let left_out = text.len() - head.len() - tail.len();
    let mark = mark(left_out, head.len());
    if head.is_empty() && tail.is_empty() {
        return Cow::Owned(mark.trim().to_owned());
    }
    Cow::Owned(format!("{head}{mark}{tail}"))
}

/// Text with what is in it shortened wherever it is longer than `limit`.
pub(super) fn arguments(args: &Value, limit: usize, whole: Whole) -> Value {
    match args {
        Value::String(text) => Value::String(head_and_tail(text, limit, whole).into_owned()),
        Value::Array(items) => items
            .iter()
            .map(|item| arguments(item, limit, whole))
            .collect(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (name.clone(), arguments(value, limit, whole)));
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// What the mark says of where the rest is.
fn at(whole: Whole, from: usize) -> String {
    match whole {
        Whole::Call(call) if from == 0 => {
            format!("; {READ_HISTORY} {{\"call\":\"{call}\"}} shows it")
        }
        Whole::Call(call) => {
            format!("; {READ_HISTORY} {{\"call\":\"{call}\",\"from\":{from}}} shows them")
        }
        Whole::Step(step) => format!("; {READ_HISTORY} {{\"step\":{step}}} shows them"),
        Whole::Journal => String::new(),
    }
}

/// The longest beginning of at most so many bytes, up to the end of a line if one is near.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    let head = text
        .get(..text.floor_char_boundary(bytes))
        .unwrap_or_default();
    match head.rfind('\n') {
        Some(end) if end >= bytes / 4 * 3 => head.get(..end).unwrap_or(head),
        _ => head,
    }
}

/// The longest end of at most so many bytes, from the beginning of a line if one is near.
fn tail(text: &str, bytes: usize) -> &str {
    let from = text.ceil_char_boundary(text.len().saturating_sub(bytes));
    let tail = text.get(from..).unwrap_or_default();
    match tail.find('\n') {
        Some(end) if end <= bytes / 4 => tail.get(end + 1..).unwrap_or(tail),
        _ => tail,
    }
}

/// Whether most of it cannot be read: what a tool made of bytes that were no text.
fn is_binary(text: &str) -> bool {
    let begins = head(text, SNIFFED);
    let unreadable = |c: char| {
        c == char::REPLACEMENT_CHARACTER
            || c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' | '\u{1b}')
    };
    let count = begins.chars().filter(|c| unreadable(*c)).count();
    count > 3 && count > begins.chars().count() / UNREADABLE
}

/// The first line that is not blank, of at most so many bytes, and how many more there are.
pub(super) fn first_line(text: &str, bytes: usize) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = one_line(lines.next().unwrap_or("(nothing)"), bytes);
    match lines.count() {
        0 => first,
        more => format!("{first} (+{more} lines)"),
    }
}

/// Its words with single spaces between them, of at most so many bytes.
pub(crate) fn one_line(text: &str, bytes: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= bytes {
        return line;
    }
    let room = bytes.saturating_sub('…'.len_utf8());
    let cut = line.get(..line.floor_char_boundary(room));
    format!("{}…", cut.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALL: Whole = Whole::Call(CallId { reply: 3, index: 0 });

    #[test]
    fn a_long_text_is_its_head_its_tail_and_where_the_rest_is() {
        let text: String = (1..=1000).map(|n| format!("line {n}\n")).collect();
        let shown = head_and_tail(&text, 400, CALL);
        assert!(shown.starts_with("line 1\nline 2\n"), "{shown}");
        assert!(shown.ends_with("line 999\nline 1000\n"), "{shown}");
        let head = shown.find("\n[…").unwrap();
        let hint = format!("read_history {{\"call\":\"3.0\",\"from\":{head}}} shows them");
        assert!(shown.contains(&hint), "{shown}");
        assert!(text.get(head..).unwrap().starts_with("\nline"), "{shown}");
    }

    #[test]
    fn what_is_no_text_is_named_and_not_shown() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let junk = String::from_utf8_lossy(&bytes);
        let shown = result(&junk, 4000, CALL);
        assert!(shown.starts_with("[binary data, "), "{shown}");
        assert!(shown.contains("{\"call\":\"3.0\"}"), "{shown}");
        let coloured = "\u{1b}[31mred\u{1b}[0m\n".repeat(50);
        assert_eq!(result(&coloured, 4000, CALL), coloured);
        assert_eq!(result("caf\u{fffd}", 4000, CALL), "caf\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_text_is_longer_than_its_limit(text in "(.|\\n){0,600}", limit in 100usize..500) {
            let shown = head_and_tail(&text, limit, CALL);
            prop_assert!(shown.len() <= limit, "{} of {limit}: {shown}", shown.len());
            prop_assert_eq!(text.len() <= limit, shown == text);
        }

        #[test]
        fn a_line_is_one_line_of_its_length(text in "(.|\\n){0,300}", bytes in 3usize..200) {
            let line = one_line(&text, bytes);
            prop_assert!(line.len() <= bytes && !line.contains('\n'), "{line}");
        }
    }
}
