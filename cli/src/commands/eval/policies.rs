//! `gpak eval --policies`: what a mind of two solves by each policy, and what it takes of the core self.

use std::{fmt, path::Path};

use gpak_kernel::identity::Policy;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    bench::{
        agent::{self, Report},
        evals::Task,
    },
    commands::{bench::attempt, print_json},
    failure::{DONE, Failure},
    home::Home,
    minds,
    settings::Settings,
};

/// What a policy came to.
#[derive(Debug, Clone, Serialize)]
struct Row {
    policy: String,
    solved: usize,
    tasks: usize,
    core_tokens: u64,
    tokens: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Table {
    rows: Vec<Row>,
}

/// Each policy on all tasks: a line for each task as it is judged, a row for each policy.
pub async fn compare(
    home: &Home,
    settings: &Settings,
    policies: &[Policy],
    tasks: &[Task],
    json: bool,
) -> Result<u8, Failure> {
    let stop = CancellationToken::new();
    let mut table = Table { rows: Vec::new() };
    for policy in policies {
        let mind = minds::open(home, settings, *policy, &stop).await?.mind;
        let agent =
            async |task: &Task, workspace: &Path| attempt(home, &mind, task, workspace, None).await;
        let name = policy.to_string();
        let id = mind.profile().id();
        let report = agent::run(&id, tasks, agent, |judged| match json {
            true => print_json(&serde_json::json!({"policy": name, "task": judged})),
            false => say!("{name:<11} {judged}"),
        });
        let report = report.await.map_err(|why| Failure::new(why.to_string()))?;
        table.rows.push(Row::of(name.clone(), &report));
    }
    match json {
        true => print_json(&table),
        false => say_text!("\n{table}"),
    }
    Ok(DONE)
}

impl Row {
    fn of(policy: String, report: &Report) -> Self {
        let sum = |of: fn(&agent::Attempt) -> u64| {
            let tasks = report.tasks.iter();
            tasks.map(|task| of(&task.attempt)).sum::<u64>()
        };
        Self {
            policy,
            solved: report.tasks.iter().filter(|task| task.solved).count(),
            tasks: report.tasks.len(),
            core_tokens: sum(|attempt| attempt.core_tokens),
            tokens: sum(|attempt| attempt.tokens),
            seconds: sum(|attempt| attempt.ms) as f64 / 1e3,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cloud = self.rows.iter().find(|row| row.policy == "cloud-only");
        let part = |of: f64, whole: Option<f64>| match whole {
            Some(whole) if whole > 0.0 => format!("{:.1} %", 100.0 * of / whole),
            _ => "-".to_owned(),
        };
        writeln!(
            f,
            "{:<11} {:>9} {:>10} {:>12} {:>10} {:>10} {:>9}",
            "policy", "solved", "of cloud", "core tokens", "of cloud", "tokens", "seconds"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<11} {:>9} {:>10} {:>12} {:>10} {:>10} {:>9.1}",
                row.policy,
                format!("{}/{}", row.solved, row.tasks),
                part(row.solved as f64, cloud.map(|row| row.solved as f64)),
                row.core_tokens,
                part(
                    row.core_tokens as f64,
                    cloud.map(|row| row.core_tokens as f64)
                ),
                row.tokens,
                row.seconds,
            )?;
        }
        Ok(())
    }
}
