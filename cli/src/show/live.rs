//! A run as it goes on: a line for each thought and each call, a spinner while the model thinks.
//!
//! What is told goes to standard error; the answer goes to standard output, so that it can be piped.

use std::{io::IsTerminal, time::Duration};

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, Outcome, PauseReason, PlanStatus},
    model::{CallId, Delta, ToolCall},
    run::{Observer, State},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{call, one_line, outcome, shorten};

/// Characters of a thought or a result that a line shows.
const WIDTH: usize = 100;

/// Shows a run on a terminal, or line by line where there is none.
pub struct Live {
    spinner: ProgressBar,
    colour: bool,
    thought: String,
    /// How many runs are above the one that is shown.
    depth: usize,
}

impl Live {
    /// For standard error.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let spinner = if terminal {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        spinner.set_style(ProgressStyle::default_spinner().tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        Self {
            spinner,
            colour: super::colour(),
            thought: String::new(),
            depth: 0,
        }
    }

    /// Takes the spinner away, as before a question.
    pub fn spinner(&self) -> ProgressBar {
        self.spinner.clone()
    }

    /// Takes the spinner away for good.
    pub fn end(&self) {
        self.spinner.finish_and_clear();
    }

    fn line(&self, colour: &str, text: &str) {
        let text = format!("{}{text}", "    ".repeat(self.depth));
        let line = super::tinted(&text, colour, self.colour);
        if self.spinner.is_hidden() {
            eprintln!("{line}");
        } else {
            self.spinner.println(line);
        }
    }

    fn wait(&self, message: String) {
        self.spinner.set_message(message);
        self.spinner.enable_steady_tick(Duration::from_millis(100));
    }

    fn finished(&self, id: CallId, state: &State, result: &CallOutcome, ms: u64) {
        if let Some(made) = state.call(id) {
            self.call("  ", made, result, ms);
        }
    }

    /// A call that came to its end, behind what tells whose it is.
    fn call(&self, before: &str, made: &ToolCall, result: &CallOutcome, ms: u64) {
        let time = if ms >= 1000 {
            format!(" ({})", super::seconds(Duration::from_millis(ms)))
        } else {
            String::new()
        };
        let (mark, colour) = match result {
            CallOutcome::Done { .. } => ("●", "32"),
            CallOutcome::Failed { .. } => ("✗", "31"),
            CallOutcome::Refused { .. } | CallOutcome::Unknown { .. } => ("○", "33"),
        };
        let result = outcome(result.text(), WIDTH);
        let made = call(made);
        self.line(colour, &format!("{before}{mark} {made} → {result}{time}"));
    }
}

impl Observer for Live {
    fn entry(&mut self, entry: &Entry, state: &State) {
        let parent = state.spec.as_ref().and_then(|spec| spec.parent);
        self.depth = parent.map_or(0, |parent| parent.depth as usize);
        match &entry.event {
            Event::RunStarted { setup } => {
                let (run, model) = (entry.run.short(), setup.model.id());
                self.line("2", &format!("run {run} · {model}"));
            }
            Event::RunResumed { .. } => {
                self.line("2", &format!("run {} goes on", entry.run.short()))
            }
            Event::MemoryRecalled { hits, failed } => {
                for line in super::recalled(hits, failed.as_deref(), WIDTH) {
                    self.line("2", &line);
                }
            }
            Event::ModelReplied { reply } => {
                self.thought.clear();
                let thought = if reply.thought.is_empty() {
                    &reply.text
                } else {
                    &reply.thought
                };
                if let Some(spoken) = reply.spoken.as_ref().filter(|one| one.is_notable()) {
                    self.line("2", &format!("  ◆ {spoken}"));
                }
                let is_answer = reply.calls.is_empty();
                if !thought.is_empty() && !is_answer {
                    self.line("0", &shorten(&one_line(thought), 2 * WIDTH));
                }
            }
            Event::ModelFailed { error } => self.line("31", &format!("  ✗ {error}")),
            Event::ToolStarted { call: id, .. } => {
                let made = state.call(*id).map(call).unwrap_or_default();
                self.wait(made);
            }
            Event::ToolFinished {
                call: id,
                outcome,
                ms,
                tool,
                ..
            } if tool != "finish" => {
                self.finished(*id, state, outcome, *ms);
            }
            // It comes before the end of the call that asked for it.
            Event::NestedCalled {
                by,
                call,
                outcome,
                ms,
            } => {
                let by = state.call(*by).map_or("", |call| call.name.as_str());
                self.call(&format!("    {by} ↳ "), call, outcome, *ms);
            }
            Event::PlanChanged { plan } => {
                for item in plan {
                    let mark = match item.status {
                        PlanStatus::Pending => "☐",
                        PlanStatus::Active => "▸",
                        PlanStatus::Done => "☑",
                    };
                    self.line("36", &format!("  {mark} {}", one_line(&item.text)));
                }
            }
            Event::IdentityChanged { version, .. } => {
                self.line(
                    "36",
                    &format!("  the identity is version {version} from now on"),
                );
            }
            Event::StrategyChanged {
                strategy, reason, ..
            } => {
                let (name, reason) = (super::strategy(*strategy), outcome(reason, WIDTH));
                self.line("33", &format!("  {name}: {reason}"));
            }
            Event::RunFinished { outcome } if parent.is_some() => {
                self.line(
                    "2",
                    &format!("  {}", super::outcome(&ending(outcome), WIDTH)),
                );
            }
            Event::RunPaused { .. } | Event::RunFinished { .. } if parent.is_none() => {
                self.spinner.finish_and_clear();
            }
            Event::ContextCompacted {
                through_reply: last @ 1..,
                ..
            } => self.line(
                "2",
                &format!("  steps 1 to {last} are shown to the model in short now"),
            ),
            _ => {}
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Loading => self.wait("loading the model".to_owned()),
            Delta::Reading(done, all) => self.wait(format!("reading {done} of {all} tokens")),
            Delta::Thought(text) | Delta::Text(text) | Delta::Call(text) => {
                self.thought.push_str(text);
                let from = self.thought.chars().count().saturating_sub(WIDTH);
                let tail: String = self.thought.chars().skip(from).collect();
                self.wait(one_line(&tail));
            }
        }
    }
}

/// How a run ended, for people.
pub fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed { .. } => "done".to_owned(),
        Outcome::Failed { reason } => format!("failed: {reason}"),
        Outcome::Cancelled => "cancelled".to_owned(),
    }
}

/// Why a run waits, for people.
pub fn waiting(reason: &PauseReason) -> String {
    match reason {
        PauseReason::Budget { message } => format!("out of budget: {message}"),
        PauseReason::Model { message } => format!("the model did not answer: {message}"),
        PauseReason::Tool { message } => message.clone(),
        PauseReason::Interrupted => "interrupted".to_owned(),
        PauseReason::Unanswered => "it waits for an answer".to_owned(),
        PauseReason::Stuck { message } => format!("it got nowhere: {message}"),
    }
}
