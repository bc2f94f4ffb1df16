use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
};

use gpak_kernel::tool::ToolError;
use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn a_write_makes_folders_and_says_what_it_did() {
    let bench = Bench::new();
    let said = bench
        .call(
            1,
            "write_file",
            json!({"path": "a/b/REPORT.md", "content": "1\n2\n3\n"}),
        )
        .await;
    assert_eq!(said, "wrote a/b/REPORT.md (3 lines, 6 bytes)");
    let said = bench
        .call(
            2,
            "write_file",
            json!({"path": "a/b/REPORT.md", "content": "1\n"}),
        )
        .await;
    assert_eq!(
        said,
        "wrote a/b/REPORT.md (1 line, 2 bytes); it had 3 lines before"
    );
    let said = bench
        .call(
            3,
            "write_file",
            json!({"path": "a/b/REPORT.md", "content": "1\n"}),
        )
        .await;
    assert_eq!(
        said,
        "a/b/REPORT.md has exactly this content already (1 line, 2 bytes); nothing changed"
    );
    assert_eq!(
        bench.undo(3, "write_file").await.unwrap(),
        format!("nothing to undo: {said}")
    );
    bench
        .call(
            4,
            "write_file",
            json!({"path": "ünï/名前 🚀.txt", "content": "x"}),
        )
        .await;
    assert_eq!(bench.get("ünï/名前 🚀.txt"), "x");
    assert_eq!(
        bench.tree().len(),
        5,
        "nothing else is left: {:?}",
        bench.tree().keys()
    );
}

#[tokio::test]
async fn a_write_that_loses_most_of_a_file_is_made_only_if_that_is_meant() {
    let bench = Bench::new();
    bench.put(
        "Cargo.toml",
        "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    let write = json!({"path": "Cargo.toml", "content": "version = \"0.2.0\"\n"});
    let message = bench.refused("write_file", write.clone()).await;
    assert_eq!(
        message,
        "Cargo.toml is there already and has 4 lines, most of which would be lost; nothing was written. To change a part of it use edit_file; to write it anew give all of its text"
    );
    assert_eq!(bench.get("Cargo.toml").lines().count(), 4);
    bench
        .call(2, "delete_file", json!({"path": "Cargo.toml"}))
        .await;
    assert_eq!(
        bench.call(3, "write_file", write).await,
        "wrote Cargo.toml (1 line, 18 bytes)"
    );
    let message = bench
        .refused(
            "write_file",
            json!({"path": "b.txt", "content": "<file path=\"b.txt\" lines=\"1-1 of 1\">\nb\n</file>"}),
        )
        .await;
    assert!(message.contains("stands in no file"), "{message}");
}

#[tokio::test]
async fn a_write_that_cannot_be_says_why() {
    let bench = Bench::new();
    bench.put("docs/a.txt", "x");
    for (path, expected) in [
        (
            "docs",
            "docs is a folder; name a file in it: \"docs/notes.md\"",
        ),
        (
            "new/",
            "new is a folder; name a file in it: \"new/notes.md\"",
        ),
        (".", "\".\" is the workspace itself; name a file in it"),
        (
            "docs/a.txt/b",
            "docs/a.txt/b cannot be written, as a.txt in it is a file or a link and not a folder",
        ),
    ] {
        let message = bench
            .refused("write_file", json!({"path": path, "content": "y"}))
            .await;
        assert_eq!(message, expected);
    }
    let message = bench
        .refused(
            "write_file",
            json!({"path": "x".repeat(300), "content": "y"}),
        )
        .await;
    assert!(message.contains("too long"), "{message}");
    fs::set_permissions(bench.path("docs/a.txt"), fs::Permissions::from_mode(0o444)).unwrap();
    let message = bench
        .refused("write_file", json!({"path": "docs/a.txt", "content": "y"}))
        .await;
    assert!(message.contains("read-only"), "{message}");
    assert_eq!(bench.tree().len(), 2);
}

