//! Runs the evaluation set: each task in a fresh workspace, judged by its checks.

use std::{fmt, path::Path};

use gpak_kernel::identity::Why;
use serde::Serialize;

use super::evals::{EvalError, Split, Task};

/// What an agent did with a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Attempt {
    /// What it answered; nothing if it did not come to an end.
    pub answer: String,
    /// How the run ended, for people: `completed`, `paused: the budget ran out`.
    pub ended: String,
    /// Steps that it took.
    pub steps: u32,
    /// Tokens that it sent and got.
    pub tokens: u64,
    /// Of these tokens, those of the core self, where it is a mind of two.
    #[serde(skip_serializing_if = "is_zero")]
    pub core_tokens: u64,
    /// Why the core self spoke, step by step, where it is a mind of two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub core_for: Vec<Why>,
    /// The most that a reply was in doubt of the tool to call, in nats, where the model measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<f32>,
    /// The highest mean entropy of a reply's calls, in nats a token, where the model measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f32>,
    /// Milliseconds that it took.
    pub ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A task and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The task's name.
    pub id: String,
    /// Its half.
    pub split: Split,
    /// What sort of work it is.
    pub kind: String,
    /// How much there is to do, from 1 to 3.
    pub level: u8,
    /// Whether every check holds.
    pub solved: bool,
    /// The first check that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
    /// What the agent did.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// What came of all tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `provider/name` of the model.
    pub model: String,
    /// In the order in which they were run.
    pub tasks: Vec<Judged>,
}

/// The figures of one half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Tasks that were solved.
    pub solved: usize,
    /// Tasks that were run.
    pub tasks: usize,
    /// Solved tasks in a hundred.
    pub percent: f64,
    /// Mean of the steps of a task.
    pub steps: f64,
    /// Mean of the tokens of a task.
    pub tokens: f64,
    /// Mean of the seconds of a task.
    pub seconds: f64,
}

/// Runs each task with `agent`, in a folder of its own that is deleted afterwards. `heard` is told of each
/// as soon as it is judged.
///
/// # Errors
/// If a workspace cannot be laid out. What the agent does wrong is no error but a complaint.
pub async fn run<A>(
    model: &str,
    tasks: &[Task],
    mut agent: A,
    mut heard: impl FnMut(&Judged),
) -> Result<Report, EvalError>
where
    A: AsyncFnMut(&Task, &Path) -> Attempt,
{
    let mut report = Report {
        model: model.to_owned(),
        tasks: Vec::with_capacity(tasks.len()),
    };
    for task in tasks {
        let workspace = tempfile::Builder::new().prefix("gpak-eval-").tempdir();
        let workspace = workspace.map_err(EvalError::io(&std::env::temp_dir()))?;
        task.lay_out(workspace.path())?;
        let attempt = agent(task, workspace.path()).await;
        let complaint = task.judge(workspace.path(), &attempt.answer);
        let judged = Judged {
            id: task.id.clone(),
            split: task.split,
            kind: task.kind.clone(),
            level: task.level,
            solved: complaint.is_none(),
            complaint,
            attempt,
        };
        heard(&judged);
        report.tasks.push(judged);
    }
    Ok(report)
}

impl Report {
    /// The figures of one half, if any of its tasks was run.
    pub fn figures(&self, split: Split) -> Option<Figures> {
        let of: Vec<_> = self
            .tasks
            .iter()
            .filter(|task| task.split == split)
            .collect();
        if of.is_empty() {
            return None;
        }
        let count = of.len() as f64;
        let mean = |value: &dyn Fn(&Attempt) -> f64| {
            of.iter().map(|task| value(&task.attempt)).sum::<f64>() / count
        };
        let solved = of.iter().filter(|task| task.solved).count();
        Some(Figures {
            solved,
            tasks: of.len(),
            percent: 100.0 * solved as f64 / count,
            steps: mean(&|attempt| f64::from(attempt.steps)),
            tokens: mean(&|attempt| attempt.tokens as f64),
            seconds: mean(&|attempt| attempt.ms as f64 / 1000.0),
        })
    }

