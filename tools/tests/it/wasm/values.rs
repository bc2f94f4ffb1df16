use serde_json::json;

use super::{
    doing::{keeps, remembers},
    home::{Home, packages, told},
};

#[tokio::test]
async fn values_are_kept_from_call_to_call_and_go_with_the_package() {
    let home = Home::new();
    let tool = home.tool(&remembers(), "[asks]\nkv_kib = 1").await;
    assert_eq!(
        home.call(&tool, json!({"n": 1})).await.unwrap().text,
        "done"
    );
    assert_eq!(
        home.call(&tool, json!({"n": 2})).await.unwrap().data,
        Some(json!({"n": 1}))
    );
    let package = packages(home.root.path()).get("remembers").unwrap();
    let again = packages(home.root.path()).tools_of(package).remove(0);
    assert_eq!(
        home.call(&again, json!({"n": 3})).await.unwrap().data,
        Some(json!({"n": 2}))
    );
    home.packages.remove("remembers").unwrap();
    let tool = home.tool(&remembers(), "[asks]\nkv_kib = 1").await;
    assert_eq!(
        home.call(&tool, json!({"n": 4})).await.unwrap().text,
        "done"
    );
}

#[tokio::test]
async fn no_more_is_kept_than_there_is_room_for() {
    let home = Home::new();
    let value = "x".repeat(1020);
    assert_eq!(
        home.run(&keeps("key", &value), "[asks]\nkv_kib = 1", json!({}))
            .await
            .unwrap()
            .text,
        "done"
    );
    let why = told(
        home.run(&keeps("key2", &value), "[asks]\nkv_kib = 1", json!({}))
            .await,
    );
    assert!(
        why.contains("there would be 2047 bytes, and 1024 are granted"),
        "{why}"
    );
    // In place of the same it fits.
    assert_eq!(
        home.run(&keeps("key", &value), "[asks]\nkv_kib = 1", json!({}))
            .await
            .unwrap()
            .text,
        "done"
    );
    for key in ["", &"k".repeat(513)] {
        let why = told(
            home.run(&keeps(key, "v"), "[asks]\nkv_kib = 1", json!({}))
                .await,
        );
        assert!(why.contains("a key has 1 to 512 bytes"), "{why}");
    }
}

#[tokio::test]
async fn a_tool_that_says_it_changes_nothing_keeps_nothing() {
    let home = Home::new();
    let why = told(
        home.run(
            &keeps("key", "value").effect(0),
            "[asks]\nkv_kib = 1",
            json!({}),
        )
        .await,
    );
    assert!(
        why.contains("not for a tool that says it changes nothing"),
        "{why}"
    );
}
