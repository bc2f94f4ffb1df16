//! A real `gpak run` is killed with SIGKILL at every append of its journal, before and after, and
//! resumed.

use serde_json::{Value, json};

use crate::{
    check, child,
    place::{Place, call, finish, when},
};

/// Every effect: pure, reversible, irreversible. The last two lines are what a model does that was told
/// that the outcome of its command is unknown: it looks before it does it again.
fn script() -> Vec<Value> {
    let append = "echo made >> log.txt";
    let look_first = "test -s log.txt || echo made >> log.txt";
    let mut careful = call("run_command", json!({"command": look_first}));
    careful["when"] = "outcome is unknown".into();
    vec![
        call("list_files", json!({})),
        call(
            "write_file",
            json!({"path": "out/new.txt", "content": "one\ntwo\n"}),
        ),
        call(
            "edit_file",
            json!({"path": "out/new.txt", "old": "two", "new": "three"}),
        ),
        call("move_file", json!({"from": "a.txt", "to": "out/a.txt"})),
        call("delete_file", json!({"path": "b.txt"})),
        call("run_command", json!({"command": append})),
        careful,
        call("read_file", json!({"path": "out/new.txt"})),
        finish("all done"),
    ]
}

fn place() -> Place {
    let place = Place::new();
    place.write("a.txt", "a\n");
    place.write("b.txt", "b\n");
    place
}

/// Runs, killed at that append; gives whether it was.
fn killed_at(place: &Place, model: &str, more: &[&str], when: &str, append: usize) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let status = place
        .command()
        .args(["run", "--yes", "--model", model, "do it"])
        .args(more)
        .env("GPAK_TEST_KILL", format!("{when}:{append}"))
        .output()
        .unwrap()
        .status;
    status.signal() == Some(9)
}

#[test]
fn a_run_killed_at_any_append_ends_the_same() {
    let whole = place();
    whole.run(&script()).with_code(0).saying(&["all done"]);
    let expected = whole.files();
    assert_eq!(whole.read("log.txt"), "made\n");

    for when in ["before", "after"] {
        let mut append = 1;
        loop {
            let place = place();
            let model = place.script(&script());
            if !killed_at(&place, &model, &[], when, append) {
                break;
            }
            let at = format!("killed {when} append {append}");
            if when == "before" && append == 1 {
                // The run itself was not written yet: there is nothing to go on with.
                place
                    .gpak(&["resume"])
                    .with_code(2)
                    .saying(&["no runs yet"]);
            } else {
                let resumed = place.gpak(&["resume"]);
                assert_eq!(
                    (resumed.code, resumed.out.trim()),
                    (0, "all done"),
                    "{at}\n{}",
                    resumed.err
                );
                assert_eq!(place.files(), expected, "{at}");
                assert_eq!(place.read("log.txt"), "made\n", "{at}: made more than once");
                place.gpak(&["runs", "verify"]).with_code(0);
                place.gpak(&["runs", "replay"]).with_code(0);
                place.gpak(&["undo"]).with_code(0);
                let files = place.files();
                let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["a.txt", "b.txt", "log.txt"], "{at}: undone");
            }
            append += 1;
        }
        assert!(append > 20, "only {append} appends were tried");
    }
}

/// Kills a run at every append in turn and resumes it, until it is no longer killed; then looks. With
/// `step` 2, before the odd ones and after the even ones.
fn after_every_kill(
    script: &[Value],
    more: &[&str],
    (answer, step): (&str, usize),
    look: impl Fn(&Place, &str),
) {
    for (when, first) in [("before", 1), ("after", step)] {
        let mut append = first;
        loop {
            let place = place();
            let model = place.script(script);
            if !killed_at(&place, &model, more, when, append) {
                break;
            }
            if (when, append) != ("before", 1) {
                let at = format!("killed {when} append {append}");
                let resumed = place.gpak(&["resume"]);
                let ended = (resumed.code, resumed.out.trim());
                assert_eq!(ended, (0, answer), "{at}\n{}", resumed.err);
                place.gpak(&["runs", "verify"]).with_code(0);
                place.gpak(&["runs", "replay"]).with_code(0);
                look(&place, &at);
            }
            append += step;
        }
        assert!(append > 10, "only {append} appends were tried");
    }
}

#[test]
fn a_run_with_a_check_killed_at_any_append_ends_the_same() {
    after_every_kill(
        &check::mended(),
        &["--check", check::CHECK],
        ("now", 1),
        |place, at| {
            assert_eq!(place.read("out.txt"), "right\n", "{at}");
            // A check that was running is run again, as checks may be.
            let checks = place.read("checks.log").lines().count();
            assert!((2..=3).contains(&checks), "{at}: {checks} checks");
        },
    );
}

