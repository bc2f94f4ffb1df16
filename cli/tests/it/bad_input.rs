use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::place::{Place, call, finish};

#[test]
fn a_workspace_that_is_missing_is_a_usage_error() {
    let place = Place::new();
    let said = place.gpak(&[
        "run",
        "-C",
        "/nowhere/at/all",
        "--model",
        "scripted/x",
        "do it",
    ]);
    said.with_code(2)
        .saying(&["/nowhere/at/all", "--workspace"]);
}

#[test]
fn an_empty_task_is_a_usage_error_and_standard_input_is_only_read_when_no_task_is_given() {
    let place = Place::new();
    let model = place.script(&[finish("ok")]);
    place
        .gpak(&["run", "--model", &model, "  "])
        .with_code(2)
        .saying(&["the task is empty"]);
    place
        .gpak(&["runs", "list"])
        .with_code(0)
        .saying(&["no runs yet"]);
    // Standard input of the test is at its end, so a read gives an empty task.
    place
        .gpak(&["run", "--model", &model])
        .with_code(2)
        .saying(&["the task is empty"]);
}

#[test]
fn a_missing_argument_or_a_wrong_bound_is_a_usage_error() {
    let place = Place::new();
    place.gpak(&[]).with_code(2).saying(&["Usage"]);
    place
        .gpak(&["run", "--budget", "speed=1", "x"])
        .with_code(2)
        .saying(&["there are steps"]);
    place
        .gpak(&["resume", "zzz"])
        .with_code(2)
        .saying(&["there is no run `zzz`"]);
}

/// What the model is told of each call.
fn told(place: &Place) -> Vec<String> {
    let events = place.gpak(&["runs", "events"]).with_code(0).out;
    let events = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let texts = events
        .filter(|one| one["event"]["type"] == "tool_finished")
        .map(|one| {
            let outcome = &one["event"]["outcome"];
            outcome["message"]
                .as_str()
                .or(outcome["output"]["text"].as_str())
                .unwrap()
                .to_owned()
        });
    texts.collect()
}

#[test]
fn what_a_model_gets_wrong_is_told_to_it_and_changes_nothing() {
    let place = Place::new();
    place.write("a.txt", "a\n");
    let outside = place.home().join("secret.txt");
    fs::create_dir_all(place.home()).unwrap();
    fs::write(&outside, "secret\n").unwrap();
    symlink(&outside, place.work().join("link.txt")).unwrap();
    fs::create_dir(place.work().join("docs")).unwrap();
    let path = |path: &str| json!({"path": path});
    let cases = [
        (
            call("no_such_tool", json!({})),
            "there is no tool `no_such_tool`; the tools are",
        ),
        (call("read_file", json!("{\"path\": ")), "no JSON"),
        (
            call("read_file", json!({"path": 3})),
            "not of type \"string\"",
        ),
        (
            call("read_file", json!({})),
            "\"path\" is a required property",
        ),
        (call("read_file", path("../home/secret.txt")), "outside"),
        (
            call("read_file", path(outside.to_str().unwrap())),
            "outside",
        ),
        (call("read_file", path("link.txt")), "outside"),
        (
            call("write_file", json!({"path": "link.txt", "content": "x"})),
            "link.txt is a link",
        ),
        (
            call(
                "write_file",
                json!({"path": ".gpak/config.toml", "content": "x"}),
            ),
            ".gpak",
        ),
        (call("read_file", path("docs")), "list_files"),
    ];
    let mut script: Vec<_> = cases.iter().map(|(call, _)| call.clone()).collect();
    script.insert(5, call("list_files", json!({})));
    script.push(finish("it is sent back once, for nothing was written"));
    script.push(finish("ok"));
    place.run(&script).with_code(0);
    let mut told = told(&place);
    told.remove(5);
    for ((call, part), told) in cases.iter().zip(told) {
        assert!(told.contains(part), "{call}: no `{part}` in `{told}`");
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "secret\n");
    assert!(!place.work().join(".gpak").exists());
}

