//! The evaluation set: small agent tasks over files (`examples/evals`).

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};

use super::check::Check;

/// A task, with all that is needed to set it up and to judge what came of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its name.
    pub id: String,
    /// Which part it belongs to.
    pub split: Split,
    /// What sort of work it is.
    pub kind: String,
    /// 1 is one look, 2 is a look and a change, 3 is several steps.
    pub level: u8,
    /// What the agent is told.
    pub task: String,
    /// What the workspace holds at the beginning.
    pub files: BTreeMap<String, String>,
    /// What must hold at the end.
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
    /// A way to do it.
    pub solution: Solution,
    /// Answers that are not enough.
    #[serde(default)]
    pub wrong: Vec<Wrong>,
}

/// The two parts of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// May be looked at to make the agent better.
    Tuning,
    /// Is only measured.
    HeldOut,
}

impl Split {
    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tuning => "tuning",
            Self::HeldOut => "held out",
        }
    }
}

/// A way to do a task.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Solution {
    /// What is answered.
    pub answer: String,
    /// What is written.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What is deleted.
    #[serde(default)]
    pub removed: Vec<String>,
}

/// An answer that is not enough, if no file is changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrong {
    /// The answer.
    pub answer: String,
}

/// Why a set of tasks cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// A task's file is wrong.
    #[error("the task {name} is wrong: {reason}")]
    Task {
        /// Its file.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk said no.
    #[error("cannot use {path}: {error}")]
    Io {
        /// What was to be read or written.
        path: String,
        /// What went wrong.
        error: std::io::Error,
    },
}

impl EvalError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::Io { path, error }
    }
}

impl Task {
    fn parse(name: &str, text: &str) -> Result<Self, EvalError> {
        let wrong = |reason: String| EvalError::Task {
            name: name.to_owned(),
            reason,
        };
        let task: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if task.checks.is_empty() {
            return Err(wrong("it has no check".into()));
        }
        let written = task
            .files
            .keys()
            .chain(task.solution.files.keys())
            .chain(&task.solution.removed);
        for path in written {
            if !Path::new(path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                return Err(wrong(format!("{path} is not a path in the workspace")));
            }
        }
        Ok(task)
    }

    /// Lays out the task's files in a folder.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn lay_out(&self, workspace: &Path) -> Result<(), EvalError> {
        write_all(workspace, &self.files)
    }

    /// Why the checks do not hold, if they do not.
    pub fn judge(&self, workspace: &Path, answer: &str) -> Option<String> {
        self.checks
            .iter()
            .find_map(|check| check.complaint(self, workspace, answer))
    }

    /// Makes sure that the checks fail where nothing was done or the answer is wrong, and that the
    /// solution passes them.
    ///
    /// # Errors
    /// [`EvalError::Task`] says which of these is not so.
    pub fn prove(&self) -> Result<(), EvalError> {
        let wrong = |reason: String| EvalError::Task {
            name: self.id.clone(),
            reason,
        };
        let workspace = tempfile::tempdir().map_err(EvalError::io(&std::env::temp_dir()))?;
        let workspace = workspace.path();
        self.lay_out(workspace)?;
        let idle = ["", self.task.as_str()];
        let wrongs = self.wrong.iter().map(|wrong| wrong.answer.as_str());
        for answer in idle.into_iter().chain(wrongs) {
            if self.judge(workspace, answer).is_none() {
                return Err(wrong(format!(
                    "its checks accept the answer {answer:?} and no work"
                )));
            }
        }
        write_all(workspace, &self.solution.files)?;
        for path in &self.solution.removed {
            let path = workspace.join(path);
            std::fs::remove_file(&path).map_err(EvalError::io(&path))?;
        }
        match self.judge(workspace, &self.solution.answer) {
            Some(complaint) => Err(wrong(format!(
                "its checks refuse its solution: {complaint}"
            ))),
            None => Ok(()),
        }
    }
}

fn write_all(workspace: &Path, files: &BTreeMap<String, String>) -> Result<(), EvalError> {
    for (path, content) in files {
        let path = workspace.join(path);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, content))
            .map_err(EvalError::io(&path))?;
    }
    Ok(())
}

/// The tasks that gpak was built with.
///
/// # Errors
/// None, as a test makes sure.
pub fn builtin() -> Result<Vec<Task>, EvalError> {
    BUILTIN
        .iter()
        .map(|(name, text)| Task::parse(name, text))
        .collect()
}

/// The tasks of a folder: every `.toml` file is one. Each is [proven](Task::prove) first.
///
/// # Errors
/// If the folder cannot be read, has no task, or a task is wrong.
pub fn load(dir: &Path) -> Result<Vec<Task>, EvalError> {
    let entries = std::fs::read_dir(dir).map_err(EvalError::io(dir))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).map_err(EvalError::io(path))?;
        let task = Task::parse(&path.display().to_string(), &text)?;
        task.prove().map(|()| task)
    };
    if paths.is_empty() {
        return Err(EvalError::Task {
            name: dir.display().to_string(),
            reason: "the folder has no .toml file".into(),
        });
    }
    paths.iter().map(read).collect()
}

