use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn each_line_that_matches_is_named_with_its_place() {
    let bench = Bench::new();
    bench.put("src/a.rs", "fn main() {\n    let x = 1;\n}\n");
    bench.put("src/b.rs", "// fn\r\nfn other() {}\n");
    bench.put("notes.md", "fn\n");
    let text = bench
        .call(
            1,
            "search_files",
            json!({"pattern": "fn \\w+", "path": "src"}),
        )
        .await;
    assert_eq!(
        text,
        "2 lines in 2 files match \"fn \\w+\":\nsrc/a.rs:1: fn main() {\nsrc/b.rs:2: fn other() {}"
    );
    let text = bench
        .call(
            2,
            "search_files",
            json!({"pattern": "^fn$", "glob": "*.md"}),
        )
        .await;
    assert_eq!(text, "1 line in 1 file matches \"^fn$\":\nnotes.md:1: fn");
    let text = bench
        .call(
            3,
            "search_files",
            json!({"pattern": "let", "path": "src/a.rs"}),
        )
        .await;
    assert!(text.ends_with("src/a.rs:2:     let x = 1;"), "{text}");
    let text = bench
        .call(4, "search_files", json!({"pattern": "nothing"}))
        .await;
    assert_eq!(text, "nothing in . matches \"nothing\" (3 files searched)");
}

#[tokio::test]
async fn what_is_no_regular_expression_is_searched_as_text() {
    let bench = Bench::new();
    bench.put("a.c", "int main(\nmain[0\n");
    let text = bench
        .call(1, "search_files", json!({"pattern": "main("}))
        .await;
    assert_eq!(
        text,
        "1 line in 1 file matches \"main(\"; pattern is no regular expression, so it was searched as plain text:\na.c:1: int main("
    );
    let message = bench
        .refused("search_files", json!({"pattern": "a\nb"}))
        .await;
    assert!(message.contains("search for one line"), "{message}");
}

#[tokio::test]
async fn case_is_forgiven_only_if_nothing_matches_exactly() {
    let bench = Bench::new();
    bench.put("a.txt", "TODO one\ntodo two\nFixme\n");
    let text = bench
        .call(1, "search_files", json!({"pattern": "TODO"}))
        .await;
    assert!(text.starts_with("1 line in 1 file"), "{text}");
    let text = bench
        .call(2, "search_files", json!({"pattern": "FIXME"}))
        .await;
    assert!(
        text.contains("case taken as the same") && text.ends_with("a.txt:3: Fixme"),
        "{text}"
    );
}

#[tokio::test]
async fn ignored_and_binary_files_are_passed_by() {
    let bench = Bench::new();
    bench.put(".gitignore", "out/\n");
    bench.put("out/a.txt", "needle\n");
    bench.put("b.bin", b"\0\0needle\n");
    bench.put(".git/c", "needle\n");
    bench.put("d.txt", "needle\n");
    let text = bench
        .call(1, "search_files", json!({"pattern": "needle"}))
        .await;
    assert_eq!(
        text,
        "1 line in 1 file matches \"needle\":\nd.txt:1: needle"
    );
}

#[tokio::test]
async fn many_matches_are_counted_and_long_lines_cut_around_the_match() {
    let bench = Bench::new();
    bench.put("many.txt", "a needle here\n".repeat(5000));
    let text = bench
        .call(1, "search_files", json!({"pattern": "needle"}))
        .await;
    assert!(
        text.starts_with("5000 lines in 1 file match") && text.len() < 8600,
        "{}",
        text.len()
    );
    assert!(
        text.lines().last().unwrap().starts_with("…truncated: "),
        "{text}"
    );
    bench.put(
        "many.txt",
        format!("{}needle{}\n", "ä".repeat(10_000), "ö".repeat(10_000)),
    );
    let text = bench
        .call(2, "search_files", json!({"pattern": "needle"}))
        .await;
    assert!(
        text.contains("needleö") && text.contains("many.txt:1: …ä") && text.ends_with("ö…"),
        "{text}"
    );
    assert!(text.len() < 500);
}

#[tokio::test]
async fn a_glob_that_no_file_has_is_said_and_passed_over() {
    let bench = Bench::new();
    bench.put("src/limits.py", "MAX_RETRIES = 3\n");
    let text = bench
        .call(
            1,
            "search_files",
            json!({"pattern": "MAX_RETRIES", "path": "src", "glob": "*.rs"}),
        )
        .await;
    for part in ["no file matches *.rs", "src/limits.py:1: MAX_RETRIES = 3"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
}

#[tokio::test]
async fn a_file_or_folder_that_is_searched_for_by_its_name_is_named() {
    let bench = Bench::new();
    bench.put("data/names.txt", "Ada\n");
    for (number, pattern) in [(1, "names.txt"), (2, "Names")] {
        let text = bench
            .call(number, "search_files", json!({"pattern": pattern}))
            .await;
        assert!(
            text.ends_with("use read_file {\"path\":\"data/names.txt\"} to read it"),
            "{text}"
        );
    }
    let text = bench
        .call(4, "search_files", json!({"pattern": "Data"}))
        .await;
    assert!(
        text.ends_with("use list_files {\"path\":\"data\"} to see what is in it"),
        "{text}"
    );
    let text = bench
        .call(3, "search_files", json!({"pattern": "absent"}))
        .await;
    assert!(!text.contains("read_file"), "{text}");
}

#[tokio::test]
async fn where_nothing_matches_what_may_be_meant_is_shown() {
    let bench = Bench::new();
    bench.put("README.md", "We recieve mail.\n\nTo recieve more, wait.\n");
    bench.put(
        "docs/leave.md",
        "# Holiday\n\nAfter five years there are 29 days.\n",
    );
    bench.put("tmp/a.tmp", "x");
    bench.put("tmp/b.tmp", "y");
    let said = |number, pattern: &'static str| {
        let bench = &bench;
        async move {
            bench
                .call(number, "search_files", json!({"pattern": pattern}))
                .await
        }
    };
    assert!(
        said(1, "receive")
            .await
            .ends_with("\nThere is \"recieve\" (README.md:1, README.md:3)")
    );
    assert!(said(2, "days of holiday").await.ends_with(
        "\nLines with some of its words:\n\
             docs/leave.md:1: # Holiday\n\
             docs/leave.md:3: After five years there are 29 days."
    ));
    assert!(
        said(3, "\\.tmp")
            .await
            .ends_with("\nFiles of such a name: tmp/a.tmp, tmp/b.tmp")
    );
    assert_eq!(
        said(4, "zebra crossing").await,
        "nothing in . matches \"zebra crossing\" (4 files searched)"
    );
}
