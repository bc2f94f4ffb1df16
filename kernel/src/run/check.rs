//! Verification: the user's commands that must succeed before an answer counts.
//!
//! A check is an act like any other, but the machine makes it: when the model finishes, each command is
//! run in the workspace, one after the other, by the tool [`TOOL`]. The first that fails is the reason
//! that the answer is refused, and after [`FAILURES_TO_STOP`] of them the run ends. A command of the
//! user's own needs no approval; a policy that denies it is a contradiction, which is said.

use serde_json::{Value, json};

use super::{own::OwnCall, state::State};
use crate::{
    event::{CallOutcome, Purpose, RunSpec},
    model::ToolCall,
    policy::{Access, Permissions},
    tool::{Effect, ToolSpec},
};

/// The tool that runs a check: a shell command (`command`) in the workspace, whose output says
/// `exit_code` in its data.
pub const TOOL: &str = "run_command";
/// Failed checks after which a run ends.
pub const FAILURES_TO_STOP: usize = 3;
/// Failed checks after which the way of working changes, where it can.
pub const FAILURES_TO_CHANGE: usize = 2;
/// Seconds that a check may take: as long as the tool lets any command.
const TIMEOUT_SECONDS: u64 = 600;
/// Bytes of a failed check's output that the model is shown: the end says what went wrong.
const SHOWN: usize = 2000;

/// How it stands with the checks of an outcome.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Checked {
    /// All succeeded.
    Passed,
    /// This is to be run.
    Due(ToolCall),
    /// One failed: why, for the model.
    Failed(String),
    /// The policy forbids one: why the run cannot end well.
    Forbidden(String),
}

/// How it stands with the checks of the last reply, or of what a search brought.
pub(crate) fn of(state: &State, spec: &RunSpec) -> Checked {
    if let Some(why) = forbidden(&spec.check, &spec.permissions, state.tool(TOOL)) {
        return Checked::Forbidden(why);
    }
    let made = state.own_since_other(Purpose::Check);
    let made: Vec<_> = made
        .iter()
        .filter(|own| own.id.reply == state.replies)
        .collect();
    if let Some(failed) = made.iter().find(|own| !passed(own)) {
        return Checked::Failed(refusal(failed));
    }
    match spec.check.get(made.len()) {
        Some(command) => Checked::Due(call(command)),
        None => Checked::Passed,
    }
}

/// How many checks failed so far; in a conversation, since its user spoke last.
pub(crate) fn failures(state: &State) -> usize {
    let since = |own: &&OwnCall| is_finished_check(own) && !state.is_overtaken(own.id.reply);
    let checks = state.own.iter().filter(since);
    checks.filter(|own| !passed(own)).count()
}

/// Why the run is over, once too many checks failed.
pub(crate) fn given_up(state: &State) -> Option<String> {
    let failed = failures(state);
    if failed < FAILURES_TO_STOP {
        return None;
    }
    let checks = state.own.iter().rev().filter(|own| is_finished_check(own));
    let last = checks.into_iter().find(|own| !passed(own))?;
    Some(format!(
        "the check failed {failed} times, the last time so: `{}`: {}",
        command(&last.call),
        in_short(last)
    ))
}

/// Why these checks can never be run, if the policy denies one.
pub fn forbidden(
    checks: &[String],
    permissions: &Permissions,
    tool: Option<&ToolSpec>,
) -> Option<String> {
    let unknown = ToolSpec::new(TOOL, String::new(), json!({}), Effect::Irreversible);
    let tool = tool.unwrap_or(&unknown);
    let denied = checks
        .iter()
        .find(|check| permissions.decide(tool, &json!({"command": check})) == Access::Deny)?;
    Some(format!(
        "the policy of this run denies its own check `{denied}`; change the rule or the check"
    ))
}

/// What the model is told with its task.
pub(crate) fn notice(checks: &[String]) -> String {
    let named: Vec<_> = checks.iter().map(|check| format!("`{check}`")).collect();
    match named.as_slice() {
        [] => String::new(),
        [one] => format!("\n\nWhen you finish, {one} is run and must succeed."),
        all => format!(
            "\n\nWhen you finish, these are run and must succeed: {}.",
            all.join(", ")
        ),
    }
}

fn call(command: &str) -> ToolCall {
    ToolCall {
        name: TOOL.to_owned(),
        args: json!({"command": command, "timeout_seconds": TIMEOUT_SECONDS}),
    }
}

fn command(call: &ToolCall) -> &str {
    let command = call.args.get("command").and_then(Value::as_str);
    command.unwrap_or_default()
}

fn is_finished_check(own: &OwnCall) -> bool {
    own.purpose == Purpose::Check && own.result.is_some()
}

fn passed(own: &OwnCall) -> bool {
    let Some(CallOutcome::Done { output }) = own.outcome() else {
        return false;
    };
    let code = output.data.as_ref().and_then(|data| data.get("exit_code"));
    code.and_then(Value::as_i64) == Some(0)
}

fn refusal(own: &OwnCall) -> String {
    let text = own.outcome().map_or("", CallOutcome::text);
    format!(
        "Not finished: the check `{}` failed. Mend what it says, then finish again.\n{}",
        command(&own.call),
        tail(text)
    )
}

/// The line that says how a check ended.
fn in_short(own: &OwnCall) -> String {
    let text = own.outcome().map_or("", CallOutcome::text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let (first, last) = (text.lines().next().unwrap_or_default(), last.unwrap_or(""));
    let short = |line: &str| line.trim().chars().take(200).collect::<String>();
    if first == last {
        return short(first);
    }
    format!("{}; … {}", short(first), short(last))
}

/// The first line, which says how it ended, and as much of the end as is shown.
fn tail(text: &str) -> String {
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let (first, rest) = text.split_once('\n').unwrap_or(("", text));
    let from = rest.ceil_char_boundary(rest.len().saturating_sub(SHOWN));
    let shown = rest.get(from..).unwrap_or_default();
    let first: String = first.chars().take(200).collect();
    format!("{first}\n…\n{shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_shown_with_how_it_ended() {
        let long = format!("exit code 1\n{}\nthe last line", "é".repeat(SHOWN));
        let shown = tail(&long);
        assert!(shown.starts_with("exit code 1\n…\n"), "{shown}");
        assert!(shown.ends_with("the last line"));
        assert!(shown.len() < SHOWN + 100, "{}", shown.len());
        assert_eq!(tail("short"), "short");
    }

    #[test]
    fn a_check_that_the_policy_denies_is_named() {
        let rule = serde_json::from_value(
            json!({"access": "deny", "tool": "run_command", "args": {"command": "cargo *"}}),
        );
        let permissions = Permissions {
            rules: vec![rule.unwrap()],
            yes: true,
        };
        let denied = |check: &str| forbidden(&[check.to_owned()], &permissions, None);
        assert!(denied("cargo test").unwrap().contains("`cargo test`"));
        assert_eq!(denied("make"), None);
    }
}
