//! What a repository says to those who work in it: `AGENTS.md`, `.gpak/skills/*/SKILL.md`, and which files
//! there are.
//!
//! Nothing in a repository may keep a run from starting: what cannot be used is left out, and a notice says
//! why. No link leads out of the repository, and no file is read further than to its limit.

use std::{
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use gpak_kernel::{
    context::{Notes, Repository},
    tool::{Tool, ToolError},
};

use crate::{
    builtin,
    text::{Content, head, sniff},
    workspace::{Inside, Workspace, io_error, rejected},
};

mod contents;
mod open_skill;
mod skills;

/// The file of notes.
const NOTES: &str = "AGENTS.md";
/// Bytes of the files with what they hold.
const CONTENTS: usize = 5000;
/// Bytes of all notes together that are kept, the nearest first.
const NOTES_BYTES: usize = 32 * 1024;

/// What was found in a repository.
#[derive(Default)]
pub struct Found {
    /// What it says.
    pub repository: Repository,
    /// Opens its skills, if it has any.
    pub tool: Option<Arc<dyn Tool>>,
    /// What is there and cannot be used, and why.
    pub notices: Vec<String>,
}

/// The files of `workspace` with what they hold, as far as that is little: for a model that is to begin with
/// them in view. Empty if there are none.
///
/// # Errors
/// If the workspace cannot be read.
pub fn contents(workspace: &Path, protected: &[PathBuf]) -> Result<String, ToolError> {
    contents::contents(&Workspace::open(workspace, protected)?, CONTENTS)
}

/// Reads what the repository around `workspace` says. Nothing at or under `protected` is read; opening a
/// skill gives at most about `output_bytes` of text.
pub fn read(workspace: &Path, protected: &[PathBuf], output_bytes: usize) -> Found {
    let mut found = Found::default();
    found.repository.notes = notes(workspace, protected, &mut found.notices);
    match files(workspace, protected) {
        Ok(files) => found.repository.files = files.unwrap_or_default(),
        Err(why) => found.notices.push(why.to_string()),
    }
    let skills = skills::find(workspace, protected, &mut found.notices);
    if !skills.is_empty() {
        found.repository.skills = skills.iter().map(|skill| skill.listed.clone()).collect();
        let tool = open_skill::OpenSkill::new(skills, protected.to_owned(), output_bytes);
        found.tool = Some(Arc::new(tool));
    }
    found
}

fn files(workspace: &Path, protected: &[PathBuf]) -> Result<Option<String>, ToolError> {
    builtin::overview(Workspace::open(workspace, protected)?)
}

/// The notes of the workspace and of the folders above it, up to the one that has the version control's
/// files. Without these, only the workspace's own: what is above belongs to something else.
fn notes(workspace: &Path, protected: &[PathBuf], notices: &mut Vec<String>) -> Vec<Notes> {
    let Ok(workspace) = workspace.canonicalize() else {
        return Vec::new();
    };
    let root = workspace
        .ancestors()
        .find(|folder| folder.join(".git").exists());
    let root = root.unwrap_or(&workspace);
    let repository = match Workspace::open(root, protected) {
        Ok(repository) => repository,
        Err(why) => {
            notices.push(why.to_string());
            return Vec::new();
        }
    };
    let mut left = NOTES_BYTES;
    let mut notes = Vec::new();
    let mut above = String::new();
    // Nearest first, as these are the last to be left out.
    for folder in workspace.ancestors() {
        let path = format!("{above}{NOTES}");
        let inner = folder
            .strip_prefix(root)
            .unwrap_or(Path::new(""))
            .join(NOTES);
        match file(&repository, &inner, left) {
            Ok(None) => {}
            Ok(Some(file)) => {
                if file.left_out > 0 {
                    notices.push(format!(
                        "{path} is longer than the {} KiB that are read of all {NOTES}; its last {} bytes are left out",
                        NOTES_BYTES / 1024,
                        file.left_out
                    ));
                }
                left -= file.text.len();
                if !file.text.trim().is_empty() {
                    let File { text, left_out } = file;
                    notes.push(Notes {
                        path,
                        text,
                        left_out,
                    });
                }
            }
            Err(why) => notices.push(format!("{path} is not used: {why}")),
        }
        if folder == root {
            break;
        }
        above.push_str("../");
    }
    notes.reverse();
    notes
}

/// The beginning of a text file.
struct File {
    text: String,
    /// Bytes that follow.
    left_out: u64,
}

/// At most `limit` bytes of a text file in the repository. None if there is none.
fn file(repository: &Workspace, path: &Path, limit: usize) -> Result<Option<File>, ToolError> {
    if is_missing(repository, path) {
        return Ok(None);
    }
    let inner = repository.parse(&path.to_string_lossy())?;
    text(repository, &inner, limit).map(Some)
}

/// Whether there is nothing, not even what cannot be opened.
fn is_missing(workspace: &Workspace, path: &Path) -> bool {
    let found = workspace.root().symlink_metadata(path);
    found.is_err_and(|why| why.kind() == ErrorKind::NotFound)
}

/// At most `limit` bytes of a text file.
fn text(workspace: &Workspace, path: &Inside, limit: usize) -> Result<File, ToolError> {
    let (file, metadata) = workspace.open_at(path)?;
    if !metadata.is_file() {
        return Err(rejected(format!("{path} is no file")));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| io_error("read", path, &e))?;
    if let Content::Binary(kind) = sniff(&bytes) {
        return Err(rejected(format!("it is binary: {kind}")));
    }
    let lossy = String::from_utf8_lossy(&bytes);
    let text = head(&lossy, limit)
        .trim_start_matches('\u{feff}')
        .to_owned();
    let left_out = metadata.len().saturating_sub(limit.min(bytes.len()) as u64);
    Ok(File { text, left_out })
}
