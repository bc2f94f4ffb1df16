//! What a script came to: what it printed, what it gave, and what it would leave in the workspace.

use std::{fmt::Write as _, time::Duration};

use similar::{ChangeTag, TextDiff};

use super::interpreter::ScriptError;
use crate::{
    staged::{Difference, Held},
    text::{LineCount, head, many},
    workspace::Inside,
};

/// Bytes of the diffs that are told with an outcome.
const DIFF: usize = 1500;
/// What is said where changes are left out.
const WITHHELD: &str = "(Say that as the answer.)";
/// Changed files that are told of one by one.
const SHOWN: usize = 20;

/// What a script came to. Two that are equal did the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it printed.
    pub printed: String,
    /// JSON of the value of its last expression, if that is one.
    pub value: Option<String>,
    /// What it changes, in order of the paths. Nothing, if it failed.
    pub changes: Vec<Difference>,
    /// Why it failed, if it did.
    pub error: Option<ScriptError>,
}

impl Outcome {
    /// It, in words, for a model: what was printed, its value, and what it changes.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let printed = self.printed.trim_end();
        if !printed.is_empty() {
            let _ = writeln!(text, "{printed}");
        }
        let is_silent = printed.is_empty() && self.changes.is_empty();
        if let Some(value) = self.value.as_ref().filter(|_| is_silent) {
            let _ = writeln!(text, "value: {value}");
        }
        match self.changes.len() {
            0 if text.is_empty() => text.push_str(
                "the program printed nothing and changed nothing; print what is to be known",
            ),
            0 => {}
            _ => {
                let told = self.described();
                for line in told.iter().take(SHOWN) {
                    let _ = writeln!(text, "{line}");
                }
                if told.len() > SHOWN {
                    let _ = writeln!(text, "… and {} more", told.len() - SHOWN);
                }
                text.push_str(&self.diffs());
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// It, in words, where its changes are left out since something was only asked: what was printed, or else what
    /// would have been written.
    pub(super) fn withheld(&self) -> String {
        let told = match self.printed.trim_end() {
            "" => self.written(),
            printed => printed.to_owned(),
        };
        format!("{told}\n{WITHHELD}")
    }

    /// The texts that the changed and new files would have, as far as that is short.
    fn written(&self) -> String {
        let texts = self.changes.iter().filter_map(|change| match &change.then {
            Some(Held::File(bytes)) => str::from_utf8(bytes).ok(),
            _ => None,
        });
        let texts: Vec<&str> = texts.map(str::trim_end).collect();
        head(&texts.join("\n"), DIFF).to_owned()
    }

    /// The changes, each in a line. A file that is gone from one path and there at another was moved.
    fn described(&self) -> Vec<String> {
        let moves = self.moves();
        let is_target = |change: &&Difference| !moves.iter().any(|(_, to)| *to == &change.path);
        let told = self.changes.iter().filter(is_target);
        told.map(
            |change| match moves.iter().find(|(from, _)| *from == &change.path) {
                Some((from, to)) => format!("moved {from} to {to}"),
                None => described(change),
            },
        )
        .collect()
    }

    /// From where to where files were moved. Of several that hold the same, one keeps its name if it can.
    fn moves(&self) -> Vec<(&Inside, &Inside)> {
        let mut moves: Vec<(&Inside, &Inside)> = Vec::new();
        for keeps_name in [true, false] {
            for from in &self.changes {
                if moves.iter().any(|(path, _)| *path == &from.path) {
                    continue;
                }
                let to = self.changes.iter().find(|to| {
                    is_moved(from, to)
                        && (!keeps_name || from.path.name() == to.path.name())
                        && !moves.iter().any(|(_, path)| *path == &to.path)
                });
                moves.extend(to.map(|to| (&from.path, &to.path)));
            }
        }
        moves
    }

    /// What the changed and new files had and have, as far as that is short.
    fn diffs(&self) -> String {
        let mut all = String::new();
        let moves = self.moves();
        for change in &self.changes {
            let before = match &change.now {
                Some(Held::File(before)) => before.as_slice(),
                None if !moves.iter().any(|(_, to)| *to == &change.path) => &[],
                _ => continue,
            };
            let Some(Held::File(after)) = &change.then else {
                continue;
            };
            let (Ok(before), Ok(after)) = (str::from_utf8(before), str::from_utf8(after)) else {
                continue;
            };
            let mut diff = format!("--- {}\n", change.path);
            let lines = TextDiff::configure()
                .timeout(Duration::from_millis(200))
                .diff_lines(before, after);
            for line in lines.iter_all_changes() {
                let sign = match line.tag() {
                    ChangeTag::Equal => continue,
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                };
                let _ = writeln!(diff, "{sign}{}", line.value().trim_end_matches('\n'));
            }
            all.push_str(&diff);
        }
        let shown = head(&all, DIFF);
        match shown.len() == all.len() {
            true => all,
            false => format!("{shown}\n…"),
        }
    }
}

/// Whether what was at one path may be what is now at the other.
fn is_moved(from: &Difference, to: &Difference) -> bool {
    let held = |held: &Option<Held>| matches!(held, Some(Held::File(_)));
    from.then.is_none() && to.now.is_none() && held(&from.now) && from.now == to.then
}

fn described(change: &Difference) -> String {
    let path = &change.path;
    let size = |bytes: &[u8]| {
        let lines = many(LineCount::of(bytes), "line");
        format!("{lines}, {}", many(bytes.len() as u64, "byte"))
    };
    match (&change.now, &change.then) {
        (None, Some(Held::File(bytes))) => format!("wrote {path} ({})", size(bytes)),
        (Some(_), Some(Held::File(bytes))) => format!("changed {path} (now {})", size(bytes)),
        (_, Some(Held::Folder)) => format!("made the folder {path}"),
        (Some(Held::Folder), None) => format!("removed the folder {path}"),
        (_, None) => format!("removed {path}"),
    }
}