#[test]
fn a_parent_and_its_child_killed_at_any_append_end_the_same() {
    let script: Vec<_> = child::family()
        .into_iter()
        .map(|line| serde_json::from_str(&line.to_string().replace("\"one\"", "\"a\"")).unwrap())
        .collect();
    after_every_kill(&script, &[], ("all done", 1), |place, at| {
        assert_eq!(place.read("a.txt"), "two\n", "{at}");
        assert_eq!(place.read("deep/part.txt"), "part\n", "{at}");
        assert_eq!(place.read("whole.txt"), "whole\n", "{at}");
        place.gpak(&["undo"]).with_code(0);
        let names: Vec<_> = place.files().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.txt", "b.txt"], "{at}: undone");
    });
}

#[test]
fn a_search_killed_at_any_append_ends_the_same_and_leaves_no_copy_behind() {
    let script = [
        when(
            "do it",
            // Each at another time: what two agree on needs no judge.
            call(
                "run_script",
                json!({"script": "write('new/out.txt', `tried at ${Date.now()}`)"}),
            ),
        ),
        when("wrote new/out.txt", finish("tried it")),
        when("in several ways", call("choose_best", json!({"best": 2}))),
    ];
    after_every_kill(
        &script,
        &["--strategy", "search"],
        ("tried it", 2),
        |place, at| {
            let tried = place.read("new/out.txt");
            let time = tried.strip_prefix("tried at ").unwrap_or_default();
            let time = time.strip_suffix('\n').map(str::parse::<u64>);
            assert!(matches!(time, Some(Ok(_))), "{at}: {tried:?}");
            let copies = std::fs::read_dir(place.home().join("copies"));
            assert_eq!(
                copies.map_or(0, Iterator::count),
                0,
                "{at}: copies are left"
            );
            place.gpak(&["undo"]).with_code(0);
            let names: Vec<_> = place.files().into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["a.txt", "b.txt"], "{at}: undone");
        },
    );
}

/// Files that a script replaces, deletes, and makes.
const OF_EACH: usize = 100;

/// A script that changes three times that many files.
fn sweeping() -> Vec<Value> {
    let script = format!(
        "fs.mkdirSync('made');
         for (let i = 0; i < {OF_EACH}; i++) {{
           const n = String(i).padStart(3, '0');
           fs.writeFileSync(`kept/${{n}}.txt`, `new ${{n}}\\n`);
           fs.unlinkSync(`gone/${{n}}.txt`);
           fs.writeFileSync(`made/${{n}}.txt`, `made ${{n}}\\n`);
         }}"
    );
    vec![
        call("run_script", json!({"script": script})),
        finish("all swept"),
    ]
}

fn sweepable() -> Place {
    let place = Place::new();
    for at in 0..OF_EACH {
        place.write(&format!("kept/{at:03}.txt"), "old\n");
        place.write(&format!("gone/{at:03}.txt"), "old\n");
    }
    place
}

/// Runs it, killed once there is such a file, or no more; gives whether that was before the end.
fn killed_at_sign(place: &Place, model: &str, sign: &str, appears: bool) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let mut running = place
        .command()
        .args(["run", "--yes", "--model", model, "do it"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let sign = place.work().join(sign);
    while sign.exists() != appears {
        assert!(running.try_wait().unwrap().is_none(), "it ended by itself");
    }
    running.kill().unwrap();
    running.wait().unwrap().signal() == Some(9)
}

#[test]
fn a_script_killed_while_its_changes_are_put_in_place_is_whole_afterwards() {
    let whole = sweepable();
    let before = whole.files();
    whole.run(&sweeping()).with_code(0);
    let after = whole.files();
    assert_eq!(after.len(), 2 * OF_EACH);
    let mut halves = 0;
    for (sign, appears) in [("made/050.txt", true), ("gone/050.txt", false)] {
        for undo in [false, true] {
            let place = sweepable();
            let model = place.script(&sweeping());
            assert!(killed_at_sign(&place, &model, sign, appears), "{sign}");
            let half = place.files();
            halves += usize::from(half != before && half != after);
            if undo {
                place.gpak(&["undo"]).with_code(0);
                assert!(place.files() == before, "{sign}: not as it was");
            } else {
                let resumed = place.gpak(&["resume"]).with_code(0);
                assert_eq!(resumed.out.trim(), "all swept", "{sign}");
                assert!(
                    place.files() == after,
                    "{sign}: not as it is without a crash"
                );
                place.gpak(&["undo"]).with_code(0);
                assert!(place.files() == before, "{sign}: not undone");
            }
        }
    }
    assert!(halves > 0, "no kill came while changes were put in place");
}
