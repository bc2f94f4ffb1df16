//! Each way a server fails: what goes out, and what comes back.

use std::time::Duration;

use gpak_kernel::model::{
    Model, ModelError, Stop, ollama,
    openai::{self, Api, OpenAi},
    remote::{Connection, Key},
};
use serde_json::json;

use super::{
    faulty::{Faulty, Say, sse},
    support::{Heard, asks, to, told, tools},
};

const KEY: &str = "sk-test-0123456789abcdef";

/// A model at the server that is told whether it makes native calls, so that nothing is asked first.
async fn at(server: &Faulty, native: bool) -> OpenAi {
    let mut connection = to(&server.v1());
    connection.key = Some(Key::new(KEY));
    OpenAi::connect(told(connection, "m", native))
        .await
        .unwrap()
}

/// What comes back from a server that says this.
async fn fails(say: Say) -> ModelError {
    let server = Faulty::start(vec![say]).await;
    let error = at(&server, true)
        .await
        .reply(&asks("Hi", tools()), &mut ())
        .await;
    let posts = server.posts();
    assert_eq!(posts.len(), 1, "it is not sent again: {posts:?}");
    assert_eq!(posts[0].body["tools"].as_array().unwrap().len(), 2);
    let error = error.unwrap_err();
    assert!(!format!("{error:?}{error}").contains("sk-test"), "{error}");
    error
}

