use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use gpak_kernel::{
    run::{Answer, Human, Waiting},
    tool::ToolError,
};
use serde_json::json;

use super::bed::{Listening, User, started, started_as};

/// How long a well behaved server is waited for: a loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(120);
/// How long one is waited for that will say nothing.
const SHORT: Duration = Duration::from_secs(3);

/// A person with answers, who remembers the questions.
struct Person {
    answers: Mutex<Vec<&'static str>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Human for Person {
    async fn ask(&self, waiting: &Waiting, _: Option<&str>) -> Option<Answer> {
        let Waiting::Question { text, .. } = waiting else {
            panic!("{waiting:?}");
        };
        self.asked.lock().unwrap().push(text.clone());
        let mut answers = self.answers.lock().unwrap();
        match answers.is_empty() {
            true => None,
            false => Some(Answer::Text(answers.remove(0).to_owned())),
        }
    }
}

async fn exists(path: &Path) {
    // The test runner ends a test that waits for ever.
    while !std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n')) {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn progress_is_passed_on_by_both_transports() {
    let listening = Listening::start();
    let named = vec![("far", listening.transport()), ("near", started())];
    let user = User::of(named, PATIENT).await;
    for server in ["far", "near"] {
        user.told.lock().unwrap().clear();
        let counting = format!("{server}.count");
        let output = user.call(&counting, json!({"to": 3})).await;
        assert_eq!(output.unwrap().text, "counted to 3");
        let told = user.told.lock().unwrap().clone();
        let steps: Vec<_> = told.iter().map(|told| (told.done, told.of)).collect();
        let all = Some(3.0);
        assert_eq!(steps, [(1.0, all), (2.0, all), (3.0, all)], "{server}");
        assert!(told.iter().all(|told| told.server.as_str() == server));
        assert_eq!(told[1].message.as_deref(), Some("at 2"));
    }
    user.servers.close().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server_and_others_go_on() {
    let listening = Listening::start();
    let named = vec![("far", listening.transport()), ("near", started())];
    let user = User::of(named, PATIENT).await;
    for server in ["far", "near"] {
        let sign = user.home.path().join(server);
        let cancelled = user.home.path().join(format!("{server}.cancelled"));
        let (wait, args) = (format!("{server}.wait"), json!({"sign": sign}));
        tokio::select! {
            ended = user.call(&wait, args) => panic!("{ended:?}"),
            () = exists(&sign) => {}
        }
        exists(&cancelled).await;
        let counting = format!("{server}.count");
        let output = user.call(&counting, json!({"to": 1})).await;
        assert_eq!(output.unwrap().text, "counted to 1");
    }
    user.servers.close().await;
}

#[tokio::test]
async fn what_a_server_asks_for_is_answered_by_the_person() {
    let listening = Listening::start();
    for (name, transport) in [("far", listening.transport()), ("near", started())] {
        for (answers, is) in [
            (vec!["Ada", "many", "36"], "Ada is 36"),
            (vec!["!no"], "the user said decline"),
            (vec![], "the user said cancel"),
        ] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let person = Person {
                answers: Mutex::new(answers),
                asked: asked.clone(),
            };
            let user = User::of(vec![(name, transport.clone())], PATIENT).await;
            let user = user.answering(person);
            let output = user.call(&format!("{name}.ask"), json!({})).await.unwrap();
            assert!(output.text.starts_with(is), "{name}: {}", output.text);
            assert!(output.text.contains("The server asked the user"));
            let asked = asked.lock().unwrap().join("\n");
            let head = format!("The MCP server `{name}` asks: Who are you?");
            assert!(asked.starts_with(&head), "{asked}");
            user.servers.close().await;
        }
    }
}

#[tokio::test]
async fn trouble_of_a_server_harms_its_own_call_only() {
    let named = vec![("bad", started()), ("good", started())];
    let user = User::of(named, SHORT).await;
    for (tool, args, says) in [
        ("die", json!({}), "out of luck"),
        ("hang", json!({}), "said nothing for 3 s"),
        (
            "flood",
            json!({"bytes": 6_000_000}),
            "a message of more than",
        ),
    ] {
        let why = user.call(&format!("bad.{tool}"), args).await.unwrap_err();
        assert!(
            matches!(&why, ToolError::Unknown(why) if why.contains(says)),
            "{tool}: {why}"
        );
        for server in ["good", "bad"] {
            let counting = format!("{server}.count");
            let output = user.call(&counting, json!({"to": 1})).await;
            assert_eq!(output.unwrap().text, "counted to 1", "after {tool}");
        }
    }
    user.servers.close().await;
}

#[tokio::test]
async fn a_server_behind_http_that_hangs_or_floods_harms_its_own_call_only() {
    let listening = Listening::start();
    let user = User::of(vec![("far", listening.transport())], SHORT).await;
    for (tool, args) in [("hang", json!({})), ("flood", json!({"bytes": 6_000_000}))] {
        let why = user.call(&format!("far.{tool}"), args).await.unwrap_err();
        println!("{tool}: {why}");
        assert!(why.to_string().len() < 400, "{tool}: {why}");
        let output = user.call("far.count", json!({"to": 1})).await;
        assert_eq!(output.unwrap().text, "counted to 1", "after {tool}");
    }
    user.servers.close().await;
}

#[tokio::test]
async fn a_long_result_is_cut_and_one_that_is_not_as_declared_is_said_so() {
    let user = User::of(vec![("near", started())], PATIENT).await;
    let long = user.call("near.flood", json!({"bytes": 200_000}));
    let long = long.await.unwrap().text;
    assert!(long.len() < 2_500 && long.contains("truncated"), "{long}");
    let lie = user.call("near.lie", json!({})).await.unwrap();
    assert!(lie.text.contains("not what it declares"), "{}", lie.text);
    assert_eq!(lie.data, None);
    user.servers.close().await;
}

/// Longer than a server is waited for before it is taken for one of an older protocol.
#[tokio::test]
async fn a_server_that_is_slow_to_start_is_used() {
    let user = User::of(vec![("late", started_as("late"))], PATIENT).await;
    let output = user.call("late.count", json!({"to": 1})).await;
    assert_eq!(output.unwrap().text, "counted to 1");
    user.servers.close().await;
}
