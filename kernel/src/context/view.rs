//! What is shown, put together.

use serde_json::Value;

use super::{
    READ_HISTORY, digest, recalled,
    room::{self, Room, message_size},
    shorten::{self, Whole},
};
use crate::{
    event::{CallOutcome, Refusal, RunSpec, Setup},
    label::Label,
    model::{CallId, Message, Reply, ToolCall, step::blocks},
    run::{State, Turn},
    tool::ToolSpec,
};

/// What is said before the files of a workspace.
const FILES: &str = "Files of the folder:\n";
/// Bytes that are shown of what a call gave before.
const FIRST_LINE: usize = 200;

/// A run as the model is shown it.
pub(super) struct View<'a> {
    state: &'a State,
    spec: &'a RunSpec,
    setup: &'a Setup,
    room: &'a Room,
    /// Whether the model can read what is left out.
    readable: bool,
}

/// How long the pieces of a step may be.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A result.
    result: usize,
    /// Anything else.
    text: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(
        state: &'a State,
        spec: &'a RunSpec,
        setup: &'a Setup,
        room: &'a Room,
    ) -> Self {
        Self {
            state,
            spec,
            setup,
            room,
            readable: setup.tools.iter().any(|tool| tool.name == READ_HISTORY),
        }
    }

    /// The whole conversation.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut messages = self.beginning();
        let shown = self.state.compaction.as_ref().map_or(0, |done| done.turns);
        self.show(shown, &mut messages);
        messages
    }

    /// The tools that the model is offered now.
    pub(super) fn tools(&self) -> Vec<ToolSpec> {
        room::offered(self.setup, self.spec, self.state)
    }

    /// Tokens of the request.
    pub(super) fn size(&self) -> usize {
        let messages = self.messages();
        room::tools_size(&self.tools(), &self.setup.model)
            + messages.iter().map(message_size).sum::<usize>()
    }

    /// Whether the model is not shown all of something that it could read.
    pub(super) fn leaves_out(&self) -> bool {
        let is_cut = |text: &str| shorten::is_cut(text, self.room.result);
        let is_cut = |turn: &Turn| match turn {
            Turn::Said { .. } => false,
            Turn::Replied { results, .. } => {
                let results = results.iter().flatten();
                results.clone().any(|(outcome, _)| is_cut(outcome.text()))
            }
        };
        self.readable
            && (super::task(self.spec).len() > self.room.task
                || self.state.turns.iter().any(is_cut))
    }

    /// What the digest may go through, with the tokens of all that is left behind it: the oldest first, up
    /// to where only the latest step is left.
    pub(super) fn sizes_behind(&self) -> Vec<(u32, usize)> {
        let mut size = 0;
        let mut sizes = Vec::new();
        let from = self.state.boundary(0);
        for turn in self.state.turns.iter().skip(from).rev() {
            size += self.turn_size(turn, Limits::of(self.room, 0));
            if let Turn::Replied { number, .. } = turn {
                sizes.push((number - 1, size));
            }
        }
        sizes.reverse();
        sizes
    }

    /// Tokens of all that is left behind a digest through that reply, with everything halved so often.
    pub(super) fn size_behind(&self, through: u32, halvings: u32) -> usize {
        let limits = Limits::of(self.room, halvings);
        let turns = self.state.turns.iter().skip(self.state.boundary(through));
        turns.map(|turn| self.turn_size(turn, limits)).sum()
    }

    /// Everything before the steps that are shown as they were.
    fn beginning(&self) -> Vec<Message> {
        let (room, setup) = (self.room, self.setup);
        let mut messages = vec![Message::System {
            text: setup.instructions.clone(),
        }];
        if let Some(text) = setup.repository.message(room.repository) {
            let label = Label::Repo;
            messages.push(Message::User { text, label });
        }
        let recalled = recalled::told(self.state.recalled_first());
        messages.extend(recalled.map(|(text, label)| Message::User { text, label }));
        let task = super::task(self.spec);
        let task = shorten::head_and_tail(&task, room.task, self.whole(0));
        messages.push(Message::User {
            text: task.into_owned(),
            label: Label::User,
        });
        let contents = &setup.repository.contents;
        if !contents.is_empty() {
            messages.push(Message::User {
                text: format!("{FILES}{}", shorten::head(contents, room.contents)),
                label: Label::Repo,
            });
        }
        if let Some(compaction) = &self.state.compaction {
            messages.extend(self.said(compaction.turns));
            let digest = digest::of(self.state, compaction, room.digest, self.readable);
            // It quotes results, so it is trusted no more than these.
            messages.extend(digest.map(|text| Message::User {
                text,
                label: Label::Tool(READ_HISTORY.to_owned()),
            }));
        }
        messages
    }

    /// What others said in the turns that were replaced, word for word; where it is too much, what was
    /// said last.
    fn said(&self, turns: usize) -> Vec<Message> {
        let mut left = self.room.said;
        let mut said = Vec::new();
        let mut step = self.state.compacted_through();
        for turn in self.state.turns.iter().take(turns).rev() {
            match turn {
                Turn::Replied { number, .. } => step = number - 1,
                Turn::Said { text, label } if *label != Label::Own => {
                    let whole = self.whole(step);
                    let text = shorten::head_and_tail(text, room::in_bytes(left), whole);
                    let message = Message::User {
                        text: text.into_owned(),
                        label: label.clone(),
                    };
                    let Some(rest) = left.checked_sub(message_size(&message)) else {
                        break;
                    };
                    left = rest;
                    said.push(message);
                }
                Turn::Said { .. } => {}
            }
        }
        said.reverse();
        said
    }

    /// The turns from that one on.
    fn show(&self, from: usize, messages: &mut Vec<Message>) {
        let known = self.state.compaction.as_ref();
        let mut step = self.state.compacted_through();
        for (at, turn) in self.state.turns.iter().enumerate().skip(from) {
            if let Turn::Replied { number, .. } = turn {
                step = *number;
            }
            let halvings = known.filter(|known| at < known.known);
            let halvings = halvings.map_or(0, |known| known.halvings);
            self.show_turn(turn, step, Limits::of(self.room, halvings), messages);
        }
    }

    fn turn_size(&self, turn: &Turn, limits: Limits) -> usize {
        let mut messages = Vec::new();
        self.show_turn(turn, self.state.replies, limits, &mut messages);
        messages.iter().map(message_size).sum()
    }

    fn show_turn(&self, turn: &Turn, step: u32, limits: Limits, messages: &mut Vec<Message>) {
        match turn {
            Turn::Said { text, label } => {
                let text = shorten::head_and_tail(text, limits.text, self.whole(step));
                messages.push(Message::User {
                    text: text.into_owned(),
                    label: label.clone(),
                });
            }
            Turn::Replied {
                number,
                reply,
                results,
            } => {
                let id = |index| CallId {
                    reply: *number,
                    index,
                };
                if !self.setup.model.native_tools
                    && let Some(text) = repeated(&reply.calls, results)
                        .or_else(|| self.failed_program(&reply.calls, results))
                {
                    let text = shorten::head_and_tail(&text, limits.text, self.whole(*number));
                    return messages.push(Message::User {
                        text: text.into_owned(),
                        label: Label::Own,
                    });
                }
                messages.push(self.spoken(*number, reply, limits.text));
                for ((index, call), result) in (0..).zip(&reply.calls).zip(results) {
                    messages.push(self.result(id(index), call, result.as_ref(), limits.result));
                }
            }
        }
    }

    /// What a model that works by programs is shown of a program that failed: not the program, for a small
    /// model writes again what it sees itself write, but what was wrong with it.
    fn failed_program(
        &self,
        calls: &[ToolCall],
        results: &[Option<(CallOutcome, Label)>],
    ) -> Option<String> {
        let ([call], [Some((failed @ CallOutcome::Failed { .. }, _))]) = (calls, results) else {
            return None;
        };
        blocks::is_script(&self.setup.tools, call)
            .then(|| format!("(You tried a program, and {})", failed.text()))
    }

    fn spoken(&self, number: u32, reply: &Reply, limit: usize) -> Message {
        let whole = self.whole(number);
        let short = |text: &str| shorten::head_and_tail(text, limit, whole).into_owned();
        let calls = (0..).zip(&reply.calls).map(|(index, call)| {
            let id = CallId {
                reply: number,
                index,
            };
            let args = match limit {
                usize::MAX => call.args.clone(),
                limit => shorten::arguments(&call.args, limit, whole),
            };
            let name = call.name.clone();
            (id, ToolCall { name, args })
        });
        // What a provider wants back unread cannot be shortened; without it, it thinks anew.
        let fits = |state: &&Value| limit == usize::MAX || state.to_string().len() <= limit;
        Message::Assistant {
            thought: short(&reply.thought),
            text: short(&reply.text),
            calls: calls.collect(),
            state: reply.state.as_ref().filter(fits).cloned(),
        }
    }

    /// A call never stands without a result, whatever became of it.
    fn result(
        &self,
        id: CallId,
        call: &ToolCall,
        result: Option<&(CallOutcome, Label)>,
        limit: usize,
    ) -> Message {
        let (outcome, label) = match result {
            Some((outcome, label)) => (Some(outcome), label.clone()),
            None => (None, Label::Own),
        };
        let text = outcome.map_or("the call has not come to its end", CallOutcome::text);
        let whole = match self.readable {
            true => Whole::Call(id),
            false => Whole::Journal,
        };
        let mut text = shorten::result(text, limit, whole).into_owned();
        if let Some(CallOutcome::Failed { .. }) = outcome
            && let Some(before) = self.state.done_before(id, call)
        {
            let before = shorten::head(before, FIRST_LINE);
            text.push_str(&format!(
                "\nYou made this same call before and it worked: {before}"
            ));
        }
        Message::Tool {
            call: id,
            name: call.name.clone(),
            text,
            ok: outcome.is_some_and(CallOutcome::is_done),
            label,
        }
    }

    fn whole(&self, step: u32) -> Whole {
        match self.readable {
            true => Whole::Step(step),
            false => Whole::Journal,
        }
    }
}

/// What a model without native tool calls is shown of a reply whose calls were all made before: not the
/// reply, for a small model does again what it sees itself do, but that it was one, with the results once
/// more.
fn repeated(calls: &[ToolCall], results: &[Option<(CallOutcome, Label)>]) -> Option<String> {
    let told = calls
        .iter()
        .zip(results)
        .map(|(call, result)| match result {
            Some((
                CallOutcome::Refused {
                    by: Refusal::Repetition,
                    message,
                },
                _,
            )) => Some(format!("{} {}: {message}", call.name, call.args)),
            _ => None,
        });
    let told: Option<Vec<_>> = told.collect();
    told.filter(|told| !told.is_empty())
        .map(|told| told.join("\n\n"))
}

impl Limits {
    fn of(room: &Room, halvings: u32) -> Self {
        let result = room.result >> halvings.min(usize::BITS - 1);
        let text = if halvings == 0 { usize::MAX } else { result };
        Self { result, text }
    }
}
