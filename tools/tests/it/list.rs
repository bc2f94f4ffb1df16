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
        "docs: 5 files, 1 folder, 3 lines in all\n\
         docs/a.md (2 lines, 8 bytes)\n\
         docs/away (link to /etc/passwd, which is not in the workspace)\n\
         docs/b.md (1 line, 6 bytes)\n\
         docs/empty (0 lines, 0 bytes)\n\
         docs/logo.png (11 bytes, a PNG image)\n\
         docs/sub/ (1 entry)"
    );
}

#[tokio::test]
async fn the_longest_of_many_files_are_said_first() {
    let bench = Bench::new();
    for number in 1..=7 {
        bench.put(&format!("src/f{number}.rs"), "x\n".repeat(number));
    }
    let text = bench
        .call(1, "list_files", json!({"path": "src", "glob": "*.rs"}))
        .await;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("src: 7 files, 28 lines in all"));
    assert_eq!(
        lines.next(),
        Some("the longest: src/f7.rs (7 lines), src/f6.rs (6 lines), src/f5.rs (5 lines)")
    );
    assert_eq!(lines.next(), Some("src/f1.rs (1 line, 2 bytes)"));
    let text = bench
        .call(2, "list_files", json!({"path": "src", "sort": "lines"}))
        .await;
    assert_eq!(text.lines().nth(2), Some("src/f7.rs (7 lines, 14 bytes)"));
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
            ["kernel/src/lib.rs (1 line, 2 bytes)"],
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
        "no file under . matches *.rs"
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
    assert!(
        text.lines().last().unwrap().contains("of 500 shown"),
        "{text}"
    );
}
