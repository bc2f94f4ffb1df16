//! Which model is used where neither the command line nor a setting names one: what is there, the most
//! able first. A key in the environment is a user's account at OpenAI; then an Ollama that answers at
//! its address; else the embedded model, which needs nothing.
//!
//! A key means that text leaves this machine, so that it is said, and `model = "embedded"` turns it off.

use std::time::Duration;

use gpak_kernel::model::{
    ollama::{self, Offer},
    openai,
    remote::Connection,
};

use crate::{
    failure::Failure,
    home::Home,
    servers,
    settings::{Origin, Settings},
    wire,
};

/// OpenAI's model where the settings name none: it makes tool calls well and costs little.
const OPENAI_MODEL: &str = "gpt-5-mini";
/// The variable that holds a key.
const KEY: &str = "OPENAI_API_KEY";
/// How long an Ollama has to take a connection: it is on this machine or near, and every start waits.
const CONNECT: Duration = Duration::from_millis(150);
/// How long it has to say what it has.
const ANSWER: Duration = Duration::from_secs(1);

/// Where a model was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line, the environment or a file names it.
    Named,
    /// A key for OpenAI.
    Key,
    /// An Ollama.
    Ollama,
    /// Nothing was found, and nothing is needed.
    Embedded,
}

/// A model and why it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it was found.
    pub source: Source,
    id: Option<String>,
    why: String,
}

impl Choice {
    /// The model as `provider/name`; None is the default embedded one.
    pub fn id(&self) -> Option<String> {
        self.id.clone()
    }

    /// The model, the default one by its name.
    pub fn id_or_default(&self, home: &Home) -> Result<String, Failure> {
        let id = self.id().filter(|id| id != "embedded");
        if let Some(id) = id {
            return Ok(id);
        }
        let store = wire::models(home)?;
        let default = store.catalogue().default_entry().map(|entry| entry.id());
        Ok(default.unwrap_or_default())
    }

    /// Why it is used, for people.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// The model that would be used, passing over sources that were `tried`.
pub async fn choose(settings: &Settings, tried: &[Source]) -> Choice {
    if let Some(id) = &settings.model.value {
        let why = match &settings.model.origin {
            Origin::File(path) => format!("`model` in {} names it", path.display()),
            other => format!("{other} names it"),
        };
        let id = Some(id.clone());
        let source = Source::Named;
        return Choice { source, id, why };
    }
    let key = std::env::var(KEY).is_ok_and(|key| !key.trim().is_empty());
    if key && !tried.contains(&Source::Key) {
        return by_key(settings);
    }
    let address = servers::ollama_address(&settings.ollama.value);
    let why_not = if tried.contains(&Source::Ollama) {
        format!("the Ollama at {} cannot be used", servers::shown(&address))
    } else {
        match at_ollama(&address, settings).await {
            Ok(choice) => return choice,
            Err(why) => why,
        }
    };
    Choice {
        source: Source::Embedded,
        id: None,
        why: if key {
            format!("OpenAI cannot be used, and {why_not}")
        } else {
            format!("{KEY} is not set, and {why_not}")
        },
    }
}

fn by_key(settings: &Settings) -> Choice {
    let server = &settings.openai.value;
    let address = servers::openai_address(server);
    let default = if address == openai::OPENAI {
        OPENAI_MODEL
    } else {
        // The only one that the server has.
        ""
    };
    let name = server.model.as_deref().unwrap_or(default);
    let address = servers::shown(&address);
    Choice {
        source: Source::Key,
        id: Some(format!("openai/{name}")),
        why: format!(
            "{KEY} is set, so what the run reads is sent to {address}; `model = \"embedded\"` in the \
             settings keeps it here"
        ),
    }
}

/// The model of the Ollama at that address, or why it has none.
async fn at_ollama(address: &str, settings: &Settings) -> Result<Choice, String> {
    let named = settings.ollama.value.model.clone();
    let mut connection = Connection::new(address);
    connection.connect = CONNECT;
    let offer = tokio::time::timeout(ANSWER, ollama::offer(&connection)).await;
    let address = servers::shown(address);
    let offer = match offer {
        Err(_) => return Err(format!("what is at {address} did not say what it has")),
        Ok(Err(_)) => return Err(format!("no Ollama answers at {address}")),
        Ok(Ok(offer)) => offer,
    };
    let (name, why) = match (named, offer) {
        (Some(name), _) => (name, "`ollama.model` names it".to_owned()),
        (None, Some(Offer { name, loaded: true })) => (name, "it is loaded there".to_owned()),
        (None, Some(Offer { name, .. })) => (
            name,
            "it is the latest there that can call tools".to_owned(),
        ),
        (None, None) => {
            return Err(format!(
                "the Ollama at {address} has no model that can call tools"
            ));
        }
    };
    Ok(Choice {
        source: Source::Ollama,
        id: Some(format!("ollama/{name}")),
        why: format!("an Ollama answers at {address}, and {why}"),
    })
}
