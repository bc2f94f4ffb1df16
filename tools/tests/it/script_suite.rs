//! Scripts that try to exhaust the host or to leave something behind. Each is contained, the model is told
//! why, and the next script works and finds nothing of it. And the interpreter itself: it is what its
//! recipe makes.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gpak_tools::script::ScriptLimits;

use crate::script::{Scripts, limited};

/// Sources, and what one of them is told of at least.
const HOSTILE: [(&str, &str, &[&str]); 24] = [
    ("an endless while", "while (true) {}", TIME),
    ("an endless for", "for (;;) { [1, 2].map(String) }", TIME),
    (
        "an endless do in a try",
        "while (true) { try { throw 1 } catch { } finally { continue } }",
        TIME,
    ),
    (
        "an endless generator",
        "const f = function* () { while (true) yield 1 }; for (const x of f()) {}",
        TIME,
    ),
    (
        "an endless getter",
        "const o = { get a() { while (true) {} } }; o.a",
        TIME,
    ),
    (
        "an endless toString",
        "`${{ toString() { while (true) {} } }}`",
        TIME,
    ),
    (
        "an endless proxy",
        "const p = new Proxy({}, { get() { for (;;) {} } }); p.x",
        TIME,
    ),
    (
        "an endless sort",
        "[3, 2, 1].sort(() => { while (true) {} })",
        TIME,
    ),
    (
        "an endless chain of jobs",
        "const f = () => Promise.resolve().then(f); await f()",
        // Each job that waits takes memory; which of the two ends first depends on the machine.
        &["ran for more than", "memory", "failed: null"],
    ),
    (
        "a bomb of a pattern",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        TIME,
    ),
    (
        "a bomb of alternatives",
        "/^(a|a|aa)+$/.test('a'.repeat(60) + 'b')",
        TIME,
    ),
    (
        "a bomb of pieces",
        "const a = []; for (;;) a.push(new Array(10000).fill(a.length))",
        MEMORY,
    ),
    (
        "a bomb of bytes",
        "const a = []; for (;;) a.push(new Uint8Array(1 << 24))",
        MEMORY,
    ),
    (
        "a bomb of one buffer",
        "new ArrayBuffer(1 << 30).byteLength",
        MEMORY,
    ),
    (
        "a string that doubles",
        "let s = 'x'; for (;;) s += s",
        MEMORY,
    ),
    ("a giant string", "'x'.repeat(2 ** 31).length", MEMORY),
    (
        "a map without end",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, 'x'.repeat(1000) + i)",
        MEMORY,
    ),
    (
        "a recursion without end",
        "(function f(n) { return f(n + 1) + 1 })(0)",
        &["too deeply"],
    ),
    (
        "a getter that asks itself",
        "const o = { get a() { return this.a } }; o.a",
        &["too deeply"],
    ),
    (
        "a toJSON that nests itself",
        "const f = () => ({ toJSON: f, get a() { return f() } }); JSON.stringify({ get a() { return JSON.stringify(this) } })",
        &["too deeply"],
    ),
    (
        "deep JSON",
        "JSON.parse('['.repeat(200000) + ']'.repeat(200000))",
        &["nested deeper", "too deeply"],
    ),
    (
        "a deep value to write",
        "let a = []; for (let i = 0; i < 200000; i++) a = [a]; JSON.stringify(a)",
        &["too deeply", "nested deeper"],
    ),
    (
        "a promise that never resolves",
        "await new Promise(() => {})",
        &["promise"],
    ),
    (
        "source that nests",
        "eval('('.repeat(100000) + '1' + ')'.repeat(100000))",
        &["too deeply", "SyntaxError"],
    ),
];

const TIME: &[&str] = &["ran for more than"];
/// Filling memory may take all the time on a busy machine.
const MEMORY: &[&str] = &[
    "memory",
    "ran for more than",
    "invalid",
    "RangeError",
    "too long",
];

fn short() -> Scripts {
    limited(ScriptLimits {
        time: Duration::from_millis(400),
        memory_mib: 64,
        ..ScriptLimits::default()
    })
}

