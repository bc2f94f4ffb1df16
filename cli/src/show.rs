//! What people see of a run.

pub mod live;
pub mod tree;

use std::{io::IsTerminal, time::Duration};

use gpak_kernel::{event::Strategy, memory::Hit, model::ToolCall, policy::Spent};
use serde_json::Value;

/// A call in a line: the tool and what tells it apart.
pub fn call(call: &ToolCall) -> String {
    const SHOWN: usize = 72;
    let args = match &call.args {
        Value::Object(args) => {
            let mut shown: Vec<_> = args.iter().map(|(_, value)| argument(value)).collect();
            shown.retain(|value| !value.is_empty());
            shown.join(" ")
        }
        other => other.to_string(),
    };
    format!("{} {}", call.name, shorten(&args, SHOWN))
        .trim_end()
        .to_owned()
}

fn argument(value: &Value) -> String {
    match value {
        Value::String(text) => one_line(text),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What was recalled, a line each; or why nothing could be.
pub fn recalled(hits: &[Hit], failed: Option<&str>, width: usize) -> Vec<String> {
    let line = |hit: &Hit| {
        let day = hit.episode.at.strftime("%F");
        let text = outcome(&plain(&hit.episode.text), width);
        format!("  remembers {day}: {text}")
    };
    let failed = failed.map(|why| format!("  cannot remember: {}", outcome(why, width)));
    hits.iter().map(line).chain(failed).collect()
}

/// The name of a strategy.
pub fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Direct => "direct",
        Strategy::React => "react",
        Strategy::Explore => "explore",
        Strategy::Plan => "plan",
        Strategy::Search => "search",
    }
}

/// The first line of what is not blank, and how many more there are.
pub fn outcome(text: &str, width: usize) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = shorten(lines.next().unwrap_or("(nothing)").trim(), width);
    match lines.count() {
        0 => first,
        more => format!("{first} (+{})", counted(more as u64, "line")),
    }
}

/// At most so many characters.
pub fn shorten(text: &str, width: usize) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(width).collect();
    if chars.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Without what could move the cursor or colour the screen: text that came from elsewhere.
pub fn plain(text: &str) -> String {
    let is_harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_harmless).collect()
}

/// Whether standard error takes colour.
pub fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// In that colour (an SGR parameter), where there is colour.
pub fn tinted(text: &str, tint: &str, colour: bool) -> String {
    if colour {
        format!("\x1b[{tint}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// White space, line ends included, as single spaces.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `6 steps · 12.3k tokens · 41 s`, and the cost where there is one.
pub fn spent(spent: &Spent) -> String {
    let mut parts = vec![
        counted(u64::from(spent.steps), "step"),
        format!("{} tokens", thousands(spent.tokens)),
        seconds(Duration::from_millis(spent.wall_ms)),
    ];
    if spent.cost > 0.0 {
        parts.push(format!("${:.4}", spent.cost));
    }
    parts.join(" · ")
}

/// `1 step`, `2 steps`.
pub fn counted(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {what}{s}")
}

/// `950`, `12.3k`.
pub fn thousands(number: u64) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{:.1}k", number as f64 / 1000.0)
    }
}

/// `0.4 s`, `41 s`, `3 min 5 s`.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        whole @ 10..60 => format!("{whole} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_one_line_of_what_tells_it_apart() {
        let shown = |args| {
            call(&ToolCall {
                name: "edit_file".into(),
                args,
            })
        };
        let args = json!({"path": "a.rs", "old": "x\n  y", "n": 3, "none": null});
        assert_eq!(shown(args), "edit_file a.rs x y 3");
        assert_eq!(shown(json!("not json")), "edit_file \"not json\"");
        assert_eq!(shown(json!({})), "edit_file");
    }

    #[test]
    fn an_outcome_is_its_first_line_and_how_many_more_there_are() {
        assert_eq!(outcome("\n a\nb\n\nc\n", 20), "a (+2 lines)");
        assert_eq!(outcome("", 20), "(nothing)");
        assert_eq!(outcome("abcdef", 4), "abc…");
    }
}
