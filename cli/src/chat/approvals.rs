//! How a call is approved: what is shown, what can be answered, and a rule for next time.

use std::{fs, io::Write, path::Path};

use gpak_kernel::{
    event::Decision,
    model::ToolCall,
    policy::{Access, Permissions, Rule},
    tool::{Call, ToolSpec},
};
use serde_json::Value;

use crate::{args, failure::Failure, failure::file, settings, show};

/// What is asked.
pub const QUESTION: &str =
    "Do it? [o]nce, for this [r]un, [a]lways for a pattern, [n]o, or say what to do instead: ";
/// What is asked of a call that was under way when gpak died.
pub const IN_DOUBT: &str = "Was it done? [d]one, [r]un it again, [n]either: ";

/// What somebody answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// This decides.
    Decided(Decision, String),
    /// A rule is to decide, now and later.
    Always,
}

/// Reads an answer to [`QUESTION`]. A sentence is a no with what to do instead.
pub fn leave(line: &str) -> Option<Leave> {
    let decided = |decision| Some(Leave::Decided(decision, String::new()));
    match line.trim().to_lowercase().as_str() {
        "" => None,
        "o" | "once" | "y" | "yes" => decided(Decision::Allow),
        "r" | "run" => decided(Decision::AllowForRun),
        "a" | "always" => Some(Leave::Always),
        "n" | "no" => decided(Decision::Deny),
        _ => Some(Leave::Decided(Decision::Deny, line.trim().to_owned())),
    }
}

/// Reads an answer to [`IN_DOUBT`].
pub fn in_doubt(line: &str) -> Option<Leave> {
    let decided = |decision| Some(Leave::Decided(decision, String::new()));
    match line.trim().to_lowercase().as_str() {
        "" => None,
        "d" | "done" => decided(Decision::WasDone),
        "r" | "run" => decided(Decision::Allow),
        "n" | "neither" => decided(Decision::Deny),
        _ => Some(Leave::Decided(Decision::Deny, line.trim().to_owned())),
    }
}

/// The call, what it would change, and why it is asked for. Nothing in it can move the cursor.
pub fn shown(call: &Call, preview: Option<&str>, reason: &str, colour: bool) -> String {
    let call = ToolCall {
        name: call.name.clone(),
        args: call.args.clone(),
    };
    let mut lines = vec![format!("◆ {}", show::plain(&show::call(&call)))];
    lines.extend(preview.unwrap_or_default().lines().map(|line| {
        let line = show::plain(line);
        let tint = match line.chars().next() {
            Some('+') => "32",
            Some('-') => "31",
            Some('@') => "36",
            _ => return line,
        };
        show::tinted(&line, tint, colour)
    }));
    lines.push(format!("{reason}."));
    lines.join("\n")
}

/// A pattern that allows calls like this one, in the words of `--allow`: the same program, the same
/// folder.
pub fn suggestion(call: &Call) -> String {
    let text = |name: &str| call.args.get(name).and_then(Value::as_str);
    let pattern = |name: &str, value: &str| format!("{}:{name}={value}", call.name);
    if let Some(command) = text("command") {
        return match command.split_once(char::is_whitespace) {
            Some((program, _)) => pattern("command", &format!("{program} *")),
            None => pattern("command", command),
        };
    }
    for name in ["path", "from"] {
        if let Some(path) = text(name) {
            return match path.rsplit_once('/') {
                Some((folder, _)) => pattern(name, &format!("{folder}/*")),
                None => pattern(name, path),
            };
        }
    }
    call.name.clone()
}

/// The rule in a pattern, if it allows this very call. Err says what is wrong with it.
pub fn rule(pattern: &str, call: &Call, tool: &ToolSpec) -> Result<Rule, String> {
    let rule = args::allow(pattern.trim())?;
    let alone = Permissions {
        rules: vec![rule.clone()],
        yes: false,
    };
    // Calls that need no approval would be allowed without it.
    let mut asked = tool.clone();
    asked.effect = gpak_kernel::tool::Effect::Irreversible;
    if alone.decide(&asked, &call.args) == Access::Allow {
        Ok(rule)
    } else {
        Err(format!(
            "`{pattern}` does not match this call; `*` stands for any text within one command"
        ))
    }
}

/// Appends a rule to the user's own settings. The workspace's never get one: a repository could bring it.
pub fn remember(config: &Path, rule: &Rule) -> Result<(), Failure> {
    let before = match fs::read_to_string(config) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(why) => return Err(file(config)(why)),
    };
    let added = written(rule)?;
    let gap = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let added = format!("{gap}\n{added}");
    settings::check(&format!("{before}{added}")).map_err(|why| {
        Failure::new(format!(
            "the rule cannot be added to {}: {why}",
            config.display()
        ))
        .help(format!("add it yourself:\n{added}"))
    })?;
    if let Some(folder) = config.parent() {
        fs::create_dir_all(folder).map_err(file(folder))?;
    }
    let open = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(config);
    open.and_then(|mut out| {
        out.write_all(added.as_bytes())?;
        out.sync_all()
    })
    .map_err(file(config))
}

