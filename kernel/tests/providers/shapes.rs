//! What goes out, in full, and what comes back of it.

use async_openai::types::{chat::CreateChatCompletionRequest, responses::CreateResponse};
use gpak_kernel::{
    label::Label,
    model::{
        CallId, Message, Model, Price, Request, ToolCall,
        openai::{Api, OpenAi, Options},
        step,
    },
};
use serde_json::{Value, json};

use super::{
    faulty::{Faulty, Say},
    support::{Heard, asks, to, told, tools},
};

const READ: &str = "files_read_42da5ad7";

/// A conversation with one call, its result, and what the provider wants back.
fn conversation(state: Option<Value>) -> Request {
    let mut request = asks("What is in a?", tools());
    let id = CallId { reply: 3, index: 0 };
    let name = "files.read".to_owned();
    let args = json!({"path": "a"});
    request.messages.push(Message::Assistant {
        thought: "I read it.".into(),
        text: String::new(),
        calls: vec![(
            id,
            ToolCall {
                name: name.clone(),
                args,
            },
        )],
        state,
    });
    request.messages.push(Message::Tool {
        call: id,
        name: name.clone(),
        text: "1 2 3".into(),
        ok: true,
        label: Label::Tool(name),
    });
    request
}

fn done() -> Say {
    Say::events(&[r#"{"choices":[{"delta":{"content":"Done."},"finish_reason":"stop"}]}"#])
}

#[tokio::test]
async fn chat_with_native_calls() {
    let server = Faulty::start(vec![done()]).await;
    let model = OpenAi::connect(told(to(&server.v1()), "m", true))
        .await
        .unwrap();
    model.reply(&conversation(None), &mut ()).await.unwrap();
    let body = server.posts()[0].body.clone();
    let tool = |name: &str, own: &str, input: &Value| json!({"type": "function", "function": {"name": name, "description": format!("Does {own}."), "parameters": input}});
    let all = tools();
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "You are gpak."},
                {"role": "user", "content": "What is in a?"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "r00003c00", "type": "function", "function": {"name": READ, "arguments": "{\"path\":\"a\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "r00003c00", "content": "1 2 3"},
            ],
            "tools": [tool(READ, "files.read", &all[0].input), tool("finish", "finish", &all[1].input)],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.0,
            "seed": 0,
            "max_tokens": 400,
        })
    );
    serde_json::from_value::<CreateChatCompletionRequest>(body)
        .expect("the crate's own type reads it");
}

#[tokio::test]
async fn chat_with_steps() {
    let text = step::write("t", "finish", &json!({"answer": "a"}));
    let event =
        json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}).to_string();
    let server = Faulty::start(vec![Say::events(&[&event])]).await;
    let model = OpenAi::connect(told(to(&server.v1()), "m", false))
        .await
        .unwrap();
    let mut request = conversation(None);
    request.barred = vec!["files.read".into()];
    let reply = model.reply(&request, &mut ()).await.unwrap();
    assert_eq!((reply.thought.as_str(), reply.text.as_str()), ("t", ""));
    assert_eq!(
        reply.calls,
        [ToolCall {
            name: "finish".into(),
            args: json!({"answer": "a"})
        }]
    );
    let body = server.posts()[0].body.clone();
    assert_eq!(body.get("tools"), None);
    let format = &body["response_format"];
    assert_eq!(format["type"], "json_schema");
    assert_eq!(
        format["json_schema"]["schema"],
        step::schema(&request.choices()),
        "without what is barred"
    );
    let turns = step::turns(&request);
    let sent: Vec<_> = body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].clone())
        .collect();
    let texts: Vec<_> = turns.iter().map(|turn| turn.text.clone()).collect();
    assert_eq!(sent, texts);
    serde_json::from_value::<CreateChatCompletionRequest>(body)
        .expect("the crate's own type reads it");
}

