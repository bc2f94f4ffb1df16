//! `gpak eval`: strategies, compared on the evaluation set.

mod policies;

use std::{fmt, path::Path};

use clap::ValueEnum as _;
use gpak_kernel::event::Choice;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::bench::{attempt, selected};
use crate::{
    args::{Compared, EvalArgs},
    bench::{
        agent::{self, Figures, Report},
        evals::{Split, Task},
    },
    commands::print_json,
    failure::{DONE, Failure},
    home::Home,
    settings::Settings,
    wire,
};

/// `gpak eval`: a line for each task as it is judged, a row for each strategy once all its tasks are.
pub async fn eval(home: &Home, args: EvalArgs, json: bool) -> Result<u8, Failure> {
    let tasks = selected(args.tasks.as_deref(), args.half, &args.only)?;
    let settings = Settings::read(home, Path::new("."))?;
    if !args.policies.is_empty() {
        return policies::compare(home, &settings, &args.policies, &tasks, json).await;
    }
    let id = args.model.as_deref();
    let mind = wire::mind(home, &settings, id, &CancellationToken::new()).await?;
    let mut table = Table {
        model: mind.model.profile().id(),
        rows: Vec::new(),
    };
    for compared in wanted(&args.strategies) {
        let name = name(compared);
        let agent = async |task: &Task, workspace: &Path| {
            attempt(home, &mind.model, task, workspace, choice(compared)).await
        };
        let report = agent::run(&table.model, &tasks, agent, |judged| match json {
            true => print_json(&serde_json::json!({"strategy": name, "task": judged})),
            false => say!("{name:<8} {judged}"),
        });
        let report = report.await.map_err(|why| Failure::new(why.to_string()))?;
        let row = Row::of(name, &report);
        if !json {
            say!("{row}");
        }
        table.rows.push(row);
    }
    match json {
        true => print_json(&table),
        false => say_text!("\n{table}"),
    }
    Ok(DONE)
}

/// The strategies, each once, in the order in which they are shown.
fn wanted(said: &[Compared]) -> Vec<Compared> {
    let mut wanted = match said.contains(&Compared::All) {
        true => Compared::value_variants().to_vec(),
        false => said.to_vec(),
    };
    wanted.retain(|one| *one != Compared::All);
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn choice(compared: Compared) -> Option<Choice> {
    match compared {
        Compared::Direct => Some(Choice::Direct),
        Compared::React => Some(Choice::React),
        Compared::Plan => Some(Choice::Plan),
        Compared::Search => Some(Choice::Search),
        Compared::Chosen => Some(Choice::Auto),
        Compared::All => None,
    }
}

fn name(compared: Compared) -> &'static str {
    match compared {
        Compared::Direct => "direct",
        Compared::React => "react",
        Compared::Plan => "plan",
        Compared::Search => "search",
        Compared::Chosen => "chosen",
        Compared::All => "all",
    }
}

/// What a strategy came to.
#[derive(Debug, Clone, Serialize)]
struct Row {
    strategy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tuning: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Figures>,
}

#[derive(Debug, Serialize)]
struct Table {
    model: String,
    rows: Vec<Row>,
}

impl Row {
    fn of(strategy: &'static str, report: &Report) -> Self {
        Self {
            strategy,
            tuning: report.figures(Split::Tuning),
            held_out: report.figures(Split::HeldOut),
        }
    }

    fn halves(&self) -> impl Iterator<Item = (&'static str, &Figures)> {
        let tuning = self.tuning.iter().map(|it| (Split::Tuning.title(), it));
        let held_out = self.held_out.iter().map(|it| (Split::HeldOut.title(), it));
        tuning.chain(held_out)
    }
}

impl Table {
    /// Whether what the model chose is as good as the best single strategy, half by half.
    fn verdicts(&self) -> Vec<String> {
        let is_chosen = |row: &&Row| row.strategy == "chosen";
        let Some(chosen) = self.rows.iter().find(is_chosen) else {
            return Vec::new();
        };
        let verdict = |(half, chosen): (&str, &Figures)| {
            let single = self.rows.iter().filter(|row| !is_chosen(row));
            let in_half = single.filter_map(|row| {
                let mut halves = row.halves();
                Some((
                    row.strategy,
                    halves.find(|(name, _)| *name == half)?.1.solved,
                ))
            });
            let (name, solved) = in_half.rev().max_by_key(|(_, solved)| *solved)?;
            let is = match chosen.solved.cmp(&solved) {
                std::cmp::Ordering::Less => "worse than",
                std::cmp::Ordering::Equal => "as good as",
                std::cmp::Ordering::Greater => "better than",
            };
            Some(format!(
                "{half}: chosen is {is} the best single strategy, {name} ({} and {solved} of {} solved)",
                chosen.solved, chosen.tasks
            ))
        };
        chosen.halves().filter_map(verdict).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.halves().map(|(half, figures)| {
            let solved = format!(
                "{}/{} {:>5.1} %",
                figures.solved, figures.tasks, figures.percent
            );
            format!(
                "{:<10} {half:<9} {solved:>14} {:>7.1} {:>9.0} {:>9.1}",
                self.strategy, figures.steps, figures.tokens, figures.seconds
            )
        });
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.model)?;
        writeln!(
            f,
            "{:<10} {:<9} {:>14} {:>7} {:>9} {:>9}",
            "strategy", "half", "solved", "steps", "tokens", "seconds"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for verdict in self.verdicts() {
            writeln!(f, "{verdict}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(strategy: &'static str, solved: usize) -> Row {
        let figures = Figures {
            solved,
            tasks: 4,
            percent: 25.0 * solved as f64,
            steps: 2.0,
            tokens: 100.0,
            seconds: 0.5,
        };
        Row {
            strategy,
            tuning: None,
            held_out: Some(figures),
        }
    }

    #[test]
    fn the_table_says_whether_choosing_is_as_good_as_the_best_single_strategy() {
        for (chosen, says) in [(1, "worse than"), (3, "as good as"), (4, "better than")] {
            let table = Table {
                model: "scripted/x".into(),
                rows: vec![row("react", 3), row("plan", 2), row("chosen", chosen)],
            };
            let text = table.to_string();
            assert!(
                text.contains(&format!("held out: chosen is {says}")),
                "{text}"
            );
            assert!(text.contains("strategy, react ("), "{text}");
        }
    }

    #[test]
    fn all_is_each_strategy_once() {
        use Compared::{All, Chosen, Direct, Plan, React, Search};
        assert_eq!(wanted(&[All, Plan]), [Direct, React, Plan, Search, Chosen]);
        assert_eq!(wanted(&[Plan, React, Plan]), [React, Plan]);
    }
}
