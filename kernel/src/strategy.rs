//! How a task is done, how that is chosen, and when it changes.
//!
//! | strategy | |
//! |---|---|
//! | `direct` | answer at once; the tools are barred |
//! | `react` | think, act, look |
//! | `explore` | the same, drawn more widely, after no progress |
//! | `plan` | a list that the model keeps and the machine tracks ([`plan`]) |
//! | `search` | try several ways in copies of the workspace, keep the best ([`search`]) |
//!
//! A run that asks for none is done by `react`, at no cost: no choice was measured to help a model yet
//! (`gpak eval --strategies all` measures it). One that asks for [`Choice::Auto`] lets the model choose
//! with its first reply ([`choose`]), if it is able to, and changes by signals: no progress, failed checks, a plan that is
//! only rewritten, a budget that is nearly used up. Each choice and change is an event with its reason.

pub mod choose;
pub mod plan;
pub mod search;

use crate::{
    context::asked,
    event::{Choice, Event, PlanItem, RunSpec, Setup, Strategy},
    model::{CallId, ModelProfile, step::blocks},
    run::{State, check},
    tool::{Control, ToolSpec, Toolbox},
};

/// Why a small model reacts where a plan is asked for, or a choice of its own.
const STEP_BY_STEP: &str = "a small model does best step by step";
/// Steps left of the budget at which a plan is no longer kept.
const STEPS_TO_WRAP_UP: u32 = 3;

/// What the way of working goes by, as far as it is known from the run's events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Work {
    /// Whether a strategy was settled on.
    settled: bool,
    /// Replies before the strategy changed last.
    since: u32,
    /// Whether several ways were tried.
    searched: bool,
    /// The last call that did something.
    success: Option<CallId>,
    plan: plan::Track,
}

impl Work {
    pub(crate) fn changed(&mut self, strategy: Strategy, replies: u32) {
        self.settled = true;
        self.since = replies;
        self.searched |= strategy == Strategy::Search;
    }

    pub(crate) fn succeeded(&mut self, call: CallId) {
        self.success = Some(call);
        self.plan.idle = 0;
    }

    pub(crate) fn planned(&mut self, plan: &[PlanItem], by: Option<CallId>) {
        self.plan.planned(plan, by);
    }
}

/// The tools by which the model speaks of strategies, as far as the run needs any.
pub(crate) fn tools(spec: &RunSpec, toolbox: &Toolbox) -> Vec<ToolSpec> {
    let tools = toolbox.specs();
    match spec.strategy {
        Some(Choice::Auto) => {
            let searches = search::is_possible(spec, toolbox) && !spec.check.is_empty();
            choose::spec(&tools, searches).into_iter().collect()
        }
        Some(Choice::Search) if spec.check.is_empty() => vec![search::judge()],
        _ => Vec::new(),
    }
}

/// What comes next by the way of working; none where it is the model's turn.
pub(crate) fn next(state: &State, spec: &RunSpec, setup: &Setup) -> Option<Vec<Event>> {
    let choice = spec.strategy?;
    let event = if !state.work.settled {
        settle(state, choice, setup)
    } else if state.strategy == Strategy::Search {
        return search::next(state, spec, setup);
    } else {
        change(state, spec, choice, setup)
    };
    Some(vec![event?])
}

/// The tools that the next reply may not call.
pub(crate) fn barred(state: &State, spec: &RunSpec, setup: &Setup) -> Vec<String> {
    let is = |tool: &&ToolSpec, control| tool.control == Some(control);
    let names = |tools: Vec<&ToolSpec>| tools.iter().map(|tool| tool.name.clone()).collect();
    if let Some(only) = only(state, spec, setup)
        && setup.tools.iter().any(|tool| is(&tool, only))
    {
        return names(setup.tools.iter().filter(|tool| !is(tool, only)).collect());
    }
    let rewritten = state.strategy == Strategy::Plan && state.work.plan.idle >= plan::IDLE_TO_BAR;
    let plans = is_able(&setup.model) && !rewritten;
    let spoken = setup.tools.iter().filter(|tool| {
        is(tool, Control::Strategy) || is(tool, Control::Best) || !plans && is(tool, Control::Plan)
    });
    let mut barred: Vec<String> = names(spoken.collect());
    barred.extend(state.progress.barred().map(str::to_owned));
    // What a text says, a small model reads right and gets wrong by a program.
    let is_held = (must_compute(state, spec, setup) || must_try_again(state, setup))
        && !blocks::is_answered_at_once(&spec.task);
    if is_held || must_make(state, setup) {
        let ends = setup.tools.iter().filter(|tool| is(tool, Control::Finish));
        barred.extend(names(ends.collect()));
    }
    barred
}

