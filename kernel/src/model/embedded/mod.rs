//! A model that runs in this process: no account, no server, no network.
//!
//! GGUF files of the Llama and Qwen families, on the CPU, with replies constrained to the tools' own
//! schemas: a small model that is free to write what it likes makes no valid calls, and one that is
//! not makes few invalid ones.
//!
//! What the modules do, from the bottom: `gguf` opens a file and believes nothing in it, `shape`
//! says what network is in it, `forward` runs it and remembers what it read, `tokens` and
//! `prompt` turn a conversation into tokens, `constrain` and `sample` choose the next one,
//! `state` keeps what was read for later processes, `engine` makes a reply of all that, and
//! `worker` gives it a thread of its own.

mod ahead;
mod attention;
mod constrain;
mod doubt;
mod engine;
mod forward;
mod gguf;
mod heap;
mod measure;
mod prompt;
mod sample;
mod shape;
mod single;
mod state;
mod threads;
mod tokens;
mod worker;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub use measure::{Figures, Measured, Passage, Speed, measure};
pub use threads::share_cores;

use self::{
    engine::Setup,
    gguf::{Detail, Gguf},
    shape::Dimensions,
    worker::Worker,
};
use super::{Deltas, Model, ModelError, ModelProfile, Reply, Request};

/// Tokens of context, if nothing else is said and the model knows that many.
const WINDOW: usize = 8192;
/// Bytes that keys and values may take at that window before it is made smaller.
const WINDOW_BYTES: usize = 512 << 20;
/// Bytes of prompt states that are kept on disk.
const STATE_BYTES: u64 = 1 << 30;

/// How a model is opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the profile calls it. The file's name if nothing is said.
    pub name: Option<String>,
    /// Tokens of context to make room for. Memory is taken as they are used.
    pub window: Option<u32>,
    /// The folder where what was read of a prompt is kept for later processes. Nothing is kept if
    /// nothing is said.
    pub state_dir: Option<PathBuf>,
}

/// A GGUF model in this process.
///
/// Replies are made one after the other on a thread of their own. The weights are loaded for the first
/// one, which says so with [`Delta::Loading`](super::Delta::Loading).
pub struct Embedded {
    profile: ModelProfile,
    worker: Worker,
}

impl Embedded {
    /// Opens the file and checks that it can be run. Reads its header only.
    ///
    /// # Errors
    /// [`ModelError::Unusable`] if the file is missing, truncated, corrupt or of another kind.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, ModelError> {
        let setup = setup(path.as_ref(), options)?;
        Ok(Self {
            profile: ModelProfile {
                provider: "embedded".into(),
                name: setup.id.trim_start_matches("embedded/").to_owned(),
                window: setup.window as u32,
                native_tools: false,
                local: true,
                price: None,
            },
            worker: Worker::start(setup)?,
        })
    }
}

#[async_trait]
impl Model for Embedded {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn reply(&self, request: &Request, deltas: &mut dyn Deltas) -> Result<Reply, ModelError> {
        self.worker.reply(request, deltas).await
    }
}

fn setup(path: &Path, options: Options) -> Result<Setup, ModelError> {
    let gguf = Gguf::open(path, Detail::Outline)?;
    let shape = Dimensions::of(&gguf)?;
    let affordable = (WINDOW_BYTES / shape.bytes_per_token()).next_multiple_of(256);
    let wanted = options
        .window
        .map_or(WINDOW.min(affordable), |w| w as usize);
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let name = options.name.or(stem).unwrap_or_default();
    Ok(Setup {
        path: path.to_owned(),
        id: format!("embedded/{name}"),
        window: wanted.clamp(256, shape.context.max(256)),
        states: options.state_dir.map(|folder| (folder, STATE_BYTES)),
    })
}

/// The model that tests run: a small one, fetched once.
#[cfg(test)]
fn test_model() -> PathBuf {
    let fetched = || super::catalogue::testkit::small_model().unwrap();
    std::env::var_os("GPAK_TEST_MODEL").map_or_else(fetched, PathBuf::from)
}

#[cfg(test)]
mod tests;
