//! Guests that try to break out or to exhaust the host. Each is stopped, the model is told why, and the
//! host goes on: it keeps its memory, its threads and its other guests.

mod describing;
mod files;
mod http;
mod running;
mod shapes;
mod siblings;

use serde_json::json;

use crate::wasm::{
    guest::{Guest, guest},
    home::{Home, told},
};

/// What the model is told of a call of that guest, after which others still work.
async fn contained(guest: &Guest, more: &str) -> String {
    let home = Home::new();
    contained_in(&home, guest, more).await
}

async fn contained_in(home: &Home, guest: &Guest, more: &str) -> String {
    let why = told(home.run(guest, more, json!({})).await);
    still_works(home).await;
    why
}

/// Why that guest is not even added.
async fn refused(guest: &Guest, more: &str) -> String {
    let home = Home::new();
    let why = home.try_add(guest, more).await.unwrap_err().to_string();
    assert!(home.packages.list().unwrap().packages.is_empty());
    still_works(&home).await;
    why
}

async fn still_works(home: &Home) {
    let output = home
        .run(&guest("echo"), "", json!({"still": "here"}))
        .await
        .unwrap();
    assert_eq!(output.data, Some(json!({"still": "here"})));
}

/// A short time, so that tests of what is stopped by time are quick.
const SOON: &str = "[limits]\ntime_ms = 200\n";

fn assert_says(why: &str, parts: &[&str]) {
    for part in parts {
        assert!(why.contains(part), "{part:?} is not in: {why}");
    }
}
