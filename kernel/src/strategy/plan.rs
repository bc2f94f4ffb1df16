//! The strategy `plan`: a list that the model keeps and the machine tracks.
//!
//! An item ends with evidence: it is done only after a call that succeeded since it was begun, and the
//! event names that call. Finishing with open items is sent back, once. A plan that is rewritten again
//! and again while nothing is done is barred, and then given up.
//!
//! A small model is not asked for one: it works step by step.

use std::collections::BTreeMap;

use crate::{
    event::{CallOutcome, PlanItem, PlanStatus, Refusal, Strategy},
    label::Label,
    model::CallId,
    run::{State, Turn},
};

/// What the model is told that is to work by a plan.
pub(super) const TOLD: &str = "Work by a plan: first list the parts of the task with update_plan. Then \
do one part after the other, and tick each off once a call has done it.";
/// Rewritings in a row, with nothing done in between, after which the plan is not rewritten again.
pub(super) const IDLE_TO_BAR: u32 = 3;

/// Since when the items of the plan are under way.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Track {
    begun: BTreeMap<String, CallId>,
    rewritten: Option<CallId>,
    pub(super) idle: u32,
}

impl Track {
    pub(super) fn planned(&mut self, plan: &[PlanItem], by: Option<CallId>) {
        self.idle += 1;
        let Some(by) = by else { return };
        self.rewritten = Some(by);
        let active = |item: &&PlanItem| item.status == PlanStatus::Active;
        let active = plan.iter().filter(active).map(|item| key(&item.text));
        let begun = active.map(|key| {
            let since = self.begun.get(&key).copied().unwrap_or(by);
            (key, since)
        });
        self.begun = begun.collect();
    }
}

/// Two texts are one item if they read the same.
fn key(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// The plan as it is noted, and what is said of it: an item for which nothing was done stays under way.
pub(crate) fn admit(state: &State, mut plan: Vec<PlanItem>) -> (Vec<PlanItem>, String) {
    if state.strategy != Strategy::Plan {
        let said = left(&plan);
        return (plan, said);
    }
    let mut held = Vec::new();
    for item in &mut plan {
        item.evidence = None;
        if item.status != PlanStatus::Done {
            continue;
        }
        item.evidence = evidence(state, item);
        if item.evidence.is_none() {
            item.status = PlanStatus::Active;
            held.push(format!("`{}`", item.text));
        }
    }
    let mut said = left(&plan);
    if !held.is_empty() {
        said.push_str(&format!(
            "\nNot ticked off, as no call has done anything for it since it was begun: {}",
            held.join(", ")
        ));
    }
    if let Some(next) = plan.iter().find(|item| !item.is_done()) {
        said.push_str(&format!("\nNext: {}", next.text));
    }
    (plan, said)
}

/// The call that shows that an item is done.
fn evidence(state: &State, item: &PlanItem) -> Option<CallId> {
    let key = key(&item.text);
    let before = state
        .plan
        .iter()
        .find(|before| self::key(&before.text) == key);
    if let Some(before) = before.filter(|before| before.is_done()) {
        return before.evidence.or(state.work.success);
    }
    let track = &state.work.plan;
    let begun = track.begun.get(&key).copied().or(track.rewritten);
    state
        .work
        .success
        .filter(|call| begun.is_none_or(|begun| *call > begun))
}

fn left(plan: &[PlanItem]) -> String {
    let left = plan.iter().filter(|item| !item.is_done()).count();
    format!("plan noted: {left} of {} items left", plan.len())
}

/// Why the run does not end yet: items are open, and that was not said before.
pub(crate) fn open(state: &State) -> Option<String> {
    // What was said before it was worked by a plan is not held to it.
    if state.strategy != Strategy::Plan || state.replies <= state.work.since {
        return None;
    }
    let open = state.plan.iter().filter(|item| !item.is_done());
    let open: Vec<_> = open.map(|item| format!("- {}", item.text)).collect();
    if open.is_empty() || was_sent_back(state) {
        return None;
    }
    Some(format!(
        "Not finished: these items of the plan are open. Do them and tick them off, or finish again and \
         say what is left.\n{}",
        open.join("\n")
    ))
}

/// Whether the model was told before, since the user spoke last, that items are open: by a refusal, or
/// after a reply of text, which would else have been the end.
fn was_sent_back(state: &State) -> bool {
    let turns = state.turns.iter().rev();
    let since_user =
        turns.take_while(|turn| !matches!(turn, Turn::Said { label, .. } if *label == Label::User));
    since_user.skip(1).any(|turn| match turn {
        Turn::Replied { reply, .. } if reply.calls.is_empty() => !reply.text.trim().is_empty(),
        Turn::Replied { results, .. } => results.iter().flatten().any(|(outcome, _)| {
            matches!(
                outcome,
                CallOutcome::Refused {
                    by: Refusal::Plan,
                    ..
                }
            )
        }),
        Turn::Said { .. } => false,
    })
}
