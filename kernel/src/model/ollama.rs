//! Models behind Ollama's own protocol: Ollama, and what speaks like it.
//!
//! The window is set with each request (`num_ctx`): a server that is not told cuts prompts off at a
//! default of its own, in silence. A model that makes no native tool calls gets the schema of a step as
//! `format`.
//!
//! Of `ollama-rs` the requests' types are used. Its client is not, at 0.3.6: it drops a piece of the
//! stream that ends within a character, prints what it cannot read to standard error and goes on,
//! hides the status and the headers of a failure, and reads neither why a model stopped nor an error
//! in the stream; each of these loses something that the journal must have.

mod chat;
mod keep_alive;
mod offer;

use async_trait::async_trait;
use ollama_rs::models::ModelInfo;
use serde_json::{Value, json};

pub use self::{
    keep_alive::KeepAlive,
    offer::{Offer, offer},
};
pub use super::remote::{Connection, DEFAULT_WINDOW, Key};
use super::{
    Deltas, Model, ModelError, ModelProfile, Price, Reply, Request,
    probe::{Manner, Subject},
    remote::{self, Asking, Draft, Failure, Names, Reading, Server},
};

/// Where Ollama is on a machine that runs it.
pub const LOCAL: &str = "http://127.0.0.1:11434";

/// What is connected to, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server; its address has no `/api` at its end.
    pub connection: Connection,
    /// Its name for the model, as `ollama list` shows it. Empty: the only one it has.
    pub model: String,
    /// Tokens of the window, at most: the server makes room for as many, and memory for long windows is
    /// what runs out first. Less where the model has less. None: [`DEFAULT_WINDOW`].
    pub window: Option<u32>,
    /// What a token costs.
    pub price: Option<Price>,
    /// How long the model stays loaded after a reply. None: as the server has it (5 minutes).
    pub keep_alive: Option<KeepAlive>,
    /// Whether it makes native tool calls. None: it is asked once.
    pub native_tools: Option<bool>,
    /// The file in which answers are remembered (`probes.json`). None: each process asks again.
    pub probes: Option<std::path::PathBuf>,
}

impl Options {
    /// The model of that name at that server, everything else as it comes.
    pub fn new(connection: Connection, model: impl Into<String>) -> Self {
        Self {
            connection,
            model: model.into(),
            window: None,
            price: None,
            keep_alive: None,
            native_tools: None,
            probes: None,
        }
    }
}

/// A model behind an Ollama server.
pub struct Ollama {
    server: Server,
    profile: ModelProfile,
    keep_alive: Option<KeepAlive>,
    asking: Asking,
}

/// The models that a server says it has, sorted.
///
/// # Errors
/// If it cannot be reached.
pub async fn models(options: &Options) -> Result<Vec<String>, ModelError> {
    let server = Server::new(&options.connection)?;
    let listed = listed(&server).await.map_err(|failure| failure.error)?;
    Ok(names(&listed))
}

async fn listed(server: &Server) -> Result<Vec<Value>, Failure> {
    let list = server.get("api/tags").await?;
    let models = list.get("models").and_then(Value::as_array);
    Ok(models.cloned().unwrap_or_default())
}

