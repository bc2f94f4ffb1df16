//! Skills: folders with a `SKILL.md`, in the Agent Skills format (agentskills.io/specification).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gpak_kernel::context::Skill;
use serde::Deserialize;

use crate::workspace::Workspace;

/// Where skills are in a workspace.
const FOLDER: &str = ".gpak/skills";
/// The file that makes a folder one.
pub(super) const FILE: &str = "SKILL.md";
/// Skills of one repository.
const MOST: usize = 64;
/// Bytes within which the front matter must end.
const FRONT_MATTER: usize = 16 * 1024;
/// Bytes above which a file is said to be long.
pub(super) const LONG: u64 = 64 * 1024;
/// Characters of a name.
const NAME: usize = 64;
/// Characters of a description.
const DESCRIPTION: usize = 1024;

/// A skill and where it is.
pub(super) struct Located {
    pub(super) listed: Skill,
    /// Its folder, in the workspace.
    pub(super) folder: String,
}

/// The members of a front matter that are used; others are for others.
#[derive(Deserialize)]
struct FrontMatter {
    name: String,
    description: String,
}

/// The skills of a workspace, by folder.
pub(super) fn find(
    workspace: &Path,
    protected: &[PathBuf],
    notices: &mut Vec<String>,
) -> Vec<Located> {
    let Ok(workspace) = Workspace::open(workspace, protected) else {
        return Vec::new();
    };
    if super::is_missing(&workspace, Path::new(FOLDER)) {
        return Vec::new();
    }
    let names = workspace
        .parse(FOLDER)
        .and_then(|path| workspace.locate(&path))
        .map_err(|why| why.to_string())
        .and_then(|path| names(&workspace, path.as_path()).map_err(|why| why.to_string()));
    let names = match names {
        Ok(names) => names,
        Err(why) => {
            notices.push(format!("the skills in {FOLDER} are not used: {why}"));
            return Vec::new();
        }
    };
    let mut skills: BTreeMap<String, Located> = BTreeMap::new();
    for name in names {
        if skills.len() == MOST {
            notices.push(format!(
                "{FOLDER} has more than {MOST} skills; {name} and what follows it are not used"
            ));
            break;
        }
        let folder = format!("{FOLDER}/{name}");
        let skill = match skill(&workspace, &folder, &name, notices) {
            Ok(skill) => skill,
            Err(why) => {
                notices.push(format!("the skill {folder} is not used: {why}"));
                continue;
            }
        };
        if let Some(other) = skills.get(&skill.name) {
            notices.push(format!(
                "the skill {folder} is not used: {} has the same name, {}",
                other.folder, skill.name
            ));
            continue;
        }
        let located = Located {
            listed: skill,
            folder,
        };
        skills.insert(located.listed.name.clone(), located);
    }
    skills.into_values().collect()
}

/// The names of what may be skills: folders, and links that may lead to some.
fn names(workspace: &Workspace, folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in workspace.root().read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_symlink() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn skill(
    workspace: &Workspace,
    folder: &str,
    name: &str,
    notices: &mut Vec<String>,
) -> Result<Skill, String> {
    let path = format!("{folder}/{FILE}");
    let file = super::file(workspace, Path::new(&path), FRONT_MATTER);
    let file = file.map_err(|why| why.to_string())?;
    let file = file.ok_or_else(|| format!("it has no {FILE}"))?;
    let (front, _) = split(&file.text).ok_or_else(|| {
        format!("{FILE} does not begin with its name and description between two lines of ---")
    })?;
    let FrontMatter {
        name: said,
        description,
    } = serde_saphyr::from_str(front).map_err(|why| {
        let why = why.to_string();
        let first = why.lines().next().unwrap_or_default();
        format!("what stands between the two lines of --- in {FILE} cannot be read: {first}")
    })?;
    if !is_name(&said) {
        return Err(format!(
            "its name is `{said}`; a name is lower-case letters, digits and single hyphens, {NAME} at most"
        ));
    }
    let mut description = description.trim().to_owned();
    if description.is_empty() {
        return Err("its description is empty".to_owned());
    }
    if said != name {
        notices.push(format!(
            "the skill in {folder} names itself `{said}`, and is used under that name"
        ));
    }
    if let Some((end, _)) = description.char_indices().nth(DESCRIPTION) {
        notices.push(format!(
            "the description of the skill {said} is longer than {DESCRIPTION} characters; the rest is left out"
        ));
        description.truncate(end);
    }
    let long = FRONT_MATTER as u64 + file.left_out;
    if file.left_out > 0 && long > LONG {
        notices.push(format!(
            "{path} is {long} bytes long; opened, it is shown only as far as it fits"
        ));
    }
    Ok(Skill {
        name: said,
        description,
    })
}

/// A file's front matter and what follows it.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("---")?;
    let rest = rest.strip_prefix('\r').unwrap_or(rest).strip_prefix('\n')?;
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Some((rest.get(..at)?, rest.get(at + line.len()..)?));
        }
        at += line.len();
    }
    None
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty() && part.chars().all(good)
    };
    name.len() <= NAME && name.split('-').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_the_format_wants_them() {
        for good in ["pdf-processing", "a", "v2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "PDF",
            "-pdf",
            "pdf-",
            "pdf--x",
            "a b",
            "a_b",
            "../x",
            &"a".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_front_matter_ends_with_its_second_line_of_dashes() {
        let split = |text| super::split(text);
        assert_eq!(split("---\na: 1\n---\nbody\n"), Some(("a: 1\n", "body\n")));
        assert_eq!(split("---\r\na: 1\r\n---\r\nx"), Some(("a: 1\r\n", "x")));
        assert_eq!(split("---\na: 1\n---"), Some(("a: 1\n", "")));
        assert_eq!(split("---\na: 1\n"), None);
        assert_eq!(split("# Title\n---\n"), None);
    }
}
