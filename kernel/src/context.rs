//! What the model is shown: a pure function of the run's state and the model's window.
//!
//! The conversation is shown as it is until it fills three quarters of the window. Then the results of
//! the oldest calls are left out, down to half the window, and that is an event: between two
//! compactions what was sent before is a prefix of what is sent next, so caches hold.

use crate::{
    event::{CallOutcome, Event, RunSpec, Setup, Strategy},
    label::Label,
    model::{CallId, Message, Request, Sampling},
    run::{State, Turn, check},
    strategy,
};

/// The system prompt of a run that is given none.
pub const INSTRUCTIONS: &str = "You are gpak, an agent that works in a folder of files with tools. \
Work step by step: think about what is still missing, make one call, look at its result. Use only \
what results say; never guess what a file contains. Do exactly what the task asks, no more. When \
everything the task asks for is done, call finish with the answer.";

/// Bytes of text that make a token, about: measured on code and English, on the low side.
const BYTES_A_TOKEN: usize = 3;
/// Tokens that a message takes beside its text.
const TOKENS_A_MESSAGE: usize = 8;

/// The next request.
pub fn assemble(state: &State, spec: &RunSpec, setup: &Setup) -> Request {
    let mut messages = vec![
        Message::System {
            text: setup.instructions.clone(),
        },
        Message::User {
            text: spec.task.clone() + &check::notice(&spec.check),
            label: Label::User,
        },
    ];
    for turn in &state.turns {
        show(turn, state, state.compacted_through, &mut messages);
    }
    Request {
        messages,
        tools: setup.tools.clone().into(),
        barred: strategy::barred(state, spec, setup),
        sampling: sampling(state, setup),
    }
}

/// The compaction that is due before the next request, if one is.
pub fn compact(state: &State, setup: &Setup) -> Option<Event> {
    let window = setup.model.window as usize;
    let fixed = setup.instructions.len() + setup.tools.iter().map(tool_size).sum::<usize>();
    let fixed = fixed / BYTES_A_TOKEN;
    if fixed + size(state, state.compacted_through) <= window / 4 * 3 {
        return None;
    }
    let newest = state.replies.saturating_sub(1);
    let through = (state.compacted_through + 1..=newest)
        .find(|through| fixed + size(state, *through) <= window / 2)
        .unwrap_or(newest);
    (through > state.compacted_through).then_some(Event::ContextCompacted {
        through_reply: through,
    })
}

/// The compaction that is due after the model said that the last request was too large.
pub fn compact_further(state: &State) -> Option<Event> {
    let shown = state.replies.saturating_sub(state.compacted_through);
    (shown > 1).then(|| Event::ContextCompacted {
        through_reply: state.compacted_through + shown / 2,
    })
}

fn sampling(state: &State, setup: &Setup) -> Sampling {
    // After a reply that made no sense, the same draw would make none again.
    let stray = state.model_failures.len() as u64;
    // Nor would several tries of one task differ.
    let parent = state.spec.as_ref().and_then(|spec| spec.parent);
    let way = u64::from(parent.map_or(0, |parent| parent.way));
    let explore = state.strategy == Strategy::Explore || stray > 0 || way > 1;
    Sampling {
        temperature: if explore { 0.7 } else { 0.0 },
        seed: u64::from(state.replies) + stray + 1000 * way,
        max_tokens: (setup.model.window / 4).min(2048),
    }
}

fn show(turn: &Turn, state: &State, compacted_through: u32, messages: &mut Vec<Message>) {
    match turn {
        Turn::Said { text, label } => messages.push(Message::User {
            text: text.clone(),
            label: label.clone(),
        }),
        Turn::Replied {
            number,
            reply,
            results,
        } => {
            let id = |index| CallId {
                reply: *number,
                index,
            };
            let calls = (0..).zip(&reply.calls);
            messages.push(Message::Assistant {
                thought: reply.thought.clone(),
                text: reply.text.clone(),
                calls: calls
                    .clone()
                    .map(|(index, call)| (id(index), call.clone()))
                    .collect(),
                state: reply.state.clone(),
            });
            for ((index, call), result) in calls.zip(results) {
                let Some((outcome, label)) = result else {
                    continue;
                };
                let mut text = match outcome.text() {
                    text if *number <= compacted_through => left_out(text),
                    text => text.to_owned(),
                };
                if matches!(outcome, CallOutcome::Failed { .. })
                    && let Some(before) = state.done_before(id(index), call)
                {
                    text.push_str(&format!(
                        "\nYou made this same call before and it worked: {before}"
                    ));
                }
                messages.push(Message::Tool {
                    call: id(index),
                    name: call.name.clone(),
                    text,
                    ok: outcome.is_done(),
                    label: label.clone(),
                });
            }
        }
    }
}

/// Short results stay: their mark would be no shorter.
fn left_out(text: &str) -> String {
    const KEPT: usize = 160;
    if text.len() <= KEPT {
        return text.to_owned();
    }
    let first: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(KEPT)
        .collect();
    let lines = text.lines().count();
    format!("{first}\n[{lines} lines left out to save space; call again if you need them]")
}

/// Tokens, about, of the conversation when results are left out through that reply.
fn size(state: &State, compacted_through: u32) -> usize {
    let mut messages = Vec::new();
    for turn in &state.turns {
        show(turn, state, compacted_through, &mut messages);
    }
    let task = state.spec.as_ref().map_or(0, |spec| spec.task.len());
    let bytes: usize = messages.iter().map(message_size).sum();
    (task + bytes) / BYTES_A_TOKEN + messages.len() * TOKENS_A_MESSAGE
}

fn message_size(message: &Message) -> usize {
    match message {
        Message::System { text } | Message::User { text, .. } | Message::Tool { text, .. } => {
            text.len()
        }
        Message::Assistant {
            thought,
            text,
            calls,
            ..
        } => {
            let calls = calls
                .iter()
                .map(|(_, call)| call.name.len() + call.args.to_string().len());
            thought.len() + text.len() + calls.sum::<usize>()
        }
    }
}

fn tool_size(tool: &crate::tool::ToolSpec) -> usize {
    tool.name.len() + tool.description.len() + tool.input.to_string().len()
}
