//! What must hold when a task of the evaluation set is done.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

use super::evals::Task;

/// How long a command of a check may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something that must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "look", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// A file of the workspace.
    File(FileCheck),
    /// A value in a JSON or TOML file.
    Data {
        /// The file.
        path: String,
        /// Where in it (RFC 6901).
        pointer: String,
        /// What must be there.
        equals: Value,
    },
    /// What the agent answered.
    Answer(AnswerCheck),
    /// What a command says.
    Command {
        /// The program and its arguments.
        run: Vec<String>,
        /// What it must print.
        #[serde(default)]
        stdout: String,
    },
}

/// What must hold for a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileCheck {
    path: String,
    equals: Option<String>,
    contains: Vec<String>,
    lacks: Vec<String>,
    matches: Vec<String>,
    absent: bool,
    unchanged: bool,
}

/// What must hold for an answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerCheck {
    contains: Vec<String>,
    lacks: Vec<String>,
    matches: Vec<String>,
    number: Option<f64>,
}

impl Check {
    /// Why it does not hold, if it does not.
    pub fn complaint(&self, task: &Task, workspace: &Path, answer: &str) -> Option<String> {
        match self {
            Self::File(check) => check.complaint(task, workspace),
            Self::Data {
                path,
                pointer,
                equals,
            } => data(&workspace.join(path), pointer, equals)
                .err()
                .map(|reason| format!("{path}: {reason}")),
            Self::Answer(check) => check.complaint(answer),
            Self::Command { run, stdout } => command(workspace, run, stdout)
                .err()
                .map(|reason| format!("`{}`: {reason}", run.join(" "))),
        }
    }
}

impl FileCheck {
    fn complaint(&self, task: &Task, workspace: &Path) -> Option<String> {
        let path = workspace.join(&self.path);
        if self.absent {
            return path
                .symlink_metadata()
                .is_ok()
                .then(|| format!("{} is still there", self.path));
        }
        let Ok(content) = std::fs::read_to_string(&path) else {
            return Some(format!("{} is not there", self.path));
        };
        self.content_complaint(task, &content)
            .map(|reason| format!("{}: {reason}", self.path))
    }

    fn content_complaint(&self, task: &Task, content: &str) -> Option<String> {
        if self.unchanged && task.files.get(&self.path).map(String::as_str) != Some(content) {
            return Some("it was changed".into());
        }
        if let Some(wanted) = &self.equals
            && even(wanted) != even(content)
        {
            return Some(format!("it has another content: {:?}", short(content)));
        }
        texts(content, &self.contains, &self.lacks, &self.matches)
    }
}

impl AnswerCheck {
    fn complaint(&self, answer: &str) -> Option<String> {
        let lower = |words: &[String]| {
            words
                .iter()
                .map(|word| word.to_lowercase())
                .collect::<Vec<_>>()
        };
        let said = answer.to_lowercase();
        let complaint = texts(&said, &lower(&self.contains), &lower(&self.lacks), &[]);
        let complaint = complaint.or_else(|| texts(answer, &[], &[], &self.matches));
        let complaint = complaint.or_else(|| {
            let wanted = self.number?;
            let found = numbers(answer).any(|number| (number - wanted).abs() < 1e-9);
            (!found).then(|| format!("it has no {wanted}"))
        });
        complaint.map(|reason| format!("the answer {:?}: {reason}", short(answer)))
    }
}

fn texts(text: &str, contains: &[String], lacks: &[String], matches: &[String]) -> Option<String> {
    if let Some(word) = contains.iter().find(|word| !text.contains(word.as_str())) {
        return Some(format!("it lacks {word:?}"));
    }
    if let Some(word) = lacks.iter().find(|word| text.contains(word.as_str())) {
        return Some(format!("it has {word:?}"));
    }
    matches
        .iter()
        .find_map(|pattern| match regex::Regex::new(pattern) {
            Ok(regex) if regex.is_match(text) => None,
            Ok(_) => Some(format!("it does not match {pattern:?}: {:?}", short(text))),
            Err(error) => Some(format!("the check is wrong: {error}")),
        })
}

/// A text without what nobody sees: space at the end, and the ends of lines of another system.
fn even(text: &str) -> String {
    text.replace("\r\n", "\n").trim_end().to_owned()
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

/// The numbers in a text: `1,042` is one thousand and forty-two, and `K7` has none.
fn numbers(text: &str) -> impl Iterator<Item = f64> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | ',' | '-' | '_')));
    words.filter_map(|word| {
        let word = word
            .trim_matches(|c: char| matches!(c, '.' | ',' | '_'))
            .replace(',', "");
        word.parse().ok().filter(|number: &f64| number.is_finite())
    })
}

fn data(path: &Path, pointer: &str, wanted: &Value) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|_| "it is not there".to_owned())?;
    let is_toml = path
        .extension()
        .is_some_and(|extension| extension == "toml");
    let value: Value = match is_toml {
        true => {
            toml::from_str(&text).map_err(|error| format!("it is no TOML: {}", error.message()))?
        }
        false => serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?,
    };
    match value.pointer(pointer) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("{pointer} is {found}, not {wanted}")),
        None => Err(format!("it has no {pointer}")),
    }
}

fn command(workspace: &Path, run: &[String], wanted: &str) -> Result<(), String> {
    let (program, arguments) = run.split_first().ok_or("the check is wrong: no command")?;
    let spawned = Command::new(program)
        .args(arguments)
        .current_dir(workspace)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = spawned.map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("it took more than {} seconds", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut printed = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout
            .read_to_string(&mut printed)
            .map_err(|error| error.to_string())?;
    }
    match (status.success(), printed.contains(wanted)) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("it prints {:?}", short(&printed))),
        (false, _) => Err(format!("it fails ({status})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(check: &AnswerCheck, text: &str) -> bool {
        check.complaint(text).is_none()
    }

    #[test]
    fn an_answer_is_judged_by_what_it_says_and_not_by_how() {
        let check = AnswerCheck {
            contains: vec!["Limits.py".into()],
            number: Some(1042.0),
            ..Default::default()
        };
        assert!(answer(&check, "It is in src/limits.py: 1,042."));
        assert!(answer(&check, "**1042** (`LIMITS.PY`)"));
        assert!(!answer(&check, "limits.py: 10421"));
        assert!(!answer(&check, "limits.py: 1042a"));
        assert!(!answer(&check, "1042"));
    }

    #[test]
    fn numbers_are_found_in_sentences() {
        let found: Vec<_> = numbers("From 7 to 4.25, and 1,000. Not K7-419, v2; -3=x.").collect();
        assert_eq!(found, [7.0, 4.25, 1000.0, -3.0]);
    }

    #[test]
    fn a_command_that_fails_or_says_something_else_is_a_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let run = |words: &[&str], wanted| {
            let words: Vec<_> = words.iter().map(|word| word.to_string()).collect();
            command(dir.path(), &words, wanted)
        };
        assert!(run(&["sh", "-c", "echo ok"], "ok").is_ok());
        assert!(run(&["sh", "-c", "echo ok"], "ko").is_err());
        assert!(run(&["sh", "-c", "echo ok; exit 1"], "ok").is_err());
        assert!(run(&["no-such-program"], "").is_err());
    }
}
