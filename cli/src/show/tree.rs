//! A run as a tree of steps.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
};

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, RunId},
    journal::{Journal, JournalError},
    model::{CallId, ToolCall},
    run::{Machine, State, Turn},
};

use super::{call, live, one_line, outcome, shorten, spent};

const WIDTH: usize = 100;

/// The entries of a run, and of all that it started.
pub struct Family(HashMap<RunId, Vec<Entry>>);

impl Family {
    /// Reads them.
    pub async fn read(journal: &dyn Journal, run: RunId) -> Result<Self, JournalError> {
        let mut all = HashMap::from([(run, journal.read(run, 1).await?)]);
        let mut open = vec![run];
        while let Some(run) = open.pop() {
            let entries = all.get(&run).map_or(&[][..], Vec::as_slice);
            let charged = entries.iter().filter_map(|entry| match &entry.event {
                Event::ChildCharged { run, .. } => Some(*run),
                _ => None,
            });
            let children: BTreeSet<RunId> = charged.collect();
            for child in children {
                match journal.read(child, 1).await {
                    // It was to be started, and was not.
                    Err(JournalError::NoRun(_)) => {}
                    read => {
                        all.insert(child, read?);
                        open.push(child);
                    }
                }
            }
        }
        Ok(Self(all))
    }

    /// The tree of a run; `full` shows results whole.
    pub fn tree(&self, run: RunId, full: bool) -> String {
        let entries = self.0.get(&run).map_or(&[][..], Vec::as_slice);
        let machine = Machine::fold(entries);
        let tree = Tree {
            family: self,
            run,
            entries,
            state: machine.state(),
            full,
        };
        tree.draw()
    }
}

struct Tree<'a> {
    family: &'a Family,
    run: RunId,
    entries: &'a [Entry],
    state: &'a State,
    full: bool,
}

impl Tree<'_> {
    fn draw(&self) -> String {
        let (run, state, full) = (self.run, self.state, self.full);
        let mut lines = vec![head(run, state)];
        lines.extend(state.recalled_first().iter().map(|hit| {
            format!(
                "├─ remembers {}: {}",
                hit.id,
                shorten(&one_line(&hit.episode.text), WIDTH)
            )
        }));
        lines.extend(self.own(0));
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
                    let spoken = reply.spoken.iter().filter(|spoken| spoken.is_notable());
                    lines.extend(spoken.map(|spoken| format!("│  ◆ {spoken}")));
                    for (index, (call, result)) in (0..).zip(reply.calls.iter().zip(results)) {
                        let result = result.as_ref().map(|(outcome, _)| outcome);
                        lines.extend(branch(call, result, full));
                        let reply = *number;
                        lines.extend(self.below(CallId { reply, index }));
                    }
                    lines.extend(self.own(*number));
                }
            }
        }
        let undone = self.entries.iter().filter_map(|entry| match &entry.event {
            Event::Compensated { text, .. } => Some(format!("├─ undone: {text}")),
            _ => None,
        });
        lines.extend(undone);
        lines.push(format!("└─ {}", foot(state)));
        lines.join("\n")
    }

    /// What the machine called by itself after that reply.
    fn own(&self, reply: u32) -> Vec<String> {
        let own = self.state.own.iter().filter(|own| own.id.reply == reply);
        own.flat_map(|own| {
            let mut lines = branch(&own.call, own.outcome(), self.full);
            lines.extend(self.below(own.id));
            lines
        })
        .collect()
    }

    /// What a call's tool called, and the run that it started.
    fn below(&self, asking: CallId) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in self.entries {
            if let Event::NestedCalled {
                by, call, outcome, ..
            } = &entry.event
                && *by == asking
            {
                let nested = branch(call, Some(outcome), self.full);
                lines.extend(nested.iter().map(|line| line.replacen("│  ", "│    ↳ ", 1)));
            }
        }
        lines.extend(self.child(asking));
        lines
    }

    /// The run that a call started, as a branch.
    fn child(&self, call: CallId) -> Vec<String> {
        let child = self.run.child(call);
        if !self.family.0.contains_key(&child) {
            return Vec::new();
        }
        let tree = self.family.tree(child, self.full);
        tree.lines().map(|line| format!("│    {line}")).collect()
    }
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
