//! A program that came to nothing. Where something was to be found, it was looked for wrongly more often than
//! not: the program is told so with what it read.

use std::fmt::Write as _;

use super::Outcome;
use crate::text::head;

/// Files that are shown, lines of each, and bytes of each.
pub(super) const FILES: usize = 3;
const LINES: usize = 8;
const BYTES: usize = 400;

/// What is said of a value that is missing.
const MISSING: &str = "The program printed a value that is missing, so it takes the file to have another form \
than it has.";
/// What is said of a program that found nothing.
const NONE: &str = "(The program found nothing. That is right only if there is none: look at what it read, at the \
values and how they are written, and at which file was meant. `!value` is true of an empty text alone, not of \"no\".)";

/// In which way a program came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    /// It printed that a value is missing, or nothing at all: it is wrong.
    Missing,
    /// It found none, which may be so.
    None,
}

impl Nothing {
    /// What a program that ended without an error came to, if that is nothing.
    pub(super) fn of(outcome: &Outcome) -> Option<Self> {
        if !outcome.changes.is_empty() || outcome.error.is_some() {
            return None;
        }
        let value = outcome.value.as_deref().unwrap_or_default();
        let printed = outcome.printed.trim();
        let shown = if printed.is_empty() { value } else { printed };
        // What the prelude says of a missing value is behind it, in brackets.
        let shown = shown.split("\n(").next().unwrap_or_default();
        match shown.trim_matches('"') {
            "undefined" | "null" | "NaN" => Some(Self::Missing),
            "0" | "[]" | "{}" => Some(Self::None),
            "" if value.is_empty() => Some(Self::Missing),
            "" => Some(Self::None),
            _ => None,
        }
    }

    /// What is said of it, with the beginnings of the files that were read.
    pub(super) fn told(self, outcome: &Outcome, read: &[(String, String)]) -> String {
        let mut text = match self {
            Self::Missing if outcome.printed.trim().is_empty() => outcome.report(),
            Self::Missing => MISSING.to_owned(),
            Self::None => format!("{}\n{NONE}", outcome.report()),
        };
        for (path, content) in read {
            let _ = write!(text, "\n--- {path}");
            let lines: Vec<&str> = content.lines().take(LINES).collect();
            let lines = lines.join("\n");
            let shown = head(&lines, BYTES);
            let _ = write!(text, "\n{shown}");
            if shown.len() < content.trim_end().len() {
                text.push_str("\n…");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(printed: &str, value: Option<&str>) -> Outcome {
        Outcome {
            printed: printed.to_owned(),
            value: value.map(str::to_owned),
            changes: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn a_missing_value_is_told_from_none() {
        for (printed, value, nothing) in [
            (
                "undefined\n(so a value is missing there)\n",
                None,
                Some(Nothing::Missing),
            ),
            ("null\n", None, Some(Nothing::Missing)),
            ("", None, Some(Nothing::Missing)),
            ("0\n", Some("3"), Some(Nothing::None)),
            ("", Some("[]"), Some(Nothing::None)),
            ("", Some("\"\""), Some(Nothing::None)),
            ("", Some("3"), None),
            ("none\n", None, None),
            ("10\n", None, None),
        ] {
            assert_eq!(
                Nothing::of(&outcome(printed, value)),
                nothing,
                "{printed:?} {value:?}"
            );
        }
    }

    #[test]
    fn what_was_read_is_shown_by_its_beginning() {
        let read = [("a.csv".to_owned(), "name,paid\nAda,no\n".repeat(100))];
        let told = Nothing::None.told(&outcome("0\n", None), &read);
        assert!(told.starts_with("0\n(The program found nothing."), "{told}");
        assert!(told.contains("--- a.csv\nname,paid\nAda,no\n"), "{told}");
        assert!(told.ends_with("\n…") && told.len() < 700, "{told}");
    }
}
