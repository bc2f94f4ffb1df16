//! `gpak memory`: what a user remembers, finds, moves and forgets.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use rusqlite::Connection;
use serde_json::Value;

use crate::place::{Place, Said};

/// Two talks in LoCoMo's format that nobody had.
const TALKS: &str = r#"[{
    "sample_id": "synthetic",
    "conversation": {
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "I adopted a parrot yesterday."},
            {"speaker": "Bob", "dia_id": "D1:2", "text": "My violin broke."}
        ]
    },
    "qa": [{"question": "Which animal did Ann adopt?", "evidence": ["D1:1"], "category": 4}]
}]"#;

impl Place {
    fn memory(&self, args: &[&str]) -> Said {
        self.gpak(&[&["memory"], args].concat())
    }

    /// With something on standard input.
    fn told(&self, args: &[&str], input: &[u8]) -> Said {
        let mut command = self.command();
        command.args([&["memory"], args].concat());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output: Output = child.wait_with_output().unwrap();
        output.into()
    }

    fn memory_file(&self) -> std::path::PathBuf {
        self.home().join("data/memory.db")
    }

    /// The lines of JSON that a command prints.
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let said = self
            .gpak(&[&["--json", "memory"], args].concat())
            .with_code(0);
        let lines = said.out.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn what_is_added_is_found_shown_and_forgotten() {
    let place = Place::new();
    let id = place
        .memory(&["add", "The", "garage", "code", "is", "Quetzal77"])
        .with_code(0)
        .out;
    let id = id.trim();
    place.memory(&["add", "Cats sleep all day"]).with_code(0);
    place
        .memory(&["add", "The garage code is Quetzal77"])
        .with_code(0)
        .saying(&["was remembered before"]);
    let hits = place.json(&["search", "how do I open the garage?"]);
    assert_eq!(hits[0]["id"], id);
    assert!(
        hits[0]["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why["by"] == "words")
    );
    place
        .memory(&["search", "garage"])
        .with_code(0)
        .saying(&["Quetzal77", "words 1.00 (rank 1)"]);
    place
        .memory(&["show", id])
        .with_code(0)
        .saying(&["Quetzal77", "\"kind\": \"semantic\""]);
    assert_eq!(place.json(&["stats"])[0]["kinds"]["semantic"], 2);
    place
        .memory(&["forget", id])
        .with_code(0)
        .saying(&["1 forgotten"]);
    place
        .memory(&["forget", id])
        .with_code(1)
        .saying(&["0 forgotten"]);
    place
        .memory(&["show", id])
        .with_code(2)
        .saying(&["gpak memory list"]);
    for file in fs::read_dir(place.home().join("data")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap().to_ascii_lowercase();
        assert!(!bytes.windows(9).any(|part| part == b"quetzal77"));
    }
    assert_eq!(place.json(&["list"]).len(), 1);
}

#[test]
fn namespaces_are_apart() {
    let place = Place::new();
    place
        .memory(&["add", "--namespace", "ann", "the kettle is red"])
        .with_code(0);
    place
        .memory(&["add", "--namespace", "bob", "the kettle is blue"])
        .with_code(0);
    place
        .memory(&["search", "kettle"])
        .with_code(0)
        .saying(&["nothing was found"]);
    let hits = place.json(&["search", "--namespace", "bob", "kettle"]);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0]["episode"]["text"], "the kettle is blue");
    place
        .memory(&["forget", "--namespace", "ann"])
        .with_code(0)
        .saying(&["1 forgotten"]);
    assert_eq!(place.json(&["list"]).len(), 1);
}

#[test]
fn what_is_exported_is_imported_elsewhere_without_loss() {
    let (here, there) = (Place::new(), Place::new());
    here.memory(&[
        "add",
        "--kind",
        "procedural",
        "--tag",
        "ship",
        "--importance",
        "0.9",
        "anchors aweigh",
    ])
    .with_code(0);
    here.told(
        &["add", "--at", "2020-01-02T03:04:05Z"],
        "lines\nand \0 “quotes” 🦀".as_bytes(),
    )
    .with_code(0);
    let file = here.work().join("memory.jsonl");
    let file = file.to_str().unwrap();
    here.memory(&["export", "-o", file])
        .with_code(0)
        .saying(&["2 exported"]);
    there
        .memory(&["import", file])
        .with_code(0)
        .saying(&["2 imported, 0 were there already"]);
    there
        .memory(&["import", file])
        .with_code(0)
        .saying(&["0 imported, 2 were there already"]);
    let exported = fs::read_to_string(file).unwrap();
    assert_eq!(there.memory(&["export"]).with_code(0).out, exported);
    assert!(exported.contains("\"embedder\":\"static-minilm-256-1\""));
    let changed = exported.replace("aweigh", "away");
    there.write("changed.jsonl", &changed);
    let changed = there.work().join("changed.jsonl");
    there
        .memory(&["import", changed.to_str().unwrap()])
        .with_code(2)
        .saying(&["was changed after it was exported", "nothing was imported"]);
    there.write("none.jsonl", "{\"text\": 1}\n");
    let none = there.work().join("none.jsonl");
    there
        .memory(&["import", none.to_str().unwrap()])
        .with_code(2)
        .saying(&["line 1", "gpak memory export"]);
}

