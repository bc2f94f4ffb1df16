//! What is in `examples/deploy`, and the Dockerfile.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    house::Service,
    python::{python, run},
};
use crate::place::{Place, finish};

const PYPI: &str = "kubernetes-validate==1.37.0";

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join(path)).unwrap()
}

/// Starts the service with those arguments, but for what belongs to another machine.
fn starts_with(arguments: &[&str]) {
    let elsewhere = |one: &&str| {
        let named = ["--listen", "--tls-", "--workspace", "0.0.0.0", "/"];
        named.iter().any(|start| one.starts_with(start))
    };
    let [first, rest @ ..] = arguments else {
        panic!("no arguments");
    };
    assert_eq!(*first, "serve");
    let rest: Vec<&str> = rest.iter().copied().filter(|one| !elsewhere(one)).collect();
    let service = Service::with(Place::new(), &[finish("done")], &rest);
    service.get("/readyz").with(200);
    let run = service.run("do it");
    service.until_status(&run, "completed");
}

#[test]
fn the_image_starts_the_service() {
    let file = read("Dockerfile");
    let command = file
        .lines()
        .find_map(|line| line.strip_prefix("CMD "))
        .unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    starts_with(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(file.contains("\nUSER 10001:10001\n"), "it is not root");
}

#[test]
fn kubernetes_takes_the_manifests_and_they_start_the_service() {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/deploy/kubernetes.yml");
    let python = python(PYPI);
    let mut validate = Command::new(python.parent().unwrap().join("kubernetes-validate"));
    run(validate.arg("--strict").arg(&manifests));
    let mut dump = Command::new(&python);
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let dumped = dump.args(["-c", script]).arg(&manifests).output().unwrap();
    let all: Value = serde_json::from_slice(&dumped.stdout).unwrap();
    let container = &all[1]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    let arguments = container["args"].as_array().unwrap();
    let arguments: Vec<&str> = arguments.iter().map(|one| one.as_str().unwrap()).collect();
    starts_with(&arguments);
}

#[test]
fn compose_publishes_on_this_machine_alone() {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut dump = Command::new(python(PYPI));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/deploy/compose.yml");
    let input = fs::File::open(file).unwrap();
    let dumped = dump.args(["-c", script]).stdin(input).output().unwrap();
    let compose: Value = serde_json::from_slice(&dumped.stdout).unwrap();
    let service = &compose["services"]["gpak"];
    assert_eq!(service["ports"][0], "127.0.0.1:4725:4725");
    assert_eq!(service["read_only"], true);
}

#[test]
fn the_unit_starts_the_service() {
    let unit = read("examples/deploy/gpak.service");
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))
        .unwrap();
    let mut words = line.split(' ');
    assert_eq!(words.next(), Some("/usr/local/bin/gpak"));
    starts_with(&words.collect::<Vec<_>>());
}
