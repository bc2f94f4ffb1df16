use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn each_text_file_is_listed_with_its_lines() {
    let bench = Bench::new();
    bench.put("docs/a.md", "one\ntwo\n");
    bench.put("docs/b.md", "no end");
    bench.put("docs/empty", "");
    bench.put("docs/logo.png", b"\x89PNG\r\n\x1a\n\0\0\0");
    bench.put("docs/sub/c.md", "c\n");
    bench.link("docs/away", "/etc/passwd");
    let text = bench.call(1, "list_files", json!({"path": "docs/"})).await;
    assert_eq!(
        text,
        "docs: 6 files, 1 folder, 4 lines in all\n\
         docs/a.md (2 lines, 8 bytes) begins: one\n\
         docs/away (link to /etc/passwd, which is not in the workspace)\n\
         docs/b.md (1 line, 6 bytes) begins: no end\n\
         docs/empty (0 lines, 0 bytes)\n\
         docs/logo.png (11 bytes, a PNG image)\n\
         docs/sub/ (1 entry)\n\
         docs/sub/c.md (1 line, 2 bytes) begins: c\n\
         the longest: docs/a.md (2 lines)"
    );
}

#[tokio::test]
async fn the_longest_of_many_files_are_said_last() {
    let bench = Bench::new();
    for number in 1..=7 {
        bench.put(&format!("src/f{number}.rs"), "x\n".repeat(number));
    }
    let text = bench
        .call(1, "list_files", json!({"path": "src", "glob": "*.rs"}))
        .await;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("src: 7 files, 28 lines in all"));
    assert_eq!(lines.next(), Some("src/f1.rs (1 line, 2 bytes) begins: x"));
    assert!(
        text.ends_with(
            "\nthe three longest of them:\n1. src/f7.rs (7 lines)\n2. src/f6.rs (6 lines)\n3. src/f5.rs (5 lines)"
        ),
        "{text}"
    );
    let text = bench
        .call(2, "list_files", json!({"path": "src", "sort": "lines"}))
        .await;
    assert_eq!(
        text.lines().nth(1),
        Some("src/f7.rs (7 lines, 14 bytes) begins: x")
    );
}

#[tokio::test]
async fn a_recursive_list_passes_by_what_is_ignored() {
    let bench = Bench::new();
    bench.put(".gitignore", "target\n*.log\n");
    bench.put("kernel/.gitignore", "/gen\n");
    bench.put("kernel/src/lib.rs", "x\n");
    bench.put("kernel/gen/out.rs", "x\n");
    bench.put("kernel/target/out.rs", "x\n");
    bench.put("kernel/run.log", "x\n");
    bench.put(".git/config", "x\n");
    bench.put(".github/ci.yml", "x\n");
    for (path, glob) in [
        (".", "*.rs"),
        ("kernel", "*.rs"),
        ("kernel", "kernel/src/*.rs"),
        ("kernel", "src/*.rs"),
    ] {
        let text = bench
            .call(1, "list_files", json!({"path": path, "glob": glob}))
            .await;
        let files: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            files,
            ["kernel/src/lib.rs (1 line, 2 bytes) begins: x"],
            "{path} {glob}"
        );
    }
    let text = bench
        .call(2, "list_files", json!({"recursive": true}))
        .await;
    assert!(
        text.contains("without what .gitignore leaves out") && text.contains(".github/ci.yml"),
        "{text}"
    );
    assert!(
        !text.contains("run.log") && !text.contains(".git/config"),
        "{text}"
    );
    let text = bench.call(3, "list_files", json!({"path": "kernel"})).await;
    assert!(
        text.contains("kernel/target/ (1 entry)") && text.contains("run.log"),
        "{text}"
    );
    let text = bench
        .call(
            4,
            "list_files",
            json!({"path": "kernel/target", "recursive": true}),
        )
        .await;
    assert!(text.contains("kernel/target/out.rs"), "{text}");
}

#[tokio::test]
async fn what_is_no_folder_is_answered_all_the_same() {
    let bench = Bench::new();
    bench.put("a.txt", "x\ny\n");
    std::fs::create_dir(bench.path("none")).unwrap();
    let text = bench.call(1, "list_files", json!({"path": "a.txt"})).await;
    assert_eq!(
        text,
        "a.txt is a file, not a folder: 2 lines, 4 bytes; use read_file {\"path\":\"a.txt\"} to read it"
    );
    assert_eq!(
        bench.call(2, "list_files", json!({"path": "none"})).await,
        "none is an empty folder"
    );
    assert_eq!(
        bench.call(3, "list_files", json!({"glob": "*.rs"})).await,
        ".: 1 file, 1 folder; nothing matches *.rs, so this is what is in the folder itself\n\
         a.txt (2 lines, 4 bytes) begins: x\n\
         none/ (0 entries)"
    );
    let message = bench.refused("list_files", json!({"path": "non"})).await;
    assert!(message.contains("did you mean \"none\"?"), "{message}");
    let message = bench.refused("list_files", json!({"glob": "a{b"})).await;
    assert!(message.contains("is not a glob"), "{message}");
    let message = bench
        .refused("list_files", json!({"path": "a.txt/b"}))
        .await;
    assert!(
        message.contains("a.txt is a file, not a folder"),
        "{message}"
    );
}

