//! `gpak run --strategy` and `gpak eval`, in the real binary.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, call, finish, when};

fn write(path: &str, content: &str) -> Value {
    call("write_file", json!({"path": path, "content": content}))
}

const CHECK: &str = "grep -q right deep/out.txt";

/// The first try is wrong, the second right; the parent only looks on.
fn tries() -> Vec<Value> {
    vec![
        when("This was tried before", write("deep/out.txt", "right\n")),
        when(
            "wrote deep/out.txt (1 line, 6 bytes)",
            call("delete_file", json!({"path": "gone/b.txt"})),
        ),
        when(
            "deleted gone/b.txt",
            call(
                "run_command",
                json!({"command": "rmdir gone; chmod 700 run.sh; echo 2 >> run.sh; mkdir build; echo x > build/x"}),
            ),
        ),
        when("exit code 0", finish("second")),
        when("do it", write("deep/out.txt", "wrong\n")),
        finish("1"),
        finish("2"),
        finish("3"),
    ]
}

fn place() -> Place {
    let place = Place::new();
    place.write("a.txt", "a\n");
    place.write("run.sh", "echo 1\n");
    place.write("gone/b.txt", "b\n");
    place.write(".gitignore", "build/\n");
    place
}

fn search(place: &Place) -> crate::place::Said {
    // The parent says nothing itself, so that its script is not used up.
    let model = place.script(&tries());
    place.gpak(&[
        "--json",
        "run",
        "--yes",
        "--model",
        &model,
        "--strategy",
        "search",
        "--check",
        CHECK,
        "do it",
    ])
}

