//! The client scenarios of npm's `@modelcontextprotocol/conformance`, against `examples/mcp_client.rs`.

use std::{collections::BTreeSet, env, process::Command};

use super::bed::{done, example, kept};

/// The tests, and a Node that is new enough for them.
const NPM: [&str; 2] = [
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "node@22.23.3",
];

/// Scenarios, and how many checks of each must pass: all that it makes.
const PASS: [(&str, u32); 11] = [
    ("initialize", 1),
    ("tools_call", 2),
    ("elicitation-sep1034-client-defaults", 5),
    ("sse-retry", 3),
    ("request-metadata", 6),
    ("sep-2322-client-request-state", 5),
    ("http-standard-headers", 3),
    ("http-custom-headers", 18),
    ("http-invalid-tool-headers", 12),
    ("json-schema-ref-no-deref", 1),
    ("json-schema-2020-12-preservation", 9),
];

/// Scenarios that do not apply, by how their names begin, how many there are, and why.
const LEFT_OUT: [(&str, usize, &str); 2] = [
    (
        "auth/",
        33,
        "OAuth flows: gpak takes a token from the user's settings (`token_cmd`, `headers`) and does no OAuth",
    ),
    (
        "sep-2640-",
        4,
        "skills that servers give as resources, an extension: gpak uses the tools of servers only",
    ),
];

/// The program of the tests, with the Node beside it on the `PATH`.
fn conformance() -> Command {
    let folder = kept("mcp-conformance", &format!("{NPM:?}"), |folder| {
        let npm = ["install", "--no-audit", "--no-fund", "--prefix"];
        done(Command::new("npm").args(npm).arg(folder).args(NPM));
    });
    let bin = folder.join("node_modules/.bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = [bin.clone()].into_iter().chain(env::split_paths(&path));
    let mut command = Command::new(bin.join("conformance"));
    command
        .env("PATH", env::join_paths(paths).unwrap())
        .current_dir(folder);
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn every_scenario_passes_or_is_left_out_for_a_reason() {
    let listed = said(conformance().args(["list", "--client"]));
    let names = listed.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("- ")?;
        Some(name.split(' ').next().unwrap_or(name))
    });
    let mut unknown: BTreeSet<&str> = names.collect();
    for (name, _) in PASS {
        assert!(unknown.remove(name), "no scenario {name} in:\n{listed}");
    }
    for (start, many, why) in LEFT_OUT {
        let before = unknown.len();
        unknown.retain(|name| !name.starts_with(start));
        assert_eq!(before - unknown.len(), many, "{start}* ({why}):\n{listed}");
    }
    assert_eq!(unknown, BTreeSet::new(), "not in the table of this test");
}

#[test]
fn the_scenarios_that_apply_pass() {
    let client = example("mcp_client");
    let results = tempfile::tempdir().unwrap();
    for (scenario, checks) in PASS {
        let said = said(
            conformance()
                .args(["client", "--timeout", "120000", "--scenario", scenario])
                .arg("--command")
                .arg(&client)
                .arg("--output-dir")
                .arg(results.path()),
        );
        let passed = format!("Passed: {checks}/{checks}, 0 failed, 0 warnings");
        assert!(
            said.contains(&passed),
            "{scenario}: no `{passed}` in:\n{said}"
        );
    }
}
