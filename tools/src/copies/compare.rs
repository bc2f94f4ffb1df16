//! What a try changed in its copy.

use std::{collections::BTreeSet, fs, time::Duration};

use gpak_kernel::tool::{Call, ToolContext, ToolError, ToolOutput};
use serde_json::json;
use similar::TextDiff;

use super::{Copies, Manifest, hash};
use crate::{
    text::{self, Stop, head, many, sniff},
    workspace::{Inside, Workspace, rejected},
};

/// Files over this are not shown as a diff.
const DIFFED: u64 = 256 * 1024;

/// A file that is otherwise than it was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) path: Inside,
    /// Hashes of its content.
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Copies {
    /// A unified diff of all that a try changed, bounded. Its data has the number of `changes`, and a `digest` of
    /// them by which two tries that changed the same are known.
    pub(super) fn compare(
        &self,
        call: &Call,
        context: &ToolContext,
        stop: &Stop,
    ) -> Result<ToolOutput, ToolError> {
        let (manifest, copy) = self.opened(context.run, &call.args)?;
        let original = Workspace::open(&context.workspace, &self.protected)?;
        let changes = self.changes(&manifest, &copy, stop)?;
        let mut shown = String::new();
        for change in &changes {
            shown.push_str(&diff(change, &original, &copy));
        }
        let kept = head(&shown, self.output_bytes).to_owned();
        let text = match (changes.len(), shown.len() - kept.len()) {
            (0, _) => "nothing was changed".to_owned(),
            (_, 0) => kept,
            (_, rest) => format!("{kept}\n…{rest} more bytes"),
        };
        let mut digest = blake3::Hasher::new();
        for Changed { path, after, .. } in &changes {
            let after = after.as_deref().unwrap_or("none");
            digest.update(format!("{path}\0{after}\0").as_bytes());
        }
        Ok(ToolOutput {
            data: Some(json!({
                "changes": changes.len(),
                "digest": digest.finalize().to_hex().as_str(),
            })),
            ..ToolOutput::text(text)
        })
    }

    /// What is otherwise in the copy than in its manifest, in order of paths.
    pub(super) fn changes(
        &self,
        manifest: &Manifest,
        copy: &Workspace,
        stop: &Stop,
    ) -> Result<Vec<Changed>, ToolError> {
        let content = self.content(copy, copy.real(), stop)?;
        let there = content.files.into_iter().map(|(path, _)| path);
        let paths: BTreeSet<Inside> = there.chain(manifest.files.keys().cloned()).collect();
        let mut changes = Vec::new();
        for path in paths {
            stop.check()?;
            let file = copy.real().join(path.as_path());
            let is_file = fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_file());
            let after = is_file.then(|| hash(&file)).transpose();
            let after = after.map_err(|e| rejected(format!("cannot read {path}: {e}")))?;
            let before = manifest.files.get(&path).cloned();
            if before != after {
                changes.push(Changed {
                    path,
                    before,
                    after,
                });
            }
        }
        Ok(changes)
    }
}

fn diff(change: &Changed, original: &Workspace, copy: &Workspace) -> String {
    let path = &change.path;
    let read = |workspace: &Workspace, is_there: bool| {
        let file = workspace.real().join(path.as_path());
        let small = fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= DIFFED);
        match is_there {
            false => Some(Vec::new()),
            true => small.then(|| fs::read(&file).ok()).flatten(),
        }
    };
    let before = read(original, change.before.is_some());
    let after = read(copy, change.after.is_some());
    let is_text = |bytes: &[u8]| sniff(bytes) == text::Content::Text;
    let (Some(before), Some(after)) = (before, after) else {
        return format!("{path}: changed, and too large to show\n");
    };
    if !is_text(&before) || !is_text(&after) {
        return format!("{path}: binary, now {}\n", many(after.len() as u64, "byte"));
    }
    let name = |is_there: bool, side: &str| match is_there {
        true => format!("{side}/{path}"),
        false => "/dev/null".to_owned(),
    };
    TextDiff::configure()
        .timeout(Duration::from_millis(500))
        .diff_lines(
            String::from_utf8_lossy(&before).as_ref(),
            String::from_utf8_lossy(&after).as_ref(),
        )
        .unified_diff()
        .header(
            &name(change.before.is_some(), "a"),
            &name(change.after.is_some(), "b"),
        )
        .to_string()
}
