//! The choice of a strategy: the model's first reply, when it is asked for one.
//!
//! It is a call like any other, of a tool whose choices are the strategies that the tools at hand allow;
//! every other tool is barred in that reply. So it costs one reply of a few words: the system prompt and
//! the task in front of it are those of all later requests, and stay cached.

use serde_json::{Value, json};

use super::{changed, plan};
use crate::{
    event::{Event, Setup, Strategy},
    model::ToolCall,
    run::State,
    tool::{Control, Effect, ToolSpec},
};

/// The tool's name.
pub const TOOL: &str = "choose_strategy";
/// What the model is told that is to answer at once.
pub(super) const DIRECT: &str = "Answer now, from what you know.";

/// The tool, for a run with these tools; none where there is only one strategy.
pub(super) fn spec(tools: &[ToolSpec], searches: bool) -> Option<ToolSpec> {
    let options = options(tools, searches);
    if options.len() < 2 {
        return None;
    }
    let explained: Vec<_> = options.iter().map(|(_, explained)| *explained).collect();
    let names: Vec<_> = options
        .iter()
        .map(|(strategy, _)| json!(strategy))
        .collect();
    Some(ToolSpec {
        control: Some(Control::Strategy),
        ..ToolSpec::taking(
            TOOL,
            format!(
                "Say first how you will do the task. {}.",
                explained.join("; ")
            ),
            json!({"strategy": {"type": "string", "enum": names}}),
            &["strategy"],
            Effect::Pure,
        )
    })
}

fn options(tools: &[ToolSpec], searches: bool) -> Vec<(Strategy, &'static str)> {
    let acts = tools.iter().any(|tool| tool.control.is_none());
    let plans = tools.iter().any(|tool| tool.control == Some(Control::Plan));
    let mut options = vec![(
        Strategy::Direct,
        "direct: answer from what you know, without tools",
    )];
    if acts {
        options.push((Strategy::React, "react: look and act, step by step"));
    }
    if acts && plans {
        options.push((
            Strategy::Plan,
            "plan: many parts, listed before they are done",
        ));
    }
    if acts && searches {
        options.push((Strategy::Search, "search: hard to get right, several tries"));
    }
    options
}

/// Whether the model could have chosen that strategy.
pub(super) fn offers(setup: &Setup, strategy: Strategy) -> bool {
    let tool = setup
        .tools
        .iter()
        .find(|tool| tool.control == Some(Control::Strategy));
    let options = tool.and_then(|tool| tool.input.pointer("/properties/strategy/enum"));
    options
        .and_then(Value::as_array)
        .is_some_and(|all| all.contains(&json!(strategy)))
}

/// What a call of the tool leads to: the change, and what the model is told. Err says why not.
pub(crate) fn decide(state: &State, call: &ToolCall) -> Result<(Event, &'static str), String> {
    if state.work.settled {
        return Err("the strategy is settled; do the task".to_owned());
    }
    let named = call.args.get("strategy").cloned().unwrap_or_default();
    let strategy: Strategy = serde_json::from_value(named).map_err(|why| why.to_string())?;
    let told = match strategy {
        Strategy::Direct => DIRECT,
        Strategy::Plan => plan::TOLD,
        Strategy::React | Strategy::Explore => "Go on.",
        Strategy::Search => "Several ways will be tried.",
    };
    let thought = state.turns.iter().rev().find_map(|turn| match turn {
        crate::run::Turn::Replied { reply, .. } => Some(reply.thought.trim()),
        crate::run::Turn::Said { .. } => None,
    });
    let reason = match thought {
        None | Some("") => "the model chose it".to_owned(),
        Some(thought) => format!("the model chose it: {thought}"),
    };
    Ok((changed(strategy, &reason, ""), told))
}
