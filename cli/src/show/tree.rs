//! A run as a tree of steps.

use std::fmt::Write;

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, RunId},
    model::ToolCall,
    run::{Machine, State, Turn},
};

use super::{call, live, one_line, outcome, shorten, spent};

const WIDTH: usize = 100;

/// The tree of a run; `full` shows results whole.
pub fn tree(run: RunId, entries: &[Entry], full: bool) -> String {
    let machine = Machine::fold(entries);
    let state = machine.state();
    let mut lines = vec![head(run, state)];
    for turn in &state.turns {
        match turn {
            Turn::Said { text, label } => {
                lines.push(format!("├─ {label}: {}", shorten(&one_line(text), WIDTH)));
            }
            Turn::Replied {
                number,
                reply,
                results,
            } => {
                let said = if reply.thought.is_empty() {
                    &reply.text
                } else {
                    &reply.thought
                };
                lines.push(format!("├─ {number} {}", shorten(&one_line(said), WIDTH)));
                for (call, result) in reply.calls.iter().zip(results) {
                    let result = result.as_ref().map(|(outcome, _)| outcome);
                    lines.extend(branch(call, result, full));
                }
            }
        }
    }
    let undone = entries.iter().filter_map(|entry| match &entry.event {
        Event::Compensated { text, .. } => Some(format!("├─ undone: {text}")),
        _ => None,
    });
    lines.extend(undone);
    lines.push(format!("└─ {}", foot(state)));
    lines.join("\n")
}

fn head(run: RunId, state: &State) -> String {
    let mut head = format!("run {run} · {}", state.status);
    if let Some(setup) = &state.setup {
        let _ = write!(head, " · {}", setup.model.id());
    }
    if let Some(spec) = &state.spec {
        if let Some(origin) = spec.origin {
            let _ = write!(head, " · from {} at {}", origin.run.short(), origin.seq);
        }
        let _ = write!(head, "\n{}\n{}", spec.workspace.display(), spec.task);
    }
    head
}

fn branch(made: &ToolCall, result: Option<&CallOutcome>, full: bool) -> Vec<String> {
    let (mark, text) = match result {
        None => ("…", "not finished"),
        Some(result @ CallOutcome::Done { .. }) => ("●", result.text()),
        Some(result @ CallOutcome::Failed { .. }) => ("✗", result.text()),
        Some(result) => ("○", result.text()),
    };
    let first = format!("│  {mark} {}", call(made));
    if full {
        let rest = text.lines().map(|line| format!("│      {line}"));
        return std::iter::once(first).chain(rest).collect();
    }
    vec![format!("{first} → {}", outcome(text, WIDTH))]
}

fn foot(state: &State) -> String {
    let how = match (&state.outcome, &state.paused) {
        (Some(outcome), _) => live::ending(outcome),
        (None, Some(reason)) => live::waiting(reason),
        (None, None) => state.status.to_string(),
    };
    format!("{how} · {}", spent(&state.spent))
}
