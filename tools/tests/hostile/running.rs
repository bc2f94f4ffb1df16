//! Guests that go wrong, or try to, while they run.

use gpak_kernel::tool::ToolError;

use super::*;
use crate::wasm::guest::{ECHO, text};

const LOG: &str = r#"(import "gpak:tool/core@0.1.0" "log" (func $log (param i32 i32 i32)))"#;
const RANDOM: &str = r#"(import "gpak:tool/core@0.1.0" "random" (func $random (param i32 i32)))"#;
const VARIABLE: &str =
    r#"(import "gpak:tool/core@0.1.0" "variable" (func $variable (param i32 i32 i32)))"#;

#[tokio::test]
async fn an_endless_loop() {
    let why = contained(&guest("spin").invoke("(loop $l (br $l)) unreachable"), SOON).await;
    assert_says(&why, &["spin was stopped: it ran for more than 200 ms"]);
}

#[tokio::test]
async fn a_trap() {
    let why = contained(&guest("trap").invoke("unreachable"), "").await;
    assert_says(&why, &["trap broke down", "unreachable"]);
}

#[tokio::test]
async fn a_division_by_zero() {
    let why = contained(
        &guest("divide").invoke("(i32.div_u (i32.const 1) (i32.const 0))"),
        "",
    )
    .await;
    assert_says(&why, &["divide broke down", "divide by zero"]);
}

#[tokio::test]
async fn a_memory_bomb() {
    let bomb = guest("bomb").invoke(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    );
    assert_says(
        &contained(&bomb, "").await,
        &["bomb was stopped: it wanted more than its 64 MiB"],
    );
    let small = contained(&bomb, "[limits]\nmemory_mib = 1").await;
    assert_says(&small, &["more than its 1 MiB"]);
}

#[tokio::test]
async fn a_memory_bomb_that_takes_no_for_an_answer_may_go_on() {
    let home = Home::new();
    let modest = guest("modest").invoke(&format!(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) {ECHO}"
    ));
    assert!(home.run(&modest, "", json!({})).await.is_ok());
}

#[tokio::test]
async fn a_memory_bomb_that_touches_every_page() {
    let bomb = guest("bomb").invoke(
        "(loop $l
           (local.set $a (memory.grow (i32.const 16)))
           (if (i32.eq (local.get $a) (i32.const -1)) (then unreachable))
           (memory.fill (i32.mul (local.get $a) (i32.const 65536)) (i32.const 7) (i32.const 1048576))
           (br $l))
         unreachable",
    );
    assert_says(&contained(&bomb, "").await, &["more than its 64 MiB"]);
}

#[tokio::test]
async fn a_table_bomb() {
    let bomb = guest("bomb").fields("(table $t 1 funcref)").invoke(
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)))) unreachable",
    );
    assert_says(
        &contained(&bomb, "").await,
        &["larger tables than a tool may have"],
    );
}

#[tokio::test]
async fn a_recursion_without_end() {
    let deep = guest("deep")
        .fields("(func $down (param i32) (result i32) (i32.add (i32.const 1) (call $down (local.get 0))))")
        .invoke("(call $down (i32.const 0))");
    assert_says(
        &contained(&deep, "").await,
        &["deep was stopped: it called itself too deeply"],
    );
}

#[tokio::test]
async fn a_recursion_through_a_table() {
    let deep = guest("deep")
        .fields(
            "(type $f (func (result i32))) (table 1 funcref) (elem (i32.const 0) $down)
             (func $down (result i32) (i32.add (i32.const 1) (call_indirect (type $f) (i32.const 0))))",
        )
        .invoke("(call $down)");
    assert_says(&contained(&deep, "").await, &["too deeply"]);
}

#[tokio::test]
async fn a_gigabyte_of_output() {
    // It says so, and has not got it.
    let flood = guest("flood").invoke("(call $ok (i32.const 0) (i32.const 1073741824))");
    assert_says(&contained(&flood, "").await, &["flood"]);
    // It has a good part of it.
    let flood = guest("flood").invoke(
        "(drop (memory.grow (i32.const 900))) (memory.fill (i32.const 65536) (i32.const 49) (i32.const 50000000))
         (call $ok (i32.const 65536) (i32.const 50000000))",
    );
    assert_says(
        &contained(&flood, "").await,
        &["flood was stopped: it gave more than 64 KiB"],
    );
}

