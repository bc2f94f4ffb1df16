//! The floors of the house: an arrow between our crates goes only to a lower floor.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Each crate and those it may use.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("gpak-kernel", &[]),
    ("gpak-proto", &[]),
    ("gpak-tools", &["gpak-kernel"]),
    ("gpak-memory", &["gpak-kernel"]),
    ("gpak-edge", &["gpak-kernel", "gpak-proto", "gpak-memory"]),
    (
        "gpak-cli",
        &[
            "gpak-kernel",
            "gpak-proto",
            "gpak-tools",
            "gpak-memory",
            "gpak-edge",
        ],
    ),
];

#[test]
fn an_arrow_goes_only_to_a_lower_floor() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter().map(name);
        uses.insert(
            name(package),
            dependencies
                .filter(|name| name.starts_with("gpak-"))
                .collect(),
        );
    }
    let floors: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let known: Vec<_> = floors.keys().map(ToString::to_string).collect();
    let found: Vec<_> = uses.keys().cloned().collect();
    assert_eq!(
        found, known,
        "each crate of the workspace has its floor in this test"
    );
    for (user, used) in &uses {
        for one in used {
            assert!(
                floors[user.as_str()].contains(&one.as_str()),
                "{user} may not use {one}: see DESIGN.md, section 2"
            );
        }
    }
}
