use std::{fs, os::unix::fs::MetadataExt as _};

use gpak_kernel::tool::ToolError;
use serde_json::{Value, json};

use crate::bench::Bench;

/// A workspace before a call, and the call.
fn reversible_calls() -> Vec<(&'static str, Value)> {
    vec![
        ("write_file", json!({"path": "a.txt", "content": "new\n"})),
        (
            "write_file",
            json!({"path": "deep/er/b.txt", "content": "new\n"}),
        ),
        (
            "edit_file",
            json!({"path": "a.txt", "old": "two", "new": "2"}),
        ),
        ("move_file", json!({"from": "a.txt", "to": "c/d.txt"})),
        ("move_file", json!({"from": "docs", "to": "texts"})),
        ("delete_file", json!({"path": "a.txt"})),
        ("delete_file", json!({"path": "empty"})),
    ]
}

fn workspace() -> Bench {
    let bench = Bench::new();
    bench.put("a.txt", "one\ntwo\n");
    bench.put("docs/x.txt", "x\n");
    fs::create_dir(bench.path("empty")).unwrap();
    bench
}

/// Puts the files back as they were by hand, as if the call had never acted.
fn reset(bench: &Bench) {
    for name in ["deep", "c", "texts", "docs"] {
        let _ = fs::remove_dir_all(bench.path(name));
    }
    bench.put("a.txt", "one\ntwo\n");
    bench.put("docs/x.txt", "x\n");
    let _ = fs::create_dir(bench.path("empty"));
}

#[tokio::test]
async fn a_call_that_had_acted_before_a_crash_is_not_made_again() {
    for (tool, args) in reversible_calls() {
        let bench = workspace();
        let said = bench.call(1, tool, args.clone()).await;
        let (tree, touched) = (
            bench.tree(),
            fs::metadata(bench.path("")).unwrap().ctime_nsec(),
        );
        assert_eq!(
            bench.call(1, tool, args.clone()).await,
            said,
            "{tool} {args}"
        );
        assert_eq!(bench.tree(), tree, "{tool} {args}");
        assert_eq!(
            fs::metadata(bench.path("")).unwrap().ctime_nsec(),
            touched,
            "{tool} {args}"
        );
        bench.undo(1, tool).await.unwrap();
        assert_eq!(bench.tree(), workspace().tree(), "{tool} {args}");
    }
}

#[tokio::test]
async fn a_call_that_had_not_acted_before_a_crash_is_made() {
    for (tool, args) in reversible_calls() {
        let bench = workspace();
        let said = bench.call(1, tool, args.clone()).await;
        let tree = bench.tree();
        reset(&bench);
        assert_eq!(bench.tree(), workspace().tree());
        assert_eq!(
            bench.call(1, tool, args.clone()).await,
            said,
            "{tool} {args}"
        );
        assert_eq!(bench.tree(), tree, "{tool} {args}");
        bench.undo(1, tool).await.unwrap();
        assert_eq!(bench.tree(), workspace().tree(), "{tool} {args}");
    }
}

#[tokio::test]
async fn a_call_that_a_crash_interrupted_midway_leaves_nothing_behind() {
    let bench = workspace();
    let args = json!({"path": "deep/er/b.txt", "content": "new\n"});
    bench.call(1, "write_file", args.clone()).await;
    // As after a crash between the temporary file and its renaming.
    let temp = format!("deep/er/.gpak-{}-1.0.tmp", bench.context.run.short());
    fs::rename(bench.path("deep/er/b.txt"), bench.path(&temp)).unwrap();
    bench.call(1, "write_file", args).await;
    assert!(!bench.path(&temp).exists());
    assert_eq!(bench.get("deep/er/b.txt"), "new\n");
    bench.undo(1, "write_file").await.unwrap();
    assert_eq!(
        bench.tree(),
        workspace().tree(),
        "folders made before the crash are the call's own"
    );
}

