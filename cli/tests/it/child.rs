//! Runs that a run starts, in the real binary.

use serde_json::{Value, json};

use crate::place::{Place, call, finish, when};

/// The child writes a file and answers; the parent appends to another, each in its own words.
pub fn family() -> Vec<Value> {
    vec![
        when(
            "write the part",
            call(
                "write_file",
                json!({"path": "deep/part.txt", "content": "part\n"}),
            ),
        ),
        when(
            "wrote deep/part.txt",
            call(
                "edit_file",
                json!({"path": "a.txt", "old": "one", "new": "two"}),
            ),
        ),
        when("edited and saved a.txt", finish("the part is written")),
        when("do it", call("delegate", json!({"task": "write the part"}))),
        when(
            "the part is written",
            call(
                "write_file",
                json!({"path": "whole.txt", "content": "whole\n"}),
            ),
        ),
        finish("all done"),
    ]
}

fn place() -> Place {
    let place = Place::new();
    place.write("a.txt", "one\n");
    place
}

#[test]
fn a_child_is_a_branch_of_its_parent_and_is_undone_with_it() {
    let place = place();
    let before = place.files();
    place.run(&family()).with_code(0).saying(&[
        "    run ",
        "      ● write_file deep/part.txt",
        "6 steps",
    ]);
    assert_eq!(place.read("a.txt"), "two\n");
    let list = place.gpak(&["runs", "list"]).with_code(0);
    assert!(
        list.out.contains("↳ ") && list.out.contains(": write the part"),
        "{}",
        list.out
    );
    let shown = place.gpak(&["runs", "show"]).with_code(0);
    for part in [
        "├─ 1 I call delegate.",
        "│    run ",
        "│    │  ● write_file part deep/part.txt",
        "└─ done · 6 steps",
    ] {
        assert!(shown.out.contains(part), "no `{part}` in:\n{}", shown.out);
    }
    place
        .gpak(&["runs", "verify"])
        .with_code(0)
        .saying(&["2 runs"]);
    place.gpak(&["runs", "replay"]).with_code(0);

    let child = list.out.lines().find(|line| line.contains('↳')).unwrap();
    let child = child.split_whitespace().next().unwrap();
    place.gpak(&["runs", "replay", child]).with_code(0);

    place.write("deep/part.txt", "mine now\n");
    place
        .gpak(&["undo"])
        .with_code(1)
        .saying(&["deep/part.txt", "nothing was undone"]);
    place.write("deep/part.txt", "part\n");
    place.gpak(&["undo"]).with_code(0);
    assert_eq!(place.files(), before);
    assert!(!place.work().join("deep").exists());
}

#[test]
fn a_child_is_resumed_by_its_parent_and_by_nothing_else() {
    let place = place();
    let model = place.script(&family());
    let run = [
        "run", "--yes", "--model", &model, "--budget", "steps=2", "do it",
    ];
    place.gpak(&run).with_code(4);
    let list = place.gpak(&["runs", "list"]).out;
    let child = list.lines().find(|line| line.contains('↳')).unwrap();
    let child = child.split_whitespace().next().unwrap();
    place
        .gpak(&["resume", child])
        .with_code(2)
        .saying(&["is a part of run", "gpak resume "]);
    place
        .gpak(&["resume", "--budget", "steps=9"])
        .with_code(0)
        .saying(&["all done"]);
    assert_eq!(place.read("whole.txt"), "whole\n");
}

#[test]
fn a_model_is_offered_children_where_they_earn_their_place() {
    let offered = |config: &str| {
        let place = place();
        place.config(config);
        let said = place.run(&[call("delegate", json!({"task": 3})), finish("ok")]);
        !said
            .with_code(0)
            .err
            .contains("there is no tool `delegate`")
    };
    assert!(offered(""), "the scripted model has a large window");
    assert!(!offered("delegate = false\n"));
}
