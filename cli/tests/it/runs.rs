use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, call, finish, is_alive};

fn write(path: &str, content: &str) -> Value {
    call("write_file", json!({"path": path, "content": content}))
}

#[test]
fn a_run_answers_on_standard_output_and_tells_its_steps_on_standard_error() {
    let place = Place::new();
    place.write("a.txt", "x\ny\n");
    let said = place
        .run(&[
            call("read_file", json!({"path": "a.txt"})),
            write("b.txt", "z\n"),
            finish("made b.txt"),
        ])
        .with_code(0);
    assert_eq!(said.out, "made b.txt\n");
    for part in [
        "I call read_file.",
        "● read_file a.txt",
        "● write_file b.txt",
        "done · 3 steps",
    ] {
        assert!(said.err.contains(part), "no `{part}` in:\n{}", said.err);
    }
    place
        .gpak(&["runs", "list"])
        .with_code(0)
        .saying(&["completed", "do it"]);
    place
        .gpak(&["runs", "show"])
        .with_code(0)
        .saying(&["├─ 2 I call write_file.", "└─ done · 3 steps"]);
}

#[test]
fn json_is_one_entry_a_line_everywhere() {
    let place = Place::new();
    let model = place.script(&[write("b.txt", "z\n"), finish("ok")]);
    let live = place
        .gpak(&["--json", "run", "--yes", "--model", &model, "do it"])
        .with_code(0);
    let events = place.gpak(&["runs", "events"]).with_code(0);
    let lines = |text: &str| -> Vec<Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (live, events) = (lines(&live.out), lines(&events.out));
    assert_eq!(events[0]["event"]["type"], "run_created");
    assert_eq!(live, events[1..]);
    assert_eq!(
        live.last().unwrap()["event"]["outcome"],
        json!({"status": "completed", "answer": "ok"})
    );
    let followed = place
        .gpak(&["runs", "events", "--follow", "--from", "2"])
        .with_code(0);
    assert_eq!(lines(&followed.out), live);
}

#[test]
fn undo_puts_every_file_back_and_refuses_by_name_what_changed_since() {
    let place = Place::new();
    place.write("keep.txt", "old\n");
    place.write("gone.txt", "bye\n");
    let before = place.files();
    let script = [
        write("keep.txt", "new\n"),
        call(
            "edit_file",
            json!({"path": "keep.txt", "old": "new", "new": "newer"}),
        ),
        call("delete_file", json!({"path": "gone.txt"})),
        write("deep/er/made.txt", "x\n"),
        finish("ok"),
    ];
    place.run(&script).with_code(0);
    place.write("deep/er/made.txt", "mine now\n");
    place
        .gpak(&["undo"])
        .with_code(1)
        .saying(&["deep/er/made.txt", "nothing was undone"]);
    assert_eq!(place.read("keep.txt"), "newer\n", "all or nothing");
    place.write("deep/er/made.txt", "x\n");
    place.gpak(&["undo"]).with_code(0);
    assert_eq!(place.files(), before);
    assert!(
        !place.work().join("deep").exists(),
        "folders that were made are gone"
    );
    place
        .gpak(&["undo"])
        .with_code(0)
        .saying(&["nothing to undo"]);
    place
        .gpak(&["runs", "show"])
        .with_code(0)
        .saying(&["undone: "]);
}

#[test]
fn a_fork_goes_on_from_an_earlier_entry() {
    let place = Place::new();
    place
        .run(&[
            write("a.txt", "1\n"),
            write("b.txt", "2\n"),
            finish("first"),
        ])
        .with_code(0);
    let list = place.gpak(&["runs", "list"]).out;
    let run = list.split_whitespace().next().unwrap();
    place
        .gpak(&["runs", "fork", run, "--at", "5"])
        .with_code(0)
        .saying(&["shares entries 1 to 5"]);
    let model = place.script(&[
        write("a.txt", "1\n"),
        write("c.txt", "3\n"),
        finish("second"),
    ]);
    let resumed = place
        .gpak(&["resume", "--model", &model, "--yes"])
        .with_code(0);
    assert_eq!(resumed.out, "second\n");
    assert_eq!(place.read("c.txt"), "3\n");
    place
        .gpak(&["runs", "show"])
        .saying(&[&format!("from {run} at 5")]);
    place
        .gpak(&["runs", "fork", run, "--at", "99"])
        .with_code(2)
        .saying(&["has no entry 99"]);
}

