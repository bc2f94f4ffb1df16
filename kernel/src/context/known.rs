//! What a run knows of itself, for whoever chooses between models.

use super::in_tokens;
use crate::{
    event::{RunSpec, Setup, Strategy},
    label::Label,
    model::{Known, ModelError},
    run::{State, Turn, episodes::RECALL},
};

/// All of it.
pub(super) fn known(state: &State, spec: &RunSpec, setup: &Setup) -> Known {
    let mut last = state.model_failures.iter().rev();
    let malformed = last
        .by_ref()
        .take_while(|error| matches!(error, ModelError::Malformed { .. }));
    let repository = &setup.repository;
    let task = super::task(spec).len() + repository.contents.len();
    Known {
        repeats: state.progress.repeats,
        failures: state.progress.failures,
        no_progress: state.strategy == Strategy::Explore,
        malformed: u32::try_from(malformed.count()).unwrap_or(u32::MAX),
        task: in_tokens(task),
        cost_left: Some(spec.budget.left(&state.charged()).cost),
        sources: sources(state, !repository.is_empty()),
        other_runs: is_of_other_runs(state),
    }
}

/// Each label once, in order.
fn sources(state: &State, has_repository: bool) -> Vec<Label> {
    let mut sources: Vec<Label> = Vec::new();
    let mut add = |label: &Label| {
        if !sources.contains(label) {
            sources.push(label.clone());
        }
    };
    add(&Label::User);
    if has_repository {
        add(&Label::Repo);
    }
    let recalled = state.recalled.iter();
    recalled.for_each(|hit| add(&hit.episode.label));
    for turn in &state.turns {
        match turn {
            Turn::Said { label, .. } => add(label),
            Turn::Replied { results, .. } => {
                results.iter().flatten().for_each(|(_, label)| add(label));
            }
        }
    }
    let own = state.own.iter().filter_map(|own| own.result.as_ref());
    own.for_each(|(_, label)| add(label));
    state.nested.iter().for_each(add);
    sources
}

/// Whether the run recalled what other runs were remembered by, or started runs itself.
fn is_of_other_runs(state: &State) -> bool {
    let recalls = |turn: &Turn| match turn {
        Turn::Replied { reply, .. } => reply.calls.iter().any(|call| call.name == RECALL),
        Turn::Said { .. } => false,
    };
    !state.children.is_empty()
        || state
            .recalled
            .iter()
            .any(|hit| hit.episode.origin.is_some())
        || state.turns.iter().any(recalls)
        || state.nested.contains(&Label::Tool(RECALL.to_owned()))
}
