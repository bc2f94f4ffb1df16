//! The lines of the README that speak to the service, as they stand there.

use std::process::Command;

use crate::place::{Place, call, finish};

/// The commands of the first console block under that heading.
fn commands(heading: &str) -> Vec<String> {
    let readme = include_str!("../../../../README.md");
    let (_, section) = readme.split_once(heading).expect("the section is there");
    let (_, block) = section.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let commands = block.lines().filter_map(|line| line.strip_prefix("$ "));
    commands.map(str::to_owned).collect()
}

#[test]
fn the_lines_of_the_readme_work_as_they_stand() {
    let place = Place::new();
    let model = place.script(&[
        call("list_files", serde_json::json!({})),
        finish("two files"),
    ]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let commands = commands("## Serve");
    assert!(
        commands.iter().filter(|line| line.contains("ask ")).count() > 4,
        "{commands:?}"
    );
    // The port of the text may be taken on this machine: another stands in for it.
    let lines = commands.join("\n").replace("4725", &port);
    let lines = lines.replace(
        "gpak serve &",
        &format!("gpak serve --listen 127.0.0.1:{port} &"),
    );
    let script = format!("set -eu\ntrap 'kill %1' EXIT\n{lines}\n");
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_gpak"))
        .parent()
        .unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut bash: Command = place.command_of("bash");
    let output = bash
        .args(["-c", &script])
        .env("GPAK_MODEL", &model)
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{err}");
    for part in [
        "\"status\":\"completed\"",
        "two files",
        "event: entry",
        "chat.completion",
        "gpak_steps",
    ] {
        assert!(said.contains(part), "no `{part}` in:\n{said}\n{err}");
    }
}