#[tokio::test]
async fn hostile_scripts_are_contained_and_the_next_one_works() {
    let scripts = short();
    scripts.bench.put("a.txt", "one\n");
    let before = scripts.bench.tree();
    let mut calls = 0..;
    for (what, source, parts) in HOSTILE {
        let source = format!("write('trace.txt', 'x');\n{source}");
        let told = scripts.told(calls.next().unwrap(), &source).await;
        let is_told = parts.iter().any(|part| told.contains(part));
        assert!(is_told, "{what}: none of {parts:?} in: {told}");
        assert!(told.contains("Nothing was changed"), "{what}: {told}");
        assert!(told.len() < 2_000, "{what}: {} bytes", told.len());
        assert_eq!(scripts.bench.tree(), before, "{what}");
        let next = scripts.told(calls.next().unwrap(), "lines('a.txt').length");
        assert_eq!(next.await, "value: 1", "after {what}");
    }
}

#[tokio::test]
async fn what_a_script_does_to_its_world_is_not_seen_by_the_next() {
    let scripts = limited(ScriptLimits::default());
    scripts.bench.put("a.txt", "one\n");
    let mut calls = 0..;
    for (spoiling, looking) in [
        (
            "Object.prototype.polluted = 1",
            "({}).polluted === undefined",
        ),
        (
            "Array.prototype.map = () => 'mine'",
            "[1].map(x => x + 1)[0] === 2",
        ),
        (
            "JSON.parse = () => 'mine'; JSON.stringify = () => '\"mine\"'",
            "JSON.parse('3') === 3",
        ),
        ("globalThis.left = 'behind'", "typeof left === 'undefined'"),
        (
            "globalThis.read = () => 'mine'; globalThis.lines = null",
            "read('a.txt') === 'one'",
        ),
        (
            "String.prototype.split = () => { throw 1 }",
            "lines('a.txt').length === 1",
        ),
        (
            "Promise.prototype.then = () => { throw 1 }",
            "await Promise.resolve(true)",
        ),
        (
            "Object.freeze(Object.prototype); Object.freeze(globalThis)",
            "(() => { globalThis.x = 1; return x === 1 })()",
        ),
    ] {
        scripts.told(calls.next().unwrap(), spoiling).await;
        let seen = scripts.told(calls.next().unwrap(), looking).await;
        assert_eq!(seen, "value: true", "after {spoiling}");
    }
}

#[tokio::test]
async fn a_flood_of_output_is_cut() {
    let limits = ScriptLimits {
        output_bytes: 4 * 1024,
        ..ScriptLimits::default()
    };
    let scripts = limited(limits);
    let source = "for (let i = 0; i < 3000; i++) print('line', i, 'x'.repeat(100))";
    let told = scripts.told(1, source).await;
    assert!(told.contains("line 0 "), "{told}");
    assert!(told.len() < 6 * 1024, "{} bytes: {told}", told.len());
    let told = scripts.told(2, "'x'.repeat(1e6)").await;
    assert!(told.len() < 6 * 1024, "{} bytes: {told}", told.len());
    assert_eq!(scripts.told(3, "1 + 1").await, "value: 2");
}

/// Programs that `build.sh` needs, each with Debian's package of it, and files of such packages.
const TOOLCHAIN: [(&str, &str); 2] = [("clang-19", "clang-19"), ("wasm-ld-19", "lld-19")];
const SYSROOT: [(&str, &str); 2] = [
    ("/usr/include/wasm32-wasi/stdio.h", "wasi-libc"),
    (
        "/usr/lib/llvm-19/lib/clang/19/lib/wasi",
        "libclang-rt-19-dev-wasm32",
    ),
];

#[test]
fn the_interpreter_is_what_its_recipe_makes() {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let programs = TOOLCHAIN.iter().filter(|(program, _)| !has(program));
    let files = SYSROOT.iter().filter(|(path, _)| !Path::new(path).exists());
    let missing: Vec<_> = programs.chain(files).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        println!(
            "SKIPPED: Debian's {} not on this machine",
            missing.join(", ")
        );
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("script");
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("script.wasm");
    let output = Command::new("bash")
        .arg(here.join("build.sh"))
        .arg(&made)
        .env("GPAK", gpak())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let sums: Vec<String> = [here.join("script.wasm"), made]
        .map(|path| sha256(&path))
        .into();
    assert_eq!(
        sums[0], sums[1],
        "run tools/script/build.sh and commit what it makes"
    );
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let sum = said.split(' ').next().unwrap_or_default().to_owned();
    assert_eq!(sum.len(), 64, "{said}");
    sum
}

/// The program that is built with the tests.
fn gpak() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let gpak = this.ancestors().nth(2).unwrap().join("gpak");
    assert!(gpak.exists(), "{} was not built", gpak.display());
    gpak
}
