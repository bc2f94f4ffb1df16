//! What a script came to: what it printed, what it gave, and what it would leave in the workspace.

use std::{fmt::Write as _, time::Duration};

use similar::{ChangeTag, TextDiff};

use super::interpreter::ScriptError;
use crate::{
    text::{LineCount, head, many},
    workspace::Inside,
};

/// Bytes of the diffs that are told with an outcome.
const DIFF: usize = 1500;
/// Changed files that are told of one by one.
const SHOWN: usize = 20;

/// What a script left at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    /// Where.
    pub path: Inside,
    /// The file that was there, if there was one.
    pub before: Option<Vec<u8>>,
    /// The file that is to be there; None removes what was.
    pub after: Option<Vec<u8>>,
    /// Whether it is a folder that comes or goes.
    pub folder: bool,
}

/// What a script came to. Two that are equal did the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it printed.
    pub printed: String,
    /// JSON of the value of its last expression, if that is one.
    pub value: Option<String>,
    /// What it changes, in order of the paths. Nothing, if it failed.
    pub changes: Vec<Staging>,
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
        if let Some(value) = self.value.as_ref().filter(|_| printed.is_empty()) {
            let _ = writeln!(text, "value: {value}");
        }
        match self.changes.len() {
            0 if text.is_empty() => text.push_str("the script printed nothing and changed nothing"),
            0 => {}
            count => {
                for change in self.changes.iter().take(SHOWN) {
                    let _ = writeln!(text, "{}", described(change));
                }
                if count > SHOWN {
                    let _ = writeln!(text, "… and {} more", count - SHOWN);
                }
                text.push_str(&self.diffs());
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// What the changed files had and have, as far as that is short.
    fn diffs(&self) -> String {
        let mut all = String::new();
        for change in &self.changes {
            let (Some(before), Some(after)) = (&change.before, &change.after) else {
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

fn described(change: &Staging) -> String {
    let path = &change.path;
    let size = |bytes: &[u8]| {
        let lines = many(LineCount::of(bytes), "line");
        format!("{lines}, {}", many(bytes.len() as u64, "byte"))
    };
    match (&change.before, &change.after, change.folder) {
        (_, Some(_), true) => format!("made the folder {path}"),
        (_, None, true) => format!("removed the folder {path}"),
        (None, Some(after), _) => format!("wrote {path} ({})", size(after)),
        (Some(_), Some(after), _) => format!("changed {path} (now {})", size(after)),
        (_, None, _) => format!("removed {path}"),
    }
}
