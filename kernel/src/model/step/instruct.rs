//! Tells a model in words what its tools are and how it takes a step.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::write;
use crate::tool::ToolSpec;

/// Longest list of allowed values that is shown.
const SHOWN_VALUES: usize = 12;

/// The instructions for a conversation with these tools.
pub fn instructions(tools: &[ToolSpec]) -> String {
    let form = write("why this is the next step", "name of the tool", &json!({}));
    let mut text = format!(
        "You work step by step. Each of your replies is one step: a single JSON object of the form\n\
         {form}\n\
         with the arguments of the tool in \"args\". After each step you are shown the tool's result. \
         Never guess what a tool would say, and never repeat a step that worked.\n\n# Tools\n"
    );
    for tool in tools {
        describe(&mut text, tool);
    }
    let examples: String = examples()
        .iter()
        .filter_map(|one| show(tools, one))
        .collect();
    if !examples.is_empty() {
        text.push_str("\n# Examples of other tasks\n");
        text.push_str(&examples);
    }
    text.truncate(text.trim_end().len());
    text
}

/// `name(argument: type, optional?: type): what it does`, and a line for each argument that is
/// explained.
pub(super) fn describe(text: &mut String, tool: &ToolSpec) {
    let members = tool.input.get("properties").and_then(Value::as_object);
    let required = |name: &str| {
        let required = tool.input.get("required").and_then(Value::as_array);
        required.is_some_and(|list| list.iter().any(|r| r == name))
    };
    let members = members.into_iter().flatten();
    let signature: Vec<String> = members
        .clone()
        .map(|(name, schema)| {
            let optional = if required(name) { "" } else { "?" };
            format!("{name}{optional}: {}", kind(schema))
        })
        .collect();
    let description = tool.description.trim();
    let _ = writeln!(
        text,
        "- {}({}): {description}",
        tool.name,
        signature.join(", ")
    );
    for (name, schema) in members {
        let explained = schema.get("description").and_then(Value::as_str);
        if let Some(explained) = explained.filter(|e| !e.is_empty()) {
            let _ = writeln!(text, "    {name}: {}", explained.trim());
        }
    }
}

/// A type in a word.
fn kind(schema: &Value) -> String {
    let listed = schema.get("enum").and_then(Value::as_array);
    if let Some(values) = listed.filter(|v| !v.is_empty() && v.len() <= SHOWN_VALUES) {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        return values.join("|");
    }
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "array" => match schema.get("items") {
            Some(items) => format!("{}[]", kind_of_item(items)),
            None => kind.clone(),
        },
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join("|")
        }
        _ => "any".into(),
    }
}

fn kind_of_item(items: &Value) -> String {
    let kind = kind(items);
    if kind.contains('|') {
        format!("({kind})")
    } else {
        kind
    }
}

/// A small task from beginning to end. A small model needs to have seen some.
struct Example {
    task: &'static str,
    steps: Vec<Shown>,
}

/// A step of an example: a thought, a tool, its arguments, and what it says.
type Shown = (&'static str, &'static str, Value, &'static str);

/// One task that only asks, one that wants a new file, one that wants several changed: a model that has
/// only seen files being written writes files nobody asked for.
fn examples() -> [Example; 3] {
    [asked(), written(), changed()]
}

fn asked() -> Example {
    Example {
        task: "Which port does the mail server use?",
        steps: vec![
            (
                "I do not know where the port is set, so I search all files for it.",
                "search_files",
                json!({"pattern": "port"}),
                "conf/web.ini:4: port = 80\nconf/mail.ini:7: port = 2525",
            ),
            (
                "conf/mail.ini is the mail server's, and says 2525. I was only asked, so I answer.",
                "finish",
                json!({"answer": "The mail server uses port 2525 (conf/mail.ini)."}),
                "",
            ),
        ],
    }
}

fn written() -> Example {
    Example {
        task: "Write how many guests are in the guest list to guests/count.txt",
        steps: vec![
            (
                "I do not know where the guest list is, so I look at the files.",
                "list_files",
                json!({"path": "."}),
                "guests/list.txt (3 lines, 15 bytes)\nREADME.md (9 lines, 310 bytes)",
            ),
            (
                "guests/list.txt must be the guest list. I read it to count the guests.",
                "read_file",
                json!({"path": "guests/list.txt"}),
                "<file path=\"guests/list.txt\" lines=\"1-3 of 3\">\nAda\nGrace\nAlan\n</file>",
            ),
            (
                "The guests are Ada, Grace and Alan, so there are 3. I write the number.",
                "write_file",
                json!({"path": "guests/count.txt", "content": "3\n"}),
                "wrote guests/count.txt (1 line, 2 bytes)",
            ),
            (
                "The number is written, and nothing else was asked.",
                "finish",
                json!({"answer": "There are 3 guests; guests/count.txt says so."}),
                "",
            ),
        ],
    }
}

fn changed() -> Example {
    Example {
        task: "Our dog is now called Rex, not Max. Correct the files in the folder pets.",
        steps: vec![
            (
                "I search the folder pets for every place where Max stands.",
                "search_files",
                json!({"pattern": "Max", "path": "pets"}),
                "pets/food.txt:2: Max: 400 g\npets/walk.txt:1: Max walks at 8.\npets/walk.txt:5: Max sleeps.",
            ),
            (
                "Max stands in pets/food.txt and pets/walk.txt. I change the first file.",
                "edit_file",
                json!({"path": "pets/food.txt", "old": "Max", "new": "Rex", "all": true}),
                "edited pets/food.txt at line 2",
            ),
            (
                "pets/walk.txt is left. I change it too.",
                "edit_file",
                json!({"path": "pets/walk.txt", "old": "Max", "new": "Rex", "all": true}),
                "edited pets/walk.txt in 2 places",
            ),
            (
                "Both files are changed, and nothing else was asked.",
                "finish",
                json!({"answer": "I changed Max to Rex in pets/food.txt and pets/walk.txt."}),
                "",
            ),
        ],
    }
}

/// An example, if each of its steps can be taken with these tools.
fn show(tools: &[ToolSpec], example: &Example) -> Option<String> {
    if !example.steps.iter().all(|step| fits(tools, step)) {
        return None;
    }
    let mut text = format!("\nTask: {}\n", example.task);
    for (thought, tool, args, result) in &example.steps {
        let _ = writeln!(text, "{}", write(thought, tool, args));
        if !result.is_empty() {
            let _ = writeln!(text, "Result of {tool}:\n{result}");
        }
    }
    Some(text)
}

/// Whether a step can be taken with these tools: there is the tool, it knows the arguments, and it
/// requires no others.
fn fits(tools: &[ToolSpec], (_, name, args, _): &Shown) -> bool {
    let Some(tool) = tools.iter().find(|tool| tool.name == *name) else {
        return false;
    };
    let empty = Map::new();
    let given = args.as_object().unwrap_or(&empty);
    let members = tool.input.get("properties").and_then(Value::as_object);
    let required = tool.input.get("required").and_then(Value::as_array);
    let known = |arg: &String| members.is_some_and(|m| m.contains_key(arg));
    let needed = |arg: &Value| arg.as_str().is_some_and(|arg| given.contains_key(arg));
    given.keys().all(known) && required.is_none_or(|list| list.iter().all(needed))
}
