//! A conversation as it goes on: what the model thinks and says as it comes, a line for each call.
//!
//! Answers go to standard output and all else to standard error, so that a script gets answers only.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use gpak_kernel::{
    entry::Entry,
    event::{CallOutcome, Event, PlanItem, PlanStatus, Refusal},
    model::{Delta, ToolCall},
    run::{Observer, State},
};

use super::{answer::Answer, status::Facts};
use crate::{
    commands::print_json,
    show::{self, live::Live},
};

/// Characters of a line that tells of a call.
const WIDTH: usize = 100;
/// Characters of a line that is taken away again: more would take a second line on a narrow terminal.
const PASSING: usize = 70;

/// Shows a conversation.
pub struct View {
    facts: Arc<Mutex<Facts>>,
    kind: Kind,
    /// Calls that were not made because nobody could approve them.
    pub denied: u64,
}

enum Kind {
    Json,
    Lines(Live),
    Screen(Screen),
}

impl View {
    /// As JSON, one entry a line.
    pub fn json(facts: Arc<Mutex<Facts>>) -> Self {
        Self::of(facts, Kind::Json)
    }

    /// Where there is no terminal.
    pub fn lines(facts: Arc<Mutex<Facts>>) -> Self {
        Self::of(facts, Kind::Lines(Live::new()))
    }

    /// At a terminal.
    pub fn screen(facts: Arc<Mutex<Facts>>) -> Self {
        Self::of(facts, Kind::Screen(Screen::new()))
    }

    fn of(facts: Arc<Mutex<Facts>>, kind: Kind) -> Self {
        let denied = 0;
        Self {
            facts,
            kind,
            denied,
        }
    }

    /// Nothing more comes.
    pub fn end(&mut self) {
        match &mut self.kind {
            Kind::Json => {}
            Kind::Lines(live) => live.end(),
            Kind::Screen(screen) => screen.end_stream(),
        }
    }
}

impl Observer for View {
    fn entry(&mut self, entry: &Entry, state: &State) {
        // The runs that it starts are no conversations.
        if state.is_conversation() {
            let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
            facts.take(state);
        }
        if let Event::ToolFinished { outcome, .. } = &entry.event
            && let CallOutcome::Refused { by, .. } = outcome
        {
            self.denied += u64::from(*by == Refusal::Permission);
        }
        match &mut self.kind {
            Kind::Json => print_json(entry),
            Kind::Lines(live) => {
                live.entry(entry, state);
                if let Some(answer) = answered(&entry.event, state) {
                    say!("{}", show::plain(answer));
                }
            }
            Kind::Screen(screen) => screen.entry(entry, state),
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        match &mut self.kind {
            Kind::Json => {}
            Kind::Lines(live) => live.delta(delta),
            Kind::Screen(screen) => screen.delta(delta),
        }
    }
}

/// The answer that an entry gives, if it does.
fn answered<'a>(event: &Event, state: &'a State) -> Option<&'a str> {
    match event {
        Event::ModelReplied { reply } if reply.calls.is_empty() => state.answer(),
        Event::ToolFinished { tool, outcome, .. } if tool == "finish" && outcome.is_done() => {
            state.answer()
        }
        _ => None,
    }
}

/// What is being written, without a line end yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Nothing,
    Thought,
    Said,
}

/// A terminal.
struct Screen {
    colour: bool,
    stream: Stream,
    /// Whether the cursor stands behind something on its line.
    mid_line: bool,
    /// Whether the line is one that is taken away again.
    passing: bool,
    answer: Answer,
    /// What of the reply's answer is on the screen.
    told: String,
}

impl Screen {
    fn new() -> Self {
        Self {
            colour: show::colour(),
            stream: Stream::Nothing,
            mid_line: false,
            passing: false,
            answer: Answer::default(),
            told: String::new(),
        }
    }

