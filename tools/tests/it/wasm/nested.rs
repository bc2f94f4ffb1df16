//! Tools that call other tools: through the gate, and into the journal.

use std::{fs, sync::Arc};

use gpak_kernel::{
    event::{CallOutcome, Event},
    model::scripted::Line,
    tool::Tool,
};
use serde_json::json;

use super::{
    doing::invokes,
    home::{Home, told},
    undo::{drive, driver},
};

/// What a model is told of a tool that calls another, and what the journal says of that call.
async fn nested(tool: &str, input: &str, grant: &str) -> (CallOutcome, Vec<CallOutcome>) {
    let home = Home::new();
    fs::write(home.workspace().join("a.txt"), "a line").unwrap();
    let lines = vec![
        Line::call("invokes", json!({})),
        Line::call("finish", json!({"answer": "done"})),
    ];
    let mut driver = driver(&home, lines).await;
    let asks = format!("[asks]\ninvoke = [\"{grant}\"]\n");
    let caller: Arc<dyn Tool> = home.tool(&invokes(tool, input), &asks).await;
    driver.toolbox = driver.toolbox.with([caller]).unwrap();
    let run = drive(&driver, &home).await;
    let entries = driver.journal.read(run, 1).await.unwrap();
    let mut finished = None;
    let mut calls = Vec::new();
    for entry in entries {
        match entry.event {
            Event::ToolFinished { outcome, tool, .. } if tool == "invokes" => {
                finished = Some(outcome)
            }
            Event::NestedCalled { outcome, call, .. } => {
                assert!(
                    finished.is_none(),
                    "it is journaled before the call that asked for it"
                );
                assert_eq!(call.name, tool);
                calls.push(outcome);
            }
            _ => {}
        }
    }
    (finished.unwrap(), calls)
}

fn message(outcome: &CallOutcome) -> &str {
    match outcome {
        CallOutcome::Failed { message } => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tool_calls_a_pure_one_and_the_journal_says_so() {
    let (finished, calls) = nested("read_file", r#"{"path": "a.txt"}"#, "read_file").await;
    let text = |outcome: &CallOutcome| match outcome {
        CallOutcome::Done { output } => output.text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(calls.len(), 1);
    assert!(text(&calls[0]).contains("a line"));
    assert_eq!(text(&finished), text(&calls[0]));
}

#[tokio::test]
async fn a_tool_calls_nothing_that_was_not_granted() {
    let (finished, calls) = nested("read_file", r#"{"path": "a.txt"}"#, "list_files").await;
    assert_eq!(
        message(&finished),
        "invokes: calling read_file was not granted"
    );
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_tool_calls_nothing_that_changes_anything() {
    for tool in [
        "write_file",
        "run_command",
        "finish",
        "posts",
        "no_such_tool",
    ] {
        let input = r#"{"path": "a.txt", "content": "b", "command": "rm a.txt", "answer": "x"}"#;
        let (finished, calls) = nested(tool, input, tool).await;
        assert_eq!(calls.len(), 1, "{tool}");
        let why = message(&calls[0]);
        assert!(message(&finished).contains(why), "{why}");
    }
    let (_, calls) = nested("posts", "{}", "posts").await;
    assert!(message(&calls[0]).contains("posts is not pure"));
}

#[tokio::test]
async fn arguments_are_checked_as_those_of_a_model() {
    let (_, calls) = nested("read_file", r#"{"file": 3}"#, "read_file").await;
    assert!(message(&calls[0]).contains("read_file was not called"));
    let (finished, calls) = nested("read_file", "{", "read_file").await;
    assert!(message(&finished).contains("the input is no JSON"));
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_tool_that_calls_itself_comes_to_an_end() {
    let (finished, calls) = nested("invokes", "{}", "invokes").await;
    assert!(message(&finished).contains("there is no run here that could call it"));
    assert_eq!(calls.len(), 1);
}

#[tokio::test]
async fn without_a_run_there_is_nothing_to_call() {
    let home = Home::new();
    let caller = invokes("read_file", "{}");
    let why = told(
        home.run(&caller, "[asks]\ninvoke = [\"read_file\"]\n", json!({}))
            .await,
    );
    assert!(why.contains("there is no run here"), "{why}");
}
