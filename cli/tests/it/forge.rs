//! Tools that a run makes: used in it, in later runs, after a crash, and by others.

use std::fs;

use serde_json::{Value, json};

use crate::place::{Place, call, finish, when};

const SOURCE: &str = "function invoke({ numeral }) {
  if (!/^M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})$/.test(numeral) || numeral === '')
    throw new Error(`${numeral} is no Roman numeral`);
  const values = { I: 1, V: 5, X: 10, L: 50, C: 100, D: 500, M: 1000 };
  return [...numeral].reduce((sum, c, at) => sum + (values[c] < (values[numeral[at + 1]] ?? 0) ? -1 : 1) * values[c], 0);
}";

fn roman_numerals(source: &str) -> Value {
    call(
        "make_tool",
        json!({
            "name": "roman_numerals",
            "description": "Converts a Roman numeral to a number.",
            "input_schema": {"type": "object", "properties": {"numeral": {"type": "string"}}, "required": ["numeral"]},
            "source": source,
            "examples": [
                {"input": {"numeral": "XIV"}, "output": 14},
                {"input": {"numeral": "MMXXIV"}, "output": 2024},
                {"input": {"numeral": "IIX"}, "error": true},
            ],
        }),
    )
}

fn use_it() -> Value {
    call("roman_numerals", json!({"numeral": "MCMXCIV"}))
}

#[test]
fn a_tool_is_made_and_used_and_used_again_by_a_later_run_and_by_others() {
    let place = Place::new();
    place
        .run(&[
            roman_numerals(SOURCE),
            when("is made (version 1)", use_it()),
            when("1994", finish("1994")),
        ])
        .with_code(0);
    place
        .run(&[use_it(), when("1994", finish("again 1994"))])
        .with_code(0)
        .saying(&["again 1994"]);
    let listed = place.gpak(&["tools", "list"]).with_code(0);
    listed.saying(&[
        "roman_numerals",
        "made here, run ",
        "version 1",
        "make_tool",
    ]);
    place
        .gpak(&["tools", "show", "roman_numerals"])
        .with_code(0)
        .saying(&[
            "is no Roman numeral",
            "granted: nothing",
            "→ 2024",
            "→ an error",
        ]);
    let folder = place.home().join("exported");
    let folder = folder.to_str().unwrap();
    place
        .gpak(&["tools", "export", "roman_numerals", folder])
        .with_code(0)
        .saying(&["gpak tools add"]);

    let other = Place::new();
    other
        .gpak(&["tools", "add", "--yes", folder])
        .with_code(0)
        .saying(&["it can compute and nothing else"]);
    other
        .gpak(&["tools", "test", "roman_numerals"])
        .with_code(0)
        .saying(&["✓ roman_numerals"]);
    let called = [
        "tools",
        "call",
        "roman_numerals",
        r#"{"numeral":"MCMXCIV"}"#,
    ];
    assert_eq!(other.gpak(&called).with_code(0).out.trim(), "1994");
    other
        .run(&[use_it(), when("1994", finish("ok"))])
        .with_code(0);
    let source = other
        .home()
        .join("data/tools/roman_numerals/roman_numerals.js");
    fs::write(source, "function invoke() { return 7 }").unwrap();
    other
        .gpak(&called)
        .with_code(1)
        .saying(&["is not what it was when it was added"]);

    place
        .gpak(&["tools", "remove", "roman_numerals"])
        .with_code(0);
    place
        .gpak(&["tools", "call", "roman_numerals", "{}"])
        .with_code(1);
}

#[test]
fn a_run_that_died_between_making_and_using_a_tool_goes_on_with_it() {
    // Before: the tool is journaled (it is kept already), the next reply, the call's start, its end.
    for kill in 5..=8 {
        let place = Place::new();
        let model = place.script(&[roman_numerals(SOURCE), use_it(), finish("done")]);
        let killed = place
            .command()
            .args(["run", "--yes", "--model", &model, "do it"])
            .env("GPAK_TEST_KILL", format!("before:{kill}"))
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "it was to be killed");
        place
            .gpak(&["resume", "--yes", "--model", &model])
            .with_code(0);
        let events = place.gpak(&["runs", "events"]).with_code(0).out;
        let made = events.matches(r#""type":"tool_made""#).count();
        assert_eq!(made, 1, "{events}");
        assert!(events.contains("1994"), "{kill}: {events}");
        place
            .gpak(&["tools", "list"])
            .with_code(0)
            .saying(&["version 1"]);
        place.gpak(&["runs", "replay"]).with_code(0);
    }
}

#[test]
fn a_fork_has_the_tools_that_were_made_before_it() {
    let place = Place::new();
    place
        .run(&[
            roman_numerals(SOURCE),
            when("is made (version 1)", finish("made")),
        ])
        .with_code(0);
    let events = place.gpak(&["runs", "events", "--json"]).with_code(0).out;
    let entries: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let made = entries
        .iter()
        .find(|entry| entry["event"]["type"] == "tool_made")
        .unwrap();
    let (run, made) = (made["run"].as_str().unwrap(), made["seq"].as_u64().unwrap());
    // What the run made is in its journal; nobody else's workspace needs to have it.
    place
        .gpak(&["tools", "remove", "roman_numerals"])
        .with_code(0);
    let forked = |at: u64, script: &[Value]| {
        place
            .gpak(&["runs", "fork", run, "--at", &at.to_string()])
            .with_code(0);
        let model = place.script(script);
        place
            .gpak(&["resume", "--yes", "--model", &model])
            .with_code(0)
    };
    // The end of the call that made it comes next.
    forked(made + 1, &[roman_numerals(SOURCE), use_it(), finish("ok")])
        .saying(&["● roman_numerals MCMXCIV → 1994"]);
    let first = entries
        .iter()
        .find(|entry| entry["event"]["type"] == "model_replied")
        .unwrap();
    let before = first["seq"].as_u64().unwrap() - 1;
    forked(before, &[use_it(), finish("ok")])
        .saying(&["○ roman_numerals MCMXCIV → there is no tool `roman_numerals`"]);
    // Neither was made in the workspace again.
    let listed = place.gpak(&["tools", "list"]).with_code(0).out;
    assert!(!listed.contains("roman_numerals"), "{listed}");
}

#[test]
fn what_a_tool_needs_is_asked_for_and_hostile_sources_are_told() {
    let place = Place::new();
    let mut needs = roman_numerals(SOURCE);
    needs["calls"][0]["args"]["needs"] = json!({"files": [{"path": "."}]});
    let model = place.script(&[
        needs,
        when(
            "needs an approval",
            roman_numerals("function invoke() { for (;;) {} }"),
        ),
        when(
            "was stopped",
            roman_numerals("function invoke() { const all = []; for (;;) all.push('x'.repeat(1e6) + all.length) }"),
        ),
        when("out of memory", finish("I could not")),
        // An answer right behind what did not work is asked for once more.
        finish("I could not"),
    ]);
    place
        .gpak(&["run", "--model", &model, "do it"])
        .with_code(0)
        .saying(&["I could not"]);
    let listed = place.gpak(&["tools", "list"]).with_code(0).out;
    assert!(!listed.contains("roman_numerals"), "{listed}");
}
