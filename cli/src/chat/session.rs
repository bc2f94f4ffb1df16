//! One conversation, from its first message to where the person leaves it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use gpak_kernel::{
    event::{Origin, PauseReason, RunId, RunSpec},
    model::CallId,
    policy::{Budget, Permissions},
    run::{Driver, Ended, Resumption, State, undo},
};
use gpak_tools::{UndoStore, mcp::Servers};

use super::{
    commands::{self, Command},
    desk::{Desk, Wish, locked},
    interrupts::Interrupts,
    status::Facts,
    view::View,
};
use crate::{
    commands::{run, undo::check_unchanged},
    failure::{DONE, Failure, INTERRUPTED},
    home::Home,
    mcp,
    settings::Settings,
    show::live,
    wire,
};

/// What a conversation is had with.
pub struct Session<'a> {
    /// The folders of gpak.
    pub home: &'a Home,
    /// The settings.
    pub settings: Settings,
    /// The folder that is worked in.
    pub workspace: PathBuf,
    /// Whether events are printed.
    pub json: bool,
    /// The person.
    pub desk: Arc<Desk>,
    /// What Ctrl-C stops.
    pub interrupts: Arc<Interrupts>,
    /// What is known of the conversation.
    pub facts: Arc<Mutex<Facts>>,
    /// The model.
    pub mind: wire::Mind,
    /// Drives the run.
    pub driver: Driver,
    /// The user's MCP servers.
    pub servers: Servers,
    /// The run, once something was said.
    pub run: Option<RunId>,
    /// What the run was last told it may do.
    pub told: Permissions,
    /// The bounds from the next drive on.
    pub budget: Option<Budget>,
}