#[tokio::test]
async fn mode_bits_outlive_a_change_and_its_undoing() {
    let bench = Bench::new();
    bench.put("run.sh", "echo 1\n");
    let mode = || fs::metadata(bench.path("run.sh")).unwrap().mode() & 0o7777;
    fs::set_permissions(bench.path("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    bench
        .call(
            1,
            "write_file",
            json!({"path": "run.sh", "content": "echo 2\n"}),
        )
        .await;
    assert_eq!(mode(), 0o750);
    bench
        .call(
            2,
            "edit_file",
            json!({"path": "run.sh", "old": "2", "new": "3"}),
        )
        .await;
    assert_eq!(mode(), 0o750);
    bench
        .call(3, "delete_file", json!({"path": "run.sh"}))
        .await;
    for (reply, tool) in [(3, "delete_file"), (2, "edit_file"), (1, "write_file")] {
        bench.undo(reply, tool).await.unwrap();
        assert_eq!(mode(), 0o750);
    }
    assert_eq!(bench.get("run.sh"), "echo 1\n");
}

#[tokio::test]
async fn a_move_replaces_nothing() {
    let bench = Bench::new();
    bench.put("a.txt", "a");
    bench.put("b.txt", "b");
    bench.put("docs/c.txt", "c");
    let message = bench
        .refused("move_file", json!({"from": "a.txt", "to": "b.txt"}))
        .await;
    assert!(message.contains("b.txt exists already"), "{message}");
    let message = bench
        .refused("move_file", json!({"from": "docs", "to": "docs/inner"}))
        .await;
    assert!(message.contains("into itself"), "{message}");
    let message = bench
        .refused("move_file", json!({"from": "aa.txt", "to": "x.txt"}))
        .await;
    assert!(message.contains("did you mean \"a.txt\""), "{message}");
    assert_eq!(
        bench
            .call(1, "move_file", json!({"from": "a.txt", "to": "docs"}))
            .await,
        "moved a.txt to docs/a.txt"
    );
    assert_eq!(
        bench
            .call(2, "move_file", json!({"from": "b.txt", "to": "new/dir/"}))
            .await,
        "moved b.txt to new/dir/b.txt"
    );
    assert_eq!(
        bench
            .call(3, "move_file", json!({"from": "docs", "to": "texts"}))
            .await,
        "moved docs to texts"
    );
    assert_eq!(
        bench.get("texts/a.txt") + &bench.get("new/dir/b.txt") + &bench.get("texts/c.txt"),
        "abc"
    );
    let said = bench
        .call(
            4,
            "move_file",
            json!({"from": "texts/a.txt", "to": "./texts/a.txt"}),
        )
        .await;
    assert!(said.contains("nothing changed"), "{said}");
}

#[tokio::test]
async fn only_files_and_empty_folders_are_deleted() {
    let bench = Bench::new();
    bench.put("work/a.tmp", "");
    bench.put("work/b.tmp", "");
    assert_eq!(
        bench
            .refused("delete_file", json!({"path": "work/*.tmp"}))
            .await,
        "work/*.tmp is a pattern, not one path; make a call for each of: work/a.tmp, work/b.tmp"
    );
    std::fs::remove_dir_all(bench.path("work")).unwrap();
    bench.put("docs/a.txt", "a");
    let message = bench.refused("delete_file", json!({"path": "docs"})).await;
    assert!(
        message.starts_with("docs is a folder with 1 entry") && message.contains("docs/a.txt"),
        "{message}"
    );
    assert_eq!(
        bench
            .call(1, "delete_file", json!({"path": "docs/a.txt"}))
            .await,
        "deleted docs/a.txt (1 byte)"
    );
    assert_eq!(
        bench.call(2, "delete_file", json!({"path": "docs"})).await,
        "deleted the empty folder docs"
    );
    bench.refused("delete_file", json!({"path": "."})).await;
    assert!(bench.tree().is_empty());
}

#[tokio::test]
async fn a_preview_is_a_diff() {
    let bench = Bench::new();
    bench.put("a.txt", "one\ntwo\n");
    bench.put("bin", b"\0\x01");
    let diff = bench
        .preview(
            "edit_file",
            json!({"path": "a.txt", "old": "two", "new": "2"}),
        )
        .await;
    assert_eq!(
        diff,
        "--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    );
    let diff = bench
        .preview("write_file", json!({"path": "new.txt", "content": "x\n"}))
        .await;
    assert_eq!(diff, "--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1 @@\n+x\n");
    let diff = bench.preview("delete_file", json!({"path": "a.txt"})).await;
    assert!(diff.starts_with("--- a/a.txt\n+++ /dev/null\n"), "{diff}");
    assert_eq!(
        bench.preview("delete_file", json!({"path": "bin"})).await,
        "delete bin (2 bytes); binary"
    );
    assert_eq!(
        bench
            .preview("move_file", json!({"from": "a.txt", "to": "b.txt"}))
            .await,
        "move a.txt to b.txt"
    );
    assert_eq!(
        bench
            .preview("run_command", json!({"command": "cargo test"}))
            .await,
        "cargo test"
    );
    let long = bench
        .preview(
            "write_file",
            json!({"path": "a.txt", "content": "x\n".repeat(9000)}),
        )
        .await;
    assert!(
        long.len() < 9000 && long.contains("…truncated"),
        "{}",
        long.len()
    );
    let wrong = bench
        .preview(
            "edit_file",
            json!({"path": "a.txt", "old": "zz", "new": "2"}),
        )
        .await;
    assert!(
        wrong.starts_with("this call would fail: old does not stand"),
        "{wrong}"
    );
    assert_eq!(bench.tree().len(), 2);
    assert_eq!(bench.get("a.txt"), "one\ntwo\n");
}

/// A file system of its own, full soon; `None` where this process may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(&at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_run_and_leaves_the_old_content() {
    let bench = Bench::new();
    let Some(_disk) = SmallDisk::mount(bench.path("")) else {
        eprintln!(
            "SKIPPED a_full_disk_stops_the_run_and_leaves_the_old_content: this process may not mount a tmpfs"
        );
        return;
    };
    bench.put("a.txt", "old\n");
    let args = json!({"path": "a.txt", "content": "x".repeat(200_000)});
    let made = bench.make(1, "write_file", args).await;
    assert!(
        matches!(&made, Err(ToolError::Fatal(m)) if m.contains("the disk is full; free some space")),
        "{made:?}"
    );
    assert_eq!(bench.tree().len(), 1);
    assert_eq!(bench.get("a.txt"), "old\n");
    let made = bench
        .make(
            1,
            "write_file",
            json!({"path": "a.txt", "content": "new\n"}),
        )
        .await;
    assert!(made.is_ok(), "it goes on once there is room: {made:?}");
}

#[tokio::test]
async fn a_full_disk_for_undo_stops_the_run_before_anything_is_touched() {
    let bench = Bench::new();
    fs::create_dir_all(bench.home.path().join("data")).unwrap();
    let Some(_disk) = SmallDisk::mount(bench.home.path().join("data")) else {
        eprintln!(
            "SKIPPED a_full_disk_for_undo_stops_the_run_before_anything_is_touched: this process may not mount a tmpfs"
        );
        return;
    };
    bench.put("a.txt", "old\n".repeat(50_000));
    let made = bench.make(1, "delete_file", json!({"path": "a.txt"})).await;
    assert!(
        matches!(&made, Err(ToolError::Fatal(m)) if m.contains("the disk is full")),
        "{made:?}"
    );
    assert_eq!(bench.get("a.txt").len(), 200_000);
}