/// The rule as it stands in a settings file.
fn written(rule: &Rule) -> Result<String, Failure> {
    #[derive(serde::Serialize)]
    struct Added<'a> {
        permission: [&'a Rule; 1],
    }
    let permission = [rule];
    toml::to_string(&Added { permission })
        .map_err(|why| Failure::new(format!("the rule cannot be written: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpak_kernel::{model::CallId, tool::Effect};
    use serde_json::json;

    fn call(name: &str, args: Value) -> Call {
        Call {
            id: CallId { reply: 1, index: 0 },
            name: name.into(),
            args,
            attempt: 1,
        }
    }

    fn tool(name: &str) -> ToolSpec {
        ToolSpec {
            resumable: true,
            ..ToolSpec::new(name, String::new(), json!({}), Effect::Reversible)
        }
    }

    #[test]
    fn an_answer_decides_or_is_what_to_do_instead() {
        let decided = |decision, note: &str| Some(Leave::Decided(decision, note.to_owned()));
        for (line, is) in [
            ("", None),
            ("o", decided(Decision::Allow, "")),
            ("YES", decided(Decision::Allow, "")),
            ("r", decided(Decision::AllowForRun, "")),
            ("a", Some(Leave::Always)),
            ("n", decided(Decision::Deny, "")),
            (
                "put it in b.txt",
                decided(Decision::Deny, "put it in b.txt"),
            ),
        ] {
            assert_eq!(leave(line), is, "{line:?}");
        }
        assert_eq!(in_doubt("d"), decided(Decision::WasDone, ""));
        assert_eq!(in_doubt("r"), decided(Decision::Allow, ""));
    }

    #[test]
    fn a_suggested_pattern_allows_the_call_and_its_like_and_no_other() {
        let cases = [
            (
                "run_command",
                json!({"command": "cargo test -q"}),
                "run_command:command=cargo *",
            ),
            (
                "run_command",
                json!({"command": "make"}),
                "run_command:command=make",
            ),
            (
                "write_file",
                json!({"path": "src/a.rs", "content": "x"}),
                "write_file:path=src/*",
            ),
            (
                "delete_file",
                json!({"path": "a.rs"}),
                "delete_file:path=a.rs",
            ),
            (
                "move_file",
                json!({"from": "d/a", "to": "b"}),
                "move_file:from=d/*",
            ),
            ("other", json!({"x": 1}), "other"),
        ];
        for (name, args, pattern) in cases {
            let call = call(name, args);
            assert_eq!(suggestion(&call), pattern);
            let made = rule(pattern, &call, &tool(name)).unwrap();
            assert_eq!(made.access, Access::Allow);
        }
        let cargo = call("run_command", json!({"command": "cargo test; curl x"}));
        for wrong in [
            "run_command:command=cargo *",
            "run_command:command=make",
            "write_file",
            "run_command:path=a",
        ] {
            let why = rule(wrong, &cargo, &tool("run_command")).unwrap_err();
            assert!(why.contains("does not match"), "{why}");
        }
        assert!(rule("run_command:command", &cargo, &tool("run_command")).is_err());
    }

    #[test]
    fn a_rule_is_appended_and_nothing_else_of_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config/config.toml");
        let write = call("write_file", json!({"path": "a \"b\"/c", "content": ""}));
        let made = rule(&suggestion(&write), &write, &tool("write_file")).unwrap();
        remember(&config, &made).unwrap();
        let before = "# mine\nmodel = \"a/b\"\n[budget]\nsteps = 3";
        fs::write(&config, before).unwrap();
        remember(&config, &made).unwrap();
        remember(&config, &made).unwrap();
        let after = fs::read_to_string(&config).unwrap();
        assert!(after.starts_with(before), "{after}");
        assert_eq!(after.matches("[[permission]]").count(), 2, "{after}");
        settings::check(&after).unwrap();

        let closed = "permission = [{ access = \"deny\", tool = \"x\" }]\n";
        fs::write(&config, closed).unwrap();
        let why = remember(&config, &made).unwrap_err();
        assert!(why.to_string().contains("cannot be added"), "{why}");
        assert_eq!(fs::read_to_string(&config).unwrap(), closed);
    }

    #[test]
    fn a_preview_cannot_move_the_cursor() {
        let write = call("write_file", json!({"path": "a\u{1b}[2J"}));
        let shown = shown(
            &write,
            Some("--- a\n+++ b\n+x\u{1b}[1A\u{7}y\n"),
            "it changes files",
            false,
        );
        assert_eq!(
            shown,
            "◆ write_file a[2J\n--- a\n+++ b\n+x[1Ay\nit changes files."
        );
    }
}
