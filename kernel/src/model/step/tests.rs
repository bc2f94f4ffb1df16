use super::*;
use crate::{
    label::Label,
    model::{CallId, Sampling},
    tool::Effect,
};

fn tool(name: &str, input: Value) -> ToolSpec {
    ToolSpec {
        control: (name == "finish").then_some(Control::Finish),
        ..ToolSpec::new(name, format!("Does {name}."), input, Effect::Pure)
    }
}

fn text_tool(name: &str, arguments: &[&str]) -> ToolSpec {
    let members = arguments
        .iter()
        .map(|a| ((*a).to_owned(), json!({"type": "string"})));
    let members: serde_json::Map<_, _> = members.collect();
    tool(
        name,
        json!({"type": "object", "properties": members, "required": arguments}),
    )
}

fn request(messages: Vec<Message>, tools: Vec<ToolSpec>) -> Request {
    Request {
        messages,
        tools: tools.into(),
        barred: Vec::new(),
        known: Default::default(),
        sampling: Sampling::default(),
    }
}

fn called(name: &str, args: Value) -> ToolCall {
    ToolCall {
        name: name.into(),
        args,
    }
}

fn conversation() -> Vec<Message> {
    let id = |reply, index| CallId { reply, index };
    let observed = |call, name: &str, ok| Message::Tool {
        call,
        name: name.into(),
        text: format!("said by {name}"),
        ok,
        label: Label::Tool(name.into()),
    };
    vec![
        Message::System {
            text: "You are gpak.".into(),
        },
        Message::User {
            text: "Do it.".into(),
            label: Label::User,
        },
        Message::Assistant {
            thought: "Look.".into(),
            text: String::new(),
            calls: vec![
                (id(1, 0), called("list_files", json!({"path": "."}))),
                (id(1, 1), called("read_file", json!({"path": "a"}))),
            ],
            state: None,
        },
        observed(id(1, 0), "list_files", true),
        observed(id(1, 1), "read_file", false),
        Message::Assistant {
            thought: "Done.".into(),
            text: "It is done.".into(),
            calls: vec![],
            state: None,
        },
    ]
}

fn tools() -> Vec<ToolSpec> {
    vec![
        text_tool("list_files", &["path"]),
        text_tool("read_file", &["path"]),
        text_tool("finish", &["answer"]),
    ]
}

#[test]
fn a_conversation_becomes_turns_with_calls_as_steps_and_results_as_observations() {
    let turns = turns(&request(conversation(), tools()));
    let said: Vec<_> = turns
        .iter()
        .skip(1)
        .map(|t| (t.role, t.text.as_str()))
        .collect();
    let steps = format!(
        "{}\n{}",
        write("Look.", "list_files", &json!({"path": "."})),
        write("", "read_file", &json!({"path": "a"}))
    );
    let end = write("Done.", "finish", &json!({"answer": "It is done."}));
    let results = "Result of list_files:\nsaid by list_files\n\nError of read_file:\nsaid by read_file\n\
         (The task is: Do it.\nIf something that it asks for is still missing, do that next. If not, finish.)";
    assert_eq!(
        said,
        [
            (Role::User, "Do it."),
            (Role::Assistant, steps.as_str()),
            (Role::User, results),
            (Role::Assistant, end.as_str()),
        ]
    );
    assert_eq!(turns[0].role, Role::System);
    assert!(turns[0].text.starts_with("You are gpak.\n\n"));
}

#[test]
fn the_turns_of_a_request_begin_those_of_the_next() {
    let messages = conversation();
    for cut in [2, 5] {
        let shorter = turns(&request(messages[..cut].to_vec(), tools()));
        let longer = turns(&request(messages.clone(), tools()));
        assert_eq!(longer[..shorter.len()], shorter);
    }
}

#[test]
fn without_tools_nothing_is_explained_and_text_stays_text() {
    let turns = turns(&request(conversation()[..2].to_vec(), vec![]));
    assert_eq!(turns[0].text, "You are gpak.");
}

