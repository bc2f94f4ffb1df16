//! What comes next in a run: decisions without IO, clock or randomness.

mod calls;
mod ending;
mod failures;

use super::{progress, state::State};
use crate::{
    context,
    entry::Entry,
    event::{Event, Outcome, PauseReason, Refusal, RunSpec, Strategy},
    model::Request,
    policy::Gate,
    strategy,
    tool::Call,
};
use calls::refuse;
use failures::in_ms;

/// What a driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Write these down: the machine decided them.
    Record(Vec<Event>),
    /// Ask the mind.
    Think {
        /// What.
        request: Request,
        /// Milliseconds to wait before, where it has just failed.
        after_ms: u64,
    },
    /// Make these calls. Several only where all are pure, so that they may be made at once.
    Act(Vec<Call>),
    /// Wait for somebody.
    Wait(Waiting),
    /// Nothing: the run is over.
    Done(Outcome),
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Waiting {
    /// A user's decision on a call.
    Approval {
        /// The call.
        call: Call,
        /// Why it needs one.
        reason: String,
    },
    /// A user's word on whether a call was made before the process died.
    InDoubt {
        /// The call.
        call: Call,
    },
    /// A user's answer.
    Question {
        /// The call that asks.
        call: Call,
        /// What it asks.
        text: String,
    },
    /// A user's next message: a conversation answered the last one.
    Message,
    /// A driver: the run is new, or paused.
    Driver(Option<PauseReason>),
}

/// Decides what comes next.
pub struct Machine {
    state: State,
    gate: Gate,
}

impl Machine {
    /// The machine of a run with these entries.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let state = State::fold(entries);
        let gate = Gate::new(state.setup.as_ref().map_or(&[], |setup| &setup.tools));
        Self { state, gate }
    }

    /// What is known of the run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in an entry that was journaled.
    pub fn apply(&mut self, entry: &Entry) {
        self.state.apply(entry);
        let brings_tools = match &entry.event {
            Event::RunStarted { .. } | Event::ToolMade { .. } => true,
            Event::RunResumed { setup, .. } => setup.is_some(),
            _ => false,
        };
        if let (true, Some(setup)) = (brings_tools, &self.state.setup) {
            self.gate = Gate::new(&setup.tools);
        }
    }

    /// What comes next.
    pub fn next(&self) -> Next {
        let state = &self.state;
        if let Some(outcome) = &state.outcome {
            return Next::Done(outcome.clone());
        }
        let (Some(spec), Some(setup), None) = (&state.spec, &state.setup, &state.paused) else {
            return Next::Wait(Waiting::Driver(state.paused.clone()));
        };
        self.next_of_own(spec)
            .or_else(|| self.next_of_calls(spec))
            .or_else(|| self.next_of_failures(spec, setup))
            .or_else(|| self.conclusion(spec))
            .or_else(|| self.next_of_checks())
            .or_else(|| self.next_of_progress())
            .or_else(|| strategy::next(state, spec, setup).map(Next::Record))
            .or_else(|| self.exhausted(spec))
            .or_else(|| context::due(state, spec, setup).map(record))
            .unwrap_or_else(|| Next::Think {
                request: context::assemble(state, spec, setup),
                after_ms: in_ms(self.wait().unwrap_or_default()),
            })
    }

    /// What somebody must say before the run can go on. A pause is looked past: so it is known what a run
    /// that nobody drives waits for. The first stands in the way of all that follow.
    pub fn waits_for(&self) -> Vec<Waiting> {
        let state = &self.state;
        let (Some(spec), Some(_), None) = (&state.spec, &state.setup, &state.outcome) else {
            return Vec::new();
        };
        if self.next_of_own(spec).is_some() {
            return Vec::new();
        }
        let mut waits = Vec::new();
        for open in &state.open {
            match self.next_of_call(spec, *open) {
                Next::Wait(waiting) => waits.push(waiting),
                _ if waits.is_empty() => return waits,
                _ => {}
            }
        }
        if state.open.is_empty()
            && let Some(Next::Wait(waiting)) = self.conclusion(spec)
        {
            waits.push(waiting);
        }
        waits
    }

    /// The call that the machine decided on by itself.
    fn next_of_own(&self, spec: &RunSpec) -> Option<Next> {
        let call = self.state.next_own()?;
        if self.state.is_overtaken(call.id.reply) {
            let message = "not made: the user said something else first".into();
            return Some(refuse(call.id, &call.name, Refusal::User, message));
        }
        Some(self.out_of_time(spec).unwrap_or(Next::Act(vec![call])))
    }

    /// No call is begun once the time is used up.
    fn out_of_time(&self, spec: &RunSpec) -> Option<Next> {
        let is_over = spec.budget.time_left(&self.state.charged()).is_zero();
        is_over.then(|| self.exhausted(spec)).flatten()
    }

    /// A run that gets nowhere first changes its way of working, then stops.
    fn next_of_progress(&self) -> Option<Next> {
        if self.state.strategy == Strategy::Search {
            return None;
        }
        let (repeats, failures) = (self.state.progress.repeats, self.state.progress.failures);
        let setup = self.state.setup.as_ref();
        let patience = match setup.is_some_and(|setup| strategy::is_able(&setup.model)) {
            true => progress::Patience::OF_ABLE,
            false => progress::Patience::OF_SMALL,
        };
        let what = if repeats >= progress::REPEATS_TO_CHANGE {
            format!("the last {repeats} calls were made before and gave nothing new")
        } else if failures >= patience.to_change {
            format!("the last {failures} calls did not work")
        } else {
            return None;
        };
        if repeats >= progress::REPEATS_TO_STOP || failures >= patience.to_stop {
            return Some(self.failed(format!("no progress: {what}")));
        }
        (self.state.strategy != Strategy::Explore).then(|| {
            record(Event::StrategyChanged {
                strategy: Strategy::Explore,
                reason: format!(
                    "You are not getting anywhere: {what}. Try another tool or other arguments, or \
                     finish with what you know."
                ),
                told: None,
            })
        })
    }

    fn exhausted(&self, spec: &RunSpec) -> Option<Next> {
        let message = spec.budget.exhausted(&self.state.charged())?;
        Some(record(Event::RunPaused {
            reason: PauseReason::Budget { message },
        }))
    }
}

fn record(event: Event) -> Next {
    Next::Record(vec![event])
}
