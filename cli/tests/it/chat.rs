//! `gpak chat` without a terminal: a message a line in, answers out.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::place::{Place, Said, call, finish};

/// A reply that is made only to this.
fn to(when: &str, mut reply: Value) -> Value {
    reply["when"] = when.into();
    reply
}

fn write(path: &str, content: &str) -> Value {
    call("write_file", json!({"path": path, "content": content}))
}

/// Runs a command with these lines on its standard input.
fn typing(mut command: Command, lines: &[&str]) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        // One that died has had enough.
        let _ = input.write_all(format!("{line}\n").as_bytes());
    }
    drop(input);
    Said::from(child.wait_with_output().unwrap())
}

impl Place {
    fn chat(&self, args: &[&str], lines: &[&str]) -> Said {
        let mut command = self.command();
        command.arg("chat").args(args);
        typing(command, lines)
    }
}

#[test]
fn answers_go_out_one_after_the_other_and_the_conversation_is_one_run() {
    let place = Place::new();
    let model = place.script(&[
        write("a.txt", "1\n"),
        finish("wrote a.txt"),
        to("and b?", json!({"text": "b too"})),
    ]);
    let said = place
        .chat(&["--yes", "--model", &model], &["write a", "", "and b?"])
        .with_code(0);
    assert_eq!(said.out, "wrote a.txt\nb too\n");
    said.saying(&["● write_file a.txt", "go on with: gpak chat --resume"]);
    let list = place.gpak(&["runs", "list"]).with_code(0).out;
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains("waiting"), "{list}");
    place.gpak(&["runs", "verify"]).with_code(0);
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn a_conversation_is_gone_on_with_by_chat_and_by_resume() {
    let place = Place::new();
    let model = place.script(&[
        finish("one"),
        to("second", finish("two")),
        to("third", finish("three")),
        to("fourth", finish("four")),
    ]);
    let first = place.chat(&["--model", &model, "first"], &["second"]);
    // What is left of the script is said later; here it is a mistake.
    assert_eq!(
        (first.code, first.out.as_str()),
        (1, "one\ntwo\n"),
        "{}",
        first.err
    );
    let second = place.chat(&["--resume"], &["third"]);
    assert_eq!(
        (second.code, second.out.as_str()),
        (1, "three\n"),
        "{}",
        second.err
    );
    let mut resume = place.command();
    resume.arg("resume");
    let third = typing(resume, &["fourth"]).with_code(0);
    assert_eq!(third.out, "four\n");
    place
        .gpak(&["run", "--model", &place.script(&[finish("x")]), "x"])
        .with_code(0);
    let run = place.gpak(&["runs", "list"]).out;
    let run = run.split_whitespace().next().unwrap().to_owned();
    place
        .chat(&["--resume", &run], &[])
        .with_code(2)
        .saying(&["is no conversation"]);
}

#[test]
fn commands_are_done_between_messages() {
    let place = Place::new();
    place.write("keep.txt", "old\n");
    let model = place.script(&[
        write("keep.txt", "new\n"),
        call(
            "update_plan",
            json!({"items": [{"text": "look around", "status": "active"}]}),
        ),
        finish("first"),
        to("again", write("b.txt", "b\n")),
        finish("second"),
        to("in the fork", json!({"text": "third"})),
    ]);
    let other = place.home().join("other.json");
    fs::create_dir_all(place.home()).unwrap();
    fs::write(&other, json!([{"text": "from another model"}]).to_string()).unwrap();
    let other = format!("/model scripted/{}", other.display());
    let lines = [
        "/cost",
        "change it",
        "/plan",
        "/tools",
        "/undo",
        "/undo",
        "again",
        "/compact",
        "/strategy",
        "/strategy explore",
        "/strategy hope",
        "/strategy",
        "/fork",
        "in the fork",
        "/frobnicate",
        "/help",
        &other,
        "who is it?",
        "/model",
        "/quit",
    ];
    let said = place.chat(&["--yes", "--model", &model], &lines);
    assert_eq!(
        said.out, "first\nsecond\nthird\nfrom another model\n",
        "{}",
        said.err
    );
    said.with_code(0).saying(&[
        "0 steps",
        "▸ look around",
        "write_file",
        "restored keep.txt",
        "there was nothing to undo",
        "react",
        "from now on: explore",
        "unknown strategy `hope`",
        "stays as it is",
        "there is no /frobnicate",
        "/undo [all]",
        "from now on: scripted/",
        "now scripted/",
    ]);
    assert_eq!(place.read("keep.txt"), "old\n");
    let events = place.gpak(&["runs", "events"]).out;
    assert!(events.contains("The user undid what you did: "), "{events}");
    let list = place.gpak(&["runs", "list"]).out;
    assert_eq!(
        list.lines().count(),
        2,
        "the conversation and its fork: {list}"
    );
    for run in list
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
    {
        place.gpak(&["runs", "verify", run]).with_code(0);
        place.gpak(&["runs", "replay", run]).with_code(0);
    }
}

