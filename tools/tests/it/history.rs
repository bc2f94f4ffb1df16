use std::sync::Arc;

use gpak_kernel::{
    context::READ_HISTORY,
    entry::{Entry, Head},
    event::{CallOutcome, Event, RunId, RunSpec},
    journal::{Journal, MemoryJournal},
    label::Label,
    model::{CallId, Reply, ToolCall},
    policy::{Budget, Permissions},
    tool::{Call, Tool, ToolContext, ToolError, ToolOutput},
};
use gpak_tools::ReadHistory;
use serde_json::{Value, json};

const RUN: RunId = RunId::from_u128(7);

/// A run of 30 steps: each reads a file; the results of some are long, binary or failures.
async fn tool() -> ReadHistory {
    let journal = MemoryJournal::default();
    let mut events = vec![Event::RunCreated {
        spec: RunSpec {
            task: "Find the harbour master.".into(),
            workspace: "/".into(),
            model: "scripted/script".into(),
            budget: Budget::default(),
            permissions: Permissions::default(),
            attended: false,
            origin: None,
            check: Vec::new(),
            strategy: None,
            parent: None,
            conversation: false,
        },
    }];
    for step in 1..=30_u32 {
        let args = json!({"path": format!("log/{step}.txt")});
        events.push(Event::ModelReplied {
            reply: Reply {
                thought: format!("I read log {step}."),
                calls: vec![ToolCall {
                    name: "read_file".into(),
                    args,
                }],
                ..Reply::default()
            },
        });
        let outcome = match step {
            3 => CallOutcome::Failed {
                message: "log/3.txt is locked".into(),
            },
            _ => CallOutcome::Done {
                output: ToolOutput::text(text(step)),
            },
        };
        events.push(Event::ToolFinished {
            call: CallId {
                reply: step,
                index: 0,
            },
            tool: "read_file".into(),
            outcome,
            from: Label::Web("example.org".into()),
            ms: 0,
        });
    }
    let mut head = Head::EMPTY;
    for event in events {
        let entry = Entry::seal(RUN, head, jiff::Timestamp::UNIX_EPOCH, event);
        head = entry.head();
        journal.append(&[entry]).await.unwrap();
    }
    ReadHistory::new(Arc::new(journal), 2048)
}

fn text(step: u32) -> String {
    match step {
        5 => {
            let lines = (1..=20_000).map(|n| match n {
                15_000 => "The Harbour Master is Ada.\n".to_owned(),
                _ => format!("line {n} of step 5\n"),
            });
            lines.collect()
        }
        6 => format!("{}needle{}", "x".repeat(500_000), "y".repeat(500_000)),
        7 => String::from_utf8_lossy(&(0..=255).cycle().take(9_000).collect::<Vec<u8>>()).into(),
        _ => format!("nothing in log {step}\n"),
    }
}

async fn ask(tool: &ReadHistory, args: Value) -> Result<ToolOutput, ToolError> {
    let call = Call {
        id: CallId {
            reply: 31,
            index: 0,
        },
        name: READ_HISTORY.into(),
        args,
        attempt: 1,
    };
    let context = ToolContext {
        run: RUN,
        workspace: "/".into(),
        trust: Label::Own,
        may_change: true,
    };
    let answer = tool.call(&call, &context).await;
    if let Ok(output) = &answer {
        assert!(output.text.len() < 2048 + 400, "{}", output.text.len());
    }
    answer
}

async fn told(tool: &ReadHistory, args: Value) -> String {
    ask(tool, args).await.unwrap().text
}

