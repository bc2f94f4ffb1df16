//! Names of files in texts.

/// The paths of files that a task names.
pub(super) fn in_task(task: &str) -> impl Iterator<Item = &str> {
    let names = words(task).map(|word| {
        word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.')
            .trim_end_matches(|c: char| !c.is_alphanumeric())
    });
    names.filter(|word| is_file_name(word))
}

/// What looks like the path of a file in a program or a list. `row.name` does, too.
pub(super) fn in_text(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !is_plain(c));
    words.filter(|word| is_file_name(word))
}

/// The last part of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The words of a task, without those of marked passages of several words, which show a form or a command: a
/// path in one is no file that is asked for.
fn words(task: &str) -> impl Iterator<Item = &str> {
    let passages = task.split('`').zip([false, true].into_iter().cycle());
    passages
        .filter(|(text, is_marked)| !(*is_marked && text.trim().contains(char::is_whitespace)))
        .flat_map(|(text, _)| text.split_whitespace())
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "-_./".contains(c)
}

/// `notes.md`, `src/main.rs`; not `2.7.10`, `.rs`, `e.g`, `example.org` or `https://example.org`.
fn is_file_name(word: &str) -> bool {
    const LONGEST: usize = 5;
    const HOSTS: [&str; 5] = ["com", "dev", "io", "net", "org"];
    let Some((stem, extension)) = last(word).rsplit_once('.') else {
        return false;
    };
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
        let names = |task| in_task(task).count();
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
