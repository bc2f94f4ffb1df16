//! What a task asks for, as far as it can be told without understanding it.

use super::state::{State, Turn};
use crate::label::Label;

/// A file that the task names and that was not in the workspace when it was given. None if the files of the
/// workspace are not known.
pub(super) fn missing(state: &State) -> Option<&str> {
    let files = &state.setup.as_ref()?.repository.files;
    if files.is_empty() {
        return None;
    }
    let heard = state.turns.iter().rev().find_map(|turn| match turn {
        Turn::Said {
            text,
            label: Label::User,
        } => Some(text),
        _ => None,
    });
    let task = heard.or(state.spec.as_ref().map(|spec| &spec.task))?;
    let names = task.split_whitespace().map(|word| {
        word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.')
            .trim_end_matches(|c: char| !c.is_alphanumeric())
    });
    let mut names = names.filter(|word| is_file_name(word));
    names.find(|name| !files.contains(name.rsplit('/').next().unwrap_or(name)))
}

/// `notes.md`, `src/main.rs`; not `2.7.10`, `.rs` or `https://example.org`.
fn is_file_name(word: &str) -> bool {
    const LONGEST: usize = 5;
    let name = word.rsplit('/').next().unwrap_or(word);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let is_plain = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    !stem.is_empty()
        && !word.contains("//")
        && word.chars().all(is_plain)
        && (1..=LONGEST).contains(&extension.len())
        && extension.chars().all(char::is_alphanumeric)
        && extension.starts_with(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_told_from_other_words_with_dots() {
        for name in ["notes.md", "src/main.rs", "a.b.txt", "INDEX.md", "x.mp3"] {
            assert!(is_file_name(name), "{name}");
        }
        for other in ["2.7.10", ".rs", "9.80", "https://example.org", "end."] {
            assert!(!is_file_name(other), "{other}");
        }
    }
}
