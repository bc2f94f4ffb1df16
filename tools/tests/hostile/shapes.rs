//! Files that are no components of ours.

use super::*;
use crate::wasm::guest::component;

async fn refused_bytes(bytes: &[u8]) -> String {
    let home = Home::new();
    let folder = home.folder_of("odd", bytes, "");
    let why = home.add_folder(&folder).await.unwrap_err().to_string();
    still_works(&home).await;
    why
}

#[tokio::test]
async fn an_empty_file() {
    assert_says(&refused_bytes(b"").await, &["cut short"]);
}

#[tokio::test]
async fn a_text_file() {
    assert_says(&refused_bytes(b"#!/bin/sh\nrm -rf /").await, &["not Wasm"]);
}

#[tokio::test]
async fn a_header_that_is_cut_short() {
    assert_says(&refused_bytes(b"\0asm\x0d\0").await, &["cut short"]);
}

#[tokio::test]
async fn a_version_that_is_not_known() {
    assert_says(
        &refused_bytes(b"\0asm\x63\0\x01\0rest").await,
        &["version of Wasm"],
    );
}

#[tokio::test]
async fn a_core_module() {
    let module = wat::parse_str("(module)").unwrap();
    assert_says(
        &refused_bytes(&module).await,
        &["core module", "gpak tools componentize"],
    );
}

#[tokio::test]
async fn a_component_that_is_cut_short() {
    let bytes = guest("odd").build();
    for length in [9, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        assert_says(
            &refused_bytes(&bytes[..length]).await,
            &["not valid", "build it again"],
        );
    }
}

#[tokio::test]
async fn a_component_with_flipped_bits() {
    let bytes = guest("odd").build();
    let home = Home::new();
    for at in (8..bytes.len()).step_by(97) {
        let mut odd = bytes.clone();
        odd[at] ^= 0x15;
        // Some are still components; then they must be harmless.
        let folder = home.folder_of("odd", &odd, SOON);
        if let Ok(package) = home.add_folder(&folder).await {
            let tool = home.packages.tools_of(package).remove(0);
            let _ = home.call(&tool, json!({})).await;
        }
    }
    still_works(&home).await;
}

#[tokio::test]
async fn a_component_of_no_world() {
    let bytes = wat::parse_str("(component)").unwrap();
    assert_says(
        &refused_bytes(&bytes).await,
        &["not of a world of gpak:tool@0.1.0", "gpak tools new"],
    );
}

#[tokio::test]
async fn exports_of_the_right_names_and_the_wrong_types() {
    let wat = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 1)))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (export "describe" (func $f)) (export "invoke" (func $f)))"#;
    let bytes = wat::parse_str(wat).unwrap();
    assert_says(
        &refused_bytes(&bytes).await,
        &["not of a world of gpak:tool@0.1.0"],
    );
}

fn importing(name: &str) -> Vec<u8> {
    let wat = format!("(component (import \"{name}\" (instance (export \"f\" (func)))))");
    wat::parse_str(wat).unwrap()
}

#[tokio::test]
async fn imports_that_no_host_of_ours_has() {
    for name in [
        "evil:host/shell@1.0.0",
        "gpak:tool/shell@0.1.0",
        "wasi:nn/graph@0.2.0",
        "wasi:cli/run@0.3.0",
    ] {
        assert_says(
            &refused_bytes(&importing(name)).await,
            &[name, "does not have"],
        );
    }
}

#[tokio::test]
async fn a_later_version_of_our_world() {
    let why = refused_bytes(&importing("gpak:tool/http@0.2.0")).await;
    assert_says(
        &why,
        &[
            "gpak:tool/http@0.2.0",
            "version 0.1",
            "build the component again",
        ],
    );
}

#[tokio::test]
async fn requests_by_another_way() {
    let why = refused_bytes(&importing("wasi:http/outgoing-handler@0.2.0")).await;
    assert_says(&why, &["wasi:http/outgoing-handler", "gpak:tool/http"]);
}

