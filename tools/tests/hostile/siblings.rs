//! What one guest does is not felt by the others, nor by the host after it.

use std::time::Duration;

use gpak_kernel::tool::Tool as _;

use super::*;
use crate::wasm::{guest::ECHO, home::call};

const SPIN: &str = "(loop $l (br $l)) unreachable";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sibling_survives_the_time_out_of_another() {
    let home = Home::new();
    let spin = home.tool(&guest("spin").invoke(SPIN), SOON).await;
    // Computes for a while longer than the other has.
    let busy = guest("busy").invoke(&format!(
        "(local.set $a (i32.const 600000000))
         (loop $l (local.set $a (i32.sub (local.get $a) (i32.const 1))) (br_if $l (local.get $a))) {ECHO}"
    ));
    let busy = home.tool(&busy, "[limits]\ntime_ms = 300000").await;
    let (spun, worked) = tokio::join!(home.call(&spin, json!({})), home.call(&busy, json!({})));
    assert_says(&told(spun), &["ran for more than 200 ms"]);
    assert_eq!(worked.unwrap().text, "{}");
}

#[tokio::test]
async fn on_one_thread_a_spinning_guest_lets_others_go_first() {
    let home = Home::new();
    let spin = home
        .tool(&guest("spin").invoke(SPIN), "[limits]\ntime_ms = 1000")
        .await;
    let echo = home.tool(&guest("echo"), "").await;
    let spinning = home.call(&spin, json!({}));
    tokio::pin!(spinning);
    for _ in 0..10 {
        tokio::select! {
            biased;
            spun = &mut spinning => panic!("it ended first: {spun:?}"),
            done = home.call(&echo, json!({})) => assert!(done.is_ok()),
        }
    }
}

#[tokio::test]
async fn a_cancelled_guest_is_gone() {
    let home = Home::new();
    let spin = home
        .tool(&guest("spin").invoke(SPIN), "[limits]\ntime_ms = 600000")
        .await;
    for _ in 0..20 {
        let spinning = home.call(&spin, json!({}));
        assert!(
            tokio::time::timeout(Duration::from_millis(5), spinning)
                .await
                .is_err()
        );
    }
    still_works(&home).await;
}

#[tokio::test]
async fn nothing_is_left_from_one_call_to_the_next() {
    let home = Home::new();
    let counting = guest("counting")
        .fields("(global $n (mut i32) (i32.const 48))")
        .invoke(
            "(global.set $n (i32.add (global.get $n) (i32.const 1)))
             (i32.store8 (i32.const 33000) (global.get $n)) (call $ok (i32.const 33000) (i32.const 1))",
        );
    let tool = home.tool(&counting, "").await;
    for _ in 0..3 {
        assert_eq!(home.call(&tool, json!({})).await.unwrap().text, "1");
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn mapped() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmSize:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sums must not depend on what other tests of this process do.
fn is_alone() -> bool {
    std::env::var_os("NEXTEST").is_some()
}

#[tokio::test]
async fn after_many_hostile_calls_memory_and_threads_are_where_they_were() {
    if !is_alone() {
        eprintln!(
            "SKIPPED after_many_hostile_calls_…: other tests share this process; cargo nextest runs it"
        );
        return;
    }
    let home = Home::new();
    let bomb = guest("bomb").invoke(
        "(loop $l
           (local.set $a (memory.grow (i32.const 64)))
           (if (i32.eq (local.get $a) (i32.const -1)) (then unreachable))
           (memory.fill (i32.mul (local.get $a) (i32.const 65536)) (i32.const 7) (i32.const 4194304))
           (br $l))
         unreachable",
    );
    let deep = guest("deep")
        .fields("(func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))")
        .invoke("(call $down (i32.const 0))");
    let tools = [
        home.tool(&bomb, "[limits]\nmemory_mib = 16").await,
        home.tool(&deep, "").await,
        home.tool(&guest("trap").invoke("unreachable"), "").await,
        home.tool(&guest("spin").invoke(SPIN), "[limits]\ntime_ms = 10")
            .await,
        home.tool(&guest("echo"), "").await,
    ];
    let all = async || {
        for tool in &tools {
            let _ = home.call(tool, json!({})).await;
        }
    };
    for _ in 0..5 {
        all().await;
    }
    let (threads_before, resident_before, mapped_before) = (threads(), resident(), mapped());
    for _ in 0..100 {
        all().await;
    }
    assert!(
        threads() <= threads_before,
        "{} threads, {threads_before} before",
        threads()
    );
    assert!(
        resident() < resident_before + 4096,
        "{} KiB resident, {resident_before} before",
        resident()
    );
    assert!(
        mapped() < mapped_before + 16 * 1024,
        "{} KiB mapped, {mapped_before} before",
        mapped()
    );
}

#[tokio::test]
async fn ten_thousand_calls_leave_memory_where_it_was() {
    if !is_alone() {
        eprintln!(
            "SKIPPED ten_thousand_calls_…: other tests share this process; cargo nextest runs it"
        );
        return;
    }
    let home = Home::new();
    let echo = home.tool(&guest("echo"), "").await;
    let asked = call(&echo, json!({"a": 1}));
    for _ in 0..1000 {
        echo.call(&asked, &home.context).await.unwrap();
    }
    let before = resident();
    for _ in 0..10_000 {
        echo.call(&asked, &home.context).await.unwrap();
    }
    let after = resident();
    assert!(
        after < before + 1024,
        "{after} KiB resident, {before} before"
    );
}
