//! What can be typed in a conversation: messages, and commands that begin with `/`.

use gpak_kernel::event::Strategy;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A message to the model.
    Message(String),
    /// Something for gpak itself.
    Command(Command),
    /// A blank line.
    Nothing,
}

/// Something for gpak itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Go on with another model, or say which there are.
    Model(Option<String>),
    /// Work in another way, or say in which.
    Strategy(Option<String>),
    /// Show the plan.
    Plan,
    /// Undo the last message's changes, or all.
    Undo {
        /// All of the conversation's.
        all: bool,
    },
    /// Go on in a copy, so that this one can be gone back to.
    Fork,
    /// Say what was used up.
    Cost,
    /// Leave older results out of what the model is shown.
    Compact,
    /// List what the model can call.
    Tools,
    /// Go on without a new message.
    Continue,
    /// List these.
    Help,
    /// Leave.
    Quit,
}

/// Each command, as it is typed, and what it does.
const HELP: [(&str, &str); 11] = [
    (
        "/model [NAME]",
        "go on with another model; without a name, say which there are",
    ),
    (
        "/strategy [NAME]",
        "work in another way; without a name, say in which",
    ),
    ("/plan", "show the model's plan"),
    (
        "/undo [all]",
        "put back what the last message changed, or all messages",
    ),
    ("/fork", "go on in a copy; this conversation stays as it is"),
    ("/cost", "what was used up so far"),
    (
        "/compact",
        "leave older results out of what the model is shown",
    ),
    ("/tools", "what the model can call"),
    (
        "/continue",
        "go on without a new message, where it was stopped or ran out of budget",
    ),
    ("/help", "this list"),
    ("/quit", "leave; `gpak chat --resume` comes back"),
];

/// Reads a line. Err says what there is.
pub fn parse(line: &str) -> Result<Typed, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Typed::Nothing);
    }
    let Some(rest) = line.strip_prefix('/') else {
        return Ok(Typed::Message(line.to_owned()));
    };
    let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    // A path at the beginning of a message is no command.
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphabetic()) {
        return Ok(Typed::Message(line.to_owned()));
    }
    let argument = Some(argument.trim()).filter(|argument| !argument.is_empty());
    command(name, argument).map(Typed::Command)
}

fn command(name: &str, argument: Option<&str>) -> Result<Command, String> {
    let bare = |command| match argument {
        None => Ok(command),
        Some(argument) => Err(format!("/{name} takes nothing, not `{argument}`")),
    };
    let named = argument.map(str::to_owned);
    match name {
        "model" => Ok(Command::Model(named)),
        "strategy" => Ok(Command::Strategy(named)),
        "undo" => match argument {
            None => Ok(Command::Undo { all: false }),
            Some("all") => Ok(Command::Undo { all: true }),
            Some(other) => Err(format!("/undo takes nothing or `all`, not `{other}`")),
        },
        "plan" => bare(Command::Plan),
        "fork" => bare(Command::Fork),
        "cost" => bare(Command::Cost),
        "compact" => bare(Command::Compact),
        "tools" => bare(Command::Tools),
        "continue" => bare(Command::Continue),
        "help" => bare(Command::Help),
        "quit" | "exit" => bare(Command::Quit),
        _ => Err(format!("there is no /{name}; /help lists what there is")),
    }
}

/// The commands, for people.
pub fn help() -> String {
    let lines = HELP
        .iter()
        .map(|(typed, does)| format!("  {typed:18} {does}"));
    let keys = [
        "  Alt-Enter or a \\ at the end of a line begins a new line; ↑ brings back what was typed before.",
        "  Ctrl-C stops the step, twice the conversation; Ctrl-D leaves.",
    ];
    lines
        .chain(keys.map(str::to_owned))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The strategy of that name, of whatever strategies there are.
pub fn strategy(name: &str) -> Result<Strategy, String> {
    let name = serde_json::Value::from(name.to_lowercase());
    serde_json::from_value(name).map_err(|why| format!("{why}").replace("variant", "strategy"))
}

/// The name of a strategy.
pub fn strategy_name(strategy: Strategy) -> String {
    let name = serde_json::to_value(strategy).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_or_a_command() {
        let message = |text: &str| Ok(Typed::Message(text.to_owned()));
        let does = |command| Ok(Typed::Command(command));
        for (line, typed) in [
            ("", Ok(Typed::Nothing)),
            (" \n", Ok(Typed::Nothing)),
            ("hello\nthere", message("hello\nthere")),
            ("/etc/hosts holds what?", message("/etc/hosts holds what?")),
            ("/ alone", message("/ alone")),
            ("/help", does(Command::Help)),
            (" /quit ", does(Command::Quit)),
            ("/undo", does(Command::Undo { all: false })),
            ("/undo all", does(Command::Undo { all: true })),
            ("/model", does(Command::Model(None))),
            (
                "/model ollama/a:1b",
                does(Command::Model(Some("ollama/a:1b".into()))),
            ),
            (
                "/strategy explore",
                does(Command::Strategy(Some("explore".into()))),
            ),
        ] {
            assert_eq!(parse(line), typed, "{line:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_said_with_what_there_is() {
        for (line, part) in [
            ("/frobnicate", "/help lists"),
            ("/undo some", "nothing or `all`"),
            ("/plan it", "takes nothing"),
        ] {
            assert!(parse(line).unwrap_err().contains(part), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        for (typed, _) in HELP {
            let name = typed.split_whitespace().next().unwrap();
            assert!(matches!(parse(name), Ok(Typed::Command(_))), "{name}");
            assert!(help().contains(typed));
        }
    }

    #[test]
    fn strategies_are_known_by_the_names_they_have_in_the_journal() {
        assert_eq!(strategy("explore"), Ok(Strategy::Explore));
        assert_eq!(
            strategy(&strategy_name(Strategy::React)),
            Ok(Strategy::React)
        );
        let why = strategy("hope").unwrap_err();
        assert!(why.contains("`hope`") && why.contains("`react`"), "{why}");
    }
}
