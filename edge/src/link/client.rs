//! A node's side of the link: it asks who it is, and takes nothing that the identity's owner did not sign.

use std::{
    fmt, fs,
    time::{Duration, Instant},
};

use futures::StreamExt;
use gpak_kernel::{
    identity::{History, Prompt, PublicKey, Refusal, Share, TooSmall, compile},
    model::{ModelError, resilience::backoff},
};
use gpak_memory::{IdentityError, IdentityStore};
use gpak_proto::v1::{self, identity_client::IdentityClient};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::wire::{self, Garbage};

/// Bytes of what a core sends, at most.
const LARGEST_MESSAGE: usize = 32 << 20;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a node could not be told who it is.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("`{0}` is no address of a core; one is `https://HOST:PORT`")]
    Address(String),
    /// Nobody is there.
    #[error("the core at {address} is not reached: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// The core will not.
    #[error("the core says no: {0}")]
    Denied(String),
    /// What it sent is not taken.
    #[error("what the core sent is not taken: {0}")]
    Refused(#[from] Refusal),
    /// What it sent makes no sense.
    #[error("what the core sent makes no sense: {0}")]
    Garbage(#[from] Garbage),
    /// What it sent is signed, and does not belong together.
    #[error("what the core sent does not belong together: {0}")]
    Unfit(&'static str),
    /// It is not known whose signature is to be believed.
    #[error(
        "there is no identity here yet, and nothing says whose to take: give the core's public key, which \
         `gpak identity key` on the core shows"
    )]
    NoKey,
    /// What is stored does not fit into the window.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// The identity could not be kept.
    #[error(transparent)]
    Store(#[from] IdentityError),
}

impl LinkError {
    /// Whether the next try may go better.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    fn of(address: &str, status: &Status) -> Self {
        match status.code() {
            Code::Unavailable
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Internal => Self::Unreachable {
                address: address.to_owned(),
                why: status.message().to_owned(),
            },
            _ => Self::Denied(status.message().to_owned()),
        }
    }
}

/// Who a node asks, and as whom.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The core's address.
    pub core: String,
    /// The certificates to speak with, where the core wants some.
    pub tls: Option<ClientTlsConfig>,
    /// Who asks.
    pub node: v1::Node,
    /// The window that the prompt is for.
    pub window: u32,
    /// Whose signature is believed where no identity is here yet.
    pub key: Option<PublicKey>,
}

/// Who the node is, as it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The version.
    pub version: u64,
    /// What the model is told.
    pub text: String,
}

/// How the link stands.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Who the node is; nothing where nobody ever said.
    pub told: Option<Told>,
    /// Whether the core is there now.
    pub connected: bool,
    /// When the core was last heard.
    pub heard: Option<Instant>,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// How far the core's clock is ahead of ours.
    pub ahead: Option<SignedDuration>,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.told, self.connected, self.heard) {
            (None, ..) => f.write_str("no identity yet")?,
            (Some(told), true, _) => write!(f, "version {}, in touch with the core", told.version)?,
            (Some(told), false, Some(heard)) => write!(
                f,
                "version {}, as the core had it {} s ago",
                told.version,
                heard.elapsed().as_secs()
            )?,
            (Some(told), false, None) => write!(
                f,
                "version {}, as it is stored: the core was not heard since this process began",
                told.version
            )?,
        }
        if let Some(why) = &self.trouble {
            write!(f, " ({why})")?;
        }
        match self.ahead.and_then(wire::skew) {
            Some(skew) => write!(f, "; {skew}"),
            None => Ok(()),
        }
    }
}

/// Follows what the core says of who the node is.
pub struct Follower {
    store: IdentityStore,
    asking: Asking,
    state: watch::Sender<State>,
}

impl Follower {
    /// Begins from what is stored, with no network.
    ///
    /// # Errors
    /// If what is stored is not what was signed.
    pub fn new(store: IdentityStore, asking: Asking) -> Result<Self, LinkError> {
        let told = stored(&store, asking.window)?;
        let state = State {
            told,
            ..State::default()
        };
        Ok(Self {
            store,
            asking,
            state: watch::Sender::new(state),
        })
    }

