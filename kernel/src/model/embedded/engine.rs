//! One reply, from a request to a [`Reply`].

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use candle_core::Tensor;

use super::{
    ahead::Ahead,
    constrain::{Constraint, Constraints},
    doubt::{Doubts, Part},
    forward::{CHUNK, Network, Stop},
    gguf::{Detail, Gguf},
    heap,
    prompt::{Prompt, Template},
    sample::Sampler,
    shape::Dimensions,
    state::States,
    tokens::{Decoder, Tokens},
};
use crate::model::{
    ModelError, Reply, Request, Stop as Stopped, ToolCall, Usage,
    step::{
        self, Piece, Role, Splitter,
        blocks::{self, BlockSplitter, Blocks},
    },
};

/// Replies of which it is known how the model spelled them.
const KEPT_REPLIES: usize = 64;
/// Tokens that must be left for a reply, or the request is too long.
const LEAST_REPLY: usize = 48;

/// What happens on the way to a reply.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    Loading,
    Reading(u32, u32),
    Thought(String),
    Text(String),
    Call(String),
}

/// Where an engine finds things.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) path: PathBuf,
    pub(super) id: String,
    pub(super) window: usize,
    pub(super) states: Option<(PathBuf, u64)>,
}

/// A loaded model, and what it has read.
pub(super) struct Engine {
    setup: Setup,
    network: Network,
    tokens: Arc<Tokens>,
    template: Template,
    constraints: Constraints,
    states: Option<States>,
    /// The tokens behind the network's keys and values.
    read: Vec<u32>,
    /// Replies as text and as the tokens they were made of.
    written: VecDeque<(String, Vec<u32>)>,
    /// How many of `read` are worth storing once there is time.
    unsaved: usize,
    pub(super) mask_ms: f64,
    /// Passes through the network that the last reply was drawn from.
    pub(super) passes: u32,
}

/// What a reply needs while it is made.
struct Job<'a> {
    events: &'a mut dyn FnMut(Event),
    stop: Stop<'a>,
    started: Instant,
    usage: Usage,
    sampler: Sampler,
    limit: usize,
    /// What the next token is a part of.
    part: Part,
    doubts: Doubts,
    ahead: Ahead,
}

/// What was written, and whether it is complete.
struct Written {
    tokens: Vec<u32>,
    text: String,
    complete: bool,
}

impl Engine {
    /// Loads a model.
    pub(super) fn load(setup: &Setup, stop: Stop<'_>) -> Result<Self, ModelError> {
        let gguf = Gguf::open(&setup.path, Detail::Full)?;
        let shape = Dimensions::of(&gguf)?;
        let vocabulary = shape.vocabulary;
        let states = setup
            .states
            .clone()
            .map(|(folder, budget)| States::new(folder, budget, gguf.identity, &shape));
        let (words, network) = thread::scope(|scope| {
            let words = scope.spawn(|| {
                let tokens = Tokens::of(&gguf, vocabulary)?;
                let template = Template::of(&gguf, &tokens);
                let constraints = Constraints::new(&tokens)?;
                Ok::<_, ModelError>((tokens, template, constraints))
            });
            let network = Network::load(&gguf, shape, setup.window, stop);
            (words.join(), network)
        });
        let panicked = |_| gguf.unusable("has a tokenizer that does not work");
        let (tokens, template, constraints) = words.map_err(panicked)??;
        let network = network.map_err(|e| failed(&setup.path, &e, stop))?;
        drop(gguf);
        heap::trim();
        Ok(Self {
            setup: setup.clone(),
            network,
            tokens,
            template,
            constraints,
            states,
            read: Vec::new(),
            written: VecDeque::new(),
            unsaved: 0,
            mask_ms: 0.0,
            passes: 0,
        })
    }

