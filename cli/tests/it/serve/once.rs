//! Requests with an `Idempotency-Key` are made once.

use serde_json::{Value, json};

use super::house::{Answer, Service};
use crate::place::finish;

fn post(service: &Service, user: &str, key: &str, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {user}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    service.request("POST", path, &headers, body)
}

fn runs(service: &Service) -> usize {
    service.get("/api/v1/runs").with(200)["runs"]
        .as_array()
        .unwrap()
        .len()
}

#[test]
fn the_same_key_is_the_same_run_and_another_body_is_refused() {
    let service = Service::saying(&[finish("ok")]);
    let task = json!({"task": "do it"});
    let first = post(&service, &service.key, "a", "/api/v1/runs", task.clone());
    let again = post(&service, &service.key, "a", "/api/v1/runs", task.clone());
    assert_eq!(
        (first.status, &first.text),
        (201, &again.text),
        "the same answer"
    );
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let other = json!({"task": "do something else"});
    post(&service, &service.key, "a", "/api/v1/runs", other).with(422);
    assert_eq!(runs(&service), 1);
    // The keys of one user are not those of another.
    let ann = service.user("ann", "operator");
    let theirs = post(&service, &ann, "a", "/api/v1/runs", task.clone()).with(201);
    assert_ne!(theirs["id"], first.json()["id"]);
    post(
        &service,
        &service.key,
        &"k".repeat(300),
        "/api/v1/runs",
        task,
    )
    .with(400);
    assert_eq!(runs(&service), 2);
}

#[test]
fn a_request_that_failed_by_its_content_says_so_again_and_one_that_was_not_done_is_tried_again() {
    let service = Service::saying(&[finish("ok")]);
    let bad = json!({"task": ""});
    post(&service, &service.key, "bad", "/api/v1/runs", bad.clone()).with(422);
    let again = post(&service, &service.key, "bad", "/api/v1/runs", bad);
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (422, Some("true"))
    );
}

#[test]
fn many_at_once_with_one_key_are_one_run() {
    let service = Service::saying(&[finish("ok")]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            post(
                &service,
                &service.key,
                "a",
                "/api/v1/runs",
                json!({"task": "do it"}),
            )
        };
        let all: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut made: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 409)
        .map(|answer| answer.with(201)["id"].clone())
        .collect();
    assert!(!made.is_empty());
    made.dedup();
    assert_eq!((made.len(), runs(&service)), (1, 1));
}

#[test]
fn a_service_that_dies_before_it_answers_makes_the_same_run_when_it_is_asked_again() {
    for when in ["before:1", "after:1"] {
        let mut service = Service::saying(&[finish("ok")]);
        service.again(&[("GPAK_TEST_KILL", when)]);
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            post(
                &service,
                &service.key,
                "a",
                "/api/v1/runs",
                json!({"task": "do it"}),
            )
        }));
        assert!(asked.is_err(), "it died {when} the first append");
        service.again(&[]);
        let run = post(
            &service,
            &service.key,
            "a",
            "/api/v1/runs",
            json!({"task": "do it"}),
        );
        let run = run.with(201);
        service.until_status(run["id"].as_str().unwrap(), "completed");
        assert_eq!(runs(&service), 1, "killed {when}");
    }
}
