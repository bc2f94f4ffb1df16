use std::{fs, sync::Arc};

use gpak_kernel::tool::{Call, Tool, ToolError};
use gpak_tools::{
    builtin::Options,
    script::{RUN_SCRIPT, RunScript, ScriptLimits},
    wasm::Cache,
};
use serde_json::json;

use crate::bench::{Bench, id};

pub struct Scripts {
    pub bench: Bench,
    tool: Arc<RunScript>,
}

fn scripts() -> Scripts {
    limited(ScriptLimits::default())
}

pub fn limited(limits: ScriptLimits) -> Scripts {
    let bench = Bench::new();
    let mut options = Options::new(bench.home.path().join("data/undo"));
    options.protected = vec![bench.home.path().join("data")];
    // One cache for all tests: the interpreter takes its time to compile.
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("script-code");
    let cache = Cache::new(&cache, cache.join("key"));
    let tool = Arc::new(RunScript::new(&options, cache, limits));
    Scripts { bench, tool }
}

impl Scripts {
    async fn make(&self, number: u32, script: &str) -> Result<String, ToolError> {
        let call = call(number, script);
        let output = self.tool.call(&call, &self.bench.context).await;
        output.map(|output| output.text)
    }

    pub async fn told(&self, number: u32, script: &str) -> String {
        match self.make(number, script).await {
            Ok(text) => text,
            Err(ToolError::Rejected(text)) => text,
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn call(number: u32, script: &str) -> Call {
    Call {
        id: id(number),
        name: RUN_SCRIPT.to_owned(),
        args: json!({"script": script}),
        attempt: 1,
    }
}

#[tokio::test]
async fn files_that_hold_the_same_are_each_moved_to_a_place_of_their_own() {
    let scripts = scripts();
    for name in ["p-1.txt", "p-2.txt", "x.md", "y.md"] {
        fs::write(scripts.bench.path(name), "same\n").unwrap();
    }
    let script = "move('p-1.txt', 'q-1.txt'); move('p-2.txt', 'q-2.txt'); move('y.md', 'd/'); move('x.md', 'd/')";
    assert_eq!(
        scripts.told(1, script).await,
        "moved p-1.txt to q-1.txt\nmoved p-2.txt to q-2.txt\nmoved x.md to d/x.md\nmoved y.md to d/y.md"
    );
}

#[tokio::test]
async fn a_script_that_a_crash_cut_off_is_undone_without_a_trace() {
    let Scripts { bench, tool } = scripts();
    bench.put("a.txt", "one\n");
    let before = bench.tree();
    let call = call(
        1,
        "write('a.txt', 'two\\n'); write('new/b.txt', 'b\\n'); write('new/c.txt', 'c\\n')",
    );
    tool.call(&call, &bench.context).await.unwrap();
    // As after a crash while the last file was written.
    let temp = format!("new/.gpak-{}-1.0.tmp", bench.context.run.short());
    fs::rename(bench.path("new/c.txt"), bench.path(&temp)).unwrap();
    tool.compensate(&call, &bench.context).await.unwrap();
    assert_eq!(bench.tree(), before);
}

#[tokio::test]
async fn a_script_reads_and_changes_files_and_can_be_undone() {
    let scripts = scripts();
    scripts.bench.put("a.txt", "one\ntwo\n");
    scripts.bench.put("docs/b.md", "# B\n");
    let before = scripts.bench.tree();
    let script = r#"
        const names = list();
        print(names);
        write("sum.txt", lines("a.txt").length + "\n");
        write("docs/b.md", read("docs/b.md").replace("B", "C"));
        move("a.txt", "old/a.txt");
        names.length
    "#;
    let text = scripts.told(1, script).await;
    assert_eq!(
        text,
        "[\"a.txt\",\"docs/b.md\"]\nmoved a.txt to old/a.txt\nchanged docs/b.md (now 1 line, 4 bytes)\n\
         wrote sum.txt (1 line, 2 bytes)\n--- docs/b.md\n-# B\n+# C\n--- sum.txt\n+2"
    );
    assert_eq!(scripts.bench.get("sum.txt"), "2\n");
    assert_eq!(scripts.bench.get("docs/b.md"), "# C\n");
    assert_eq!(scripts.bench.get("old/a.txt"), "one\ntwo\n");
    let undone = scripts
        .tool
        .compensate(&call(1, script), &scripts.bench.context)
        .await
        .unwrap();
    assert!(undone.contains("restored docs/b.md"), "{undone}");
    assert_eq!(scripts.bench.tree(), before);
}

#[tokio::test]
async fn what_models_write_for_node_runs() {
    let scripts = scripts();
    scripts.bench.put("data/x.csv", "name,qty\nnut,2\nbolt,7\n");
    scripts.bench.put("data/y.log", "late\n");
    for (number, (script, said)) in (1..).zip([
        (
            "const fs = require('fs');\nconst path = require('path');\nfor (const f of fs.readdirSync('data')) { if (path.extname(f) === '.csv') console.log(f, fs.readFileSync(path.join('data', f), 'utf8').split('\\n')[1]); }",
            "x.csv nut,2",
        ),
        (
            "import fs from 'node:fs';\nimport { join } from 'path';\nconst rows = fs.readFileSync(join('data', 'x.csv'), 'utf-8').trim().split('\\n').slice(1).map(r => r.split(','));\nrows.reduce((sum, r) => sum + Number(r[1]), 0)",
            "value: 9",
        ),
        (
            "const { promises: fs } = require('fs');\nconst text = await fs.readFile('data/y.log', 'utf8');\nconsole.log(text.trim());",
            "late",
        ),
        ("if (exists('data/y.log')) { return 'yes'; }", "value: \"yes\""),
        (
            "const fs = require('fs');\nfs.mkdirSync('logs', { recursive: true });\nfor (const f of list('**/*.log')) fs.renameSync(f, 'logs/' + path.basename(f));\nlist('logs')",
            "moved data/y.log to logs/y.log\nmade the folder logs",
        ),
        (
            "const fs = require('fs'); fs.readFile('data/x.csv', 'utf8', (err, text) => { if (err) throw err; console.log(text.length); });",
            "22",
        ),
        ("new Date().getFullYear() > 2000", "value: true"),
        ("const lines = lines('logs/y.log');\nlines.length", "value: 1"),
        (
            "csv('data/x.csv').reduce((sum, row) => sum + row.qty, 0)",
            "value: 9",
        ),
    ]) {
        assert_eq!(scripts.told(number, script).await, said, "{script}");
    }
}

#[tokio::test]
async fn a_table_keeps_codes_as_they_are_and_reads_quoted_cells() {
    let scripts = scripts();
    scripts
        .bench
        .put("t.csv", "code;who;sum\n007;\"Bond; \"\"J\"\"\";2.50\n\n");
    assert_eq!(
        scripts.told(1, "csv('t.csv')").await,
        r#"value: [{"code":"007","who":"Bond; \"J\"","sum":2.5}]"#
    );
}

#[tokio::test]
async fn a_missing_value_is_not_written_into_a_file_unless_it_was_read_from_one() {
    let scripts = scripts();
    scripts.bench.put("a.csv", "x,NaN\n");
    let before = scripts.bench.tree();
    for (number, script) in (1..).zip([
        "write('b.txt', `total: ${[].total}`);",
        "append('a.csv', [{}].map(String).join());",
        "const fs = require('fs'); fs.writeFileSync('b.txt', String(Number('x')));",
    ]) {
        let told = scripts.told(number, script).await;
        assert!(told.contains("so a value is missing"), "{told}");
        assert_eq!(scripts.bench.tree(), before, "{script}");
    }
    scripts.told(9, "write('b.csv', read('a.csv'))").await;
    assert_eq!(scripts.bench.get("b.csv"), "x,NaN\n");
}

#[tokio::test]
async fn a_pattern_in_the_place_of_a_file_is_told_how_to_go_over_the_files() {
    let scripts = scripts();
    scripts.bench.put("a.txt", "one\n");
    let told = scripts.told(1, "lines('*.txt').length").await;
    assert!(
        told.contains(r#"for (const path of list("*.txt"))"#),
        "{told}"
    );
}

#[tokio::test]
async fn a_script_that_fails_changes_nothing_and_says_where() {
    let scripts = scripts();
    scripts.bench.put("a.txt", "one\n");
    let before = scripts.bench.tree();
    for (number, (script, parts)) in (1..).zip([
        (
            "write('b.txt', 'x');\nprint('so far');\nnull.length;",
            &[
                "at line 3 (`null.length;`)",
                "Nothing was changed",
                "so far",
            ][..],
        ),
        ("let x = ;", &["line 1", "SyntaxError"][..]),
        (
            "write('b', 'x');\nread('missing.txt')",
            &["line 2", "missing.txt"][..],
        ),
        ("list('old')", &["no folder old"][..]),
        ("list('/old/*.txt').length", &["no folder old"][..]),
        (
            "require('child_process')",
            &["no module \"child_process\""][..],
        ),
        (
            "write('../out.txt', 'x')",
            &["outside of the workspace"][..],
        ),
        ("write('.git/config', 'x')", &[".git"][..]),
        ("remove('.')", &["the workspace itself"][..]),
        ("fs.readFileSync('nope')", &["ENOENT"][..]),
        ("throw { toString() { throw 1 } }", &["failed"][..]),
        ("await new Promise(() => {})", &["promise"][..]),
        ("(function f() { f() })()", &["too deeply"][..]),
        ("JSON.parse('['.repeat(100000))", &["nested deeper"][..]),
    ]) {
        let text = scripts.told(number, script).await;
        for part in parts {
            assert!(text.contains(part), "{script}: {text}");
        }
        assert_eq!(scripts.bench.tree(), before, "{script}");
    }
}

#[tokio::test]
async fn a_script_that_does_not_end_is_stopped() {
    let scripts = limited(ScriptLimits {
        time: std::time::Duration::from_millis(300),
        ..ScriptLimits::default()
    });
    let text = scripts
        .told(1, "write('a', 'b'); print('so far');\nwhile (true) {\n}")
        .await;
    assert!(
        text.contains("ran for more than") && text.contains("so far"),
        "{text}"
    );
    let text = scripts
        .told(
            2,
            "let a = []; while (true) a.push('x'.repeat(1e6) + a.length)",
        )
        .await;
    assert!(
        text.contains("memory") || text.contains("ran for more than"),
        "{text}"
    );
    let text = scripts.told(3, "/(a+)+$/.test('a'.repeat(40) + 'b')").await;
    assert!(text.contains("ran for more than"), "{text}");
    assert!(!scripts.bench.path("a").exists());
}

#[tokio::test]
async fn a_script_that_only_prints_its_own_number_fails_and_its_preview_says_so() {
    let scripts = scripts();
    let asked = call(1, "print(`denied: 4`)");
    let preview = scripts.tool.preview(&asked, &scripts.bench.context).await;
    let failed = scripts.make(1, "print(`denied: 4`)").await.unwrap_err();
    assert!(failed.to_string().contains("looks at no file"), "{failed}");
    assert_eq!(preview.unwrap(), format!("this call would fail: {failed}"));
}

#[tokio::test]
async fn a_trial_tells_the_same_and_changes_nothing() {
    let scripts = scripts();
    scripts.bench.put("a.txt", "one\n");
    let before = scripts.bench.tree();
    let context = &scripts.bench.context;
    let one = "write('a.txt', 'two\\n'); print('done')";
    let other = "print('done'); write('a.txt', 'tw' + 'o\\n'); write('b', 'x'); remove('b')";
    let outcome = scripts.tool.trial(one, context).await.unwrap();
    assert_eq!(outcome, scripts.tool.trial(other, context).await.unwrap());
    assert_eq!(scripts.bench.tree(), before);
    assert_eq!(scripts.told(1, one).await, outcome.report());
    assert_eq!(scripts.bench.get("a.txt"), "two\n");
}

#[tokio::test]
async fn where_nothing_may_change_a_script_tells_what_it_found_and_leaves_all_as_it_is() {
    let mut scripts = scripts();
    scripts.bench.put("a.csv", "x\n1\n");
    scripts.bench.context.may_change = false;
    let before = scripts.bench.tree();
    let made = async |number: u32, script: &str| {
        let call = call(number, script);
        scripts
            .tool
            .call(&call, &scripts.bench.context)
            .await
            .unwrap()
    };
    for (number, (script, told)) in (1..).zip([
        ("write('b.txt', '5'); print('5 of 9')", "5 of 9\n("),
        ("write('a.csv', '395.15')", "395.15\n("),
    ]) {
        let output = made(number, script).await;
        assert!(
            output.withheld && output.text.starts_with(told),
            "{output:?}"
        );
        assert_eq!(scripts.bench.tree(), before);
    }
    assert!(!made(9, "print(lines('a.csv').length)").await.withheld);
    let call = call(1, "");
    let undone = scripts.tool.compensate(&call, &scripts.bench.context).await;
    assert!(undone.unwrap().contains("nothing to undo"));
}

#[tokio::test]
async fn a_call_that_was_made_is_not_made_again() {
    let scripts = scripts();
    let script = "append('log', 'x')";
    let text = scripts.told(1, script).await;
    assert_eq!(scripts.told(1, script).await, text);
    assert_eq!(scripts.bench.get("log"), "x\n");
}

#[tokio::test]
async fn a_text_is_read_and_written_by_its_lines() {
    let scripts = scripts();
    scripts.bench.put("names.txt", "Ada\nAlan\n");
    scripts.bench.put("bare.txt", "one");
    let script = "write('names.txt', read('names.txt') + '\\nGrace');\n\
                  write('list.txt', [read('names.txt').split('\\n').length, 'b']);\n\
                  write('bare.txt', read('bare.txt') + '!');\n\
                  append('bare.txt', 'two')";
    scripts.told(1, script).await;
    assert_eq!(scripts.bench.get("names.txt"), "Ada\nAlan\nGrace\n");
    assert_eq!(scripts.bench.get("list.txt"), "3\nb\n");
    assert_eq!(scripts.bench.get("bare.txt"), "one!\ntwo\n");
}

#[tokio::test]
async fn all_places_of_a_text_are_replaced_and_one_that_is_not_there_is_told() {
    let scripts = scripts();
    scripts.bench.put("a.md", "old $1 old\nprice = 3\n");
    scripts.bench.put("sub/b.md", "old\n");
    scripts
        .bench
        .put("c.json", "{\n    \"a\": 1,\n    \"b\": [2]\n}\n");
    scripts.told(1, "replaceAll('**/*.md', 'old', '$1')").await;
    assert_eq!(scripts.bench.get("a.md"), "$1 $1 $1\nprice = 3\n");
    assert_eq!(scripts.bench.get("sub/b.md"), "$1\n");
    scripts
        .told(2, "replace('a.md', /price = \\d/, 'price = 4')")
        .await;
    assert!(scripts.bench.get("a.md").ends_with("price = 4\n"));
    let told = scripts
        .told(3, "replace('a.md', 'price: 4', 'price: 5')")
        .await;
    assert!(
        told.contains("a.md has no \"price: 4\"; it has the line \"price = 4\""),
        "{told}"
    );
    let told = scripts.told(5, "replace('a.md', '$1', 'x')").await;
    assert!(
        told.starts_with(
            "(a.md said \"$1\" in 3 places: line 1 $1 $1 $1; only the first was changed"
        ),
        "{told}"
    );
    assert!(scripts.bench.get("a.md").starts_with("x $1 $1\n"));
    let script =
        "const c = JSON.parse(read('c.json')); c.a = 5; write('c.json', JSON.stringify(c))";
    scripts.told(4, script).await;
    let json = scripts.bench.get("c.json");
    assert!(json.starts_with("{\n    \"a\": 5,\n"), "{json}");
}

#[tokio::test]
async fn a_text_whose_white_space_is_another_is_replaced_where_it_is_clear_what_stands_between() {
    let scripts = scripts();
    let json = "{\n  \"banner\": {\n    \"news\": true,\n    \"beta\": true\n  }\n}\n";
    scripts.bench.put("app.json", json);
    scripts.bench.put("twice.txt", "a  b\na\tb\n");
    let before = r#"'"banner": { "news": true, "beta": true }'"#;
    let told = scripts
        .told(
            1,
            &format!(
                "replace('app.json', {before}, {})",
                before.replace("beta\": true", "beta\": $&")
            ),
        )
        .await;
    assert_eq!(
        scripts.bench.get("app.json"),
        json.replace("\"beta\": true", "\"beta\": $&"),
        "{told}"
    );
    let more =
        "replace('app.json', '\"news\": true, \"beta\":', '\"news\": true, \"old\": 1, \"beta\":')";
    for (number, script) in [(2, more), (3, "replace('twice.txt', 'a b', 'c d')")] {
        let told = scripts.told(number, script).await;
        assert!(told.contains(" has no "), "{told}");
    }
    assert_eq!(scripts.bench.get("twice.txt"), "a  b\na\tb\n");
}

#[tokio::test]
async fn a_list_of_a_folder_is_its_files_and_one_of_a_file_its_lines() {
    let scripts = scripts();
    scripts.bench.put("a/b.txt", "one\ntwo\n");
    let told = scripts.told(1, "print(list('a'), list('a/b.txt'))").await;
    assert!(
        told.starts_with("[\"a/b.txt\"] [\"one\",\"two\"]"),
        "{told}"
    );
}

#[tokio::test]
async fn patterns_and_folders_mean_what_they_can_only_mean() {
    let scripts = scripts();
    for path in ["a.log", "b.log", "notes.txt", "old/c.log", "x.tmp"] {
        scripts.bench.put(path, path);
    }
    let script = "print(list('*.log'), list('**/*.log').length);\nmove('*.log', 'logs');\nmove('notes.txt', 'papers');\nremove('*.tmp')";
    let told = scripts.told(1, script).await;
    assert!(told.starts_with("[\"a.log\",\"b.log\"] 3\n"), "{told}");
    for path in ["logs/a.log", "logs/b.log", "old/c.log", "papers/notes.txt"] {
        assert!(scripts.bench.path(path).is_file(), "{path}: {told}");
    }
    assert!(!scripts.bench.path("x.tmp").exists());
    let told = scripts.told(2, "remove('*.tmp')").await;
    assert!(told.contains("no file matches *.tmp"), "{told}");
}

#[tokio::test]
async fn errors_of_files_speak_to_a_program() {
    let scripts = scripts();
    scripts.bench.put("a.txt", "one\n");
    let told = scripts.told(1, "read('b.txt')").await;
    assert!(
        told.contains("there is no b.txt") && told.contains("; there are: a.txt"),
        "{told}"
    );
    let told = scripts.told(2, "csv('a.txt')").await;
    assert!(told.contains("use lines(path)"), "{told}");
    let told = scripts.told(3, "def half(x):\n    return x / 2").await;
    assert!(told.contains("This is Python"), "{told}");
}
