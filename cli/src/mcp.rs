//! MCP servers: how the user's settings name them, and how a run gets their tools.

mod oauth;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use gpak_kernel::run::Driver;
use gpak_tools::mcp::{
    Change, Health, OAuth, Options, Progress, ServerConfig, ServerName, Servers, Token, Transport,
};
use indicatif::ProgressBar;
use serde::Deserialize;

pub use self::oauth::OAuthSettings;
use crate::{
    failure::{Failure, file},
    home::Home,
    human,
    servers::{Secret, printed, shown},
    settings::{Settings, at_home},
    show, wire,
};

/// Seconds that a server may take to start and to list its tools.
const START_TIMEOUT: u64 = 20;
/// Seconds that a call may go on without a sign of life.
const TIMEOUT: u64 = 300;
/// Lines of a change that are shown.
const SHOWN: usize = 40;

/// What the settings say of a server: `[mcp.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct McpSettings {
    /// The program, with its arguments or without.
    pub command: Option<Program>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment.
    pub env: BTreeMap<String, Secret>,
    /// Variables of gpak's own environment that it is given.
    pub pass_env: Vec<String>,
    /// The folder it is started in; the user's home folder where this is not said.
    pub cwd: Option<PathBuf>,
    /// The address of a server behind streamable HTTP.
    pub url: Option<String>,
    /// Headers of each request.
    pub headers: BTreeMap<String, Secret>,
    /// A command that prints the bearer token, as in `pass show linear`.
    pub token_cmd: Option<String>,
    /// How gpak is known to the authorization server of a server with a `url`.
    pub oauth: Option<OAuthSettings>,
    /// Patterns of the tools that are offered; all where nothing is said.
    pub tools: Vec<String>,
    /// Seconds that it may take to start and to list its tools.
    pub start_timeout: Option<u64>,
    /// Seconds that a call may go on without a sign of life.
    pub timeout: Option<u64>,
    /// False, and it is as if nothing were said of it.
    pub enabled: Option<bool>,
}

/// A program, or one with its arguments.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Program {
    /// `command = "npx"`
    Alone(String),
    /// `command = ["npx", "-y", "…"]`
    WithArguments(Vec<String>),
}

impl McpSettings {
    /// The server of that name. The error says what is wrong with its settings.
    pub fn config(&self, name: &str) -> Result<ServerConfig, String> {
        let wrong = |why: &str| Err(format!("mcp.{name}: {why}"));
        let server: ServerName = name.parse()?;
        let transport = match (&self.command, &self.url) {
            (Some(command), None) => {
                if !self.headers.is_empty() || self.token_cmd.is_some() || self.oauth.is_some() {
                    return wrong(
                        "`headers`, `token_cmd` and `oauth` are for a server with a `url`",
                    );
                }
                let (program, args) = match command {
                    Program::Alone(program) => (program.clone(), &[][..]),
                    Program::WithArguments(words) => match words.split_first() {
                        Some((program, args)) => (program.clone(), args),
                        None => return wrong("`command` is empty"),
                    },
                };
                if program.trim().is_empty() {
                    return wrong("`command` is empty");
                }
                let passed_on = self.pass_env.iter().filter_map(|name| {
                    let value = std::env::var(name).ok()?;
                    Some((name.clone(), value))
                });
                let given = self.env.iter();
                let given = given.map(|(name, value)| (name.clone(), value.expose().to_owned()));
                Transport::Command {
                    program,
                    args: args.iter().chain(&self.args).cloned().collect(),
                    env: passed_on.chain(given).collect(),
                    folder: at_home(self.cwd.as_deref().unwrap_or("~".as_ref())),
                }
            }
            (None, Some(url)) => {
                if !self.args.is_empty()
                    || !self.env.is_empty()
                    || !self.pass_env.is_empty()
                    || self.cwd.is_some()
                {
                    return wrong(
                        "`args`, `env`, `pass_env` and `cwd` are for a server with a `command`",
                    );
                }
                let oauth = match (&self.oauth, &self.token_cmd) {
                    (Some(_), Some(_)) => return wrong("it has both a `token_cmd` and `oauth`"),
                    (Some(oauth), None) => {
                        oauth.config().map_err(|why| format!("mcp.{name}: {why}"))?
                    }
                    (None, _) => OAuth::default(),
                };
                let headers = self.headers.iter();
                Transport::Http {
                    url: url.clone(),
                    headers: headers
                        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
                        .collect(),
                    token: self.token_cmd.clone().map(|command| -> Token {
                        Arc::new(move || {
                            printed("token_cmd", &command).map_err(|why| why.to_string())
                        })
                    }),
                    oauth,
                }
            }
            _ => {
                return wrong(
                    "a server has either a `command` that starts it or a `url` where it is",
                );
            }
        };
        let seconds = |said: Option<u64>, usual| Duration::from_secs(said.unwrap_or(usual).max(1));
        Ok(ServerConfig {
            name: server,
            transport,
            start_timeout: seconds(self.start_timeout, START_TIMEOUT),
            timeout: seconds(self.timeout, TIMEOUT),
            tools: self.tools.clone(),
        })
    }

