//! Ollama's protocol: against a proxy that speaks it, in front of llama.cpp's server with a real model;
//! against a real Ollama where `OLLAMA_HOST` names one; and against one that says what it is told to.

use gpak_kernel::model::{
    CallId, Message, Model, ModelError, Stop, ToolCall,
    ollama::{self, Ollama, Options},
    step,
};
use serde_json::json;

use super::{
    faulty::{Faulty, Say},
    python::{self, MODEL},
    support::{Heard, asks, to, tools},
};

/// What every server that speaks the protocol must do.
async fn suite(options: Options) {
    let has = ollama::models(&options).await.unwrap();
    assert!(has.contains(&options.model), "{has:?}");
    let model = Ollama::connect(options.clone()).await.unwrap();
    println!("{:?}", model.profile());

    let stepped = Ollama::connect(Options {
        native_tools: Some(false),
        ..options.clone()
    });
    let stepped = stepped.await.unwrap();
    let mut heard = Heard::default();
    let reply = stepped
        .reply(&asks("What is 2 + 2?", tools()), &mut heard)
        .await
        .unwrap();
    println!("{:?}", reply.usage);
    if reply.stop == Stop::End {
        let call = &reply.calls[0];
        let written = json!({"thought": reply.thought, "tool": call.name, "args": call.args});
        let schema = jsonschema::validator_for(&step::schema(&tools())).unwrap();
        assert!(schema.is_valid(&written), "{written}");
    }
    assert_eq!(heard.thought, reply.thought);
    assert!(heard.pieces > 1, "it comes in pieces");
    assert!(reply.usage.input > 0 && reply.usage.output > 0);

    let mut request = asks("Say hello.", vec![]);
    request.sampling.max_tokens = 12;
    let reply = model.reply(&request, &mut ()).await.unwrap();
    assert!(!reply.text.is_empty() && reply.calls.is_empty());

    let missing = Ollama::connect(Options {
        model: "nobody/nothing".into(),
        native_tools: Some(true),
        ..options
    });
    let error = missing.await.err().unwrap();
    println!("{error}");
    assert!(matches!(error, ModelError::Unusable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_before_a_real_model_gives_steps_that_are_valid() {
    let llama = python::llama();
    let proxy = python::ollama_proxy(&llama);
    let mut options = Options::new(to(&proxy.base), format!("llama/{MODEL}"));
    options.window = Some(python::WINDOW);
    suite(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_ollama_does_the_same() {
    let Some(host) = std::env::var("OLLAMA_HOST")
        .ok()
        .filter(|host| !host.is_empty())
    else {
        println!("OLLAMA_HOST is not set: not run");
        return;
    };
    let base = if host.contains("://") {
        host
    } else {
        format!("http://{host}")
    };
    let mut options = Options::new(to(&base), "");
    let models = ollama::models(&options).await.unwrap();
    println!("OLLAMA_HOST is set: run against {base} with {models:?}");
    options.model = models
        .first()
        .expect("the server has no model; `ollama pull` one")
        .clone();
    suite(options).await;
}

fn lines(lines: &[&str]) -> Say {
    Say::Stream(lines.iter().map(|line| format!("{line}\n")).collect(), true)
}

fn shown(capabilities: &str) -> Say {
    Say::json(
        200,
        &format!(
            r#"{{"model_info":{{"llama.context_length":4096}},"capabilities":[{capabilities}]}}"#
        ),
    )
}

#[tokio::test]
async fn a_request_has_the_window_the_schema_and_how_long_to_stay() {
    let step = r#"{\"thought\":\"t\",\"tool\":\"finish\",\"args\":{\"answer\":\"é\"}}"#;
    let said = format!(r#"{{"message":{{"role":"assistant","content":"{step}"}},"done":false}}"#);
    let done = r#"{"done":true,"done_reason":"stop","prompt_eval_count":80,"eval_count":9}"#;
    let server = Faulty::start(vec![shown("\"completion\""), lines(&[&said, done])]).await;
    let mut options = Options::new(to(&server.base), "m");
    options.window = Some(16_384);
    options.keep_alive = serde_json::from_value(json!("1h30m")).unwrap();
    let model = Ollama::connect(options).await.unwrap();
    assert_eq!(model.profile().window, 4096, "the model has no more");
    assert!(
        !model.profile().native_tools,
        "the server says no, and is believed"
    );
    let mut heard = Heard::default();
    let reply = model.reply(&asks("Hi", tools()), &mut heard).await.unwrap();
    assert_eq!(
        reply.calls,
        [ToolCall {
            name: "finish".into(),
            args: json!({"answer": "é"})
        }]
    );
    assert_eq!((reply.thought.as_str(), heard.thought.as_str()), ("t", "t"));
    assert_eq!((reply.usage.input, reply.usage.output), (80, 9));
    let posts = server.posts();
    let lines: Vec<&str> = posts.iter().map(|post| post.line.as_str()).collect();
    assert_eq!(lines, ["POST /api/show", "POST /api/chat"]);
    let body = &posts[1].body;
    assert_eq!(body["stream"], true);
    assert_eq!(body["options"]["num_ctx"], 4096);
    assert_eq!(body["options"]["num_predict"], 400);
    assert_eq!(body["keep_alive"], "1h30m");
    assert_eq!(body["format"], step::schema(&tools()));
    assert_eq!(body.get("tools"), None);
    assert!(
        body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("- files.read(path: string)")
    );
}

#[tokio::test]
async fn native_calls_go_out_and_come_back_under_the_tools_own_names() {
    let pong = r#"{"message":{"content":"","tool_calls":[{"function":{"name":"ping","arguments":{"word":"kestrel"}}}]},"done":true}"#;
    let calls = r#"{"message":{"content":"","thinking":"Two.","tool_calls":[{"function":{"name":"files_read_42da5ad7","arguments":{"path":"a"}}},{"function":{"name":"finish","arguments":"no"}}]},"done":false}"#;
    let done = r#"{"message":{"content":""},"done":true,"done_reason":"length"}"#;
    let server = Faulty::start(vec![
        shown("\"tools\""),
        lines(&[pong]),
        lines(&[calls, done]),
    ])
    .await;
    let model = Ollama::connect(Options::new(to(&server.base), "m"))
        .await
        .unwrap();
    assert!(model.profile().native_tools);
    let mut request = asks("Hi", tools());
    let id = CallId { reply: 1, index: 0 };
    let name = "files.read".to_owned();
    request.messages.push(Message::Assistant {
        thought: String::new(),
        text: String::new(),
        calls: vec![(
            id,
            ToolCall {
                name: name.clone(),
                args: json!({"path": "b"}),
            },
        )],
        state: None,
    });
    request.messages.push(Message::Tool {
        call: id,
        name,
        text: "no such file".into(),
        ok: false,
        label: gpak_kernel::label::Label::Tool("files.read".into()),
    });
    let reply = model.reply(&request, &mut ()).await.unwrap();
    assert_eq!(reply.thought, "Two.");
    assert_eq!(reply.stop, Stop::Length);
    assert_eq!(
        reply.calls[0],
        ToolCall {
            name: "files.read".into(),
            args: json!({"path": "a"})
        }
    );
    assert_eq!(
        reply.calls[1].args,
        json!("no"),
        "what is no object is kept and refused later"
    );
    let body = &server.posts()[2].body;
    let sent: Vec<_> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].clone())
        .collect();
    assert_eq!(sent, ["files_read_42da5ad7", "finish"]);
    assert_eq!(body["tools"][0]["function"]["parameters"], tools()[0].input);
    let [_, _, said, result] = body["messages"].as_array().unwrap().as_slice() else {
        panic!("{body}");
    };
    assert_eq!(
        said["tool_calls"][0]["function"],
        json!({"name": "files_read_42da5ad7", "arguments": {"path": "b"}})
    );
    assert_eq!(result["content"], "Error: no such file");
    assert_eq!(result["tool_name"], "files_read_42da5ad7");
    assert_eq!(body.get("format"), None);
}

#[tokio::test]
async fn what_fails_is_said_faithfully() {
    let cases = [
        (
            lines(&[r#"{"message":{"content":"Half"},"done":false}"#]),
            "broke off",
        ),
        (lines(&[r#"{"message":"#]), "no JSON"),
        (
            lines(&[r#"{"error":"model runner has unexpectedly stopped"}"#]),
            "overloaded: model runner",
        ),
        (
            lines(&[
                r#"{"message":{"content":""},"done":true,"done_reason":"error","error":"oops"}"#,
            ]),
            "overloaded: oops",
        ),
        (
            lines(&[r#"{"message":{"content":""},"done":true}"#]),
            "neither text nor a call",
        ),
        (
            Say::json(401, r#"{"error":"unauthorized"}"#),
            "refused the key: unauthorized",
        ),
        (
            Say::json(404, r#"{"error":"model 'm' not found"}"#),
            "`ollama pull m` fetches it",
        ),
        (
            Say::With(429, "Retry-After: 2", "{}".into()),
            "asks to wait 2s",
        ),
        (
            Say::json(503, r#"{"error":"server busy"}"#),
            "overloaded: server busy",
        ),
    ];
    for (say, part) in cases {
        let server = Faulty::start(vec![shown("\"tools\""), say.clone()]).await;
        let options = Options {
            native_tools: Some(true),
            ..Options::new(to(&server.base), "m")
        };
        let model = Ollama::connect(options).await.unwrap();
        let error = model
            .reply(&asks("Hi", tools()), &mut ())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{say:?}: {error}");
    }
}
