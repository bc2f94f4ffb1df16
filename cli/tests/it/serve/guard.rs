//! What a page of somebody else, and a client that is slow or large, cannot do.

use std::{
    io::{Read, Write},
    time::Instant,
};

use serde_json::{Value, json};

use super::house::Service;
use crate::place::{Place, finish};

fn service() -> Service {
    Service::saying(&[finish("ok")])
}

#[test]
fn a_name_that_points_here_and_a_page_from_elsewhere_are_turned_away() {
    let service = service();
    let bearer = format!("Bearer {}", service.key);
    let with = |headers: &[(&str, &str)]| {
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        service
            .request("GET", "/api/v1/me", &all, Value::Null)
            .status
    };
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&[("host", "evil.example")]), 421);
    assert_eq!(with(&[("host", "127.0.0.1.evil.example:80")]), 421);
    assert_eq!(with(&[("origin", "http://evil.example")]), 403);
    assert_eq!(with(&[("origin", "null")]), 403);
    assert_eq!(with(&[("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(with(&[("origin", &service.url)]), 200);
    let preflight = [
        ("origin", "http://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    let answer = service.request("OPTIONS", "/api/v1/runs", &preflight, Value::Null);
    assert!(answer.status >= 400, "{answer:?}");
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[test]
fn a_name_that_the_service_was_given_is_its_own() {
    let service = Service::with(Place::new(), &[finish("ok")], &["--host", "box.lan"]);
    let bearer = format!("Bearer {}", service.key);
    let headers = [("authorization", bearer.as_str()), ("host", "Box.LAN:4725")];
    service
        .request("GET", "/api/v1/me", &headers, Value::Null)
        .with(200);
}

#[test]
fn other_machines_are_not_listened_to_without_a_word() {
    let place = Place::new();
    let model = place.script(&[finish("ok")]);
    let start = |more: &[&str]| {
        let args = [&["serve", "--model", &model], more].concat();
        place.gpak(&args)
    };
    start(&["--listen", "0.0.0.0:0"])
        .with_code(2)
        .saying(&["--tls-cert", "--plain"]);
    start(&["--listen", "[::]:0"]).with_code(2);
    start(&["--tls-cert", "x.pem"]).with_code(2);
    start(&["--tls-cert", "x.pem", "--tls-key", "y.pem"])
        .with_code(2)
        .saying(&["x.pem"]);
}

#[test]
fn two_services_do_not_share_a_home() {
    let service = service();
    let model = service.place.script(&[finish("ok")]);
    let args = ["serve", "--listen", "127.0.0.1:0", "--model", &model];
    service
        .place
        .gpak(&args)
        .with_code(1)
        .saying(&["runs already"]);
}

#[test]
fn what_is_too_large_or_no_json_is_refused_with_what_to_do() {
    let service = service();
    let large = json!({"task": "x".repeat(5 * 1024 * 1024)});
    service.post("/api/v1/runs", large).with(413);
    let long = json!({"task": "x".repeat(300 * 1024)});
    let problem = service.post("/api/v1/runs", long).with(422);
    assert!(
        problem["help"].as_str().unwrap().contains("file"),
        "{problem}"
    );
    service.post("/api/v1/runs", json!([1])).with(422);
    service.post("/api/v1/runs", json!({"task": 3})).with(422);
    service.post("/api/v1/runs", json!({"tusk": "x"})).with(422);
    service.get("/api/v1/nothing").with(404);
    let answer = service.ask("PUT", "/api/v1/runs", json!({}));
    answer.with(405);
    assert!(
        answer
            .header("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );

    // A length that is promised and never sent costs nothing but the promise.
    let mut connection = service.connect();
    write!(
        connection,
        "POST /api/v1/runs HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-length: 4000000000\r\n\r\n",
        service.host(),
        service.key
    )
    .unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[test]
fn a_client_that_never_finishes_its_request_is_let_go() {
    let service = service();
    let start = Instant::now();
    let mut slow: Vec<_> = (0..50).map(|_| service.connect()).collect();
    for connection in &mut slow {
        connection
            .write_all(b"GET /api/v1/me HTTP/1.1\r\nhost: localhost\r\n")
            .unwrap();
    }
    // Others are answered meanwhile.
    service.get("/api/v1/me").with(200);
    let mut without_body = service.connect();
    write!(
        without_body,
        "POST /api/v1/runs HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 20\r\n\r\n{{\"task\"",
        service.host(),
        service.key
    )
    .unwrap();
    for connection in &mut slow {
        let mut rest = Vec::new();
        // It ends: with an answer or without one.
        let _ = connection.read_to_end(&mut rest);
    }
    let mut answer = [0; 12];
    without_body.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(service.get("/api/v1/runs").with(200)["runs"], json!([]));
    assert!(start.elapsed().as_secs() < 50, "they are held for ever");
}

#[test]
fn a_body_without_an_end_is_refused_and_takes_no_memory() {
    let service = service();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let before = service.kilobytes("VmHWM");
    for path in [
        "/api/v1/runs",
        "/v1/chat/completions",
        "/mcp",
        "/auth/login",
    ] {
        let mut connection = service.connect();
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             transfer-encoding: chunked\r\n\r\n",
            service.host(),
            service.key
        )
        .unwrap();
        // A gigabyte, as far as anybody takes it.
        let mut chunks = 0;
        while chunks < 16 * 1024 && connection.write_all(chunk.as_bytes()).is_ok() {
            chunks += 1;
        }
        assert!(chunks < 16 * 1024, "{path}: all of it was taken");
        let mut answer = [0; 12];
        // What was sent behind the answer may have cut it off.
        if connection.read_exact(&mut answer).is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 413", "{path}");
        }
    }
    let more = service.kilobytes("VmHWM") - before;
    assert!(more < 64 * 1024, "it took {more} KiB");
    assert_eq!(service.get("/api/v1/runs").with(200)["runs"], json!([]));
}
