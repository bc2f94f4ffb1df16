//! Components that lie about themselves, or go wrong when they are asked.

use super::*;

fn describing(body: &str) -> Guest {
    let mut odd = guest("odd");
    odd.describe = Some(body.to_owned());
    odd
}

#[tokio::test]
async fn never_ending() {
    assert_says(
        &refused(&describing("(loop $l (br $l)) unreachable"), "").await,
        &["was stopped"],
    );
}

#[tokio::test]
async fn trapping() {
    assert_says(
        &refused(&describing("unreachable"), "").await,
        &["broke down"],
    );
}

#[tokio::test]
async fn pointing_out_of_its_memory() {
    assert_says(
        &refused(&describing("(i32.const 0x7ffffff0)"), "").await,
        &["broke down"],
    );
}

#[tokio::test]
async fn pointing_between_words() {
    assert_says(
        &refused(&describing("(i32.const 33001)"), "").await,
        &["broke down"],
    );
}

#[tokio::test]
async fn no_tools() {
    assert_says(
        &refused(&describing("(i32.const 50000)"), "").await,
        &["describes 0 tools"],
    );
}

#[tokio::test]
async fn four_thousand_million_tools() {
    let odd = describing(
        "(i32.store (i32.const 50000) (i32.const 1024)) (i32.store (i32.const 50004) (i32.const -1)) (i32.const 50000)",
    );
    assert_says(&refused(&odd, "").await, &["asked to describe its tools"]);
}

#[tokio::test]
async fn three_thousand_tools() {
    // All of them are the same forty zeros.
    let odd = describing(
        "(i32.store (i32.const 40000) (i32.const 65536)) (i32.store (i32.const 40004) (i32.const 1600)) (i32.const 40000)",
    );
    assert_says(&refused(&odd, "").await, &["describes 1600 tools"]);
}

#[tokio::test]
async fn an_effect_that_there_is_not() {
    assert_says(
        &refused(&guest("odd").effect(200), "").await,
        &["asked to describe its tools"],
    );
}

#[tokio::test]
async fn names_that_are_none() {
    for name in ["Read File", "a/b", "..", "a\u{202e}b", ""] {
        let mut odd = guest("odd");
        odd.name = name.to_owned();
        let home = Home::new();
        let folder = home.folder_of("odd", &odd.build(), "");
        let why = home.add_folder(&folder).await.unwrap_err().to_string();
        assert_says(&why, &["is not one", "a to z"]);
    }
}

#[tokio::test]
async fn descriptions_that_flood_the_prompt() {
    let mut odd = guest("odd");
    odd.description = "You must ".repeat(300);
    assert_says(
        &refused(&odd, "").await,
        &["the description of odd has 2699 characters"],
    );
    odd.description = " \n".to_owned();
    assert_says(&refused(&odd, "").await, &["has 0 characters"]);
}

#[tokio::test]
async fn schemas_that_are_none() {
    let deep = format!("{}{}", "{\"not\":".repeat(5000), "}".repeat(5000));
    for (schema, part) in [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("true", "is no JSON object"),
        (r#"{"type":"thing"}"#, "is no schema"),
        (r#"{"type":"object","properties":7}"#, "is no schema"),
        (
            r#"{"type":"object","$ref":"file:///etc/passwd"}"#,
            "refers to file:///etc/passwd",
        ),
        (
            r#"{"type":"object","$ref":"http://127.0.0.1/x"}"#,
            "refers to http://127.0.0.1/x",
        ),
        (r#"{"type":"string"}"#, "not of \"type\": \"object\""),
        (
            r#"{"type":"object","patternProperties":{"(":{}}}"#,
            "is no schema",
        ),
        (deep.as_str(), "is no JSON"),
    ] {
        let mut odd = guest("odd");
        odd.input = schema.to_owned();
        if schema.len() > 10_000 {
            assert!(gpak_tools_schema_is_refused(schema));
            continue;
        }
        assert_says(&refused(&odd, "").await, &["the input schema of odd", part]);
    }
}

/// What is too long for a guest's static data is checked by the same function as scripts' schemas.
fn gpak_tools_schema_is_refused(schema: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(schema).is_err()
}

#[tokio::test]
async fn a_schema_that_blows_up() {
    let mut defs = serde_json::Map::new();
    for at in 0..40 {
        let next = format!("#/$defs/d{}", at + 1);
        defs.insert(
            format!("d{at}"),
            json!({"allOf": [{"$ref": next}, {"$ref": next}]}),
        );
    }
    defs.insert("d40".to_owned(), json!({}));
    let mut odd = guest("odd");
    odd.input = json!({"type": "object", "$ref": "#/$defs/d0", "$defs": defs}).to_string();
    assert_says(&refused(&odd, "").await, &["has more than 20000 parts"]);
}

#[tokio::test]
async fn undoing_that_it_cannot() {
    let mut odd = guest("odd").compensate("unreachable");
    odd.effect = 3;
    assert_says(
        &refused(&odd, "").await,
        &["can compensate", "not reversible"],
    );
    assert_says(
        &refused(&guest("odd").effect(2), "").await,
        &["can be undone, and nothing does it"],
    );
}

#[tokio::test]
async fn using_what_it_asks_for_before_anybody_granted_it() {
    let odd =
        guest("odd").imports(r#"(import "gpak:tool/core@0.1.0" "now" (func $now (result i64)))"#);
    let mut odd = odd;
    odd.describe = Some("(drop (call $now)) unreachable".to_owned());
    let why = refused(&odd, "[asks]\nclock = true").await;
    assert_says(&why, &["it wanted the clock, which it was not granted"]);
}
