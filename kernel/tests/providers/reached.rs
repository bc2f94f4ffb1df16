//! How a server is reached: with its key, and through proxies.

use gpak_kernel::model::{
    Model,
    openai::{self, OpenAi},
    remote::Key,
};

use super::{
    faulty::{Faulty, Say},
    support::{asks, to, told},
};

/// A variable that tells a test which proxy it was started behind.
const BEHIND: &str = "GPAK_TEST_BEHIND_PROXY";

fn hello() -> Say {
    Say::events(&[r#"{"choices":[{"delta":{"content":"Hello."},"finish_reason":"stop"}]}"#])
}

#[tokio::test]
async fn the_key_is_in_the_head_of_every_request_and_nowhere_else() {
    let server = Faulty::start(vec![hello()]).await;
    let mut connection = to(&server.v1());
    connection.key = Some(Key::new(" sk-test \n"));
    let options = told(connection, "m", true);
    assert!(!format!("{options:?}").contains("sk-test"));
    let model = OpenAi::connect(options).await.unwrap();
    model.reply(&asks("Hi", vec![]), &mut ()).await.unwrap();
    let asked = server.asked();
    assert!(asked.len() > 1);
    for request in asked {
        assert!(
            request.head.contains("authorization: bearer sk-test\r\n")
                || request.head.ends_with("bearer sk-test")
        );
        assert!(!request.body.to_string().contains("sk-test"));
        assert!(request.head.contains("user-agent: gpak/"));
    }
    let keyless = Faulty::start(vec![hello()]).await;
    let model = OpenAi::connect(told(to(&keyless.v1()), "m", true))
        .await
        .unwrap();
    model.reply(&asks("Hi", vec![]), &mut ()).await.unwrap();
    assert!(
        keyless
            .asked()
            .iter()
            .all(|asked| !asked.head.contains("authorization"))
    );
}

#[tokio::test]
async fn a_proxy_that_is_named_is_used() {
    let proxy = Faulty::start(vec![hello()]).await;
    let mut connection = to("http://model.invalid/v1");
    connection.proxy = Some(proxy.base.clone());
    let model = OpenAi::connect(told(connection, "m", true)).await.unwrap();
    let reply = model.reply(&asks("Hi", vec![]), &mut ()).await.unwrap();
    assert_eq!(reply.text, "Hello.");
    assert_eq!(
        proxy.posts()[0].line,
        "POST http://model.invalid/v1/chat/completions"
    );
    assert!(!model.profile().local);
}

#[tokio::test]
async fn a_proxy_in_the_environment_is_used_but_not_to_this_machine() {
    let proxy = Faulty::start(vec![hello()]).await;
    // What is in the environment is there from a process's start.
    let test = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reached::behind_a_proxy", "--nocapture"])
        .env("HTTP_PROXY", &proxy.base)
        .env("http_proxy", &proxy.base)
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env_remove("REQUEST_METHOD")
        .env(BEHIND, "1")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&test.stdout);
    assert!(
        test.status.success() && said.contains("went through the proxy"),
        "{said}"
    );
    let lines: Vec<_> = proxy.posts().into_iter().map(|post| post.line).collect();
    assert_eq!(lines, ["POST http://model.invalid/v1/chat/completions"]);
}

#[tokio::test]
async fn a_proxy_for_tls_is_asked_for_a_tunnel_unless_the_host_is_excepted() {
    for (no_proxy, asked) in [("", true), ("model.invalid", false)] {
        let proxy = Faulty::start(vec![hello()]).await;
        let test = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "reached::behind_a_proxy_for_tls", "--nocapture"])
            .env("HTTPS_PROXY", &proxy.base)
            .env("https_proxy", &proxy.base)
            .env("NO_PROXY", no_proxy)
            .env("no_proxy", no_proxy)
            .env(BEHIND, "tls")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(
            test.status.success() && said.contains("no way through"),
            "{said}"
        );
        let lines: Vec<_> = proxy.asked().into_iter().map(|asked| asked.line).collect();
        let tunnel = lines.first().map(String::as_str);
        assert_eq!(tunnel, asked.then_some("CONNECT model.invalid:443"));
    }
}

/// Run by the test above, in a process of its own.
#[tokio::test]
async fn behind_a_proxy_for_tls() {
    if std::env::var(BEHIND).as_deref() != Ok("tls") {
        return;
    }
    let mut connection = to("https://model.invalid/v1");
    connection.key = Some(Key::new("sk-test"));
    let error = OpenAi::connect(told(connection, "m", true)).await.err();
    let error = error.unwrap();
    assert!(
        matches!(&error, gpak_kernel::model::ModelError::Unreachable { message } if message.contains("model.invalid")),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("sk-test"));
    println!("no way through");
}

/// Run by the test before it, in a process of its own.
#[tokio::test]
async fn behind_a_proxy() {
    if std::env::var(BEHIND).as_deref() != Ok("1") {
        return;
    }
    let model = OpenAi::connect(told(to("http://model.invalid/v1"), "m", true))
        .await
        .unwrap();
    assert_eq!(
        model
            .reply(&asks("Hi", vec![]), &mut ())
            .await
            .unwrap()
            .text,
        "Hello."
    );
    let here = Faulty::start(vec![hello()]).await;
    assert_eq!(
        openai::models(&told(to(&here.v1()), "m", true))
            .await
            .unwrap(),
        [""; 0]
    );
    assert_eq!(here.asked().len(), 1);
    println!("went through the proxy");
}
