//! PyPI's `openai`, unmodified, against the service.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    house::Service,
    python::{python, run},
    runs::write,
};
use crate::place::{Place, call, finish, when};

const PYPI: &str = "openai==3.57.0";

/// Does what the script has under that name.
#[track_caller]
fn does(service: &Service, url: &str, what: &str) {
    let script = service.place.home().join("client.py");
    fs::write(&script, include_str!("openai.py")).unwrap();
    let mut command = Command::new(python(PYPI));
    command
        .arg(script)
        .arg(what)
        .env("URL", url)
        .env("KEY", &service.key);
    for name in [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
        command.env_remove(name.to_lowercase());
    }
    run(&mut command);
}

fn agent() -> Service {
    let script = [
        when("and now?", finish("and now this")),
        write("a.txt", "hi\n"),
        finish("made a.txt"),
        when("and now?", finish("and now this")),
    ];
    Service::with(Place::new(), &script, &["--yes"])
}

fn with_tools() -> Service {
    let weather = |city: &str| json!({"name": "get_weather", "args": {"city": city}});
    let both = json!({"calls": [weather("Oslo"), weather("Rome")]});
    Service::saying(&[both, finish("sun everywhere")])
}

#[test]
fn models_are_listed_and_others_are_not_there() {
    let service = agent();
    does(&service, &service.url, "models");
}

#[test]
fn a_chat_is_answered_by_the_agent() {
    let service = agent();
    does(&service, &service.url, "chat");
    assert_eq!(
        service.place.read("a.txt"),
        "hi\n",
        "it did something for it"
    );
    let run = service.get("/api/v1/runs").with(200)["runs"][0]["run"].clone();
    let events = service.get(&format!("/api/v1/runs/{}/events", run.as_str().unwrap()));
    let setup = &events.with(200)["entries"][2]["event"]["setup"];
    assert!(
        setup["instructions"]
            .as_str()
            .unwrap()
            .ends_with("\n\nBe brief."),
        "{setup}"
    );
}

#[test]
fn a_chat_is_streamed() {
    let service = agent();
    does(&service, &service.url, "chat_stream");
}

#[test]
fn a_chat_waits_for_what_the_clients_own_tools_give() {
    let service = with_tools();
    does(&service, &service.url, "chat_tools");
    let runs = service.get("/api/v1/runs").with(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "one run: {runs}");
    let run = runs["runs"][0]["run"].as_str().unwrap();
    let events = service.get(&format!("/api/v1/runs/{run}/events")).with(200);
    let entries = events["entries"].as_array().unwrap();
    let labels: Vec<_> = entries
        .iter()
        .filter(|entry| entry["event"]["tool"] == "get_weather")
        .map(|entry| &entry["label"])
        .collect();
    assert_eq!(
        labels,
        ["tool:get_weather", "tool:get_weather"],
        "it is not the user who says so"
    );
    service.place.gpak(&["runs", "replay", run]).with_code(0);
}

#[test]
fn a_response_is_given_again_and_gone_on_from() {
    let service = agent();
    does(&service, &service.url, "responses");
}

#[test]
fn a_response_is_streamed_from_any_event() {
    let service = agent();
    does(&service, &service.url, "responses_stream");
}

#[test]
fn a_response_waits_for_what_the_clients_own_tools_give() {
    let service = with_tools();
    does(&service, &service.url, "responses_tools");
    let runs = service.get("/api/v1/runs").with(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "one run: {runs}");
}

#[test]
fn a_response_in_the_background_is_cancelled() {
    let service = Service::saying(&[json!({"delay_ms": 600_000, "text": "never"})]);
    does(&service, &service.url, "background");
}

#[test]
fn the_mind_alone_answers_and_starts_no_run() {
    let service = Service::saying(&[json!({"text": "hello there you", "word_ms": 20})]);
    does(&service, &service.url, "mind");
    assert_eq!(service.get("/api/v1/runs").with(200)["runs"], json!([]));
}

#[test]
fn each_of_two_selves_answers_alone() {
    let place = Place::new();
    let one = |name: &str| {
        let path = place.home().join(name);
        let reply = json!([{"text": format!("I am {name}"), "word_ms": 20}]);
        fs::create_dir_all(place.home()).unwrap();
        fs::write(&path, reply.to_string()).unwrap();
        format!("scripted/{}", path.display())
    };
    let (active, core) = (one("active"), one("core"));
    place.config(&format!(
        "[mind]\nactive = {active:?}\ncore = {core:?}\npolicy = \"cloud-only\"\n"
    ));
    let service = Service::of(place, &[]);
    does(&service, &service.url, "selves");
    assert_eq!(service.get("/api/v1/runs").with(200)["runs"], json!([]));

    let alone = Service::saying(&[json!({"text": "hello"})]);
    let why = alone.get("/v1/models/gpak/core").with(404)["error"]["message"].to_string();
    assert!(why.contains("`mind.core` in the settings names"), "{why}");
    let asked = json!({"model": "gpak/core", "messages": [{"role": "user", "content": "hi"}]});
    alone.ask("POST", "/v1/chat/completions", asked).with(404);
}