    /// Each setting that is given, by name, as TOML; values that may be secret as `***`.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let text = |text: &str| format!("{text:?}");
        let list = |list: &[String]| (!list.is_empty()).then(|| format!("{list:?}"));
        let hidden = |table: &BTreeMap<String, Secret>| {
            let names = table.keys().map(|name| format!("{name:?} = \"***\""));
            (!table.is_empty()).then(|| format!("{{ {} }}", names.collect::<Vec<_>>().join(", ")))
        };
        let command = self.command.as_ref().map(|command| match command {
            Program::Alone(program) => text(program),
            Program::WithArguments(words) => format!("{words:?}"),
        });
        let folder = self.cwd.as_ref().map(|path| text(&path.to_string_lossy()));
        let given = [
            ("command", command),
            ("args", list(&self.args)),
            ("env", hidden(&self.env)),
            ("pass_env", list(&self.pass_env)),
            ("cwd", folder),
            ("url", self.url.as_ref().map(|url| text(&shown(url)))),
            ("headers", hidden(&self.headers)),
            ("token_cmd", self.token_cmd.as_deref().map(text)),
            ("oauth", self.oauth.as_ref().map(OAuthSettings::line)),
            ("tools", list(&self.tools)),
            (
                "start_timeout",
                self.start_timeout.map(|seconds| seconds.to_string()),
            ),
            ("timeout", self.timeout.map(|seconds| seconds.to_string())),
            ("enabled", self.enabled.map(|yes| yes.to_string())),
        ];
        let given = given.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// Whether it is to be used.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(false)
    }
}

/// How the user is met.
pub struct Manner {
    /// Whether they said that nothing be asked.
    pub yes: bool,
    /// Whether somebody is at the terminal.
    pub attended: bool,
    /// Where progress is shown.
    pub progress: ProgressBar,
}

/// The servers of this user, for results of so many bytes.
///
/// # Errors
/// If the settings of one make no sense.
pub fn servers(
    home: &Home,
    settings: &Settings,
    output_bytes: usize,
    yes: bool,
    progress: ProgressBar,
) -> Result<Servers, Failure> {
    let named = settings.mcp.iter();
    let enabled = named.filter(|(_, said)| said.value.is_enabled());
    let configs = enabled.map(|(name, said)| said.value.config(name).map_err(Failure::usage));
    let options = Options {
        folder: home.mcp(),
        output_bytes,
        yes,
        progress: Box::new(move |told| progress.set_message(line(told))),
    };
    Ok(Servers::new(configs.collect::<Result<_, _>>()?, options))
}

