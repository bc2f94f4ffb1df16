//! A server over all its connections: started when first needed, started again when it died.

use std::sync::{Arc, Mutex as StdMutex};

use gpak_kernel::{
    model::{ModelError, resilience::backoff},
    tool::{ToolError, ToolOutput},
};
use reqwest::Url;
use rmcp::ServiceError;
use serde_json::{Map, Value};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use super::{
    ServerConfig, Shared, Transport,
    catalogue::{Catalogue, Described, Standing},
    config::OAuth,
    connection::{As, Connection, McpError},
    http, locked,
    oauth::{Challenge, LoggedIn, Login, LoginError, log_in, log_out},
    refused::{Shown, shown_by},
    result,
};

/// How often in a row a server may fail before it is left alone.
const FAILURES: u32 = 5;

/// One server.
pub(super) struct Server {
    pub(super) config: ServerConfig,
    shared: Arc<Shared>,
    pub(super) catalogue: StdMutex<Catalogue>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    /// How often it failed since a call last succeeded.
    failures: u32,
    /// When it may be started again.
    not_before: Option<Instant>,
    /// Why it last failed.
    why: String,
}

impl Link {
    fn failed(&mut self, why: String) {
        // A server that fails is given as much time as a model that does.
        let kind = ModelError::Unreachable {
            message: String::new(),
        };
        let wait = backoff(self.failures, &kind, 1.0).unwrap_or_default();
        self.failures += 1;
        self.not_before = Instant::now().checked_add(wait);
        self.why = why;
    }
}

impl Server {
    pub(super) fn new(config: ServerConfig, shared: Arc<Shared>) -> Self {
        let file = shared.folder.join(format!("{}.json", config.name));
        let catalogue = Catalogue::open(file, config.fingerprint());
        Self {
            config,
            shared,
            catalogue: StdMutex::new(catalogue),
            link: Mutex::default(),
        }
    }

    /// Starts it, if it is not there, and sees what tools it has. Gives the version of the protocol.
    pub(super) async fn see(&self) -> Result<String, McpError> {
        let mut link = self.link.lock().await;
        let connection = match &link.connection {
            Some(connection) if !connection.is_closed() => connection.clone(),
            _ => Arc::new(Connection::open(&self.config, &self.shared, As::User).await?),
        };
        self.list(&connection).await?;
        link.connection = Some(connection.clone());
        Ok(connection.protocol())
    }

    async fn list(&self, connection: &Connection) -> Result<(), McpError> {
        let tools = connection.list(&self.config).await?;
        let seen = locked(&self.catalogue).see(&tools);
        seen.map_err(|why| {
            let folder = self.shared.folder.display();
            McpError::Settings(format!("its tools cannot be kept in {folder}: {why}"))
        })
    }