#[tokio::test]
async fn a_call_that_a_crash_interrupted_midway_is_undone_without_being_made_again() {
    let bench = workspace();
    let args = json!({"path": "deep/er/b.txt", "content": "new\n"});
    bench.call(1, "write_file", args).await;
    let temp = format!("deep/er/.gpak-{}-1.0.tmp", bench.context.run.short());
    fs::rename(bench.path("deep/er/b.txt"), bench.path(&temp)).unwrap();
    bench.undo(1, "write_file").await.unwrap();
    assert_eq!(bench.tree(), workspace().tree());
}

#[tokio::test]
async fn a_call_whose_file_somebody_else_changed_meanwhile_is_in_doubt() {
    for (tool, args) in reversible_calls() {
        let bench = workspace();
        bench.call(1, tool, args.clone()).await;
        reset(&bench);
        // Neither as before nor as after.
        for path in ["a.txt", "deep/er/b.txt", "texts"] {
            let _ = fs::remove_dir_all(bench.path(path));
            bench.put(path, "something else\n");
        }
        let _ = fs::remove_dir_all(bench.path("empty"));
        bench.put("empty", "something else\n");
        let tree = bench.tree();
        let made = bench.make(1, tool, args.clone()).await;
        assert!(
            matches!(made, Err(ToolError::Unknown(_))),
            "{tool} {args}: {made:?}"
        );
        assert_eq!(bench.tree(), tree, "{tool} {args}");
    }
}

#[tokio::test]
async fn a_chain_of_changes_is_undone_to_the_start() {
    let bench = workspace();
    let before = bench.tree();
    bench
        .call(
            1,
            "write_file",
            json!({"path": "new/r.md", "content": "one\ntwo\n"}),
        )
        .await;
    bench
        .call(
            2,
            "edit_file",
            json!({"path": "new/r.md", "old": "one", "new": "1"}),
        )
        .await;
    bench
        .call(
            3,
            "edit_file",
            json!({"path": "new/r.md", "old": "two", "new": "2"}),
        )
        .await;
    bench
        .call(4, "delete_file", json!({"path": "new/r.md"}))
        .await;
    bench.call(5, "delete_file", json!({"path": "new"})).await;
    bench
        .call(
            6,
            "edit_file",
            json!({"path": "docs/x.txt", "old": "x", "new": "y"}),
        )
        .await;
    bench
        .call(7, "move_file", json!({"from": "docs", "to": "deep/texts"}))
        .await;
    bench
        .call(
            8,
            "edit_file",
            json!({"path": "deep/texts/x.txt", "old": "y", "new": "z"}),
        )
        .await;
    bench
        .call(
            9,
            "write_file",
            json!({"path": "docs/x.txt", "content": "another\n"}),
        )
        .await;
    let replies = [9, 8, 7, 6, 5, 4, 3, 2, 1];
    assert_eq!(bench.conflicts(&replies).await, [""; 0]);
    let tools = [
        "write_file",
        "edit_file",
        "edit_file",
        "delete_file",
        "delete_file",
        "edit_file",
        "move_file",
        "edit_file",
        "write_file",
    ];
    let mut said = Vec::new();
    for reply in replies {
        said.push(bench.undo(reply, tools[reply as usize - 1]).await.unwrap());
    }
    assert_eq!(bench.tree(), before);
    assert_eq!(
        said,
        [
            "removed docs/x.txt",
            "restored deep/texts/x.txt",
            "moved deep/texts back to docs",
            "restored docs/x.txt",
            "made the folder new again",
            "restored new/r.md",
            "restored new/r.md",
            "restored new/r.md",
            "removed new/r.md",
        ]
    );
    assert_eq!(
        bench.undo(1, "write_file").await.unwrap(),
        "new/r.md was undone already"
    );
    assert_eq!(bench.conflicts(&replies).await, [""; 0]);
}