#[tokio::test]
async fn responses_with_native_calls_give_back_what_was_thought() {
    let events = [
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1"}}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "I read."}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": [], "status": "completed", "encrypted_content": "gAAA"}}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "id": "fc_1", "call_id": "x", "name": READ, "arguments": ""}}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc_2", "call_id": "x", "name": "finish", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"answer\":"}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{\"path\":\"b\"}"}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "\"c\"}"}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "function_call", "name": READ, "arguments": "{\"path\":\"b\"}"}}),
        json!({"type": "response.completed", "response": {"usage": {"input_tokens": 1000, "input_tokens_details": {"cached_tokens": 600}, "output_tokens": 100}}}),
    ];
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let server = Faulty::start(vec![Say::events(&events)]).await;
    let model = OpenAi::connect(Options {
        api: Some(Api::Responses),
        price: Some(Price {
            input: 2.0,
            cached: 0.5,
            output: 8.0,
        }),
        ..told(to(&server.v1()), "m", true)
    });
    let model = model.await.unwrap();
    let mut heard = Heard::default();
    let reply = model.reply(&asks("Hi", tools()), &mut heard).await.unwrap();
    assert_eq!(reply.thought, "I read.");
    let called: Vec<_> = reply
        .calls
        .iter()
        .map(|call| (call.name.as_str(), call.args.to_string()))
        .collect();
    assert_eq!(
        called,
        [
            ("files.read", r#"{"path":"b"}"#.to_owned()),
            ("finish", r#"{"answer":"c"}"#.to_owned())
        ]
    );
    let cost = (400.0 * 2.0 + 600.0 * 0.5 + 100.0 * 8.0) / 1e6;
    assert!((reply.usage.cost - cost).abs() < 1e-12, "{:?}", reply.usage);

    // The same model gets it back; what another provider wants back is none of its business.
    model
        .reply(&conversation(reply.state.clone()), &mut ())
        .await
        .unwrap();
    model
        .reply(&conversation(Some(json!({"next": 3}))), &mut ())
        .await
        .unwrap();
    let posts = server.posts();
    let body = &posts[1].body;
    let call = json!({"type": "function_call", "call_id": "r00003c00", "name": READ, "arguments": "{\"path\":\"a\"}"});
    let result = json!({"type": "function_call_output", "call_id": "r00003c00", "output": "1 2 3"});
    let thought =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
    let user = json!({"role": "user", "content": "What is in a?"});
    assert_eq!(body["input"], json!([user, thought, call, result]));
    assert_eq!(posts[2].body["input"], json!([user, call, result]));
    assert_eq!(body["instructions"], "You are gpak.");
    assert_eq!(
        (&body["store"], &body["stream"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(body["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(body.get("previous_response_id"), None);
    let sent: Vec<_> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(sent, [READ, "finish"]);
    serde_json::from_value::<CreateResponse>(body.clone()).expect("the crate's own type reads it");
}

#[tokio::test]
async fn a_model_is_asked_once_whether_it_calls_and_the_answer_is_remembered() {
    let call = |name: &str, args: &str| {
        let delta = json!({"tool_calls": [{"index": 0, "id": "x", "function": {"name": name, "arguments": args}}]});
        Say::events(&[
            &json!({"choices": [{"delta": delta, "finish_reason": "tool_calls"}]}).to_string(),
        ])
    };
    let says = |text: &str| {
        Say::events(&[
            &json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]})
                .to_string(),
        ])
    };
    let refuses = Say::json(
        400,
        r#"{"error":{"message":"\"auto\" tool choice requires --enable-auto-tool-choice"}}"#,
    );
    for (say, native) in [
        (call("ping", r#"{"word":"kestrel"}"#), true),
        (call("ping", r#"{"word":"bird"}"#), false),
        (call("ping", "kestrel"), false),
        (call("pong", r#"{"word":"kestrel"}"#), false),
        (
            says(r#"<tool_call>{"name":"ping","arguments":{"word":"kestrel"}}</tool_call>"#),
            false,
        ),
        (says(&"Sure! ".repeat(200)), false),
        (refuses, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Faulty::start(vec![say.clone()]).await;
        let mut options = Options::new(to(&server.v1()), "m");
        options.probes = Some(folder.path().join("probes.json"));
        for _ in 0..2 {
            let model = OpenAi::connect(options.clone()).await.unwrap();
            assert_eq!(model.profile().native_tools, native, "{say:?}");
        }
        let posts = server.posts();
        assert_eq!(posts.len(), 1, "{say:?}");
        assert_eq!(posts[0].body["tools"][0]["function"]["name"], "ping");
        assert_eq!(
            posts[0].body.get("tool_choice"),
            None,
            "a choice that is forced proves nothing"
        );
        std::fs::write(folder.path().join("probes.json"), "{").unwrap();
        OpenAi::connect(options).await.unwrap();
        assert_eq!(server.posts().len(), 2, "a damaged file is asked for again");
    }
}

#[tokio::test]
async fn thought_in_tags_is_no_text() {
    let events = ["<th", "ink>Why", " not.</thi", "nk>\n\nDone", "."];
    let events: Vec<String> = events
        .iter()
        .map(|text| json!({"choices": [{"delta": {"content": text}}]}).to_string())
        .chain([json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string()])
        .collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let server = Faulty::start(vec![Say::events(&events)]).await;
    let model = OpenAi::connect(told(to(&server.v1()), "m", true))
        .await
        .unwrap();
    let mut heard = Heard::default();
    let reply = model.reply(&asks("Hi", vec![]), &mut heard).await.unwrap();
    assert_eq!(
        (reply.thought.as_str(), reply.text.as_str()),
        ("Why not.", "Done.")
    );
    assert_eq!(
        (heard.thought.as_str(), heard.text.as_str()),
        ("Why not.", "Done.")
    );
    assert!(
        reply.usage.input > 0 && reply.usage.output > 0,
        "counted from the text"
    );
}
