//! What a run leaves behind in memory. It is made of its entries alone: no model has a say in it, and it is
//! the same whenever it is made, so that making it again keeps nothing twice.
//!
//! Of every task or message of the user: what was asked, and what came of it. Of what went well: how. Facts
//! that the model pinned. And of the steps that a compaction left out of what the model is shown: each one,
//! so that recalling finds what it once saw.
//!
//! What was recalled is not kept as new.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    context::{complaint, head, in_short, one_line},
    entry::Entry,
    event::{CallOutcome, Event, Outcome, RunId, RunSpec},
    label::Label,
    memory::{Episode, Kind, Origin},
    model::{CallId, Reply, ToolCall, step::blocks},
    tool::{Control, Effect, ToolSpec},
};

/// The tool whose results come from memory.
pub const RECALL: &str = "recall";
/// The other tools that work on memory: what they do is there already.
const OF_MEMORY: [&str; 2] = ["remember", "forget"];

/// Who is the speaker of what the run itself said or did.
const AGENT: &str = "gpak";
/// Who is the speaker of what the user said.
const USER: &str = "user";
/// Bytes of what was asked, or of an answer.
const SAID: usize = 4000;
/// Bytes of one step.
const STEP: usize = 4000;
/// Bytes of a program that worked.
const PROGRAM: usize = 1500;
/// Calls, or complaints, that are told of one task.
const CALLS: usize = 12;
/// Bytes of a complaint.
const COMPLAINT: usize = 200;

/// What the entries of a run, from its first, leave behind. Nothing of a run that is a part of another one:
/// that one has what came of it.
pub fn of(entries: &[Entry]) -> Vec<Episode> {
    let mut scribe = Scribe::default();
    for entry in entries {
        scribe.read(entry);
    }
    scribe.close();
    scribe.without_recalled()
}

/// The steps from the one behind `after` through `through`, one episode each.
pub fn of_steps(entries: &[Entry], after: u32, through: u32) -> Vec<Episode> {
    let mut scribe = Scribe {
        steps: Some(after + 1..=through),
        ..Scribe::default()
    };
    for entry in entries {
        scribe.read(entry);
    }
    scribe.episodes = scribe.step_texts();
    scribe.without_recalled()
}

/// Reads a run from its first entry on, and writes down what is worth keeping.
#[derive(Default)]
struct Scribe {
    run: Option<RunId>,
    spec: Option<RunSpec>,
    tools: Vec<ToolSpec>,
    /// What all that the model has seen so far is trusted as.
    label: Option<Label>,
    replies: u32,
    /// Calls of replies whose outcome is not known yet.
    open: BTreeMap<CallId, ToolCall>,
    exchange: Option<Exchange>,
    episodes: Vec<Episode>,
    /// What memory gave.
    recalled: Vec<String>,
    /// The replies that are to be written down whole, if that is what is wanted.
    steps: Option<std::ops::RangeInclusive<u32>>,
    written: BTreeMap<u32, Step>,
}

/// A task or a message, and what was done about it.
struct Exchange {
    asked: String,
    origin: Origin,
    at: Timestamp,
    acts: Vec<String>,
    programs: Vec<String>,
    changes: usize,
    complaints: Vec<String>,
    answer: Option<Answer>,
}

struct Answer {
    text: String,
    ok: bool,
    origin: Origin,
    at: Timestamp,
    label: Label,
}

/// One reply and what came of its calls.
struct Step {
    text: String,
    origin: Origin,
    at: Timestamp,
    label: Label,
}

impl Scribe {
    fn read(&mut self, entry: &Entry) {
        let origin = Origin {
            run: entry.run,
            entry: entry.seq,
        };
        match &entry.event {
            Event::RunCreated { spec } => {
                self.run = Some(entry.run);
                self.spec = Some(spec.clone());
                self.ask(&spec.task, origin, entry.time);
            }
            Event::RunStarted { setup } => self.tools.clone_from(&setup.tools),
            Event::RunResumed {
                setup: Some(setup), ..
            } => self.tools.clone_from(&setup.tools),
            Event::MessageReceived { text, from } => {
                self.see(from);
                if *from == Label::User && self.spec.as_ref().is_some_and(|spec| spec.conversation)
                {
                    self.close();
                    self.ask(text, origin, entry.time);
                }
            }
            Event::MemoryRecalled { hits, .. } => {
                for hit in hits {
                    self.see(&hit.episode.label);
                    self.recalled.push(hit.episode.text.clone());
                }
            }
            Event::ModelReplied { reply } => self.reply(reply, origin, entry.time),
            Event::ToolFinished {
                call,
                outcome,
                from,
                ..
            } => self.finish(*call, outcome, from, origin, entry.time),
            Event::RunFinished { outcome } => {
                let (text, ok) = match outcome {
                    Outcome::Completed { answer } => (answer.as_str(), true),
                    Outcome::Failed { reason } => (reason.as_str(), false),
                    Outcome::Cancelled => return,
                };
                self.answer(text, ok, origin, entry.time);
            }
            _ => {}
        }
    }