#[tokio::test]
async fn what_changed_since_is_named_and_left_alone() {
    let bench = workspace();
    bench
        .call(
            1,
            "edit_file",
            json!({"path": "a.txt", "old": "one", "new": "1"}),
        )
        .await;
    bench
        .call(2, "move_file", json!({"from": "docs/x.txt", "to": "y.txt"}))
        .await;
    bench.call(3, "delete_file", json!({"path": "empty"})).await;
    bench.put("a.txt", "mine\n");
    fs::remove_file(bench.path("y.txt")).unwrap();
    fs::create_dir(bench.path("empty")).unwrap();
    let conflicts = bench.conflicts(&[3, 2, 1]).await;
    assert_eq!(
        conflicts,
        [
            "y.txt: it is gone since move_file in call 2.0",
            "a.txt: it was changed since edit_file in call 1.0"
        ]
    );
    assert_eq!(
        bench.undo(3, "delete_file").await.unwrap(),
        "empty is already as it was"
    );
    for (reply, tool, name) in [(1, "edit_file", "a.txt"), (2, "move_file", "y.txt")] {
        match bench.undo(reply, tool).await {
            Err(ToolError::Rejected(message)) => assert!(message.contains(name), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.get("a.txt"), "mine\n");
}

#[tokio::test]
async fn a_change_in_the_middle_of_a_chain_is_found_before_anything_is_undone() {
    let bench = workspace();
    bench
        .call(
            1,
            "edit_file",
            json!({"path": "a.txt", "old": "one", "new": "1"}),
        )
        .await;
    bench.put("a.txt", "by a command\n");
    bench
        .call(2, "write_file", json!({"path": "a.txt", "content": "2\n"}))
        .await;
    assert_eq!(bench.conflicts(&[2]).await, [""; 0]);
    assert_eq!(
        bench.conflicts(&[2, 1]).await,
        ["a.txt: it was changed since edit_file in call 1.0"]
    );
}

#[tokio::test]
async fn back_and_forth_is_undone_step_by_step() {
    let bench = workspace();
    bench
        .call(1, "write_file", json!({"path": "a.txt", "content": "B\n"}))
        .await;
    bench
        .call(
            2,
            "write_file",
            json!({"path": "a.txt", "content": "one\ntwo\n"}),
        )
        .await;
    assert_eq!(bench.conflicts(&[2, 1]).await, [""; 0]);
    bench.undo(2, "write_file").await.unwrap();
    assert_eq!(bench.get("a.txt"), "B\n");
    assert_eq!(
        bench.conflicts(&[2, 1]).await,
        [""; 0],
        "an undoing that was interrupted goes on"
    );
    bench.undo(1, "write_file").await.unwrap();
    bench.undo(2, "write_file").await.unwrap();
    assert_eq!(bench.get("a.txt"), "one\ntwo\n");
}

#[tokio::test]
async fn what_was_saved_is_checked_before_it_is_restored() {
    let bench = workspace();
    bench
        .call(
            1,
            "write_file",
            json!({"path": "a.txt", "content": "new\n"}),
        )
        .await;
    let objects = bench.home.path().join("data/undo/objects");
    let folder = fs::read_dir(objects)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let object = fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        fs::metadata(&object).unwrap().mode() & 0o077,
        0,
        "only the user reads it"
    );
    fs::write(object, "tampered").unwrap();
    let undone = bench.undo(1, "write_file").await;
    assert!(
        matches!(&undone, Err(ToolError::Rejected(m)) if m.contains("damaged")),
        "{undone:?}"
    );
    assert_eq!(bench.get("a.txt"), "new\n");
    assert!(
        bench.undo(2, "write_file").await.is_err(),
        "a call without a record"
    );
    assert_eq!(
        bench.conflicts(&[2]).await,
        ["call 2.0: what undo needs was not kept"]
    );
}

#[tokio::test]
async fn folders_made_on_the_way_go_only_if_they_are_empty() {
    let bench = workspace();
    bench
        .call(
            1,
            "write_file",
            json!({"path": "p/q/r.txt", "content": "x"}),
        )
        .await;
    bench.put("p/mine.txt", "mine");
    bench.undo(1, "write_file").await.unwrap();
    assert!(!bench.path("p/q").exists());
    assert_eq!(bench.get("p/mine.txt"), "mine");
}
