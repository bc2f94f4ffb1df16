//! Undo across tools: what components and built-in tools did goes back in the exact reverse order.

use std::{fs, sync::Arc};

use gpak_kernel::{
    event::{RunId, RunSpec},
    journal::MemoryJournal,
    model::scripted::{Line, Scripted},
    policy::{Budget, Permissions},
    run::{Driver, Nobody, Resumption, SystemClock},
    tool::{Tool, Toolbox},
};
use gpak_tools::builtin;
use serde_json::json;

use super::{doing::writes, files::WRITE, guest::guest, home::Home};

pub async fn driver(home: &Home, lines: Vec<Line>) -> Driver {
    let mut tools = builtin::all(&builtin::Options::new(home.path("data/undo")));
    let books = guest("books")
        .gives(r#""room 7""#)
        .compensate("(call $ok (local.get $output) (local.get $output_len))");
    let posts = guest("posts").effect(3).gives(r#""sent""#);
    for (guest, more) in [(books, ""), (writes("a.txt", "second"), WRITE), (posts, "")] {
        let tool: Arc<dyn Tool> = home.tool(&guest, more).await;
        tools.push(tool);
    }
    Driver {
        journal: Arc::new(MemoryJournal::default()),
        model: Arc::new(Scripted::new(lines)),
        toolbox: Toolbox::new(tools).unwrap(),
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: String::new(),
        repository: Default::default(),
        remembering: None,
        introduced: None,
        stop: Default::default(),
    }
}

pub async fn create(driver: &Driver, home: &Home) -> RunId {
    let run = RunId::random();
    let spec = RunSpec {
        task: "do it".to_owned(),
        workspace: home.workspace().to_owned(),
        model: "scripted/script".to_owned(),
        budget: Budget::default(),
        permissions: Permissions {
            yes: true,
            ..Permissions::default()
        },
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    };
    driver.create(run, spec).await.unwrap();
    run
}

/// Runs it to its end.
pub async fn drive(driver: &Driver, home: &Home) -> RunId {
    let run = create(driver, home).await;
    driver
        .drive(run, Resumption::default(), &mut ())
        .await
        .unwrap();
    run
}

#[tokio::test]
async fn components_and_built_in_tools_are_undone_in_reverse_order_and_the_rest_is_named() {
    let home = Home::new();
    let lines = vec![
        Line::call("write_file", json!({"path": "a.txt", "content": "first"})),
        Line::call("books", json!({})),
        Line::call("writes", json!({})),
        Line::call("posts", json!({"to": "everybody"})),
        Line::call("write_file", json!({"path": "a.txt", "content": "third"})),
        Line::call("finish", json!({"answer": "done"})),
    ];
    let driver = driver(&home, lines).await;
    let run = drive(&driver, &home).await;
    let path = home.workspace().join("a.txt");
    assert_eq!(fs::read_to_string(&path).unwrap(), "third");
    let undone = driver.undo(run).await.unwrap();
    assert_eq!(
        undone.restored,
        [
            "restored a.txt",
            "restored a.txt",
            "\"room 7\"",
            "removed a.txt"
        ]
    );
    assert_eq!(undone.refused, Vec::<String>::new());
    assert_eq!(undone.irreversible, [r#"posts {"to":"everybody"}"#]);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_component_that_cannot_undo_stops_the_undoing_and_says_why() {
    let home = Home::new();
    let lines = vec![
        Line::call("write_file", json!({"path": "a.txt", "content": "first"})),
        Line::call("stuck", json!({})),
        Line::call("finish", json!({"answer": "done"})),
    ];
    let mut driver = driver(&home, lines).await;
    let stuck = guest("stuck").compensate("(loop $l (br $l)) unreachable");
    let stuck: Arc<dyn Tool> = home.tool(&stuck, "[limits]\ntime_ms = 100\n").await;
    driver.toolbox = driver.toolbox.with([stuck]).unwrap();
    let run = drive(&driver, &home).await;
    let undone = driver.undo(run).await.unwrap();
    assert_eq!(undone.restored, Vec::<String>::new());
    assert!(undone.refused[0].contains("stuck was stopped: it ran for more than 100 ms"));
    assert!(home.workspace().join("a.txt").exists());
}
