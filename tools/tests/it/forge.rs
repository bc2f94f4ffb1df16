//! `make_tool`: what it refuses, and what it makes.

use std::collections::BTreeSet;

use gpak_kernel::tool::{Call, Effect, Tool, ToolError, ToolOutput};
use gpak_tools::{
    builtin::Options,
    forge::{MAKE_TOOL, MadeStore, MakeTool},
    wasm::{self, Cache, Packages},
};
use serde_json::{Value, json};

use crate::bench::{Bench, id};

struct Forge {
    bench: Bench,
    store: MadeStore,
    tool: MakeTool,
}

fn forge() -> Forge {
    let bench = Bench::new();
    let mut options = Options::new(bench.home.path().join("data/undo"));
    options.protected = vec![bench.home.path().join("data")];
    // One cache for all tests: the interpreter takes its time to compile.
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("script-code");
    let cache = Cache::new(&cache, cache.join("key"));
    let dir = bench.home.path().join("data/tools");
    let packages = Packages::new(wasm::Options::new(dir, cache, options));
    let store = MadeStore::new(bench.home.path().join("data/made"), packages);
    let reserved = BTreeSet::from(["read_file".to_owned()]);
    let tool = MakeTool::new(store.clone(), reserved);
    Forge { bench, store, tool }
}

/// A tool that doubles a number, with something of it changed.
fn double(change: Value) -> Value {
    let mut args = json!({
        "name": "double",
        "description": "Doubles a number.",
        "input_schema": {"type": "object", "properties": {"n": {}}, "required": ["n"]},
        "source": "function invoke(input) {\n  if (typeof input.n !== 'number') throw new Error('n is no number');\n  return input.n * 2;\n}",
        "examples": [{"input": {"n": 2}, "output": 4}, {"input": {"n": "x"}, "error": true}],
    });
    for (name, value) in change.as_object().unwrap() {
        args[name] = value.clone();
    }
    args
}

impl Forge {
    async fn make(&self, change: Value) -> Result<ToolOutput, ToolError> {
        let call = Call {
            id: id(1),
            name: MAKE_TOOL.to_owned(),
            args: double(change),
            attempt: 1,
        };
        self.tool.call(&call, &self.bench.context).await
    }

