//! Webhooks: signed, tried again, given up, and told what happened while the service was down.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use super::house::Service;
use crate::place::{Place, call, finish};

/// A message that came: its headers and its body.
struct Came {
    headers: Vec<(String, String)>,
    body: String,
}

impl Came {
    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        &found.next().unwrap().1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Listens, and answers each message with the next of these statuses, the last one for ever.
fn receiver(statuses: &'static [u16]) -> (String, mpsc::Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for (n, connection) in listener.incoming().enumerate() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut headers, mut line) = (Vec::new(), String::new());
            reader.read_line(&mut line).unwrap();
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else {
                    break;
                };
                headers.push((name.to_lowercase(), value.to_owned()));
            }
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let mut body = vec![0; length.unwrap().1.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let status = statuses[n.min(statuses.len() - 1)];
            let _ = write!(
                connection,
                "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let body = String::from_utf8(body).unwrap();
            if tell.send(Came { headers, body }).is_err() {
                return;
            }
        }
    });
    (url, told)
}

const PATIENCE: Duration = Duration::from_secs(30);

fn service(script: &[Value]) -> Service {
    Service::with(Place::new(), script, &["--webhook-pause", "1"])
}

fn hook(service: &Service, url: &str, events: &[&str]) -> (String, String) {
    let made = service.post("/api/v1/webhooks", json!({"url": url, "events": events}));
    let made = made.with(201);
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

#[test]
fn what_becomes_of_a_run_is_told_signed_and_in_order() {
    let service = service(&[call("list_files", json!({})), finish("ok")]);
    let (url, told) = receiver(&[200]);
    let (_, secret) = hook(&service, &url, &[]);
    let listed = service.get("/api/v1/webhooks");
    assert!(!listed.text.contains(&secret), "a secret is shown once");
    let run = service.run("do it");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let came = told.recv_timeout(PATIENCE).unwrap();
        let message = came.json();
        assert_eq!(message["data"]["run"], *run);
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        let (id, time) = (came.header("webhook-id"), came.header("webhook-timestamp"));
        mac.update(format!("{id}.{time}.{}", came.body).as_bytes());
        let signed = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(came.header("webhook-signature"), signed);
        kinds.push(message["type"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    assert_eq!(kinds, ["run.completed", "run.created"]);
    let viewer = service.user("eve", "operator");
    service
        .ask_as(&viewer, "GET", "/api/v1/webhooks", Value::Null)
        .with(403);
    for url in ["file:///etc/passwd", "ftp://x", "x", "http://"] {
        service
            .post("/api/v1/webhooks", json!({"url": url}))
            .with(422);
    }
}

#[test]
fn one_that_fails_is_sent_again_with_the_same_id() {
    let service = service(&[finish("ok")]);
    let (url, told) = receiver(&[500, 200]);
    let (id, _) = hook(&service, &url, &["run.completed"]);
    service.run("do it");
    let (first, second) = (
        told.recv_timeout(PATIENCE).unwrap(),
        told.recv_timeout(PATIENCE).unwrap(),
    );
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    let path = format!("/api/v1/webhooks/{id}/deliveries");
    let mut delivery = Value::Null;
    for _ in 0..500 {
        delivery = service.get(&path).with(200)[0].clone();
        if delivery["state"] == "delivered" {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(
        (&delivery["state"], &delivery["attempts"]),
        (&json!("delivered"), &json!(2))
    );
    service
        .ask("DELETE", &format!("/api/v1/webhooks/{id}"), Value::Null)
        .with(204);
    service.get(&path).with(404);
}

#[test]
fn what_nobody_took_is_given_up_and_can_be_tried_again() {
    // Pauses of no length: all attempts are made at once.
    let service = Service::with(Place::new(), &[finish("ok")], &["--webhook-pause", "0"]);
    let (url, told) = receiver(&[500, 500, 500, 500, 500, 500, 500, 500, 200]);
    let (id, _) = hook(&service, &url, &["run.completed"]);
    service.run("do it");
    for _ in 0..8 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let path = format!("/api/v1/webhooks/{id}/deliveries");
    let dead = loop {
        let delivery = service.get(&path).with(200)[0].clone();
        if delivery["state"] == "dead" {
            break delivery;
        }
    };
    assert!(dead["error"].as_str().unwrap().contains("500"), "{dead}");
    let retry = format!("{path}/{}/retry", dead["id"].as_str().unwrap());
    service.post(&retry, Value::Null).with(202);
    told.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn what_happened_just_before_the_service_died_is_told_when_it_is_back() {
    for kill in ["after:1", "after:2", "after:3", "after:4"] {
        let mut service = service(&[call("list_files", json!({})), finish("ok")]);
        let (url, told) = receiver(&[200]);
        hook(&service, &url, &[]);
        service.again(&[("GPAK_TEST_KILL", kill)]);
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.run("do it")));
        drop(asked);
        service.ended();
        service.again(&[]);
        let mut kinds = Vec::new();
        while !kinds.contains(&"run.completed".to_owned()) {
            let came = told.recv_timeout(PATIENCE).unwrap().json();
            kinds.push(came["type"].as_str().unwrap().to_owned());
        }
        assert!(
            kinds.contains(&"run.created".to_owned()),
            "killed {kill}: {kinds:?}"
        );
    }
}