#[test]
fn a_request_that_the_client_sends_again_is_no_second_run() {
    let service = agent();
    for what in ["chat", "responses"] {
        let before = service.get("/api/v1/runs").with(200)["runs"]
            .as_array()
            .unwrap()
            .len();
        // Each first answer is lost on its way: the client sees a broken connection, and asks again.
        let (url, lost) = losing_first(&service);
        let only_first = if what == "responses" {
            "responses_stream"
        } else {
            what
        };
        does(&service, &url, only_first);
        assert!(lost.join().unwrap() > 0, "nothing was lost");
        let after = service.get("/api/v1/runs").with(200)["runs"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(after, before + 1, "{what}");
    }
}

#[test]
fn the_same_request_twice_is_two_runs_unless_it_has_a_key() {
    let service = agent();
    let ask = |headers: &[(&str, &str)], body: Value| {
        let bearer = format!("Bearer {}", service.key);
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        service.request("POST", "/v1/responses", &all, body)
    };
    let body = || json!({"input": "do it"});
    let first = ask(&[], body()).with(200)["id"].clone();
    assert_ne!(ask(&[], body()).with(200)["id"], first);
    let key = [("idempotency-key", "k")];
    let keyed = ask(&key, body()).with(200)["id"].clone();
    assert_eq!(ask(&key, body()).with(200)["id"], keyed);
    ask(&key, json!({"input": "something else"})).with(422);
}

#[test]
fn a_response_outlives_the_service_that_began_it() {
    let script = [call("list_files", json!({})), {
        let mut last = finish("done");
        last["delay_ms"] = 1500.into();
        last
    }];
    let mut service = Service::saying(&script);
    let body = json!({"input": "do it", "background": true});
    let id = service.post("/v1/responses", body).with(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = id.split('_').nth(1).unwrap().to_owned();
    service.until(&run, |now| now["entries"].as_u64() > Some(4));
    let path = format!("/v1/responses/{id}?stream=true");
    let bearer = format!("authorization: Bearer {}\r\n", service.key);
    let before = service.stream_of("GET", &path, &bearer, "", 2);
    assert_eq!(before.events.len(), 2);
    service.signal(nix::sys::signal::Signal::SIGKILL);
    service.ended();
    service.again(&[]);
    let path = format!("{path}&starting_after=1");
    let rest = service.stream_of("GET", &path, &bearer, "", usize::MAX);
    let last: Value = serde_json::from_str(&rest.events.last().unwrap().1).unwrap();
    assert_eq!(last["type"], "response.completed");
    let output = last["response"]["output"].as_array().unwrap();
    assert_eq!(output.last().unwrap()["content"][0]["text"], "done");
    let numbers = before.events.iter().chain(&rest.events).map(|(_, data)| {
        let event: Value = serde_json::from_str(data).unwrap();
        event["sequence_number"].as_u64().unwrap()
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
}

/// A proxy that loses the answer to the first POST: the service has it all, the client sees a connection
/// that broke. It ends, and says how many answers it lost, once a POST is answered.
fn losing_first(service: &Service) -> (String, std::thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let to = service.host();
    let proxy = std::thread::spawn(move || {
        let mut lost = 0;
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let (head, request) = request(&mut client);
            if head.is_empty() {
                continue;
            }
            let mut server = TcpStream::connect(&to).unwrap();
            server.write_all(&request).unwrap();
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).unwrap();
            if head.starts_with("POST") && lost == 0 {
                lost += 1;
                continue;
            }
            client.write_all(&answer).unwrap();
            if head.starts_with("POST") {
                drop(client);
                // What it still wants is small, and asked for anew.
                std::thread::spawn(move || pass_on(&listener, &to));
                return lost;
            }
        }
        lost
    });
    (url, proxy)
}

fn pass_on(listener: &TcpListener, to: &str) {
    for client in listener.incoming() {
        let mut client = client.unwrap();
        let (head, request) = request(&mut client);
        if head.is_empty() {
            continue;
        }
        let mut server = TcpStream::connect(to).unwrap();
        server.write_all(&request).unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).unwrap();
        let _ = client.write_all(&answer);
    }
}

/// A whole request, told to close its connection, and its first line.
fn request(client: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap() == 0 {
            return (String::new(), bytes);
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let mut length = 0;
    let mut lines = Vec::new();
    for line in head.lines().filter(|line| !line.is_empty()) {
        let lower = line.to_lowercase();
        if let Some(said) = lower.strip_prefix("content-length:") {
            length = said.trim().parse().unwrap();
        }
        // The name of the proxy is none of the service's; nor does it see the client's connection.
        if lower.starts_with("connection:") || lower.starts_with("host:") {
            continue;
        }
        lines.push(line);
    }
    lines.insert(1, "Host: localhost");
    lines.insert(2, "Connection: close");
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    let mut request = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
    request.extend(body);
    (lines[0].to_owned(), request)
}