#[tokio::test]
async fn a_key_that_is_refused_is_said_without_the_key() {
    for status in [401, 403] {
        let body = format!(r#"{{"error":{{"message":"Incorrect API key: {KEY}."}}}}"#);
        match fails(Say::json(status, &body)).await {
            ModelError::Unauthorized { message } => {
                assert!(message.contains("Incorrect API key: ***"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_model_that_is_not_there_is_said_with_those_that_are() {
    let say = Say::json(404, r#"{"error":{"message":"no such model"}}"#);
    let server = Faulty::start(vec![say]).await;
    let error = at(&server, true)
        .await
        .reply(&asks("Hi", tools()), &mut ())
        .await;
    match error.unwrap_err() {
        ModelError::Unusable { message } => {
            assert!(message.contains("no model `m`"), "{message}");
            assert!(message.contains("no such model"), "{message}");
            assert!(message.contains("it lists none"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_limit_says_how_long_to_wait_if_the_server_does() {
    let limit = |header| Say::With(429, header, r#"{"error":{"message":"slow down"}}"#.into());
    for (header, after_ms) in [
        ("Retry-After: 7", Some(7000)),
        ("retry-after-ms: 250", Some(250)),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
        ("X-Nothing: 1", None),
    ] {
        assert_eq!(
            fails(limit(header)).await,
            ModelError::RateLimited { after_ms }
        );
    }
}

#[tokio::test]
async fn a_server_that_is_ill_is_overloaded() {
    for status in [500, 502, 503, 529] {
        let error = fails(Say::Whole(
            status,
            "text/html",
            "<h1>Bad\n gateway</h1>".into(),
        ))
        .await;
        let message = format!("<h1>Bad gateway</h1> (status {status})");
        assert_eq!(error, ModelError::Overloaded { message });
    }
}

#[tokio::test]
async fn a_request_over_the_window_says_the_window() {
    let body = r#"{"error":{"code":400,"message":"request (5032 tokens) exceeds the available context size (4096 tokens), try increasing it","type":"exceed_context_size_error","n_ctx":4096}}"#;
    let limit = 4096;
    assert_eq!(
        fails(Say::json(400, body)).await,
        ModelError::ContextOverflow { limit }
    );
}

fn chunk(delta: &str, finish: &str) -> String {
    let finish = if finish.is_empty() {
        "null".to_owned()
    } else {
        format!("{finish:?}")
    };
    format!(r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#)
}

#[tokio::test]
async fn half_a_stream_is_no_reply() {
    let begun = chunk(r#"{"content":"Half a"}"#, "");
    for (pieces, ends) in [
        (sse(&[&begun]), true),
        (sse(&[&begun]), false),
        (vec![], true),
        (vec![sse(&[&begun])[0][..20].to_owned()], true),
        (sse(&[&begun, "[DONE]"]), true),
    ] {
        let error = fails(Say::Stream(pieces, ends)).await;
        assert!(matches!(error, ModelError::Malformed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn events_that_make_no_sense_are_no_reply() {
    for data in [
        "{\"choices\":",
        "hello",
        "[1]",
        "{\"choices\":3}",
        "{\"choices\":[{\"delta\":{\"content\":7}}]}",
    ] {
        let error = fails(Say::events(&[data])).await;
        assert!(
            matches!(error, ModelError::Malformed { .. }),
            "{data}: {error:?}"
        );
    }
    let page = Say::Whole(200, "text/html", "<html>Sign in</html>".into());
    assert!(matches!(fails(page).await, ModelError::Malformed { .. }));
}

#[tokio::test]
async fn a_reply_with_neither_text_nor_call_is_none() {
    let error = fails(Say::events(&[&chunk("{}", "stop"), "[DONE]"])).await;
    assert!(
        error.to_string().contains("neither text nor a call"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_within_a_stream_is_that_error() {
    let begun = chunk(r#"{"content":"Half a"}"#, "");
    let error = fails(Say::events(&[
        &begun,
        r#"{"error":{"code":503,"message":"out of memory"}}"#,
    ]))
    .await;
    let message = "out of memory (status 503)".to_owned();
    assert_eq!(error, ModelError::Overloaded { message });
    let whole = Say::json(
        200,
        r#"{"error":{"type":"rate_limit_error","message":"later"}}"#,
    );
    assert_eq!(
        fails(whole).await,
        ModelError::RateLimited { after_ms: None }
    );
}

#[tokio::test]
async fn a_refusal_is_said_as_one() {
    let refusal = chunk(r#"{"refusal":"I will not."}"#, "stop");
    let message = "I will not.".to_owned();
    assert_eq!(
        fails(Say::events(&[&refusal])).await,
        ModelError::Refused { message }
    );
    let filtered = fails(Say::events(&[&chunk("{}", "content_filter")])).await;
    assert!(
        matches!(filtered, ModelError::Refused { .. }),
        "{filtered:?}"
    );
}

#[tokio::test]
async fn a_call_that_comes_in_pieces_is_put_together() {
    let data = [
        chunk(r#"{"role":"assistant","content":null,"reasoning_content":"I read."}"#, ""),
        chunk(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"files_read_42da5ad7","arguments":""}}]}"#, ""),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"path\":"}}]}"#, ""),
        chunk(r#"{"tool_calls":[{"index":0,"function":{"arguments":" \"a é\"}"}}]}"#, "tool_calls"),
        r#"{"choices":[],"usage":{"prompt_tokens":90,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":64}}}"#.to_owned(),
        "[DONE]".to_owned(),
    ];
    let data: Vec<&str> = data.iter().map(String::as_str).collect();
    // However the bytes are cut: after every seventh, also within a character.
    let whole: String = sse(&data).concat();
    let server = Faulty::start(vec![Say::events(&data), Say::Stream(cut(&whole), true)]).await;
    let model = at(&server, true).await;
    let sent = {
        let server = Faulty::start(vec![Say::events(&["x"])]).await;
        let _ = at(&server, true)
            .await
            .reply(&asks("Hi", tools()), &mut ())
            .await;
        server.posts()[0].body["tools"][0]["function"]["name"].clone()
    };
    assert_eq!(sent, "files_read_42da5ad7", "the name that the script uses");
    for _ in 0..2 {
        let mut heard = Heard::default();
        let reply = model.reply(&asks("Hi", tools()), &mut heard).await.unwrap();
        assert_eq!(reply.calls.len(), 1);
        assert_eq!(reply.calls[0].name, "files.read");
        assert_eq!(reply.calls[0].args, json!({"path": "a é"}));
        assert_eq!(reply.thought, "I read.");
        assert_eq!(heard.thought, "I read.");
        assert_eq!(heard.call, "files.read {\"path\": \"a é\"}");
        assert_eq!(
            (reply.usage.input, reply.usage.cached, reply.usage.output),
            (90, 64, 12)
        );
        assert_eq!(reply.stop, Stop::End);
        assert_eq!(reply.model, "openai/m");
    }
}

/// Pieces of seven characters.
fn cut(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(7)
        .map(|piece| piece.iter().collect())
        .collect()
}

#[tokio::test]
async fn calls_are_kept_apart_however_a_server_numbers_them() {
    let one_id = [
        r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"finish","arguments":"{\"answer\":\"a\"}"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"x","function":{"name":"finish","arguments":"{\"answer\":\"b\"}"}}]}"#,
    ];
    let one_index = [
        r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"finish","arguments":"{\"answer\":\"a\"}"}}]}"#,
        r#"{"tool_calls":[{"index":0,"id":"y","function":{"name":"finish","arguments":"{\"answer\":\"b\"}"}}]}"#,
    ];
    let neither = [
        r#"{"tool_calls":[{"id":"x","function":{"name":"finish","arguments":"{\"answer\":\"a\"}"}}]}"#,
        r#"{"tool_calls":[{"id":"x","function":{"name":"finish","arguments":"{\"answer\":\"b\"}"}}]}"#,
    ];
    let interleaved = [
        r#"{"tool_calls":[{"index":0,"id":"x","function":{"name":"finish","arguments":"{\"ans"}},{"index":1,"id":"x","function":{"name":"finish","arguments":"{\"answer\":"}}]}"#,
        r#"{"tool_calls":[{"index":1,"function":{"arguments":"\"b\"}"}},{"index":0,"function":{"arguments":"wer\":\"a\"}"}}]}"#,
    ];
    for script in [one_id, one_index, neither, interleaved] {
        let data: Vec<String> = script.iter().map(|delta| chunk(delta, "")).collect();
        let end = chunk("{}", "tool_calls");
        let server = Faulty::start(vec![Say::events(&[&data[0], &data[1], &end])]).await;
        let reply = at(&server, true)
            .await
            .reply(&asks("Hi", tools()), &mut ())
            .await
            .unwrap();
        let answers: Vec<_> = reply
            .calls
            .iter()
            .map(|call| call.args["answer"].clone())
            .collect();
        assert_eq!(answers, ["a", "b"], "{script:?}");
    }
}

#[tokio::test]
async fn arguments_that_are_no_json_are_kept_as_text() {
    for (args, kept) in [("{\\\"answer\\\": yes}", "{\"answer\": yes}"), ("", "")] {
        let call = format!(
            r#"{{"tool_calls":[{{"index":0,"id":"x","function":{{"name":"finish","arguments":"{args}"}}}}]}}"#
        );
        let server = Faulty::start(vec![Say::events(&[&chunk(&call, "tool_calls")])]).await;
        let reply = at(&server, true)
            .await
            .reply(&asks("Hi", tools()), &mut ())
            .await
            .unwrap();
        assert_eq!(reply.calls[0].args, json!(kept), "never an empty object");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_the_connection_closed() {
    let begun = sse(&[&chunk(r#"{"content":"Half a"}"#, "")]);
    for (pieces, idle, first_token) in [(begun, 0.2, 500.0), (vec![], 500.0, 0.2)] {
        let server = Faulty::start(vec![Say::Hang(pieces)]).await;
        let connection = Connection {
            idle: Duration::from_secs_f64(idle),
            first_token: Duration::from_secs_f64(first_token),
            ..to(&server.v1())
        };
        // What is listed comes at once, in whatever time this machine takes for it.
        let patient = told(to(&server.v1()), "m", true);
        assert_eq!(openai::models(&patient).await, Ok(vec![]));
        let error = match OpenAi::connect(told(connection, "m", true)).await {
            Ok(model) => {
                let error = model.reply(&asks("Hi", tools()), &mut ()).await;
                server.client_is_gone().await;
                error.unwrap_err()
            }
            Err(error) => error,
        };
        match error {
            ModelError::Unreachable { message } => {
                assert!(message.contains("said nothing for 0.2 s"), "{message}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_reply_that_nobody_waits_for_hangs_up() {
    let begun = sse(&[&chunk(r#"{"content":"Half a"}"#, "")]);
    let server = Faulty::start(vec![Say::Hang(begun)]).await;
    let model = at(&server, true).await;
    {
        let request = asks("Hi", tools());
        let (mut heard, begun) = (
            Begun::default(),
            std::sync::Arc::new(tokio::sync::Notify::new()),
        );
        heard.0 = Some(begun.clone());
        let reply = model.reply(&request, &mut heard);
        tokio::select! {
            reply = reply => panic!("{reply:?}"),
            () = begun.notified() => {}
        }
    }
    server.client_is_gone().await;
}

/// Says when the first piece has come.
#[derive(Default)]
struct Begun(Option<std::sync::Arc<tokio::sync::Notify>>);

impl gpak_kernel::model::Deltas for Begun {
    fn delta(&mut self, _: gpak_kernel::model::Delta<'_>) {
        if let Some(begun) = &self.0 {
            begun.notify_one();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for base in [
        format!("http://127.0.0.1:{port}/v1"),
        "http://gpak.invalid/v1".to_owned(),
    ] {
        let mut connection = to(&base);
        connection.key = Some(Key::new(KEY));
        let openai = OpenAi::connect(told(connection.clone(), "m", true))
            .await
            .err()
            .unwrap();
        let ollama = ollama::Ollama::connect(ollama::Options::new(connection, "m"))
            .await
            .err()
            .unwrap();
        for error in [openai, ollama] {
            assert!(
                matches!(&error, ModelError::Unreachable { message } if message.contains(&base)),
                "{error:?}"
            );
        }
    }
    let error = OpenAi::connect(told(to("localhost:1"), "m", true))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ModelError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_server_refuses_is_left_out_from_then_on() {
    let no_seed = Say::json(
        400,
        r#"{"error":{"message":"Unsupported parameter: 'seed'","param":"seed"}}"#,
    );
    let no_schema = Say::json(
        400,
        r#"{"error":{"message":"response_format json_schema is not supported"}}"#,
    );
    let step = chunk(
        &json!({"content": "{\"thought\":\"t\",\"tool\":\"finish\",\"args\":{\"answer\":\"a\"}}"})
            .to_string(),
        "stop",
    );
    let server = Faulty::start(vec![no_seed, no_schema, Say::events(&[&step])]).await;
    let model = at(&server, false).await;
    for _ in 0..2 {
        let reply = model.reply(&asks("Hi", tools()), &mut ()).await.unwrap();
        assert_eq!(reply.calls[0].name, "finish");
    }
    let posts = server.posts();
    let formats: Vec<_> = posts
        .iter()
        .map(|post| post.body["response_format"]["type"].clone())
        .collect();
    assert_eq!(
        formats,
        ["json_schema", "json_schema", "json_object", "json_object"]
    );
    let seeds: Vec<bool> = posts
        .iter()
        .map(|post| post.body.get("seed").is_some())
        .collect();
    assert_eq!(seeds, [true, false, false, false]);
}

#[tokio::test]
async fn responses_fail_as_chat_does() {
    let cases = [
        (
            r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
            "wait",
        ),
        (
            r#"{"type":"error","code":"server_error","message":"broken"}"#,
            "overloaded: broken",
        ),
        (
            r#"{"type":"response.incomplete","response":{"incomplete_details":{"reason":"content_filter"}}}"#,
            "refused",
        ),
        (
            r#"{"type":"response.refusal.delta","delta":"No."}"#,
            "refused: No.",
        ),
        (
            r#"{"type":"response.output_text.delta","delta":"Half"}"#,
            "broke off",
        ),
    ];
    for (event, part) in cases {
        let server = Faulty::start(vec![Say::events(&[event])]).await;
        let mut options = told(to(&server.v1()), "m", true);
        options.api = Some(Api::Responses);
        let model = OpenAi::connect(options).await.unwrap();
        let error = model
            .reply(&asks("Hi", tools()), &mut ())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{event}: {error}");
        assert_eq!(server.posts()[0].line, "POST /v1/responses");
    }
}
