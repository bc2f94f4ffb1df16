//! Each way a server fails, met by a run: the requests that went out and the events that came of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::{
    event::{Event, Outcome, PauseReason, RunId, RunSpec},
    journal::MemoryJournal,
    model::{ModelError, openai::OpenAi, remote::Connection},
    policy::{Budget, Permissions},
    run::{Driver, Ended, Nobody, Resumption, SystemClock, replay},
    tool::{Call, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Toolbox},
};
use serde_json::json;

use super::{
    faulty::{Asked, Faulty, Say, sse},
    support::{to, told, tools},
};

/// Gives the same result, whatever it is asked.
struct Gives(ToolSpec, String);

#[async_trait]
impl Tool for Gives {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        Ok(ToolOutput::text(self.1.clone()))
    }
}

/// What became of a run.
struct Row {
    posts: Vec<Asked>,
    events: Vec<Event>,
    ended: Ended,
}

impl Row {
    fn failures(&self) -> Vec<&ModelError> {
        let failed = self.events.iter().filter_map(|event| match event {
            Event::ModelFailed { error } => Some(error),
            _ => None,
        });
        failed.collect()
    }

    /// Fails unless the run paused with these words.
    #[track_caller]
    fn paused(&self, part: &str) {
        match &self.ended {
            Ended::Paused(PauseReason::Model { message }) => {
                assert!(message.contains(part), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// Fails unless the same was sent twice and the second answer was taken.
    #[track_caller]
    fn went_on(&self) {
        assert_eq!(self.posts.len(), 2, "{:?}", self.posts);
        let [first, second] = [0, 1].map(|at| &self.posts[at].body);
        assert_eq!(first["messages"], second["messages"]);
        assert_eq!(first["tools"], second["tools"]);
        let answer = "Done.".to_owned();
        assert_eq!(self.ended, Ended::Finished(Outcome::Completed { answer }));
    }
}

/// A run of at most `steps`, with a tool that gives `result`.
async fn run_with(script: Vec<Say>, steps: u32, result: &str, patience: Option<f64>) -> Row {
    let server = Faulty::start(script).await;
    let mut connection = to(&server.v1());
    if let Some(seconds) = patience {
        connection = Connection {
            idle: Duration::from_secs_f64(seconds),
            ..connection
        };
    }
    let model = OpenAi::connect(told(connection, "m", true)).await.unwrap();
    let (events, ended) = drive(model, steps, result).await;
    Row {
        posts: server.posts(),
        events,
        ended,
    }
}

async fn drive(model: OpenAi, steps: u32, result: &str) -> (Vec<Event>, Ended) {
    let given = tools()
        .into_iter()
        .map(|spec| Arc::new(Gives(spec, result.to_owned())) as Arc<dyn Tool>);
    let driver = Driver {
        journal: Arc::new(MemoryJournal::default()),
        model: Arc::new(model),
        toolbox: Toolbox::new(given).unwrap(),
        human: Arc::new(Nobody),
        clock: Arc::new(SystemClock),
        instructions: "Be brief.".into(),
        stop: Default::default(),
        repository: gpak_kernel::context::Repository::default(),
        remembering: None,
        introduced: None,
    };
    let spec = RunSpec {
        task: "do it".into(),
        workspace: std::env::temp_dir(),
        model: "openai/m".into(),
        budget: Budget {
            steps,
            ..Budget::default()
        },
        permissions: Permissions::default(),
        attended: false,
        conversation: false,
        origin: None,
        check: Vec::new(),
        strategy: None,
        parent: None,
    };
    let run = RunId::from_u128(1);
    driver.create(run, spec).await.unwrap();
    let ended = driver.drive(run, Resumption::default(), &mut ()).await;
    let entries = driver.journal.read(run, 1).await.unwrap();
    replay::check(&entries).unwrap();
    let events = entries.into_iter().map(|entry| entry.event).collect();
    (events, ended.unwrap())
}

async fn row(script: Vec<Say>) -> Row {
    run_with(script, 40, "1 2 3", None).await
}

fn done() -> Say {
    Say::events(&[r#"{"choices":[{"delta":{"content":"Done."},"finish_reason":"stop"}]}"#])
}

fn begun() -> Say {
    Say::Stream(
        sse(&[r#"{"choices":[{"delta":{"content":"Half a"}}]}"#]),
        true,
    )
}

fn calls(calls: serde_json::Value) -> Say {
    let chunk =
        json!({"choices": [{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    Say::events(&[&chunk.to_string()])
}

fn read(index: u32, id: &str, path: &str) -> serde_json::Value {
    let args = json!({ "path": path }).to_string();
    json!({"index": index, "id": id, "function": {"name": "files_read_42da5ad7", "arguments": args}})
}

#[tokio::test]
async fn what_waiting_does_not_mend_pauses_the_run_at_once() {
    let message = |text: &str| format!(r#"{{"error":{{"message":"{text}"}}}}"#);
    for (status, text, part) in [
        (401, "wrong key", "refused the key: wrong key"),
        (403, "not yours", "refused the key: not yours"),
        (404, "no such model", "no model `m`"),
        (400, "prompt is too long", "tokens is too small"),
        (429, "You exceeded your current quota", "quota"),
    ] {
        let row = row(vec![Say::json(status, &message(text)), done()]).await;
        assert_eq!(row.posts.len(), 1, "{status}: it is not sent again");
        assert_eq!(row.failures().len(), 1);
        row.paused(part);
    }
}

#[tokio::test]
async fn what_passes_is_journaled_and_the_same_is_sent_again() {
    let limit = |header| Say::With(429, header, "{}".into());
    let half = Say::events(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#]);
    let rows = [
        (limit("Retry-After: 0"), "asks to wait 0ns"),
        (limit("X-Nothing: 1"), "asks to wait"),
        (Say::json(500, r#"{"error":"oops"}"#), "overloaded: oops"),
        (begun(), "broke off"),
        (Say::events(&["{\"choices\":"]), "could not be understood"),
        (half, "neither text nor a call"),
    ];
    for (say, part) in rows {
        let row = row(vec![say, done()]).await;
        let failures = row.failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
        let said = failures[0].to_string();
        assert!(said.contains(part), "{said}");
        row.went_on();
    }
}

#[tokio::test]
async fn a_wait_that_is_the_users_to_decide_pauses_the_run_with_its_length() {
    let row = row(vec![
        Say::With(429, "Retry-After: 7200", "{}".into()),
        done(),
    ])
    .await;
    row.paused("asks to wait 7200s; that is more than the 10 min gpak waits by itself");
    assert_eq!(row.posts.len(), 1);
    let after_ms = Some(7_200_000);
    assert_eq!(row.failures(), [&ModelError::RateLimited { after_ms }]);
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_fails_the_step() {
    let hangs = Say::Hang(sse(&[r#"{"choices":[{"delta":{"content":"Half a"}}]}"#]));
    let row = run_with(vec![hangs], 1, "", Some(0.3)).await;
    assert_eq!(row.posts.len(), 1);
    let said = row.failures()[0].to_string();
    assert!(said.contains("said nothing for 0.3 s"), "{said}");
    assert!(matches!(
        row.ended,
        Ended::Paused(PauseReason::Budget { .. })
    ));

    let server = Faulty::start(vec![done()]).await;
    let model = OpenAi::connect(told(to(&server.v1()), "m", true))
        .await
        .unwrap();
    drop(server);
    let (events, ended) = drive(model, 1, "").await;
    let refused = |event: &&Event| {
        matches!(
            event,
            Event::ModelFailed {
                error: ModelError::Unreachable { .. }
            }
        )
    };
    assert_eq!(events.iter().filter(refused).count(), 1, "{events:?}");
    assert!(matches!(ended, Ended::Paused(PauseReason::Budget { .. })));
}

#[tokio::test]
async fn calls_with_one_id_are_two_calls_and_go_back_under_two() {
    let two = calls(json!([read(0, "x", "a"), read(1, "x", "b")]));
    let row = row(vec![two, done()]).await;
    let started = |event: &&Event| matches!(event, Event::ToolStarted { .. });
    assert_eq!(row.events.iter().filter(started).count(), 2);
    let messages = row.posts[1].body["messages"].as_array().unwrap();
    let ids: Vec<_> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["tool_call_id"].clone())
        .collect();
    assert_eq!(ids, ["r00001c00", "r00001c01"]);
    assert_eq!(messages[2]["tool_calls"][1]["id"], ids[1]);
}

#[tokio::test]
async fn a_call_split_across_chunks_is_made_once_and_its_result_goes_out() {
    let piece = |piece: serde_json::Value| {
        json!({"choices": [{"delta": {"tool_calls": [piece]}}]}).to_string()
    };
    let whole = read(0, "x", "a");
    let args = whole["function"]["arguments"].as_str().unwrap();
    let (head, tail) = args.split_at(4);
    let mut first = whole.clone();
    first["function"]["arguments"] = head.into();
    let pieces = [
        piece(first),
        piece(json!({"index": 0, "function": {"arguments": tail}})),
        r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#.to_owned(),
    ];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let row = row(vec![Say::events(&pieces), done()]).await;
    assert!(row.failures().is_empty());
    let messages = row.posts[1].body["messages"].as_array().unwrap();
    assert_eq!(
        messages[2]["tool_calls"][0]["function"]["arguments"],
        "{\"path\":\"a\"}"
    );
    assert_eq!(messages[3]["content"], "1 2 3");
}

#[tokio::test]
async fn a_request_over_the_window_is_made_smaller_and_sent_again() {
    let over = Say::json(
        400,
        r#"{"error":{"message":"too long","type":"exceed_context_size_error","n_ctx":4096}}"#,
    );
    let script = vec![
        calls(json!([read(0, "x", "a")])),
        calls(json!([read(0, "x", "b")])),
        over,
        done(),
    ];
    let row = run_with(script, 40, &"word ".repeat(400), None).await;
    let limit = 4096;
    assert_eq!(row.failures(), [&ModelError::ContextOverflow { limit }]);
    let compacted = |event: &&Event| matches!(event, Event::ContextCompacted { .. });
    assert_eq!(row.events.iter().filter(compacted).count(), 1);
    let size = |at: usize| row.posts[at].body["messages"].to_string().len();
    assert!(size(3) < size(2), "{} and then {}", size(2), size(3));
    let answer = "Done.".to_owned();
    assert_eq!(row.ended, Ended::Finished(Outcome::Completed { answer }));
}

#[tokio::test]
async fn a_result_that_is_large_or_no_text_goes_out_as_valid_json() {
    let binary: String = (0u8..128).map(char::from).collect();
    let not_shown = "[binary data, 384 bytes, not shown]".to_owned();
    let text = "\u{202e}é\u{1f600}\\\"\t".repeat(300);
    for (result, sent) in [(binary.repeat(3), not_shown), (text.clone(), text)] {
        let script = vec![calls(json!([read(0, "x", "a")])), done()];
        let row = run_with(script, 40, &result, None).await;
        assert_eq!(row.posts[1].body["messages"][3]["content"], sent);
        assert!(matches!(
            row.ended,
            Ended::Finished(Outcome::Completed { .. })
        ));
    }
}
