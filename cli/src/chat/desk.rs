//! The person a conversation is with: types messages and commands, approves calls.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use gpak_kernel::{
    event::Decision,
    policy::{Access, Permissions, Rule},
    run::{Answer, Human, Waiting},
    tool::{Call, ToolSpec},
};

use super::{
    approvals::{self, Leave},
    commands::{self, Command, Typed},
    editor::{Ask, Heard, Lines},
    interrupts::Interrupts,
    status::Facts,
    view,
};
use crate::show;

/// What the person wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// This is said to the model.
    Say(String),
    /// This is done to the conversation.
    Do(Command),
    /// To leave.
    Quit,
}

/// Where the person sits.
pub struct Desk {
    /// Where lines come from.
    pub lines: Lines,
    /// Whether somebody can be asked more than for the next message.
    pub at_terminal: bool,
    /// What is known of the conversation.
    pub facts: Arc<Mutex<Facts>>,
    /// What Ctrl-C stops.
    pub interrupts: Arc<Interrupts>,
    /// The user's own settings, where rules are kept.
    pub config: PathBuf,
    /// What can be called.
    pub tools: Vec<ToolSpec>,
    /// What the run may do. Rules are added as the person gives them.
    pub permissions: Mutex<Permissions>,
    wish: Mutex<Option<Wish>>,
    /// Whether another Ctrl-C leaves.
    armed: AtomicBool,
}

impl Desk {
    /// A desk with nobody's wish on it.
    pub fn new(
        lines: Lines,
        at_terminal: bool,
        facts: Arc<Mutex<Facts>>,
        interrupts: Arc<Interrupts>,
        config: PathBuf,
        tools: Vec<ToolSpec>,
        permissions: Permissions,
    ) -> Self {
        Self {
            lines,
            at_terminal,
            facts,
            interrupts,
            config,
            tools,
            permissions: Mutex::new(permissions),
            wish: Mutex::default(),
            armed: AtomicBool::new(false),
        }
    }

    /// What the person wants next. What only shows something is done here.
    pub async fn wish(&self) -> Wish {
        loop {
            let above = locked(&self.facts).line();
            let heard = tokio::select! {
                heard = self.lines.ask(Ask::Message(above)) => heard,
                () = self.interrupts.left() => return Wish::Quit,
            };
            let line = match heard {
                Heard::Line(line) => line,
                Heard::End => return Wish::Quit,
                Heard::Interrupt if self.armed.swap(true, Ordering::SeqCst) => return Wish::Quit,
                Heard::Interrupt => {
                    eprintln!("Ctrl-C again, Ctrl-D or /quit leaves");
                    continue;
                }
            };
            self.armed.store(false, Ordering::SeqCst);
            match commands::parse(&line) {
                Ok(Typed::Nothing) => {}
                Ok(Typed::Message(text)) => return Wish::Say(text),
                Ok(Typed::Command(Command::Quit)) => return Wish::Quit,
                Ok(Typed::Command(command)) => match self.shown(&command) {
                    Some(text) => eprintln!("{text}"),
                    None => return Wish::Do(command),
                },
                Err(why) => eprintln!("{why}"),
            }
        }
    }

    /// The wish that ended a drive.
    pub fn take_wish(&self) -> Option<Wish> {
        locked(&self.wish).take()
    }