/// Whether a model that was shown the files with the task has yet to compute something: small ones count and
/// compare wrongly in their heads, and right by programs.
fn must_compute(state: &State, spec: &RunSpec, setup: &Setup) -> bool {
    const WORDS: [&str; 20] = [
        "how many",
        "how much",
        "count",
        "number of",
        "sum",
        "add up",
        "total",
        "average",
        "most",
        "least",
        "longest",
        "shortest",
        "largest",
        "biggest",
        "smallest",
        "highest",
        "lowest",
        "differ",
        "compare",
        "sort",
    ];
    let task = spec.task.to_lowercase();
    state.replies == 0
        && !setup.repository.contents.is_empty()
        && !state.is_conversation()
        && WORDS.iter().any(|word| task.contains(word))
}

/// Whether a model that was asked for a tool has yet to do anything: small ones say what the tool would have
/// said.
fn must_make(state: &State, setup: &Setup) -> bool {
    let makes = |tool: &ToolSpec| blocks::makes_tools(tool) && asked::for_it(tool, state);
    state.replies == 0 && setup.tools.iter().any(makes)
}

/// Whether a change failed, or nothing was found, and the model is one that then says so and gives up, as small
/// ones do: it is held to a few more tries before it may end, or to one more look.
fn must_try_again(state: &State, setup: &Setup) -> bool {
    const TRIES: u32 = 3;
    let progress = &state.progress;
    let failed = progress.failed_change.is_some() && (1..TRIES).contains(&progress.failures);
    !setup.model.native_tools && (failed || progress.empty == 1)
}

/// Whether the model may say how it works. A small one, asked, answers what needs its tools from what it knows, and
/// one that plans plays with its plan and takes what is ticked off for done (of 21 tasks that the embedded one was to
/// do by a plan it did none, `examples/evals/README.md`): it works step by step.
pub(crate) fn is_able(model: &ModelProfile) -> bool {
    model.native_tools || model.provider != "embedded"
}

/// The one thing that the next reply may do, if it is not free.
fn only(state: &State, spec: &RunSpec, setup: &Setup) -> Option<Control> {
    let work = &state.work;
    match state.strategy {
        _ if !work.settled => {
            (spec.strategy == Some(Choice::Auto) && state.replies == 0).then_some(Control::Strategy)
        }
        Strategy::Direct => Some(Control::Finish),
        // A model that does not plan when it can do nothing else gets on without.
        Strategy::Plan if state.plan.is_empty() && state.replies < work.since + 2 => {
            is_able(&setup.model).then_some(Control::Plan)
        }
        Strategy::Search => Some(Control::Best),
        _ => None,
    }
}

/// The strategy at the beginning.
fn settle(state: &State, choice: Choice, setup: &Setup) -> Option<Event> {
    let asked = "it was asked for";
    let has = |control| setup.tools.iter().any(|tool| tool.control == Some(control));
    Some(match choice {
        Choice::Auto | Choice::Plan if !is_able(&setup.model) => {
            changed(Strategy::React, STEP_BY_STEP, "")
        }
        Choice::Auto if !has(Control::Strategy) => {
            changed(Strategy::React, "there is nothing to choose from", "")
        }
        Choice::Auto if state.replies == 0 => return None,
        Choice::Auto => changed(Strategy::React, "the model chose no strategy", ""),
        Choice::React => changed(Strategy::React, asked, ""),
        Choice::Direct => changed(Strategy::Direct, asked, choose::DIRECT),
        Choice::Plan if has(Control::Plan) => changed(Strategy::Plan, asked, plan::TOLD),
        Choice::Plan => changed(Strategy::React, "there is no tool to plan with", ""),
        Choice::Search if state.is_conversation() => {
            changed(Strategy::React, "a conversation has no one end", "")
        }
        Choice::Search => changed(Strategy::Search, asked, ""),
    })
}

/// The change that a signal leads to.
fn change(state: &State, spec: &RunSpec, choice: Choice, setup: &Setup) -> Option<Event> {
    let (auto, failed) = (choice == Choice::Auto, check::failures(state));
    let left = spec.budget.left(&state.charged());
    let searches = auto && !state.work.searched && choose::offers(setup, Strategy::Search);
    if searches
        && failed >= check::FAILURES_TO_CHANGE
        && left.steps >= spec.budget.steps / 2
        && left.tokens >= spec.budget.tokens / 2
    {
        let reason = format!("the check failed {failed} times");
        return Some(changed(Strategy::Search, &reason, ""));
    }
    match state.strategy {
        Strategy::Direct if auto && (failed > 0 || state.work.success.is_some()) => Some(changed(
            Strategy::React,
            "the task needs more than an answer",
            "Use the tools.",
        )),
        Strategy::Plan if state.work.plan.idle > plan::IDLE_TO_BAR => Some(changed(
            Strategy::React,
            "the plan was rewritten again and again, and nothing was done",
            "Leave the plan as it is. Do the next thing, or finish.",
        )),
        Strategy::Plan if left.steps <= STEPS_TO_WRAP_UP => {
            let reason = format!("{} steps are left", left.steps);
            let told = format!(
                "Only {reason}. Do what matters most, then finish and say what is left undone."
            );
            Some(changed(Strategy::React, &reason, &told))
        }
        _ => None,
    }
}

