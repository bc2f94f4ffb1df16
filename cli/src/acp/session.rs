//! One session: a run that goes on with each prompt.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use agent_client_protocol::{
    Client, Error,
    v1::{
        ConnectionTo,
        schema::{
            ClientCapabilities, ContentBlock, EmbeddedResourceResource, McpServer, PromptResponse,
            SessionId, SessionNotification, StopReason,
        },
    },
};
use gpak_kernel::{
    event::{Outcome, PauseReason, RunId, RunSpec},
    journal::JournalError,
    run::{Driver, Ended, Resumption, State},
    tool::Control,
};
use gpak_tools::mcp::Servers;
use tokio_util::sync::CancellationToken;

use super::{failed, files, invalid, locked, person::Person, told::View};
use crate::{
    commands::run,
    failure::Failure,
    home::Home,
    mcp::{self, McpSettings, Program},
    settings::{Origin, Setting, Settings},
    show::live,
    wire,
};

/// A conversation that an editor has open.
pub(super) struct Session {
    run: RunId,
    workspace: PathBuf,
    settings: Settings,
    editor: ConnectionTo<Client>,
    person: Arc<Person>,
    /// One turn at a time.
    driving: tokio::sync::Mutex<Driving>,
    /// Stops the turn that is under way.
    stop: Mutex<CancellationToken>,
}

struct Driving {
    driver: Driver,
    /// Kept for as long as their tools may be called.
    _servers: Servers,
}

impl Session {
    pub(super) async fn open(
        home: &Home,
        settings: Settings,
        workspace: PathBuf,
        mind: &wire::Mind,
        run: RunId,
        client: ClientCapabilities,
        editor: ConnectionTo<Client>,
    ) -> Result<Self, Failure> {
        let id = SessionId::new(run.to_string());
        let person = Arc::new(Person::new(id.clone(), editor.clone()));
        let (model, human) = (mind.model.clone(), person.clone());
        let stop = CancellationToken::new();
        let mut driver = wire::driver(home, &workspace, &settings, model, human, stop).await?;
        wire::offer_delegate(&mut driver, &settings)?;
        let manner = mcp::Manner {
            yes: settings.yes.value,
            attended: false,
            progress: indicatif::ProgressBar::hidden(),
        };
        let servers = mcp::join(&mut driver, home, &settings, manner).await?;
        let toolbox = std::mem::take(&mut driver.toolbox);
        driver.toolbox = files::through_editor(toolbox, &client.fs, &id, &editor);
        Ok(Self {
            run,
            workspace,
            settings,
            editor,
            person,
            driving: tokio::sync::Mutex::new(Driving {
                driver,
                _servers: servers,
            }),
            stop: Mutex::default(),
        })
    }

    /// A new turn begins: what stops it.
    pub(super) fn begin(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        *locked(&self.stop) = stop.clone();
        stop
    }

    /// Stops the turn that is under way.
    pub(super) fn cancel(&self) {
        locked(&self.stop).cancel();
    }

    /// Does what the prompt says, until the user's next word is due.
    pub(super) async fn prompt(
        &self,
        prompt: Vec<ContentBlock>,
        stop: CancellationToken,
    ) -> Result<PromptResponse, Error> {
        let text = text_of(&prompt)?;
        let mut driving = self.driving.lock().await;
        if stop.is_cancelled() {
            return Ok(PromptResponse::new(StopReason::Cancelled));
        }
        driving.driver.stop = stop;
        let driver = &driving.driver;
        let entries = match driver.journal.read(self.run, 1).await {
            Ok(entries) => entries,
            Err(JournalError::NoRun(_)) => Vec::new(),
            Err(why) => return Err(failed(why)),
        };
        let state = State::fold(&entries);
        let mut resumption = Resumption {
            attended: true,
            budget: run::as_much_again(&state),
            ..Resumption::default()
        };
        if entries.is_empty() {
            let spec = self.spec(text, driver);
            driver.create(self.run, spec).await.map_err(failed)?;
        } else if asks(&state) {
            self.person.answers(text);
        } else {
            resumption.message = Some(text);
        }
        let mut view = View::new(SessionId::new(self.run.to_string()), self.editor.clone());
        let ended = driver.drive(self.run, resumption, &mut view).await;
        let ended = ended.map_err(failed)?;
        view.end(&ended);
        self.stopped(&ended)
    }

