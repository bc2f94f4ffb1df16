//! Entries as a stream: cut anywhere, nothing is lost and nothing comes twice.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};

use super::{house::Service, runs::write};
use crate::place::{Place, call, finish};

fn script() -> [Value; 4] {
    [
        call("list_files", json!({})),
        write("a.txt", "é\u{2028}\n"),
        call("read_file", json!({"path": "a.txt"})),
        finish("done\nin two lines"),
    ]
}

/// Each event's data, which is an entry.
fn data(events: Vec<(String, String)>) -> Vec<String> {
    events.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn a_stream_cut_at_every_event_joins_to_the_same_bytes() {
    let service = Service::with(Place::new(), &script(), &["--yes"]);
    let id = service.run("do it");
    let whole = service.stream(&id, None, usize::MAX);
    assert!(whole.ended, "a run that is over ends its stream");
    let whole = data(whole.events);
    assert!(whole.len() > 10, "{whole:?}");
    let journal = service
        .place
        .gpak(&["runs", "events", &id])
        .with_code(0)
        .out;
    assert_eq!(whole.join("\n") + "\n", journal, "as the journal has it");
    for cut in 0..=whole.len() {
        let first = service.stream(&id, None, cut);
        let last = first.events.last().map(|(id, _)| id.parse().unwrap());
        let rest = service.stream(&id, last, usize::MAX);
        if cut == whole.len() {
            assert_eq!(
                (rest.status, rest.events.len()),
                (204, 0),
                "there is nothing more"
            );
        }
        let joined: Vec<_> = data(first.events)
            .into_iter()
            .chain(data(rest.events))
            .collect();
        assert_eq!(joined, whole, "cut behind {cut}");
    }
}

#[test]
fn a_stream_of_a_run_at_work_cut_at_every_event_joins_to_the_same_bytes() {
    let service = Service::saying(&script());
    let id = service.run("do it");
    let mut joined = Vec::new();
    let mut last = None;
    loop {
        // One event at a time, each over a connection of its own, while the run goes on.
        let piece = service.stream(&id, last, 1);
        let Some((number, entry)) = piece.events.first().cloned() else {
            assert!(piece.ended);
            break;
        };
        last = Some(number.parse().unwrap());
        let event: Value = serde_json::from_str(&entry).unwrap();
        joined.push(entry);
        if event["event"]["type"] == "run_paused" {
            let decision = json!({"decision": "allow_for_run"});
            let path = format!("/api/v1/approvals/{id}/2.0");
            service.post(&path, decision).with(200);
        }
        if event["event"]["type"] == "run_finished" {
            break;
        }
    }
    let journal = service
        .place
        .gpak(&["runs", "events", &id])
        .with_code(0)
        .out;
    assert_eq!(joined.join("\n") + "\n", journal);
}

#[test]
fn clients_without_streams_wait_for_entries() {
    let service = Service::saying(&script());
    let id = service.run("do it");
    service.until_status(&id, "waiting");
    let path = format!("/api/v1/runs/{id}/events");
    let first = service.get(&path).with(200);
    let next = first["next"].as_u64().unwrap();
    assert_eq!(first["over"], false);
    let none = service.get(&format!("{path}?from={next}&wait=0")).with(200);
    assert_eq!(
        (&none["entries"], &none["next"]),
        (&json!([]), &json!(next))
    );
    let decision = json!({"decision": "deny"});
    service
        .post(&format!("/api/v1/approvals/{id}/2.0"), decision)
        .with(200);
    let came = service
        .get(&format!("{path}?from={next}&wait=30"))
        .with(200);
    assert_eq!(came["entries"][0]["seq"], next);
    assert_eq!(came["entries"][0]["event"]["type"], "approval_decided");
    service.get(&format!("{path}?from=99999")).with(409);
    service.get(&format!("{path}?from=0")).with(400);
    service.get(&format!("{path}?wait=61")).with(400);
    service.get("/api/v1/runs/0123/events").with(404);
    let none = "0".repeat(32);
    service
        .get(&format!("/api/v1/runs/{none}/events"))
        .with(404);
}

/// Clients that look on.
fn watchers(service: &Service) -> u32 {
    let metrics = service.get("/metrics").text;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("gpak_watchers "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// A connection on which a run's events come.
pub(super) fn watching(service: &Service, run: &str) -> TcpStream {
    let mut connection = service.connect();
    write!(
        connection,
        "GET /api/v1/runs/{run}/events HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\
         authorization: Bearer {}\r\n\r\n",
        service.host(),
        service.key
    )
    .unwrap();
    connection
}

#[test]
fn a_thousand_streams_that_are_dropped_at_once_leave_nothing_behind() {
    let slow = json!({"delay_ms": 600_000, "text": "never"});
    let service = Service::with(Place::new(), &[slow], &["--rate", "1000000"]);
    let id = service.run("do it");
    service.until_status(&id, "running");
    let open = || watchers(&service);
    let files = || {
        std::fs::read_dir(format!("/proc/{}/fd", service.pid()))
            .unwrap()
            .count()
    };
    let before = files();
    let mut connections = Vec::new();
    for _ in 0..1000 {
        connections.push(watching(&service, &id));
    }
    let all = std::time::Instant::now();
    while open() < 1000 {
        assert!(all.elapsed().as_secs() < 60, "only {} came", open());
    }
    drop(connections);
    while open() > 0 || files() > before + 20 {
        assert!(all.elapsed().as_secs() < 60, "{} are left", open());
    }
}

#[test]
fn a_client_that_will_say_nothing_more_is_not_kept() {
    let slow = json!({"delay_ms": 600_000, "text": "never"});
    let service = Service::with(Place::new(), &[slow], &["--rate", "1000000"]);
    let id = service.run("do it");
    service.until_status(&id, "running");
    // They read on, and close the half of the connection that they speak on.
    let mut half: Vec<_> = (0..100).map(|_| watching(&service, &id)).collect();
    let all = std::time::Instant::now();
    while watchers(&service) < 100 {
        assert!(all.elapsed().as_secs() < 60, "they did not all come");
    }
    for connection in &half {
        connection.shutdown(Shutdown::Write).unwrap();
    }
    for connection in &mut half {
        let mut told = Vec::new();
        connection.read_to_end(&mut told).unwrap();
        assert!(told.starts_with(b"HTTP/1.1 200"), "it was told before");
    }
    while watchers(&service) > 0 {
        assert!(all.elapsed().as_secs() < 60, "some are left");
    }
}