#[tokio::test]
async fn a_byte_more_than_it_may_give() {
    let home = Home::new();
    let number = |length: usize| {
        guest("flood").invoke(&format!(
            "(drop (memory.grow (i32.const 4))) (memory.fill (i32.const 65536) (i32.const 49) (i32.const {length}))
             (i32.store8 (i32.const 65536) (i32.const 34))
             (i32.store8 (i32.const {}) (i32.const 34))
             (call $ok (i32.const 65536) (i32.const {length}))",
            65536 + length - 1
        ))
    };
    let most = 64 * 1024;
    assert_eq!(
        home.run(&number(most), "", json!({}))
            .await
            .unwrap()
            .text
            .len(),
        most - 2
    );
    let why = contained_in(&home, &number(most + 1), "").await;
    assert_says(&why, &["more than 64 KiB"]);
}

#[tokio::test]
async fn an_error_that_floods() {
    let flood = guest("flood").invoke(
        "(drop (memory.grow (i32.const 4))) (memory.fill (i32.const 65536) (i32.const 65) (i32.const 200000))
         (call $err (i32.const 1) (i32.const 65536) (i32.const 200000))",
    );
    assert_says(&contained(&flood, "").await, &["gave more than 64 KiB"]);
}

#[tokio::test]
async fn output_that_is_no_json() {
    for (odd, part) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("hello", "expected value"),
        ("1 2", "trailing"),
    ] {
        let why = contained(&guest("odd").gives(odd), "").await;
        assert_says(&why, &["odd is broken: what it gave is no JSON", part]);
    }
}

#[tokio::test]
async fn output_nested_without_end() {
    let why = contained(&guest("odd").gives(&"[".repeat(1500)), "").await;
    assert_says(&why, &["is no JSON", "recursion limit"]);
}