    /// The connection, made where there is none. The error is for the model.
    async fn connected(&self) -> Result<Arc<Connection>, String> {
        let mut link = self.link.lock().await;
        if let Some(connection) = &link.connection {
            if !connection.is_closed() {
                return Ok(connection.clone());
            }
            let words = connection.last_words().await;
            link.failed(format!("it ended{words}"));
            link.connection = None;
        }
        let name = &self.config.name;
        if link.failures >= FAILURES {
            return Err(format!(
                "the MCP server `{name}` failed {FAILURES} times in a row and is left alone in this run; do without it. It last failed as {}",
                link.why
            ));
        }
        if let Some(not_before) = link.not_before.take() {
            sleep_until(not_before).await;
        }
        let opened = async {
            let connection = Connection::open(&self.config, &self.shared, As::User).await?;
            self.list(&connection).await?;
            Ok::<_, McpError>(Arc::new(connection))
        };
        match opened.await {
            Ok(connection) => {
                link.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(why) => {
                // The user may let us in at any time.
                if !matches!(why, McpError::Refused(_)) {
                    link.failed(why.to_string());
                }
                Err(format!("the MCP server `{name}` cannot be used: {why}"))
            }
        }
    }

    /// The connection, over which that tool can be called: it still is what the user accepted.
    async fn ready(&self, tool: &Described) -> Result<Arc<Connection>, ToolError> {
        let name = &self.config.name;
        let connection = self.connected().await.map_err(ToolError::Rejected)?;
        if connection.heard().take_list_changed() {
            let listed = self.list(&connection).await;
            listed.map_err(|why| {
                ToolError::Rejected(format!("the MCP server `{name}` cannot be used: {why}"))
            })?;
        }
        self.check(tool)?;
        Ok(connection)
    }

    /// Gives up a connection, so that the next call makes another.
    async fn give_up(&self, connection: &Arc<Connection>) {
        let mut link = self.link.lock().await;
        let is_it = |current: &Arc<Connection>| Arc::ptr_eq(current, connection);
        if link.connection.as_ref().is_some_and(is_it) {
            link.connection = None;
        }
    }

    /// Calls a tool, if it still is what the user accepted.
    pub(super) async fn call(
        &self,
        tool: &Described,
        args: Map<String, Value>,
    ) -> Result<ToolOutput, ToolError> {
        let (name, timeout) = (&self.config.name, self.config.timeout);
        let mut connection = self.ready(tool).await?;
        let mut answered = connection.call(&tool.name, args.clone(), timeout).await;
        // What was refused was not done, and somebody may have logged in since the connection was made.
        if let Some(Err(why)) = &answered
            && connection
                .refused(why)
                .is_some_and(|why| why.is_about_who())
        {
            self.give_up(&connection).await;
            connection = self.ready(tool).await?;
            answered = connection.call(&tool.name, args, timeout).await;
        }
        let asked = connection.heard().take_asked();
        let result = match answered {
            Some(Ok(result)) => result,
            Some(Err(why)) => return Err(self.failed(tool, &connection, &why).await),
            None => {
                let silence = format!("said nothing for {} s", timeout.as_secs());
                return Err(lost(tool, name.as_str(), &silence));
            }
        };
        self.link.lock().await.failures = 0;
        let mut output = result::output(result, tool.output.as_ref(), self.shared.output_bytes)?;
        for line in asked {
            output.text = format!("{}\n{line}", output.text);
        }
        Ok(output)
    }

    async fn failed(
        &self,
        tool: &Described,
        connection: &Arc<Connection>,
        why: &ServiceError,
    ) -> ToolError {
        let name = &self.config.name;
        if let Some(refused) = connection.refused(why) {
            self.give_up(connection).await;
            return ToolError::Rejected(format!(
                "the MCP server `{name}` does not let this be done: {refused}"
            ));
        }
        if connection.is_closed() {
            let words = connection.last_words().await;
            return lost(tool, name.as_str(), &format!("ended{words}"));
        }
        ToolError::Rejected(cut(&connection.told(why), self.shared.output_bytes))
    }

    /// Logs the user in to it.
    pub(super) async fn log_in(&self, asked: Login<'_>) -> Result<LoggedIn, LoginError> {
        let (url, oauth) = self.place()?;
        let folder = &self.shared.folder;
        let logged_in = log_in(&url, oauth, folder, self.challenge(), asked).await?;
        // The next call is made as somebody else.
        self.link.lock().await.connection = None;
        Ok(logged_in)
    }

    /// Forgets the login to it.
    pub(super) fn log_out(&self) -> Result<bool, LoginError> {
        let (url, _) = self.place()?;
        log_out(&url, &self.shared.folder)
    }

    /// Where it is, and how one logs in there.
    fn place(&self) -> Result<(Url, &OAuth), LoginError> {
        let wrong = |why: &str| Err(LoginError::Settings(why.to_owned()));
        match (&self.config.transport, shown_by(&self.config.transport)) {
            (Transport::Command { .. }, _) => {
                wrong("it is a program of this machine; one logs in to servers with a `url`")
            }
            (_, Shown::Settings) => wrong(
                "its settings give it a token (`token_cmd` or `headers`); take that out to log in instead",
            ),
            (Transport::Http { url, oauth, .. }, _) => {
                Ok((http::address(url).map_err(LoginError::Settings)?, oauth))
            }
        }
    }

    /// What it says to somebody unknown, who connects and asks for its tools.
    async fn challenge(&self) -> Challenge {
        let asked = async {
            let connection = Connection::open(&self.config, &self.shared, As::Nobody).await?;
            let listed = connection.list(&self.config).await;
            connection.close().await;
            listed.map(|_| ())
        };
        match asked.await {
            Err(McpError::Refused(refused)) => {
                Challenge::Some(refused.challenge().map(str::to_owned))
            }
            _ => Challenge::None,
        }
    }

    fn check(&self, tool: &Described) -> Result<(), ToolError> {
        let (name, server) = (&tool.name, &self.config.name);
        let standing = match locked(&self.catalogue).standing(name) {
            Standing::Accepted => return Ok(()),
            Standing::Changed => format!(
                "the MCP server `{server}` now says something else of {name} than the user accepted, so it was not called and will not be in this run; do without it. The user is asked when gpak next starts"
            ),
            Standing::Gone => format!("the MCP server `{server}` has no tool {name} any more"),
        };
        Err(ToolError::Rejected(standing))
    }

    /// Ends it, if it runs.
    pub(super) async fn close(&self) {
        let connection = self.link.lock().await.connection.take();
        // A call that is still under way keeps it until that is dropped.
        if let Some(connection) = connection.and_then(Arc::into_inner) {
            connection.close().await;
        }
    }
}

/// The error of a call that was made, and nobody knows how it went.
fn lost(tool: &Described, server: &str, how: &str) -> ToolError {
    let name = &tool.name;
    if tool.only_reads() {
        return ToolError::Rejected(format!(
            "the MCP server `{server}` {how} while {name} was running; it is started again with the next call"
        ));
    }
    ToolError::Unknown(format!(
        "the MCP server `{server}` {how} while {name} was running; it may have been done or not, look before you do it again"
    ))
}

fn cut(text: &str, bytes: usize) -> String {
    let mut kept = crate::kept::Kept::new(bytes);
    kept.add(text.as_bytes());
    kept.text("")
}
