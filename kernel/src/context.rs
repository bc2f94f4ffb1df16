//! What the model is shown: a pure function of the run's state and the model's window.
//!
//! In this order: the system prompt (with the tools), what the repository says of itself, what is remembered
//! of other runs, the task, what the user said since, the digest of the steps that were replaced, and the
//! latest steps as they were.
//!
//! The steps are shown as they were until they fill three quarters of the window. Then the oldest are
//! replaced by a digest, and that is an event: between two such events what was sent before is a prefix of
//! what is sent next, so caches hold. Only what no window could hold is shortened before that: each piece
//! has a share of the window, and what is over it is shown by its head and its tail.
//!
//! Nothing is lost by it. The journal has all of it, and the tool [`READ_HISTORY`] reads it. A model is
//! offered that tool once something was left out and not before, as it costs attention and has nothing to
//! say; the tools are the beginning of the prompt, so that moment is an event too, even where nothing but
//! the middle of one result is left out.

pub(crate) mod asked;
mod digest;
mod known;
mod recalled;
mod repository;
mod room;
mod shorten;
mod view;

pub use repository::{Notes, Repository, Skill};
pub use room::size;

pub(crate) use room::in_tokens;

pub(crate) use digest::{complaint, in_short};
pub(crate) use recalled::told as told_of_recalled;
pub(crate) use shorten::{head, one_line};

use std::borrow::Cow;

use room::Room;
use view::View;

use crate::{
    event::{Event, PauseReason, RunSpec, Setup, Strategy},
    model::{Request, Sampling},
    run::{State, check},
    strategy,
};

/// The system prompt of a run that is given none.
pub const INSTRUCTIONS: &str = "You are gpak, an agent that works in a folder of files with tools. \
Work step by step: think about what is still missing, make one call, look at its result. Use only \
what results say; never guess what a file contains. Do exactly what the task asks, no more. When \
everything the task asks for is done, call finish with the answer.";

/// The system prompt of a run whose model works by programs.
pub const PROGRAMS: &str = "You are gpak, an agent that works in a folder of files by small programs. Use \
only what files and outputs say; never guess. Let a program count, add up, sort and compare. Do exactly \
what the task asks, no more.";

/// The tool that reads what is left out. It is among a run's tools from the start, and offered to the model
/// once something is left out.
pub const READ_HISTORY: &str = "read_history";

/// How often what the latest steps hold is halved before even these give way to the digest.
const HALVINGS: u32 = 6;

/// The next request.
pub fn assemble(state: &State, spec: &RunSpec, setup: &Setup) -> Request {
    let room = Room::of(state, spec, setup);
    let view = View::new(state, spec, setup, &room);
    Request {
        messages: view.messages(),
        tools: view.tools().into(),
        barred: strategy::barred(state, spec, setup),
        sampling: Sampling {
            max_tokens: room.reply,
            ..sampling(state)
        },
        known: known::known(state, spec, setup),
    }
}

/// What must happen before the next request: a compaction, or, in a window that not even the instructions
/// fit into, a pause.
pub fn due(state: &State, spec: &RunSpec, setup: &Setup) -> Option<Event> {
    let room = Room::of(state, spec, setup);
    if let Some(message) = room.complaint() {
        return Some(pause(message));
    }
    let view = View::new(state, spec, setup, &room);
    if view.size() <= room.request {
        let first = state.compaction.is_none() && view.leaves_out();
        return first.then_some(Event::ContextCompacted {
            through_reply: 0,
            halvings: 0,
            window: None,
        });
    }
    // Where all is replaced already, the shares of the window were not kept to.
    let replaced = state.compaction.as_ref().map_or(0, |done| done.turns);
    Some(match replaced < state.turns.len() {
        true => make_room(&view, &room, None),
        false => pause(room.too_much()),
    })
}

/// What must happen after the model said that the last request was over its window, of which it may have
/// said how long it is: by our count it is no longer than what was sent.
pub fn overflowed(state: &State, spec: &RunSpec, setup: &Setup, limit: u32) -> Event {
    let room = Room::of(state, spec, setup);
    let sent = View::new(state, spec, setup, &room).size();
    let sent = u32::try_from(sent).unwrap_or(u32::MAX);
    let window = match limit {
        0 => sent,
        limit => limit.min(sent),
    };
    let narrower = Room::within(window, state, spec, setup);
    if let Some(message) = narrower.complaint() {
        return pause(message);
    }
    let view = View::new(state, spec, setup, &narrower);
    make_room(&view, &narrower, Some(window))
}

/// The compaction that a user asks for, whether or not the window is full: all but the latest step. None if
/// no more can be left out.
pub fn on_request(state: &State) -> Option<Event> {
    let through = state.replies.saturating_sub(1);
    (through > state.compacted_through()).then_some(Event::ContextCompacted {
        through_reply: through,
        halvings: 0,
        window: None,
    })
}

/// The compaction after which the request fits.
///
/// Whole steps go first, the oldest ones, so many that there is room to go on; the latest step stays. Where
/// even that is too much, it is shortened; and where that is not enough, it goes too.
fn make_room(view: &View<'_>, room: &Room, window: Option<u32>) -> Event {
    let compacted = |through_reply, halvings| Event::ContextCompacted {
        through_reply,
        halvings,
        window,
    };
    let sizes = view.sizes_behind();
    if let Some((through, _)) = sizes.iter().find(|(_, size)| *size <= room.steps) {
        return compacted(*through, 0);
    }
    let latest = sizes.last().map_or(0, |(through, _)| *through);
    let halvings = (0..=HALVINGS).find(|halvings| view.size_behind(latest, *halvings) <= room.rest);
    match halvings {
        Some(halvings) => compacted(latest, halvings),
        None => compacted(latest + 1, 0),
    }
}

fn pause(message: String) -> Event {
    Event::RunPaused {
        reason: PauseReason::Model { message },
    }
}

/// The task as the model is told it, with the checks that its answer must pass.
fn task(spec: &RunSpec) -> Cow<'_, str> {
    match spec.check.as_slice() {
        [] => Cow::Borrowed(&spec.task),
        checks => Cow::Owned(spec.task.clone() + &check::notice(checks)),
    }
}

fn sampling(state: &State) -> Sampling {
    // After a reply that made no sense, the same draw would make none again; nor does the most likely
    // reply lead on from where it led round in a circle.
    let stray = state.model_failures.len() as u64;
    // Nor would several tries of one task differ.
    let parent = state.spec.as_ref().and_then(|spec| spec.parent);
    let way = u64::from(parent.map_or(0, |parent| parent.way));
    let explore = state.strategy == Strategy::Explore || stray > 0 || way > 1;
    let progress = &state.progress;
    let repeats = progress.repeats;
    let is_stuck = repeats > 0 || progress.failures > 0 || progress.empty > 0;
    Sampling {
        temperature: match (explore, repeats) {
            (_, 2..) => 0.9,
            (true, _) => 0.7,
            (false, _) if is_stuck => 0.5,
            (false, _) => 0.0,
        },
        seed: u64::from(state.replies) + stray + 1000 * way,
        ..Sampling::default()
    }
}