#[test]
fn instructions_name_each_tool_its_arguments_and_a_worked_example() {
    let mut tools = tools();
    tools.push(tool(
        "paint",
        json!({
            "type": "object",
            "properties": {
                "colour": {"enum": ["red", "blue"], "description": "Which."},
                "layers": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["colour"],
        }),
    ));
    let text = instructions(&tools);
    assert!(text.contains("- paint(colour: \"red\"|\"blue\", layers?: integer[]): Does paint."));
    assert!(text.contains("    colour: Which."));
    assert!(
        !text.contains("Task: "),
        "an example uses a tool that is not there"
    );
    tools.push(text_tool("write_file", &["path", "content"]));
    let text = instructions(&tools);
    assert_eq!(
        text.matches("Task: ").count(),
        1,
        "an example uses a tool that is not there"
    );
    assert!(text.contains(&write(
        "guests/list.txt must be the guest list. I read it to count the guests.",
        "read_file",
        &json!({"path": "guests/list.txt"})
    )));
}

#[test]
fn the_example_is_left_out_where_its_tools_are_missing_or_want_other_arguments() {
    assert!(!instructions(&[text_tool("get_weather", &["city"])]).contains("Task:"));
    let odd = [
        text_tool("list_files", &["path"]),
        text_tool("read_file", &["path", "encoding"]),
        text_tool("write_file", &["path", "content"]),
        text_tool("finish", &["answer"]),
    ];
    assert!(!instructions(&odd).contains("Task:"));
}

#[test]
fn a_step_is_written_and_read_back() {
    let args = json!({"path": "a \"b\"\n", "n": [1, 2.5, null], "deep": {"x": true}});
    let text = write("Because.", "read_file", &args);
    let step = parse(&text).unwrap();
    assert_eq!(step.thought, "Because.");
    assert_eq!(step.call, called("read_file", args));
    let fenced = format!("Sure!\n```json\n{text}\n```");
    assert_eq!(parse(&fenced).unwrap(), step);
}

#[test]
fn what_is_no_step_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "no JSON"),
        ("hello", "no JSON"),
        ("{\"thought\":\"x\"}", "`tool`"),
        ("{\"tool\":1,\"args\":{}}", "`tool`"),
        ("{\"tool\":\"a\"}", "`args`"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_step_that_was_cut_off_never_has_arguments_that_a_tool_takes() {
    let text = write(
        "Because it is so.",
        "write_file",
        &json!({"path": "a", "content": "x}y"}),
    );
    for cut in 0..text.len() {
        let (thought, call) = salvage(&text[..cut]);
        assert!("Because it is so.".starts_with(&thought));
        if let Some(call) = call {
            assert_eq!(call.name, "write_file");
            assert!(call.args.is_string());
        }
    }
}

fn split(text: &str, width: usize) -> (String, String) {
    let mut splitter = Splitter::default();
    let chars: Vec<char> = text.chars().collect();
    let (mut thought, mut call) = (String::new(), String::new());
    for piece in chars.chunks(width) {
        for piece in splitter.push(&piece.iter().collect::<String>()) {
            match piece {
                Piece::Thought(text) => thought.push_str(&text),
                Piece::Call(text) => call.push_str(&text),
            }
        }
    }
    (thought, call)
}

#[test]
fn a_step_is_split_alike_however_it_is_cut() {
    let args = json!({"content": "a } , \"tool\": \\ é 🦀", "list": [{}, []], "n": -1.5});
    let text = write("Tabs\tand \"quotes\" and 🦀", "write_file", &args);
    for width in [1, 2, 3, 7, 1000] {
        let (thought, call) = split(&text, width);
        assert_eq!(thought, "Tabs\tand \"quotes\" and 🦀");
        assert_eq!(call, format!("write_file {args}"));
    }
}

#[test]
fn escapes_of_any_kind_are_undone() {
    let text = r#" { "other" : [1,"}"] , "thought" : "\u00e9\ud83e\udd80\n\/" , "tool" : "x" }"#;
    let mut splitter = Splitter::default();
    splitter.push(text);
    assert_eq!(splitter.thought(), "é🦀\n/");
    assert_eq!(splitter.tool(), Some("x"));
}

fn args_schema(input: Value) -> Value {
    sanitise::arguments(&input)
}

#[test]
fn a_plain_schema_is_kept_and_closed() {
    let clean = args_schema(json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "where", "minLength": 1},
            "n": {"type": "integer", "minimum": 0, "default": 3},
        },
        "required": ["path"],
    }));
    assert_eq!(
        clean,
        json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "minLength": 1},
                "n": {"type": "integer", "minimum": 0},
            },
            "required": ["path"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn types_of_other_languages_are_translated() {
    let clean = args_schema(json!({
        "type": "dict",
        "properties": {
            "a": {"type": "float"},
            "b": {"type": "tuple", "items": {"type": "int"}},
            "c": {"type": "any"},
            "d": {"type": "HashMap"},
            "e": {"type": "ArrayList<String>"},
            "f": {"type": "Boolean"},
            "g": {"type": ["string", "null"]},
        },
        "required": ["a", "gone"],
    }));
    assert_eq!(
        clean["properties"],
        json!({
            "a": {"type": "number"},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {},
            "d": {"type": "object"},
            "e": {"type": "array"},
            "f": {"type": "boolean"},
            "g": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        })
    );
    assert_eq!(clean["required"], json!(["a"]));
}

#[test]
fn values_that_contradict_their_type_are_not_demanded() {
    let clean = args_schema(json!({
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "enum": ["x", "y"]},
            "b": {"type": "string", "enum": ["x", 1]},
            "c": {"type": "string", "minLength": 5, "maxLength": 2},
            "d": {"type": "number", "minimum": 5, "maximum": 2},
        },
    }));
    assert_eq!(
        clean["properties"],
        json!({
            "a": {"type": "array", "items": {"type": "string"}},
            "b": {"enum": ["x"]},
            "c": {"type": "string"},
            "d": {"type": "number"},
        })
    );
}

#[test]
fn references_are_followed_and_circles_end() {
    let clean = args_schema(json!({
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "type": "object",
        "properties": {"first": {"$ref": "#/$defs/node"}, "lost": {"$ref": "#/nowhere"}},
    }));
    assert_eq!(clean["properties"]["lost"], json!({}));
    let first = &clean["properties"]["first"];
    assert_eq!(first["properties"]["next"]["type"], "object");
}

#[test]
fn a_schema_that_is_none_takes_any_object() {
    for odd in [
        json!(null),
        json!(true),
        json!("x"),
        json!({}),
        json!({"type": "string"}),
        json!([]),
    ] {
        assert_eq!(args_schema(odd), json!({"type": "object"}));
    }
    let nothing = args_schema(json!({"type": "object", "properties": {}}));
    assert_eq!(nothing["additionalProperties"], false);
}
