use serde_json::json;

use super::*;
use crate::{
    model::{CallId, Sampling, step::Piece},
    tool::Effect,
};

#[cfg(feature = "embedded")]
mod grammar;

fn tool(name: &str, input: Value, control: Option<Control>) -> ToolSpec {
    ToolSpec {
        control,
        ..ToolSpec::new(name, format!("What {name} does."), input, Effect::Pure)
    }
}

fn takes(argument: &str, media: Option<&str>) -> Value {
    let mut schema = json!({"type": "string"});
    if let Some(media) = media {
        schema["contentMediaType"] = media.into();
    }
    json!({"type": "object", "properties": {argument: schema}, "required": [argument]})
}

fn tools() -> Vec<ToolSpec> {
    vec![
        tool("run_script", takes("script", Some("text/javascript")), None),
        tool(
            "run_command",
            takes("command", Some("application/x-sh")),
            None,
        ),
        tool("ask_user", takes("question", None), Some(Control::Ask)),
        tool("finish", takes("answer", None), Some(Control::Finish)),
    ]
}

fn blocks() -> Blocks {
    Blocks::of(&tools()).unwrap()
}

fn request(messages: Vec<Message>) -> Request {
    Request {
        messages,
        tools: tools().into(),
        barred: Vec::new(),
        known: Default::default(),
        sampling: Sampling::default(),
    }
}

#[test]
fn only_tools_that_take_a_program_make_blocks_of_steps() {
    let plain = [tool("finish", takes("answer", None), Some(Control::Finish))];
    assert_eq!(Blocks::of(&plain), None);
    let commands = &tools()[1..];
    assert_eq!(Blocks::of(commands), None, "a shell alone is no program");
}

#[test]
fn each_kind_of_reply_is_read_as_its_call_and_written_as_it_was() {
    let blocks = blocks();
    let replies = [
        (
            "I count.\n```js\nprint(`a` + 1)\n```",
            "I count.",
            "run_script",
            json!({"script": "print(`a` + 1)"}),
        ),
        (
            "I look.\n```sh\nls\n```",
            "I look.",
            "run_command",
            json!({"command": "ls"}),
        ),
        (
            "It is not clear.\n```call\n{\"tool\":\"ask_user\",\"args\":{\"question\":\"Which?\"}}\n```",
            "It is not clear.",
            "ask_user",
            json!({"question": "Which?"}),
        ),
        (
            "Done.\nANSWER: There are 3.\nAll red.",
            "Done.",
            "finish",
            json!({"answer": "There are 3.\nAll red."}),
        ),
    ];
    for (text, thought, name, args) in replies {
        let step = parse(&blocks, text).unwrap();
        assert_eq!(step.thought, thought);
        assert_eq!((step.call.name.as_str(), &step.call.args), (name, &args));
        let written = blocks.wrote(&step.thought, "", std::iter::once(&step.call));
        assert_eq!(written, text, "the next request has it as it was written");
    }
}

#[test]
fn what_is_no_reply_is_told_and_what_was_cut_off_is_no_valid_call() {
    let blocks = blocks();
    assert!(parse(&blocks, "I do nothing.").is_err());
    assert!(parse(&blocks, "So.\n```call\n{\"tool\":\n```").is_err());
    let (thought, call) = salvage(&blocks, "I count.\n```js\nprint(1");
    assert_eq!(thought, "I count.");
    let call = call.unwrap();
    assert_eq!(call.name, "run_script");
    assert_eq!(call.args, json!("print(1"), "no schema takes it");
    assert_eq!(salvage(&blocks, "I cou").1, None);
}

#[test]
fn a_reply_is_split_the_same_however_it_comes() {
    let text = "I add `a` to b.\n```js\nprint(\"x\")\n```";
    let whole = |step: usize| {
        let mut splitter = BlockSplitter::default();
        let (mut thought, mut call) = (String::new(), String::new());
        let chars: Vec<char> = text.chars().collect();
        for part in chars.chunks(step) {
            for piece in splitter.push(&part.iter().collect::<String>()) {
                match piece {
                    Piece::Thought(text) => thought.push_str(&text),
                    Piece::Call(text) => call.push_str(&text),
                }
            }
        }
        (thought, call)
    };
    let expected = (
        "I add `a` to b.".to_owned(),
        "```js\nprint(\"x\")\n```".to_owned(),
    );
    for step in [1, 2, 3, 7, 100] {
        assert_eq!(whole(step), expected, "in parts of {step}");
    }
}

