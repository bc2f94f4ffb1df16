//! Walks the workspace as ripgrep would: in order of names, past what `.gitignore` leaves out.

use std::{
    io,
    path::{Path, PathBuf},
};

use gpak_kernel::tool::ToolError;
use ignore::{
    WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
    overrides::{Override, OverrideBuilder},
};

use crate::workspace::{Inside, Workspace, rejected};

/// How a folder is walked.
#[derive(Default)]
pub(crate) struct Walk {
    /// Into folders too; then what is ignored is left out.
    pub(crate) recursive: bool,
    /// Only what these match; folders are walked anyway.
    pub(crate) globs: Option<Globs>,
}

/// A thing found on a walk.
pub(crate) struct Found {
    pub(crate) path: Inside,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Other,
}

/// A glob of a model, which may mean the workspace or the folder that it searches.
pub(crate) struct Globs([Override; 2]);

impl Globs {
    pub(crate) fn new(
        workspace: &Workspace,
        folder: &Inside,
        glob: &str,
    ) -> Result<Self, ToolError> {
        let rooted = |root: &Path| {
            let mut builder = OverrideBuilder::new(root);
            builder
                .add(glob)
                .and_then(|builder| builder.build())
                .map_err(|e| {
                    rejected(format!(
                        "\"{glob}\" is not a glob ({e}); one looks like \"*.md\" or \"src/**/*.rs\""
                    ))
                })
        };
        Ok(Self([
            rooted(workspace.real())?,
            rooted(&workspace.real().join(folder.as_path()))?,
        ]))
    }

    pub(crate) fn match_file(&self, path: &Path) -> bool {
        self.0
            .iter()
            .any(|globs| !globs.matched(path, false).is_ignore())
    }
}

/// Calls `visit` with all that is in `folder` (which has no links in it), until it says `false`.
/// Names come from the operating system's paths; contents are opened by the caller, through the
/// workspace.
pub(crate) fn walk(
    workspace: &Workspace,
    folder: &Inside,
    options: &Walk,
    mut visit: impl FnMut(Found) -> Result<bool, ToolError>,
) -> Result<(), ToolError> {
    let base = workspace.real().join(folder.as_path());
    for entry in builder(workspace, folder, &base, options.recursive).build() {
        // A folder that cannot be read, or has gone, hides nothing else.
        let Ok(entry) = entry else { continue };
        let Some(path) = inside(workspace, entry.path()) else {
            continue;
        };
        if entry.depth() == 0 || workspace.is_private(&path) {
            continue;
        }
        let kind = match entry.file_type() {
            Some(kind) if kind.is_symlink() => Kind::Link,
            Some(kind) if kind.is_dir() => Kind::Folder,
            Some(kind) if kind.is_file() => Kind::File,
            _ => Kind::Other,
        };
        let globs = options.globs.as_ref();
        if globs.is_some_and(|globs| kind == Kind::Folder || !globs.match_file(entry.path())) {
            continue;
        }
        if !visit(Found { path, kind })? {
            break;
        }
    }
    Ok(())
}

fn builder(workspace: &Workspace, folder: &Inside, base: &Path, recursive: bool) -> WalkBuilder {
    let above = ignores_above(workspace, folder);
    let private: Vec<PathBuf> = workspace.private_folders().collect();
    let mut builder = WalkBuilder::new(base);
    builder
        .hidden(false)
        .parents(false)
        .git_global(false)
        .git_ignore(recursive)
        .git_exclude(recursive)
        .ignore(recursive)
        .require_git(false)
        .follow_links(false)
        .max_depth((!recursive).then_some(1))
        .sort_by_file_name(|a, b| a.cmp(b))
        .filter_entry(move |entry| {
            let path = entry.path();
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let ignored = || {
                above
                    .iter()
                    .any(|ignore| ignore.matched(path, is_dir).is_ignore())
            };
            let private = || entry.file_name() == ".git" || private.iter().any(|one| path == one);
            entry.depth() == 0 || !(private() || recursive && ignored())
        });
    builder
}

/// The `.gitignore` of each folder from the workspace down to above `folder`. Those above the
/// workspace do not count: what lies outside does not decide what is seen inside.
fn ignores_above(workspace: &Workspace, folder: &Inside) -> Vec<Gitignore> {
    let mut all = Vec::new();
    let mut here = folder.parent();
    while let Some(folder) = here {
        let path = workspace.real().join(folder.as_path());
        let mut builder = GitignoreBuilder::new(&path);
        builder.add(path.join(".gitignore"));
        all.extend(builder.build().ok().filter(|ignore| !ignore.is_empty()));
        here = folder.parent();
    }
    all
}

fn inside(workspace: &Workspace, path: &Path) -> Option<Inside> {
    workspace.parse(path.to_str()?).ok()
}

/// Whether a walk may end in silence: the thing went away meanwhile.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
