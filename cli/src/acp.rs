//! `gpak acp`: an editor drives gpak over standard input and output, by the Agent Client Protocol, version 1
//! (<https://agentclientprotocol.com/protocol/v1/overview>).
//!
//! A session is one run that is a conversation, and has the run's id: whatever an editor began, `gpak runs`
//! shows, and `gpak chat --resume` goes on with. [`mod@session`] drives it, [`told`] says to the editor what
//! happens, [`person`] asks for leave, and [`files`] keeps what the editor has open and the disk in step.

mod files;
mod person;
mod session;
mod told;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent_client_protocol::{
    Agent, Client, Error, Stdio, on_receive_notification, on_receive_request,
    schema::ProtocolVersion,
    v1::{
        ConnectionTo,
        schema::{
            AgentCapabilities, CancelNotification, ClientCapabilities, Implementation,
            InitializeRequest, InitializeResponse, ListSessionsRequest, ListSessionsResponse,
            LoadSessionRequest, LoadSessionResponse, McpCapabilities, McpServer, NewSessionRequest,
            NewSessionResponse, PromptCapabilities, PromptRequest, SessionCapabilities, SessionId,
            SessionInfo, SessionListCapabilities,
        },
    },
};
use gpak_kernel::{
    event::{Event, RunId},
    journal::RunFilter,
};
use tokio_util::sync::CancellationToken;

use self::session::Session;
use crate::{
    args::AcpArgs,
    failure::{DONE, Failure},
    home::Home,
    settings::Settings,
    wire,
};

/// Sessions that are listed, at most.
const LISTED: usize = 100;

/// `gpak acp`
pub async fn acp(home: &Home, args: AcpArgs) -> Result<u8, Failure> {
    let host = Arc::new(Host {
        home: home.clone(),
        args,
        mind: tokio::sync::OnceCell::new(),
        client: Mutex::default(),
        sessions: Mutex::default(),
    });
    let served = serve(host).await;
    served.map_err(|why| Failure::new(format!("the editor cannot be understood: {why}")))?;
    Ok(DONE)
}

async fn serve(host: Arc<Host>) -> Result<(), Error> {
    let (on_new, on_load, on_list) = (host.clone(), host.clone(), host.clone());
    let (on_prompt, on_cancel) = (host.clone(), host.clone());
    Agent
        .v1()
        .name("gpak")
        .on_receive_request(
            async move |asked: InitializeRequest, responder, _| {
                *locked(&host.client) = asked.client_capabilities;
                responder.respond(introduction())
            },
            on_receive_request!(),
        )
        .on_receive_request(
            async move |asked: NewSessionRequest, responder, editor: ConnectionTo<Client>| {
                let (host, run) = (on_new.clone(), RunId::random());
                let id = SessionId::new(run.to_string());
                let on = editor.clone();
                editor.spawn(async move {
                    let opened = host.open(run, &asked.cwd, asked.mcp_servers, on).await;
                    responder.respond_with_result(opened.map(|_| NewSessionResponse::new(id)))
                })
            },
            on_receive_request!(),
        )
        .on_receive_request(
            async move |asked: LoadSessionRequest, responder, editor: ConnectionTo<Client>| {
                let host = on_load.clone();
                let on = editor.clone();
                editor.spawn(async move {
                    let loaded = host.load(asked, on).await;
                    responder.respond_with_result(loaded.map(|()| LoadSessionResponse::new()))
                })
            },
            on_receive_request!(),
        )
        .on_receive_request(
            async move |asked: ListSessionsRequest, responder, editor: ConnectionTo<Client>| {
                let host = on_list.clone();
                editor.spawn(async move {
                    let listed = host.list(asked.cwd.as_deref()).await;
                    responder.respond_with_result(listed.map(ListSessionsResponse::new))
                })
            },
            on_receive_request!(),
        )
        .on_receive_request(
            async move |asked: PromptRequest, responder, editor: ConnectionTo<Client>| {
                let host = on_prompt.clone();
                // Taken here, in the order of the messages, so that a cancellation behind it stops it.
                let turn = host.session(&asked.session_id).map(|session| {
                    let stop = session.begin();
                    (session, stop)
                });
                editor.spawn(async move {
                    let answered = match turn {
                        Ok((session, stop)) => session.prompt(asked.prompt, stop).await,
                        Err(why) => Err(why),
                    };
                    responder.respond_with_result(answered)
                })
            },
            on_receive_request!(),
        )
        .on_receive_notification(
            async move |asked: CancelNotification, _| {
                if let Ok(session) = on_cancel.session(&asked.session_id) {
                    session.cancel();
                }
                Ok(())
            },
            on_receive_notification!(),
        )
        .connect_to(Stdio::new())
        .await
}

