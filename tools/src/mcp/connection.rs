//! One connection to a server, from its start to its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rmcp::{
    RoleClient, ServiceError,
    model::{
        CallToolRequestParams, CallToolResult, JsonObject, PaginatedRequestParams, ProtocolVersion,
        Tool,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, RunningService, serve_client_with_lifecycle,
    },
    transport::async_rw::AsyncRwTransport,
};
use tokio::sync::Mutex;

use super::{
    ServerConfig, ServerName, Shared, Transport,
    client::{Client, Heard},
    http::Way,
    late::InTime,
    oauth::{self, Access, Teller},
    process::{MESSAGE, Process},
    refused::{Refused, Shown, shown_by},
};

/// Tools that one server may have.
const TOOLS: usize = 512;
/// How long a server behind HTTP may take to say goodbye.
const GRACE: Duration = Duration::from_secs(2);

/// Why there is no connection to a server, or no more.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// Its program cannot be started.
    #[error("`{program}` cannot be started: {why}{help}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        why: std::io::Error,
        /// What can be done.
        help: &'static str,
    },
    /// The settings of it make no sense.
    #[error("{0}")]
    Settings(String),
    /// It did not answer in time.
    #[error(
        "it did not answer within {seconds} s{words} (`start_timeout` in its settings gives it longer)"
    )]
    Silent {
        /// How long it was waited for.
        seconds: u64,
        /// What it wrote meanwhile.
        words: String,
    },
    /// It does not let us in.
    #[error("{0}")]
    Refused(Refused),
    /// What it wants to be shown cannot be had.
    #[error("there is no way to be let in by it now: {0}")]
    Unshown(String),
    /// It is no MCP server, or one that nobody can talk to.
    #[error("it does not speak as an MCP server should: {why}{words}")]
    Protocol {
        /// What it did.
        why: String,
        /// What it wrote to standard error.
        words: String,
    },
    /// It answered the question what it is with something else.
    #[error("it does not say which version of the protocol it speaks")]
    Undiscovered,
    /// It said what it is when it had been taken for something else.
    #[error("it says too late which version of the protocol it speaks")]
    Late,
    /// It has more tools than can be meant.
    #[error("it lists more than {TOOLS} tools, or lists without end")]
    TooMany,
}

/// A server that can be called.
pub(super) struct Connection {
    service: RunningService<RoleClient, Client>,
    heard: Arc<Heard>,
    process: Option<Mutex<Process>>,
    server: ServerName,
    shown: Shown,
    teller: Option<Teller>,
}

/// As whom a server is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// The user, as far as gpak can show that.
    User,
    /// Somebody unknown, even where there is a login.
    Nobody,
}

impl Connection {
    /// Starts the server, or connects to it, and agrees on a version of the protocol. Takes no longer than
    /// the settings of the server say.
    pub(super) async fn open(
        config: &ServerConfig,
        shared: &Arc<Shared>,
        who: As,
    ) -> Result<Self, McpError> {
        match Self::open_by(config, shared, who, lifecycle()).await {
            // Old servers that answer whatever they do not know with nothing.
            Err(McpError::Undiscovered) => {
                Self::open_by(config, shared, who, ClientLifecycleMode::Initialize).await
            }
            // A server that is slow to start.
            Err(McpError::Late) => {
                let newest = ClientLifecycleMode::Discover {
                    preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                };
                Self::open_by(config, shared, who, newest).await
            }
            opened => opened,
        }
    }

    async fn open_by(
        config: &ServerConfig,
        shared: &Arc<Shared>,
        who: As,
        lifecycle: ClientLifecycleMode,
    ) -> Result<Self, McpError> {
        let client = Client::new(config.name.clone(), shared.clone());
        let heard = client.heard();
        match &config.transport {
            Transport::Command {
                program,
                args,
                env,
                folder,
            } => {
                let started = Process::start(program, args, env, folder);
                let (mut process, (stdout, stdin)) =
                    started.map_err(|why| unstarted(program, folder, why))?;
                let transport =
                    AsyncRwTransport::new_client(stdout, stdin).with_max_line_length(2 * MESSAGE);
                let is_newest = Arc::new(AtomicBool::new(false));
                let transport = InTime::new(transport, is_newest.clone());
                let serving = serve_client_with_lifecycle(client, transport, lifecycle);
                let served = tokio::time::timeout(config.start_timeout, serving).await;
                let service = match served {
                    Ok(Ok(service)) => service,
                    Ok(Err(_)) if is_newest.load(Ordering::Relaxed) => return Err(McpError::Late),
                    Ok(Err(why)) => {
                        let words = process.last_words().await;
                        return Err(unserved(&why, words));
                    }
                    Err(_) => return Err(silent(config, process.last_words().await)),
                };
                Ok(Self {
                    service,
                    heard,
                    process: Some(Mutex::new(process)),
                    server: config.name.clone(),
                    shown: Shown::Nothing,
                    teller: None,
                })
            }
            Transport::Http {
                url,
                headers,
                token,
                oauth,
            } => {
                let serving = async {
                    let way = Way::new(url, headers, token.clone()).await;
                    let way = way.map_err(McpError::Settings)?;
                    let access = match shown_by(&config.transport) {
                        Shown::Nothing if who == As::User => {
                            let access = oauth::access(way.address(), oauth, &shared.folder).await;
                            access.map_err(McpError::Unshown)?
                        }
                        shown => Access::without_login(shown),
                    };
                    let Access {
                        shown,
                        manager,
                        teller,
                    } = access;
                    let served = match manager {
                        Some(manager) => {
                            serve_client_with_lifecycle(client, way.with(manager), lifecycle).await
                        }
                        None => serve_client_with_lifecycle(client, way.plain(), lifecycle).await,
                    };
                    let service = served.map_err(|why| {
                        let refused = Refused::connection(&config.name, shown, &why);
                        let told = || Some(McpError::Unshown(teller.as_ref()?.told(&why)?));
                        let known = refused.map(McpError::Refused).or_else(told);
                        known.unwrap_or_else(|| unserved(&why, String::new()))
                    })?;
                    Ok((service, shown, teller))
                };
                let served = tokio::time::timeout(config.start_timeout, serving).await;
                let (service, shown, teller) =
                    served.map_err(|_| silent(config, String::new()))??;
                Ok(Self {
                    service,
                    heard,
                    process: None,
                    server: config.name.clone(),
                    shown,
                    teller,
                })
            }
        }
    }

