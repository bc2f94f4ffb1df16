use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::bench::Bench;

/// A call of every tool that takes a path, with `path` in each place where one goes.
fn calls(path: &str) -> Vec<(&'static str, Value)> {
    let mut calls = vec![
        ("list_files", json!({"path": path})),
        ("read_file", json!({"path": path})),
        ("search_files", json!({"pattern": "outside", "path": path})),
    ];
    calls.extend(writes(path));
    calls
}

fn writes(path: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("write_file", json!({"path": path, "content": "x"})),
        (
            "edit_file",
            json!({"path": path, "old": "outside", "new": "x"}),
        ),
        ("move_file", json!({"from": path, "to": "taken.txt"})),
        ("move_file", json!({"from": "inside.txt", "to": path})),
        ("delete_file", json!({"path": path})),
    ]
}

#[tokio::test]
async fn nothing_leads_out_of_the_workspace() {
    let bench = Bench::new();
    bench.put("inside.txt", "inside\n");
    bench.link("file", "../outside.txt");
    bench.link(
        "absolute",
        bench.home.path().join("outside.txt").to_str().unwrap(),
    );
    bench.link("folder", "..");
    bench.link("dangling", "../not-there.txt");
    bench.link("twice", "folder");
    let before = bench.tree();
    for path in [
        "..",
        "../outside.txt",
        "a/../../outside.txt",
        "/etc/passwd",
        "/",
        "file",
        "absolute",
        "folder",
        "folder/outside.txt",
        "folder/new.txt",
        "dangling",
        "twice/outside.txt",
    ] {
        for (tool, args) in calls(path) {
            // A link can be listed as such but never through.
            let message = bench.refused(tool, args.clone()).await;
            assert!(!message.contains("passwd:"), "{tool} {args}: {message}");
        }
    }
    assert_eq!(bench.tree(), before);
    assert_eq!(
        fs::read_to_string(bench.home.path().join("outside.txt")).unwrap(),
        "outside\n"
    );
    assert!(
        !bench.home.path().join("new.txt").exists()
            && !bench.home.path().join("not-there.txt").exists()
    );
}

#[tokio::test]
async fn a_refusal_says_how_to_name_a_path() {
    let bench = Bench::new();
    bench.put("docs/a.md", "a\n");
    let message = bench.refused("read_file", json!({"path": "../x"})).await;
    assert!(
        message.contains("use a path relative to the workspace"),
        "{message}"
    );
    let message = bench
        .refused("read_file", json!({"path": "/docs/a.md"}))
        .await;
    assert!(
        message.contains("relative to the workspace: \"docs/a.md\""),
        "{message}"
    );
}

#[tokio::test]
async fn an_absolute_path_inside_is_taken() {
    let bench = Bench::new();
    bench.put("docs/a.md", "a\n");
    let path = bench.path("docs/a.md");
    assert_eq!(
        bench.call(1, "read_file", json!({"path": path})).await,
        "<file path=\"docs/a.md\" lines=\"1 of 1\">\na\n</file>"
    );
    let text = bench
        .call(2, "list_files", json!({"path": bench.path("")}))
        .await;
    assert!(text.contains("docs/ (1 entry)"), "{text}");
    bench
        .call(
            3,
            "write_file",
            json!({"path": bench.path("docs/b.md"), "content": "b"}),
        )
        .await;
    assert_eq!(bench.get("docs/b.md"), "b");
}

