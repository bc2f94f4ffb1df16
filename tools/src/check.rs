//! Whether a command can be started at all, known before any work is done for it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Characters with which a word means something to the shell.
const SPECIAL: &[char] = &[
    '$', '`', '"', '\'', '\\', '(', ')', '{', '}', '[', ']', '*', '?', '!', '#', '~', '=',
];

/// Why the shell command `command` can never run in `workspace`: it is not one, or the program that it
/// begins with is not there. A program named by its path may be made by the run itself, and is not
/// looked for.
pub fn unstartable(command: &str, workspace: &Path) -> Option<String> {
    if let Err(why) = sh(&["-n", "-c", command], workspace) {
        return Some(format!("it is no shell command ({why})"));
    }
    let program = program(command)?;
    let there = sh(&["-c", "command -v -- \"$1\"", "sh", program], workspace);
    there
        .is_err()
        .then(|| format!("there is no command `{program}` here"))
}

/// The first word of a command line, past what it sets in the environment, if it is a plain name.
fn program(command: &str) -> Option<&str> {
    let is_setting = |word: &&str| {
        let name = word.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    let word = command.split_whitespace().find(|word| !is_setting(word))?;
    let word = word.split([';', '|', '&', '<', '>']).next()?;
    let is_plain = !word.is_empty() && !word.contains(SPECIAL) && !word.contains('/');
    is_plain.then_some(word)
}

/// Err says what the shell said.
fn sh(args: &[&str], workspace: &Path) -> Result<(), String> {
    let output = Command::new("sh")
        .args(args)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .map_err(|why| format!("sh cannot be started: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_start_is_known_and_what_may_is_left_alone() {
        let here = tempfile::tempdir().unwrap();
        let why = |command: &str| unstartable(command, here.path());
        for fine in [
            "true",
            "cd . && true",
            "X=1 Y='a b' sh -c 'exit 3'",
            "test -f not-there-yet.txt",
            "./made-by-the-run.sh",
            "if true; then true; fi",
            "! false",
            "$UNSET_PROGRAM x",
            "(true)",
            "true;true",
        ] {
            assert_eq!(why(fine), None, "{fine}");
        }
        for (wrong, part) in [
            ("no-such-program --all", "no command `no-such-program`"),
            ("X=1 no-such-program", "no command `no-such-program`"),
            ("no-such-program|cat", "no command `no-such-program`"),
            ("echo 'open", "no shell command"),
            ("if true; then", "no shell command"),
        ] {
            let why = why(wrong).unwrap_or_default();
            assert!(why.contains(part), "{wrong}: {why}");
        }
    }
}
