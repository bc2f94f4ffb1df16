//! Traces, as a collector gets them.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use super::{house::Service, python::python, runs::write};
use crate::place::{Place, call, finish};

const PYPI: &str = "opentelemetry-proto==1.45.2";

struct Collector {
    child: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

impl Collector {
    fn start() -> Self {
        let mut command = Command::new(python(PYPI));
        command.args(["-c", include_str!("collector.py")]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        out.read_line(&mut port).unwrap();
        let url = format!("http://127.0.0.1:{}", port.trim());
        Self { child, out, url }
    }

    /// Spans until one is the last that is waited for.
    fn until(&mut self, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut spans: Vec<Value> = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.out.read_line(&mut line).unwrap() > 0,
                "it ended: {spans:#?}"
            );
            spans.push(serde_json::from_str(&line).unwrap());
            if spans.last().is_some_and(&is_last) {
                return spans;
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_request_its_run_and_the_calls_of_that_are_one_trace_without_a_word_of_them() {
    let mut collector = Collector::start();
    let script = [
        write("a.txt", "a secret\n"),
        call("read_file", json!({"path": "gone.txt"})),
        finish("a secret is kept"),
    ];
    let mut service = Service::with(Place::new(), &script, &["--yes"]);
    service.again(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())]);
    let bearer = format!("Bearer {}", service.key);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let traceparent = format!("00-{trace}-{parent}-01");
    let headers = [
        ("authorization", bearer.as_str()),
        ("traceparent", &traceparent),
    ];
    let created = service.request(
        "POST",
        "/api/v1/runs",
        &headers,
        json!({"task": "a secret"}),
    );
    let run = created.with(201)["id"].as_str().unwrap().to_owned();
    let mut spans = collector.until(|span| span["name"] == "invoke_agent gpak");
    spans.retain(|span| span["trace"] == trace);
    let named = |name: &str| {
        let found = spans.iter().find(|span| span["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {spans:#?}"))
    };
    let request = named("POST /api/v1/runs");
    assert_eq!(request["parent"], parent);
    assert_eq!(request["attributes"]["http.response.status_code"], 201);
    assert_eq!(
        (&request["path"], &request["service"]),
        (&json!("/v1/traces"), &json!("gpak"))
    );
    let drive = named("invoke_agent gpak");
    assert_eq!(drive["parent"], request["span"]);
    assert_eq!(drive["attributes"]["gen_ai.conversation.id"], run);
    assert_eq!(drive["attributes"]["gpak.run.status"], "completed");
    let wrote = named("execute_tool write_file");
    assert_eq!(
        (&wrote["parent"], &wrote["failed"]),
        (&drive["span"], &json!(false))
    );
    assert_eq!(named("execute_tool read_file")["failed"], true);
    let chats: Vec<_> = spans
        .iter()
        .filter(|span| span["attributes"]["gen_ai.operation.name"] == "chat")
        .collect();
    assert_eq!(chats.len(), 3, "{spans:#?}");
    assert!(chats.iter().all(|chat| chat["parent"] == drive["span"]));
    assert_eq!(chats[0]["attributes"]["gen_ai.provider.name"], "scripted");
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    service.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(service.ended(), Some(0));
}

#[test]
fn a_collector_that_is_not_there_holds_nothing_up() {
    let mut service = Service::saying(&[finish("done")]);
    service.again(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    let run = service.run("do it");
    service.until_status(&run, "completed");
    service.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(service.ended(), Some(0));
}