#[test]
fn a_search_keeps_the_try_that_passes_and_leaves_no_copy_behind() {
    let place = place();
    let before = place.files();
    let said = search(&place);
    assert!(
        said.out.contains(r#""status":"completed""#),
        "{}\n{}",
        said.out,
        said.err
    );
    assert_eq!(place.read("deep/out.txt"), "right\n");
    assert_eq!(place.read("run.sh"), "echo 1\n2\n");
    assert!(
        !place.work().join("gone").exists(),
        "an emptied folder goes too"
    );
    assert!(
        !place.work().join("build").exists(),
        "what is ignored is not brought over"
    );
    let copies = place.home().join("copies");
    assert_eq!(
        fs::read_dir(&copies).map_or(0, Iterator::count),
        0,
        "copies are left"
    );
    let shown = place.gpak(&["runs", "show"]).with_code(0);
    for part in [
        "● copy_workspace",
        "✗ try_way",
        "● try_way",
        "● adopt_copy 2 its check succeeded",
        "● drop_copies",
        "● run_command",
    ] {
        assert!(shown.out.contains(part), "no `{part}` in:\n{}", shown.out);
    }
    place.gpak(&["runs", "replay"]).with_code(0);
    place.gpak(&["runs", "verify"]).with_code(0);

    place.write("deep/out.txt", "mine now\n");
    place.gpak(&["undo"]).with_code(1).saying(&["deep/out.txt"]);
    place.write("deep/out.txt", "right\n");
    place
        .gpak(&["undo"])
        .with_code(0)
        .saying(&["restored run.sh"]);
    assert_eq!(place.files(), before);
    assert!(!place.work().join("deep").exists());
}

#[test]
fn what_changed_meanwhile_is_not_overwritten() {
    let place = place();
    let mut script = tries();
    // The second try also reaches out of its copy, as a person at work would.
    let outside = place.work().join("run.sh").display().to_string();
    let meanwhile = format!("echo 2 >> run.sh; echo mine >> {outside}");
    script[2] = when(
        "deleted gone/b.txt",
        call("run_command", json!({"command": meanwhile})),
    );
    let give_up = finish("left alone");
    script.insert(0, when("changed in the workspace meanwhile", give_up));
    let model = place.script(&script);
    let args = [
        "run",
        "--yes",
        "--model",
        &model,
        "--strategy",
        "search",
        "--check",
        CHECK,
    ];
    let said = place.gpak(&[&args[..], &["--budget", "steps=30", "do it"]].concat());
    assert!(
        said.err
            .contains("these changed in the workspace meanwhile: run.sh"),
        "{}",
        said.err
    );
    assert_eq!(place.read("run.sh"), "echo 1\nmine\n");
    assert!(
        !place.work().join("deep").exists(),
        "nothing of it was brought over"
    );
}

#[test]
fn a_workspace_that_is_too_large_is_not_copied_and_the_run_goes_on() {
    let place = Place::new();
    let large = fs::File::create(place.work().join("large.bin")).unwrap();
    large.set_len((1 << 30) + 1).unwrap();
    drop(large);
    let model = place.script(&[finish("done here")]);
    place
        .gpak(&[
            "run",
            "--yes",
            "--model",
            &model,
            "--strategy",
            "search",
            "do it",
        ])
        .with_code(0)
        .saying(&["the workspace is too large to be copied", "done here"]);
}

#[test]
fn copies_that_a_dead_run_left_behind_are_swept_by_the_next() {
    let place = Place::new();
    let stale = place
        .home()
        .join("copies/00000000000000000000000000000007/1/work");
    fs::create_dir_all(&stale).unwrap();
    place.run(&[finish("ok")]).with_code(0);
    assert!(!stale.exists());
}

#[test]
fn a_plan_is_shown_and_its_items_end_with_evidence() {
    let place = place();
    let plan = |status: &str| {
        call(
            "update_plan",
            json!({"items": [{"text": "write it", "status": status}]}),
        )
    };
    let model = place.script(&[
        when("Work by a plan", plan("active")),
        plan("done"),
        when("Not ticked off", write("out.txt", "x\n")),
        plan("done"),
        when("0 of 1 items left", finish("ok")),
    ]);
    place
        .gpak(&[
            "run",
            "--yes",
            "--model",
            &model,
            "--strategy",
            "plan",
            "do it",
        ])
        .with_code(0)
        .saying(&["plan: it was asked for", "☑ write it"]);
    let events = place.gpak(&["runs", "events"]).out;
    assert!(events.contains(r#""evidence":"3.0""#), "{events}");
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn a_strategy_can_be_set_and_the_model_can_choose() {
    let place = place();
    place.config("strategy = \"auto\"\n");
    place
        .run(&[
            call("choose_strategy", json!({"strategy": "direct"})),
            finish("ok"),
        ])
        .with_code(0)
        .saying(&["direct: the model chose it: I call choose_strategy."]);
    place
        .gpak(&["run", "--strategy", "guess", "x"])
        .with_code(2)
        .saying(&["direct, react, plan, search"]);
    place.write(".gpak/config.toml", "strategy = \"search\"\n");
    place
        .run(&[
            call("choose_strategy", json!({"strategy": "react"})),
            finish("ok"),
        ])
        .with_code(0)
        .saying(&["a workspace cannot choose how a task is done"]);
}

/// Knows two tasks by their words, however it is to work.
fn oracle() -> Vec<Value> {
    let answer = |said: &str, answer: &str| when(said, finish(answer));
    vec![
        answer("apples", "There are 4 apples."),
        answer("pears", "There are 7 pears."),
    ]
}

#[test]
fn eval_compares_strategies_task_by_task_and_prints_a_table() {
    let place = Place::new();
    let tasks = place.home().join("tasks");
    fs::create_dir_all(&tasks).unwrap();
    for (id, split, number) in [("apples", "tuning", 4), ("pears", "held_out", 9)] {
        let task = format!(
            "id = \"{id}\"\nsplit = \"{split}\"\nkind = \"count\"\nlevel = 1\ntask = \"How many {id}?\"\n\
             [files]\n\"n.txt\" = \"{number}\"\n[[check]]\nlook = \"answer\"\nnumber = {number}\n\
             [solution]\nanswer = \"{number}\"\n"
        );
        fs::write(tasks.join(format!("{id}.toml")), task).unwrap();
    }
    let model = place.script(&oracle());
    let tasks = tasks.display().to_string();
    let args = ["eval", "--tasks", &tasks, "--model", &model, "--strategies"];
    let said = place
        .gpak(&[&args[..], &["react,chosen"]].concat())
        .with_code(0);
    for part in [
        "react    ✓ apples",
        "react    ✗ pears",
        "strategy   half              solved   steps",
        "react      tuning       1/1 100.0 %     1.0",
        "react      held out     0/1   0.0 %     1.0",
        "chosen     tuning ",
        "tuning: chosen is",
    ] {
        assert!(said.out.contains(part), "no `{part}` in:\n{}", said.out);
    }
    let json = place
        .gpak(
            &[
                &["--json"],
                &args[..],
                &["react", "--half", "tuning", "--only", "apples"],
            ]
            .concat(),
        )
        .with_code(0);
    let lines: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["task"]["solved"], true);
    assert_eq!(lines[1]["rows"][0]["tuning"]["solved"], 1);
    assert_eq!(lines.len(), 2);
    place
        .gpak(&["eval", "--only", "no-such-task", "--model", &model])
        .with_code(2)
        .saying(&["there is no task `no-such-task`"]);
}
