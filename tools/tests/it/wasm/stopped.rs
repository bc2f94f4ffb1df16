//! Runs that are stopped while one of their tools is at work.

use std::sync::Arc;

use gpak_kernel::{
    event::{Event, PauseReason},
    model::scripted::Line,
    run::{Ended, Resumption},
    tool::Tool,
};
use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};

use super::{
    doing::sends,
    home::Home,
    undo::{create, driver},
};

/// Reads until the other side has nothing more to say.
async fn end_of(mut line: TcpStream) {
    let mut request = Vec::new();
    line.read_to_end(&mut request).await.unwrap();
}

#[tokio::test]
async fn a_stopped_run_stops_what_the_host_is_doing_for_its_tool() {
    let home = Home::new();
    // It answers nothing: only who hangs up ends the call.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let waits = sends(&format!("http://127.0.0.1:{port}/")).guest();
    let asks =
        format!("[limits]\ntime_ms = 600000\n[asks]\nprivate_hosts = [\"127.0.0.1:{port}\"]\n");
    let waits: Arc<dyn Tool> = home.tool(&waits, &asks).await;
    let lines = vec![Line::call(&waits.spec().name, json!({}))];
    let mut driver = driver(&home, lines).await;
    driver.toolbox = driver.toolbox.with([waits]).unwrap();
    let run = create(&driver, &home).await;
    let watch = async {
        let (line, _) = silent.accept().await.unwrap();
        line.readable().await.unwrap();
        driver.stop.cancel();
        end_of(line).await;
    };
    let mut nobody = ();
    let driving = driver.drive(run, Resumption::default(), &mut nobody);
    let (ended, ()) = tokio::join!(driving, watch);
    assert_eq!(ended.unwrap(), Ended::Paused(PauseReason::Interrupted));
    let entries = driver.journal.read(run, 1).await.unwrap();
    let is_end = |event: &Event| matches!(event, Event::ToolFinished { .. });
    assert!(!entries.iter().any(|entry| is_end(&entry.event)));
}
