//! What one run learns, the next one knows: with the real binary and the real memory.

use gpak_kernel::{
    context,
    entry::Entry,
    event::Event,
    label::Label,
    model::{Message, Request},
    run::State,
};
use serde_json::json;

use crate::place::{Place, Said, call, finish, when};

const TASK: &str = "Find out which port the staging server of the harbour listens on";
const AGAIN: &str = "On which port does the staging server of the harbour listen?";

fn entries(place: &Place) -> Vec<Entry> {
    let events = place.gpak(&["runs", "events"]).with_code(0);
    let lines = events.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What the mind was sent first in the latest run.
fn first_request(place: &Place) -> Request {
    let entries = entries(place);
    let replied = |entry: &Entry| matches!(entry.event, Event::ModelReplied { .. });
    let before = entries.iter().position(replied).unwrap();
    let state = State::fold(&entries[..before]);
    let (spec, setup) = (state.spec.clone().unwrap(), state.setup.clone().unwrap());
    context::assemble(&state, &spec, &setup)
}

fn remembered(request: &Request) -> Option<(&String, &Label)> {
    request.messages.iter().find_map(|message| match message {
        Message::User { text, label } if text.starts_with("What you remember") => {
            Some((text, label))
        }
        _ => None,
    })
}

/// A run that finds it out in a file.
fn first(place: &Place) -> Said {
    place.write("servers.txt", "staging of the harbour: port 7431\n");
    let model = place.script(&[
        call("read_file", json!({"path": "servers.txt"})),
        when(
            "7431",
            finish("The staging server of the harbour listens on port 7431."),
        ),
    ]);
    place
        .gpak(&["run", "--yes", "--model", &model, TASK])
        .with_code(0)
}

fn second(place: &Place, more: &[&str]) -> Said {
    let model = place.script(&[finish("7431")]);
    let mut args = vec!["run", "--yes", "--model", &model];
    args.extend(more);
    args.push(AGAIN);
    place.gpak(&args).with_code(0)
}

#[test]
fn the_second_run_is_told_what_the_first_learnt_and_says_so() {
    let place = Place::new();
    first(&place);
    let said = second(&place, &[]);
    assert!(said.err.contains("remembers"), "{}", said.err);
    assert!(said.err.contains("listens on port 7431"), "{}", said.err);
    let request = first_request(&place);
    let (text, label) = remembered(&request).unwrap();
    assert!(text.contains("listens on port 7431"), "{text}");
    // It was learnt from a file, and is not trusted more for having been remembered.
    assert_eq!(*label, Label::Tool("read_file".into()));
    place
        .gpak(&["runs", "show"])
        .with_code(0)
        .saying(&["remembers"]);
    place.gpak(&["runs", "verify"]).with_code(0);
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn what_is_undone_is_not_remembered() {
    let place = Place::new();
    first(&place);
    let listed = place.gpak(&["memory", "list"]).with_code(0);
    assert!(listed.out.contains("7431"), "{}", listed.out);
    let undone = place.gpak(&["undo"]).with_code(0);
    assert!(
        undone.out.contains("forgot what it remembered"),
        "{}",
        undone.out
    );
    let listed = place.gpak(&["memory", "list"]).with_code(0);
    assert!(!listed.out.contains("7431"), "{}", listed.out);
    let said = second(&place, &[]);
    assert!(!said.err.contains("remembers"), "{}", said.err);
}

#[test]
fn no_memory_leaves_it_all_out() {
    let place = Place::new();
    first(&place);
    let said = second(&place, &["--no-memory"]);
    assert!(!said.err.contains("remembers"), "{}", said.err);
    let request = first_request(&place);
    assert_eq!(remembered(&request), None);
    assert!(request.tools.iter().all(|tool| tool.name != "recall"));
    let listed = place.gpak(&["memory", "list"]).with_code(0);
    assert!(!listed.out.contains(AGAIN), "{}", listed.out);
}

#[test]
fn another_folder_and_another_namespace_know_nothing_of_it() {
    let place = Place::new();
    first(&place);
    place.write("elsewhere/a.txt", "a");
    let elsewhere = place.work().join("elsewhere");
    let said = second(&place, &["-C", elsewhere.to_str().unwrap()]);
    assert!(!said.err.contains("remembers"), "{}", said.err);
    place.config("memory.namespace = \"other\"\n");
    let said = second(&place, &[]);
    assert!(!said.err.contains("remembers"), "{}", said.err);
    let listed = place.gpak(&["memory", "list", "--namespace", "other"]);
    assert!(listed.out.contains(AGAIN), "{}", listed.out);
}

#[test]
fn what_has_nothing_to_do_with_the_task_is_not_told() {
    let place = Place::new();
    first(&place);
    let model = place.script(&[finish("done")]);
    let task = "Translate the menu of the restaurant into French";
    let said = place
        .gpak(&["run", "--yes", "--model", &model, task])
        .with_code(0);
    assert!(!said.err.contains("remembers"), "{}", said.err);
}

#[test]
fn what_was_recalled_is_not_kept_as_new() {
    let place = Place::new();
    first(&place);
    let text = "The staging server of the harbour listens on port 7431.";
    let count = || {
        let listed = place.gpak(&["memory", "list", "--past"]).with_code(0);
        listed.out.matches(text).count()
    };
    assert_eq!(count(), 1);
    let model = place.script(&[finish(text)]);
    place
        .gpak(&["run", "--yes", "--model", &model, AGAIN])
        .with_code(0)
        .saying(&["remembers"]);
    assert_eq!(count(), 1);
}

#[test]
fn a_model_remembers_recalls_and_forgets_by_its_own_calls() {
    let place = Place::new();
    let fact = "The release is always cut on a Tuesday.";
    place
        .run(&[
            call("remember", json!({"fact": fact})),
            when("remembered", finish("noted")),
        ])
        .with_code(0);
    place
        .run(&[
            call("recall", json!({"query": "When is the release cut?"})),
            when("on a Tuesday", finish("Tuesday")),
        ])
        .with_code(0);
    let found = place.gpak(&["memory", "search", "--json", "release", "Tuesday"]);
    let hit: serde_json::Value = serde_json::from_str(found.out.lines().next().unwrap()).unwrap();
    assert_eq!(hit["episode"]["text"], fact);
    let id = hit["id"].as_str().unwrap();
    // Without --yes nobody is there to approve it, and it is not made.
    let forget = [call("forget", json!({"ids": [id]})), finish("forgotten")];
    let model = place.script(&forget);
    let denied = place.gpak(&["run", "--model", &model, "forget it"]);
    assert!(denied.err.contains("denied"), "{}", denied.err);
    place.gpak(&["memory", "show", id]).with_code(0);
    place.run(&forget).with_code(0);
    place.gpak(&["memory", "show", id]).with_code(2);
}

#[test]
fn what_a_compaction_leaves_out_is_found_again() {
    let place = Place::new();
    let print = |n: usize| {
        let fact = if n == 0 {
            "The harbour master is CYAN-7. "
        } else {
            ""
        };
        call(
            "run_command",
            json!({"command": format!("yes '{fact}Line of file {n} with words.' | head -c 3000")}),
        )
    };
    let mut script: Vec<_> = (0..12).map(print).collect();
    script.push(call(
        "recall",
        json!({"query": "Who is the harbour master?"}),
    ));
    script.push(when("CYAN-7", finish("CYAN-7")));
    let model = place.script(&script);
    let mut command = place.command();
    command
        .env("GPAK_WINDOW", "8000")
        .args(["run", "--yes", "--model", &model, "Read all files"]);
    let said = Said::from(command.output().unwrap()).with_code(0);
    assert!(
        said.err.contains("are shown to the model in short now"),
        "{}",
        said.err
    );
}

#[test]
fn a_fact_that_changed_ends_the_one_before_and_both_are_kept() {
    let place = Place::new();
    for port in ["8080", "9090"] {
        let fact = format!("The port of the build server is {port}.");
        place.gpak(&["memory", "add", &fact]).with_code(0);
    }
    place
        .gpak(&["memory", "consolidate"])
        .with_code(0)
        .saying(&["1 not true any more"]);
    let found = place.gpak(&["memory", "search", "port of the build server"]);
    assert!(
        found.out.contains("9090") && !found.out.contains("8080"),
        "{}",
        found.out
    );
    place
        .gpak(&["memory", "list", "--past"])
        .saying(&["8080", "9090"]);
    place
        .gpak(&["memory", "consolidate"])
        .with_code(0)
        .saying(&["0 looked at"]);
}

#[test]
fn a_memory_that_cannot_be_opened_stops_no_run() {
    let place = Place::new();
    first(&place);
    std::fs::write(place.home().join("data/memory.db"), "no database at all").unwrap();
    let said = second(&place, &[]);
    assert!(said.err.contains("nothing is remembered"), "{}", said.err);
}

#[test]
fn a_model_finds_facts_in_runs_that_are_over_once() {
    let place = Place::new();
    first(&place);
    let fact = "The staging server of the harbour is reached through port 7431.";
    let model = place.script(&[when("7431", call("keep_facts", json!({"facts": [fact]})))]);
    let consolidate = || {
        place
            .gpak(&["memory", "consolidate", "--model", &model])
            .with_code(0)
    };
    assert!(consolidate().out.contains(fact));
    let found = place.gpak(&[
        "memory",
        "search",
        "--json",
        "--kind",
        "semantic",
        "harbour port",
    ]);
    let hit: serde_json::Value = serde_json::from_str(found.out.lines().next().unwrap()).unwrap();
    assert_eq!(hit["episode"]["text"], fact);
    assert_eq!(hit["episode"]["label"], "tool:read_file");
    assert!(!consolidate().out.contains(fact));
}
