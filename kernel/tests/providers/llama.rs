//! The OpenAI protocol against llama.cpp's server with a real model.

use gpak_kernel::{
    label::Label,
    model::{
        CallId, Deltas, Message, Model, ModelError, Reply, Stop,
        openai::{self, Api, OpenAi},
        remote::Key,
        step,
    },
};
use serde_json::Value;

use super::{
    python::{self, MODEL, Served, WINDOW},
    support::{Heard, asks, to, told, tools},
};

fn v1(served: &Served) -> String {
    format!("{}/v1", served.base)
}

/// A reply that any of the four ways to ask must have given.
fn check_step(reply: &Reply, heard: &Heard) {
    if reply.stop == Stop::End {
        let call = &reply.calls[0];
        let schema = step::schema(&tools());
        let written =
            serde_json::json!({"thought": reply.thought, "tool": call.name, "args": call.args});
        let valid = jsonschema::validator_for(&schema).unwrap();
        assert!(valid.is_valid(&written), "{written}");
    }
    assert_eq!(heard.thought, reply.thought);
    assert!(heard.pieces > 1, "it comes in pieces");
    let usage = reply.usage;
    assert!(usage.input > 100 && usage.output > 10, "{usage:?}");
    assert!(usage.cached < usage.input, "{usage:?}");
    assert!(usage.first_token_ms <= usage.total_ms, "{usage:?}");
    println!(
        "{}: {} tokens read ({} cached), {} written, first after {} ms, last after {} ms: {:?}",
        reply.model,
        usage.input,
        usage.cached,
        usage.output,
        usage.first_token_ms,
        usage.total_ms,
        reply.calls
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_found_out_about_and_gives_steps_that_are_valid() {
    let served = python::llama();
    let folder = tempfile::tempdir().unwrap();
    let probes = folder.path().join("probes.json");
    let mut options = openai::Options::new(to(&v1(&served)), "");
    options.probes = Some(probes.clone());
    assert_eq!(openai::models(&options).await.unwrap(), [MODEL]);

    let model = OpenAi::connect(options.clone()).await.unwrap();
    let profile = model.profile().clone();
    println!("{profile:?}");
    assert_eq!(profile.id(), format!("openai/{MODEL}"));
    assert_eq!(
        profile.window, WINDOW,
        "what is served, not what the model was trained for"
    );
    assert!(profile.local);
    let remembered: Value = serde_json::from_slice(&std::fs::read(&probes).unwrap()).unwrap();
    println!("{remembered}");
    assert_eq!(remembered["probes"].as_object().unwrap().len(), 1);

    for api in [Api::Chat, Api::Responses] {
        let model = OpenAi::connect(openai::Options {
            api: Some(api),
            native_tools: Some(false),
            ..options.clone()
        });
        let model = model.await.unwrap();
        let mut heard = Heard::default();
        let reply = model
            .reply(&asks("What is 2 + 2?", tools()), &mut heard)
            .await
            .unwrap();
        println!("{api:?}");
        check_step(&reply, &heard);
    }

    // Without tools it is text.
    let mut heard = Heard::default();
    let mut request = asks("Say hello.", vec![]);
    request.sampling.max_tokens = 12;
    let reply = model.reply(&request, &mut heard).await.unwrap();
    assert_eq!(reply.text, heard.text);
    assert!(!reply.text.is_empty() && reply.calls.is_empty());
    assert!(reply.usage.output <= 12, "{:?}", reply.usage);

    // A prompt over the window says what fits. The server may close a connection that it kept just as it is used
    // again; then a run tries once more, too.
    let long = asks(&"word ".repeat(3000), vec![]);
    let mut errors = Vec::new();
    for _ in 0..5 {
        errors.push(model.reply(&long, &mut ()).await.unwrap_err());
        if !matches!(errors.last(), Some(ModelError::Unreachable { .. })) {
            break;
        }
    }
    assert_eq!(
        errors.last(),
        Some(&ModelError::ContextOverflow { limit: WINDOW }),
        "{errors:?}"
    );
}

/// Stops listening at the first piece.
struct First(Option<tokio::sync::oneshot::Sender<()>>);

impl Deltas for First {
    fn delta(&mut self, _: gpak_kernel::model::Delta<'_>) {
        if let Some(first) = self.0.take() {
            let _ = first.send(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_stops_when_nobody_waits() {
    let served = python::llama();
    let model = OpenAi::connect(told(to(&v1(&served)), MODEL, false))
        .await
        .unwrap();
    let mut request = asks("Count to ten thousand.", vec![]);
    request.sampling.max_tokens = 1900;
    let (first, begun) = tokio::sync::oneshot::channel();
    {
        let mut deltas = First(Some(first));
        let reply = model.reply(&request, &mut deltas);
        tokio::select! {
            reply = reply => panic!("it was done before it could be dropped: {reply:?}"),
            begun = begun => begun.unwrap(),
        }
    }
    // The only slot is busy until the server notices; what is asked next would wait for it.
    loop {
        let slots = get(&format!("{}/slots", served.base));
        let slots: Value = serde_json::from_str(&slots).unwrap();
        if slots[0]["is_processing"] == false {
            let held = slots[0]["n_prompt_tokens"].as_u64().unwrap();
            println!(
                "idle again, with {held} tokens read and written of 1900 that were to be written"
            );
            assert!(held < 1900, "it went on to the end");
            break;
        }
        tokio::task::yield_now().await;
    }
}

fn get(address: &str) -> String {
    let mut answer = ureq::get(address).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_named_takes_a_step_each_way() {
    let Some(base) = std::env::var("GPAK_TEST_OPENAI").ok() else {
        println!("GPAK_TEST_OPENAI (a base URL) is not set: not run");
        return;
    };
    let mut options = openai::Options::new(to(&base), "");
    options.connection.key = std::env::var("OPENAI_API_KEY")
        .ok()
        .map(|key| Key::new(&key));
    for api in [Api::Chat, Api::Responses] {
        options.api = Some(api);
        let model = OpenAi::connect(options.clone()).await.unwrap();
        println!("{api:?} {:?}", model.profile());
        let mut heard = Heard::default();
        let reply = model
            .reply(&asks("What is in the file a.txt?", tools()), &mut heard)
            .await
            .unwrap();
        println!("{reply:?}");
        assert!(!reply.calls.is_empty());
        let mut request = asks("What is in the file a.txt?", tools());
        let id = CallId { reply: 1, index: 0 };
        let call = reply.calls[0].clone();
        let name = call.name.clone();
        request.messages.push(Message::Assistant {
            thought: reply.thought,
            text: reply.text,
            calls: vec![(id, call)],
            state: reply.state,
        });
        request.messages.push(Message::Tool {
            call: id,
            name: name.clone(),
            text: "The number is 42.".into(),
            ok: true,
            label: Label::Tool(name),
        });
        let reply = model.reply(&request, &mut heard).await.unwrap();
        println!("{reply:?}");
        // What it makes of the result is the model's affair; that it says something is ours.
        assert!(!reply.calls.is_empty() || !reply.text.is_empty());
    }
}
