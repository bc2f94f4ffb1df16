//! Tools that few tasks need: they are offered where the task speaks of what they do, and told with it, so
//! that all other tasks are not the longer for them.

use crate::{
    label::Label,
    model::step::blocks,
    run::{State, Turn},
    tool::ToolSpec,
};

/// What one does to a tool that is not there yet.
const MAKING: [&str; 8] = [
    "make", "makes", "create", "write", "build", "develop", "define", "forge",
];
/// Words between that and the tool, at most: "write me your own tool".
const BETWEEN: usize = 3;

/// Whether a tool may be offered in this run: all but the one that makes tools of definitions, and that one
/// where the user speaks of making a tool.
pub(crate) fn for_it(tool: &ToolSpec, state: &State) -> bool {
    !blocks::makes_tools(tool) || speaks_of_making(state)
}

/// Whether the user asked for a tool to be made.
fn speaks_of_making(state: &State) -> bool {
    let task = state.spec.iter().map(|spec| spec.task.as_str());
    let said = state.turns.iter().filter_map(|turn| match turn {
        Turn::Said {
            text,
            label: Label::User,
        } => Some(text.as_str()),
        _ => None,
    });
    task.chain(said).any(asks_for_tool)
}

/// Whether a text asks for a tool: one of the words for making, and the tool soon behind it.
fn asks_for_tool(text: &str) -> bool {
    let is_mark = |c: char| c.is_ascii_punctuation();
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.trim_matches(is_mark).to_lowercase())
        .collect();
    words.iter().enumerate().any(|(at, word)| {
        let behind = words.iter().skip(at + 1).take(BETWEEN + 1);
        MAKING.contains(&word.as_str()) && behind.into_iter().any(|one| one == "tool")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_asks_for_a_tool_is_told_from_one_that_speaks_of_tools() {
        for asks in [
            "Make a tool that converts Roman numerals and use it on MCMXCIV",
            "First write me your own tool, then count.",
            "Please create a new tool: it adds.",
        ] {
            assert!(asks_for_tool(asks), "{asks}");
        }
        for other in [
            "Run the script tools/stamp.py and write what it prints into stamp.txt.",
            "Write the names of all files in tools to tools.txt",
            "Make a list of the tools in the shed",
            "Which tool makes holes?",
            "Write down which of them is the best tool",
        ] {
            assert!(!asks_for_tool(other), "{other}");
        }
    }
}
