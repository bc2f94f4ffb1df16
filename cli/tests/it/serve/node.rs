//! The node's own interface: how it is, what it measures, and that it can be held.

use serde_json::{Value, json};

use super::house::Service;
use crate::place::{call, finish};

#[test]
fn a_node_says_how_it_is_and_what_it_has_not() {
    let service = Service::saying(&[finish("ok")]);
    let status = service.get("/status").with(200);
    assert_eq!(
        (&status["mode"], &status["peers_visible"]),
        (&json!("ready"), &json!(0))
    );
    assert!(status["cpu_load"].as_f64().unwrap() >= 0.0);
    assert!(
        status["notes"][0].as_str().unwrap().contains("no body"),
        "{status}"
    );
    let measured = service.get("/api/v1/telemetry").with(200);
    assert!(
        measured["memory"]["service"].as_u64().unwrap() > 1000,
        "{measured}"
    );
    service
        .request("GET", "/status", &[], Value::Null)
        .with(401);
}

#[test]
fn a_node_that_is_held_drives_nothing_until_it_is_released_also_after_a_restart() {
    let mut slow = call("list_files", json!({}));
    slow["delay_ms"] = 2000.into();
    let mut service = Service::saying(&[slow, finish("ok")]);
    let first = service.run("do it");
    service.until_status(&first, "running");
    let hold = json!({"command": "hold"});
    let viewer = service.user("eve", "viewer");
    service
        .ask_as(&viewer, "POST", "/api/v1/override", hold.clone())
        .with(403);
    assert_eq!(
        service.post("/api/v1/override", hold).with(200)["held"],
        true
    );
    assert_eq!(service.get("/status").with(200)["mode"], "held");
    let now = service.get(&format!("/api/v1/runs/{first}")).with(200);
    assert_eq!(now["paused"]["kind"], "interrupted", "{now}");
    let second = service.run("another");
    service.again(&[]);
    let status = service.get("/status").with(200);
    assert_eq!(
        (&status["mode"], &status["runs_driven"]),
        (&json!("held"), &json!(0))
    );
    let release = json!({"command": "release"});
    service.post("/api/v1/override", release).with(200);
    service.until_status(&first, "completed");
    service.until_status(&second, "completed");
    service
        .post("/api/v1/override", json!({"command": "fly"}))
        .with(422);
}

#[test]
fn the_log_is_streamed_and_ties_a_request_to_its_run() {
    let service = Service::saying(&[finish("ok")]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let bearer = format!("Bearer {}", service.key);
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let headers = [("authorization", bearer.as_str()), ("traceparent", &parent)];
    let created = service.request("POST", "/api/v1/runs", &headers, json!({"task": "do it"}));
    let answered = created.header("traceparent").unwrap();
    assert!(answered.contains(trace), "{answered}");
    let run = created.with(201)["id"].as_str().unwrap().to_owned();
    service.until_status(&run, "completed");
    let auth = format!("authorization: Bearer {}\r\n", service.key);
    // Until the line says that the run was let go.
    let mut enough = 1;
    let lines = loop {
        let log = service.stream_of("GET", "/api/v1/logs", &auth, "", enough);
        let lines: Vec<Value> = log
            .events
            .iter()
            .map(|(_, line)| serde_json::from_str(line).unwrap())
            .collect();
        if lines
            .iter()
            .any(|line| line["fields"]["message"] == "let go")
        {
            break lines;
        }
        enough += 1;
    };
    let of_trace = |line: &&Value| line.to_string().contains(trace);
    let names: Vec<_> = lines
        .iter()
        .filter(of_trace)
        .map(|line| line["fields"]["message"].as_str().unwrap_or_default())
        .collect();
    assert!(
        names.contains(&"answered") && names.contains(&"let go"),
        "{names:?}"
    );
    assert!(
        lines
            .iter()
            .all(|line| !line.to_string().contains(&service.key))
    );
}