#[tokio::test]
async fn links_to_the_inside_are_read_and_named_when_written() {
    let bench = Bench::new();
    bench.put("real/a.txt", "a\n");
    bench.link("relative", "real/a.txt");
    bench.link("absolute", bench.path("real").to_str().unwrap());
    assert!(
        bench
            .call(1, "read_file", json!({"path": "relative"}))
            .await
            .ends_with(" of 1\">\na\n</file>")
    );
    assert!(
        bench
            .call(2, "read_file", json!({"path": "absolute/a.txt"}))
            .await
            .ends_with(" of 1\">\na\n</file>")
    );
    let message = bench
        .refused("write_file", json!({"path": "relative", "content": "x"}))
        .await;
    assert_eq!(
        message,
        "relative is a link to real/a.txt; use \"real/a.txt\" instead"
    );
    let message = bench
        .refused("delete_file", json!({"path": "relative"}))
        .await;
    assert!(message.contains("real/a.txt"), "{message}");
    let said = bench
        .call(
            3,
            "write_file",
            json!({"path": "absolute/new/b.txt", "content": "b"}),
        )
        .await;
    assert_eq!(said, "wrote real/new/b.txt (1 line, 1 byte)");
    assert_eq!(bench.get("real/new/b.txt"), "b");
}

#[tokio::test]
async fn protected_paths_are_never_written_whether_they_exist_or_not() {
    let bench = Bench::new();
    bench.put("inside.txt", "inside\n");
    bench.put("sub/.git/config", "outside\n");
    bench.link("way", "sub/.git");
    let before = bench.tree();
    for path in [
        ".gpak/config.toml",
        ".gpak",
        "sub/.gpak/x/y",
        ".git/hooks/pre-commit",
        "sub/.git/config",
        "way/config",
        ".config/gpak/config.toml",
        ".config/gpak",
        "./x/../.gpak/config.toml",
    ] {
        for (tool, args) in writes(path) {
            bench.refused(tool, args).await;
        }
        let message = bench
            .refused("write_file", json!({"path": path, "content": "x"}))
            .await;
        assert!(message.contains("choose another path"), "{message}");
    }
    assert_eq!(bench.tree(), before);
    assert!(
        bench
            .call(1, "read_file", json!({"path": "way/config"}))
            .await
            .contains("outside")
    );
    bench
        .call(
            2,
            "write_file",
            json!({"path": ".gitignore", "content": "x"}),
        )
        .await;
    bench
        .call(
            3,
            "write_file",
            json!({"path": ".config/other.toml", "content": "x"}),
        )
        .await;
}

#[tokio::test]
async fn folders_of_gpak_itself_are_neither_read_nor_moved_away() {
    let bench = Bench::new();
    bench.put(".config/gpak/config.toml", "key = 'secret'\n");
    bench.put(".config/other.toml", "key = 1\n");
    let message = bench
        .refused("read_file", json!({"path": ".config/gpak/config.toml"}))
        .await;
    assert!(message.contains("belongs to gpak itself"), "{message}");
    bench
        .refused("move_file", json!({"from": ".config", "to": "mine"}))
        .await;
    let found = bench
        .call(1, "search_files", json!({"pattern": "key"}))
        .await;
    assert!(
        found.contains("other.toml") && !found.contains("secret"),
        "{found}"
    );
}

#[tokio::test]
async fn a_workspace_within_gpaks_own_folder_is_not_written() {
    let bench = Bench::with(|options| options.protected = vec![options.undo_dir.join("../..")]);
    let message = bench
        .refused("write_file", json!({"path": "a.txt", "content": "x"}))
        .await;
    assert!(message.contains("belongs to gpak itself"), "{message}");
}

#[test]
fn a_folder_exchanged_for_a_link_while_it_is_written_leads_nowhere() {
    let bench = Bench::new();
    bench.put("a/keep.txt", "");
    let (writing, path) = (AtomicBool::new(true), bench.path(""));
    let outside = bench.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while writing.load(Ordering::Relaxed) {
                let _ = fs::rename(path.join("a"), path.join("b"));
                let _ = std::os::unix::fs::symlink(&outside, path.join("a"));
                let _ = fs::remove_file(path.join("a"));
                let _ = fs::rename(path.join("b"), path.join("a"));
            }
        });
        let _end = AtEnd(|| writing.store(false, Ordering::Relaxed));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            for number in 0..200 {
                let args = json!({"path": format!("a/{number}.txt"), "content": "x"});
                let _ = bench.make(number, "write_file", args).await;
            }
        });
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Ends the other thread also when this one fails.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