fn names(listed: &[Value]) -> Vec<String> {
    let names = listed
        .iter()
        .filter_map(|model| model.get("name")?.as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

impl Ollama {
    /// Connects: asks what the server says of the model, and the model, once, whether it makes native
    /// tool calls.
    ///
    /// # Errors
    /// If the server cannot be reached or has no such model.
    pub async fn connect(options: Options) -> Result<Self, ModelError> {
        let server = Server::new(&options.connection)?;
        let listed = listed(&server).await.map_err(|failure| failure.error)?;
        let name = match (options.model.as_str(), names(&listed).as_slice()) {
            ("", [only]) => only.clone(),
            ("", has) => return Err(remote::missing(&server, "", "no model is named", has)),
            (name, _) => name.to_owned(),
        };
        let info = match show(&server, &name).await {
            Ok(info) => info,
            Err(failure) => return Err(explain(&server, &name, failure).await),
        };
        let most = options.window.unwrap_or(DEFAULT_WINDOW).max(1);
        let window = trained(&info).map_or(most, |trained| trained.min(most));
        let server = server.with_window(window);
        let tagged = format!("{name}:latest");
        let is_it = |model: &&Value| {
            let listed = model.get("name").and_then(Value::as_str);
            listed == Some(&name) || listed == Some(&tagged)
        };
        let digest = listed
            .iter()
            .find(is_it)
            .and_then(|model| model.get("digest")?.as_str());
        let subject = Subject {
            provider: "ollama".to_owned(),
            endpoint: server.shown(),
            model: name.clone(),
            fingerprint: digest.unwrap_or_default().to_owned(),
        };
        let mut model = Self {
            profile: ModelProfile {
                provider: "ollama".to_owned(),
                name,
                window,
                native_tools: false,
                local: server.is_local(),
                price: options.price,
            },
            keep_alive: options.keep_alive,
            asking: Asking::new(options.probes, subject),
            server,
        };
        let manner = match model.asking.known(options.native_tools) {
            Some(manner) => manner,
            None => model.probe(&info.capabilities).await?,
        };
        model.profile.native_tools = manner.native_tools;
        model.asking.set(manner);
        Ok(model)
    }

    /// Finds out how the model is best asked.
    async fn probe(&self, capabilities: &[String]) -> Result<Manner, ModelError> {
        let mut manner = Manner::default();
        // A server that says no is believed; one that says yes is asked.
        let may = capabilities.is_empty() || capabilities.iter().any(|it| it == "tools");
        if may {
            let native = Manner {
                native_tools: true,
                ..Manner::default()
            };
            let probed = self
                .once(&remote::ping(), &native, remote::PROBE_TEXT, &mut ())
                .await;
            manner.native_tools = match probed {
                Ok(reply) => remote::is_pong(&reply),
                Err(failure) if remote::is_an_answer(&failure) => false,
                Err(failure) => return Err(self.explain(failure).await),
            };
        }
        self.asking.remember(&manner);
        Ok(manner)
    }

    /// Sends a request, and again with a weaker constraint where the server refuses the stronger.
    async fn exchange(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, Failure> {
        loop {
            let manner = self.asking.manner();
            let failure = match self.once(request, &manner, usize::MAX, deltas).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            match self.asking.less(&manner, &failure, &[]) {
                None => return Err(failure),
                Some(less) => self.asking.remember(&less),
            }
        }
    }

    async fn once(
        &self,
        request: &Request,
        manner: &Manner,
        most_text: usize,
        deltas: &mut dyn Deltas,
    ) -> Result<Reply, Failure> {
        let names = Names::new(&request.tools);
        let about = chat::About {
            model: &self.profile.name,
            window: self.profile.window,
            keep_alive: self.keep_alive.as_ref(),
        };
        let body = chat::body(about, request, manner, &names)?;
        let reading = Reading::of(manner);
        let sent = body.to_string().len();
        let draft = Draft::new(request, &names, reading, sent, deltas);
        let mut draft = draft.with_most_text(most_text);
        chat::read(&self.server, &body, &mut draft).await?;
        Ok(draft.finish(&self.profile)?)
    }

    async fn explain(&self, failure: Failure) -> ModelError {
        explain(&self.server, &self.profile.name, failure).await
    }
}

/// A failure, with what the server has where it has not what was asked for.
async fn explain(server: &Server, name: &str, failure: Failure) -> ModelError {
    if failure.status != Some(404) {
        return failure.error;
    }
    let listed = listed(server).await.unwrap_or_default();
    let why = format!("{} (`ollama pull {name}` fetches it)", failure.message);
    remote::missing(server, name, &why, &names(&listed))
}

/// What the server says of a model.
async fn show(server: &Server, name: &str) -> Result<ModelInfo, Failure> {
    // Older servers know the model by `name`, newer ones by `model`.
    let info = server
        .post("api/show", &json!({"model": name, "name": name}))
        .await?;
    serde_json::from_value(info)
        .map_err(|why| server.malformed(format!("what it says of {name}: {why}")))
}

/// The longest window that the model was trained for: `llama.context_length` and its like.
fn trained(info: &ModelInfo) -> Option<u32> {
    let lengths = info
        .model_info
        .iter()
        .filter(|(name, _)| name.ends_with(".context_length"));
    let lengths = lengths.filter_map(|(_, length)| u32::try_from(length.as_u64()?).ok());
    lengths.filter(|length| *length > 0).min()
}

#[async_trait]
impl Model for Ollama {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        match self.exchange(request, deltas).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Err(self.explain(failure).await),
        }
    }
}
