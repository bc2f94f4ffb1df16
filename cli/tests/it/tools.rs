use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, call, finish};

#[allow(dead_code)]
#[path = "../../../tools/tests/it/wasm/guest.rs"]
mod guest;

use guest::{guest, text};

/// A folder with a package whose tool gives back its arguments.
fn echo(place: &Place, more: &str) -> String {
    let folder = place.home().join("source/echo");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("echo.wasm"), guest("echo").build()).unwrap();
    let manifest = format!("name = \"echo\"\nversion = \"1.2\"\nfile = \"echo.wasm\"\n{more}");
    fs::write(folder.join("tool.toml"), manifest).unwrap();
    folder.to_str().unwrap().to_owned()
}

/// A folder with a package whose tool reads a file by calling `read_file`.
fn invokes(place: &Place, path: &str) -> String {
    let folder = place.home().join("source/invokes");
    fs::create_dir_all(&folder).unwrap();
    let input = json!({"path": path}).to_string();
    let tool = guest("invokes")
        .imports(
            "(import \"gpak:tool/invoke-tool@0.1.0\" \"invoke\" (func $invoke (param i32 i32 i32 i32 i32)))\n",
        )
        .fields(&text(33_000, "read_file"))
        .fields(&text(36_000, &input))
        .invoke(&format!(
            "(call $invoke (i32.const 33000) (i32.const 9) (i32.const 36000) (i32.const {}) (i32.const 32800))
             (if (result i32) (i32.load8_u (i32.const 32800))
               (then (call $err (i32.const 1) (i32.load (i32.const 32808)) (i32.load (i32.const 32812))))
               (else (call $ok (i32.load (i32.const 32804)) (i32.load (i32.const 32808)))))",
            input.len()
        ));
    fs::write(folder.join("invokes.wasm"), tool.build()).unwrap();
    let manifest = "name = \"invokes\"\nversion = \"1\"\nfile = \"invokes.wasm\"\n[asks]\ninvoke = [\"read_file\"]\n";
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

#[test]
fn what_a_tool_calls_is_shown_under_the_call_that_asked_for_it() {
    let place = Place::new();
    place.write("a.txt", "one line\n");
    let folder = invokes(&place, "a.txt");
    place.gpak(&["tools", "add", "--yes", &folder]).with_code(0);
    let script = [call("invokes", json!({})), finish("done")];
    place
        .run(&script)
        .with_code(0)
        .saying(&["    invokes ↳ ● read_file a.txt → ", "\n  ● invokes → "]);
    let shown = place.gpak(&["runs", "show"]).with_code(0).out;
    let lines: Vec<_> = shown.lines().collect();
    let asking = lines
        .iter()
        .position(|line| line.starts_with("│  ● invokes → "));
    let asking = asking.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        lines[asking + 1].starts_with("│    ↳ ● read_file a.txt → "),
        "{shown}"
    );
    let whole = place.gpak(&["runs", "show", "--full"]).with_code(0);
    whole.saying(&["│    ↳ ● read_file a.txt\n", "one line"]);

    let model = place.script(&script);
    let streamed = place
        .gpak(&["run", "--yes", "--json", "--model", &model, "do it"])
        .with_code(0);
    let entries = streamed
        .out
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).unwrap() });
    let of_type = |entry: &Value| {
        entry["event"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (mut started, mut nested) = (false, 0);
    for entry in entries {
        match of_type(&entry).as_str() {
            "tool_started" if entry["event"]["tool"] == "invokes" => started = true,
            "nested_called" => {
                assert!(started, "{entry}");
                assert_eq!(entry["event"]["by"], "1.0", "{entry}");
                assert_eq!(entry["event"]["call"]["name"], "read_file", "{entry}");
                nested += 1;
            }
            _ => {}
        }
    }
    assert_eq!(nested, 1);
}

#[test]
fn a_nested_call_that_failed_says_so_in_the_tree() {
    let place = Place::new();
    let folder = invokes(&place, "gone.txt");
    place.gpak(&["tools", "add", "--yes", &folder]).with_code(0);
    place
        .run(&[call("invokes", json!({})), finish("done")])
        .with_code(0)
        .saying(&["    invokes ↳ ✗ read_file gone.txt → "]);
    place
        .gpak(&["runs", "show"])
        .with_code(0)
        .saying(&["│    ↳ ✗ read_file gone.txt → "]);
}