    /// A step was stopped: another Ctrl-C leaves.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// What a command shows, if showing is all it does.
    fn shown(&self, command: &Command) -> Option<String> {
        let facts = locked(&self.facts).clone();
        Some(match command {
            Command::Help => commands::help(),
            Command::Plan if facts.plan.is_empty() => "there is no plan".to_owned(),
            Command::Plan => view::plan(&facts.plan),
            Command::Cost => format!("{}\n{}", show::spent(&facts.spent), facts.line()),
            Command::Strategy(None) => commands::strategy_name(facts.strategy),
            Command::Tools => {
                let line = |tool: &ToolSpec| {
                    let effect = serde_json::to_value(tool.effect).unwrap_or_default();
                    let effect = effect.as_str().unwrap_or_default().to_owned();
                    format!("  {:14} {effect:13} {}", tool.name, tool.description)
                };
                self.tools.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            _ => return None,
        })
    }

    /// A short answer. None if the person leaves; never, if the step is stopped instead.
    async fn answer(&self, question: &str, draft: &str) -> Option<String> {
        let ask = Ask::Answer(question.to_owned(), draft.to_owned());
        match self.lines.ask(ask).await {
            Heard::Line(line) => Some(line),
            Heard::End => {
                *locked(&self.wish) = Some(Wish::Quit);
                None
            }
            Heard::Interrupt => {
                self.interrupts.stop_step();
                std::future::pending().await
            }
        }
    }

    async fn decide(
        &self,
        question: &str,
        read: fn(&str) -> Option<Leave>,
        call: &Call,
    ) -> Option<Answer> {
        loop {
            let answer = match read(&self.answer(question, "").await?) {
                None => None,
                Some(Leave::Decided(decision, note)) => Some(Answer::Decision(decision, note)),
                Some(Leave::Always) => self
                    .always(call)
                    .await?
                    .then(|| Answer::Decision(Decision::Allow, String::new())),
            };
            if answer.is_some() {
                return answer;
            }
        }
    }

    /// Makes a rule of a pattern that the person confirms; false if there is to be none after all.
    async fn always(&self, call: &Call) -> Option<bool> {
        let question = "Always allow (change it, Enter keeps it, nothing goes back): ";
        let mut draft = approvals::suggestion(call);
        loop {
            let pattern = self.answer(question, &draft).await?;
            if pattern.trim().is_empty() {
                return Some(false);
            }
            let Some(tool) = self.tools.iter().find(|tool| tool.name == call.name) else {
                return Some(false);
            };
            match approvals::rule(&pattern, call, tool) {
                Ok(rule) => {
                    self.keep(rule, call, tool);
                    return Some(true);
                }
                Err(why) => eprintln!("{why}"),
            }
            draft = pattern;
        }
    }

    fn keep(&self, rule: Rule, call: &Call, tool: &ToolSpec) {
        match approvals::remember(&self.config, &rule) {
            Ok(()) => eprintln!("kept in {}; take it away there", self.config.display()),
            Err(why) => {
                eprintln!("{why}; it holds for this conversation");
                if let Some(help) = miette::Diagnostic::help(&why) {
                    eprintln!("{help}");
                }
            }
        }
        let mut permissions = locked(&self.permissions);
        permissions.rules.push(rule);
        if permissions.decide(tool, &call.args) != Access::Allow {
            eprintln!("an `ask` rule in the settings is stricter, so it is still asked for");
        }
    }

    async fn approve(&self, call: &Call, reason: &str, preview: Option<&str>) -> Option<Answer> {
        // A rule that was given while the run is driven is not in its permissions yet.
        let tool = self.tools.iter().find(|tool| tool.name == call.name);
        let permissions = locked(&self.permissions).clone();
        if tool.is_some_and(|tool| permissions.decide(tool, &call.args) == Access::Allow) {
            return Some(Answer::Decision(Decision::Allow, String::new()));
        }
        eprintln!(
            "{}",
            approvals::shown(call, preview, reason, show::colour())
        );
        self.decide(approvals::QUESTION, approvals::leave, call)
            .await
    }
}

#[async_trait]
impl Human for Desk {
    async fn ask(&self, waiting: &Waiting, preview: Option<&str>) -> Option<Answer> {
        match waiting {
            Waiting::Message => match self.wish().await {
                Wish::Say(text) => Some(Answer::Text(text)),
                other => {
                    *locked(&self.wish) = Some(other);
                    None
                }
            },
            _ if !self.at_terminal => None,
            Waiting::Approval { call, reason } => self.approve(call, reason, preview).await,
            Waiting::InDoubt { call } => {
                let reason = "gpak was stopped while this was running";
                eprintln!("{}", approvals::shown(call, None, reason, show::colour()));
                self.decide(approvals::IN_DOUBT, approvals::in_doubt, call)
                    .await
            }
            Waiting::Question { text, .. } => {
                eprintln!("{}", show::plain(text));
                self.answer("› ", "").await.map(Answer::Text)
            }
            Waiting::Driver(_) => None,
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
