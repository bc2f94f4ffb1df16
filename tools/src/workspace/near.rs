//! What a model may have meant by a path that is not there.

use gpak_kernel::tool::ToolError;
use similar::get_close_matches;

use super::{Inside, Workspace, rejected};
use crate::walk::{Globs, Walk, walk};

/// How many names are looked at, and how many are named.
const SEEN: usize = 5_000;
const NAMED: usize = 3;
/// Names in a folder that an error shows.
const SHOWN: usize = 20;

impl Workspace {
    pub(crate) fn not_found(&self, path: &Inside) -> ToolError {
        if let Ok(target) = self.root.read_link_contents(path.as_path()) {
            return rejected(format!(
                "{path} is a link to {}, which is not there",
                target.display()
            ));
        }
        if path.as_str().contains(['*', '?']) {
            return rejected(self.matching(path));
        }
        let near = self.near(path);
        if !near.is_empty() {
            let near: Vec<_> = near.iter().map(|path| format!("\"{path}\"")).collect();
            return rejected(format!(
                "there is no {path}; did you mean {}?",
                near.join(" or ")
            ));
        }
        let folder = self.existing_parent(path);
        rejected(format!(
            "there is no {path}; use list_files {{\"path\":\"{folder}\"}} to see what is there"
        ))
    }

    /// What a pattern that was given as a path matches.
    fn matching(&self, path: &Inside) -> String {
        let mut files = Vec::new();
        let options = Walk {
            recursive: true,
            globs: Globs::new(self, &Inside::default(), path.as_str()).ok(),
        };
        // A folder that cannot be walked has nothing that matches.
        let _ = walk(self, &Inside::default(), &options, |found| {
            files.push(found.path.to_string());
            Ok(files.len() < SHOWN)
        });
        if files.is_empty() {
            return format!("{path} is a pattern, not one path, and nothing matches it");
        }
        format!(
            "{path} is a pattern, not one path; make a call for each of: {}",
            files.join(", ")
        )
    }

    /// `: a.md, b.md` for a folder with these, for the end of a message.
    pub(crate) fn names_in(&self, folder: &Inside) -> String {
        let Ok(entries) = self.root.read_dir(folder.as_path()) else {
            return String::new();
        };
        let mut names: Vec<_> = entries
            .flatten()
            .take(SEEN)
            .filter_map(|entry| {
                let path = folder.join(entry.file_name().to_str()?);
                let end = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    "/"
                } else {
                    ""
                };
                (!self.is_private(&path)).then(|| format!("{path}{end}"))
            })
            .collect();
        names.sort();
        let more = names.len().saturating_sub(SHOWN);
        names.truncate(SHOWN);
        match (names.is_empty(), more) {
            (true, _) => ". It is empty".to_owned(),
            (_, 0) => format!(". It has: {}", names.join(", ")),
            (_, more) => format!(". It has: {} and {more} more", names.join(", ")),
        }
    }

    fn near(&self, path: &Inside) -> Vec<String> {
        let mut all = Vec::new();
        let options = Walk {
            recursive: true,
            ..Walk::default()
        };
        let _ = walk(self, &Inside::default(), &options, |found| {
            all.push(found.path);
            Ok(all.len() < SEEN)
        });
        let same_name: Vec<_> = all
            .iter()
            .filter(|one| one.name() == path.name())
            .take(NAMED)
            .map(|one| one.to_string())
            .collect();
        if !same_name.is_empty() {
            return same_name;
        }
        let parent = path.parent();
        let siblings: Vec<_> = all
            .iter()
            .filter(|one| one.parent() == parent)
            .map(Inside::as_str)
            .collect();
        let all: Vec<_> = all.iter().map(Inside::as_str).collect();
        for among in [siblings, all] {
            let close = get_close_matches(path.as_str(), &among, NAMED, 0.7);
            if !close.is_empty() {
                return close.into_iter().map(str::to_owned).collect();
            }
        }
        Vec::new()
    }

    fn existing_parent(&self, path: &Inside) -> Inside {
        let mut folder = path.clone();
        while let Some(parent) = folder.parent() {
            folder = parent;
            if self.root.is_dir(folder.as_path()) {
                break;
            }
        }
        folder
    }
}
