use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn a_text_that_stands_once_is_replaced() {
    let bench = Bench::new();
    bench.put("a.txt", "one\ntwo\nthree\n");
    let said = bench
        .call(
            1,
            "edit_file",
            json!({"path": "a.txt", "old": "two\n", "new": "2\n2b\n"}),
        )
        .await;
    assert_eq!(
        said,
        "edited and saved a.txt at line 2: 1 line replaced with 2 lines; it has 4 lines now"
    );
    assert_eq!(bench.get("a.txt"), "one\n2\n2b\nthree\n");
    bench
        .call(
            2,
            "edit_file",
            json!({"path": "a.txt", "old": "2b\n", "new": ""}),
        )
        .await;
    assert_eq!(bench.get("a.txt"), "one\n2\nthree\n");
}

#[tokio::test]
async fn a_text_that_is_not_there_is_answered_with_the_closest_lines() {
    let bench = Bench::new();
    bench.put("a.rs", "fn main() {\n    let count = 10;\n}\n");
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.rs", "old": "let counter = 10;", "new": "x"}),
        )
        .await;
    assert_eq!(
        message,
        "old does not stand in a.rs; nothing was changed. It has let count = 10; (a line): did you mean edit_file {\"path\":\"a.rs\",\"old\":\"let count = 10;\",\"new\":\"x\"}?"
    );
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.rs", "old": "count: usize = 10", "new": "x"}),
        )
        .await;
    assert_eq!(
        message,
        "old does not stand in a.rs; nothing was changed. The closest is\nline 2:     let count = 10;"
    );
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.rs", "old": "fn main() {\n  let count = 10;", "new": "x"}),
        )
        .await;
    assert_eq!(
        message,
        "old does not stand in a.rs; nothing was changed. Blanks differ. From line 1 the file has exactly:\nfn main() {\n    let count = 10;"
    );
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.rs", "old": "count = 9", "new": "count = 10"}),
        )
        .await;
    assert!(message.contains("stands there already"), "{message}");
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.rs", "old": "日本", "new": "x"}),
        )
        .await;
    assert!(
        message.contains("read_file {\"path\":\"a.rs\"}"),
        "{message}"
    );
    assert_eq!(bench.get("a.rs"), "fn main() {\n    let count = 10;\n}\n");
}

#[tokio::test]
async fn a_text_that_stands_twice_is_answered_with_the_lines() {
    let bench = Bench::new();
    bench.put("a.txt", "x = 1\ny\nx = 1\n");
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "a.txt", "old": "x = 1", "new": "x = 2"}),
        )
        .await;
    assert!(
        message.starts_with("old stands in a.txt 2 times, at lines 1, 3; nothing was changed.")
            && message.ends_with("\"all\":true"),
        "{message}"
    );
    assert_eq!(bench.get("a.txt"), "x = 1\ny\nx = 1\n");
}

#[tokio::test]
async fn lines_of_windows_are_edited_as_they_are_shown() {
    let bench = Bench::new();
    bench.put("a.txt", "one\r\ntwo\r\nthree\r\n");
    bench
        .call(
            1,
            "edit_file",
            json!({"path": "a.txt", "old": "one\ntwo", "new": "1\n2\n2b"}),
        )
        .await;
    assert_eq!(bench.get("a.txt"), "1\r\n2\r\n2b\r\nthree\r\n");
}

#[tokio::test]
async fn what_cannot_be_edited_says_what_to_do() {
    let bench = Bench::new();
    bench.put("docs/a.txt", "x");
    bench.put("bin", b"\0\x01");
    bench.put("latin", b"caf\xe9");
    bench.put("empty", "");
    for (path, expected) in [
        (
            "docs",
            "docs is a folder; name a file in it. It has: docs/a.txt",
        ),
        (
            "bin",
            "bin is binary (of unknown type) and cannot be edited as text",
        ),
        ("latin", "latin is not UTF-8 text; edit it with run_command"),
        (
            "empty",
            "empty is empty; use write_file {\"path\":\"empty\"} to fill it",
        ),
        ("a.txt", "there is no a.txt; did you mean \"docs/a.txt\"?"),
    ] {
        let message = bench
            .refused("edit_file", json!({"path": path, "old": "a", "new": "b"}))
            .await;
        assert_eq!(message, expected);
    }
    let message = bench
        .refused(
            "edit_file",
            json!({"path": "docs/a.txt", "old": "x", "new": "x"}),
        )
        .await;
    assert!(message.contains("nothing to change"), "{message}");
}

