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
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use gpak_kernel::tool::Tool as _;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/wasm"]
mod wasm {
    pub mod guest;
    pub mod home;
}

use wasm::{
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
    many_tools().await;
    stopping().await;
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

async fn memory(calls: usize) {
    let home = Home::new();
    let echo = home.tool(&guest("echo"), "").await;
    let asked = call(&echo, json!({}));
    for _ in 0..calls / 10 {
        echo.call(&asked, &home.context).await.unwrap();
    }
    let before = resident();
    for _ in 0..calls {
        echo.call(&asked, &home.context).await.unwrap();
    }
    println!(
        "{:44} {:>10} KiB",
        format!("resident memory after {calls} calls more"),
        resident() - before
    );
    let spin = guest("spin").invoke("(loop $l (br $l)) unreachable");
    let spin = home.tool(&spin, "[limits]\ntime_ms = 600000").await;
    let asked = call(&spin, json!({}));
    // Loaded, and one of them come and gone.
    let loading = spin.call(&asked, &home.context);
    assert!(
        tokio::time::timeout(Duration::from_millis(500), loading)
            .await
            .is_err()
    );
    let before = resident();
    let mut live = Vec::new();
    for _ in 0..LIVE {
        let mut spinning = Box::pin(spin.call(&asked, &home.context));
        assert!(poll_once(spinning.as_mut()).is_pending());
        live.push(spinning);
    }
    let each = (resident() - before) as f64 / LIVE as f64;
    println!("{:44} {each:>10.1} KiB", "a live instance");
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// In KiB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
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
