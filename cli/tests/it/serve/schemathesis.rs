//! PyPI's `schemathesis` invents requests from `/openapi.json`, and finds nothing.

use std::process::Command;

use super::{
    house::Service,
    python::{python, run},
};
use crate::place::{Place, finish};

const PYPI: &str = "schemathesis==4.32.5";

#[test]
fn what_schemathesis_invents_is_answered_as_the_interface_says() {
    let more = ["--rate", "1000000", "--queue", "100000"];
    let service = Service::with(Place::new(), &[finish("ok")], &more);
    let command = python(PYPI).with_file_name("schemathesis");
    let mut command = Command::new(command);
    command
        .args(["run", &format!("{}/openapi.json", service.url)])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", service.key),
        ])
        .args([
            "--phases",
            "coverage,fuzzing,stateful",
            "--max-examples",
            "10",
        ])
        .args(["--seed", "1", "--request-timeout", "90", "--workers", "2"])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(service.place.home());
    run(&mut command);
    service.get("/readyz").with(200);
    service.place.gpak(&["runs", "verify"]).with_code(0);
}
