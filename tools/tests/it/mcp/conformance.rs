//! The client scenarios of npm's `@modelcontextprotocol/conformance`, against `examples/mcp_client.rs`.

use std::{collections::BTreeMap, env, process::Command};

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

/// The versions of the protocol that logging in is tried in.
const VERSIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// Scenarios of logging in, and how many checks of each must pass, in each of those versions; none where the
/// scenario is not of that version.
const LOGIN: [(&str, [Option<u32>; 2]); 25] = [
    ("auth/metadata-default", [Some(21), Some(20)]),
    ("auth/metadata-var1", [Some(21), Some(20)]),
    ("auth/metadata-var2", [Some(21), Some(20)]),
    ("auth/metadata-var3", [Some(19), Some(18)]),
    ("auth/basic-cimd", [Some(16), Some(14)]),
    ("auth/scope-from-www-authenticate", [Some(17), Some(16)]),
    ("auth/scope-from-scopes-supported", [Some(17), Some(16)]),
    ("auth/scope-omitted-when-undefined", [Some(17), Some(16)]),
    ("auth/scope-step-up", [Some(30), Some(33)]),
    ("auth/scope-retry-limit", [Some(23), Some(25)]),
    ("auth/token-endpoint-auth-basic", [Some(22), Some(21)]),
    ("auth/token-endpoint-auth-post", [Some(22), Some(21)]),
    ("auth/token-endpoint-auth-none", [Some(22), Some(21)]),
    ("auth/pre-registration", [Some(16), Some(14)]),
    ("auth/resource-mismatch", [None, Some(2)]),
    ("auth/offline-access-scope", [None, Some(17)]),
    ("auth/offline-access-not-supported", [None, Some(16)]),
    ("auth/authorization-server-migration", [None, Some(32)]),
    ("auth/iss-supported", [None, Some(16)]),
    ("auth/iss-not-advertised", [None, Some(16)]),
    ("auth/iss-supported-missing", [None, Some(8)]),
    ("auth/iss-wrong-issuer", [None, Some(8)]),
    ("auth/iss-unexpected", [None, Some(8)]),
    ("auth/iss-normalized", [None, Some(8)]),
    ("auth/metadata-issuer-mismatch", [None, Some(3)]),
];

/// Scenarios of logging in that are of no version, or of one that gpak does not speak itself, and pass.
const LOGIN_BESIDE: [(&str, u32); 3] = [
    ("auth/2025-03-26-oauth-metadata-backcompat", 14),
    ("auth/2025-03-26-oauth-endpoint-fallback", 8),
    ("auth/client-credentials-basic", 9),
];

/// Scenarios that do not apply, by how their names begin, how many there are, and why.
const LEFT_OUT: [(&str, usize, &str); 5] = [
    (
        "auth/client-credentials-jwt",
        1,
        "an extension: a client that signs who it is. The library does it with aws-lc, a second library of \
         cryptography beside ring; with a secret it is there (`client-credentials-basic`)",
    ),
    (
        "auth/enterprise-managed-authorization",
        1,
        "an extension: a login to an organisation, of which gpak has none. What `token_cmd` runs can do that",
    ),
    (
        "auth/dpop",
        2,
        "an extension that the library does not have: tokens that are bound to a key for each request",
    ),
    (
        "auth/wif-jwt-bearer",
        1,
        "an extension that the library does not have: what a platform says of a workload, for a token. What \
         `token_cmd` runs can do that",
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

/// Each scenario for clients, with the versions of the protocol that it is of.
fn listed() -> BTreeMap<String, Vec<String>> {
    let listed = said(conformance().args(["list", "--client"]));
    let scenario = |line: &str| {
        let (name, versions) = line.trim().strip_prefix("- ")?.split_once(" [")?;
        let versions = versions.strip_suffix(']')?.split(',');
        Some((name.to_owned(), versions.map(str::to_owned).collect()))
    };
    listed.lines().filter_map(scenario).collect()
}

#[test]
fn every_scenario_passes_or_is_left_out_for_a_reason() {
    let mut unknown = listed();
    assert!(!unknown.is_empty());
    for (name, versions) in LOGIN {
        let listed = unknown.remove(name);
        let listed = listed.unwrap_or_else(|| panic!("no scenario {name}"));
        for (version, checks) in VERSIONS.iter().zip(versions) {
            let is_of = listed.iter().any(|listed| listed == version);
            assert_eq!(is_of, checks.is_some(), "{name} in {version}");
        }
    }
    for (name, _) in PASS.iter().chain(&LOGIN_BESIDE) {
        assert!(unknown.remove(*name).is_some(), "no scenario {name}");
    }
    for (start, many, why) in LEFT_OUT {
        let before = unknown.len();
        unknown.retain(|name, _| !name.starts_with(start));
        assert_eq!(before - unknown.len(), many, "{start}* ({why})");
    }
    assert_eq!(unknown, BTreeMap::new(), "not in the tables of this test");
}

/// Runs a scenario, in a version of the protocol or in that which the tests choose.
fn passes(scenario: &str, version: Option<&str>, checks: u32) {
    let results = tempfile::tempdir().unwrap();
    let mut command = conformance();
    command
        .args(["client", "--timeout", "120000", "--scenario", scenario])
        .args(
            version
                .map(|version| ["--spec-version", version])
                .into_iter()
                .flatten(),
        )
        .arg("--command")
        .arg(example("mcp_client"))
        .arg("--output-dir")
        .arg(results.path());
    let said = said(&mut command);
    let passed = format!("Passed: {checks}/{checks}, 0 failed, 0 warnings");
    assert!(
        said.contains(&passed),
        "{scenario} {version:?}: no `{passed}` in:\n{said}"
    );
}

#[test]
fn the_scenarios_that_apply_pass() {
    for (scenario, checks) in PASS {
        passes(scenario, None, checks);
    }
}

#[test]
fn logging_in_passes_in_both_versions_of_the_protocol() {
    for (scenario, versions) in LOGIN {
        for (version, checks) in VERSIONS.into_iter().zip(versions) {
            if let Some(checks) = checks {
                passes(scenario, Some(version), checks);
            }
        }
    }
}

#[test]
fn logging_in_passes_beside_them() {
    for (scenario, checks) in LOGIN_BESIDE {
        passes(scenario, None, checks);
    }
}
