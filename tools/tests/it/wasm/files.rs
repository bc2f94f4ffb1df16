use std::fs;

use gpak_kernel::{
    model::CallId,
    tool::{Call, Tool as _},
};
use serde_json::json;

use super::{
    doing::{moves, reads, with_path, writes, writes_then},
    guest::guest,
    home::{Home, call, told},
};

pub const READ: &str = "[[asks.files]]\npath = \".\"\n";
pub const WRITE: &str = "[[asks.files]]\npath = \".\"\naccess = \"write\"\n";

#[tokio::test]
async fn a_tool_reads_a_file_of_the_workspace() {
    let home = Home::new();
    fs::write(home.workspace().join("a.json"), "[1]").unwrap();
    let output = home.run(&reads("a.json"), READ, json!({})).await.unwrap();
    assert_eq!(output.data, Some(json!([1])));
    let why = told(home.run(&reads("b.json"), READ, json!({})).await);
    assert_eq!(why, "reads: there is no b.json");
}

#[tokio::test]
async fn what_a_tool_writes_is_there_after_the_call_and_undone_by_the_host() {
    let home = Home::new();
    let old = home.workspace().join("deep/er/a.txt");
    let tool = home.tool(&writes("deep/er/a.txt", "new"), WRITE).await;
    assert!(tool.spec().resumable);
    assert_eq!(home.call(&tool, json!({})).await.unwrap().text, "done");
    assert_eq!(fs::read_to_string(&old).unwrap(), "new");
    let undone = tool
        .compensate(&call(&tool, json!({})), &home.context)
        .await
        .unwrap();
    assert_eq!(undone, "removed deep/er/a.txt");
    assert!(!home.workspace().join("deep").exists());
    let again = tool
        .compensate(&call(&tool, json!({})), &home.context)
        .await
        .unwrap();
    assert_eq!(again, "writes was undone already");
}

#[tokio::test]
async fn what_a_tool_replaces_moves_and_removes_is_put_back() {
    let home = Home::new();
    let path = |name: &str| home.workspace().join(name);
    fs::write(path("a.txt"), "old").unwrap();
    fs::create_dir(path("empty")).unwrap();
    let all = [
        (writes("a.txt", "new"), "a.txt"),
        (moves("a.txt", "b/c.txt"), "a.txt"),
        (with_path("remove", "a.txt"), "a.txt"),
        (with_path("remove", "empty"), "empty"),
        (with_path("make-folder", "new/folder"), "new/folder"),
    ];
    for (number, (doing, changed)) in (1..).zip(all) {
        let tool = home.tool(&doing, WRITE).await;
        let before = fs::read(path(changed)).ok();
        let asked = Call {
            id: CallId {
                reply: number,
                index: 0,
            },
            ..call(&tool, json!({}))
        };
        tool.call(&asked, &home.context).await.unwrap();
        assert!(fs::read(path(changed)).ok() != before || before.is_none());
        tool.compensate(&asked, &home.context).await.unwrap();
        assert_eq!(fs::read(path(changed)).ok(), before, "{changed}");
        assert!(path("empty").is_dir() && !path("b").exists() && !path("new").exists());
    }
    assert_eq!(fs::read_to_string(path("a.txt")).unwrap(), "old");
}

#[tokio::test]
async fn what_was_changed_since_is_not_put_back() {
    let home = Home::new();
    let tool = home.tool(&writes("a.txt", "new"), WRITE).await;
    home.call(&tool, json!({})).await.unwrap();
    fs::write(home.workspace().join("a.txt"), "mine").unwrap();
    let why = told(
        tool.compensate(&call(&tool, json!({})), &home.context)
            .await
            .map(gpak_kernel::tool::ToolOutput::text),
    );
    assert!(why.contains("a.txt was changed since writes"), "{why}");
    assert_eq!(
        fs::read_to_string(home.workspace().join("a.txt")).unwrap(),
        "mine"
    );
}

#[tokio::test]
async fn a_call_that_fails_after_writing_has_written_nothing() {
    let home = Home::new();
    for (then, limits) in [
        ("unreachable", ""),
        ("(loop $l (br $l)) unreachable", "[limits]\ntime_ms = 200\n"),
        ("(call $ok (i32.const 32768) (i32.const 3))", ""),
        (
            "(call $err (i32.const 1) (i32.const 32768) (i32.const 3))",
            "",
        ),
    ] {
        let doing = writes_then("a.txt", "new", then);
        told(
            home.run(&doing, &format!("{limits}{WRITE}"), json!({}))
                .await,
        );
        assert!(!home.workspace().join("a.txt").exists(), "{then}");
    }
}

#[tokio::test]
async fn a_call_made_again_after_it_was_done_is_not_done_twice() {
    let home = Home::new();
    let tool = home.tool(&writes("a.txt", "new"), WRITE).await;
    let asked = call(&tool, json!({}));
    tool.call(&asked, &home.context).await.unwrap();
    fs::write(home.workspace().join("a.txt"), "mine").unwrap();
    let again = Call {
        attempt: 2,
        ..asked
    };
    assert_eq!(tool.call(&again, &home.context).await.unwrap().text, "done");
    assert_eq!(
        fs::read_to_string(home.workspace().join("a.txt")).unwrap(),
        "mine"
    );
}

#[tokio::test]
async fn a_component_undoes_what_only_it_can() {
    let home = Home::new();
    let books = guest("books")
        .gives(r#""room 7""#)
        .compensate("(call $ok (local.get $output) (local.get $output_len))");
    let tool = home.tool(&books, "").await;
    assert_eq!(home.call(&tool, json!({})).await.unwrap().text, "room 7");
    let undone = tool
        .compensate(&call(&tool, json!({})), &home.context)
        .await
        .unwrap();
    assert_eq!(undone, "\"room 7\"");
    let stuck =
        guest("stuck").compensate("(call $err (i32.const 1) (i32.const 1024) (i32.const 5))");
    let tool = home.tool(&stuck, "").await;
    let asked = Call {
        id: CallId { reply: 2, index: 0 },
        ..call(&tool, json!({}))
    };
    tool.call(&asked, &home.context).await.unwrap();
    let why = tool
        .compensate(&asked, &home.context)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(why, "stuck: stuck");
}
