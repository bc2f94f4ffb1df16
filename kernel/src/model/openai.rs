//! Models behind servers that speak OpenAI's protocol: OpenAI itself, vLLM, llama.cpp, LM Studio,
//! gateways.
//!
//! There are two forms of it: Responses at OpenAI, Chat Completions everywhere. What a model and its
//! server can do is asked, not looked up: whether native tool calls come back right, whether text can
//! be constrained, which members of a request are refused, how large the window is. Where native calls
//! do not come back right, the model takes constrained steps (see [`step`](super::step)).
//!
//! `async-openai` sends and reads the stream. Its own retries are replaced (see `transport`), because
//! one that the journal does not know of is a step that nobody can account for; and its types for what
//! comes back are not used, because they refuse whatever a server leaves out or adds.

mod chat;
mod responses;
mod transport;
mod window;

use async_openai::Client;
use async_trait::async_trait;

pub use super::remote::{Connection, DEFAULT_WINDOW, Key};
use super::{
    Deltas, Model, ModelError, ModelProfile, Price, Reply, Request,
    probe::{Manner, Subject},
    remote::{self, Asking, Draft, Failure, Names, Reading, Server},
};
use transport::Endpoint;

/// Where OpenAI itself is.
pub const OPENAI: &str = "https://api.openai.com/v1";

/// Which form of the protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `POST /chat/completions`.
    Chat,
    /// `POST /responses`, with nothing stored at the server: the whole conversation is sent each time.
    Responses,
}

/// What is connected to, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server; its address ends in `/v1` as a rule.
    pub connection: Connection,
    /// The server's name for the model. Empty: the only one it has.
    pub model: String,
    /// None: Responses at OpenAI, Chat Completions elsewhere.
    pub api: Option<Api>,
    /// Tokens of the window, at most; less where the server says so. None: what the server says, and
    /// [`DEFAULT_WINDOW`] where it says nothing (OpenAI says nothing).
    pub window: Option<u32>,
    /// What a token costs.
    pub price: Option<Price>,
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
            api: None,
            window: None,
            price: None,
            native_tools: None,
            probes: None,
        }
    }
}

/// A model behind an OpenAI-compatible server.
pub struct OpenAi {
    server: Server,
    client: Client<Endpoint>,
    api: Api,
    profile: ModelProfile,
    asking: Asking,
}

/// The models that a server says it has, sorted.
///
/// # Errors
/// If it cannot be reached or wants another key.
pub async fn models(options: &Options) -> Result<Vec<String>, ModelError> {
    let server = Server::new(&options.connection)?;
    let listed = window::listed(&server)
        .await
        .map_err(|failure| failure.error)?;
    Ok(window::names(&listed))
}

impl OpenAi {
    /// Connects: asks what the server says of the model, and the model, once, whether it makes native
    /// tool calls.
    ///
    /// # Errors
    /// If the server cannot be reached, wants another key, has no such model, or is not ready yet.
    pub async fn connect(options: Options) -> Result<Self, ModelError> {
        let server = Server::new(&options.connection)?;
        let known = window::find(&server, &options).await?;
        let window = known.window.unwrap_or(DEFAULT_WINDOW).max(1);
        let server = server.with_window(window);
        let at_openai = server.host() == "api.openai.com";
        let preferred = if at_openai { Api::Responses } else { Api::Chat };
        let subject = Subject {
            provider: "openai".to_owned(),
            endpoint: server.shown(),
            model: known.name.clone(),
            fingerprint: known.fingerprint,
        };
        let mut model = Self {
            client: transport::client(&server),
            api: options.api.unwrap_or(preferred),
            profile: ModelProfile {
                provider: "openai".to_owned(),
                name: known.name,
                window,
                native_tools: false,
                local: server.is_local(),
                price: options.price,
            },
            asking: Asking::new(options.probes, subject),
            server,
        };
        let manner = match model.asking.known(options.native_tools) {
            Some(manner) => manner,
            None => model.probe().await?,
        };
        model.profile.native_tools = manner.native_tools;
        model.asking.set(manner);
        Ok(model)
    }

    /// Finds out how the model is best asked.
    async fn probe(&self) -> Result<Manner, ModelError> {
        self.asking.set(Manner {
            native_tools: true,
            ..Manner::default()
        });
        let probed = self
            .exchange(&remote::ping(), remote::PROBE_TEXT, &mut ())
            .await;
        let mut manner = self.asking.manner();
        manner.native_tools = match probed {
            Ok(reply) => remote::is_pong(&reply),
            Err(failure) if remote::is_an_answer(&failure) => false,
            Err(failure) => return Err(self.explain(failure).await),
        };
        self.asking.remember(&manner);
        Ok(manner)
    }

    /// Sends a request, and again with less where the server refuses something that can be left out.
    /// That is no retry: what was refused did no work, and it is not sent again.
    async fn exchange(
        &self,
        request: &Request,
        most_text: usize,
        deltas: &mut dyn Deltas,
    ) -> Result<Reply, Failure> {
        let optional = match self.api {
            Api::Chat => &chat::OPTIONAL[..],
            Api::Responses => &responses::OPTIONAL[..],
        };
        loop {
            let manner = self.asking.manner();
            let failure = match self.once(request, &manner, most_text, deltas).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            match self.asking.less(&manner, &failure, optional) {
                None => return Err(failure),
                // What is found out in the middle of the probe is remembered at its end.
                Some(less) if less.native_tools == self.profile.native_tools => {
                    self.asking.remember(&less);
                }
                Some(_) => {}
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
        let body = match self.api {
            Api::Chat => chat::body,
            Api::Responses => responses::body,
        };
        let name = &self.profile.name;
        let body = body(name, request, manner, &names, self.at_openai())?;
        let reading = Reading::of(manner);
        let sent = body.to_string().len();
        let mut draft =
            Draft::new(request, &names, reading, sent, deltas).with_most_text(most_text);
        match self.api {
            Api::Chat => chat::read(&self.server, &self.client, body, &mut draft).await?,
            Api::Responses => responses::read(&self.server, &self.client, body, &mut draft).await?,
        }
        Ok(draft.finish(&self.profile)?)
    }

    fn at_openai(&self) -> bool {
        self.server.host() == "api.openai.com"
    }

    /// A failure, with what the server has where it has not what was asked for.
    async fn explain(&self, failure: Failure) -> ModelError {
        if failure.status != Some(404) {
            return failure.error;
        }
        let listed = window::listed(&self.server).await.unwrap_or_default();
        remote::missing(
            &self.server,
            &self.profile.name,
            &failure.message,
            &window::names(&listed),
        )
    }
}

#[async_trait]
impl Model for OpenAi {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        match self.exchange(request, usize::MAX, deltas).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Err(self.explain(failure).await),
        }
    }
}

/// A request with two tools of which these are barred.
#[cfg(test)]
fn barring(barred: &[&str]) -> Request {
    let tool = |name: &str| {
        crate::tool::ToolSpec::new(
            name,
            String::new(),
            serde_json::json!({"type": "object"}),
            crate::tool::Effect::Pure,
        )
    };
    Request {
        messages: Vec::new(),
        tools: [tool("look"), tool("finish")].into(),
        barred: barred.iter().map(|name| (*name).to_owned()).collect(),
        known: Default::default(),
        sampling: super::Sampling::default(),
    }
}
