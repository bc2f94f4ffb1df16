use std::collections::BTreeSet;

use gpak_kernel::tool::Tool as _;
use serde_json::json;

use super::{
    guest::guest,
    home::{Home, only, packages, told},
};

const LOG: &str = r#"(import "gpak:tool/core@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const NOW: &str = r#"(import "gpak:tool/core@0.1.0" "now" (func $now (result i64)))"#;

#[tokio::test]
async fn a_component_is_added_and_called() {
    let home = Home::new();
    let tool = home.tool(&guest("echo"), "").await;
    assert_eq!(tool.spec().description, "The tool echo.");
    let output = home.call(&tool, json!({"word": "hello"})).await.unwrap();
    assert_eq!(output.data, Some(json!({"word": "hello"})));
    assert_eq!(output.text, r#"{"word":"hello"}"#);
}

#[tokio::test]
async fn a_text_is_given_to_the_model_as_it_is() {
    let home = Home::new();
    let output = home
        .run(&guest("greet").gives(r#""good day""#), "", json!({}))
        .await
        .unwrap();
    assert_eq!(output.text, "good day");
}

#[tokio::test]
async fn what_a_tool_logs_is_kept_and_not_shown_to_the_model() {
    let home = Home::new();
    let chatty = guest("chatty")
        .imports(LOG)
        .fields(&super::guest::text(33_000, "on my\u{1b}[2J way"))
        .invoke("(call $log (i32.const 2) (i32.const 33000) (i32.const 13)) (call $ok (local.get $input) (local.get $input_len))");
    let tool = home.tool(&chatty, "").await;
    let called = home.call_logged(&tool, json!({})).await;
    assert_eq!(called.result.unwrap().text, "{}");
    assert_eq!(called.log.lines[0].level, "warn");
    assert_eq!(called.log.lines[0].message, "on my [2J way");
}

#[tokio::test]
async fn another_process_finds_the_package_and_its_compiled_code() {
    let home = Home::new();
    home.tool(&guest("echo"), "").await;
    let code = || -> Vec<_> {
        let files = std::fs::read_dir(home.path("cache/wasm")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().modified().unwrap())
            .collect()
    };
    let before = code();
    let offered = packages(home.root.path()).offer(&BTreeSet::new());
    assert_eq!(offered.notices, Vec::<String>::new());
    let call = gpak_kernel::tool::Call {
        id: gpak_kernel::model::CallId { reply: 1, index: 0 },
        name: "echo".to_owned(),
        args: json!({"again": 1}),
        attempt: 1,
    };
    let output = offered.tools[0].call(&call, &home.context).await.unwrap();
    assert_eq!(output.text, r#"{"again":1}"#);
    assert_eq!(code(), before, "it was not compiled again");
}

#[tokio::test]
async fn compiled_code_that_was_tampered_with_is_made_again() {
    let home = Home::new();
    home.tool(&guest("echo"), "").await;
    let code = std::fs::read_dir(home.path("cache/wasm"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&code).unwrap();
    let good = bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&code, &bytes).unwrap();
    let offered = packages(home.root.path()).offer(&BTreeSet::new());
    let echo = &offered.tools[0];
    let call = gpak_kernel::tool::Call {
        id: gpak_kernel::model::CallId { reply: 1, index: 0 },
        name: "echo".to_owned(),
        args: json!({}),
        attempt: 1,
    };
    assert_eq!(echo.call(&call, &home.context).await.unwrap().text, "{}");
    assert_eq!(std::fs::read(&code).unwrap(), good);
}

#[tokio::test]
async fn a_component_that_imports_what_it_does_not_ask_for_is_refused() {
    let home = Home::new();
    let clock = guest("clock")
        .imports(NOW)
        .invoke("(drop (call $now)) (call $ok (local.get $input) (local.get $input_len))");
    let why = home.try_add(&clock, "").await.unwrap_err().to_string();
    assert!(why.contains("clock = true (the clock)"), "{why}");
    assert!(home.try_add(&clock, "[asks]\nclock = true").await.is_ok());
}

#[tokio::test]
async fn what_the_user_does_not_grant_is_not_there() {
    let home = Home::new();
    let clock = guest("clock")
        .imports(NOW)
        .invoke("(drop (call $now)) (call $ok (local.get $input) (local.get $input_len))");
    let folder = home.folder(&clock, "[asks]\nclock = true\nrandom = true");
    let candidate = home.packages.read(&folder).await.unwrap();
    let asks = &candidate.manifest.asks;
    assert_eq!(asks.lines(), ["know what time it is", "have random bytes"]);
    let package = home
        .packages
        .add(&candidate, only(asks, &["clock"]), &BTreeSet::new())
        .unwrap();
    assert!(!package.grant.random);
    let tool = home.packages.tools_of(package).remove(0);
    assert!(home.call(&tool, json!({})).await.is_ok());
    let package = home
        .packages
        .add(&candidate, only(asks, &["random"]), &BTreeSet::new())
        .unwrap();
    let tool = home.packages.tools_of(package).remove(0);
    let why = told(home.call(&tool, json!({})).await);
    assert!(
        why.contains("needs what was not granted: the clock"),
        "{why}"
    );
}

#[tokio::test]
async fn a_changed_component_is_refused_until_it_is_added_again() {
    let home = Home::new();
    home.tool(&guest("echo"), "").await;
    for file in ["tool.wasm", "tool.toml"] {
        let path = home.packages.folder("echo").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"\n# more");
        std::fs::write(&path, bytes).unwrap();
        let why = home.packages.check("echo").await.unwrap_err().to_string();
        assert!(
            why.contains(file) && why.contains("add it again: gpak tools add"),
            "{why}"
        );
        home.add_folder(&home.path("source/echo")).await.unwrap();
        home.packages.check("echo").await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_at_add_and_passed_over_later() {
    let home = Home::new();
    let folder = home.folder(&guest("read_file"), "");
    let candidate = home.packages.read(&folder).await.unwrap();
    let reserved = BTreeSet::from(["read_file".to_owned()]);
    let grant = candidate.manifest.asks.clone();
    let why = home
        .packages
        .add(&candidate, grant.clone(), &reserved)
        .unwrap_err()
        .to_string();
    assert!(why.contains("comes with gpak"), "{why}");
    home.packages
        .add(&candidate, grant, &BTreeSet::new())
        .unwrap();
    home.tool(&guest("echo"), "").await;
    let offered = home.packages.offer(&reserved);
    let names: Vec<_> = offered
        .tools
        .iter()
        .map(|tool| tool.spec().name.clone())
        .collect();
    assert_eq!(names, ["echo"]);
    assert!(
        offered.notices[0].contains("gpak tools remove read_file"),
        "{:?}",
        offered.notices
    );
}

#[tokio::test]
async fn a_package_is_replaced_and_removed() {
    let home = Home::new();
    home.tool(&guest("word").gives("\"old\""), "").await;
    let output = home
        .run(&guest("word").gives("\"new\""), "", json!({}))
        .await
        .unwrap();
    assert_eq!(output.text, "new");
    assert_eq!(home.packages.list().unwrap().packages.len(), 1);
    home.packages.remove("word").unwrap();
    assert_eq!(home.packages.list().unwrap().packages.len(), 0);
    let why = home.packages.remove("word").unwrap_err().to_string();
    assert!(why.contains("no tool package `word`"), "{why}");
}

#[tokio::test]
async fn a_damaged_package_is_named_and_the_others_are_used() {
    let home = Home::new();
    home.tool(&guest("good"), "").await;
    home.tool(&guest("bad"), "").await;
    std::fs::write(home.packages.folder("bad").join("package.json"), "{").unwrap();
    let offered = home.packages.offer(&BTreeSet::new());
    assert_eq!(offered.tools.len(), 1);
    assert!(offered.notices[0].contains("bad") && offered.notices[0].contains("damaged"));
}
