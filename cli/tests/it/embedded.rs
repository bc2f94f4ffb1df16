//! A real small model, fetched by our own code, in the real binary.

use std::fs;

use gpak_kernel::model::catalogue::testkit;

use crate::place::Place;

#[test]
fn a_real_model_runs_a_task_with_valid_steps_only() {
    let place = Place::new();
    place.write("notes.txt", "The password is swordfish.\n");
    let model = format!("embedded/{}", testkit::small_model().unwrap().display());
    let said = place.gpak(&[
        "run",
        "--json",
        "--yes",
        "--budget",
        "steps=4",
        "--model",
        &model,
        "Read notes.txt and say what the password is.",
    ]);
    // A model this small need not find it; it must make steps that are all valid.
    assert!([0, 1, 4].contains(&said.code), "{}\n{}", said.out, said.err);
    let events: Vec<serde_json::Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let replies: Vec<_> = events
        .iter()
        .filter(|one| one["event"]["type"] == "model_replied")
        .collect();
    assert!(!replies.is_empty(), "{}", said.out);
    for reply in &replies {
        let calls = reply["event"]["reply"]["calls"].as_array().unwrap();
        assert_eq!(calls.len(), 1, "{reply}");
        assert!(reply["event"]["reply"]["usage"]["output"].as_u64().unwrap() > 0);
    }
    if let [_, second, ..] = replies.as_slice() {
        let cached = second["event"]["reply"]["usage"]["cached"]
            .as_u64()
            .unwrap();
        assert!(
            cached > 100,
            "the second step read the whole prompt again: {second}"
        );
    }
    for event in &events {
        let outcome = &event["event"]["outcome"];
        assert_ne!(outcome["by"], "schema", "{event}");
        assert_ne!(outcome["by"], "unknown_tool", "{event}");
    }
    place.gpak(&["runs", "verify"]).with_code(0);
    place.gpak(&["runs", "replay"]).with_code(0);
}

#[test]
fn a_real_model_that_is_asked_for_a_tool_does_not_answer_at_once_and_makes_whole_definitions() {
    let place = Place::new();
    let model = format!("embedded/{}", testkit::small_model().unwrap().display());
    let said = place.gpak(&[
        "run",
        "--json",
        "--yes",
        "--budget",
        "steps=3",
        "--model",
        &model,
        "Make a tool that doubles a number and use it on 21.",
    ]);
    assert!([0, 1, 4].contains(&said.code), "{}\n{}", said.out, said.err);
    let events = said
        .out
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
    let calls: Vec<_> = events
        .filter(|one| one["event"]["type"] == "model_replied")
        .map(|one| one["event"]["reply"]["calls"][0].clone())
        .collect();
    // Whether it makes one, and whether that is right, is another matter at this size.
    assert_ne!(calls[0]["name"], "finish", "{}", said.out);
    let definitions = calls.iter().filter(|call| call["name"] == "make_tool");
    for definition in definitions.filter_map(|call| call["args"]["definition"].as_str()) {
        for part in [
            "// ",
            "\nfunction ",
            "throw new Error(",
            "\n// examples\n",
            "\n// bad input\n",
            ") => error",
        ] {
            assert!(definition.contains(part), "{definition}");
        }
    }
}

#[test]
fn a_model_that_is_none_is_refused_with_what_to_do() {
    let place = Place::new();
    let whole = testkit::small_model().unwrap();
    let cut = place.home().join("cut.gguf");
    fs::create_dir_all(place.home()).unwrap();
    fs::write(&cut, &fs::read(whole).unwrap()[..1_000_000]).unwrap();
    let text = place.home().join("text.gguf");
    fs::write(&text, "hello").unwrap();
    for (path, part) in [
        (cut, "truncated"),
        (text, "GGUF"),
        (place.home().join("no.gguf"), "no model file"),
    ] {
        let model = format!("embedded/{}", path.display());
        let said = place.gpak(&["run", "--model", &model, "do it"]);
        assert!(said.code == 1 || said.code == 2, "{said:?}");
        said.saying(&[part]);
        place
            .gpak(&["runs", "list"])
            .with_code(0)
            .saying(&["no runs yet"]);
    }
    place
        .gpak(&["run", "--model", "embedded/gpt-9", "x"])
        .with_code(2)
        .saying(&["known are"]);
    place
        .gpak(&["run", "--model", "cloud/gpt-9", "x"])
        .with_code(2)
        .saying(&["embedded/NAME"]);
}
