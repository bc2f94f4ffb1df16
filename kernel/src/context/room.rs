//! How the window is shared out, in tokens as far as they can be counted without the model.

use super::{READ_HISTORY, asked, recalled, shorten};
use crate::{
    event::{RunSpec, Setup},
    model::{Message, ModelProfile, Request, step},
    run::State,
    strategy,
    tool::{Control, ToolSpec},
};

/// Bytes of text that make a token, about: measured on code and English, on the low side.
const BYTES_A_TOKEN: usize = 3;
/// Tokens that a message takes beside its text.
const TOKENS_A_MESSAGE: usize = 8;
/// Tokens beside the instructions and the tools without which nothing can be done.
const LEAST: usize = 512;
/// Tokens of a reply, at most.
const LONGEST_REPLY: u32 = 2048;

/// What each part of a request may take. All of it follows from what stays the same between two
/// compactions: the setup, the task, and how long the window turned out to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    window: usize,
    /// Tokens of the instructions and all tools.
    fixed: usize,
    /// Tokens of the longest reply.
    pub(super) reply: u32,
    /// Tokens of the longest request.
    pub(super) request: usize,
    /// Bytes of the task.
    pub(super) task: usize,
    /// Bytes of what the repository says.
    pub(super) repository: usize,
    /// Bytes of the files that are shown with the task.
    pub(super) contents: usize,
    /// Tokens of what the user said in the replaced steps.
    pub(super) said: usize,
    /// Bytes of the digest.
    pub(super) digest: usize,
    /// Bytes of one result.
    pub(super) result: usize,
    /// Tokens of the steps that are left after a compaction, so that there is room to go on.
    pub(super) steps: usize,
    /// Tokens of the steps, at most.
    pub(super) rest: usize,
}

impl Room {
    /// In the model's window, as long as it turned out to be.
    pub(super) fn of(state: &State, spec: &RunSpec, setup: &Setup) -> Self {
        let compaction = state.compaction.as_ref();
        let window = compaction.and_then(|compaction| compaction.window);
        Self::within(window.unwrap_or(u32::MAX), state, spec, setup)
    }

    /// In a window that is no longer than this.
    pub(super) fn within(longest: u32, state: &State, spec: &RunSpec, setup: &Setup) -> Self {
        let known = state.compaction.as_ref().and_then(|known| known.window);
        let window = setup.model.window.min(longest);
        let window = known.map_or(window, |known| window.min(known));
        let (tokens, window) = (window as usize, window as usize);
        let request = tokens / 4 * 3;
        let tools: Vec<ToolSpec> = setup
            .tools
            .iter()
            .filter(|tool| asked::for_it(tool, state))
            .cloned()
            .collect();
        let fixed = tools_size(&tools, &setup.model)
            + in_tokens(setup.instructions.len())
            + TOKENS_A_MESSAGE;
        let recalled = recalled::told(state.recalled_first());
        let recalled = recalled.map_or(0, |(text, _)| in_tokens(text.len()) + TOKENS_A_MESSAGE);
        // What the system prompt leaves, without the wrapping of what is one message each: what the
        // repository says, the task, the files, and the digest.
        let free = request.saturating_sub(fixed + recalled + 4 * TOKENS_A_MESSAGE);
        let task = (free / 3 * 2).min(in_tokens(super::task(spec).len()));
        let free = free - task;
        let repository = free / 4 * BYTES_A_TOKEN;
        let free = free - in_tokens(setup.repository.size(repository));
        let contents = free / 3 * BYTES_A_TOKEN;
        let free = free - in_tokens(setup.repository.contents.len().min(contents));
        let quarter = free / 4;
        Self {
            window,
            fixed,
            reply: u32::try_from(window / 4)
                .unwrap_or(u32::MAX)
                .min(LONGEST_REPLY),
            request,
            task: task * BYTES_A_TOKEN,
            repository,
            contents,
            said: quarter,
            digest: quarter * BYTES_A_TOKEN,
            // The built-in tools keep to half a byte for each token of the window; what they say
            // beside what they were asked for is not to be cut off.
            result: shorten::longest_result(window),
            steps: free / 8 * 3,
            rest: free - 2 * quarter,
        }
    }

    /// What is wrong with a window that not even the instructions fit into.
    pub(super) fn complaint(&self) -> Option<String> {
        (self.fixed + LEAST > self.request).then(|| {
            format!(
                "its window of {} tokens is too small: of these {} are for the request, and the \
                 instructions and tools alone take about {}; {WIDER}",
                self.window, self.request, self.fixed
            )
        })
    }

    /// What is wrong where nothing is left to be left out.
    pub(super) fn too_much(&self) -> String {
        format!(
            "what must be shown does not fit into its window of {} tokens; {WIDER}",
            self.window
        )
    }
}

const WIDER: &str = "go on with a model that has a larger window (--model), or give this one a larger one \
                     (`window` in the settings, or GPAK_WINDOW)";

/// How many tokens a request takes, about: rather too many than too few.
pub fn size(request: &Request, model: &ModelProfile) -> usize {
    let messages = request.messages.iter().map(message_size);
    tools_size(&request.tools, model) + messages.sum::<usize>()
}

/// A model without native calls is told of its tools in words.
pub(super) fn tools_size(tools: &[ToolSpec], model: &ModelProfile) -> usize {
    let bytes = match model.native_tools {
        _ if tools.is_empty() => 0,
        true => tools.iter().map(tool_bytes).sum(),
        false => step::size(tools),
    };
    in_tokens(bytes)
}

fn tool_bytes(tool: &ToolSpec) -> usize {
    tool.name.len() + tool.description.len() + tool.input.to_string().len()
}

pub(super) fn message_size(message: &Message) -> usize {
    let bytes = match message {
        Message::System { text } | Message::User { text, .. } | Message::Tool { text, .. } => {
            text.len()
        }
        Message::Assistant {
            thought,
            text,
            calls,
            state,
        } => {
            let calls = calls
                .iter()
                .map(|(_, call)| call.name.len() + call.args.to_string().len());
            let state = state.as_ref().map_or(0, |state| state.to_string().len());
            thought.len() + text.len() + calls.sum::<usize>() + state
        }
    };
    in_tokens(bytes) + TOKENS_A_MESSAGE
}

/// Tokens of so many bytes.
pub(crate) fn in_tokens(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_A_TOKEN)
}

/// The most bytes of a message of so many tokens.
pub(super) fn in_bytes(tokens: usize) -> usize {
    tokens.saturating_sub(TOKENS_A_MESSAGE) * BYTES_A_TOKEN
}

/// The tools that a model is offered: [`READ_HISTORY`] only once there is something to read, asking only
/// where somebody is there to answer, a choice of how to work only if it is able to make one, and what few tasks need only where the task speaks of it.
pub(super) fn offered(setup: &Setup, spec: &RunSpec, state: &State) -> Vec<ToolSpec> {
    let offered = |tool: &&ToolSpec| {
        (state.compaction.is_some() || tool.name != READ_HISTORY)
            && (spec.attended || tool.control != Some(Control::Ask))
            && (tool.control != Some(Control::Strategy) || strategy::is_able(&setup.model))
            && asked::for_it(tool, state)
    };
    setup.tools.iter().filter(offered).cloned().collect()
}
