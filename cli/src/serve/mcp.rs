//! The agent as an MCP server: at `/mcp` over streamable HTTP, and `gpak mcp` over standard input and output
//! (<https://modelcontextprotocol.io/specification/2026-07-28>; also 2025-11-25 and older).
//!
//! What it offers is the toolbox, with what reads and writes memory in it, and `run_task`, which gives a task
//! to the agent. A call of a client is a run like any other, so that it passes the gate, is in the journal,
//! and can be undone: the run of a tool's call has a model that only makes that call
//! ([`gpak_kernel::model::literal`]). Where a client knows of tasks, `run_task` answers with one, whose id is
//! the run's. A client's runs are resources to read, and the repository's skills are prompts.
//!
//! ```text
//!   tools/call ── run (work) ── journal ──► over: the result
//!                    ▲                 └──► waits: the client's user is asked (ask) ──┐
//!                    └───────────────────────── what they answer ─────────────────────┘
//! ```

mod ask;
mod host;
mod offered;
mod prompts;
mod resources;
mod server;
mod stand;
mod stdio;

use std::sync::Arc;

use axum::Router;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};

use super::House;
use host::Host;
use server::Server;
pub use stdio::stdio;

/// `/mcp`. Who may come from where, and how much they may send, was looked at before.
pub fn router(house: &House) -> Router<House> {
    let host = Arc::new(Host::of(house));
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_cancellation_token(house.stop.clone());
    let make = move || Ok(Server::new(host.clone()));
    let service =
        StreamableHttpService::new(make, Arc::new(LocalSessionManager::default()), config);
    Router::new().route_service("/mcp", service)
}
