//! `gpak run --check`.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, call, finish, interrupted_once, is_alive, when};

fn write(content: &str) -> Value {
    call("write_file", json!({"path": "out.txt", "content": content}))
}

/// Wrong at first, and right once the check has said so.
pub fn mended() -> Vec<Value> {
    vec![
        write("wrong\n"),
        finish("too early"),
        when("exit code 1\nnot right: wrong", write("right\n")),
        finish("now"),
    ]
}

pub const CHECK: &str = "echo checked >> checks.log; grep -q right out.txt || { echo not right: $(cat out.txt); exit 1; }";

#[test]
fn a_failed_check_is_the_reason_that_finish_is_refused() {
    let place = Place::new();
    let model = place.script(&mended());
    let said = place
        .gpak(&["run", "--yes", "--model", &model, "--check", CHECK, "do it"])
        .with_code(0);
    assert_eq!(said.out, "now\n");
    assert_eq!(place.read("checks.log"), "checked\nchecked\n");
    place.gpak(&["runs", "show"]).saying(&[
        "run_command echo checked",
        "exit code 1",
        "exit code 0",
    ]);
    place.gpak(&["runs", "replay"]).with_code(0);
    place
        .gpak(&["undo"])
        .with_code(0)
        .saying(&["cannot be undone: run_command"]);
}

#[test]
fn three_failed_checks_end_the_run_and_nothing_is_lost() {
    let place = Place::new();
    let model = place.script(&[write("wrong\n"), finish("1"), finish("2"), finish("3")]);
    place
        .gpak(&["run", "--yes", "--model", &model, "--check", CHECK, "do it"])
        .with_code(1)
        .saying(&["the check failed 3 times"]);
    assert_eq!(place.read("out.txt"), "wrong\n");
}

#[test]
fn a_check_that_cannot_start_is_said_before_any_work() {
    let place = Place::new();
    let model = place.script(&[finish("ok")]);
    for (args, part) in [
        (
            vec!["--check", "no-such-program --all"],
            "there is no command `no-such-program`",
        ),
        (vec!["--check", "echo 'open"], "no shell command"),
        (
            vec!["--check", "true", "--deny", "run_command"],
            "denies its own check `true`",
        ),
    ] {
        let run = [vec!["run", "--yes", "--model", &model], args, vec!["do it"]].concat();
        place.gpak(&run).with_code(2).saying(&[part]);
    }
    place.gpak(&["runs", "list"]).saying(&["no runs yet"]);
}

#[test]
fn a_check_is_the_users_to_set_and_not_the_workspaces() {
    let place = Place::new();
    place.write(".gpak/config.toml", "check = \"touch evil.txt\"\n");
    place.config("check = [\"touch asked.txt\"]\n");
    place
        .run(&[finish("ok")])
        .with_code(0)
        .saying(&["a workspace cannot name a command to run"]);
    assert!(place.work().join("asked.txt").exists());
    assert!(!place.work().join("evil.txt").exists());
    place
        .gpak(&["config", "show"])
        .saying(&["check = [\"touch asked.txt\"]"]);
    fs::remove_file(place.work().join("asked.txt")).unwrap();
    let model = place.script(&[finish("ok")]);
    place
        .gpak(&["run", "--yes", "--model", &model, "--check", "", "do it"])
        .with_code(0);
    assert!(!place.work().join("asked.txt").exists(), "no check is none");
}

#[test]
fn ctrl_c_stops_a_check_with_all_that_it_started_and_resume_runs_it_again() {
    let place = Place::new();
    let model = place.script(&[finish("ok")]);
    let check = "test -f go || { echo $$ > pid; sleep 600; }";
    let code = interrupted_once(
        &place,
        &["run", "--yes", "--model", &model, "--check", check, "do it"],
        "pid",
    );
    assert_eq!(code, Some(130));
    let pid = place.read("pid");
    while is_alive(pid.trim()) {
        std::thread::yield_now();
    }
    place.write("go", "");
    place.gpak(&["resume"]).with_code(0).saying(&["ok"]);
}
