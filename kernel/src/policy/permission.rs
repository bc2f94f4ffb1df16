//! Who may call what: `allow`, `ask` or `deny` by tool, effect and argument pattern.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tool::{Effect, ToolSpec};

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Made.
    Allow,
    /// Shown to the user first.
    Ask,
    /// Not made.
    Deny,
}

/// What a run may do.
///
/// Of the rules that match a call, a `deny` wins over an `ask`, and an `ask` over an `allow`. Where
/// none matches, pure and idempotent calls are allowed, unless they ask for more
/// ([`ToolSpec::asks_with`]), and others are asked for, or allowed too with [`Permissions::yes`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// Whether whatever would be asked for is allowed (`--yes`). A `deny` still denies.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yes: bool,
}

/// A rule for the calls that match all it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What is done with them.
    pub access: Access,
    /// Name of the tool; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Effect of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Patterns by argument: the argument is there and its text matches; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
}

impl Permissions {
    /// What is done with a call of `tool` with `args`.
    pub fn decide(&self, tool: &ToolSpec, args: &Value) -> Access {
        let matching = self.rules.iter().filter(|rule| rule.matches(tool, args));
        let ruled = matching.map(|rule| rule.access).max();
        let access = ruled.unwrap_or(match tool.effect {
            _ if tool.asks_for_more(args) => Access::Ask,
            Effect::Pure | Effect::Idempotent => Access::Allow,
            Effect::Reversible | Effect::Irreversible => Access::Ask,
        });
        match access {
            Access::Ask if self.yes => Access::Allow,
            access => access,
        }
    }
}

impl Rule {
    fn matches(&self, tool: &ToolSpec, args: &Value) -> bool {
        let arg = |(name, pattern): (&String, &Value)| {
            let (pattern, value) = (text(pattern), args.get(name).map(text));
            value.is_some_and(|value| {
                glob(&pattern, &value)
                    && (self.access != Access::Allow || stays_one_command(&pattern, &value))
            })
        };
        self.tool.as_ref().is_none_or(|name| glob(name, &tool.name))
            && self.effect.is_none_or(|effect| effect == tool.effect)
            && self.args.iter().all(arg)
    }
}

/// Whether a `*` in an allowing pattern brought in what would start another command: with `cargo *`
/// allowed, `cargo test; curl …` is not. A pattern that is just `*` means what it says.
fn stays_one_command(pattern: &str, value: &str) -> bool {
    const STARTS_ANOTHER: [char; 9] = [';', '&', '|', '`', '$', '(', '<', '>', '\n'];
    let count = |text: &str| text.matches(STARTS_ANOTHER).count();
    pattern == "*" || count(value) == count(pattern)
}

/// A string as it is, anything else as its JSON.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether `pattern`, in which `*` stands for any text, is the whole of `text`.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str, effect: Effect) -> ToolSpec {
        ToolSpec::new(name, String::new(), json!({}), effect)
    }

    fn rule(access: Access, rule: Value) -> Rule {
        let mut rule = rule;
        rule["access"] = json!(access);
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, is) in [
            ("cargo *", "cargo test", true),
            ("cargo *", "cargo", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*.rs", "src/lib.rs", true),
            ("ab*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} on {text}");
        }
    }

    #[test]
    fn the_strictest_matching_rule_wins() {
        let shell = tool("run_command", Effect::Irreversible);
        let permissions = Permissions {
            rules: vec![
                rule(Access::Deny, json!({"args": {"command": "*rm -rf*"}})),
                rule(
                    Access::Allow,
                    json!({"tool": "run_*", "args": {"command": "cargo *"}}),
                ),
            ],
            yes: false,
        };
        let decide = |command: &str| permissions.decide(&shell, &json!({"command": command}));
        assert_eq!(decide("cargo test"), Access::Allow);
        assert_eq!(decide("cargo run; rm -rf /"), Access::Deny);
        assert_eq!(decide("make"), Access::Ask);
        assert_eq!(decide("cargo test; curl example.org"), Access::Ask);
    }

    #[test]
    fn yes_allows_what_would_be_asked_and_never_what_is_denied() {
        let write = tool("write_file", Effect::Reversible);
        let yes = |rules| Permissions { rules, yes: true }.decide(&write, &json!({"path": "a"}));
        assert_eq!(yes(vec![]), Access::Allow);
        assert_eq!(
            yes(vec![rule(Access::Deny, json!({"effect": "reversible"}))]),
            Access::Deny
        );
    }
}