impl Session<'_> {
    /// Has the conversation, beginning with what is wished for if anything is.
    pub async fn talk(mut self, wish: Option<Wish>) -> Result<u8, Failure> {
        let talked = self.until_left(wish).await;
        self.servers.close().await;
        self.desk.lines.let_go();
        talked
    }

    async fn until_left(&mut self, mut wish: Option<Wish>) -> Result<u8, Failure> {
        loop {
            let next = match wish.take() {
                Some(wish) => wish,
                None => self.desk.wish().await,
            };
            let ended = match next {
                Wish::Quit => break,
                Wish::Say(text) => Some(self.say(text).await?),
                Wish::Do(command) => match self.command(command).await {
                    Ok(ended) => ended,
                    Err(why) => {
                        tell(&why);
                        None
                    }
                },
            };
            if let Some(ended) = ended {
                wish = self.desk.take_wish();
                if let Some(code) = self.tell_end(&ended, wish.is_some()) {
                    return Ok(code);
                }
            }
        }
        self.leave().await
    }

    async fn say(&mut self, text: String) -> Result<Ended, Failure> {
        let Some(run) = self.run else {
            let run = RunId::random();
            let spec = RunSpec {
                task: text,
                workspace: self.workspace.clone(),
                model: self.mind.model.profile().id(),
                budget: self.settings.budget(),
                permissions: self.told.clone(),
                attended: self.desk.at_terminal,
                conversation: true,
                origin: None,
                // Not every answer of a conversation is one that a check can judge.
                check: Vec::new(),
                strategy: None,
                parent: None,
            };
            self.driver.create(run, spec).await?;
            self.run = Some(run);
            return self.drive(run, None).await;
        };
        self.drive(run, Some(text)).await
    }

    /// Drives the run until its person is asked for something that ends the drive.
    async fn drive(&mut self, run: RunId, message: Option<String>) -> Result<Ended, Failure> {
        let permissions = locked(&self.desk.permissions).clone();
        let changed = permissions != self.told;
        self.told.clone_from(&permissions);
        self.driver.stop = self.interrupts.fresh();
        let resumption = Resumption {
            budget: self.budget.take(),
            permissions: changed.then_some(permissions),
            attended: self.desk.at_terminal,
            message,
        };
        let facts = self.facts.clone();
        let mut view = match (self.json, self.desk.at_terminal) {
            (true, _) => View::json(facts),
            (false, true) => View::screen(facts),
            (false, false) => View::lines(facts),
        };
        let ended = self.driver.drive(run, resumption, &mut view).await;
        view.end();
        if view.denied > 0 && !self.json && !self.desk.at_terminal {
            run::tell_denied(view.denied);
        }
        Ok(ended?)
    }

    /// Says why a drive ended. Gives the exit code, if that ends the conversation: without a terminal
    /// there is nobody to put it right.
    fn tell_end(&self, ended: &Ended, is_wished: bool) -> Option<u8> {
        let reason = match ended {
            Ended::Paused(PauseReason::Unanswered) if is_wished => return None,
            Ended::Paused(reason) => reason,
            Ended::Finished(outcome) => {
                eprintln!("{}", live::ending(outcome));
                return Some(run::code(ended, 0));
            }
        };
        if !self.json {
            eprintln!("{}", live::waiting(reason));
        }
        if !self.desk.at_terminal || self.interrupts.is_leaving() {
            self.tell_how_to_come_back();
            return Some(run::code(ended, 0));
        }
        match reason {
            PauseReason::Interrupted => {
                self.desk.arm();
                eprintln!("say what to do instead, or /continue; Ctrl-C again leaves");
            }
            _ => eprintln!("say something else, or /continue"),
        }
        None
    }

    async fn leave(&self) -> Result<u8, Failure> {
        self.tell_how_to_come_back();
        if self.interrupts.is_leaving() {
            return Ok(INTERRUPTED);
        }
        if let (Some(run), false) = (self.run, self.desk.at_terminal) {
            let journal = self.driver.journal.as_ref();
            self.mind.check_used_up(journal, run).await?;
        }
        Ok(DONE)
    }

    fn tell_how_to_come_back(&self) {
        if let (Some(run), false) = (self.run, self.json) {
            eprintln!("go on with: gpak chat --resume {}", run.short());
        }
    }

    async fn command(&mut self, command: Command) -> Result<Option<Ended>, Failure> {
        match (command, self.run) {
            (Command::Model(None), _) => self.tell_models()?,
            (Command::Model(Some(name)), _) => self.change_model(&name).await?,
            (_, None) => eprintln!("the conversation has not begun; say something first"),
            (Command::Continue, Some(run)) => return self.go_on(run).await.map(Some),
            (Command::Strategy(Some(name)), Some(run)) => {
                let strategy = commands::strategy(&name).map_err(Failure::usage)?;
                self.driver.set_strategy(run, strategy).await?;
                eprintln!("from now on: {}", commands::strategy_name(strategy));
            }
            (Command::Compact, Some(run)) => {
                let said = match self.driver.compact(run).await? {
                    true => "older results are left out from now on",
                    false => "there is nothing to leave out yet",
                };
                eprintln!("{said}");
            }
            (Command::Undo { all }, Some(run)) => self.undo(run, all).await?,
            (Command::Fork, Some(run)) => self.fork(run).await?,
            // What only shows something was done where it was typed.
            (_, Some(_)) => {}
        }
        if let Some(run) = self.run {
            let state = self.state(run).await?;
            let mut facts = locked(&self.facts);
            facts.take(&state);
            facts.model = self.mind.model.profile().id();
            facts.window = self.mind.model.profile().window;
        }
        Ok(None)
    }

    async fn go_on(&mut self, run: RunId) -> Result<Ended, Failure> {
        let state = self.state(run).await?;
        self.budget = self.budget.or_else(|| run::as_much_again(&state));
        self.drive(run, None).await
    }

    async fn state(&self, run: RunId) -> Result<State, Failure> {
        Ok(State::fold(&self.driver.journal.read(run, 1).await?))
    }

    fn tell_models(&self) -> Result<(), Failure> {
        use gpak_kernel::model::catalogue;
        eprintln!("now {}; here are", self.mind.model.profile().id());
        let here = wire::models(self.home)?.list().into_iter();
        for listed in here.filter(|listed| matches!(listed.state, catalogue::State::Here { .. })) {
            eprintln!("  {}", listed.id);
        }
        eprintln!("  openai/NAME and ollama/NAME, where there are such servers");
        Ok(())
    }

    async fn change_model(&mut self, name: &str) -> Result<(), Failure> {
        let stop = self.interrupts.fresh();
        let mind = wire::mind(self.home, &self.settings, Some(name), &stop).await?;
        let profile = mind.model.profile().clone();
        let human = self.driver.human.clone();
        let model = mind.model.clone();
        self.driver = wire::driver(
            self.home,
            &self.workspace,
            &self.settings,
            model,
            human,
            stop,
        )
        .await?;
        wire::offer_delegate(&mut self.driver, &self.settings)?;
        mcp::offer(&mut self.driver, &self.servers)?;
        self.mind = mind;
        eprintln!("from now on: {}", profile.id());
        let mut facts = locked(&self.facts);
        (facts.model, facts.window) = (profile.id(), profile.window);
        Ok(())
    }

    async fn undo(&mut self, run: RunId, all: bool) -> Result<(), Failure> {
        let state = self.state(run).await?;
        let undoable: Vec<CallId> = state.undoable().iter().map(|call| call.id).collect();
        // The last message that changed something which is not put back yet.
        let since = match undoable.first() {
            Some(newest) if !all => {
                let before = state.messages.iter().map(|(replies, _)| *replies);
                before.filter(|replies| *replies < newest.reply).max()
            }
            _ => None,
        };
        let since = since.unwrap_or(0);
        let meant = undo::undoable(self.driver.journal.as_ref(), run, since).await?;
        let store = UndoStore::new(self.home.undo());
        check_unchanged(&store, &meant, &self.workspace).await?;
        let undone = self.driver.undo_since(run, since).await?;
        if undone.restored.is_empty() && undone.refused.is_empty() {
            eprintln!("there was nothing to undo");
        }
        let told = [
            ("", &undone.restored),
            ("not undone: ", &undone.refused),
            ("cannot be undone: ", &undone.irreversible),
        ];
        for (what, lines) in told {
            for line in lines {
                eprintln!("{what}{line}");
            }
        }
        if !undone.restored.is_empty() {
            let note = format!(
                "The user undid what you did: {}.",
                undone.restored.join("; ")
            );
            self.driver.note(run, note).await?;
        }
        Ok(())
    }

    async fn fork(&mut self, run: RunId) -> Result<(), Failure> {
        let last = self.driver.journal.read(run, 1).await?;
        let seq = last.last().map_or(0, |entry| entry.seq);
        let fork = RunId::random();
        let origin = Origin { run, seq };
        self.driver.fork(origin, fork, &self.workspace).await?;
        self.run = Some(fork);
        eprintln!(
            "this is {} now; {} stays as it is",
            fork.short(),
            run.short()
        );
        Ok(())
    }
}

fn tell(why: &Failure) {
    eprintln!("{why}");
    if let Some(help) = miette::Diagnostic::help(why) {
        eprintln!("  help: {help}");
    }
}