/// What gpak can do.
fn introduction() -> InitializeResponse {
    let prompts = PromptCapabilities::new().embedded_context(true);
    let sessions = SessionCapabilities::new().list(SessionListCapabilities::new());
    let capabilities = AgentCapabilities::new()
        .load_session(true)
        .prompt_capabilities(prompts)
        .mcp_capabilities(McpCapabilities::new().http(true))
        .session_capabilities(sessions);
    let gpak = Implementation::new("gpak", env!("CARGO_PKG_VERSION"));
    InitializeResponse::new(ProtocolVersion::V1)
        .agent_capabilities(capabilities)
        .agent_info(gpak)
}

/// All that an editor has open here.
struct Host {
    home: Home,
    args: AcpArgs,
    /// The model of all sessions, made when the first begins.
    mind: tokio::sync::OnceCell<wire::Mind>,
    client: Mutex<ClientCapabilities>,
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
}

impl Host {
    /// Opens a session for a run, which may have been before.
    async fn open(
        &self,
        run: RunId,
        folder: &Path,
        servers: Vec<McpServer>,
        editor: ConnectionTo<Client>,
    ) -> Result<Arc<Session>, Error> {
        if folder.is_relative() {
            return Err(invalid("cwd must be an absolute path"));
        }
        let workspace = wire::workspace(folder).map_err(invalid)?;
        let settings = Settings::read(&self.home, &workspace).map_err(invalid)?;
        let mut settings = settings.with_flags(self.args.model.as_ref(), &self.args.bounds);
        session::take_servers(&mut settings, servers)?;
        let mind = self.mind(&settings).await?;
        let client = locked(&self.client).clone();
        let session = Session::open(&self.home, settings, workspace, mind, run, client, editor);
        let session = Arc::new(session.await.map_err(failed)?);
        let id = SessionId::new(run.to_string());
        locked(&self.sessions).insert(id, session.clone());
        Ok(session)
    }

    async fn mind(&self, settings: &Settings) -> Result<&wire::Mind, Error> {
        let stop = CancellationToken::new();
        let quiet = false;
        let mind = self
            .mind
            .get_or_try_init(|| wire::mind_at_hand(&self.home, settings, quiet, &stop));
        mind.await.map_err(failed)
    }

    async fn load(
        &self,
        asked: LoadSessionRequest,
        editor: ConnectionTo<Client>,
    ) -> Result<(), Error> {
        let run: RunId = asked.session_id.0.parse().map_err(invalid)?;
        let session = self
            .open(run, &asked.cwd, asked.mcp_servers, editor)
            .await?;
        session.tell_all().await
    }

    fn session(&self, id: &SessionId) -> Result<Arc<Session>, Error> {
        let session = locked(&self.sessions).get(id).cloned();
        session.ok_or_else(|| {
            invalid(format!(
                "there is no open session {}; session/new begins one, session/load opens an earlier one",
                id.0
            ))
        })
    }

    /// Conversations in that folder, or in any, latest first.
    async fn list(&self, folder: Option<&Path>) -> Result<Vec<SessionInfo>, Error> {
        let journal = wire::journal(&self.home).map_err(failed)?;
        let filter = RunFilter {
            limit: Some(LISTED),
            whole: true,
            ..RunFilter::default()
        };
        let mut listed = Vec::new();
        for summary in journal.runs(&filter).await.map_err(failed)? {
            let entries = journal.read(summary.run, 1).await.map_err(failed)?;
            let Some(Event::RunCreated { spec }) = entries.first().map(|entry| &entry.event) else {
                continue;
            };
            let is_there = folder.is_none_or(|folder| spec.workspace == folder);
            if spec.conversation && is_there {
                let cwd: PathBuf = spec.workspace.clone();
                let info = SessionInfo::new(SessionId::new(summary.run.to_string()), cwd)
                    .title(crate::show::shorten(
                        &crate::show::one_line(&summary.task),
                        80,
                    ))
                    .updated_at(summary.updated.to_string());
                listed.push(info);
            }
        }
        Ok(listed)
    }
}

/// What the editor asked for makes no sense.
fn invalid(why: impl ToString) -> Error {
    Error::invalid_params().data(serde_json::Value::from(why.to_string()))
}

/// It made sense, and it cannot be done.
fn failed(why: impl ToString) -> Error {
    Error::internal_error().data(serde_json::Value::from(why.to_string()))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