#[tokio::test]
async fn output_that_is_not_what_it_promises() {
    let mut odd = guest("odd").gives(r#"{"words": "many"}"#);
    odd.output = Some(r#"{"type":"object","properties":{"words":{"type":"integer"}}}"#.to_owned());
    assert_says(
        &contained(&odd, "").await,
        &["not what it promises", "/words"],
    );
}

#[tokio::test]
async fn output_that_is_no_text() {
    let odd = guest("odd")
        .fields("(data (i32.const 33000) \"\\22\\ff\\fe\\22\")")
        .invoke("(call $ok (i32.const 33000) (i32.const 4))");
    assert_says(&contained(&odd, "").await, &["odd broke down", "utf-8"]);
}

#[tokio::test]
async fn output_from_outside_of_its_memory() {
    for place in [
        "(call $ok (i32.const 0x7fffff00) (i32.const 16))",
        "(call $ok (i32.const -8) (i32.const 16))",
    ] {
        assert_says(
            &contained(&guest("odd").invoke(place), "").await,
            &["odd broke down"],
        );
    }
    for result in ["(i32.const -16)", "(i32.const 131070)", "(i32.const 33001)"] {
        assert_says(
            &contained(&guest("odd").invoke(result), "").await,
            &["odd broke down"],
        );
    }
}

#[tokio::test]
async fn a_result_of_a_kind_that_there_is_not() {
    let odd = guest("odd").invoke("(i32.store8 (i32.const 16) (i32.const 9)) (i32.const 16)");
    assert_says(&contained(&odd, "").await, &["odd broke down"]);
    let odd = guest("odd").invoke("(call $err (i32.const 77) (i32.const 0) (i32.const 0))");
    assert_says(&contained(&odd, "").await, &["odd broke down"]);
}

/// A guest whose allocator does that.
fn allocating(body: &str) -> Guest {
    let mut odd = guest("odd");
    odd.fields = format!("(func $odd (param i32 i32 i32 i32) (result i32) {body})");
    odd
}

async fn contained_allocator(body: &str, more: &str) -> String {
    let odd = allocating(body);
    let wat = odd.wat().replace(
        "(func $realloc (export \"cabi_realloc\")",
        "(export \"cabi_realloc\" (func $odd)) (func $realloc",
    );
    let home = Home::new();
    let folder = home.folder_of("odd", &crate::wasm::guest::component("tool", &wat), more);
    let package = home.add_folder(&folder).await.unwrap();
    let tool = home.packages.tools_of(package).remove(0);
    let why = told(home.call(&tool, json!({"a": "b"})).await);
    still_works(&home).await;
    why
}

#[tokio::test]
async fn an_allocator_that_points_elsewhere() {
    for place in ["(i32.const -16)", "(i32.const 0x7ffffff0)"] {
        assert_says(&contained_allocator(place, "").await, &["odd broke down"]);
    }
}

#[tokio::test]
async fn an_allocator_that_never_ends() {
    let why = contained_allocator("(loop $l (br $l)) unreachable", SOON).await;
    assert_says(&why, &["odd was stopped: it ran for more than 200 ms"]);
}

#[tokio::test]
async fn an_allocator_that_traps() {
    assert_says(
        &contained_allocator("unreachable", "").await,
        &["odd broke down"],
    );
}

#[tokio::test]
async fn cleaning_up_without_end() {
    let odd =
        guest("odd").fields("(func (export \"cabi_post_invoke\") (param i32) (loop $l (br $l)))");
    assert_says(
        &contained(&odd, SOON).await,
        &["odd was stopped: it ran for more than 200 ms"],
    );
}

#[tokio::test]
async fn a_flood_of_lines_in_the_log() {
    let home = Home::new();
    let chatty = guest("chatty")
        .imports(LOG)
        .fields(&text(33_000, "again"))
        .invoke(&format!(
            "(local.set $a (i32.const 100000))
         (loop $l (call $log (i32.const 1) (i32.const 33000) (i32.const 5))
           (local.set $a (i32.sub (local.get $a) (i32.const 1))) (br_if $l (local.get $a)))
         {ECHO}"
        ));
    let tool = home.tool(&chatty, "[limits]\ntime_ms = 60000").await;
    let called = home.call_logged(&tool, json!({})).await;
    called.result.unwrap();
    assert_eq!((called.log.lines.len(), called.log.dropped), (200, 99_800));
}

#[tokio::test]
async fn a_line_in_the_log_that_is_all_of_its_memory() {
    let home = Home::new();
    let chatty = guest("chatty").imports(LOG).invoke(&format!(
        "(memory.fill (i32.const 70000) (i32.const 65) (i32.const 60000))
         (call $log (i32.const 1) (i32.const 70000) (i32.const 60000)) {ECHO}"
    ));
    let tool = home.tool(&chatty, "").await;
    let called = home.call_logged(&tool, json!({})).await;
    called.result.unwrap();
    assert_eq!(called.log.lines[0].message.len(), 32 * 1024);
    let flood = guest("flood").imports(LOG).invoke(&format!(
        "(drop (memory.grow (i32.const 900)))
         (call $log (i32.const 1) (i32.const 65536) (i32.const 50000000)) {ECHO}"
    ));
    assert_says(&contained(&flood, "").await, &["flood was stopped"]);
}

#[tokio::test]
async fn a_log_level_that_there_is_not() {
    let odd = guest("odd").imports(LOG).invoke(&format!(
        "(call $log (i32.const 99) (i32.const 0) (i32.const 0)) {ECHO}"
    ));
    assert_says(&contained(&odd, "").await, &["odd broke down"]);
}

#[tokio::test]
async fn more_random_bytes_than_there_are() {
    let greedy = guest("greedy").imports(RANDOM).invoke(&format!(
        "(call $random (i32.const -1) (i32.const 33000)) {ECHO}"
    ));
    let why = contained(&greedy, "[asks]\nrandom = true").await;
    assert_says(
        &why,
        &["greedy was stopped: it wanted 4294967295 random bytes"],
    );
}

#[tokio::test]
async fn a_variable_that_was_not_granted() {
    let curious = guest("curious")
        .imports(VARIABLE)
        .fields(&text(33_000, "PATH"))
        .invoke(&format!(
            "(call $variable (i32.const 33000) (i32.const 4) (i32.const 33100)) {ECHO}"
        ));
    let why = contained(&curious, "[asks]\nenvironment = [\"LANG\"]").await;
    assert_says(
        &why,
        &["the environment variable PATH, which it was not granted"],
    );
}

#[tokio::test]
async fn a_tool_that_may_have_acted_is_in_doubt_and_one_that_may_not_have_is_not() {
    let home = Home::new();
    let odd = guest("odd").effect(3).invoke("unreachable");
    assert!(matches!(
        home.run(&odd, "", json!({})).await,
        Err(ToolError::Rejected(_))
    ));
    let unknown = guest("unsure")
        .effect(3)
        .fields(&text(33_000, "perhaps"))
        .invoke("(call $err (i32.const 2) (i32.const 33000) (i32.const 7))");
    match home.run(&unknown, "", json!({})).await {
        Err(ToolError::Unknown(why)) => assert_eq!(why, "unsure: perhaps"),
        other => panic!("{other:?}"),
    }
}
