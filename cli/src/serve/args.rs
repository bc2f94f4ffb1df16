//! What can be typed behind `gpak serve`.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand};

use super::access::Role;
use crate::args::{Bounds, Place};

/// `gpak serve`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServeArgs {
    /// Manage who may use the service
    #[command(subcommand)]
    pub command: Option<ServeCommand>,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub start: StartArgs,
}

/// `gpak serve`, to start it.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// Where it listens; port 0 is any free one
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:4725")]
    pub listen: SocketAddr,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub tls: Tls,

    /// Listen on an address that other machines reach, without TLS
    ///
    /// Whoever can read the network then reads keys and answers. For a proxy in front that has TLS.
    #[arg(long)]
    pub plain: bool,

    /// A name that clients know it by, besides localhost; may be given again
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,

    /// The model of runs that name none, as `provider/name`
    #[arg(short, long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Another folder that runs may work in; may be given again
    #[arg(long, value_name = "DIR")]
    pub also: Vec<PathBuf>,

    /// Runs that are driven at a time
    #[arg(long, value_name = "RUNS", default_value_t = 32, value_parser = at_least_one)]
    pub drivers: usize,

    /// Runs that may wait for a driver
    #[arg(long, value_name = "RUNS", default_value_t = 1000, value_parser = at_least_one)]
    pub queue: usize,

    /// Requests a second of each user
    #[arg(long, value_name = "REQUESTS", default_value = "100")]
    pub rate: NonZeroU32,

    /// Seconds before a webhook that did not arrive is sent again; each pause after that is five times as long
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub webhook_pause: u64,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub place: Place,

    #[command(flatten)]
    #[allow(
        missing_docs,
        reason = "clap shows the doc comment of a flattened field"
    )]
    pub bounds: Bounds,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it is a number from 1 up".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, Args)]
pub struct Tls {
    /// The certificate, with its chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Only take connections of clients whose certificate one of these signed
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
}

/// What is managed.
#[derive(Debug, Subcommand)]
pub enum ServeCommand {
    /// Users: list, add, password, remove
    #[command(subcommand)]
    Users(UsersCommand),
    /// API keys: list, add, revoke
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print a link that signs a browser in, once, within an hour
    Link {
        /// The user
        #[arg(default_value = "admin")]
        user: String,
        /// The address of the service
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4725")]
        url: String,
    },
}

/// `gpak serve users`
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List the users
    List,
    /// Add a user; the password is read from standard input
    Add {
        /// The user's name
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value = "operator")]
        role: Role,
        /// It has API keys only
        #[arg(long)]
        no_password: bool,
    },
    /// Give a user another password, read from standard input
    Password {
        /// The user's name
        name: String,
    },
    /// Remove a user, with all keys and sessions
    Remove {
        /// The user's name
        name: String,
    },
}

/// `gpak serve keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the keys; they themselves are not kept
    List {
        /// Those of this user
        #[arg(long)]
        user: Option<String>,
    },
    /// Make a key, which is printed this once
    Add {
        /// Whose it is
        #[arg(long, default_value = "admin")]
        user: String,
        /// What it allows [default: what the user may do]
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// What it is for
        #[arg(long, default_value = "")]
        name: String,
        /// Days after which it ends
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: Option<u32>,
    },
    /// End a key
    Revoke {
        /// The key's id, as the list shows it
        id: String,
    },
}
