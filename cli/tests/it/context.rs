//! Long runs in small windows, and what a repository says, with the real binary.

use std::fs;

use gpak_kernel::{
    context,
    entry::Entry,
    event::Event,
    label::Label,
    model::{Message, Request},
    run::State,
};
use serde_json::{Value, json};

use crate::place::{Place, Said, call, finish};

fn entries(place: &Place) -> Vec<Entry> {
    let events = place.gpak(&["runs", "events"]).with_code(0);
    let lines = events.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the mind was sent before its last reply.
fn last_request(entries: &[Entry]) -> Request {
    let replied = |entry: &Entry| matches!(entry.event, Event::ModelReplied { .. });
    let before = entries.iter().rposition(replied).unwrap();
    let state = State::fold(&entries[..before]);
    let (spec, setup) = (state.spec.clone().unwrap(), state.setup.clone().unwrap());
    context::assemble(&state, &spec, &setup)
}

fn text(request: &Request) -> String {
    let text = |message: &Message| serde_json::to_string(message).unwrap();
    let messages: Vec<String> = request.messages.iter().map(text).collect();
    messages.join("\n")
}

/// Prints 8,000 bytes, no two calls the same, with a fact in the first.
fn print(n: usize) -> Value {
    let fact = if n == 0 {
        "The harbour master is CYAN-7. "
    } else {
        ""
    };
    let line = format!("{fact}Line of file {n} with some words in it.");
    json!({"command": format!("yes '{line}' | head -c 8000 # docs/file_{n}.md")})
}

#[test]
fn a_hundred_calls_over_200_000_tokens_in_a_window_of_8_000_end_with_what_was_said_first() {
    let place = Place::new();
    let mut script = vec![call("pin_fact", json!({"fact": "The dock is VIOLET-42."}))];
    script.extend((0..100).map(|n| {
        json!({
            "thought": format!("I look at file {n}."),
            "calls": [{"name": "run_command", "args": print(n)}],
        })
    }));
    script.push(call("read_history", json!({"search": "harbour master"})));
    let mut answer = finish("ORCHID-17, VIOLET-42, CYAN-7");
    answer["when"] = json!("harbour master is CYAN-7");
    script.push(answer);
    let model = place.script(&script);
    let task = "Read all files. The ship is ORCHID-17. Name ship, dock and harbour master.";
    let mut command = place.command();
    command.env("GPAK_WINDOW", "8000").args([
        "run",
        "--yes",
        "--model",
        &model,
        "--budget",
        "steps=200",
        task,
    ]);
    let said = Said::from(command.output().unwrap()).with_code(0);
    assert_eq!(said.out, "ORCHID-17, VIOLET-42, CYAN-7\n");
    assert!(
        said.err.contains("are shown to the model in short now"),
        "{}",
        said.err
    );

    let entries = entries(&place);
    let request = last_request(&entries);
    let shown = text(&request);
    for kept in [
        task,
        "- The dock is VIOLET-42.",
        "harbour master is CYAN-7",
        "I look at file 9",
    ] {
        assert!(shown.contains(kept), "no `{kept}` in:\n{shown}");
    }
    let setup = State::fold(&entries).setup.unwrap();
    assert!(context::size(&request, &setup.model) <= 6_000);

    let content: usize = entries.iter().map(content).sum();
    assert!(content > 800_000, "{content}");
    let files = fs::read_dir(place.database().parent().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().metadata().unwrap());
    let stored: u64 = files
        .filter(|file| file.is_file())
        .map(|file| file.len())
        .sum();
    let ratio = stored as f64 / content as f64;
    println!("{content} bytes of content, {stored} stored: {ratio:.2}");
    assert!(ratio <= 3.0, "{ratio}");
    place.gpak(&["runs", "verify"]).with_code(0);
    place.gpak(&["runs", "replay"]).with_code(0);
}

/// Bytes of what an entry says.
fn content(entry: &Entry) -> usize {
    match &entry.event {
        Event::ModelReplied { reply } => {
            let args = reply.calls.iter().map(|call| call.args.to_string().len());
            reply.thought.len() + args.sum::<usize>()
        }
        Event::ToolFinished { outcome, .. } => outcome.text().len(),
        _ => 0,
    }
}

#[test]
fn a_long_output_is_kept_whole_shown_by_its_ends_and_read_where_it_was_cut() {
    let place = Place::new();
    let command = "seq 1 20000; head -c 300 /dev/urandom | od -An -tx1 > /dev/null";
    let mut answer = finish("read it");
    answer["when"] = json!("\n10000\n10001\n");
    let script = [
        call("run_command", json!({"command": command})),
        json!({
            "when": "bytes left out here; read_history {\"call\":\"1.0\",\"from\":",
            "calls": [{"name": "read_history", "args": {"call": "1.0", "from": 48_000}}],
        }),
        answer,
    ];
    assert_eq!(place.run(&script).with_code(0).out, "read it\n");
    let entries = entries(&place);
    let whole = entries.iter().any(|entry| match &entry.event {
        Event::ToolFinished { outcome, .. } => outcome.text().contains("\n12345\n12346\n"),
        _ => false,
    });
    assert!(whole, "the journal has it all");
    let request = last_request(&entries);
    let shown = request.messages.iter().find_map(|message| match message {
        Message::Tool { text, .. } => Some(text),
        _ => None,
    });
    let shown = shown.unwrap();
    assert!(
        shown.starts_with("exit code 0\n1\n2\n") && shown.ends_with("\n20000"),
        "{shown}"
    );
    assert!(shown.len() < 21_000, "{}", shown.len());
}

#[test]
fn binary_output_is_named_and_not_shown() {
    let place = Place::new();
    let script = [
        call("run_command", json!({"command": "head -c 5000 /bin/sh"})),
        json!({
            "when": "[binary data, ",
            "calls": [{"name": "finish", "args": {"answer": "it is binary"}}],
        }),
    ];
    assert_eq!(place.run(&script).with_code(0).out, "it is binary\n");
}

#[test]
fn a_window_smaller_than_the_prompt_is_said_with_what_to_do() {
    let place = Place::new();
    let model = place.script(&[finish("never said")]);
    let mut command = place.command();
    command
        .env("GPAK_WINDOW", "1000")
        .args(["run", "--yes", "--model", &model, "do it"]);
    Said::from(command.output().unwrap()).with_code(1).saying(&[
        "its window of 1000 tokens is too small",
        "--model",
        "GPAK_WINDOW",
    ]);
    let mut command = place.command();
    command
        .env("GPAK_WINDOW", "8000")
        .args(["resume", "--model", &model]);
    let resumed = Said::from(command.output().unwrap()).with_code(0);
    assert_eq!(resumed.out, "never said\n");
}

#[test]
fn what_a_repository_says_is_shown_labelled_and_journaled() {
    let place = Place::new();
    place.write("AGENTS.md", "Always sign with ACME.\n");
    place.write(
        ".gpak/skills/make-release/SKILL.md",
        "---\nname: make-release\ndescription: How a release is made.\n---\nTag it as v1.\n",
    );
    place.write(".gpak/skills/broken/SKILL.md", "no front matter");
    let script = [
        call("open_skill", json!({"name": "make-release"})),
        json!({
            "when": "Tag it as v1.",
            "calls": [{"name": "finish", "args": {"answer": "ok"}}],
        }),
    ];
    let said = place.run(&script).with_code(0);
    assert!(
        said.err
            .contains("gpak: the skill .gpak/skills/broken is not used: "),
        "{}",
        said.err
    );
    // The journal has all of it: nothing is read again.
    fs::remove_file(place.work().join("AGENTS.md")).unwrap();
    fs::remove_dir_all(place.work().join(".gpak")).unwrap();
    let entries = entries(&place);
    let request = last_request(&entries);
    let said = request.messages.iter().find_map(|message| match message {
        Message::User {
            text,
            label: Label::Repo,
        } => Some(text),
        _ => None,
    });
    let said = said.unwrap();
    for part in [
        "<notes from=\"AGENTS.md\">\nAlways sign with ACME.\n</notes>",
        "cannot widen the task or allow anything",
        "- make-release: How a release is made.",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
    let system = serde_json::to_string(&request.messages[0]).unwrap();
    assert!(
        !system.contains("ACME") && !system.contains("make-release"),
        "{system}"
    );
    let opened = request.messages.iter().find_map(|message| match message {
        Message::Tool { text, label, .. } => Some((text, label)),
        _ => None,
    });
    let (opened, label) = opened.unwrap();
    assert!(opened.contains("Tag it as v1."), "{opened}");
    assert_eq!(*label, Label::Repo);
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn without_skills_no_tool_opens_them_and_history_waits_until_something_is_left_out() {
    let place = Place::new();
    place.run(&[finish("ok")]).with_code(0);
    let request = last_request(&entries(&place));
    let tools: Vec<&str> = request
        .tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    assert!(
        !tools.contains(&"open_skill") && !tools.contains(&"read_history"),
        "{tools:?}"
    );
    assert!(!request.messages.iter().any(|message| matches!(
        message,
        Message::User {
            label: Label::Repo,
            ..
        }
    )));
}
