//! `gpak mcp`: one client, over standard input and output.

use std::{sync::Arc, time::Duration};

use gpak_kernel::model::literal::ID;
use rmcp::{ServiceExt, transport::stdio as pipes};
use tokio_util::sync::CancellationToken;

use super::{host::Host, server::Server};
use crate::{
    args::McpArgs,
    failure::{DONE, Failure},
    home::Home,
    serve::work::{Bounds, Watched, Work},
    settings::Settings,
    wire,
};

/// Runs that are driven at a time.
const DRIVERS: usize = 4;
/// Runs that may wait for a driver.
const QUEUE: usize = 100;
/// How long runs may go on once the client is gone.
const GRACE: Duration = Duration::from_secs(2);

/// `gpak mcp`
pub async fn stdio(home: &Home, args: McpArgs) -> Result<u8, Failure> {
    let workspace = wire::workspace(&args.place.workspace)?;
    let settings = Settings::read(home, &workspace)?;
    let settings = settings.with_flags(args.model.as_ref(), &args.bounds);
    let bounds = Bounds {
        workspaces: vec![workspace],
        drivers: DRIVERS,
        queue: QUEUE,
        flags: args.bounds,
    };
    // Calls of tools need no other mind.
    let none = wire::mind(home, &settings, Some(ID), &CancellationToken::new()).await?;
    let work = Work::open(home.clone(), bounds, none, Watched::default())?;
    work.start();
    let host = Arc::new(Host::alone(home.clone(), work.clone(), settings));
    let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
    let served = Server::alone(host, user).serve(pipes()).await;
    let served = served.map_err(|why| {
        Failure::new(format!("the client cannot be understood: {why}"))
            .help("gpak mcp is started by an MCP client, which speaks to it over standard input")
    })?;
    let ended = served.waiting().await;
    work.drain(GRACE).await;
    ended.map_err(|why| Failure::new(why.to_string()))?;
    Ok(DONE)
}