    fn stopped(&self, ended: &Ended) -> Result<PromptResponse, Error> {
        let reason =
            match ended {
                Ended::Finished(Outcome::Completed { .. })
                | Ended::Paused(PauseReason::Unanswered) => StopReason::EndTurn,
                Ended::Finished(Outcome::Cancelled) | Ended::Paused(PauseReason::Interrupted) => {
                    StopReason::Cancelled
                }
                Ended::Paused(PauseReason::Budget { .. }) => StopReason::MaxTurnRequests,
                Ended::Paused(reason @ (PauseReason::Model { .. } | PauseReason::Tool { .. })) => {
                    return Err(failed(live::waiting(reason)));
                }
                Ended::Paused(PauseReason::Stuck { .. })
                | Ended::Finished(Outcome::Failed { .. }) => StopReason::EndTurn,
            };
        Ok(PromptResponse::new(reason))
    }

    fn spec(&self, task: String, driver: &Driver) -> RunSpec {
        RunSpec {
            task,
            workspace: self.workspace.clone(),
            model: driver.model.profile().id(),
            budget: self.settings.budget(),
            permissions: self.settings.permissions(),
            attended: true,
            conversation: true,
            origin: None,
            check: Vec::new(),
            strategy: None,
            parent: None,
        }
    }

    /// Says all that happened so far.
    pub(super) async fn tell_all(&self) -> Result<(), Error> {
        let driving = self.driving.lock().await;
        let entries = driving.driver.journal.read(self.run, 1).await;
        let entries = entries.map_err(invalid)?;
        let id = SessionId::new(self.run.to_string());
        let mut state = State::default();
        for entry in &entries {
            state.apply(entry);
            for update in super::told::of_past(entry, &state) {
                let note = SessionNotification::new(id.clone(), update);
                self.editor.send_notification(note)?;
            }
        }
        match state.spec {
            Some(spec) if spec.conversation => Ok(()),
            _ => Err(invalid(format!(
                "run {} is no conversation",
                self.run.short()
            ))),
        }
    }
}

/// Whether the run waits for the answer to a question.
fn asks(state: &State) -> bool {
    let tools = state.setup.iter().flat_map(|setup| &setup.tools);
    let asking = tools.filter(|tool| tool.control == Some(Control::Ask));
    let asking: Vec<&String> = asking.map(|tool| &tool.name).collect();
    let mut open = state.open.iter().filter_map(|open| state.call(open.id));
    open.any(|call| asking.contains(&&call.name))
}

/// What a prompt says, with the text of the files that come with it.
fn text_of(prompt: &[ContentBlock]) -> Result<String, Error> {
    let mut parts = Vec::new();
    for block in prompt {
        parts.push(match block {
            ContentBlock::Text(text) => text.text.clone(),
            ContentBlock::ResourceLink(link) => path_of(&link.uri),
            ContentBlock::Resource(resource) => match &resource.resource {
                EmbeddedResourceResource::TextResourceContents(text) => {
                    format!("{}:\n```\n{}\n```", path_of(&text.uri), text.text)
                }
                _ => return Err(invalid("binary content cannot be read; link to the file")),
            },
            _ => return Err(invalid("only text, links and text resources can be read")),
        });
    }
    let text = parts.join("\n\n");
    match text.trim().is_empty() {
        true => Err(invalid("the prompt is empty")),
        false => Ok(text),
    }
}

/// A file's path as tools take it.
fn path_of(uri: &str) -> String {
    uri.strip_prefix("file://").unwrap_or(uri).to_owned()
}

/// Adds the MCP servers that the editor brings to the user's own.
pub(super) fn take_servers(settings: &mut Settings, servers: Vec<McpServer>) -> Result<(), Error> {
    for server in servers {
        let (name, said) = match server {
            McpServer::Stdio(server) => {
                let env = server.env.into_iter();
                let command = server.command.to_string_lossy().into_owned();
                let said = McpSettings {
                    command: Some(Program::Alone(command)),
                    args: server.args,
                    env: env.map(|it| (it.name, it.value.into())).collect(),
                    ..McpSettings::default()
                };
                (server.name, said)
            }
            McpServer::Http(server) => {
                let headers = server.headers.into_iter();
                let said = McpSettings {
                    url: Some(server.url),
                    headers: headers.map(|it| (it.name, it.value.into())).collect(),
                    ..McpSettings::default()
                };
                (server.name, said)
            }
            _ => {
                return Err(invalid(
                    "an MCP server is reached over stdio or streamable HTTP",
                ));
            }
        };
        let name = server_name(&name);
        said.config(&name).map_err(invalid)?;
        let origin = Origin::Flag;
        settings.mcp.insert(
            name,
            Setting {
                value: said,
                origin,
            },
        );
    }
    Ok(())
}

/// The editor's name for a server, in letters that a server of ours may have.
fn server_name(name: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '_',
    };
    name.chars().map(plain).collect()
}
