//! Guests whose language cannot do without WASI.

use serde_json::json;

use super::{
    guest::{component_with, guest},
    home::{Home, told},
};

const RANDOM: &str =
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }";
const CLI: &str = "package wasi:cli@0.2.0; interface exit { exit: func(status: result); }";
const WORLD: &str = "package test:wasi; world wasi {
    include gpak:tool/pure-tool@0.1.0; import wasi:random/random@0.2.0; import wasi:cli/exit@0.2.0; }";

/// A component that imports WASI, with that body of `invoke`.
fn wasi(body: &str) -> Vec<u8> {
    let guest = guest("random")
        .imports(
            r#"(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
               (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))"#,
        )
        .invoke(body);
    component_with(&[RANDOM, CLI, WORLD], "test:wasi/wasi", &guest.wat())
}

const THREE: &str = "(call $random (i64.const 3) (i32.const 32800))
    (i32.store8 (i32.const 33000) (i32.add (i32.const 48) (i32.load (i32.const 32804))))
    (call $ok (i32.const 33000) (i32.const 1))";

#[tokio::test]
async fn wasi_is_there_where_it_was_asked_for_and_nowhere_else() {
    let home = Home::new();
    let folder = home.folder_of("random", &wasi(THREE), "");
    let why = home.add_folder(&folder).await.unwrap_err().to_string();
    assert!(why.contains("wasi = true"), "{why}");
    let folder = home.folder_of("random", &wasi(THREE), "[asks]\nwasi = true\n");
    let package = home.add_folder(&folder).await.unwrap();
    let tool = home.packages.tools_of(package).remove(0);
    assert_eq!(home.call(&tool, json!({})).await.unwrap().text, "3");
}

#[tokio::test]
async fn what_wasi_would_do_without_end_is_stopped() {
    let home = Home::new();
    for (body, part) in [
        (
            "(call $random (i64.const -1) (i32.const 32800)) unreachable",
            "exceeds limit",
        ),
        (
            "(call $exit (i32.const 1)) unreachable",
            "it ended itself with exit code 1",
        ),
    ] {
        let folder = home.folder_of("random", &wasi(body), "[asks]\nwasi = true\n");
        let package = home.add_folder(&folder).await.unwrap();
        let tool = home.packages.tools_of(package).remove(0);
        let why = told(home.call(&tool, json!({})).await);
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn a_folder_is_lent_to_wasi_unless_gpak_itself_is_in_it() {
    let mut home = Home::new();
    let asks = "[asks]\nwasi = true\n[[asks.files]]\npath = \".\"\n";
    let folder = home.folder_of("random", &wasi(THREE), asks);
    let package = home.add_folder(&folder).await.unwrap();
    let tool = home.packages.tools_of(package).remove(0);
    assert_eq!(home.call(&tool, json!({})).await.unwrap().text, "3");
    home.context.workspace = home.root.path().to_owned();
    let why = told(home.call(&tool, json!({})).await);
    assert!(why.contains("belongs to gpak itself"), "{why}");
}