#[test]
fn json_is_the_events() {
    let place = Place::new();
    let model = place.script(&[finish("one"), finish("two")]);
    let said = place
        .chat(&["--json", "--model", &model], &["a", "b"])
        .with_code(0);
    let kinds: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [
            "run_started",
            "model_replied",
            "tool_finished",
            "message_received",
            "model_replied",
            "tool_finished",
            "run_paused"
        ]
    );
    assert_eq!(said.err, "");
}

#[test]
fn what_goes_wrong_ends_it_with_its_exit_code_and_how_to_come_back() {
    let place = Place::new();
    let broken = json!({"error": {"kind": "unauthorized", "message": "no such key"}});
    let model = place.script(&[broken, finish("ok")]);
    place
        .chat(&["--model", &model, "x"], &[])
        .with_code(1)
        .saying(&["no such key", "gpak chat --resume"]);
    let model = place.script(&[write("a", "1"), write("b", "2"), finish("ok")]);
    place
        .chat(
            &["--yes", "--model", &model, "--budget", "steps=1", "x"],
            &[],
        )
        .with_code(4)
        .saying(&["1 of 1 steps"]);
    let said = place.chat(&["--resume"], &[]).with_code(0);
    assert_eq!(said.out, "ok\n", "as much again");
    place
        .chat(
            &[
                "--model",
                &place.script(&[write("c", "1"), finish("no")]),
                "x",
            ],
            &[],
        )
        .with_code(0)
        .saying(&["1 call denied"]);
    place
        .chat(&["--resume", "zzz"], &[])
        .with_code(2)
        .saying(&["there is no run `zzz`"]);
    place.chat(&["--model", &model], &[]).with_code(0);
}

/// What was said and journaled in the latest run.
fn heard(place: &Place) -> usize {
    let events = place.gpak(&["runs", "events"]);
    let is_message = |line: &&str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"]["type"] == "run_created" || event["event"]["type"] == "message_received"
    };
    events.out.lines().filter(is_message).count()
}

#[test]
fn a_conversation_killed_at_any_append_goes_on() {
    let script = [
        write("a.txt", "1\n"),
        finish("first"),
        to(
            "more",
            call("run_command", json!({"command": "echo made >> log.txt"})),
        ),
        to(
            "outcome is unknown",
            call(
                "run_command",
                json!({"command": "test -s log.txt || echo made >> log.txt"}),
            ),
        ),
        finish("second"),
        to("last", finish("third")),
    ];
    let messages = ["begin", "more", "last"];
    for when in ["before", "after"] {
        let mut append = 1;
        loop {
            let place = Place::new();
            let model = place.script(&script);
            let mut command = place.command();
            command
                .args(["chat", "--yes", "--model", &model])
                .env("GPAK_TEST_KILL", format!("{when}:{append}"));
            if typing(command, &messages).code != -1 {
                break;
            }
            let at = format!("killed {when} append {append}");
            let left = &messages[heard(&place)..];
            let resumed = match left.len() {
                3 => place.chat(&["--yes", "--model", &model], left),
                _ => place.chat(&["--resume"], left),
            };
            assert_eq!(resumed.code, 0, "{at}\n{}", resumed.err);
            let shown = place.gpak(&["runs", "show", "--full"]).with_code(0).out;
            for answer in ["first", "second", "third"] {
                assert!(shown.contains(answer), "{at}: no {answer} in\n{shown}");
            }
            assert_eq!(place.read("a.txt"), "1\n", "{at}");
            assert_eq!(place.read("log.txt"), "made\n", "{at}: made more than once");
            place.gpak(&["runs", "verify"]).with_code(0);
            place.gpak(&["runs", "replay"]).with_code(0);
            append += 1;
        }
        assert!(append > 12, "only {append} appends were tried");
    }
}
