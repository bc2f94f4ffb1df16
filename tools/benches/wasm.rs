//! What a tool in a sandbox costs: `cargo bench --workspace --bench wasm`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::{
    collections::BTreeSet,
    future::Future,
    hint::black_box,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use gpak_kernel::tool::Tool as _;
use gpak_tools::wasm::PackagedTool;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/wasm"]
mod wasm {
    pub mod doing;
    pub mod guest;
    pub mod home;
}

use wasm::{
    doing::sends,
    guest::guest,
    home::{Home, call, packages},
};

const CALLS: usize = 5000;
const TOOLS: usize = 50;
const LIVE: usize = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test` with all targets runs benches too, to see that they work.
    let calls = if std::env::args().any(|arg| arg == "--test") {
        10
    } else {
        CALLS
    };
    one_call(calls).await;
    javascript(calls).await;
    many_tools().await;
    stopping().await;
    cancelling().await;
    memory(2 * calls).await;
}

/// One call in a fresh sandbox, beside the same work without one: JSON in, JSON out.
async fn one_call(calls: usize) {
    let home = Home::new();
    let echo = home.tool(&guest("echo"), "").await;
    let asked = call(&echo, json!({"text": "the quick brown fox", "count": 3}));
    let mut sandboxed = Vec::new();
    let mut inside = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        black_box(echo.call(&asked, &home.context).await.unwrap());
        sandboxed.push(start.elapsed());
        let start = Instant::now();
        let value: Value = serde_json::from_str(&black_box(&asked.args).to_string()).unwrap();
        black_box(value.to_string());
        inside.push(start.elapsed());
    }
    let (sandboxed, inside) = (sorted(sandboxed), sorted(inside));
    print("call in a fresh sandbox, p50", at(&sandboxed, 50));
    print("call in a fresh sandbox, p99", at(&sandboxed, 99));
    print("the same work without one, p50", at(&inside, 50));
    let ratio = at(&sandboxed, 50).as_secs_f64() / at(&inside, 50).as_secs_f64();
    println!("{:44} {ratio:>10.1} times", "a sandbox costs");
}

async fn many_tools() {
    let home = Home::new();
    for at in 0..TOOLS {
        home.tool(&guest(&format!("tool_{at}")), "").await;
    }
    let start = Instant::now();
    let offered = packages(home.root.path()).offer(&BTreeSet::new());
    print("50 packages offered", start.elapsed());
    assert_eq!(offered.tools.len(), TOOLS);
    let start = Instant::now();
    for tool in &offered.tools {
        let asked = gpak_kernel::tool::Call {
            id: gpak_kernel::model::CallId { reply: 1, index: 0 },
            name: tool.spec().name.clone(),
            args: json!({}),
            attempt: 1,
        };
        tool.call(&asked, &home.context).await.unwrap();
    }
    print("first call of each of the 50, in all", start.elapsed());
}

/// How late a guest that computes is stopped, and how long it takes to let go of one.
async fn stopping() {
    let home = Home::new();
    let limit = Duration::from_millis(50);
    let spin = guest("spin").invoke("(loop $l (br $l)) unreachable");
    let spin = home.tool(&spin, "[limits]\ntime_ms = 50").await;
    let asked = call(&spin, json!({}));
    let (mut late, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        assert!(spin.call(&asked, &home.context).await.is_err());
        late.push(start.elapsed().saturating_sub(limit));
        let mut spinning = Box::pin(spin.call(&asked, &home.context));
        assert!(poll_once(spinning.as_mut()).is_pending());
        let start = Instant::now();
        drop(spinning);
        gone.push(start.elapsed());
    }
    let (late, gone) = (sorted(late), sorted(gone));
    print("a spinning guest is stopped late by, p50", at(&late, 50));
    print("a spinning guest is stopped late by, most", at(&late, 100));
    print("a cancelled guest is gone after, most", at(&gone, 100));
}

/// How long it takes to let go of a guest that waits for the host, and until the other side of what the
/// host waited for knows.
async fn cancelling() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let grant =
        format!("[limits]\ntime_ms = 600000\n[asks]\nprivate_hosts = [\"127.0.0.1:{port}\"]\n");
    let waits = sends(&format!("http://127.0.0.1:{port}/")).guest();
    let waits = home.tool(&waits, &grant).await;
    let asked = call(&waits, json!({}));
    let (mut gone, mut known) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut waiting = Box::pin(waits.call(&asked, &home.context));
        let mut line = tokio::select! {
            _ = waiting.as_mut() => unreachable!("nobody answers it"),
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let mut request = [0; 4096];
        tokio::select! {
            _ = waiting.as_mut() => unreachable!("nobody answers it"),
            read = line.read(&mut request) => assert!(read.unwrap() > 0),
        }
        let start = Instant::now();
        drop(waiting);
        gone.push(start.elapsed());
        assert_eq!(line.read(&mut request).await.unwrap(), 0);
        known.push(start.elapsed());
    }
    let (gone, known) = (sorted(gone), sorted(known));
    print("an awaited host call is cancelled in, p50", at(&gone, 50));
    print("an awaited host call is cancelled in, most", at(&gone, 100));
    print("and its connection is closed in, most", at(&known, 100));
}

/// Tools in JavaScript, in the interpreter that comes with gpak.
async fn javascript(calls: usize) {
    const COUNTS: &str = "function invoke(input) { return {words: input.text.split(' ').length}; }";
    let home = Home::new();
    let text = json!({"text": "the quick brown fox"});
    let counts = scripted(&home, "counts", COUNTS, "").await;
    // The interpreter is compiled at the first call.
    let asked = call(&counts, text.clone());
    counts.call(&asked, &home.context).await.unwrap();
    let mut called = Vec::new();
    for _ in 0..calls / 5 {
        let start = Instant::now();
        black_box(counts.call(&asked, &home.context).await.unwrap());
        called.push(start.elapsed());
    }
    let called = sorted(called);
    print("JavaScript, call in a fresh sandbox, p50", at(&called, 50));
    print("JavaScript, call in a fresh sandbox, p99", at(&called, 99));
    let mut answered = Vec::new();
    for number in 0..TOOLS {
        let source = format!("// {number}\n{COUNTS}");
        let folder = script(&home, &format!("new{number}"), &source, "");
        let start = Instant::now();
        let candidate = home.packages.read(&folder).await.unwrap();
        let read = start.elapsed();
        // To write down what the user granted is not part of it.
        let grant = candidate.manifest.asks.clone();
        let package = home.packages.add(&candidate, grant, &BTreeSet::new());
        let start = Instant::now();
        let tool = home.packages.tools_of(package.unwrap()).remove(0);
        let asked = call(&tool, text.clone());
        black_box(tool.call(&asked, &home.context).await.unwrap());
        answered.push(read + start.elapsed());
    }
    print(
        "JavaScript, from a new source to an answer, p50",
        at(&sorted(answered), 50),
    );
    let spins = "function invoke() { for (;;) {} }";
    let spins = scripted(&home, "spins", spins, "[limits]\ntime_ms = 600000\n").await;
    let asked = call(&spins, json!({}));
    let live = live(|| spins.call(&asked, &home.context)).await;
    print_live("JavaScript, a live instance", live);
}

/// The folder of a package that is a script.
fn script(home: &Home, name: &str, source: &str, more: &str) -> PathBuf {
    let folder = home.path("scripts").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tool.js"), source).unwrap();
    let manifest = format!(
        "name = \"{name}\"\nversion = \"1\"\nkind = \"script\"\nfile = \"tool.js\"\n{more}\
         [[tools]]\nname = \"{name}\"\ndescription = \"The tool {name}.\"\n\
         [tools.input]\ntype = \"object\"\n"
    );
    std::fs::write(folder.join("tool.toml"), manifest).unwrap();
    folder
}

async fn scripted(home: &Home, name: &str, source: &str, more: &str) -> Arc<PackagedTool> {
    let added = home.add_folder(&script(home, name, source, more)).await;
    home.packages.tools_of(added.unwrap()).remove(0)
}

async fn memory(calls: usize) {
    let home = Home::new();
    let echo = home.tool(&guest("echo"), "").await;
    let asked = call(&echo, json!({}));
    for _ in 0..calls / 10 {
        echo.call(&asked, &home.context).await.unwrap();
    }
    let before = resident("VmRSS:");
    for _ in 0..calls {
        echo.call(&asked, &home.context).await.unwrap();
    }
    println!(
        "{:44} {:>10} KiB",
        format!("resident memory after {calls} calls more"),
        resident("VmRSS:") - before
    );
    let spin = guest("spin").invoke("(loop $l (br $l)) unreachable");
    let spin = home.tool(&spin, "[limits]\ntime_ms = 600000").await;
    let asked = call(&spin, json!({}));
    let live = live(|| spin.call(&asked, &home.context)).await;
    print_live("a live instance", live);
}

/// What each of many calls that go on for ever has in memory, in KiB: what is its own, and what it sees of the image
/// that all instances of a component begin with, which is there once.
async fn live<F: Future>(spin: impl Fn() -> F) -> [f64; 2] {
    let kinds = ["RssAnon:", "RssShmem:"];
    // Loaded, and one of them come and gone.
    let loading = tokio::time::timeout(Duration::from_millis(500), spin());
    assert!(loading.await.is_err());
    let before = kinds.map(resident);
    let mut live = Vec::new();
    for _ in 0..LIVE {
        let mut spinning = Box::pin(spin());
        assert!(poll_once(spinning.as_mut()).is_pending());
        live.push(spinning);
    }
    let [own, shared] = kinds.map(resident);
    [own - before[0], shared - before[1]].map(|all| all as f64 / LIVE as f64)
}

fn print_live(what: &str, [own, shared]: [f64; 2]) {
    println!("{what:44} {own:>10.1} KiB");
    println!(
        "{:44} {shared:>10.1} KiB",
        "  and of the image that all share"
    );
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Memory of this process of that kind, as the kernel calls it, in KiB.
fn resident(kind: &str) -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[((sorted.len() - 1) * percent) / 100]
}

fn print(what: &str, time: Duration) {
    println!("{what:44} {:>10.1} µs", time.as_secs_f64() * 1e6);
}
