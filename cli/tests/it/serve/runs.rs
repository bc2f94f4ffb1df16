//! Runs over REST: started, looked at, approved, talked to, ended, undone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::house::Service;
use crate::place::{Place, call, finish, when};

pub fn write(path: &str, content: &str) -> Value {
    call("write_file", json!({"path": path, "content": content}))
}

#[test]
fn a_run_asks_before_it_writes_and_goes_on_once_somebody_allowed_it() {
    let service = Service::saying(&[write("a.txt", "hi\n"), finish("made a.txt")]);
    let created = service.post(
        "/api/v1/runs",
        json!({"task": "do it", "meta": {"mine": 1}}),
    );
    let run = created.with(201);
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        created.header("location").unwrap(),
        format!("/api/v1/runs/{id}")
    );
    assert_eq!(
        (&run["by"], &run["meta"]["mine"]),
        (&json!("admin"), &json!(1))
    );
    let waits = service.until_status(id, "waiting");
    let wait = &waits["waits"][0];
    assert_eq!(
        (&wait["kind"], &wait["tool"]),
        (&json!("approval"), &json!("write_file"))
    );
    assert!(wait["preview"].as_str().unwrap().contains("+hi"), "{wait}");
    assert!(!service.place.work().join("a.txt").exists(), "not yet");

    let pending = service.get("/api/v1/approvals").with(200);
    assert_eq!(pending[0]["root"], *id);
    assert_eq!(pending[0]["call"], wait["call"]);
    let path = format!("/api/v1/approvals/{id}/{}", wait["call"].as_str().unwrap());
    let viewer = service.user("eve", "viewer");
    let decision = json!({"decision": "allow"});
    service
        .ask_as(&viewer, "POST", &path, decision.clone())
        .with(403);
    assert_eq!(
        service.post(&path, decision.clone()).with(200)["goes_on"],
        true
    );
    let done = service.until_status(id, "completed");
    assert_eq!(done["answer"], "made a.txt");
    assert_eq!(service.place.read("a.txt"), "hi\n");
    service.post(&path, decision).with(409);
    assert_eq!(service.get("/api/v1/approvals").with(200), json!([]));

    service
        .post(&format!("/api/v1/runs/{id}/undo"), Value::Null)
        .with(200);
    assert!(!service.place.work().join("a.txt").exists(), "undone");
    service.place.gpak(&["runs", "verify"]).with_code(0);
    service.place.gpak(&["runs", "replay", id]).with_code(0);
}