#[test]
fn a_file_of_two_gigabytes_is_read_in_parts() {
    let place = Place::new();
    let big = fs::File::create(place.work().join("big.txt")).unwrap();
    std::io::Write::write_all(&mut &big, b"first line\n").unwrap();
    big.set_len(2 << 30).unwrap();
    let script = [
        call(
            "read_file",
            json!({"path": "big.txt", "from_line": 1, "to_line": 1}),
        ),
        finish("ok"),
    ];
    place.run(&script).with_code(0);
    assert!(told(&place)[0].len() < 10_000);
}

#[test]
fn a_corrupt_database_is_set_aside_and_said_so() {
    let place = Place::new();
    place.run(&[finish("ok")]).with_code(0);
    fs::write(
        place.database(),
        "this is no database at all, but long enough to look at",
    )
    .unwrap();
    let said = place.gpak(&["runs", "list"]).with_code(0);
    said.saying(&["journal.db.corrupt", "no runs yet"]);
    place.run(&[finish("again")]).with_code(0);
    let kept = crate::place::below(&place.home().join("data"), "");
    assert!(
        kept.iter()
            .any(|path| path.to_string_lossy().contains("corrupt")),
        "{kept:?}"
    );
}

#[test]
fn two_processes_cannot_resume_one_run() {
    let place = Place::new();
    let mut slow = finish("ok");
    slow["delay_ms"] = 600_000.into();
    let model = place.script(&[slow]);
    let mut first = place
        .command()
        .args(["--json", "run", "--model", &model, "do it"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(first.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert!(line.contains("run_started"), "{line}");
    place.gpak(&["resume"]).with_code(1).saying(&[
        "is being driven by another process",
        &first.id().to_string(),
    ]);
    first.kill().unwrap();
    first.wait().unwrap();
    place.gpak(&["runs", "verify"]).with_code(0);
    let model = place.script(&[finish("ok")]);
    place.gpak(&["resume", "--model", &model]).with_code(0);
}

#[test]
fn a_home_that_cannot_be_written_is_said_so() {
    let place = Place::new();
    fs::create_dir_all(place.home()).unwrap();
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::metadata(place.home()).unwrap().uid() == 0 {
        // Root writes anywhere; a file in the way says the same.
        fs::write(place.home().join("data"), "").unwrap();
    }
    let said = place.run(&[finish("ok")]);
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o700)).unwrap();
    said.with_code(1).saying(&["data"]);
}

#[test]
fn a_model_behind_a_server_that_cannot_be_used_is_refused_with_what_to_do() {
    let place = Place::new();
    place
        .gpak(&["run", "--model", "openai/gpt", "x"])
        .with_code(2)
        .saying(&["needs a key", "OPENAI_API_KEY", "openai.base_url"]);
    fs::create_dir_all(place.home().join("config")).unwrap();
    fs::write(
        place.home().join("config/config.toml"),
        "openai.base_url = \"http://127.0.0.1:9/v1\"\nopenai.api_key = \"sk-hidden\"\n\
         ollama.base_url = \"http://127.0.0.1:9\"\n",
    )
    .unwrap();
    for model in ["openai/m", "ollama/m"] {
        let said = place.gpak(&["run", "--model", model, "x"]).with_code(1);
        assert!(!format!("{said:?}").contains("sk-hidden"), "{said:?}");
        said.saying(&["cannot be reached", "base_url"]);
    }
    place
        .gpak(&["config", "show"])
        .with_code(0)
        .saying(&["openai.api_key = \"***\""]);
    place
        .gpak(&["runs", "list"])
        .with_code(0)
        .saying(&["no runs yet"]);
}

#[test]
fn a_reader_who_has_read_enough_is_no_failure() {
    let place = Place::new();
    for command in [["config", "show"], ["models", "list"], ["tools", "list"]] {
        let mut gpak = place.command();
        gpak.args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut gpak = gpak.spawn().unwrap();
        drop(gpak.stdout.take());
        let ended = gpak.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{command:?}: {said}");
        assert!(!said.contains("panicked"), "{command:?}: {said}");
    }
}