#[test]
fn a_replay_in_another_folder_does_it_again() {
    let place = Place::new();
    place
        .run(&[write("a.txt", "1\n"), finish("ok")])
        .with_code(0);
    let other = place.home().join("other");
    fs::create_dir_all(&other).unwrap();
    place
        .gpak(&["runs", "replay", "-C", other.to_str().unwrap()])
        .with_code(0);
    assert_eq!(fs::read_to_string(other.join("a.txt")).unwrap(), "1\n");
}

#[test]
fn verify_finds_one_byte_of_an_entry_that_was_changed() {
    let place = Place::new();
    place
        .run(&[write("a.txt", "1\n"), finish("ok")])
        .with_code(0);
    place
        .gpak(&["runs", "verify"])
        .with_code(0)
        .saying(&["none changed"]);
    let database = rusqlite::Connection::open(place.database()).unwrap();
    let changed = database
        .execute(
            "UPDATE entries SET body = replace(body, 'a.txt', 'b.txt') WHERE seq = 3",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    place
        .gpak(&["runs", "verify"])
        .with_code(1)
        .saying(&["entry 3", "was changed"]);
    place
        .gpak(&["runs", "show"])
        .with_code(1)
        .saying(&["was changed"]);
}

#[test]
fn an_export_is_the_run_as_json_lines() {
    let place = Place::new();
    place.run(&[finish("ok")]).with_code(0);
    let file = place.home().join("run.jsonl");
    place
        .gpak(&["runs", "export", "-o", file.to_str().unwrap()])
        .with_code(0);
    let exported = fs::read_to_string(file).unwrap();
    assert_eq!(exported, place.gpak(&["runs", "events"]).out);
}

#[test]
fn out_of_budget_is_exit_code_4_and_resume_goes_on() {
    let place = Place::new();
    let model = place.script(&[write("a.txt", "1\n"), write("b.txt", "2\n"), finish("ok")]);
    let run = [
        "run", "--yes", "--model", &model, "--budget", "steps=1", "do it",
    ];
    place
        .gpak(&run)
        .with_code(4)
        .saying(&["1 of 1 steps are used up", "gpak resume"]);
    let resumed = place.gpak(&["resume", "--budget", "steps=9"]).with_code(0);
    assert_eq!(resumed.out, "ok\n");
}

#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    use std::io::{BufRead, BufReader, Read};
    let place = Place::new();
    let model = place.script(&[
        call(
            "run_command",
            json!({"command": "echo $$ > pid; sleep 600; echo never > never.txt"}),
        ),
        json!({"when": "unknown", "calls": [{"name": "finish", "args": {"answer": "stopped"}}]}),
    ]);
    let mut child = place
        .command()
        .args(["--json", "run", "--yes", "--model", &model, "do it"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("tool_started") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the run ended");
    }
    let pid = loop {
        let pid = fs::read_to_string(place.work().join("pid")).unwrap_or_default();
        if pid.ends_with('\n') {
            break pid;
        }
        std::thread::yield_now();
    };
    let interrupt = nix::sys::signal::Signal::SIGINT;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), interrupt).unwrap();
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.contains(r#""kind":"interrupted""#), "{rest}");
    // It is killed, which takes effect, and reaped by whoever inherits it, a moment later.
    while is_alive(pid.trim()) {
        std::thread::yield_now();
    }
    place.gpak(&["resume"]).with_code(0).saying(&["stopped"]);
}

#[test]
fn a_script_that_is_not_used_up_fails_the_run() {
    let place = Place::new();
    place
        .run(&[finish("ok"), finish("never said")])
        .with_code(1)
        .saying(&["1 replies of its script"]);
}

#[test]
fn settings_say_where_they_came_from() {
    let place = Place::new();
    fs::create_dir_all(place.home().join("config")).unwrap();
    fs::write(
        place.home().join("config/config.toml"),
        "budget.steps = 7\n",
    )
    .unwrap();
    place.write(".gpak/config.toml", "model = \"x/y\"\nbudget.minutes = 1\n");
    place
        .gpak(&["config", "show", "--origin"])
        .with_code(0)
        .saying(&[
            "budget.steps = 7  # ",
            "config/config.toml",
            "budget.minutes = 1  # ",
            "cannot choose the model",
        ]);
}

#[test]
fn doctor_names_every_part_and_what_to_do() {
    let place = Place::new();
    let parts = [
        "model",
        "cache",
        "disk",
        "journal",
        "workspace",
        "real time",
        "network",
        "gpak models pull",
    ];
    place.gpak(&["doctor"]).with_code(0).saying(&parts);
}

#[test]
fn completions_are_printed() {
    Place::new()
        .gpak(&["completions", "bash"])
        .with_code(0)
        .saying(&["_gpak()"]);
}
