//! A robot in a simulated world: the real reflex process, the real pilot; only the mind is scripted.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::place::{Place, call, finish};

fn world(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/robots");
    root.join(name).display().to_string()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_robot_hears_a_call_finds_who_called_and_speaks_to_them() {
    let place = Place::new();
    let model = place.script(&[
        call("wait_for", json!({"what": "voice", "within_s": 60})),
        call("approach", json!({"whom": "voice"})),
        call("say", json!({"text": "I am here to assist."})),
        finish("Found the person and told them that I am here to assist."),
    ]);
    let out = place.work().join("out");
    let out_text = out.display().to_string();
    let world = world("rescue.toml");
    let said = place
        .gpak(&[
            "--json",
            "robot",
            "sim",
            "--yes",
            "--world",
            &world,
            "--speed",
            "3",
            "--out",
            &out_text,
            "--model",
            &model,
            "--render",
            &out_text,
            "Find the person who calls for help",
        ])
        .with_code(0);
    let told = lines(&said.out);
    let robot = &told.last().unwrap()["robot"];
    assert_eq!(robot["said"][0]["heard_by"], json!(["Ana"]), "{robot}");
    assert_eq!(robot["fell"], json!(false));
    assert!(
        robot["fastest_collision_mps"].as_f64().unwrap() <= 0.1,
        "{robot}"
    );
    let heard = told.iter().find(|entry| {
        entry["event"]["type"] == "message_received" && entry["event"]["from"] != "user"
    });
    let heard = heard.unwrap_or_else(|| panic!("nothing was noticed:\n{}", said.out));
    assert_eq!(heard["event"]["from"], "tool:microphone", "{heard}");
    assert!(heard["event"]["text"].as_str().unwrap().contains("help me"));
    let recording = out.join("mission.mcap").display().to_string();
    let replayed = place
        .gpak(&["--json", "robot", "replay", &recording])
        .with_code(0);
    let replayed = &lines(&replayed.out)[0];
    assert_eq!(replayed["replay"]["same"], json!(true));
    assert_eq!(replayed["replay"]["decisions"], robot["decisions"]);
    for channel in [
        "/scan",
        "/odom",
        "/imu",
        "/battery",
        "/intents",
        "/measured",
        "/run/entries",
    ] {
        assert!(
            replayed["channels"][channel].as_u64().unwrap() > 0,
            "{channel}: {replayed}"
        );
    }
    assert!(out.join("path.png").exists() && out.join("frame-00001.png").exists());
}

#[test]
fn a_goal_that_cannot_be_reached_is_said_to_the_mind_with_a_place_that_can() {
    let place = Place::new();
    let model = place.script(&[
        call("turn", json!({"to_deg": 30})),
        call("go_to", json!({"x_m": 4.0, "y_m": 2.0})),
        call("look", json!({})),
        finish("I am there."),
        finish("It is in a wall, and could not be reached."),
    ]);
    let said = place
        .gpak(&[
            "--json",
            "robot",
            "sim",
            "--yes",
            "--world",
            &world("rescue.toml"),
            "--speed",
            "3",
            "--model",
            &model,
            "go into the wall",
        ])
        .with_code(0);
    assert!(
        said.out.contains("the nearest free place is"),
        "{}",
        said.out
    );
}

#[test]
fn a_world_that_cannot_be_and_a_robot_that_is_not_there_are_said() {
    let place = Place::new();
    place.write(
        "w.toml",
        "name = \"w\"\nsize_m = [5.0, 5.0]\ngravity = 1\n[robot]\nat = [1.0, 1.0]\n",
    );
    place
        .gpak(&["robot", "sim", "--world", "w.toml", "do it"])
        .with_code(2)
        .saying(&["line 3", "gravity"]);
    place
        .gpak(&["robot", "status"])
        .with_code(1)
        .saying(&["no robot", "robot sim"]);
    place.write("r.mcap", "nothing");
    place
        .gpak(&["robot", "replay", "r.mcap"])
        .with_code(1)
        .saying(&[".mcap"]);
}