    fn entry(&mut self, entry: &Entry, state: &State) {
        match &entry.event {
            Event::RunStarted { setup } => {
                let (run, model) = (entry.run.short(), setup.model.id());
                self.line("2", &format!("run {run} · {model}"));
            }
            Event::MemoryRecalled { hits, failed } => {
                for line in show::recalled(hits, failed.as_deref(), WIDTH) {
                    self.line("2", &line);
                }
            }
            Event::ModelReplied { reply } => {
                if !reply.calls.is_empty() && self.stream == Stream::Thought {
                    self.end_stream();
                }
                let ends = reply.calls.iter().any(|call| call.name == "finish");
                if !ends && !reply.calls.is_empty() {
                    self.forget();
                }
            }
            Event::ModelFailed { error } => {
                self.line("31", &format!("  ✗ {error}"));
                self.forget();
            }
            Event::ToolStarted { call, .. } => {
                self.end_stream();
                let made = state.call(*call).map(show::call).unwrap_or_default();
                self.pass(&format!("  … {made}"));
            }
            Event::ToolFinished {
                call,
                tool,
                outcome,
                ms,
                ..
            } if tool != "finish" => {
                if let Some(made) = state.call(*call) {
                    self.finished(made, outcome, *ms);
                }
            }
            Event::ToolFinished { outcome, .. } if !outcome.is_done() => {
                self.end_stream();
                self.forget();
            }
            Event::PlanChanged { .. } => self.line("36", &plan(&state.plan)),
            Event::IdentityChanged { version, .. } => {
                self.line(
                    "36",
                    &format!("  the identity is version {version} from now on"),
                );
            }
            Event::StrategyChanged { reason, .. } => {
                self.line("33", &format!("  {}", show::outcome(reason, WIDTH)));
            }
            Event::ContextCompacted { .. } => {
                self.line("2", "  older results are left out from now on");
            }
            Event::ApprovalRequested { .. } | Event::RunPaused { .. } => {
                self.end_stream();
                self.forget();
            }
            _ => {}
        }
        if let Some(answer) = answered(&entry.event, state) {
            self.tell(answer);
        }
    }

    fn delta(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Loading => self.pass("loading the model"),
            Delta::Reading(done, all) => self.pass(&format!("reading {done} of {all} tokens")),
            Delta::Thought(text) => self.write(Stream::Thought, text),
            Delta::Text(text) => {
                self.told.push_str(text);
                self.write(Stream::Said, text);
            }
            Delta::Call(text) => {
                let fresh = self.answer.push(text);
                self.told.push_str(&fresh);
                self.write(Stream::Said, &fresh);
            }
        }
    }

    fn finished(&mut self, made: &ToolCall, result: &CallOutcome, ms: u64) {
        let time = match ms {
            1000.. => {
                let time = std::time::Duration::from_millis(ms);
                format!(" ({})", show::seconds(time))
            }
            _ => String::new(),
        };
        let (mark, tint) = match result {
            CallOutcome::Done { .. } => ("●", "32"),
            CallOutcome::Failed { .. } => ("✗", "31"),
            CallOutcome::Refused { .. } | CallOutcome::Unknown { .. } => ("○", "33"),
        };
        let result = show::outcome(result.text(), WIDTH);
        let made = show::call(made);
        self.line(tint, &format!("  {mark} {made} → {result}{time}"));
    }

    /// The answer, but for what of it is on the screen.
    fn tell(&mut self, answer: &str) {
        let told = std::mem::take(&mut self.told);
        match answer.strip_prefix(told.as_str()) {
            Some(rest) if !told.is_empty() => self.write(Stream::Said, rest),
            _ if told.trim() == answer.trim() => {}
            _ => {
                self.end_stream();
                self.write(Stream::Said, answer);
            }
        }
        self.end_stream();
        self.forget();
    }

    fn forget(&mut self) {
        self.answer = Answer::default();
        self.told.clear();
    }

    fn write(&mut self, stream: Stream, text: &str) {
        let text = show::plain(text);
        if text.is_empty() {
            return;
        }
        if self.stream != stream {
            self.end_stream();
            self.stream = stream;
        }
        self.mid_line = !text.ends_with('\n');
        if stream == Stream::Said {
            say_text!("{text}");
            // A terminal that is gone is noticed where lines are read.
            let _ = std::io::stdout().flush();
        } else {
            eprint!("{}", show::tinted(&text, "2", self.colour));
        }
    }

    fn end_stream(&mut self) {
        if self.passing {
            eprint!("\r\x1b[K");
        } else if self.mid_line {
            eprintln!();
        }
        (self.passing, self.mid_line, self.stream) = (false, false, Stream::Nothing);
    }

    fn line(&mut self, tint: &str, text: &str) {
        self.end_stream();
        eprintln!("{}", show::tinted(&show::plain(text), tint, self.colour));
    }

    /// Something that stands there only until something else does.
    fn pass(&mut self, text: &str) {
        if self.mid_line && !self.passing {
            return;
        }
        let text = show::shorten(&show::one_line(&show::plain(text)), PASSING);
        eprint!("\r\x1b[K{}", show::tinted(&text, "2", self.colour));
        (self.passing, self.mid_line) = (true, true);
    }
}

/// A plan, a line each.
pub fn plan(items: &[PlanItem]) -> String {
    let line = |item: &PlanItem| {
        let mark = match item.status {
            PlanStatus::Pending => "☐",
            PlanStatus::Active => "▸",
            PlanStatus::Done => "☑",
        };
        format!("  {mark} {}", show::one_line(&item.text))
    };
    items.iter().map(line).collect::<Vec<_>>().join("\n")
}