    /// How the link stands, from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Asks once.
    ///
    /// # Errors
    /// If the core is not there, or what it says is not taken: then all is as it was.
    pub async fn wake(&self) -> Result<Told, LinkError> {
        let woken = self.ask().await;
        if let Err(why) = &woken {
            self.lost(why);
        }
        woken
    }

    async fn ask(&self) -> Result<Told, LinkError> {
        let mut client = self.connect().await?;
        let request = self.request()?;
        let have = request.have;
        let mut call = tonic::Request::new(request);
        call.set_timeout(ANSWER);
        let injection = client.wake(call).await;
        let injection = injection.map_err(|status| self.failed(&status))?;
        self.take(&mut client, injection.into_inner(), have).await
    }

    /// Follows until it is cancelled: through breaks of the line, with a longer wait from one to the next.
    pub async fn follow(&self, cancel: CancellationToken) {
        let mut failures = 0;
        loop {
            let before = self.state.borrow().heard;
            let session = tokio::select! {
                () = cancel.cancelled() => return,
                session = self.session() => session,
            };
            let why = session.err();
            if let Some(why) = &why {
                tracing::warn!("{why}");
                self.lost(why);
            }
            if self.state.borrow().heard > before {
                failures = 0;
            }
            let message = String::new();
            let error = ModelError::Unreachable { message };
            let wait = backoff(failures, &error, fastrand::f64()).unwrap_or(CONNECT);
            // What cannot pass by itself is asked for seldom.
            let wait = match why {
                Some(why) if !why.may_pass() => wait.max(CONNECT),
                _ => wait,
            };
            failures = failures.saturating_add(1);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn session(&self) -> Result<(), LinkError> {
        let mut client = self.connect().await?;
        let request = self.request()?;
        let updates = client.watch(request).await;
        let mut updates = updates.map_err(|status| self.failed(&status))?.into_inner();
        while let Some(update) = updates.next().await {
            let update = update.map_err(|status| self.failed(&status))?;
            match update.said {
                Some(v1::update::Said::Injection(injection)) => {
                    let have = self.store.latest()?.unwrap_or(0);
                    self.take(&mut client, injection, have).await?;
                }
                Some(v1::update::Said::Beat(beat)) => self.heard(beat.clock),
                None => {}
            }
        }
        Err(LinkError::Unreachable {
            address: self.asking.core.clone(),
            why: "it ended the call".to_owned(),
        })
    }

    async fn connect(&self) -> Result<IdentityClient<Channel>, LinkError> {
        let channel = channel(&self.asking.core, self.asking.tls.as_ref()).await?;
        Ok(IdentityClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE))
    }

    fn failed(&self, status: &Status) -> LinkError {
        LinkError::of(&self.asking.core, status)
    }

    fn request(&self) -> Result<v1::WakeRequest, LinkError> {
        let history = self.store.history()?;
        Ok(v1::WakeRequest {
            node: Some(self.asking.node.clone()),
            identity: history
                .as_ref()
                .map(|history| history.identity().to_string())
                .unwrap_or_default(),
            have: history.as_ref().map_or(0, History::latest),
            have_hash: history
                .as_ref()
                .map(|history| history.hash().to_string())
                .unwrap_or_default(),
            window: self.asking.window,
            clock: Some(wire::stamp(Timestamp::now())),
        })
    }

    /// Takes an injection or does not, and says so to the core.
    async fn take(
        &self,
        client: &mut IdentityClient<Channel>,
        injection: v1::Injection,
        have: u64,
    ) -> Result<Told, LinkError> {
        let clock = injection.clock;
        let taken = self.check_and_keep(&injection, have);
        let latest = self.store.history()?;
        let acknowledgement = v1::Acknowledgement {
            node: Some(self.asking.node.clone()),
            version: latest.as_ref().map_or(0, History::latest),
            hash: latest
                .map(|history| history.hash().to_string())
                .unwrap_or_default(),
            refused: taken
                .as_ref()
                .err()
                .map(ToString::to_string)
                .unwrap_or_default(),
        };
        let mut call = tonic::Request::new(acknowledgement);
        call.set_timeout(ANSWER);
        let noted = client.acknowledge(call).await;
        let told = taken?;
        self.heard(clock);
        self.state
            .send_modify(|state| state.told = Some(told.clone()));
        noted.map_err(|status| self.failed(&status))?;
        Ok(told)
    }

    /// All of it or nothing: the versions, and the prompt that was made from the last of them.
    fn check_and_keep(&self, injection: &v1::Injection, have: u64) -> Result<Told, LinkError> {
        let fresh = wire::versions(injection, have)?;
        let prompt = wire::prompt(injection)?;
        let after = match self.store.history()? {
            Some(mut history) => {
                for version in fresh.iter().cloned() {
                    history.take(version)?;
                }
                history
            }
            None => {
                let key = self.asking.key.ok_or(LinkError::NoKey)?;
                History::open(key, None, fresh.iter().cloned())?
            }
        };
        let text = check_prompt(&prompt, &after, self.asking.window)?.to_owned();
        match self.store.latest()? {
            None => self.store.adopt(&after)?,
            Some(_) if fresh.is_empty() => {}
            Some(_) => {
                self.store.extend(|history| {
                    for version in fresh {
                        history.take(version).map_err(IdentityError::from)?;
                    }
                    Ok::<_, IdentityError>(())
                })?;
            }
        }
        self.store.keep_prompt(&injection.prompt)?;
        Ok(Told {
            version: after.latest(),
            text,
        })
    }

    fn heard(&self, clock: Option<prost_types::Timestamp>) {
        self.state.send_modify(|state| {
            state.connected = true;
            state.heard = Some(Instant::now());
            state.trouble = None;
            state.ahead = wire::ahead(clock, Timestamp::now());
        });
    }

    fn lost(&self, why: &LinkError) {
        self.state.send_modify(|state| {
            state.connected = false;
            state.trouble = Some(why.to_string());
        });
    }
}

/// A line to a core.
///
/// # Errors
/// If nobody is there, or it is not whom it should be.
pub async fn channel(core: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, LinkError> {
    let address = || LinkError::Address(core.to_owned());
    let endpoint = Endpoint::from_shared(core.to_owned()).map_err(|_| address())?;
    let endpoint = match tls {
        Some(tls) => endpoint.tls_config(tls.clone()).map_err(|_| address())?,
        None => endpoint,
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(CONNECT)
        .keep_alive_timeout(CONNECT)
        .keep_alive_while_idle(true);
    endpoint.connect().await.map_err(|why| {
        let causes =
            std::iter::successors(Some(&why as &dyn std::error::Error), |why| why.source());
        let said: Vec<String> = causes.map(ToString::to_string).collect();
        LinkError::Unreachable {
            address: core.to_owned(),
            why: said.join(": "),
        }
    })
}

fn check_prompt<'p>(
    prompt: &'p Prompt,
    history: &History,
    window: u32,
) -> Result<&'p str, LinkError> {
    let text = prompt.check(history.identity(), history.key(), history.latest())?;
    let statement = &prompt.statement;
    if statement.version != history.latest() || statement.source != history.hash() {
        return Err(LinkError::Unfit(
            "the prompt is of another version than the identity",
        ));
    }
    match statement.window == window {
        true => Ok(text),
        false => Err(LinkError::Unfit(
            "the prompt is for another window than was asked for",
        )),
    }
}

/// Who the node is by what it has stored: the prompt that the core signed for that window, or one made here
/// from what it signed.
///
/// # Errors
/// If what is stored is not what was signed, or does not fit.
pub fn stored(store: &IdentityStore, window: u32) -> Result<Option<Told>, LinkError> {
    let Some(history) = store.history()? else {
        return Ok(None);
    };
    let version = history.latest();
    let kept = fs::read(store.prompt_file()).ok();
    let prompt = kept.and_then(|bytes| serde_json::from_slice::<Prompt>(&bytes).ok());
    if let Some(prompt) = prompt
        && let Ok(text) = check_prompt(&prompt, &history, window)
    {
        let text = text.to_owned();
        return Ok(Some(Told { version, text }));
    }
    let text = compile(&history.capsule(), Share::of(window))?.text;
    Ok(Some(Told { version, text }))
}
