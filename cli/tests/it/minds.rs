//! Two selves as the settings name them.

use serde_json::{Value, json};

use crate::place::{Place, call, finish, when};

/// Writes the scripts of both selves and names them in the settings.
fn two(place: &Place, active: &[Value], core: &[Value]) {
    place.write("active.json", &Value::from(active).to_string());
    place.write("core.json", &Value::from(core).to_string());
    settings(place, "");
}

fn settings(place: &Place, more: &str) {
    let path = |name: &str| place.work().join(name).display().to_string();
    let (active, core) = (path("active.json"), path("core.json"));
    place.config(&format!(
        "[mind]\nactive = \"scripted/{active}\"\ncore = \"scripted/{core}\"\n{more}"
    ));
}

fn wrong(number: u32) -> Value {
    call("read_file", json!({ "path": number }))
}

fn replies(place: &Place) -> Vec<Value> {
    let events = place.gpak(&["runs", "events"]).with_code(0);
    let entries = events.out.lines();
    let entries = entries.map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries
        .filter(|entry| entry["event"]["type"] == "model_replied")
        .map(|entry| entry["event"]["reply"]["spoken"].clone())
        .collect()
}

#[test]
fn a_run_says_which_self_spoke_and_why() {
    let place = Place::new();
    place.write("a.txt", "x\n");
    let read = call("read_file", json!({"path": "a.txt"}));
    two(&place, &[wrong(1), wrong(2), finish("done")], &[read]);
    let said = place.gpak(&["run", "--yes", "do it"]).with_code(0);
    assert_eq!(said.out, "done\n");
    let told = "◆ core self: calls failed one after the other";
    said.saying(&[told]);
    let (policy, failures) = (
        json!({"by": "active", "why": "policy"}),
        json!({"by": "core", "why": "failures"}),
    );
    assert_eq!(
        replies(&place),
        [&policy, &policy, &failures, &policy].map(Clone::clone)
    );
    place
        .gpak(&["runs", "show"])
        .with_code(0)
        .saying(&[told, "(cascade with scripted/"]);
}

#[test]
fn a_policy_of_the_command_line_is_more_particular_and_a_resumed_run_keeps_its_own() {
    let place = Place::new();
    two(&place, &[finish("small")], &[finish("large")]);
    for (policy, answer) in [
        ("local-only", "small\n"),
        ("cloud-only", "large\n"),
        ("cloud-first", "large\n"),
        ("local-first", "small\n"),
    ] {
        let said = place
            .gpak(&["run", "--yes", "--policy", policy, "do it"])
            .with_code(0);
        assert_eq!(said.out, answer, "{policy}");
    }
    let (first, last) = (call("list_files", json!({})), finish("large"));
    two(&place, &[], &[first, last]);
    place
        .gpak(&[
            "run",
            "--yes",
            "--policy",
            "cloud-only",
            "--budget",
            "steps=1",
            "do it",
        ])
        .with_code(4);
    let said = place.gpak(&["resume", "--yes"]).with_code(0);
    assert_eq!(said.out, "large\n");
}

#[test]
fn a_core_self_that_is_not_there_is_no_reason_not_to_begin() {
    let place = Place::new();
    two(&place, &[finish("small")], &[]);
    std::fs::remove_file(place.work().join("core.json")).unwrap();
    let said = place.gpak(&["run", "--yes", "do it"]).with_code(0);
    assert_eq!(said.out, "small\n");
    said.saying(&["cannot be reached now, and is asked again when it is needed"]);
    let said = place
        .gpak(&["run", "--yes", "--policy", "cloud-first", "do it"])
        .with_code(0);
    assert_eq!(said.out, "small\n");
    let first = &replies(&place)[0];
    assert_eq!(first["by"], "active");
    assert_eq!(first["wanted"], "policy", "{first}");
    place
        .gpak(&["run", "--yes", "--policy", "cloud-only", "do it"])
        .with_code(1);
}