#[tokio::test]
async fn a_long_list_is_cut_and_says_so() {
    let bench = Bench::new();
    for number in 0..500 {
        bench.put(
            &format!("file-with-a-rather-long-name-{number:03}.txt"),
            "x\n",
        );
    }
    let text = bench.call(1, "list_files", json!({})).await;
    assert!(text.len() < 8400, "{}", text.len());
    assert!(
        text.starts_with(".: 500 files, 500 lines in all\n"),
        "{text}"
    );
    let end: Vec<_> = text.lines().rev().take(5).collect();
    assert!(end[4].contains("of 500 shown"), "{text}");
    assert_eq!(end[3], "the three longest of them:");
}

#[tokio::test]
async fn folders_inside_are_listed_too_where_there_is_little_in_them() {
    let bench = Bench::new();
    bench.put("a/b/deep.md", "x\n");
    bench.put("a.md", "x\n");
    for number in 0..36 {
        bench.put(&format!("many/{number:02}.txt"), "x\n");
    }
    let text = bench.call(1, "list_files", json!({"path": "a"})).await;
    assert_eq!(
        text,
        "a: 1 file, 1 folder\na/b/ (1 entry)\na/b/deep.md (1 line, 2 bytes) begins: x"
    );
    // 41 entries with those in the folders inside.
    let large =
        ".: 1 file, 2 folders\na/ (1 entry)\na.md (1 line, 2 bytes) begins: x\nmany/ (36 entries)";
    assert_eq!(bench.call(2, "list_files", json!({})).await, large);
    std::fs::remove_file(bench.path("many/35.txt")).unwrap();
    let text = bench.call(3, "list_files", json!({})).await;
    assert!(
        text.starts_with(".: 37 files, 3 folders, 37 lines in all\n"),
        "{text}"
    );
    let (listed, _) = text.split_once("\nthe three longest").unwrap();
    let lines: Vec<_> = listed.lines().skip(1).collect();
    assert_eq!(lines.len(), 40);
    assert_eq!(
        lines[..4],
        [
            "a/ (1 entry)",
            "a/b/ (1 entry)",
            "a/b/deep.md (1 line, 2 bytes)",
            "a.md (1 line, 2 bytes)"
        ]
    );
    assert_eq!(lines[39], "many/34.txt (1 line, 2 bytes)");
    let flat = bench
        .call(4, "list_files", json!({"recursive": false}))
        .await;
    assert_eq!(flat, large.replace("36 entries", "35 entries"));
}

#[tokio::test]
async fn what_is_ignored_is_no_less_there_in_the_folder_that_is_listed() {
    let bench = Bench::new();
    bench.put(".gitignore", "target\n*.log\n");
    bench.put("logs/a.log", "x\n");
    bench.put("crate/run.log", "x\n");
    bench.put("crate/src/lib.rs", "x\n");
    bench.put("crate/src/run.log", "x\n");
    bench.put("crate/target/out.rs", "x\n");
    assert_eq!(
        bench.call(1, "list_files", json!({"path": "logs"})).await,
        "logs: 1 file\nlogs/a.log (1 line, 2 bytes) begins: x"
    );
    assert_eq!(
        bench.call(2, "list_files", json!({"path": "crate"})).await,
        "crate: 2 files, 2 folders, 2 lines in all; without what .gitignore leaves out\n\
         crate/run.log (1 line, 2 bytes) begins: x\n\
         crate/src/ (2 entries)\n\
         crate/src/lib.rs (1 line, 2 bytes) begins: x\n\
         crate/target/ (1 entry)"
    );
}

#[tokio::test]
async fn a_glob_that_matches_nothing_is_answered_with_what_there_is() {
    let bench = Bench::new();
    bench.put("docs/a.md", "a\n");
    bench.put("docs/sub/b.md", "b\n");
    let all = "docs/a.md (1 line, 2 bytes) begins: a\ndocs/sub/ (1 entry)\ndocs/sub/b.md (1 line, 2 bytes) begins: b";
    let args = json!({"path": "docs", "glob": "*.rs"});
    assert_eq!(
        bench.call(1, "list_files", args).await,
        format!(
            "docs: 2 files, 1 folder, 2 lines in all; nothing matches *.rs, so this is all there is\n{all}"
        )
    );
    for number in 0..50 {
        bench.put(&format!("docs/sub/{number}.txt"), "x\n");
    }
    let args = json!({"path": "docs", "glob": "*.rs"});
    assert_eq!(
        bench.call(2, "list_files", args).await,
        "docs: 1 file, 1 folder; nothing matches *.rs, so this is what is in the folder itself\n\
         docs/a.md (1 line, 2 bytes) begins: a\n\
         docs/sub/ (51 entries)"
    );
    let args = json!({"path": "docs", "glob": "*.rs", "recursive": true});
    let text = bench.call(3, "list_files", args).await;
    assert!(
        text.starts_with("docs: 52 files, 1 folder, 52 lines in all; nothing matches *.rs, so this is all there is\n"),
        "{text}"
    );
    assert!(
        text.contains("\ndocs/sub/49.txt (1 line, 2 bytes)"),
        "{text}"
    );
    std::fs::create_dir(bench.path("none")).unwrap();
    let args = json!({"path": "none", "glob": "*.rs"});
    assert_eq!(
        bench.call(4, "list_files", args).await,
        "none is an empty folder"
    );
}
