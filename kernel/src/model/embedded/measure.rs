//! How fast a model is on this machine.

use std::{fs, path::Path, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Options, engine::Engine, setup};
use crate::{
    label::Label,
    model::{Message, ModelError, Request, Sampling, Usage},
    tool::{Control, Effect, ToolSpec},
};

/// Words of a text like that of a step with its tools, which is some more tokens.
const SHORT_WORDS: usize = 430;
/// Words of a text as long as a task becomes after a while.
const LONG_WORDS: usize = 1900;
/// Tokens that the window must have room for, or the long text is left out.
const LONG_WINDOW: u32 = 2600;
/// Tokens that are written to measure decoding.
const WRITTEN: u32 = 64;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds from the file to a model that can reply.
    pub load_s: f64,
    /// With a text of some 460 tokens.
    #[serde(flatten)]
    pub short: Speed,
    /// With one of some 2,000 tokens, if the window has room for it.
    pub long: Option<Speed>,
    /// Tokens written in a second, as a step.
    pub step_tokens_s: f64,
    /// Milliseconds to compute which tokens may come next.
    pub mask_ms: f64,
    /// Bytes of memory that are the process's own, after all this. 0 where the system does not say.
    pub resident_bytes: u64,
    /// Most bytes that were its own at any time.
    pub resident_peak_bytes: u64,
}

/// How fast a text was read, and gone on with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Tokens read in a second, of a prompt of which nothing was known.
    pub prefill_tokens_s: f64,
    /// Tokens of that prompt.
    pub prefill_tokens: u64,
    /// Tokens written in a second after it, unconstrained.
    pub decode_tokens_s: f64,
    /// Seconds to the first token of a question about a text that was read before.
    pub first_token_cached_s: f64,
    /// Tokens of that text.
    pub cached_tokens: u64,
}

/// A text to measure with: no two begin alike, so that nothing of one is known from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// What is read.
    pub text: String,
    /// What is asked about it afterwards.
    pub question: &'static str,
    /// Tokens to write after the text.
    pub written: u32,
}

impl Passage {
    /// A text of some 460 tokens.
    #[must_use]
    pub fn short(number: usize) -> Self {
        Self::of(number, SHORT_WORDS)
    }

    /// A text of some 2,000 tokens.
    #[must_use]
    pub fn long(number: usize) -> Self {
        Self::of(number, LONG_WORDS)
    }

    fn of(number: usize, words: usize) -> Self {
        Self {
            text: format!("{number} of {words}. {}", text(words)),
            question: "And what is said of it?",
            written: WRITTEN,
        }
    }
}

/// A loaded model to measure, on the thread that asks.
pub struct Measured {
    engine: Engine,
    load_s: f64,
    window: u32,
}

impl Measured {
    /// Loads a model.
    ///
    /// # Errors
    /// As [`Embedded::open`](super::Embedded::open), and what the model itself runs into.
    pub fn load(path: impl AsRef<Path>, options: Options) -> Result<Self, ModelError> {
        let started = Instant::now();
        let setup = setup(path.as_ref(), options)?;
        let engine = Engine::load(&setup, &|| false)?;
        Ok(Self {
            engine,
            load_s: started.elapsed().as_secs_f64(),
            window: setup.window as u32,
        })
    }

    /// Whether there is room for [`Passage::long`].
    #[must_use]
    pub fn takes_long(&self) -> bool {
        self.window >= LONG_WINDOW
    }

    /// Reads a passage, writes after it, and is asked about it.
    ///
    /// # Errors
    /// What the model itself runs into.
    pub fn speed(&mut self, passage: &Passage) -> Result<Speed, ModelError> {
        let Passage { text, question, .. } = passage;
        let first = self.ask(&request(&[text], &[], passage.written))?;
        let again = self.ask(&request(&[text, question], &[], 1))?;
        let fresh = first.input - first.cached;
        let decode_ms = first.total_ms.saturating_sub(first.first_token_ms);
        Ok(Speed {
            prefill_tokens_s: per_second(fresh, first.first_token_ms),
            prefill_tokens: fresh,
            decode_tokens_s: per_second(first.output.saturating_sub(1), decode_ms),
            first_token_cached_s: again.first_token_ms as f64 / 1e3,
            cached_tokens: again.cached,
        })
    }

    /// All there is to say, with the speeds that were measured before.
    ///
    /// # Errors
    /// What the model itself runs into.
    pub fn figures(&mut self, short: Speed, long: Option<Speed>) -> Result<Figures, ModelError> {
        let task =
            "Show the first 10 lines of notes.txt, and the longest line of each of its parts.";
        let step = self.ask(&request(&[task], &tools(), 120))?;
        let step_ms = step.total_ms.saturating_sub(step.first_token_ms);
        Ok(Figures {
            load_s: self.load_s,
            short,
            long,
            step_tokens_s: per_second(step.output, step_ms),
            mask_ms: self.engine.mask_ms,
            resident_bytes: status("VmRSS:"),
            resident_peak_bytes: status("VmHWM:"),
        })
    }

    fn ask(&mut self, request: &Request) -> Result<Usage, ModelError> {
        let reply = self
            .engine
            .reply(request, Instant::now(), &mut |_| {}, &|| false)?;
        Ok(reply.usage)
    }
}

/// Loads a model and measures it once, on this thread.
///
/// # Errors
/// As [`Measured::load`] and [`Measured::speed`].
pub fn measure(path: impl AsRef<Path>, options: Options) -> Result<Figures, ModelError> {
    let mut measured = Measured::load(path, options)?;
    let short = measured.speed(&Passage::short(1))?;
    let long = match measured.takes_long() {
        true => Some(measured.speed(&Passage::long(1))?),
        false => None,
    };
    measured.figures(short, long)
}

fn per_second(tokens: u64, ms: u64) -> f64 {
    tokens as f64 * 1e3 / (ms.max(1) as f64)
}

fn request(texts: &[&str], tools: &[ToolSpec], max_tokens: u32) -> Request {
    let user = |text: &&str| Message::User {
        text: (*text).to_owned(),
        label: Label::User,
    };
    Request {
        messages: texts.iter().map(user).collect(),
        tools: Arc::from(tools),
        barred: Vec::new(),
        known: Default::default(),
        sampling: Sampling {
            max_tokens,
            ..Sampling::default()
        },
    }
}

/// A text that no two sentences of are the same.
fn text(words: usize) -> String {
    const WORDS: [&str; 12] = [
        "river", "stone", "reads", "green", "the", "engine", "over", "slowly", "and", "a", "ship",
        "under",
    ];
    let word = |i: usize| WORDS.get((i * i + i / 7) % WORDS.len()).copied();
    let words: Vec<&str> = (0..words).filter_map(word).collect();
    words.join(" ")
}

/// A tool that takes a program, as those have that this model works with, and the one that ends a run.
fn tools() -> [ToolSpec; 2] {
    let takes = |name: &str, text| {
        serde_json::json!({
            "type": "object",
            "properties": {name: text},
            "required": [name],
        })
    };
    let program = serde_json::json!({"type": "string", "contentMediaType": "text/javascript"});
    let script = ToolSpec::new(
        "run_script",
        "Runs a program. `lines(path)` gives the lines of a file, `print(value)` shows a value.",
        takes("script", program),
        Effect::Pure,
    );
    let finish = ToolSpec::new(
        "finish",
        "Ends the task with an answer.",
        takes("answer", serde_json::json!({"type": "string"})),
        Effect::Pure,
    );
    let control = Some(Control::Finish);
    [script, ToolSpec { control, ..finish }]
}

/// A line of the kernel's account of this process, in bytes.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    let kib = found.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