#[tokio::test]
async fn a_text_is_replaced_everywhere_if_all_is_said() {
    let bench = Bench::new();
    bench.put("a.txt", "y\nx = 1; x = 1\nx = 1\n");
    let args = json!({"path": "a.txt", "old": "x = 1", "new": "x = 2\n", "all": true});
    assert_eq!(
        bench.call(1, "edit_file", args).await,
        "edited and saved a.txt in 3 places, the first at line 2: 1 line replaced with 1 line each; it has 6 lines now"
    );
    assert_eq!(bench.get("a.txt"), "y\nx = 2\n; x = 2\n\nx = 2\n\n");
    let args = json!({"path": "a.txt", "old": "y", "new": "z", "all": true});
    assert_eq!(
        bench.call(2, "edit_file", args).await,
        "edited and saved a.txt at line 1: 1 line replaced with 1 line; it has 6 lines now"
    );
    let after = "z\nx = 2\n; x = 2\n\nx = 2\n\n";
    assert_eq!(bench.get("a.txt"), after);
    let args = json!({"path": "a.txt", "old": "x = 3", "new": "x = 4", "all": true});
    let message = bench.refused("edit_file", args).await;
    assert!(
        message.starts_with("old does not stand in a.txt; nothing was changed. The closest is\n"),
        "{message}"
    );
    let args = json!({"path": "a.txt", "old": "x = 2", "new": "x = 4", "all": false});
    let message = bench.refused("edit_file", args).await;
    assert!(
        message.starts_with("old stands in a.txt 3 times"),
        "{message}"
    );
    assert_eq!(bench.get("a.txt"), after);
    bench.undo(2, "edit_file").await.unwrap();
    bench.undo(1, "edit_file").await.unwrap();
    assert_eq!(bench.get("a.txt"), "y\nx = 1; x = 1\nx = 1\n");
}

#[tokio::test]
async fn all_lines_of_windows_are_replaced_as_they_are_shown() {
    let bench = Bench::new();
    bench.put("a.txt", "a\r\nb\r\na\r\nb\r\n");
    let args = json!({"path": "a.txt", "old": "a\nb", "new": "1\n2", "all": true});
    bench.call(1, "edit_file", args).await;
    assert_eq!(bench.get("a.txt"), "1\r\n2\r\n1\r\n2\r\n");
}

#[tokio::test]
async fn replacing_many_places_makes_no_file_that_is_too_large() {
    let bench = Bench::new();
    let before = "x".repeat(100_000);
    bench.put("a.txt", &before);
    let args = json!({"path": "a.txt", "old": "x", "new": "y".repeat(1000), "all": true});
    let message = bench.refused("edit_file", args).await;
    assert!(
        message.contains("100000 times") && message.contains("would be too large"),
        "{message}"
    );
    assert_eq!(bench.get("a.txt"), before);
}

#[tokio::test]
async fn the_call_that_was_meant_is_given_where_it_is_clear() {
    let bench = Bench::new();
    bench.put(
        "a.md",
        "We recieve mail.\nversion = \"0.3.1\"\nTo recieve more, wait.\n",
    );
    for (old, new, expected) in [
        (
            "receive",
            "receive",
            "old and new are the same, so there is nothing to change. It has recieve (line 1, line 3): did you mean edit_file {\"path\":\"a.md\",\"old\":\"recieve\",\"new\":\"receive\"}?",
        ),
        (
            "recive",
            "receive",
            "old does not stand in a.md; nothing was changed. It has recieve (line 1, line 3): did you mean edit_file {\"path\":\"a.md\",\"old\":\"recieve\",\"new\":\"receive\"}?",
        ),
        (
            "version = \"0.3.0\"",
            "version = \"0.4.0\"",
            "old does not stand in a.md; nothing was changed. It has version = \"0.3.1\" (a line): did you mean edit_file {\"path\":\"a.md\",\"old\":\"version = \\\"0.3.1\\\"\",\"new\":\"version = \\\"0.4.0\\\"\"}?",
        ),
    ] {
        let message = bench
            .refused("edit_file", json!({"path": "a.md", "old": old, "new": new}))
            .await;
        assert_eq!(message, expected);
    }
}
