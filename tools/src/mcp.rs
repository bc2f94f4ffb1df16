//! Tools of MCP servers.
//!
//! A user names servers in their settings; [`Servers`] makes a tool of each of their tools, named
//! `server.tool`. Protocols are 2026-07-28 and, for servers that do not know it, 2025-11-25 and what these
//! servers answer to that; over standard input and output, or over streamable HTTP.
//!
//! - **Started when first needed.** What tools a server has is kept on disk from the last time, so nothing
//!   waits for servers but the first call of each, and the very first listing.
//! - **What was accepted is what is called.** A server that says something else of a tool than it did when
//!   the user accepted it ([`Servers::changes`]) has that tool refused, in the run that found out and in
//!   later ones, until the user accepts the change ([`Servers::accept`]).
//! - **A server harms its own calls only.** Starting, listing and calling have deadlines; messages, results,
//!   lists and schemas have limits; a server that ended is started again, after a while that grows.
//! - **A server is told who calls** by what the settings give, or by a login ([`Servers::log_in`]), which is
//!   kept for the user alone and renewed as long as the authorization server agrees ([`OAuth`]).
//! - **A call that is dropped is cancelled**, and the server is told so.
//!
//! An effect is `irreversible` unless the server says that the tool only reads.

mod catalogue;
mod client;
mod config;
mod connection;
mod elicit;
mod http;
mod late;
mod oauth;
mod process;
mod refused;
mod result;
mod server;
mod tool;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::future::join_all;
use gpak_kernel::{
    run::{Human, Nobody},
    tool::Tool,
};

pub use self::{
    catalogue::Change,
    config::{Grant, OAuth, ServerConfig, ServerName, Token, Transport},
    connection::McpError,
    oauth::{LoggedIn, Login, LoginError},
    refused::Refused,
};
use self::{server::Server, tool::McpTool};

/// What the servers of one user share.
pub struct Options {
    /// Where it is kept what tools they have, and who is logged in to them.
    pub folder: PathBuf,
    /// Bytes of a result that a model is shown.
    pub output_bytes: usize,
    /// Whether the user said that nothing be asked: what a server asks for is answered by its defaults.
    pub yes: bool,
    /// Told of progress.
    pub progress: Box<dyn Fn(&Progress) + Send + Sync>,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The server that makes it.
    pub server: ServerName,
    /// How much is done, in units of the server's own.
    pub done: f64,
    /// Of how much, if that is known.
    pub of: Option<f64>,
    /// What is being done.
    pub message: Option<String>,
}

/// What all connections know.
struct Shared {
    folder: PathBuf,
    output_bytes: usize,
    yes: bool,
    progress: Box<dyn Fn(&Progress) + Send + Sync>,
    person: Mutex<Arc<dyn Human>>,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Shared {
    fn person(&self) -> Arc<dyn Human> {
        locked(&self.person).clone()
    }
}

/// The servers of one user.
pub struct Servers {
    servers: Vec<Arc<Server>>,
    shared: Arc<Shared>,
}

/// How a server is.
pub struct Health {
    /// Which one.
    pub server: ServerName,
    /// The version of the protocol that it speaks, or why it cannot be used.
    pub protocol: Result<String, McpError>,
    /// How many tools of it are offered.
    pub tools: usize,
    /// Why some are not.
    pub left_out: Vec<String>,
}

impl Servers {
    /// Those servers. None is started.
    pub fn new(configs: Vec<ServerConfig>, options: Options) -> Self {
        let shared = Arc::new(Shared {
            folder: options.folder,
            output_bytes: options.output_bytes,
            yes: options.yes,
            progress: options.progress,
            person: Mutex::new(Arc::new(Nobody)),
            turn: tokio::sync::Mutex::default(),
        });
        let server = |config| Arc::new(Server::new(config, shared.clone()));
        Self {
            servers: configs.into_iter().map(server).collect(),
            shared,
        }
    }

    /// Questions of servers go to that person from now on. Until then nobody is there.
    pub fn ask(&self, person: Arc<dyn Human>) {
        *locked(&self.shared.person) = person;
    }

    /// Asks each server of which nothing is known yet for its tools, all at once. Tells how those are.
    pub async fn list_new(&self) -> Vec<Health> {
        let is_new = |server: &&Arc<Server>| locked(&server.catalogue).is_empty();
        join_all(self.servers.iter().filter(is_new).map(health)).await
    }

    /// Starts every server, and tells how each is.
    pub async fn look(&self) -> Vec<Health> {
        join_all(self.servers.iter().map(health)).await
    }

    /// What servers say now that the user did not accept.
    pub fn changes(&self) -> Vec<(ServerName, Vec<Change>)> {
        let changes = self.servers.iter().map(|server| {
            let mut changes = locked(&server.catalogue).changes();
            changes.retain(|change| server.config.offers(change.tool()));
            (server.config.name.clone(), changes)
        });
        changes.filter(|(_, changes)| !changes.is_empty()).collect()
    }

    /// Accepts what that server says now.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn accept(&self, name: &ServerName) -> std::io::Result<()> {
        let mut servers = self.servers.iter();
        match servers.find(|server| &server.config.name == name) {
            Some(server) => locked(&server.catalogue).accept(),
            None => Ok(()),
        }
    }

    /// Logs the user in to that server, in a browser.
    ///
    /// # Errors
    /// If that is no server of theirs, or the login comes to nothing.
    pub async fn log_in(
        &self,
        name: &ServerName,
        asked: Login<'_>,
    ) -> Result<LoggedIn, LoginError> {
        self.named(name)?.log_in(asked).await
    }

    /// Forgets the login to that server. Tells whether there was one. The authorization server is not told:
    /// a token that somebody copied is good until it runs out.
    ///
    /// # Errors
    /// If that is no server of theirs, or the login cannot be removed.
    pub fn log_out(&self, name: &ServerName) -> Result<bool, LoginError> {
        self.named(name)?.log_out()
    }

    fn named(&self, name: &ServerName) -> Result<&Arc<Server>, LoginError> {
        let mut servers = self.servers.iter();
        let found = servers.find(|server| &server.config.name == name);
        found.ok_or_else(|| {
            LoginError::Settings(format!("the settings name no MCP server `{name}`"))
        })
    }

    /// The tools that are known and accepted.
    pub fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let mut tools: Vec<Arc<dyn Tool>> = Vec::new();
        for server in &self.servers {
            let offered = locked(&server.catalogue).offered().into_iter();
            let offered = offered.filter(|tool| server.config.offers(&tool.name));
            tools.extend(
                offered
                    .map(|tool| -> Arc<dyn Tool> { Arc::new(McpTool::new(server.clone(), tool)) }),
            );
        }
        tools
    }

    /// Ends the servers that run. Those that are merely dropped are killed.
    pub async fn close(&self) {
        join_all(self.servers.iter().map(|server| server.close())).await;
    }
}

async fn health(server: &Arc<Server>) -> Health {
    let protocol = server.see().await;
    let catalogue = locked(&server.catalogue);
    let offered = catalogue.offered().into_iter();
    Health {
        server: server.config.name.clone(),
        protocol,
        tools: offered
            .filter(|tool| server.config.offers(&tool.name))
            .count(),
        left_out: catalogue.left_out().to_vec(),
    }
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
