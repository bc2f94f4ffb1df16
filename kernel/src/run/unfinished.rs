//! What a task asks for, as far as it can be told without understanding it.

use super::{
    file_names,
    state::{State, Turn},
};
use crate::{event::CallOutcome, label::Label};

/// A file that the task names, that was not in the workspace when it was given, and that no call had to do
/// with since. None if the files of the workspace are not known.
pub(super) fn missing(state: &State) -> Option<&str> {
    let files = &state.setup.as_ref()?.repository.files;
    if files.is_empty() {
        return None;
    }
    let heard = state.turns.iter().rev().find_map(|turn| match turn {
        Turn::Said {
            text,
            label: Label::User,
        } => Some(text),
        _ => None,
    });
    let task = heard.or(state.spec.as_ref().map(|spec| &spec.task))?;
    file_names::in_task(task).find(|path| {
        let name = file_names::last(path);
        !files.contains(name) && !had_to_do_with(state, name)
    })
}

/// Whether a call that worked, or what came of it, has the name.
pub(super) fn had_to_do_with(state: &State, name: &str) -> bool {
    state.turns.iter().any(|turn| match turn {
        Turn::Replied { reply, results, .. } => {
            reply.calls.iter().zip(results).any(|(call, result)| {
                let Some((CallOutcome::Done { output }, _)) = result else {
                    return false;
                };
                output.text.contains(name) || call.args.to_string().contains(name)
            })
        }
        Turn::Said { .. } => false,
    })
}