macro_rules! tasks {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../examples/evals/", $name, ".toml")))),*]
    };
}

/// Of each kind three are for tuning and two are held out.
const BUILTIN: &[(&str, &str)] = tasks! {
    "count-error-lines" "count-functions" "long-count-badges"
    "find-constant" "find-customer" "long-find-wind"
    "fix-typo-readme" "fix-typo-command" "long-typo-menu"
    "rename-drafts" "move-logs" "long-move-invoices"
    "csv-email" "csv-lowest-stock" "long-table-freezer"
    "sum-expenses" "sum-hours" "long-sum-fuel"
    "report-first-lines" "report-titles" "long-report-decisions"
    "json-port" "json-theme" "long-json-greenhouse"
    "bump-cargo" "bump-package" "long-bump-tidepool"
    "todo-list" "fixme-list" "long-hack-list"
    "delete-tmp" "delete-backups" "long-delete-thumbs"
    "longest-file" "largest-file" "long-compare-playlists"
    "doc-leave" "doc-timeout" "long-answer-hall"
    "compare-lines" "compare-names" "long-compare-tour"
    "add-name" "add-step" "long-add-logbook"
    "replace-word" "rename-function" "long-rename-shipping"
    "search-edit-timeout" "search-edit-price" "long-search-vet"
    "nested-code" "nested-status" "long-nested-tracker"
    "run-script" "run-build" "long-run-seal"
    "fix-mean" "fix-greeting" "long-fix-parking"
    "change-phone" "coldest-station"
    "count-unpacked" "delete-withdrawn"
    "ferry-pier" "file-invoices"
    "find-breaker" "fix-closing-time"
    "fix-duration" "insert-stop"
    "kiln-serial" "licence-list"
    "loan-rules" "meeting-dates"
    "missing-setting" "printer-duplex"
    "rename-variable" "run-checksum"
    "site-languages" "sum-litres"
    "add-hours" "biggest-team"
    "bump-pyproject" "compare-seeds"
    "count-late" "delete-old"
    "doc-chain" "find-skipper"
    "fix-change" "fix-typo-rooms"
    "hack-list" "json-volume"
    "move-tracks" "nested-van"
    "replace-ship" "report-exhibits"
    "run-lottery" "search-edit-platform"
    "sum-walks" "tallest-tree"
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doing_nothing_and_wrong_answers_solve_no_task_and_the_solution_solves_it() {
        for task in builtin().unwrap() {
            task.prove().unwrap();
        }
    }

    #[test]
    fn a_right_answer_without_the_work_does_not_solve_a_task_about_files() {
        for task in builtin().unwrap() {
            let workspace = tempfile::tempdir().unwrap();
            task.lay_out(workspace.path()).unwrap();
            if !task.solution.files.is_empty() || !task.solution.removed.is_empty() {
                let answer = &task.solution.answer;
                assert!(
                    task.judge(workspace.path(), answer).is_some(),
                    "{}",
                    task.id
                );
            }
        }
    }

    #[test]
    fn a_task_that_anybody_or_nobody_passes_is_refused() {
        let (_, text) = BUILTIN[0];
        let proof = |text: &str| {
            Task::parse("x", text)
                .unwrap()
                .prove()
                .unwrap_err()
                .to_string()
        };
        let lax = text.replacen("number = 7\n", "", 1);
        assert!(proof(&lax).contains("accept the answer"), "{lax}");
        let strict = text.replacen("number = 7", "number = 77", 1);
        assert!(proof(&strict).contains("refuse its solution"), "{strict}");
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_err());
        std::fs::write(dir.path().join("lax.toml"), lax).unwrap();
        assert!(load(dir.path()).is_err());
    }

    #[test]
    fn the_parts_are_alike_and_hold_every_file_of_the_folder() {
        let tasks = builtin().unwrap();
        let of = |split| {
            let mut all = BTreeMap::new();
            for task in tasks.iter().filter(|task| task.split == split) {
                *all.entry((task.kind.as_str(), task.level)).or_insert(0) += 1;
            }
            all
        };
        let (mut tuning, mut held_out) = (of(Split::Tuning), of(Split::HeldOut));
        assert_eq!(tuning.values().sum::<usize>(), 60);
        assert_eq!(held_out.values().sum::<usize>(), 40);
        // Of each kind and level there are three for tuning where two are held out.
        tuning.values_mut().for_each(|count| *count *= 2);
        held_out.values_mut().for_each(|count| *count *= 3);
        assert_eq!(tuning, held_out);
        let folder =
            load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/evals")).unwrap();
        let ids = |tasks: &[Task]| {
            tasks
                .iter()
                .map(|task| task.id.clone())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(ids(&folder), ids(&tasks));
        assert_eq!(ids(&tasks).len(), tasks.len());
    }

    #[test]
    fn a_task_that_writes_outside_its_workspace_is_refused() {
        let (_, text) = BUILTIN[0];
        let text = text.replacen("\"logs/app.log\"", "\"../app.log\"", 2);
        assert!(Task::parse("x", &text).is_err());
    }
}