/// The change that a user asks for between two drives.
pub(crate) fn asked_for(strategy: Strategy, setup: Option<&Setup>) -> Event {
    let reason = "The user asks for another way of working.";
    match strategy {
        Strategy::Plan if setup.is_some_and(|setup| !is_able(&setup.model)) => {
            changed(Strategy::React, STEP_BY_STEP, "")
        }
        Strategy::Plan => changed(strategy, reason, &format!("{reason} {}", plan::TOLD)),
        _ => changed(strategy, reason, reason),
    }
}

pub(crate) fn changed(strategy: Strategy, reason: &str, told: &str) -> Event {
    Event::StrategyChanged {
        strategy,
        reason: reason.to_owned(),
        told: Some(told.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        entry::{Entry, Head},
        event::RunId,
        model::ModelProfile,
    };

    fn setup(provider: &str, native_tools: bool) -> Setup {
        let tool = |(name, control)| ToolSpec {
            control,
            ..ToolSpec::new(
                String::from(name),
                String::new(),
                json!({"type": "object"}),
                crate::tool::Effect::Pure,
            )
        };
        let tools = [
            ("look", None),
            ("update_plan", Some(Control::Plan)),
            ("finish", Some(Control::Finish)),
        ];
        Setup {
            instructions: String::new(),
            tools: tools.map(tool).into(),
            model: ModelProfile {
                provider: provider.into(),
                name: "m".into(),
                window: 4096,
                native_tools,
                local: true,
                price: None,
            },
            repository: Default::default(),
        }
    }

    fn bars_plans(setup: &Setup, strategy: Strategy, conversation: bool) -> bool {
        let spec = RunSpec {
            task: "do it".into(),
            workspace: "/w".into(),
            model: setup.model.id(),
            budget: Default::default(),
            permissions: Default::default(),
            attended: false,
            conversation,
            origin: None,
            check: Vec::new(),
            strategy: None,
            parent: None,
        };
        let events = [
            Event::RunCreated { spec: spec.clone() },
            Event::RunStarted {
                setup: setup.clone(),
            },
            asked_for(strategy, Some(setup)),
        ];
        let mut head = Head::EMPTY;
        let entries = events.map(|event| {
            let time = jiff::Timestamp::UNIX_EPOCH;
            let entry = Entry::seal(RunId::from_u128(1), head, time, event);
            head = entry.head();
            entry
        });
        let barred = barred(&State::fold(&entries), &spec, setup);
        barred.contains(&"update_plan".to_owned())
    }

    #[test]
    fn a_small_model_is_not_asked_how_it_will_work() {
        let settled = |provider, native| {
            let mut setup = setup(provider, native);
            setup.tools.extend(choose::spec(&setup.tools, true));
            match settle(&State::default(), Choice::Auto, &setup) {
                Some(Event::StrategyChanged {
                    strategy, reason, ..
                }) => Some((strategy, reason)),
                _ => None,
            }
        };
        let reason = "a small model does best step by step".to_owned();
        assert_eq!(settled("embedded", false), Some((Strategy::React, reason)));
        assert_eq!(settled("embedded", true), None);
        assert_eq!(settled("ollama", false), None);
    }

    #[test]
    fn a_small_model_works_step_by_step_where_a_plan_is_asked_for() {
        let small = setup("embedded", false);
        let strategy = |event| match event {
            Event::StrategyChanged { strategy, told, .. } => Some((strategy, told)),
            _ => None,
        };
        let reacts = Some((Strategy::React, Some(String::new())));
        let settled = settle(&State::default(), Choice::Plan, &small);
        assert_eq!(settled.and_then(strategy), reacts);
        let asked = asked_for(Strategy::Plan, Some(&small));
        assert_eq!(strategy(asked), reacts);
        for conversation in [false, true] {
            for strategy in [Strategy::React, Strategy::Explore, Strategy::Direct] {
                assert!(bars_plans(&small, strategy, conversation), "{strategy:?}");
            }
        }
        for other in [setup("embedded", true), setup("ollama", false)] {
            for strategy in [Strategy::React, Strategy::Explore, Strategy::Plan] {
                assert!(!bars_plans(&other, strategy, false), "{strategy:?}");
            }
        }
    }
}
