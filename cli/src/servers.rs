//! Models behind servers: where the servers are, which key they want, and how that is said.

use std::{fmt, path::Path, process::Command};

use gpak_kernel::model::{
    ModelError, Price,
    ollama::{self, KeepAlive},
    openai::{self, Api, Connection, Key},
};
use serde::Deserialize;

use crate::{failure::Failure, home::Home};

/// What the settings say of a server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Its address, as in `http://127.0.0.1:8080/v1`.
    pub base_url: Option<String>,
    /// The model that is used where none is named.
    pub model: Option<String>,
    /// The key it wants.
    pub api_key: Option<Secret>,
    /// A command that prints the key, as in `pass show openai`.
    pub api_key_cmd: Option<String>,
    /// `chat` or `responses`.
    pub api: Option<ApiSetting>,
    /// Tokens of the window, at most.
    pub window: Option<u32>,
    /// What a token costs.
    pub price: Option<Price>,
    /// Whether the model makes native tool calls; it is asked once where this is not said.
    pub native_tools: Option<bool>,
    /// How long a model stays loaded after a reply; only Ollama is told.
    pub keep_alive: Option<KeepAlive>,
}

/// Which form of OpenAI's protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiSetting {
    /// Chat Completions.
    Chat,
    /// Responses.
    Responses,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl ServerSettings {
    /// Each setting that is given, by name, as TOML; the key as `***`.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let quoted = |text: &String| format!("{text:?}");
        let given = [
            ("base_url", self.base_url.as_ref().map(quoted)),
            ("model", self.model.as_ref().map(quoted)),
            ("api_key", self.api_key.as_ref().map(|_| "\"***\"".into())),
            ("api_key_cmd", self.api_key_cmd.as_ref().map(quoted)),
            ("api", self.api.map(|api| format!("{api:?}").to_lowercase())),
            ("window", self.window.map(|window| window.to_string())),
            (
                "native_tools",
                self.native_tools.map(|native| native.to_string()),
            ),
            (
                "keep_alive",
                self.keep_alive.as_ref().map(|time| match time {
                    KeepAlive::Seconds(seconds) => seconds.to_string(),
                    KeepAlive::Text(text) => quoted(text),
                }),
            ),
            (
                "price",
                self.price.map(|price| {
                    let Price {
                        input,
                        cached,
                        output,
                    } = price;
                    format!("{{ input = {input}, cached = {cached}, output = {output} }}")
                }),
            ),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }

    /// The address: as it stands in the settings, or from the environment.
    fn url(&self, variable: &str) -> Option<String> {
        let from_environment = || std::env::var(variable).ok();
        let url = self.base_url.clone().or_else(from_environment);
        url.filter(|url| !url.trim().is_empty())
    }

    /// The key: as it stands in the settings, as a command prints it, or from the environment.
    pub fn key(&self, variable: &str) -> Result<Option<Key>, Failure> {
        if let Some(Secret(key)) = &self.api_key {
            return Ok(Some(Key::new(key)));
        }
        if let Some(command) = &self.api_key_cmd {
            let key = printed("api_key_cmd", command)?;
            return Ok(Some(Key::new(&key)));
        }
        let key = std::env::var(variable).ok();
        Ok(key
            .filter(|key| !key.trim().is_empty())
            .map(|key| Key::new(&key)))
    }
}

