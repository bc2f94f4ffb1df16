//! How fast a model is on this machine.

use std::{fs, path::Path, sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};

use super::{Options, engine::Engine, setup};
use crate::{
    label::Label,
    model::{Message, ModelError, Request, Sampling},
    tool::{Effect, ToolSpec},
};

/// Tokens of the prompt that is read, roughly.
const PROMPT_WORDS: usize = 384;
/// Tokens that are written to measure decoding.
const WRITTEN: u32 = 64;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds from the file to a model that can reply.
    pub load_s: f64,
    /// Tokens read in a second, of a prompt of which nothing was known.
    pub prefill_tokens_s: f64,
    /// Tokens of that prompt.
    pub prefill_tokens: u64,
    /// Tokens written in a second, unconstrained.
    pub decode_tokens_s: f64,
    /// Tokens written in a second, as a step.
    pub step_tokens_s: f64,
    /// Milliseconds to compute which tokens may come next.
    pub mask_ms: f64,
    /// Seconds to the first token of a question about a text that was read before.
    pub first_token_cached_s: f64,
    /// Tokens of that text.
    pub cached_tokens: u64,
    /// Bytes of memory that are the process's own, after all this. 0 where the system does not say.
    pub resident_bytes: u64,
    /// Most bytes that were its own at any time.
    pub resident_peak_bytes: u64,
}

/// Loads a model and measures it, on this thread.
///
/// # Errors
/// As [`Embedded::open`](super::Embedded::open), and what the model itself runs into.
pub fn measure(path: impl AsRef<Path>, options: Options) -> Result<Figures, ModelError> {
    let started = Instant::now();
    let never = || false;
    let mut engine = Engine::load(&setup(path.as_ref(), options)?, &never)?;
    let load_s = started.elapsed().as_secs_f64();
    let mut ask = |request: &Request| engine.reply(request, Instant::now(), &mut |_| {}, &never);

    let text = text();
    let read = ask(&request(&[&format!("First. {text}")], &[], 1))?;
    let write = ask(&request(&[&format!("Second. {text}")], &[], WRITTEN))?;
    // The same conversation once more: all but its end is known.
    let again = ask(&request(
        &[&format!("Second. {text}"), "And what is said of it?"],
        &[],
        1,
    ))?;
    let step = ask(&request(
        &["Read the first 10 lines of the file notes.txt."],
        &tools(),
        120,
    ))?;

    let fresh = |usage: &crate::model::Usage| (usage.input - usage.cached) as f64;
    let decode_ms = write
        .usage
        .total_ms
        .saturating_sub(write.usage.first_token_ms);
    let step_ms = step
        .usage
        .total_ms
        .saturating_sub(step.usage.first_token_ms);
    let per_second = |tokens: f64, ms: u64| tokens * 1e3 / (ms.max(1) as f64);
    Ok(Figures {
        load_s,
        prefill_tokens_s: per_second(fresh(&read.usage), read.usage.first_token_ms),
        prefill_tokens: read.usage.input - read.usage.cached,
        decode_tokens_s: per_second(write.usage.output.saturating_sub(1) as f64, decode_ms),
        step_tokens_s: per_second(step.usage.output as f64, step_ms),
        mask_ms: engine.mask_ms,
        first_token_cached_s: again.usage.first_token_ms as f64 / 1e3,
        cached_tokens: again.usage.cached,
        resident_bytes: status("VmRSS:"),
        resident_peak_bytes: status("VmHWM:"),
    })
}

fn request(texts: &[&str], tools: &[ToolSpec], max_tokens: u32) -> Request {
    let user = |text: &&str| Message::User {
        text: (*text).to_owned(),
        label: Label::User,
    };
    Request {
        messages: texts.iter().map(user).collect(),
        tools: Arc::from(tools),
        sampling: Sampling {
            max_tokens,
            ..Sampling::default()
        },
    }
}

/// A text that no two sentences of are the same.
fn text() -> String {
    const WORDS: [&str; 12] = [
        "river", "stone", "reads", "green", "the", "engine", "over", "slowly", "and", "a", "ship",
        "under",
    ];
    let word = |i: usize| WORDS.get((i * i + i / 7) % WORDS.len()).copied();
    let words: Vec<&str> = (0..PROMPT_WORDS).filter_map(word).collect();
    words.join(" ")
}

fn tools() -> [ToolSpec; 2] {
    let tool = |name: &str, description: &str, input| ToolSpec {
        name: name.into(),
        description: description.into(),
        input,
        effect: Effect::Pure,
        resumable: false,
        control: None,
    };
    let path = serde_json::json!({"type": "string"});
    let number = serde_json::json!({"type": "integer"});
    [
        tool(
            "read_file",
            "Reads the first lines of a file.",
            serde_json::json!({
                "type": "object",
                "properties": {"path": path, "lines": number},
                "required": ["path", "lines"],
            }),
        ),
        tool(
            "finish",
            "Ends the task with an answer.",
            serde_json::json!({
                "type": "object",
                "properties": {"answer": path},
                "required": ["answer"],
            }),
        ),
    ]
}

/// A line of the kernel's account of this process, in bytes.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    let kib = found.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