    /// Answers a request.
    pub(super) fn reply(
        &mut self,
        request: &Request,
        started: Instant,
        events: &mut dyn FnMut(Event),
        stop: Stop<'_>,
    ) -> Result<Reply, ModelError> {
        let blocks = Blocks::of(&request.tools);
        let prompt = self.prompt(request, blocks.as_ref())?;
        let room = self.setup.window.saturating_sub(prompt.tokens.len());
        if room < LEAST_REPLY {
            let limit = self.setup.window as u32;
            return Err(ModelError::ContextOverflow { limit });
        }
        let mut job = Job {
            events,
            stop,
            started,
            usage: Usage::default(),
            sampler: Sampler::new(&request.sampling),
            limit: room.min(request.sampling.max_tokens as usize),
            part: Part::Thought,
            doubts: Doubts::default(),
            ahead: Ahead::default(),
        };
        self.passes = 0;
        let rest = self.recall(&prompt, &mut job)?;
        let written = if request.tools.is_empty() {
            self.write_text(rest, &mut job)?
        } else {
            let choices = request.choices();
            let (constraint, reader) = match &blocks {
                Some(blocks) => (
                    self.constraints.blocks(&blocks.among(&choices))?,
                    Reader::Blocks(BlockSplitter::default()),
                ),
                None => (
                    self.constraints.step(&choices)?,
                    Reader::Step(Splitter::default()),
                ),
            };
            self.write_step(rest, constraint, reader, &mut job)?
        };
        job.usage.output = written.tokens.len() as u64;
        let mut reply = Reply {
            stop: if written.complete {
                Stopped::End
            } else {
                Stopped::Length
            },
            model: self.setup.id.clone(),
            doubt: job.doubts.choice(),
            entropy: job.doubts.mean(),
            ..Reply::default()
        };
        if request.tools.is_empty() {
            reply.text.clone_from(&written.text);
        } else {
            (reply.thought, reply.calls) = understood(&written, blocks.as_ref())?;
        }
        self.written.push_front((written.text, written.tokens));
        self.written.truncate(KEPT_REPLIES);
        job.usage.total_ms = job.started.elapsed().as_millis() as u64;
        reply.usage = job.usage;
        Ok(reply)
    }

    /// Stores what is worth it, now that nobody waits.
    pub(super) fn settle(&mut self) {
        let length = std::mem::take(&mut self.unsaved);
        let Some((states, tokens)) = self.states.as_ref().zip(self.read.get(..length)) else {
            return;
        };
        if length > 0
            && let Ok(layers) = self.network.remembered(length)
        {
            states.save(tokens, &layers);
        }
    }

    fn prompt(&self, request: &Request, blocks: Option<&Blocks>) -> Result<Prompt, ModelError> {
        let (turns, stable) = match blocks {
            Some(blocks) => blocks.turns(request),
            None => {
                let turns = step::turns(request);
                let system = turns.iter().take_while(|turn| turn.role == Role::System);
                let stable = system.count();
                (turns, stable)
            }
        };
        let known = |text: &str| {
            let found = self.written.iter().find(|(written, _)| written == text);
            found.map(|(_, tokens)| tokens.clone())
        };
        let prompt = self.template.prompt(&turns, stable, &self.tokens, &known);
        let prompt = prompt.filter(|prompt| !prompt.tokens.is_empty());
        prompt.ok_or_else(|| ModelError::Unusable {
            message: format!(
                "{} has a chat template that fails",
                self.setup.path.display()
            ),
        })
    }

    /// Makes as much of the prompt known as was read before, reads the part that is the same in every
    /// run, and gives what is left to read: at least one token.
    fn recall(&mut self, prompt: &Prompt, job: &mut Job<'_>) -> Result<Vec<u32>, ModelError> {
        let tokens = &prompt.tokens;
        job.usage.input = tokens.len() as u64;
        let same = tokens.iter().zip(&self.read).take_while(|(a, b)| a == b);
        let mut known = same.count().min(tokens.len() - 1);
        let stable = prompt.stable.min(tokens.len() - 1);
        let prefix = tokens.get(..stable).unwrap_or_default();
        if known < stable
            && let Some(layers) = self.states.as_ref().and_then(|s| s.load(prefix))
            && self.network.remember(stable, &layers).is_ok()
        {
            self.read = prefix.to_vec();
            self.unsaved = 0;
            known = stable;
        }
        self.forget_after(known);
        job.usage.cached = known as u64;
        if known < stable {
            self.feed(tokens.get(known..stable).unwrap_or_default(), job)?;
            // From here on it is as if it had been stored and loaded, so that both give one reply.
            self.network
                .round()
                .map_err(|e| failed(&self.setup.path, &e, job.stop))?;
            self.unsaved = stable;
        }
        Ok(tokens.get(known.max(stable)..).unwrap_or_default().to_vec())
    }

