//! The service stops, dies and starts again: nothing is lost, and nothing is done twice.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{house::Service, runs::write};
use crate::place::{Place, call, finish};

/// Each step takes a while, so that a signal meets runs everywhere.
fn slow(mut line: Value) -> Value {
    line["delay_ms"] = 15.into();
    line
}

fn script() -> Vec<Value> {
    let mut lines: Vec<_> = (0..6)
        .map(|n| slow(write(&format!("{n}.txt"), "x\n")))
        .collect();
    lines.push(slow(finish("all six")));
    lines
}

/// How often each call of a run was finished, as its journal has it.
fn finished(service: &Service, run: &str) -> BTreeMap<String, usize> {
    let page = service.get(&format!("/api/v1/runs/{run}/events")).with(200);
    let mut calls = BTreeMap::new();
    for entry in page["entries"].as_array().unwrap() {
        let event = &entry["event"];
        if event["type"] == "tool_finished" {
            assert_eq!(event["outcome"]["status"], "done", "{event}");
            *calls
                .entry(event["call"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }
    calls
}

/// Fifty runs, each in a folder of its own.
fn start_fifty(service: &Service) -> Vec<String> {
    let start = |number: usize| {
        let folder = format!("w{number}");
        std::fs::create_dir(service.place.work().join(&folder)).unwrap();
        let body = json!({"task": "do it", "workspace": folder});
        let run = service.post("/api/v1/runs", body).with(201);
        run["id"].as_str().unwrap().to_owned()
    };
    (0..50).map(start).collect()
}

fn all_are_done(service: &Service, runs: &[String]) {
    for (number, run) in runs.iter().enumerate() {
        let done = service.until(run, |now| {
            assert_ne!(now["status"], "failed", "{now}");
            now["status"] == "completed"
        });
        assert_eq!(done["answer"], "all six");
        let calls = finished(service, run);
        assert_eq!(calls.len(), 7, "{calls:?}");
        assert!(
            calls.values().all(|times| *times == 1),
            "made twice: {calls:?}"
        );
        for file in 0..6 {
            let path = format!("w{number}/{file}.txt");
            assert_eq!(service.place.read(&path), "x\n");
        }
    }
    service.place.gpak(&["runs", "verify"]).with_code(0);
}

#[test]
fn fifty_runs_at_work_are_finished_after_sigkill_each_effect_once() {
    let place = Place::new();
    let mut service = Service::with(place, &script(), &["--yes", "--drivers", "50"]);
    let runs = start_fifty(&service);
    // Killed three times, each time somewhere else.
    for kill in 0..3 {
        service.until(&runs[kill * 10], |now| {
            now["entries"].as_u64() > Some(4 + 3 * kill as u64)
        });
        service.signal(Signal::SIGKILL);
        service.ended();
        service.again(&[]);
    }
    all_are_done(&service, &runs);
}

#[test]
fn a_service_that_is_asked_to_stop_parks_its_runs_and_goes_on_with_them() {
    let mut lines = script();
    // Long enough that no run ends in the time that is given.
    lines[3]["delay_ms"] = 20_000.into();
    let mut service = Service::with(Place::new(), &lines, &["--yes", "--drivers", "50"]);
    let runs = start_fifty(&service);
    service.until(&runs[0], |now| now["entries"].as_u64() > Some(6));
    service.signal(Signal::SIGTERM);
    assert_eq!(service.ended(), Some(0), "it stops in good order");
    service.place.script(&script());
    service.again(&[]);
    all_are_done(&service, &runs);
}

#[test]
fn runs_that_can_end_in_time_end_before_the_service_does() {
    let mut service = Service::with(Place::new(), &script(), &["--yes"]);
    let run = service.run("do it");
    service.until_status(&run, "running");
    service.signal(Signal::SIGTERM);
    assert_eq!(service.ended(), Some(0));
    let shown = service.place.gpak(&["runs", "show", &run]).with_code(0);
    assert!(shown.out.contains("done · 7 steps"), "{}", shown.out);
}

#[test]
fn an_approval_that_is_decided_just_before_the_service_dies_holds() {
    let script = [write("a.txt", "hi\n"), finish("ok")];
    // The service dies before and after each append from the decision on.
    for when in ["before", "after"] {
        for append in 1..5 {
            let mut service = Service::saying(&script);
            let run = service.run("do it");
            service.until_status(&run, "waiting");
            service.again(&[("GPAK_TEST_KILL", &format!("{when}:{append}"))]);
            let decide = || {
                let path = format!("/api/v1/approvals/{run}/1.0");
                service.post(&path, json!({"decision": "allow"})).status
            };
            let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decide));
            service.ended();
            service.again(&[]);
            if !matches!(decided, Ok(200)) {
                // It may have been written down or not; a client asks.
                let path = format!("/api/v1/approvals/{run}/1.0");
                let answer = service.post(&path, json!({"decision": "allow"}));
                assert!(matches!(answer.status, 200 | 409), "{answer:?}");
            }
            let done = service.until_status(&run, "completed");
            assert_eq!(done["answer"], "ok", "killed {when} append {append}");
            assert_eq!(service.place.read("a.txt"), "hi\n");
        }
    }
}

#[test]
fn a_run_of_the_command_line_is_not_taken_on_unasked() {
    let mut service = Service::saying(&[finish("ok")]);
    let model = service
        .place
        .script(&[call("list_files", json!({})), finish("ok")]);
    let killed = service
        .place
        .command()
        .args(["run", "--model", &model, "do it"])
        .env("GPAK_TEST_KILL", "after:4")
        .output()
        .unwrap();
    assert!(!killed.status.success());
    service.again(&[]);
    let list = service.get("/api/v1/runs").with(200);
    let run = list["runs"][0]["run"].as_str().unwrap();
    let other = service.run("another");
    service.until_status(&other, "completed");
    let now = service.get(&format!("/api/v1/runs/{run}")).with(200);
    assert_eq!(now["status"], "running", "as it was left: {now}");
}

#[test]
fn a_queue_that_is_full_says_so_and_users_take_turns() {
    let slow = json!({"delay_ms": 600_000, "text": "never"});
    let more = ["--drivers", "1", "--queue", "3"];
    let service = Service::with(Place::new(), &[slow], &more);
    let first = service.run("first");
    service.until_status(&first, "running");
    for number in 0..3 {
        service.run(&format!("waits {number}"));
    }
    let full = service.post("/api/v1/runs", json!({"task": "one too many"}));
    full.with(429);
    assert!(full.header("retry-after").is_some());
    let list = service.get("/api/v1/runs").with(200);
    assert_eq!(
        list["runs"].as_array().unwrap().len(),
        4,
        "what was refused is no run"
    );
    service
        .post(&format!("/api/v1/runs/{first}/cancel"), Value::Null)
        .with(200);
}