#[tokio::test]
async fn a_step_is_shown_whole_and_several_in_short() {
    let tool = tool().await;
    let one = told(&tool, json!({"step": 4})).await;
    for part in [
        "Step 4\n",
        "I read log 4.",
        "call 4.0: read_file {\"path\":\"log/4.txt\"}",
        "nothing in log 4",
    ] {
        assert!(one.contains(part), "{one}");
    }
    assert!(
        told(&tool, json!({"step": 3}))
            .await
            .contains("error of 3.0:\nlog/3.txt is locked")
    );
    assert!(
        told(&tool, json!({"step": 0}))
            .await
            .contains("Find the harbour master.")
    );

    let several = told(&tool, json!({"step": 2, "to_step": 4})).await;
    assert!(
        several.contains("Step 2\n") && several.contains("Step 4\n"),
        "{several}"
    );
    assert!(!several.contains("Step 5\n"), "{several}");
    let all = told(&tool, json!({})).await;
    assert!(
        all.contains("…truncated; for more use read_history {\"step\":"),
        "{all}"
    );
}

#[tokio::test]
async fn a_result_of_any_size_is_read_piece_by_piece() {
    let tool = tool().await;
    let start = told(&tool, json!({"call": "5.0"})).await;
    assert!(start.starts_with("bytes 0 to "), "{start}");
    let next = start.rsplit("\"from\":").next().unwrap();
    let from: usize = next.trim_end_matches('}').parse().unwrap();
    let piece = told(&tool, json!({"call": "5.0", "from": from})).await;
    let first = text(5)[from..].lines().next().unwrap().to_owned();
    assert_eq!(piece.lines().nth(1), Some(first.as_str()));
    let whole = told(&tool, json!({"call": "4.0"})).await;
    assert_eq!(whole, "nothing in log 4\n");
    // A single line of a million bytes, and what is no text at all.
    assert!(
        told(&tool, json!({"call": "6.0", "from": 500_000}))
            .await
            .contains("needley")
    );
    let junk = told(&tool, json!({"call": "7.0"})).await;
    assert!(junk.contains("\\u{0}"), "{junk}");
}

#[tokio::test]
async fn words_are_found_wherever_they_stand() {
    let tool = tool().await;
    let found = told(&tool, json!({"search": "harbour master"})).await;
    assert!(
        found.contains("the task, at byte 0: Find the harbour"),
        "{found}"
    );
    assert!(found.contains("call 5.0, read_file, at byte "), "{found}");
    assert!(found.contains("The Harbour Master is Ada."), "{found}");
    let at = found.split("call 5.0, read_file, at byte ").nth(1).unwrap();
    let at: usize = at.split(':').next().unwrap().parse().unwrap();
    let there = told(&tool, json!({"call": "5.0", "from": at})).await;
    assert!(
        there
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("The Harbour Master"),
        "{there}"
    );

    let needle = told(&tool, json!({"search": "needle"})).await;
    assert!(needle.contains("xxneedleyy"), "{needle}");
    let many = told(&tool, json!({"search": "line"})).await;
    assert!(many.contains("…truncated: 19"), "{many}");
    let none = told(&tool, json!({"search": "[unicorn"})).await;
    assert!(
        none.contains("nothing in this task's history says"),
        "{none}"
    );
}

#[tokio::test]
async fn a_result_is_trusted_no_more_than_when_it_came() {
    let tool = tool().await;
    let output = ask(&tool, json!({"call": "4.0"})).await.unwrap();
    assert_eq!(output.label, Some(Label::Web("example.org".into())));
    assert_eq!(ask(&tool, json!({"step": 4})).await.unwrap().label, None);
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_is() {
    let tool = tool().await;
    for (args, hint) in [
        (json!({"step": 99}), "there are 1 to 30"),
        (
            json!({"step": 9, "to_step": 4}),
            "read_history {\"step\":4,\"to_step\":9}",
        ),
        (json!({"call": "99.0"}), "there are 1 to 30"),
        (json!({"call": "4.7"}), "read_history {\"step\":4}"),
        (json!({"call": "four"}), "one looks like `3.0`"),
        (json!({"call": "4.0", "from": 99_999}), "has only 17 bytes"),
    ] {
        let error = ask(&tool, args.clone()).await.unwrap_err().to_string();
        assert!(error.contains(hint), "{args}: {error}");
    }
}