#[test]
fn no_field_of_a_request_allows_a_call() {
    let service = Service::saying(&[write("a.txt", "hi\n"), finish("no")]);
    for (more, status) in [
        (json!({"yes": true}), 422),
        (
            json!({"permissions": [{"access": "allow", "tool": "write_file"}]}),
            422,
        ),
        (json!({"workspace": "/"}), 403),
        (json!({"workspace": "../.."}), 403),
        (json!({"check": ["touch pwned"]}), 422),
        (json!({"model": "scripted//etc/passwd"}), 404),
        (json!({"model": "embedded//etc/passwd"}), 404),
        (json!({"task": "  "}), 422),
        (json!({"budget": {"cost": -1}}), 422),
    ] {
        let mut body = json!({"task": "do it"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let problem = service.post("/api/v1/runs", body).with(status);
        assert_eq!(problem["status"], status, "{more}");
    }
    let denied = service.post("/api/v1/runs", json!({"task": "do it", "attended": false}));
    let id = denied.with(201)["id"].as_str().unwrap().to_owned();
    assert_eq!(service.until_status(&id, "completed")["answer"], "no");
    assert!(service.place.files().is_empty());
}

#[test]
fn runs_are_listed_in_pages_that_neither_lose_nor_repeat_one() {
    let service = Service::saying(&[finish("ok")]);
    let all: BTreeSet<_> = (0..7)
        .map(|number| service.run(&format!("task {number}")))
        .collect();
    let mut seen = Vec::new();
    let mut path = "/api/v1/runs?limit=3".to_owned();
    loop {
        let page = service.get(&path).with(200);
        let runs = page["runs"].as_array().unwrap();
        seen.extend(
            runs.iter()
                .map(|run| run["run"].as_str().unwrap().to_owned()),
        );
        // One that comes meanwhile is on no later page.
        service.run("one more");
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/runs?limit=3&after={next}");
    }
    assert_eq!(seen.len(), 7);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
    for wrong in ["limit=0", "limit=501", "after=x", "status=odd", "what=1"] {
        service.get(&format!("/api/v1/runs?{wrong}")).with(400);
    }
}

#[test]
fn a_run_that_is_cancelled_is_over_and_stays_so() {
    let slow = json!({"delay_ms": 600_000, "text": "never said"});
    let service = Service::saying(&[slow]);
    let id = service.run("do it");
    service.until_status(&id, "running");
    let path = format!("/api/v1/runs/{id}/cancel");
    assert_eq!(
        service.post(&path, Value::Null).with(200)["status"],
        "cancelled"
    );
    service.post(&path, Value::Null).with(200);
    let message = json!({"text": "are you there?"});
    service
        .post(&format!("/api/v1/runs/{id}/messages"), message)
        .with(409);
    service
        .post(&format!("/api/v1/runs/{id}/resume"), json!({}))
        .with(409);
    service.place.gpak(&["runs", "replay", &id]).with_code(0);
}

#[test]
fn a_message_is_heard_by_a_run_at_work_between_two_steps() {
    // It looks again and again until it is told to stop.
    let mut script = vec![when("stop now", finish("stopped"))];
    let look = |number| {
        let mut line = call("list_files", json!({"path": format!("d{number}")}));
        line["delay_ms"] = 300.into();
        line
    };
    script.extend((0..20).map(look));
    script.push(finish("never told"));
    let place = Place::new();
    for number in 0..20 {
        place.write(&format!("d{number}/x"), "");
    }
    // The line that stops it stands first and is passed over until it fits: so it must be repeated.
    let mut lines = Vec::new();
    for line in script.drain(1..).collect::<Vec<_>>() {
        lines.push(when("stop now", finish("stopped")));
        lines.push(line);
    }
    let service = Service::with(place, &lines, &[]);
    let id = service.run("do it");
    service.until(&id, |now| now["entries"].as_u64() > Some(4));
    let message = json!({"text": "stop now"});
    let heard = service
        .post(&format!("/api/v1/runs/{id}/messages"), message)
        .with(200);
    assert_eq!(heard["became"], "heard");
    assert_eq!(service.until_status(&id, "completed")["answer"], "stopped");
}

#[test]
fn a_conversation_waits_for_messages_and_answers_each() {
    let say = |text: &str| json!({"text": text});
    let service = Service::saying(&[say("hello"), say("still here")]);
    let body = json!({"task": "hi", "conversation": true});
    let run = service.post("/api/v1/runs", body).with(201);
    let id = run["id"].as_str().unwrap();
    let waits = service.until_status(id, "waiting");
    assert_eq!(
        (&waits["answer"], &waits["waits"][0]["kind"]),
        (&json!("hello"), &json!("message"))
    );
    let path = format!("/api/v1/runs/{id}/messages");
    let became = service
        .post(&path, json!({"text": "are you there?"}))
        .with(200);
    assert_eq!(became["became"], "goes_on");
    service.until(id, |now| now["answer"] == "still here");
    service
        .post(&format!("/api/v1/runs/{id}/cancel"), Value::Null)
        .with(200);
}

#[test]
fn a_run_out_of_budget_waits_and_goes_on_with_more() {
    let look = |path: &str| call("list_files", json!({"path": path}));
    let place = Place::new();
    place.write("d/x", "");
    let service = Service::with(place, &[look("."), look("d"), finish("ok")], &[]);
    let body = json!({"task": "do it", "budget": {"steps": 1}});
    let run = service.post("/api/v1/runs", body).with(201);
    let id = run["id"].as_str().unwrap();
    let waits = service.until_status(id, "waiting");
    assert_eq!(waits["paused"]["kind"], "budget");
    let path = format!("/api/v1/runs/{id}/resume");
    service
        .post(&path, json!({"budget": {"steps": 2}}))
        .with(200);
    service.until(id, |now| {
        now["paused"]["kind"] == "budget" && now["spent"]["steps"] == 2
    });
    service.post(&path, json!({})).with(200);
    assert_eq!(service.until_status(id, "completed")["answer"], "ok");
}

#[test]
fn a_fork_goes_on_from_an_entry_with_what_is_said_to_it() {
    let lines = [
        when("another way", finish("the other way")),
        call("list_files", json!({})),
        when("another way", finish("the other way")),
        finish("the first way"),
    ];
    let service = Service::saying(&lines);
    let id = service.run("do it");
    service.until_status(&id, "completed");
    let path = format!("/api/v1/runs/{id}/fork");
    let fork = service
        .post(&path, json!({"message": "try another way", "at": 6}))
        .with(201);
    let fork = fork["id"].as_str().unwrap();
    let done = service.until_status(fork, "completed");
    assert_eq!(
        (&done["answer"], &done["origin"]["run"]),
        (&json!("the other way"), &json!(id))
    );
    assert_eq!(done["by"], "admin");
    service.post(&path, json!({"at": 600})).with(409);
    service.place.gpak(&["runs", "replay", fork]).with_code(0);
}

#[test]
fn a_run_that_was_begun_on_the_command_line_is_taken_on_when_somebody_asks() {
    let service = Service::saying(&[call("list_files", json!({})), finish("ok")]);
    let model = service
        .place
        .script(&[call("list_files", json!({})), finish("ok")]);
    let args = ["run", "--model", &model, "--budget", "steps=1", "do it"];
    service.place.gpak(&args).with_code(4);
    let list = service.get("/api/v1/runs").with(200);
    let id = list["runs"][0]["run"].as_str().unwrap();
    assert_eq!(
        service.get(&format!("/api/v1/runs/{id}")).with(200)["by"],
        Value::Null
    );
    let path = format!("/api/v1/runs/{id}/resume");
    service.post(&path, json!({})).with(200);
    let done = service.until_status(id, "completed");
    assert_eq!(
        (&done["answer"], &done["by"]),
        (&json!("ok"), &json!("admin"))
    );
}

#[test]
fn what_is_remembered_is_found_and_forgotten() {
    let service = Service::saying(&[finish("ok")]);
    let body = json!({"text": "the build takes ten minutes", "tags": ["build"]});
    let kept = service.post("/api/v1/memory", body.clone()).with(201);
    assert_eq!(kept["new"], true);
    assert_eq!(service.post("/api/v1/memory", body).with(201)["new"], false);
    let id = kept["id"].as_str().unwrap();
    let found = service
        .get("/api/v1/memory?q=how+long+does+the+build+take")
        .with(200);
    assert_eq!(found["memories"][0]["id"], *id, "{found}");
    assert_eq!(found["memories"][0]["episode"]["label"], "user");
    let viewer = service.user("eve", "viewer");
    let path = format!("/api/v1/memory/{id}");
    service
        .ask_as(&viewer, "DELETE", &path, Value::Null)
        .with(403);
    service.ask("DELETE", &path, Value::Null).with(204);
    service.ask("DELETE", &path, Value::Null).with(404);
    assert_eq!(
        service.get("/api/v1/memory").with(200)["memories"],
        json!([])
    );
}

#[test]
fn tools_and_models_are_listed_and_the_interface_describes_itself() {
    let service = Service::saying(&[finish("ok")]);
    let tools = service.get("/api/v1/tools").with(200);
    let names: Vec<_> = tools
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert!(names.contains(&&json!("write_file")), "{names:?}");
    let models = service.get("/api/v1/models").with(200);
    assert_eq!(models[0]["default"], true);
    let api = service.get("/openapi.json").with(200);
    for path in ["/api/v1/runs", "/api/v1/runs/{id}/events", "/auth/login"] {
        assert!(api["paths"][path].is_object(), "{path} is not described");
    }
    let page = service.get("/docs/");
    assert!(
        page.status == 200 && page.text.contains("swagger"),
        "{page:?}"
    );
}