#[test]
fn texts_that_are_none_are_refused_with_a_reason() {
    let place = Place::new();
    place
        .told(&["add", "-"], b" \n")
        .with_code(2)
        .saying(&["an empty text"]);
    place
        .told(&["add"], &b"word ".repeat(300_000))
        .with_code(2)
        .saying(&["too large", "1048576"]);
    place
        .told(&["add"], b"\xff\xfe no text")
        .with_code(2)
        .saying(&["standard input cannot be read"]);
    place
        .memory(&["add", "--importance", "7", "x"])
        .with_code(2)
        .saying(&["from 0 to 1"]);
    place
        .memory(&["forget", "xyz"])
        .with_code(2)
        .saying(&["32 hex digits"]);
    place.memory(&["forget"]).with_code(2);
    assert!(place.json(&["list"]).is_empty());
    for text in [
        "\"",
        "*",
        "NEAR(a b",
        "AND OR NOT",
        "text:a",
        "'; DROP TABLE episodes; --",
    ] {
        place
            .memory(&["search", "--", text])
            .with_code(0)
            .saying(&["nothing was found"]);
    }
}

#[test]
fn a_file_that_is_newer_foreign_damaged_or_locked_is_said_to_be_that() {
    let place = Place::new();
    place.memory(&["add", "something"]).with_code(0);
    let file = place.memory_file();
    let set = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let version: i32 = Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    set("PRAGMA user_version = 99");
    place
        .memory(&["list"])
        .with_code(1)
        .saying(&["newer gpak", "update gpak"]);
    set(&format!("PRAGMA user_version = {version}"));
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    place
        .memory(&["add", "else"])
        .with_code(1)
        .saying(&["locked", "try again"]);
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    assert_eq!(place.json(&["list"]).len(), 1);
    set("PRAGMA application_id = 7");
    place
        .memory(&["list"])
        .with_code(1)
        .saying(&["another program"]);
    fs::write(&file, "this is no database, but a text that is long enough").unwrap();
    place.memory(&["list"]).with_code(1).saying(&["damaged"]);
}

#[test]
fn the_bench_tells_what_is_found_and_how_fast() {
    let place = Place::new();
    place.write("talks.json", TALKS);
    let talks = place.work().join("talks.json");
    let report = &place.json(&["bench", "--dataset", talks.to_str().unwrap()])[0];
    let figures = report["figures"].as_array().unwrap();
    let full = figures
        .iter()
        .find(|f| f["way"] == "full" && f["group"] == "all")
        .unwrap();
    assert_eq!(
        (&full["recall_10"], &full["mrr"]),
        (&1.0.into(), &1.0.into())
    );
    let speed = &place.json(&["bench", "--synthetic", "700"])[0];
    assert_eq!(speed["episodes"], 700);
    assert!(speed["found_10"].as_f64().unwrap() > 0.9);
    assert_eq!(speed["vector_recall_10"], 1.0);
    assert!(speed["episodes_per_second"].as_f64().unwrap() > 0.0);
    let work = place.work();
    place
        .memory(&[
            "bench",
            "--synthetic",
            "10",
            "--folder",
            work.to_str().unwrap(),
        ])
        .with_code(2)
        .saying(&["is not empty"]);
    place
        .memory(&["bench"])
        .with_code(2)
        .saying(&["--dataset", "--synthetic"]);
    place.write("other.json", "{}");
    let other = place.work().join("other.json");
    place
        .memory(&["bench", "--dataset", other.to_str().unwrap()])
        .with_code(2)
        .saying(&["locomo10.json"]);
    assert!(
        !place.memory_file().exists(),
        "a bench leaves the user's memory alone"
    );
}

#[test]
fn a_qdrant_server_that_is_away_is_told_of_and_keeps_nobody() {
    let place = Place::new();
    place.config("[memory.qdrant]\nurl = 'http://127.0.0.1:9'\napi_key = 'secret-key'\n");
    place.memory(&["add", "the kettle is red"]).with_code(0);
    let said = place.memory(&["search", "kettle"]).with_code(0);
    assert!(said.out.contains("the kettle is red") && !said.err.contains("secret-key"));
    said.saying(&[
        "the Qdrant server http://127.0.0.1:9 cannot be reached",
        "1 changes wait",
    ]);
    place.gpak(&["config", "show"]).with_code(0).saying(&[
        "memory.qdrant.api_key = \"***\"",
        "memory.embedder = \"static\"",
    ]);
}

#[test]
fn an_embedder_is_one_that_there_is() {
    let place = Place::new();
    place.memory(&["add", "the kettle is red"]).with_code(0);
    place
        .memory(&["reembed"])
        .with_code(0)
        .saying(&["0 vectors were made again"]);
    place.config("memory.embedder = 'nobody'\n");
    place
        .memory(&["search", "kettle"])
        .with_code(2)
        .saying(&["no embedder `nobody`", "minilm"]);
    place.config("memory.embedder = 'ollama/nomic-embed-text'\n");
    place
        .memory(&["search", "kettle"])
        .with_code(1)
        .saying(&["no vectors could be made", "127.0.0.1:9"]);
    place.config("model = 'embedded/minilm'\n");
    place
        .gpak(&["run", "do it"])
        .with_code(2)
        .saying(&["makes vectors for memory", "gpak models list"]);
}