    /// Why it was not made. Nothing is kept then.
    async fn refused(&self, change: Value) -> String {
        let why = match self.make(change).await {
            Err(ToolError::Rejected(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(self.store.names(&self.bench.context.workspace).is_empty());
        why
    }
}

fn call(name: &str, args: Value) -> Call {
    Call {
        id: id(2),
        name: name.to_owned(),
        args,
        attempt: 1,
    }
}

#[tokio::test]
async fn what_is_made_can_be_called_and_opened_again() {
    let forge = forge();
    let output = forge.make(json!({})).await.unwrap();
    let made = output.made.unwrap();
    assert_eq!((made.version, made.spec.effect), (1, Effect::Pure));
    let tool = forge.tool.open_made(&made).unwrap();
    let context = &forge.bench.context;
    let six = tool.call(&call("double", json!({"n": 3})), context).await;
    assert_eq!(six.unwrap().data, Some(json!(6)));
    let bad = tool.call(&call("double", json!({"n": "x"})), context).await;
    let why = bad.unwrap_err().to_string();
    assert!(
        why.contains("n is no number") && why.contains("line 2"),
        "{why}"
    );
    let mut other = *made;
    other.package = other.package.replace("* 2", "* 3");
    assert!(forge.tool.open_made(&other).is_err());
}

#[tokio::test]
async fn a_later_tool_of_the_name_is_the_next_version_and_the_same_is_none() {
    let forge = forge();
    let workspace = forge.bench.context.workspace.clone();
    forge.make(json!({})).await.unwrap();
    let again = forge.make(json!({})).await.unwrap().made.unwrap();
    assert_eq!(again.version, 1);
    let other = forge.make(json!({"description": "Twice."})).await.unwrap();
    assert_eq!(other.made.unwrap().version, 2);
    assert_eq!(forge.store.versions(&workspace, "double"), [1, 2]);
    let offer = forge.store.offer(&workspace);
    assert_eq!(offer.tools.len(), 1);
    assert_eq!(offer.tools[0].described().spec.description, "Twice.");
    assert!(forge.store.offer(&workspace.join("x")).tools.is_empty());
    assert!(forge.store.remove(&workspace, "double").unwrap());
    assert!(!forge.store.remove(&workspace, "double").unwrap());
}

#[tokio::test]
async fn names_schemas_and_examples_are_checked_first() {
    let forge = forge();
    let cases = [
        (json!({"name": "2double"}), "is no name"),
        (json!({"name": "Double"}), "is no name"),
        (json!({"name": "../x"}), "is no name"),
        (
            json!({"name": "read_file"}),
            "there is a tool read_file already",
        ),
        (
            json!({"name": "make_tool"}),
            "there is a tool make_tool already",
        ),
        (
            json!({"input_schema": {"type": "string"}}),
            "of \"type\": \"object\"",
        ),
        (json!({"input_schema": {"type": "objekt"}}), "is no schema"),
        (
            json!({"examples": [{"input": {"n": 2}, "output": 4}]}),
            "there are 1 examples",
        ),
        (
            json!({"examples": [{"input": {"n": 2}, "output": 4}, {"input": {"n": 1}, "output": 2}]}),
            "no example is of bad input",
        ),
        (
            json!({"examples": [{"input": {}, "error": true}, {"input": {"n": "x"}, "error": true}]}),
            "no example shows what it gives",
        ),
        (
            json!({"examples": [{"input": {"n": 2}}, {"input": {}, "error": true}]}),
            "example 1: give one of",
        ),
        (
            json!({"examples": [{"input": {}, "output": 4}, {"input": {}, "error": true}]}),
            "example 1: its input is not what input_schema says",
        ),
        (
            json!({"needs": {"files": [{"path": "../x"}]}}),
            "asks.files",
        ),
    ];
    for (change, wanted) in cases {
        let why = forge.refused(change.clone()).await;
        assert!(why.contains(wanted), "{change}: {why}");
    }
}

#[tokio::test]
async fn an_example_that_does_not_come_out_is_told_with_both_values_or_the_line() {
    let forge = forge();
    let why = forge
        .refused(json!({"examples": [{"input": {"n": "x"}, "error": true}, {"input": {"n": 2}, "output": 5}]}))
        .await;
    assert!(why.contains("example 2: expected 5, got 4"), "{why}");
    let why = forge
        .refused(json!({"source": "function invoke(input) {\n  return input.n * 2;\n}"}))
        .await;
    assert!(why.contains("example 2: expected an error, got"), "{why}");
    let why = forge
        .refused(json!({"source": "function invoke(input) {\n  return nope(input);\n}"}))
        .await;
    assert!(
        why.contains("nope is not defined") && why.contains("line 2"),
        "{why}"
    );
    let why = forge
        .refused(json!({"source": "function invoke(input {"}))
        .await;
    assert!(
        why.contains("SyntaxError") && why.contains("line 1"),
        "{why}"
    );
    let why = forge.refused(json!({"source": "const x = 1"})).await;
    assert!(why.contains("invoke"), "{why}");
}

#[tokio::test]
async fn a_tool_that_never_ends_or_eats_memory_or_wants_more_is_not_made() {
    let forge = forge();
    // An example of bad input is one that it throws on, and not one that it is stopped on.
    let bad = "if (input.n === 'x')";
    for (source, wanted) in [
        (format!("{bad} for (;;) {{}}"), "was stopped"),
        (
            format!("{bad} {{ const all = []; for (;;) all.push('x'.repeat(1e6) + all.length) }}"),
            "expected 4",
        ),
    ] {
        let source = format!("function invoke(input) {{ {source}\nreturn input.n * 2 }}");
        let swapped = source.replace("=== 'x'", "!== 'x'");
        let first = if wanted == "was stopped" {
            source
        } else {
            swapped
        };
        let why = forge.refused(json!({"source": first})).await;
        assert!(why.contains(wanted), "{why}");
    }
    for source in [
        "const invoke = (input) => { if (input.n === 'x') throw 1; return list().length }",
        "const invoke = (input) => { if (input.n === 'x') throw 1; return Date.now() }",
        "const invoke = (input) => { if (input.n === 'x') throw 1; return fetch('http://127.0.0.1:9/').status }",
    ] {
        let why = forge.refused(json!({"source": source})).await;
        assert!(why.contains("not granted"), "{source}: {why}");
    }
}

#[tokio::test]
async fn a_tool_with_a_folder_reads_and_writes_there_and_is_undone() {
    let forge = forge();
    forge.bench.put("in/a.txt", "one");
    let source = "function invoke({ n }) {\n  if (n < 0) throw new Error('n is negative');\n  const had = exists('in/a.txt') ? read('in/a.txt') : '';\n  write('in/b.txt', had + n);\n  return had + n;\n}";
    let output = forge
        .make(json!({
            "source": source, "needs": {"files": [{"path": "in", "access": "write"}]},
            "examples": [{"input": {"n": 1}, "output": "1"}, {"input": {"n": -1}, "error": true}],
        }))
        .await
        .unwrap();
    let made = output.made.unwrap();
    assert_eq!(made.spec.effect, Effect::Reversible);
    assert!(!forge.bench.path("in/b.txt").exists());
    let tool = forge.tool.open_made(&made).unwrap();
    let call = call("double", json!({"n": 2}));
    let context = &forge.bench.context;
    let done = tool.call(&call, context).await.unwrap();
    assert_eq!(done.text, "one2");
    assert_eq!(forge.bench.get("in/b.txt"), "one2\n");
    tool.compensate(&call, context).await.unwrap();
    assert!(!forge.bench.path("in/b.txt").exists());
    let spec = forge.tool.spec();
    assert!(spec.asks_for_more(&json!({"needs": {"clock": true}})));
    assert!(!spec.asks_for_more(&json!({"needs": {}})) && !spec.asks_for_more(&json!({})));
}