/// The key that the command of a setting prints. What it prints is in no error.
pub fn printed(setting: &str, command: &str) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::usage(format!("{setting} `{command}` gave no key: {why}"))
            .help("it must print the key, and nothing else, on standard output")
    };
    let output = Command::new("sh").arg("-c").arg(command).output();
    let output = output.map_err(|why| failed(why.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let key = String::from_utf8(output.stdout).map_err(|_| failed("it is no text".into()))?;
    if key.trim().is_empty() {
        return Err(failed("it printed nothing".into()));
    }
    Ok(key.trim().to_owned())
}

/// How to connect to model `name` of an OpenAI-compatible server.
///
/// # Errors
/// If the key cannot be had, or OpenAI itself is meant and there is none.
pub fn openai(
    home: &Home,
    settings: &ServerSettings,
    name: &str,
) -> Result<openai::Options, Failure> {
    let url = settings.url("OPENAI_BASE_URL");
    let key = settings.key("OPENAI_API_KEY")?;
    if key.is_none() && url.is_none() {
        return Err(Failure::usage(format!(
            "`openai/{name}` needs a key, or the address of a server that needs none"
        ))
        .help(
            "set OPENAI_API_KEY, or in the settings `openai.api_key_cmd`, or \
             `openai.base_url = \"http://127.0.0.1:8080/v1\"`; `gpak config paths` says where they are",
        ));
    }
    let mut connection = Connection::new(url.unwrap_or_else(|| openai::OPENAI.to_owned()));
    connection.key = key;
    let mut options = openai::Options::new(connection, name);
    options.api = settings.api.map(|api| match api {
        ApiSetting::Chat => Api::Chat,
        ApiSetting::Responses => Api::Responses,
    });
    options.window = settings.window;
    options.price = settings.price;
    options.native_tools = settings.native_tools;
    options.probes = Some(probes(&home.cache));
    Ok(options)
}

/// How to connect to model `name` of an Ollama server.
///
/// # Errors
/// If the key cannot be had.
pub fn ollama(
    home: &Home,
    settings: &ServerSettings,
    name: &str,
) -> Result<ollama::Options, Failure> {
    let mut connection = Connection::new(ollama_address(settings));
    connection.key = settings.key("OLLAMA_API_KEY")?;
    let mut options = ollama::Options::new(connection, name);
    options.window = settings.window;
    options.price = settings.price;
    options.native_tools = settings.native_tools;
    options.keep_alive = settings.keep_alive.clone();
    options.probes = Some(probes(&home.cache));
    Ok(options)
}

/// Where Ollama is looked for.
pub fn ollama_address(settings: &ServerSettings) -> String {
    let url = settings.url("OLLAMA_HOST");
    url.map_or_else(|| ollama::LOCAL.to_owned(), address)
}

/// Where OpenAI's protocol is spoken.
pub fn openai_address(settings: &ServerSettings) -> String {
    let url = settings.url("OPENAI_BASE_URL");
    url.unwrap_or_else(|| openai::OPENAI.to_owned())
}

/// An address without the name and the password that may be in it.
pub fn shown(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return address.to_owned();
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let secret = host.rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", rest.get(secret..).unwrap_or_default())
}

/// An address as `OLLAMA_HOST` has it: the scheme may be left out, and a server that listens on every
/// address is reached on this machine's own.
fn address(host: String) -> String {
    let host = match host.split_once("://") {
        Some(_) => host,
        None => format!("http://{host}"),
    };
    host.replacen("//0.0.0.0", "//127.0.0.1", 1)
}

/// Where it is kept what models were found to do.
fn probes(cache: &Path) -> std::path::PathBuf {
    cache.join("probes.json")
}

/// A model that cannot be connected to, with what to do.
pub fn unconnected(error: ModelError) -> Failure {
    let help = match &error {
        ModelError::Unauthorized { .. } => {
            "check the key: OPENAI_API_KEY, or `api_key` or `api_key_cmd` in the settings"
        }
        ModelError::Unreachable { .. } => {
            "check that the server runs and that `base_url` in the settings is its address"
        }
        _ => return error.into(),
    };
    Failure::from(error).help(help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        let folder = std::path::PathBuf::from("/nowhere");
        Home {
            config: folder.clone(),
            data: folder.clone(),
            cache: folder,
            copies: std::path::PathBuf::new(),
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let settings: ServerSettings =
            toml::from_str("api_key = 'sk-secret'\nbase_url = 'http://localhost:1/v1'").unwrap();
        let options = openai(&home(), &settings, "m").unwrap();
        let shown = format!("{settings:?} {:?} {options:?}", settings.lines());
        assert!(!shown.contains("sk-secret"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (address, is) in [
            (
                "http://me:secret@box.lan:1/v1?a@b",
                "http://box.lan:1/v1?a@b",
            ),
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ] {
            assert_eq!(shown(address), is);
        }
    }

    #[test]
    fn a_host_becomes_an_address() {
        for (host, is) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("0.0.0.0:1", "http://127.0.0.1:1"),
            ("https://box.lan", "https://box.lan"),
        ] {
            assert_eq!(address(host.to_owned()), is);
        }
    }

    #[test]
    fn a_command_that_prints_no_key_is_refused_without_what_it_printed() {
        for (command, part) in [
            ("echo sk-leak; exit 3", "exit status: 3"),
            ("true", "printed nothing"),
        ] {
            let why = printed("api_key_cmd", command).unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
        let key = printed("api_key_cmd", "printf ' sk-1\\n'").unwrap();
        assert_eq!(key, "sk-1");
    }
}
