use std::fs;

use serde_json::json;

use crate::place::{Place, call, finish};

#[allow(dead_code)]
#[path = "../../../tools/tests/it/wasm/guest.rs"]
mod guest;

use guest::guest;

/// A folder with a package whose tool gives back its arguments.
fn echo(place: &Place, more: &str) -> String {
    let folder = place.home().join("source/echo");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("echo.wasm"), guest("echo").build()).unwrap();
    let manifest = format!("name = \"echo\"\nversion = \"1.2\"\nfile = \"echo.wasm\"\n{more}");
    fs::write(folder.join("tool.toml"), manifest).unwrap();
    folder.to_str().unwrap().to_owned()
}

const EXAMPLE: &str = "[[examples]]\ninput = { a = 1 }\noutput = { a = 1 }\n";

#[test]
fn a_package_is_added_tested_called_used_in_a_run_and_removed() {
    let place = Place::new();
    let folder = echo(&place, EXAMPLE);
    place
        .gpak(&["tools", "add", "--yes", &folder])
        .with_code(0)
        .saying(&["echo 1.2", "it can compute and nothing else", "added echo"]);
    place
        .gpak(&["tools", "list"])
        .with_code(0)
        .saying(&["read_file", "run_script", "echo 1.2"]);
    place
        .gpak(&["tools", "show", "echo"])
        .with_code(0)
        .saying(&["granted: nothing", "BLAKE3"]);
    place
        .gpak(&["tools", "test", "echo"])
        .with_code(0)
        .saying(&["✓ echo"]);
    let said = place.gpak(&["tools", "call", "echo", r#"{"b":2}"#]);
    assert_eq!(said.with_code(0).out.trim(), r#"{"b":2}"#);
    place
        .run(&[call("echo", json!({"c": 3})), finish("done")])
        .with_code(0);
    let events = place.gpak(&["runs", "events"]).with_code(0).out;
    assert!(events.contains(r#"{\"c\":3}"#), "{events}");
    place.gpak(&["tools", "remove", "echo"]).with_code(0);
    place
        .gpak(&["tools", "call", "echo", "{}"])
        .with_code(1)
        .saying(&["echo"]);
}

#[test]
fn nothing_is_granted_where_nobody_agrees() {
    let place = Place::new();
    let folder = echo(&place, "[asks]\nclock = true\n");
    place
        .gpak(&["tools", "add", &folder])
        .with_code(3)
        .saying(&["it asks for", "nothing was added", "--yes"]);
    let listed = place.gpak(&["tools", "list"]).with_code(0).out;
    assert!(!listed.contains("echo"), "{listed}");
}

#[test]
fn what_is_wrong_with_a_package_or_a_call_is_said() {
    let place = Place::new();
    place
        .gpak(&["tools", "add", "--yes", "/nowhere"])
        .with_code(1)
        .saying(&["/nowhere"]);
    let folder = echo(&place, "[[examples]]\ninput = {}\noutput = { a = 1 }\n");
    place.gpak(&["tools", "add", "--yes", &folder]).with_code(0);
    place
        .gpak(&["tools", "test", "echo"])
        .with_code(1)
        .saying(&["✗ echo {}: it gave {} and not"]);
    place
        .gpak(&["tools", "call", "echo", "{"])
        .with_code(2)
        .saying(&["no JSON"]);
    place
        .gpak(&["tools", "call", "echo", "[]"])
        .with_code(1)
        .saying(&["is not what echo takes"]);
    fs::write(format!("{folder}/echo.wasm"), b"\0asm\x01\0\0\0").unwrap();
    place
        .gpak(&["tools", "add", "--yes", &folder])
        .with_code(1)
        .saying(&["core module"]);
}

#[test]
fn a_model_with_native_calls_can_run_a_script_and_it_is_undone() {
    let place = Place::new();
    place.write("a.txt", "one\ntwo\n");
    let script = "write('count.txt', lines('a.txt').length + '\\n')";
    place
        .run(&[
            call("run_script", json!({"script": script})),
            finish("done"),
        ])
        .with_code(0);
    assert_eq!(place.read("count.txt"), "2\n");
    place.gpak(&["undo"]).with_code(0);
    assert!(!place.work().join("count.txt").exists());
}
