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
    by_definition: MakeTool,
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
    let tool = MakeTool::new(store.clone(), reserved.clone());
    let by_definition = MakeTool::of_definitions(store.clone(), reserved);
    Forge {
        bench,
        store,
        tool,
        by_definition,
    }
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

/// A tool as a small model writes it.
const DEFINITION: &str = r#"// Repeats a word, with what is between.
function repeat_word(word, times, between) {
  if (typeof word !== "string" || !(times > 0)) throw new Error("give a word and a number above 0")
  const all = Array(times).fill(word)

  return all.join(between ?? " / ")
}
// examples
repeat_word("a) => b", 2, "-") => "a) => b-a) => b"
repeat_word("no", 2) => "no / no"
// bad input
repeat_word("no", 0) => error"#;

impl Forge {
    async fn define(&self, definition: &str) -> Result<ToolOutput, ToolError> {
        let call = call(MAKE_TOOL, json!({"definition": definition}));
        self.by_definition.call(&call, &self.bench.context).await
    }

    async fn refused_definition(&self, from: &str, to: &str) -> String {
        assert!(DEFINITION.contains(from), "{from}");
        let why = match self.define(&DEFINITION.replace(from, to)).await {
            Err(ToolError::Rejected(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(self.store.names(&self.bench.context.workspace).is_empty());
        why
    }
}

#[tokio::test]
async fn a_definition_is_a_tool_with_the_names_of_its_function_and_the_types_of_its_examples() {
    let forge = forge();
    let output = forge.define(DEFINITION).await.unwrap();
    let told = "```call\n{\"tool\":\"repeat_word\",\"args\":{\"word\":\"a) => b\",\"times\":2,\"between\":\"-\"}}\n```";
    assert!(output.text.contains(told), "{}", output.text);
    let made = output.made.unwrap();
    assert_eq!(made.spec.name, "repeat_word");
    assert_eq!(
        made.spec.description,
        "Repeats a word, with what is between."
    );
    assert_eq!(
        made.spec.input,
        json!({
            "type": "object",
            "properties": {"word": {"type": "string"}, "times": {"type": "number"}, "between": {"type": "string"}},
            "required": ["word", "times"],
            "additionalProperties": false,
        })
    );
    // Whoever takes the run on has the tool, whether it writes definitions or not.
    for maker in [&forge.tool, &forge.by_definition] {
        let tool = maker.open_made(&made).unwrap();
        let args = json!({"word": "ho", "times": 3});
        let call = call("repeat_word", args);
        let said = tool.call(&call, &forge.bench.context).await.unwrap();
        assert_eq!(said.text, "ho / ho / ho");
    }
}

#[tokio::test]
async fn a_definition_that_is_none_or_whose_examples_do_not_come_out_is_told_what_to_mend() {
    let forge = forge();
    let cases = [
        (
            "\"no / no\"",
            "\"no no\"",
            "example 2, repeat_word(\"no\", 2): expected \"no no\", got \"no / no\"",
        ),
        (
            "\"no\", 0",
            "\"no\", 1",
            "example 3, repeat_word(\"no\", 1): expected an error, got \"no\"",
        ),
        (
            "Array(times)",
            "list_of(times)",
            "list_of is not defined (line 4",
        ),
        (
            "// bad input\nrepeat_word(\"no\", 0) => error",
            "repeat_word(\"no\", 1) => \"no\"",
            "no example is of bad input",
        ),
        (
            "repeat_word(\"no\", 2)",
            "repeat(\"no\", 2)",
            "calls repeat, and the function is repeat_word",
        ),
        ("(\"no\", 2)", "(no, 2)", "gives no JSON"),
        (
            "(\"no\", 2)",
            "(\"no\", 2, \"\", 4)",
            "gives 4 arguments of 3",
        ),
        (
            "function repeat_word(word",
            "function read_file(word",
            "calls repeat_word, and the function is read_file",
        ),
        ("\n}\n", "\n  }\n", "no end"),
        (
            "function repeat_word(",
            "const repeat_word = (",
            "no line that begins with `function",
        ),
    ];
    for (from, to, wanted) in cases {
        let why = forge.refused_definition(from, to).await;
        assert!(why.contains(wanted), "{to}: {why}");
    }
    let renamed = DEFINITION.replace("repeat_word", "read_file");
    let why = forge.define(&renamed).await.unwrap_err().to_string();
    assert!(why.contains("there is a tool read_file already"), "{why}");
    let renamed = DEFINITION.replace("repeat_word", "invoke");
    let why = forge.define(&renamed).await.unwrap_err().to_string();
    assert!(why.contains("name the function after"), "{why}");
}

#[test]
fn a_definition_that_a_model_is_held_to_has_a_check_and_examples_of_both_kinds() {
    let forge = forge();
    let pattern = &forge.by_definition.spec().input["properties"]["definition"]["pattern"];
    let pattern = regex::Regex::new(pattern.as_str().unwrap()).unwrap();
    assert!(pattern.is_match(DEFINITION));
    for (what, from, to) in [
        (
            "bad input",
            "// bad input\nrepeat_word(\"no\", 0) => error",
            "",
        ),
        ("an example", "repeat_word(\"no\", 0) => error", ""),
        ("a check", "  if (typeof", "  (typeof"),
        (
            "a description",
            "// Repeats a word, with what is between.\n",
            "",
        ),
        ("a good name", "function repeat_word", "function RepeatWord"),
        ("JSON", "\"no / no\"", "'no / no'"),
        ("an end", "\n}\n", "\n"),
    ] {
        assert!(DEFINITION.contains(from));
        assert!(!pattern.is_match(&DEFINITION.replace(from, to)), "{what}");
    }
    // What is compared, listed and nested is JSON, too.
    let rich = "repeat_word([[1, -2.5], {\"a\": \"\\\"\"}]) => {\"n\": [true, \"x\"]}";
    assert!(pattern.is_match(&DEFINITION.replace("repeat_word(\"no\", 2) => \"no / no\"", rich)));
}
