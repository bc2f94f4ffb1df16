//! Steps, one whole or several in short.

use std::fmt::Write as _;

use gpak_kernel::{
    context::READ_HISTORY,
    event::CallOutcome,
    label::Label,
    model::{CallId, Reply},
    run::{State, Turn},
    tool::ToolError,
};

use super::excerpt;
use crate::workspace::rejected;

/// Bytes of each piece of a step that is one of several.
const IN_SHORT: usize = 240;

type Results<'a> = &'a [Option<(CallOutcome, Label)>];

/// One step, its results as long as they fit.
pub(super) fn one(state: &State, step: u32, room: usize) -> Result<String, ToolError> {
    if step == 0 {
        return Ok(before(state, room));
    }
    let (reply, results) = find(state, step)?;
    // All but the longest pieces fit; these say how to get the rest.
    let pieces = 2 + 2 * reply.calls.len();
    Ok(show(step, reply, results, room / pieces.min(4)))
}

/// Several steps in short, as many as fit.
pub(super) fn several(
    state: &State,
    from: u32,
    to: Option<u32>,
    room: usize,
) -> Result<String, ToolError> {
    let last = state.replies;
    let (from, to) = (from.max(1), to.unwrap_or(last).min(last));
    if from > last {
        return Err(no_step(state, from));
    }
    if from > to {
        return Err(rejected(format!(
            "to_step {to} is before step {from}; use {READ_HISTORY} {{\"step\":{to},\"to_step\":{from}}}"
        )));
    }
    let mut text = String::new();
    for step in from..=to {
        let (reply, results) = find(state, step)?;
        let shown = show(step, reply, results, IN_SHORT);
        if !text.is_empty() && text.len() + shown.len() > room {
            let _ = write!(
                text,
                "…truncated; for more use {READ_HISTORY} {{\"step\":{step},\"to_step\":{to}}}"
            );
            break;
        }
        text.push_str(&shown);
        text.push('\n');
    }
    Ok(text.trim_end().to_owned())
}

/// The result of a call and where it came from.
pub(super) fn result(state: &State, id: CallId) -> Result<(&str, &Label), ToolError> {
    let (_, results) = find(state, id.reply)?;
    let result = results.get(id.index as usize).and_then(Option::as_ref);
    let (outcome, label) = result.ok_or_else(|| {
        let step = id.reply;
        rejected(format!(
            "there is no result of {id}; {READ_HISTORY} {{\"step\":{step}}} shows the calls of step {step}"
        ))
    })?;
    Ok((outcome.text(), label))
}

/// The task, and what was said before the first step.
fn before(state: &State, room: usize) -> String {
    let task = state.spec.as_ref().map_or("", |spec| spec.task.as_str());
    let mut text = format!("The task:\n{}", cut(task, room));
    for turn in &state.turns {
        let Turn::Said { text: said, label } = turn else {
            break;
        };
        let _ = write!(text, "\n{label} said: {}", cut(said, room / 4));
    }
    text
}

fn find(state: &State, step: u32) -> Result<(&Reply, Results<'_>), ToolError> {
    let found = state.turns.iter().find_map(|turn| match turn {
        Turn::Replied {
            number,
            reply,
            results,
        } if *number == step => Some((reply, results.as_slice())),
        _ => None,
    });
    found.ok_or_else(|| no_step(state, step))
}

fn no_step(state: &State, step: u32) -> ToolError {
    rejected(format!(
        "there is no step {step}; there are 1 to {}",
        state.replies
    ))
}

fn show(step: u32, reply: &Reply, results: Results<'_>, room: usize) -> String {
    let mut text = format!("Step {step}");
    for said in [&reply.thought, &reply.text] {
        if !said.is_empty() {
            let _ = write!(text, "\n{}", cut(said, room));
        }
    }
    for ((index, call), result) in (0..).zip(&reply.calls).zip(results) {
        let id = CallId { reply: step, index };
        let args = cut(&call.args.to_string(), room);
        let _ = write!(text, "\ncall {id}: {} {args}", call.name);
        let Some((outcome, _)) = result else {
            continue;
        };
        let how = if outcome.is_done() { "result" } else { "error" };
        let shown = excerpt::beginning(outcome.text(), id, room);
        let _ = write!(text, "\n{how} of {id}:\n{}", shown.trim_end());
    }
    text.push('\n');
    text
}

fn cut(text: &str, room: usize) -> String {
    let (shown, taken) = excerpt::fitting(text, room);
    match text.len() - taken {
        0 => shown,
        left => format!("{shown} […{left} more bytes]"),
    }
}