    fn forget_after(&mut self, length: usize) {
        self.read.truncate(length);
        self.network.truncate(length);
        if self.unsaved > length {
            self.unsaved = 0;
        }
    }

    /// Reads tokens, and gives what the network made of the last [`CHUNK`] of them at most.
    fn feed(&mut self, tokens: &[u32], job: &mut Job<'_>) -> Result<Option<Tensor>, ModelError> {
        let prompt = job.usage.input as u32;
        let mut hidden = None;
        for chunk in tokens.chunks(CHUNK) {
            let done = self.network.advance(chunk, job.stop);
            hidden = Some(done.map_err(|e| failed(&self.setup.path, &e, job.stop))?);
            self.read.extend_from_slice(chunk);
            let read = self.read.len() as u32;
            if tokens.len() > 1 && read <= prompt {
                (job.events)(Event::Reading(read, prompt));
            }
        }
        Ok(hidden)
    }

    /// The logits of what follows the tokens that were read and those that were not.
    fn logits(&mut self, unread: &[u32], job: &mut Job<'_>) -> Result<Vec<f32>, ModelError> {
        let right = job.ahead.confirm(unread);
        let new = unread.get(right..).unwrap_or_default();
        if !new.is_empty() {
            self.forget_after(self.read.len() - job.ahead.unsure());
            let most = self.setup.window - self.read.len();
            let room = most.min(CHUNK).saturating_sub(new.len());
            let guess = job.ahead.guess(&self.read, new, room);
            let hidden = self.feed(&[new, &guess].concat(), job)?;
            job.ahead.was_read(guess, hidden);
            self.passes += 1;
        }
        let logits = job.ahead.last().map(|(hidden, row)| {
            let logits = self.network.logits(hidden, row)?;
            logits.to_vec1()
        });
        let logits = logits.unwrap_or_else(|| Ok(Vec::new()));
        logits.map_err(|e| failed(&self.setup.path, &e, job.stop))
    }

    /// Draws the next token after reading what was not read yet.
    fn next(
        &mut self,
        unread: &mut Vec<u32>,
        constraint: Option<&mut Constraint>,
        job: &mut Job<'_>,
    ) -> Result<u32, ModelError> {
        let logits = self.logits(unread, job)?;
        unread.clear();
        let mask = constraint.map(Constraint::allowed).transpose()?;
        job.doubts.count(job.part, &logits, mask.as_ref());
        let token = job.sampler.draw(&logits, mask.as_ref());
        if job.usage.first_token_ms == 0 {
            job.usage.first_token_ms = (job.started.elapsed().as_millis() as u64).max(1);
        }
        token.ok_or_else(|| ModelError::Malformed {
            message: "the model gave no token that may come next".into(),
        })
    }

    fn write_text(
        &mut self,
        mut unread: Vec<u32>,
        job: &mut Job<'_>,
    ) -> Result<Written, ModelError> {
        let mut decoder = Decoder::default();
        let mut written = Written::empty();
        while written.tokens.len() < job.limit {
            let token = self.next(&mut unread, None, job)?;
            if self.tokens.ends(token) {
                written.complete = true;
                break;
            }
            unread.push(token);
            written.tokens.push(token);
            not_in_circles(&written.tokens)?;
            let text = decoder.push(self.tokens.bytes(token));
            written.text.push_str(&text);
            if !text.is_empty() {
                (job.events)(Event::Text(text));
            }
        }
        Ok(written)
    }