#[test]
fn the_turns_of_a_run_begin_as_those_of_every_run_and_keep_what_was_said() {
    let blocks = blocks();
    let id = CallId { reply: 1, index: 0 };
    let call = ToolCall {
        name: "run_script".into(),
        args: json!({"script": "print(7)"}),
    };
    let begin = vec![
        Message::System {
            text: "Be brief.".into(),
        },
        Message::User {
            text: "Print it.".into(),
            label: Label::User,
        },
        Message::User {
            text: "Files of the folder:\na.txt".into(),
            label: Label::Repo,
        },
    ];
    let (first, stable) = blocks.turns(&request(begin.clone()));
    assert_eq!(first.len(), stable + 1, "task and files are one turn");
    assert_eq!(
        first[stable].text,
        "Print it.\n\nFiles of the folder:\na.txt"
    );

    let mut then = begin;
    then.push(Message::Assistant {
        thought: "I print.".into(),
        text: String::new(),
        calls: vec![(id, call)],
        state: None,
    });
    then.push(Message::Tool {
        call: id,
        name: "run_script".into(),
        text: "7".into(),
        ok: true,
        label: Label::Own,
    });
    let (second, _) = blocks.turns(&request(then));
    assert_eq!(second[..first.len()], first[..], "a prefix, for the cache");
    assert_eq!(second[stable + 1].text, "I print.\n```js\nprint(7)\n```");
    assert_eq!(
        second[stable + 2].text,
        "Output:\n7\n\n(The task is: Print it.)"
    );
}

#[test]
fn a_barred_tool_has_no_block_in_the_grammar() {
    let choices: Vec<ToolSpec> = tools()
        .into_iter()
        .filter(|tool| tool.name != "finish" && tool.name != "run_command")
        .collect();
    let grammar = blocks().among(&choices).grammar();
    assert!(grammar.contains("js_block") && grammar.contains("call_block"));
    assert!(!grammar.contains("answer:") && !grammar.contains("sh_block"));
}

/// The tools of a run that was asked for a tool and has made one.
fn with_late() -> Vec<ToolSpec> {
    let mut definition = takes("definition", Some(DEFINITION));
    definition["properties"]["definition"]["pattern"] = r"^// [a-z]+\n\}$".into();
    let mut tools = tools();
    tools.push(tool("clock_time", takes("time", None), None));
    tools.push(tool("make_tool", definition, None));
    tools
}

#[test]
fn tools_behind_the_one_that_ends_a_run_are_told_with_the_task() {
    let late = Blocks::of(&with_late()).unwrap();
    let asked = || {
        let mut request = request(vec![Message::User {
            text: "Make a tool.".into(),
            label: Label::User,
        }]);
        request.tools = with_late().into();
        request
    };
    let (turns, stable) = late.turns(&asked());
    let (plain, same) = blocks().turns(&asked());
    assert_eq!(stable, same);
    assert_eq!(
        turns[..stable],
        plain[..stable],
        "what every run begins with"
    );
    let task = &turns.last().unwrap().text;
    assert!(task.ends_with("\n\nMake a tool."), "{task}");
    for told in [
        "- ```tool … ```: What make_tool does.",
        "- clock_time(time: string)",
    ] {
        assert!(task.contains(told), "{task}");
    }
    let making = turns
        .iter()
        .filter(|turn| turn.text.contains("```tool\n// "));
    assert_eq!(making.count(), 1, "one example of it");
    assert!(late.size() > blocks().size());
}

#[test]
fn a_program_with_a_pattern_is_held_to_it_and_read_as_any_other() {
    let blocks = Blocks::of(&with_late()).unwrap();
    let grammar = blocks.grammar();
    let held = r"tool_text[lazy]: /\/\/ [a-z]+\n\}\n```/";
    assert!(grammar.contains(held), "{grammar}");
    let text = "I make it.\n```tool\n// doubles\n}\n```";
    let step = parse(&blocks, text).unwrap();
    assert_eq!(step.call.name, "make_tool");
    assert_eq!(step.call.args, json!({"definition": "// doubles\n}"}));
    assert!(is_script(&with_late(), &step.call));
    let written = blocks.wrote(&step.thought, "", std::iter::once(&step.call));
    assert_eq!(written, text);
}
