use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
};

use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn a_file_is_shown_with_its_number_of_lines() {
    let bench = Bench::new();
    bench.put("grüße/日本.txt", "eins\nzwei\r\ndrei");
    let text = bench
        .call(1, "read_file", json!({"path": "grüße/日本.txt"}))
        .await;
    assert_eq!(
        text,
        "<file path=\"grüße/日本.txt\" lines=\"1-3 of 3\">\neins\nzwei\ndrei\n</file>"
    );
    let text = bench
        .call(
            2,
            "read_file",
            json!({"path": "grüße/日本.txt", "from_line": 2, "to_line": 2}),
        )
        .await;
    assert_eq!(
        text,
        "<file path=\"grüße/日本.txt\" lines=\"2 of 3\">\nzwei\n</file>"
    );
    let text = bench
        .call(
            3,
            "read_file",
            json!({"path": "grüße/日本.txt", "from_line": 2, "to_line": 99}),
        )
        .await;
    assert_eq!(
        text,
        "<file path=\"grüße/日本.txt\" lines=\"2-3 of 3\">\nzwei\ndrei\n</file>"
    );
}

#[tokio::test]
async fn a_long_file_is_read_in_parts_that_add_up() {
    let bench = Bench::new();
    let content: String = (1..=2000).map(|n| format!("line {n}\n")).collect();
    bench.put("long.txt", &content);
    let (mut read, mut next) = (String::new(), 1);
    loop {
        let text = bench
            .call(
                1,
                "read_file",
                json!({"path": "long.txt", "from_line": next}),
            )
            .await;
        assert!(text.len() < 8400);
        assert!(
            text.starts_with(&format!("<file path=\"long.txt\" lines=\"{next}-")),
            "{}",
            &text[..40]
        );
        let body = text.split_once('\n').unwrap().1;
        let (body, rest) = body.split_once("\n</file>").unwrap();
        read += body;
        read += "\n";
        let Some(at) = rest.find("\"from_line\":") else {
            assert_eq!(rest, "");
            break;
        };
        next = rest[at + 12..].trim_end_matches('}').parse().unwrap();
    }
    assert_eq!(read, content);
}

