//! What a task asks for, as far as it can be told without understanding it.

use super::state::{State, Turn};
use crate::{event::CallOutcome, label::Label};

/// A file that the task names, that was not in the workspace when it was given, and that no call had to do
/// with since. None if the files of the workspace are not known.
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
    let names = words(task).map(|word| {
        word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.')
            .trim_end_matches(|c: char| !c.is_alphanumeric())
    });
    let mut names = names.filter(|word| is_file_name(word));
    names.find(|name| {
        let own = name.rsplit('/').next().unwrap_or(name);
        !files.contains(own) && !had_to_do_with(state, own)
    })
}

/// Whether a call that worked, or what came of it, has the name.
fn had_to_do_with(state: &State, name: &str) -> bool {
    state.turns.iter().any(|turn| match turn {
        Turn::Replied { reply, results, .. } => {
            reply.calls.iter().zip(results).any(|(call, result)| {
                let Some((CallOutcome::Done { output }, _)) = result else {
                    return false;
                };
                output.text.contains(name) || call.args.to_string().contains(name)
            })
        }
        Turn::Said { .. } => false,
    })
}

/// The words of a task, without those of marked passages of several words, which show a form or a command: a
/// path in one is no file that is asked for.
fn words(task: &str) -> impl Iterator<Item = &str> {
    let passages = task.split('`').zip([false, true].into_iter().cycle());
    passages
        .filter(|(text, is_marked)| !(*is_marked && text.trim().contains(char::is_whitespace)))
        .flat_map(|(text, _)| text.split_whitespace())
}

/// `notes.md`, `src/main.rs`; not `2.7.10`, `.rs`, `e.g`, `example.org` or `https://example.org`.
fn is_file_name(word: &str) -> bool {
    const LONGEST: usize = 5;
    const HOSTS: [&str; 5] = ["com", "dev", "io", "net", "org"];
    let name = word.rsplit('/').next().unwrap_or(word);
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let is_plain = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    !stem.is_empty()
        && stem.len() + extension.len() > 2
        && !HOSTS.contains(&extension)
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
    fn a_form_of_several_words_names_no_file() {
        let names = |task| words(task).filter(|word| is_file_name(word)).count();
        assert_eq!(names("Say the path, as in `some/folder/name.h 123`."), 0);
        assert_eq!(names("Write `notes.md`, in the form `a.txt: 1`."), 1);
    }

    #[test]
    fn a_file_name_is_told_from_other_words_with_dots() {
        for name in ["notes.md", "src/main.rs", "a.b.txt", "INDEX.md", "x.mp3"] {
            assert!(is_file_name(name), "{name}");
        }
        for other in [
            "2.7.10",
            ".rs",
            "9.80",
            "https://example.org",
            "mail.example.org",
            "e.g",
            "end.",
        ] {
            assert!(!is_file_name(other), "{other}");
        }
    }
}
