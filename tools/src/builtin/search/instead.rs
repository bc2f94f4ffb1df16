//! What is said where nothing matches: what may have been meant.

use gpak_kernel::tool::ToolError;

use super::{Reader, matcher, searcher};
use crate::{spelling::Words, text::head, workspace::Inside};

/// Bytes in which something like the pattern is looked for.
const COMPARED: usize = 2 * 1024 * 1024;
/// Lines that are shown, and how much of each.
const LINES: usize = 5;
const SHOWN: usize = 160;
/// Shorter words say little about what is meant.
const SHORTEST: usize = 3;

/// The file or folder of that name, the lines with most of its words, or words spelt almost like it.
pub(super) fn of(
    reader: &Reader<'_>,
    pattern: &str,
    files: &[Inside],
) -> Result<String, ToolError> {
    let named = named(pattern, files);
    if !named.is_empty() {
        return Ok(named);
    }
    let words: Vec<_> = pattern.split_whitespace().collect();
    match words.as_slice() {
        [word] => close(reader, word, files),
        _ => with_some_of(reader, &words, files),
    }
}

/// A small model searches for a file or folder as if its name stood in it: says where it is.
fn named(pattern: &str, files: &[Inside]) -> String {
    const NAMED: usize = 10;
    let wanted = pattern.replace('\\', "");
    let wanted = wanted.trim_matches(['*', '^', '$', '/', ' ']);
    if wanted.is_empty() {
        return String::new();
    }
    if let Some(folder) = files.iter().find_map(|file| folder(file.as_str(), wanted)) {
        return format!(
            "\n{folder} is a folder; use list_files {{\"path\":\"{folder}\"}} to see what is in it"
        );
    }
    let wanted = wanted.to_lowercase();
    let found = files
        .iter()
        .map(Inside::as_str)
        .filter(|path| path.to_lowercase().contains(&wanted));
    let found: Vec<_> = found.collect();
    match found.as_slice() {
        [] => String::new(),
        [file] => format!(
            "\nThere is a file of that name: {file}; use read_file {{\"path\":\"{file}\"}} to read it"
        ),
        files => {
            let named = files.get(..NAMED).unwrap_or(files);
            let more = match files.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("\nFiles of such a name: {}{more}", named.join(", "))
        }
    }
}

/// What stands in the files that is spelt almost like the pattern.
fn close(reader: &Reader<'_>, pattern: &str, files: &[Inside]) -> Result<String, ToolError> {
    if !Words::can_be_close(pattern) {
        return Ok(String::new());
    }
    let every = matcher(r"\w", false, &mut Vec::new())?;
    let mut words = Words::default();
    look(reader, &every, files, |path, number, line| {
        words.add(|| format!("{path}:{number}"), line);
    })?;
    let close = words.close_to(pattern);
    Ok(close.map_or_else(String::new, |close| format!("\nThere is {close}")))
}

/// The folder around `file` that is called `name`, or whose whole path is that.
fn folder<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    let ends = file.match_indices('/').map(|(at, _)| at);
    ends.filter_map(|end| file.get(..end)).find(|folder| {
        let last = folder.rsplit('/').next().unwrap_or(folder);
        last.eq_ignore_ascii_case(name) || folder.eq_ignore_ascii_case(name)
    })
}

/// The lines with most of the words, whatever their order and case.
fn with_some_of(
    reader: &Reader<'_>,
    words: &[&str],
    files: &[Inside],
) -> Result<String, ToolError> {
    let plain = words
        .iter()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    let plain = plain.filter(|word| word.chars().count() >= SHORTEST && !word.contains(is_syntax));
    let words: Vec<_> = plain.map(str::to_lowercase).collect();
    if words.is_empty() {
        return Ok(String::new());
    }
    let any = matcher(&words.join("|"), true, &mut Vec::new())?;
    let mut lines: Vec<(usize, String)> = Vec::new();
    look(reader, &any, files, |path, number, line| {
        let lower = line.to_lowercase();
        let stand = words.iter().filter(|word| lower.contains(*word)).count();
        lines.push((
            stand,
            format!("{path}:{number}: {}", head(line.trim_end(), SHOWN)),
        ));
    })?;
    // Stable, so that of equals the first stays first.
    lines.sort_by_key(|(stand, _)| std::cmp::Reverse(*stand));
    let shown: Vec<_> = lines
        .into_iter()
        .take(LINES)
        .map(|(_, line)| line)
        .collect();
    if shown.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        "\nLines with some of its words:\n{}",
        shown.join("\n")
    ))
}

fn is_syntax(c: char) -> bool {
    "\\.+*?()|[]{}^$".contains(c)
}

/// Tells `heard` of the matching lines of the files, as far as they are looked at.
fn look(
    reader: &Reader<'_>,
    matcher: &grep_regex::RegexMatcher,
    files: &[Inside],
    mut heard: impl FnMut(&Inside, u64, &str),
) -> Result<(), ToolError> {
    let mut searcher = searcher();
    let mut looked = 0;
    for path in files {
        reader.stop.check()?;
        // A file that cannot be read was counted as one by the search before.
        let _ = reader.lines(matcher, &mut searcher, path, |number, line| {
            heard(path, number, line);
            looked += line.len();
            looked < COMPARED
        });
        if looked >= COMPARED {
            break;
        }
    }
    Ok(())
}