    fn label(&self) -> Label {
        self.label.clone().unwrap_or(Label::Own)
    }

    fn see(&mut self, from: &Label) {
        self.label = Some(self.label().or_less_trusted(from));
    }

    fn ask(&mut self, text: &str, origin: Origin, at: Timestamp) {
        self.exchange = Some(Exchange {
            asked: text.to_owned(),
            origin,
            at,
            acts: Vec::new(),
            programs: Vec::new(),
            changes: 0,
            complaints: Vec::new(),
            answer: None,
        });
    }

    fn answer(&mut self, text: &str, ok: bool, origin: Origin, at: Timestamp) {
        let label = self.label();
        if let Some(exchange) = &mut self.exchange {
            exchange.answer = Some(Answer {
                text: text.trim().to_owned(),
                ok,
                origin,
                at,
                label,
            });
        }
    }

    fn reply(&mut self, reply: &Reply, origin: Origin, at: Timestamp) {
        self.replies += 1;
        let calls = (0..).zip(&reply.calls).map(|(index, call)| {
            let reply = self.replies;
            (CallId { reply, index }, call.clone())
        });
        self.open = calls.collect();
        if reply.calls.is_empty() && !reply.text.trim().is_empty() {
            self.answer(&reply.text, true, origin, at);
        }
        let wanted = self.steps.as_ref();
        if wanted.is_some_and(|steps| steps.contains(&self.replies)) {
            let said = [reply.thought.trim(), reply.text.trim()];
            let said: Vec<&str> = said.into_iter().filter(|text| !text.is_empty()).collect();
            let (text, label) = (said.join("\n"), self.label());
            let step = Step {
                text,
                origin,
                at,
                label,
            };
            self.written.insert(self.replies, step);
        }
    }

    fn finish(
        &mut self,
        id: CallId,
        outcome: &CallOutcome,
        from: &Label,
        origin: Origin,
        at: Timestamp,
    ) {
        let Some(call) = self.open.remove(&id) else {
            return;
        };
        let tool = self.tools.iter().find(|tool| tool.name == call.name);
        let (control, effect) = (
            tool.and_then(|tool| tool.control),
            tool.map(|tool| tool.effect),
        );
        if call.name == RECALL {
            self.recalled.push(outcome.text().to_owned());
            self.see(from);
            return;
        }
        if OF_MEMORY.contains(&call.name.as_str()) {
            return;
        }
        match control {
            Some(Control::Finish) if outcome.is_done() => {
                return self.answer(outcome.text(), true, origin, at);
            }
            Some(Control::Pin) if outcome.is_done() => return self.pin(&call, origin, at),
            Some(control) if control != Control::Delegate => return,
            _ => self.see(from),
        }
        let is_program = blocks::is_script(&self.tools, &call);
        if let Some(exchange) = &mut self.exchange {
            exchange.made(&call, outcome, effect, is_program);
        }
        if let Some(step) = self.written.get_mut(&id.reply) {
            step.label = step.label.clone().or_less_trusted(from);
            let _ = write!(step.text, "\n{}: {}", in_short(&call), outcome.text());
        }
    }

    fn pin(&mut self, call: &ToolCall, origin: Origin, at: Timestamp) {
        if let Some(fact) = call.args.get("fact").and_then(Value::as_str) {
            let label = self.label();
            let mut episode = self.episode(fact, label, origin, at);
            episode.kind = Kind::Semantic;
            episode.importance = 0.7;
            self.episodes.push(episode);
        }
    }