#[tokio::test]
async fn capabilities_that_it_does_not_ask_for() {
    for (import, line) in [
        (
            r#"(import "gpak:tool/core@0.1.0" "now" (func $f (result i64)))"#,
            "clock = true",
        ),
        (
            r#"(import "gpak:tool/core@0.1.0" "random" (func $f (param i32 i32)))"#,
            "random = true",
        ),
        (
            r#"(import "gpak:tool/core@0.1.0" "variable" (func $f (param i32 i32 i32)))"#,
            "environment =",
        ),
        (
            r#"(import "gpak:tool/fs@0.1.0" "remove" (func $f (param i32 i32 i32)))"#,
            "files =",
        ),
        (
            r#"(import "gpak:tool/kv@0.1.0" "delete" (func $f (param i32 i32 i32)))"#,
            "kv_kib =",
        ),
    ] {
        let why = refused(&guest("greedy").imports(import), "").await;
        assert_says(&why, &[line, "does not ask for"]);
    }
}

#[tokio::test]
async fn a_file_that_is_too_large() {
    let home = Home::new();
    let folder = home.folder_of("odd", b"", "");
    let file = std::fs::File::create(folder.join("tool.wasm")).unwrap();
    file.set_len(1 << 40).unwrap();
    let why = home.add_folder(&folder).await.unwrap_err().to_string();
    assert_says(&why, &["tool.wasm has more than", "too much"]);
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file() {
    let home = Home::new();
    let folder = home.folder_of("odd", b"", "");
    for file in ["tool.wasm", "tool.toml"] {
        std::fs::remove_file(folder.join(file)).unwrap();
        nix::unistd::mkfifo(&folder.join(file), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let why = home.add_folder(&folder).await.unwrap_err().to_string();
        assert_says(&why, &[file, "is not a file"]);
    }
}

#[tokio::test]
async fn manifests_that_are_wrong() {
    let home = Home::new();
    for (manifest, part) in [
        ("", "missing field `name`"),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"../tool.wasm\"",
            "name a file in the folder",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"/etc/passwd\"",
            "name a file in the folder",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"\"",
            "name a file in the folder",
        ),
        ("name = \"../a\"\nversion = \"1\"\nfile = \"a\"", "the name"),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\nroot = true",
            "unknown field `root`",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[asks]\nall = true",
            "unknown field `all`",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[limits]\nmemory_mib = 999999",
            "goes from 1 to",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[limits]\ntime_ms = 0",
            "goes from 1 to",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[asks]\nhosts = [\"*\"]",
            "is not one",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[asks]\nhosts = [\"http://a.b\"]",
            "is not one",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[[asks.files]]\npath = \"../..\"",
            "without ..",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[[asks.files]]\npath = \"/etc\"\naccess = \"write\"",
            "in the workspace only",
        ),
        (
            "name = \"a\"\nversion = \"1\"\nfile = \"a\"\n[asks.secrets.KEY]\nhosts = [\"evil.example\"]",
            "not among asks.hosts",
        ),
        ("name = \"a", "TOML"),
    ] {
        let folder = home.folder_of("odd", b"", "");
        std::fs::write(folder.join("tool.toml"), manifest).unwrap();
        let why = home.add_folder(&folder).await.unwrap_err().to_string();
        assert_says(&why, &["tool.toml", part]);
    }
}

#[tokio::test]
async fn memory_beyond_its_limit_from_the_start() {
    let mut greedy = guest("greedy");
    greedy.pages = 2000;
    assert_says(
        &refused(&greedy, "").await,
        &["more than its 64 MiB of memory"],
    );
}

#[tokio::test]
async fn a_table_of_millions() {
    let greedy = guest("greedy").fields("(table 100000000 funcref)");
    assert_says(
        &refused(&greedy, "").await,
        &["larger tables than a tool may have"],
    );
}

#[tokio::test]
async fn thousands_of_instances() {
    let mut wat = "(component (core module $m (memory 1))".to_owned();
    wat.push_str(&"(core instance (instantiate $m))".repeat(900));
    wat.push(')');
    let why = refused_bytes(&wat::parse_str(wat).unwrap()).await;
    assert_says(&why, &["component"]);
}

#[tokio::test]
async fn a_start_function_that_never_ends() {
    let stuck = guest("stuck").fields("(func $spin (loop $l (br $l))) (start $spin)");
    let home = Home::new();
    let why = home.try_add(&stuck, "").await.unwrap_err().to_string();
    assert_says(&why, &["describe its tools, was stopped", "ms"]);
}

#[test]
fn the_worlds_can_be_built() {
    for world in ["pure-tool", "tool", "undoable-tool"] {
        let undo = if world == "undoable-tool" {
            "(func (export \"compensate\") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)"
        } else {
            ""
        };
        let wat = format!(
            r#"(module (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "describe") (result i32) unreachable)
            (func (export "invoke") (param i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable){undo})"#
        );
        component(world, &wat);
    }
}