/// Gives the tools of the user's servers to a driver. Servers of which nothing is known yet are asked for
/// their tools first, and the user for what others changed; what cannot be used is said and left out.
pub async fn join(
    driver: &mut Driver,
    home: &Home,
    settings: &Settings,
    manner: Manner,
) -> Result<Servers, Failure> {
    let output_bytes = wire::output_bytes(driver.model.profile().window);
    let Manner {
        yes,
        attended,
        progress,
    } = manner;
    let servers = servers(home, settings, output_bytes, yes, progress)?;
    tokio::select! {
        listed = servers.list_new() => listed.iter().for_each(tell),
        () = driver.stop.cancelled() => {}
    }
    for (server, changes) in servers.changes() {
        let told = changes.iter().map(change).collect::<Vec<_>>().join("\n");
        let head = format!(
            "the MCP server `{server}` says something else of its tools than you accepted:"
        );
        let agreed = yes
            || attended
                && human::confirm(format!("gpak: {head}\n{told}\nAccept it? [y]es or [n]o: "))
                    .await;
        if agreed {
            servers.accept(&server).map_err(file(&home.mcp()))?;
        } else if !attended {
            let tools: Vec<_> = changes.iter().map(Change::tool).collect();
            eprintln!(
                "gpak: {head} {}; these are left out until you accept them, with --yes or at a terminal",
                show::plain(&tools.join(", "))
            );
        }
    }
    offer(driver, &servers)?;
    servers.ask(driver.human.clone());
    Ok(servers)
}

/// Gives the tools of these servers to a driver.
pub fn offer(driver: &mut Driver, servers: &Servers) -> Result<(), Failure> {
    let toolbox = std::mem::take(&mut driver.toolbox);
    let toolbox = toolbox.with(servers.tools());
    driver.toolbox = toolbox.map_err(|why| Failure::new(why.to_string()))?;
    Ok(())
}

fn tell(health: &Health) {
    let server = &health.server;
    if let Err(why) = &health.protocol {
        eprintln!(
            "gpak: the MCP server `{server}` is left out: {}",
            show::plain(&why.to_string())
        );
    }
    for why in &health.left_out {
        eprintln!(
            "gpak: a tool of the MCP server `{server}` is left out: {}",
            show::plain(why)
        );
    }
}

fn change(change: &Change) -> String {
    let (head, rest) = match change {
        Change::New { tool, says } => (format!("+ {tool}"), says),
        Change::Different { tool, diff } => (format!("~ {tool}"), diff),
    };
    let lines = rest.lines().take(SHOWN).map(|line| format!("    {line}"));
    let lines: Vec<_> = std::iter::once(format!("  {head}")).chain(lines).collect();
    show::plain(&lines.join("\n"))
}

/// `files: 3 of 10, copying`.
fn line(told: &Progress) -> String {
    let of = told.of.map_or_else(String::new, |of| format!(" of {of}"));
    let message = told.message.as_deref().unwrap_or_default();
    let message = if message.is_empty() {
        String::new()
    } else {
        format!(", {message}")
    };
    show::one_line(&show::plain(&format!(
        "{}: {}{of}{message}",
        told.server, told.done
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> McpSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_server_has_a_command_or_an_address() {
        for text in [
            "command = 'npx'\nargs = ['-y', 'x']",
            "command = ['npx', '-y', 'x']",
            "url = 'https://example.org/mcp'\nheaders = { X-Key = 'k' }",
            "url = 'https://example.org/mcp'\noauth = { client_id = 'gpak', scopes = ['read'] }",
        ] {
            assert!(said(text).config("a").is_ok(), "{text}");
        }
        for (text, part) in [
            ("", "either a `command`"),
            ("command = 'x'\nurl = 'http://x'", "either a `command`"),
            ("command = []", "is empty"),
            ("command = 'x'\nheaders = { a = 'b' }", "with a `url`"),
            ("url = 'http://x'\nenv = { a = 'b' }", "with a `command`"),
            ("command = 'x'\noauth = {}", "with a `url`"),
            ("url = 'http://x'\ntoken_cmd = 'x'\noauth = {}", "both"),
            (
                "url = 'http://x'\noauth.client_secret_cmd = 'x'",
                "for a `client_id`",
            ),
            (
                "url = 'http://x'\noauth = { grant = 'client_credentials', client_id = 'x' }",
                "`client_secret_cmd`",
            ),
        ] {
            let why = said(text).config("a").err().unwrap();
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(said("command = 'x'").config("a.b").is_err());
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let settings = said(
            "url = 'https://me:pw@example.org/mcp'\nheaders = { Authorization = 'Bearer sk-1' }",
        );
        let shown = format!("{:?} {settings:?}", settings.lines());
        assert!(!shown.contains("sk-1") && shown.contains("***"), "{shown}");
        assert!(!format!("{:?}", settings.lines()).contains("pw"));
    }
}