#[tokio::test]
async fn what_is_no_text_is_said() {
    let bench = Bench::new();
    bench.put("empty.txt", "");
    bench.put("logo.png", b"\x89PNG\r\n\x1a\n\0\0\0");
    bench.put("data", b"ab\0cd");
    bench.put("latin.txt", b"caf\xe9\n");
    let mut said = Vec::new();
    for path in ["empty.txt", "logo.png", "data"] {
        said.push(bench.call(1, "read_file", json!({"path": path})).await);
    }
    assert_eq!(
        said,
        [
            "empty.txt is empty (0 lines, 0 bytes)",
            "logo.png is binary: a PNG image, 11 bytes; it cannot be read as text",
            "data is binary: of unknown type, 5 bytes; it cannot be read as text",
        ]
    );
    let text = bench
        .call(1, "read_file", json!({"path": "latin.txt"}))
        .await;
    assert!(
        text.contains("caf\u{fffd}") && text.contains("not UTF-8"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_the_call_that_can() {
    let bench = Bench::new();
    bench.put("docs/report.md", "x\n");
    bench.put("docs/img/a.png", "x\n");
    let message = bench.refused("read_file", json!({"path": "docs"})).await;
    assert_eq!(
        message,
        "docs is a folder; use list_files {\"path\":\"docs\"}. It has: docs/img/, docs/report.md"
    );
    let message = bench
        .refused("read_file", json!({"path": "docs/reprot.md"}))
        .await;
    assert_eq!(
        message,
        "there is no docs/reprot.md; did you mean \"docs/report.md\"?"
    );
    let message = bench
        .refused("read_file", json!({"path": "report.md"}))
        .await;
    assert_eq!(
        message,
        "there is no report.md; did you mean \"docs/report.md\"?"
    );
    let message = bench
        .refused("read_file", json!({"path": "docs/zzz"}))
        .await;
    assert_eq!(
        message,
        "there is no docs/zzz; use list_files {\"path\":\"docs\"} to see what is there"
    );
    let message = bench
        .refused(
            "read_file",
            json!({"path": "docs/report.md", "from_line": 5}),
        )
        .await;
    assert!(message.contains("has only 1 line"), "{message}");
    let message = bench
        .refused(
            "read_file",
            json!({"path": "docs/report.md", "from_line": 5, "to_line": 2}),
        )
        .await;
    assert!(
        message.contains("\"from_line\":2,\"to_line\":5"),
        "{message}"
    );
    nix::unistd::mkfifo(&bench.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let message = bench.refused("read_file", json!({"path": "pipe"})).await;
    assert!(message.contains("neither a file nor a folder"), "{message}");
}

#[tokio::test]
async fn a_huge_line_is_cut_between_characters_and_the_next_can_be_read() {
    let bench = Bench::new();
    bench.put(
        "huge.txt",
        format!("first\n{}\nlast\n", "ä".repeat(3_000_000)),
    );
    let text = bench
        .call(1, "read_file", json!({"path": "huge.txt"}))
        .await;
    assert_eq!(
        text,
        "<file path=\"huge.txt\" lines=\"1 of 3\">\nfirst\n</file>\n…truncated; for more use read_file {\"path\":\"huge.txt\",\"from_line\":2}"
    );
    let text = bench
        .call(2, "read_file", json!({"path": "huge.txt", "from_line": 2}))
        .await;
    assert!(
        text.len() < 8600 && !text.contains('\u{fffd}'),
        "{}",
        text.len()
    );
    assert!(
        text.contains("…truncated: line 2 goes on for 5991808 more bytes"),
        "{}",
        &text[8000..]
    );
    assert!(text.ends_with("\"from_line\":3}"), "{}", &text[8000..]);
    let text = bench
        .call(3, "read_file", json!({"path": "huge.txt", "from_line": 3}))
        .await;
    assert_eq!(
        text,
        "<file path=\"huge.txt\" lines=\"3 of 3\">\nlast\n</file>"
    );
}

#[tokio::test]
async fn a_file_of_two_gigabytes_is_read_in_passing() {
    let bench = Bench::new();
    let mut file = fs::File::create(bench.path("big.txt")).unwrap();
    file.write_all("a line\n".repeat(10_000).as_bytes())
        .unwrap();
    file.seek(SeekFrom::Start(2 << 30)).unwrap();
    file.write_all(b"\nthe end\n").unwrap();
    fs::File::create(bench.path("zeros"))
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    let text = bench
        .call(
            1,
            "read_file",
            json!({"path": "big.txt", "from_line": 3, "to_line": 4}),
        )
        .await;
    assert_eq!(
        text,
        "<file path=\"big.txt\" lines=\"3-4 of 10002\">\na line\na line\n</file>"
    );
    let text = bench
        .call(
            2,
            "read_file",
            json!({"path": "big.txt", "from_line": 10002}),
        )
        .await;
    assert_eq!(
        text,
        "<file path=\"big.txt\" lines=\"10002 of 10002\">\nthe end\n</file>"
    );
    let text = bench.call(3, "read_file", json!({"path": "zeros"})).await;
    assert_eq!(
        text,
        "zeros is binary: of unknown type, 2147483648 bytes; it cannot be read as text"
    );
    let text = bench
        .call(
            4,
            "search_files",
            json!({"pattern": "line$", "path": "big.txt"}),
        )
        .await;
    assert!(text.contains(" lines in 1 file match \"line$\":"), "{text}");
    let text = bench.call(4, "list_files", json!({})).await;
    assert!(
        text.contains("big.txt (2147483657 bytes; lines not counted, read_file counts them)"),
        "{text}"
    );
    for (tool, args) in [
        ("write_file", json!({"path": "big.txt", "content": "x"})),
        (
            "edit_file",
            json!({"path": "big.txt", "old": "the end", "new": "x"}),
        ),
        ("delete_file", json!({"path": "big.txt"})),
    ] {
        bench.refused(tool, args).await;
    }
    bench
        .call(
            5,
            "move_file",
            json!({"from": "big.txt", "to": "moved.txt"}),
        )
        .await;
    assert!(bench.path("moved.txt").exists());
    assert!(resident_peak_mb() < 300, "{} MB", resident_peak_mb());
}

fn resident_peak_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
