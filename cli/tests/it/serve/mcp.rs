//! The MCP server: PyPI's `mcp`, unmodified, over HTTP and over standard input and output, and npm's
//! conformance suite.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    house::Service,
    python::{python, run},
    runs::write,
};
use crate::{
    npm,
    place::{Place, finish},
};

const PYPI: &str = "mcp==2.3.0";
const NPM: &[&str] = &[
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "node@22.23.3",
];

/// Runs of the agent that write the file their task names, whichever comes.
fn agent() -> Vec<Value> {
    vec![write("a.txt", "hi\n"), finish("made a.txt")]
}

fn place() -> Place {
    let place = Place::new();
    place.write("plums.txt", "Anna: nine plums\n");
    place
}

/// Does what the script has under that name.
#[track_caller]
fn does(place: &Place, what: &str, way: &str, environment: &[(&str, &str)]) {
    let script = place.home().join("client.py");
    fs::create_dir_all(place.home()).unwrap();
    fs::write(&script, include_str!("mcp.py")).unwrap();
    let mut command: Command = place.command_of(python(PYPI).to_str().unwrap());
    command.arg(script).args([what, way]);
    command.envs(environment.iter().copied());
    run(&mut command);
}

fn over_http(what: &str) -> Service {
    over_http_in(place(), what)
}

fn over_http_in(place: Place, what: &str) -> Service {
    let service = Service::with(place, &agent(), &[]);
    let (viewer, other) = (
        service.user("vera", "viewer"),
        service.user("otto", "operator"),
    );
    let environment = [
        ("URL", service.url.as_str()),
        ("KEY", &service.key),
        ("VIEWER", &viewer),
        ("OTHER", &other),
    ];
    does(&service.place, what, "http", &environment);
    service
}

fn over_pipes(what: &str) -> Place {
    over_pipes_in(place(), what)
}

fn over_pipes_in(place: Place, what: &str) -> Place {
    let model = place.script(&agent());
    let work = place.work().display().to_string();
    let environment = [
        ("GPAK", env!("CARGO_BIN_EXE_gpak")),
        ("MODEL", model.as_str()),
        ("WORK", work.as_str()),
    ];
    does(&place, what, "stdio", &environment);
    place
}

#[test]
fn tools_are_listed_and_called_over_http() {
    over_http("tools");
}

#[test]
fn tools_are_listed_and_called_over_pipes() {
    over_pipes("tools");
}

#[test]
fn a_call_that_writes_asks_the_clients_user_and_is_undone() {
    let service = over_http("asked");
    assert_eq!(service.place.read("2026-07-28.txt"), "new\n");
    assert_eq!(service.place.read("legacy.txt"), "new\n");
    assert!(!service.place.work().join("no.txt").exists());
    let runs = service.get("/api/v1/runs?status=completed").with(200);
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 6, "each call is a run");
    for run in runs {
        service.place.gpak(&["undo", run["run"].as_str().unwrap()]);
    }
    assert!(!service.place.work().join("legacy.txt").exists());
}

#[test]
fn a_call_that_writes_asks_the_user_over_pipes() {
    let place = over_pipes("asked");
    assert_eq!(place.read("legacy.txt"), "new\n");
    assert!(!place.work().join("no.txt").exists());
}

#[test]
fn memory_is_written_and_read_by_a_client() {
    over_http("remembers");
}

#[test]
fn a_task_is_done_by_the_agent_over_http() {
    let service = over_http("task");
    assert_eq!(service.place.read("a.txt"), "hi\n");
}

#[test]
fn a_task_is_done_by_the_agent_over_pipes() {
    let place = over_pipes("task");
    assert_eq!(place.read("a.txt"), "hi\n");
}

#[test]
fn a_viewer_looks_and_a_stranger_does_not() {
    over_http("refused");
}

#[test]
fn a_run_is_a_task_that_is_asked_for_answered_and_cancelled() {
    over_http("tasks");
}

/// A proxy that has the credential.
struct Proxy(Child, String);

impl Proxy {
    fn to(service: &Service, folder: &std::path::Path) -> Self {
        let script = service.place.home().join("proxy.mjs");
        fs::write(&script, include_str!("proxy.mjs")).unwrap();
        let mut node = npm::command(folder, "node");
        node.arg(script)
            .env("URL", &service.url)
            .env("KEY", &service.key);
        let mut child = node.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut port).unwrap();
        Self(child, format!("http://127.0.0.1:{}/mcp", port.trim()))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the suite's scenarios call by name, as a package of the user's.
fn fixture(place: &Place) {
    let folder = place.home().join("fixture");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tool.js"), include_str!("mcp_fixture.js")).unwrap();
    fs::write(folder.join("tool.toml"), include_str!("mcp_fixture.toml")).unwrap();
    let folder = folder.display().to_string();
    place.gpak(&["tools", "add", "--yes", &folder]).with_code(0);
    place.write(".gpak/skills/tidy/SKILL.md", SKILL);
}

/// A skill of the workspace.
const SKILL: &str =
    "---\nname: tidy\ndescription: How to tidy up here.\n---\nPut plums into baskets.\n";

#[test]
fn runs_are_resources_and_skills_are_prompts_over_http() {
    let place = place();
    place.write(".gpak/skills/tidy/SKILL.md", SKILL);
    over_http_in(place, "reads");
}

#[test]
fn runs_are_resources_and_skills_are_prompts_over_pipes() {
    let place = place();
    place.write(".gpak/skills/tidy/SKILL.md", SKILL);
    over_pipes_in(place, "reads");
}

#[test]
fn the_conformance_suite_finds_what_is_argued_and_nothing_else() {
    let folder = npm::folder("mcp-conformance", NPM);
    let place = place();
    fixture(&place);
    let service = Service::with(place, &[], &["--rate", "1000"]);
    let proxy = Proxy::to(&service, &folder);
    let expected = service.place.home().join("expected.yml");
    fs::write(&expected, include_str!("mcp_conformance.yml")).unwrap();
    let mut suite = npm::command(&folder, "conformance");
    suite.args(["server", "--url", &proxy.1, "--spec-version", "2026-07-28"]);
    suite
        .args(["--suite", "all", "--expected-failures"])
        .arg(&expected);
    suite.current_dir(service.place.home());
    run(&mut suite);
}