    fn write_step(
        &mut self,
        mut unread: Vec<u32>,
        mut constraint: Constraint,
        mut reader: Reader,
        job: &mut Job<'_>,
    ) -> Result<Written, ModelError> {
        let mut decoder = Decoder::default();
        let mut written = Written::empty();
        let mut fresh = constraint.forced();
        loop {
            for token in &fresh {
                let text = decoder.push(self.tokens.bytes(*token));
                written.text.push_str(&text);
                for piece in reader.push(&text) {
                    (job.events)(match piece {
                        Piece::Thought(text) => Event::Thought(text),
                        Piece::Call(text) => Event::Call(text),
                    });
                }
            }
            written.tokens.extend(&fresh);
            unread.append(&mut fresh);
            not_in_circles(&written.tokens)?;
            written.complete = constraint.is_done();
            if written.complete || written.tokens.len() >= job.limit {
                break;
            }
            job.part = reader.part(&written.text);
            let token = self.next(&mut unread, Some(&mut constraint), job)?;
            if self.tokens.ends(token) {
                written.complete = true;
                break;
            }
            constraint.take(token)?;
            fresh.push(token);
            fresh.extend(constraint.forced());
        }
        self.mask_ms = constraint.mask_ms();
        Ok(written)
    }
}

impl Written {
    fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            text: String::new(),
            complete: false,
        }
    }
}

/// Fails once the end of a reply is one short piece over and over: such a reply has no end of its own,
/// and another draw is worth more than the rest of it.
fn not_in_circles(tokens: &[u32]) -> Result<(), ModelError> {
    const END: usize = 128;
    const PIECE: usize = 32;
    let end = tokens
        .len()
        .checked_sub(END)
        .and_then(|from| tokens.get(from..));
    let repeats =
        |end: &[u32], piece: usize| end.iter().zip(end.iter().skip(piece)).all(|(a, b)| a == b);
    match end {
        Some(end) if (1..=PIECE).any(|piece| repeats(end, piece)) => Err(ModelError::Malformed {
            message: "the model says the same over and over".into(),
        }),
        _ => Ok(()),
    }
}

/// Reads a step while it is written.
enum Reader {
    Step(Splitter),
    Blocks(BlockSplitter),
}

impl Reader {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        match self {
            Self::Step(splitter) => splitter.push(text),
            Self::Blocks(splitter) => splitter.push(text),
        }
    }

    /// What comes next after this text.
    fn part(&self, text: &str) -> Part {
        match self {
            Self::Step(_) => Part::in_json(text),
            Self::Blocks(_) => Part::in_blocks(text),
        }
    }
}

/// What a step says. A step that was cut off is what there is of it.
fn understood(
    written: &Written,
    blocks: Option<&Blocks>,
) -> Result<(String, Vec<ToolCall>), ModelError> {
    let text = &written.text;
    if !written.complete {
        let (thought, call) = match blocks {
            Some(blocks) => blocks::salvage(blocks, text),
            None => step::salvage(text),
        };
        return Ok((thought, call.into_iter().collect()));
    }
    let step = match blocks {
        Some(blocks) => blocks::parse(blocks, text),
        None => step::parse(text),
    };
    match step {
        Ok(step) => Ok((step.thought, vec![step.call])),
        Err(message) => Err(ModelError::Malformed { message }),
    }
}

fn failed(path: &Path, error: &candle_core::Error, stop: Stop<'_>) -> ModelError {
    if stop() {
        return ModelError::Cancelled;
    }
    ModelError::Unusable {
        message: format!("{} failed while it ran: {error}", path.display()),
    }
}

#[cfg(test)]
mod circles {
    use super::not_in_circles;

    #[test]
    fn a_reply_that_repeats_one_piece_without_end_is_noticed() {
        let circle: Vec<u32> = (0..20).chain((0..160).map(|n| 100 + n % 7)).collect();
        assert!(not_in_circles(&circle).is_err());
        let list: Vec<u32> = (0..60).flat_map(|n| [7, 8, 1000 + n]).collect();
        assert!(not_in_circles(&list).is_ok());
        assert!(
            not_in_circles(&[5; 100]).is_ok(),
            "a ruled line is no circle yet"
        );
    }
}
