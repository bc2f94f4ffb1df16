//! What a provider adds to its server's own time: printed, not asserted, since it is this machine's.

use std::time::{Duration, Instant};

use gpak_kernel::model::{
    Delta, Deltas, Model,
    ollama::{self, Ollama},
    openai::{Api, OpenAi, Options},
};
use serde_json::json;

use super::{
    faulty::{Faulty, Say},
    support::{asks, to, told, tools},
};

const REPLIES: usize = 200;

/// When the first piece came.
#[derive(Default)]
struct First(Option<Instant>);

impl Deltas for First {
    fn delta(&mut self, _: Delta<'_>) {
        self.0.get_or_insert_with(Instant::now);
    }
}

/// Asks a server that answers at once, and prints what passes until the first piece and the end.
async fn measure(name: &str, model: &dyn Model) {
    let mut request = asks("Hi", tools());
    // A conversation of some 60,000 characters, as a run has after a while.
    let again = request.messages[1].clone();
    request
        .messages
        .extend((0..20).map(|_| match again.clone() {
            gpak_kernel::model::Message::User { label, .. } => gpak_kernel::model::Message::User {
                text: "word ".repeat(600),
                label,
            },
            other => other,
        }));
    let (mut first, mut total) = (Vec::new(), Vec::new());
    for _ in 0..REPLIES {
        let (start, mut heard) = (Instant::now(), First::default());
        let reply = model.reply(&request, &mut heard).await.unwrap();
        total.push(start.elapsed());
        first.push(heard.0.unwrap() - start);
        assert_eq!(reply.calls.len(), 1);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    println!(
        "{name}: {REPLIES} replies of a server that answers at once: first piece after {:?}, end after {:?} (medians)",
        median(&mut first),
        median(&mut total)
    );
}

#[tokio::test]
async fn a_step_adds_little_to_the_servers_own_time() {
    let call = json!({"index": 0, "id": "x", "function": {"name": "finish", "arguments": "{\"answer\":\"a\"}"}});
    let chat =
        json!({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]});
    let item = json!({"type": "function_call", "id": "f", "name": "finish", "arguments": "{\"answer\":\"a\"}"});
    let events = [
        json!({"type": "response.output_item.done", "item": item}).to_string(),
        json!({"type": "response.completed", "response": {}}).to_string(),
    ];
    for (api, say) in [
        (Api::Chat, Say::events(&[&chat.to_string()])),
        (Api::Responses, Say::events(&[&events[0], &events[1]])),
    ] {
        let server = Faulty::start(vec![say]).await;
        let options = Options {
            api: Some(api),
            ..told(to(&server.v1()), "m", true)
        };
        measure(
            &format!("openai {api:?}"),
            &OpenAi::connect(options).await.unwrap(),
        )
        .await;
    }
    let line = json!({"message": {"content": "", "tool_calls": [{"function": {"name": "finish", "arguments": {"answer": "a"}}}]}, "done": true});
    let server = Faulty::start(vec![
        Say::json(200, "{}"),
        Say::Stream(vec![format!("{line}\n")], true),
    ])
    .await;
    let options = ollama::Options {
        native_tools: Some(true),
        ..ollama::Options::new(to(&server.base), "m")
    };
    measure("ollama", &Ollama::connect(options).await.unwrap()).await;
}