    /// Writes down the exchange that ends here.
    fn close(&mut self) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        let asked = head(exchange.asked.trim(), SAID);
        let mut episode = self.episode(asked, Label::User, exchange.origin, exchange.at);
        episode.speaker = Some(USER.to_owned());
        self.episodes.push(episode);
        let Some(answer) = &exchange.answer else {
            return;
        };
        let text = exchange.told(answer);
        let mut episode = self.episode(&text, answer.label.clone(), answer.origin, answer.at);
        episode.speaker = Some(AGENT.to_owned());
        episode.importance = 0.6;
        self.episodes.push(episode);
        if let Some(way) = exchange.way(answer) {
            let mut episode = self.episode(&way, answer.label.clone(), answer.origin, answer.at);
            episode.kind = Kind::Procedural;
            self.episodes.push(episode);
        }
    }

    fn episode(&self, text: &str, label: Label, origin: Origin, at: Timestamp) -> Episode {
        let workspace = self.spec.as_ref().map(|spec| &spec.workspace);
        let mut episode = Episode::new(text, label, at);
        episode.origin = Some(origin);
        episode.conversation = self.run.map(|run| run.to_string());
        episode.workspace = workspace.map(|path| path.to_string_lossy().into_owned());
        episode
    }

    fn step_texts(&self) -> Vec<Episode> {
        let steps = self.written.values();
        let told = steps.filter(|step| !step.text.trim().is_empty());
        let episode = |step: &Step| {
            let text = head(step.text.trim(), STEP);
            let mut episode = self.episode(text, step.label.clone(), step.origin, step.at);
            episode.speaker = Some(AGENT.to_owned());
            episode.importance = 0.4;
            episode
        };
        told.map(episode).collect()
    }

    /// What was written down, without what came from memory.
    fn without_recalled(self) -> Vec<Episode> {
        if self.spec.is_none_or(|spec| spec.parent.is_some()) {
            return Vec::new();
        }
        let known: Vec<String> = self.recalled.iter().map(|text| plain(text)).collect();
        let is_new = |episode: &Episode| {
            let text = plain(&episode.text);
            !text.is_empty() && !known.iter().any(|known| known.contains(&text))
        };
        self.episodes.into_iter().filter(is_new).collect()
    }
}

impl Exchange {
    fn made(
        &mut self,
        call: &ToolCall,
        outcome: &CallOutcome,
        effect: Option<Effect>,
        is_program: bool,
    ) {
        if let Some(complaint) = complaint(outcome) {
            let complaint = one_line(&complaint, COMPLAINT);
            self.complaints
                .push(format!("{}: {complaint}", in_short(call)));
        } else if outcome.is_done() {
            self.acts.push(in_short(call));
            if effect.is_some_and(|effect| effect != Effect::Pure) {
                self.changes += 1;
            }
            if is_program {
                let code = call.args.as_object().into_iter().flatten();
                let code = code.filter_map(|(_, value)| value.as_str()).next();
                self.programs
                    .extend(code.map(|code| head(code, PROGRAM).to_owned()));
            }
        }
    }

    /// What came of it, in words.
    fn told(&self, answer: &Answer) -> String {
        let mut text = match answer.ok {
            true => head(&answer.text, SAID).to_owned(),
            false => format!("This failed: {}", head(&answer.text, SAID)),
        };
        let mut list = |title: &str, lines: &[String]| {
            let from = lines.len().saturating_sub(CALLS);
            let lines = lines.get(from..).unwrap_or_default();
            if !lines.is_empty() {
                let _ = write!(text, "\n{title}: {}", lines.join("; "));
            }
        };
        list("Done", &self.acts);
        list("Did not work", &self.complaints);
        text
    }

    /// How it was done, if it was and something was changed for it.
    fn way(&self, answer: &Answer) -> Option<String> {
        if !answer.ok || self.changes == 0 {
            return None;
        }
        let task = one_line(self.asked.trim(), COMPLAINT);
        let mut text = format!("How this was done: {task}");
        match self.programs.last() {
            Some(program) => {
                let _ = write!(text, "\n{program}");
            }
            None => {
                let from = self.acts.len().saturating_sub(CALLS);
                for act in self.acts.iter().skip(from) {
                    let _ = write!(text, "\n- {act}");
                }
            }
        }
        Some(text)
    }
}

/// A text without what does not make it another one.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}