    /// What the server has, page by page.
    pub(super) async fn list(&self, config: &ServerConfig) -> Result<Vec<Tool>, McpError> {
        let listing = async {
            let (mut tools, mut cursor) = (Vec::new(), None);
            loop {
                let page = PaginatedRequestParams::default().with_cursor(cursor);
                let page = self.service.list_tools(Some(page)).await?;
                let is_empty = page.tools.is_empty();
                tools.extend(page.tools);
                cursor = page.next_cursor;
                // A server that always names another page lists without end.
                if tools.len() > TOOLS || (is_empty && cursor.is_some()) {
                    return Ok(None);
                }
                if cursor.is_none() {
                    return Ok(Some(tools));
                }
            }
        };
        match tokio::time::timeout(config.start_timeout, listing).await {
            Ok(Ok(Some(tools))) => Ok(tools),
            Ok(Ok(None)) => Err(McpError::TooMany),
            Ok(Err(why)) => match self.refused(&why) {
                Some(refused) => Err(McpError::Refused(refused)),
                None => Err(self.broken(&why).await),
            },
            Err(_) => Err(silent(config, self.last_words().await)),
        }
    }

    async fn broken(&self, why: &ServiceError) -> McpError {
        McpError::Protocol {
            why: self.told(why),
            words: self.last_words().await,
        }
    }

    /// How the server refused a request, if that is why it failed.
    pub(super) fn refused(&self, why: &ServiceError) -> Option<Refused> {
        Refused::request(&self.server, self.shown, why)
    }

    /// Makes one call. None if the server gave no sign of life for `idle`.
    pub(super) async fn call(
        &self,
        tool: &str,
        args: JsonObject,
        idle: Duration,
    ) -> Option<Result<CallToolResult, ServiceError>> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(args);
        self.heard.alive(idle, self.service.call_tool(params)).await
    }

    /// What was heard from it beside the results of calls.
    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The version of the protocol that is spoken.
    pub(super) fn protocol(&self) -> String {
        let info = self.service.peer_info();
        info.map_or_else(String::new, |info| info.protocol_version.to_string())
    }

    /// Whether it can no longer be called.
    pub(super) fn is_closed(&self) -> bool {
        self.service.is_transport_closed()
    }

    /// An error in words.
    pub(super) fn told(&self, why: &ServiceError) -> String {
        match why {
            ServiceError::McpError(error) => error.message.to_string(),
            ServiceError::TransportClosed => "the connection was closed".to_owned(),
            other => {
                let teller = self.teller.as_ref();
                let told = teller.and_then(|teller| teller.told(other));
                told.unwrap_or_else(|| other.to_string())
            }
        }
    }

    /// How its process ended, if it has one and it did, and what that last wrote.
    pub(super) async fn last_words(&self) -> String {
        let Some(process) = &self.process else {
            return String::new();
        };
        let mut process = process.lock().await;
        if process.has_flooded() {
            return format!("; it was ended, as it sent a message of more than {MESSAGE} bytes");
        }
        process.last_words().await
    }

    /// Says goodbye and waits for the server's end.
    pub(super) async fn close(mut self) {
        // What is not said in time is left unsaid; the process is ended either way.
        let _ = self.service.close_with_timeout(GRACE).await;
        if let Some(process) = self.process.take() {
            process.into_inner().end().await;
        }
    }
}

/// The newest protocol, or where a server does not know it, the one before.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    }
}

fn unstarted(program: &str, folder: &std::path::Path, why: std::io::Error) -> McpError {
    let help = match why.kind() {
        std::io::ErrorKind::NotFound if !folder.is_dir() => "; its `cwd` is no folder",
        std::io::ErrorKind::NotFound => "; install it, or give its whole path",
        _ => "",
    };
    let program = program.to_owned();
    McpError::Start { program, why, help }
}

fn silent(config: &ServerConfig, words: String) -> McpError {
    McpError::Silent {
        seconds: config.start_timeout.as_secs(),
        words,
    }
}

fn unserved(why: &ClientInitializeError, words: String) -> McpError {
    if matches!(why, ClientInitializeError::ExpectedInitResult(_)) {
        return McpError::Undiscovered;
    }
    let why = match why {
        ClientInitializeError::ConnectionClosed(_) => "it ended before it answered".to_owned(),
        ClientInitializeError::TransportError { error, .. } => error.error.to_string(),
        other => other.to_string(),
    };
    McpError::Protocol { why, words }
}