#[test]
fn what_is_wrong_with_a_mind_is_said() {
    let place = Place::new();
    place
        .gpak(&["run", "--policy", "cascade", "do it"])
        .with_code(2)
        .saying(&["a policy is for two selves", "mind = {"]);
    two(&place, &[finish("small")], &[finish("large")]);
    let model = place.script(&[finish("alone")]);
    let alone = place
        .gpak(&["run", "--yes", "--model", &model, "do it"])
        .with_code(0);
    assert_eq!(alone.out, "alone\n", "--model is one model");
    place
        .gpak(&["run", "--policy", "cascade", "--model", &model, "do it"])
        .with_code(2)
        .saying(&["leave --model out"]);
    place
        .gpak(&["run", "--policy", "sideways", "do it"])
        .with_code(2)
        .saying(&["there are local-first, cloud-first"]);
    settings(&place, "policy = \"sideways\"\n");
    place
        .gpak(&["run", "do it"])
        .with_code(2)
        .saying(&["there is no policy `sideways`"]);
    settings(
        &place,
        "policy = \"local-first\"\nprivate = [\"tool:mail_*\"]\n",
    );
    place.gpak(&["config", "show"]).with_code(0).saying(&[
        "mind.policy = \"local-first\"",
        "mind.private = [\"tool:mail_*\"]",
    ]);
}

/// A reply that took a hundred tokens and gave ten.
fn billed(mut reply: Value) -> Value {
    reply["usage"] = json!({
        "input": 100, "cached": 0, "output": 10, "cost": 0.0, "first_token_ms": 1, "total_ms": 1,
    });
    reply
}

/// Two tasks, of which the active self can do the first.
fn orchard(place: &Place) -> String {
    let tasks = place.home().join("tasks");
    std::fs::create_dir_all(&tasks).unwrap();
    for (id, number) in [("apples", 4), ("pears", 9)] {
        let task = format!(
            "id = \"{id}\"\nsplit = \"tuning\"\nkind = \"count\"\nlevel = 1\ntask = \"How many {id}?\"\n\
             [files]\n\"n.txt\" = \"{number}\"\n[[check]]\nlook = \"answer\"\nnumber = {number}\n\
             [solution]\nanswer = \"{number}\"\n"
        );
        std::fs::write(tasks.join(format!("{id}.toml")), task).unwrap();
    }
    let active = [
        when("apples", finish("4")),
        when("pears", wrong(1)),
        wrong(2),
        finish("I cannot count pears."),
    ];
    let core = [
        when("apples", finish("4")),
        when("pears", finish("9")),
        // After the active self could not do it.
        finish("9"),
    ];
    two(place, &active.map(billed), &core.map(billed));
    tasks.display().to_string()
}

#[test]
fn policies_are_compared_by_what_they_solve_and_what_they_take_of_the_core_self() {
    let place = Place::new();
    let tasks = orchard(&place);
    let args = ["eval", "--tasks", &tasks, "--policies"];
    let policies = "local-only,cascade,cloud-only";
    let said = place.gpak(&[&args[..], &[policies]].concat()).with_code(0);
    let lines: Vec<String> = said
        .out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let has = |part: &str| {
        assert!(
            lines.iter().any(|line| line.contains(part)),
            "no `{part}` in:\n{}",
            said.out
        );
    };
    has("local-only ✗ pears 3 steps 330 tokens");
    has("core self: 1 of the steps, 110 tokens: calls failed one after the other");
    has("policy solved of cloud core tokens of cloud tokens seconds");
    has("local-only 1/2 50.0 % 0 0.0 % 440");
    has("cascade 2/2 100.0 % 110 50.0 % 440");
    has("cloud-only 2/2 100.0 % 220 100.0 % 220");

    let json = [&["--json"], &args[..], &["cascade", "--only", "pears"]].concat();
    let said = place.gpak(&json).with_code(0);
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["policy"], "cascade");
    assert_eq!(lines[0]["task"]["core_for"], json!(["failures"]));
    let row = &lines[1]["rows"][0];
    assert_eq!(
        (&row["solved"], &row["core_tokens"]),
        (&json!(1), &json!(110))
    );
}

#[test]
fn policies_are_not_compared_where_there_is_no_core_self_or_beside_strategies() {
    let place = Place::new();
    place
        .gpak(&["eval", "--policies", "cascade"])
        .with_code(2)
        .saying(&["name no core self", "mind.core"]);
    place
        .gpak(&["eval", "--policies", "cascade", "--strategies", "react"])
        .with_code(2);
    place
        .gpak(&["eval", "--policies", "sideways"])
        .with_code(2)
        .saying(&["there is no policy `sideways`"]);
}