    /// Its figures, for programs.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.model,
            "tuning": self.figures(Split::Tuning),
            "held_out": self.figures(Split::HeldOut),
        })
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.solved { "✓" } else { "✗" };
        let Attempt {
            steps,
            tokens,
            ms,
            ended,
            ..
        } = &self.attempt;
        let seconds = *ms as f64 / 1000.0;
        write!(
            f,
            "{mark} {:<22} {:>2} steps {tokens:>7} tokens {seconds:>7.1} s",
            self.id, steps
        )?;
        if let Some(why) = self.core_self() {
            write!(f, "  {why}")?;
        }
        match &self.complaint {
            Some(complaint) => write!(f, "  {complaint} ({ended})"),
            None => Ok(()),
        }
    }
}

impl Judged {
    /// What the core self had to do with it, if anything.
    fn core_self(&self) -> Option<String> {
        let Attempt {
            core_tokens,
            core_for,
            ..
        } = &self.attempt;
        let mut reasons: Vec<String> = Vec::new();
        for why in core_for.iter().map(Why::to_string) {
            if !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        let steps = core_for.len();
        (steps > 0).then(|| {
            let reasons = reasons.join(", ");
            format!("core self: {steps} of the steps, {core_tokens} tokens: {reasons}")
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        writeln!(
            f,
            "{:<10} {:>14} {:>7} {:>9} {:>9}",
            "half", "solved", "steps", "tokens", "seconds"
        )?;
        for split in [Split::Tuning, Split::HeldOut] {
            let Some(figures) = self.figures(split) else {
                continue;
            };
            let solved = format!(
                "{}/{} {:>5.1} %",
                figures.solved, figures.tasks, figures.percent
            );
            let Figures {
                steps,
                tokens,
                seconds,
                ..
            } = figures;
            writeln!(
                f,
                "{:<10} {solved:>14} {steps:>7.1} {tokens:>9.0} {seconds:>9.1}",
                split.title()
            )?;
        }
        for task in self.tasks.iter().filter(|task| !task.solved) {
            let complaint = task.complaint.as_deref().unwrap_or_default();
            writeln!(
                f,
                "not solved: {} ({}): {complaint}",
                task.id,
                task.split.title()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::evals;

    #[tokio::test]
    async fn each_task_gets_a_fresh_workspace_and_the_report_counts_what_was_solved() {
        let tasks = evals::builtin().unwrap();
        let mut seen = Vec::new();
        // This agent knows the answers, but never touches a file.
        let agent = async |task: &Task, workspace: &Path| {
            assert!(task.files.keys().all(|path| workspace.join(path).is_file()));
            seen.push(workspace.to_owned());
            Attempt {
                answer: task.solution.answer.clone(),
                ended: "completed".into(),
                steps: 2,
                tokens: 100,
                ms: 500,
                ..Attempt::default()
            }
        };
        let mut heard = 0;
        let report = run("scripted/oracle", &tasks, agent, |_| heard += 1)
            .await
            .unwrap();
        assert_eq!(heard, tasks.len());
        assert!(seen.iter().all(|workspace| !workspace.exists()));
        let answered = |split| {
            let of = tasks.iter().filter(|task| task.split == split);
            of.filter(|task| task.solution.files.is_empty() && task.solution.removed.is_empty())
                .count()
        };
        for split in [Split::Tuning, Split::HeldOut] {
            let figures = report.figures(split).unwrap();
            assert_eq!(
                (figures.solved, figures.tasks),
                (
                    answered(split),
                    tasks.iter().filter(|task| task.split == split).count()
                )
            );
            assert_eq!(
                (figures.steps, figures.tokens, figures.seconds),
                (2.0, 100.0, 0.5)
            );
        }
        let text = report.to_string();
        assert!(
            text.contains("held out")
                && text.contains("not solved: fix-mean (tuning): `python3 check.py`"),
            "{text}"
        );
        assert_eq!(report.json()["held_out"]["tasks"], 40);
    }
}
