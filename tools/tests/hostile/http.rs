//! Guests that want to reach hosts that are not for them. All servers are on loopback.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gpak_kernel::label::Label;
use gpak_tools::wasm::{Names, Secret, Secrets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::wasm::doing::{Sends, sends};

/// A server that answers each path with its text, and keeps what was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinSet<()>,
}

impl Server {
    async fn start(answers: &[(&'static str, String)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: HashMap<_, _> = answers.iter().cloned().collect();
        let (kept, mut task) = (asked.clone(), tokio::task::JoinSet::new());
        task.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut part = [0; 4096];
                    match stream.read(&mut part).await {
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&part[..read]),
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().unwrap().push(request.clone());
                let answer = match path.as_str() {
                    "/echo" => ok(&serde_json::to_string(&request).unwrap()),
                    "/flood" => {
                        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                        let _ = stream.write_all(head.as_bytes()).await;
                        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                        continue;
                    }
                    path => answers.get(path).cloned().unwrap_or_default(),
                };
                if answer.is_empty() {
                    // It says nothing, and keeps the line open until the other side goes.
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    continue;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self {
            port,
            asked,
            _task: task,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Grants it by its address.
    fn grant(&self) -> String {
        format!("[asks]\nprivate_hosts = [\"127.0.0.1:{}\"]\n", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn to(url: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

/// Names that a test makes up; each time a host is asked for, its next addresses are given.
struct MadeUp {
    hosts: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Names for MadeUp {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let time = self.asked.fetch_add(1, Ordering::Relaxed);
        let answers = self
            .hosts
            .get(host)
            .ok_or_else(|| io::Error::other("no such host"))?;
        match answers.get(time).or(answers.last()) {
            Some(addresses) if !addresses.is_empty() => Ok(addresses.clone()),
            _ => Err(io::Error::other("no such host")),
        }
    }
}

fn home_with(hosts: &[(&'static str, &[&[&str]])]) -> Home {
    let addresses = |all: &&[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
    let hosts = hosts
        .iter()
        .map(|(name, times)| (*name, times.iter().map(addresses).collect()));
    let names = MadeUp {
        hosts: hosts.collect(),
        asked: AtomicUsize::new(0),
    };
    Home::with(|mut options| {
        options.names = Arc::new(names);
        options
    })
}

struct OneSecret;

impl Secrets for OneSecret {
    fn get(&self, package: &str, name: &str) -> Option<Secret> {
        (package == "sends" && name == "TOKEN").then(|| Secret::new("s3cr3t"))
    }
}

fn home_with_secret() -> Home {
    Home::with(|mut options| {
        options.secrets = Arc::new(OneSecret);
        options
    })
}

#[tokio::test]
async fn a_granted_host_is_reached_and_its_text_is_labelled() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    let home = Home::new();
    let output = home
        .run(
            &sends(&server.url("/a")).guest(),
            &server.grant(),
            json!({}),
        )
        .await
        .unwrap();
    assert_eq!(output.data, Some(json!([1])));
    assert_eq!(output.label, Some(Label::Web("127.0.0.1".to_owned())));
}

#[tokio::test]
async fn a_host_that_was_not_granted() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    for url in [
        server.url("/a").replace("127.0.0.1", "localhost"),
        "http://127.0.0.1:9/".to_owned(),
        "https://example.com/".to_owned(),
    ] {
        let why = contained(&sends(&url).guest(), &server.grant()).await;
        assert_says(&why, &["requests to", "were not granted"]);
    }
    assert!(server.asked().is_empty());
}

/// A package of a script that fetches what it is told to.
async fn fetching(home: &Home, grant: &str) -> Arc<gpak_tools::wasm::PackagedTool> {
    let source = "async function invoke({ url, body }) {
      const answer = await fetch(url, body ? { method: 'POST', headers: { 'x-kind': 'a test' }, body } : {});
      return { status: answer.status, type: answer.headers.get('Content-Length'), said: answer.text() };
    }";
    let folder = home.path("source/fetches");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tool.js"), source).unwrap();
    let manifest = format!(
        "name = \"fetches\"\nversion = \"1\"\nkind = \"script\"\nfile = \"tool.js\"\n{grant}
[[tools]]\nname = \"fetches\"\ndescription = \"Fetches.\"\neffect = \"irreversible\"\ninput = {{type = \"object\"}}\n"
    );
    std::fs::write(folder.join("tool.toml"), manifest).unwrap();
    let package = home.add_folder(&folder).await.unwrap();
    home.packages.tools_of(package).remove(0)
}

#[tokio::test]
async fn a_script_fetches_from_a_granted_host_and_from_no_other() {
    let server = Server::start(&[("/a", ok("hello")), ("/away", to("http://127.0.0.1:9/"))]).await;
    let home = Home::new();
    let tool = fetching(&home, &server.grant()).await;
    let output = home.call(&tool, json!({"url": server.url("/a")})).await;
    let output = output.unwrap();
    assert_eq!(
        output.data,
        Some(json!({"status": 200, "type": "5", "said": "hello"}))
    );
    assert_eq!(output.label, Some(Label::Web("127.0.0.1".to_owned())));
    let posted = json!({"url": server.url("/echo"), "body": "to you"});
    home.call(&tool, posted).await.unwrap();
    let asked = server.asked().pop().unwrap();
    assert!(asked.starts_with("POST /echo "), "{asked}");
    assert!(asked.contains("x-kind: a test") && asked.contains("content-length: 6"));
    for url in [
        server.url("/away"),
        "http://127.0.0.1:9/".to_owned(),
        "https://example.com/".to_owned(),
    ] {
        let why = told(home.call(&tool, json!({"url": url})).await);
        assert_says(&why, &["were not granted"]);
    }
    let bare = Home::new();
    let tool = fetching(&bare, "").await;
    let why = told(bare.call(&tool, json!({"url": server.url("/a")})).await);
    assert_says(&why, &["were not granted"]);
    still_works(&home).await;
}

#[tokio::test]
async fn a_name_that_stands_for_loopback() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    let grant = format!("[asks]\nhosts = [\"friendly.example:{}\"]\n", server.port);
    for address in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "::1",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
    ] {
        let home = home_with(&[("friendly.example", &[&[address]])]);
        let url = format!("http://friendly.example:{}/a", server.port);
        let why = contained_in(&home, &sends(&url).guest(), &grant).await;
        assert_says(
            &why,
            &[
                "friendly.example stands for",
                "grant of its own (private_hosts)",
            ],
        );
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_name_that_stands_for_a_private_address_the_second_time() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    let grant = format!("[asks]\nhosts = [\"friendly.example:{}\"]\n", server.port);
    let home = home_with(&[("friendly.example", &[&[], &["127.0.0.1"]])]);
    let url = format!("http://friendly.example:{}/a", server.port);
    let tool = home.tool(&sends(&url).guest(), &grant).await;
    assert_says(&told(home.call(&tool, json!({})).await), &["no such host"]);
    let why = told(home.call(&tool, json!({})).await);
    assert_says(&why, &["stands for 127.0.0.1", "private_hosts"]);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn loopback_written_in_other_ways() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    let port = server.port;
    let hosts = ["127.0.0.1", "0.0.0.0", "[::1]", "[::ffff:7f00:1]"];
    let granted: Vec<_> = hosts
        .iter()
        .map(|host| format!("\"{host}:{port}\""))
        .collect();
    let grant = format!("[asks]\nhosts = [{}]\n", granted.join(", "));
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let why = contained(&sends(&format!("http://{host}:{port}/a")).guest(), &grant).await;
        assert_says(&why, &["grant of its own (private_hosts)"]);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_granted_host_that_sends_it_on_to_one_that_is_not() {
    let other = Server::start(&[("/a", ok("[1]"))]).await;
    let server = Server::start(&[
        ("/go", to(&other.url("/a"))),
        (
            "/name",
            to(&other.url("/a").replace("127.0.0.1", "localhost")),
        ),
        ("/file", to("file:///etc/passwd")),
        ("/round", to("/round")),
        ("/in", to("/a")),
        ("/a", ok("[2]")),
    ])
    .await;
    for (path, part) in [
        ("/go", "were not granted"),
        ("/name", "were not granted"),
        ("/file", "names no host"),
        ("/round", "sent on more than 10 times"),
    ] {
        let why = contained(&sends(&server.url(path)).guest(), &server.grant()).await;
        assert_says(&why, &[part]);
    }
    assert!(other.asked().is_empty());
    let within = Home::new()
        .run(
            &sends(&server.url("/in")).guest(),
            &server.grant(),
            json!({}),
        )
        .await;
    assert_eq!(within.unwrap().data, Some(json!([2])));
}

#[tokio::test]
async fn a_granted_host_that_sends_it_on_to_a_private_address() {
    let private = Server::start(&[("/a", ok("[1]"))]).await;
    let url = format!("http://friendly.example:{}/a", private.port);
    let server = Server::start(&[("/go", to(&url))]).await;
    let grant = format!(
        "{}hosts = [\"friendly.example:{}\"]\n",
        server.grant(),
        private.port
    );
    let home = home_with(&[("friendly.example", &[&["127.0.0.1"]])]);
    let why = contained_in(&home, &sends(&server.url("/go")).guest(), &grant).await;
    assert_says(&why, &["friendly.example stands for 127.0.0.1"]);
    assert!(private.asked().is_empty());
}

#[tokio::test]
async fn addresses_that_are_none() {
    let server = Server::start(&[]).await;
    for (url, part) in [
        ("", "is no address"),
        ("file:///etc/passwd", "names no host"),
        ("ftp://127.0.0.1/", "neither http:// nor https://"),
        (
            "http://user:word@127.0.0.1/",
            "has a name or password in it",
        ),
        ("javascript:alert(1)", "names no host"),
    ] {
        assert_says(
            &contained(&sends(url).guest(), &server.grant()).await,
            &[part],
        );
    }
}

#[tokio::test]
async fn headers_that_would_be_another_request() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    for (name, value, part) in [
        ("x-a", "b\r\nhost: evil", "cannot be sent"),
        ("x-a\r\nb", "c", "is no name of a header"),
        ("host", "evil", "is set by the host"),
        ("content-length", "999", "is set by the host"),
        ("transfer-encoding", "chunked", "is set by the host"),
    ] {
        let guest = sends(&server.url("/a")).header(name, value).guest();
        assert_says(&contained(&guest, &server.grant()).await, &[part]);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn changing_something_by_a_tool_that_says_it_changes_nothing() {
    let server = Server::start(&[("/a", ok("[1]"))]).await;
    for method in ["POST", "put", "DELETE", "PATCH", "CONNECT", "TRACE", "G ET"] {
        let guest = Sends {
            method,
            body: Some("{}"),
            ..sends(&server.url("/a"))
        }
        .guest();
        assert_says(&contained(&guest, &server.grant()).await, &["sends: "]);
    }
    assert!(server.asked().is_empty());
    let guest = Sends {
        method: "POST",
        body: Some("{}"),
        effect: 3,
        ..sends(&server.url("/a"))
    };
    assert!(
        Home::new()
            .run(&guest.guest(), &server.grant(), json!({}))
            .await
            .is_ok()
    );
    assert!(server.asked()[0].starts_with("POST /a "));
}

#[tokio::test]
async fn a_response_without_end() {
    let server = Server::start(&[]).await;
    let why = contained(&sends(&server.url("/flood")).guest(), &server.grant()).await;
    assert_says(&why, &["more than 8388608 bytes"]);
}

#[tokio::test]
async fn a_host_that_never_answers() {
    let server = Server::start(&[]).await;
    let guest = Sends {
        timeout_ms: Some(100),
        ..sends(&server.url("/silence"))
    }
    .guest();
    let why = contained(&guest, &server.grant()).await;
    assert_says(&why, &["no answer came within 100 ms"]);
    let why = contained(
        &sends(&server.url("/silence")).guest(),
        &format!("{SOON}{}", server.grant()),
    )
    .await;
    assert_says(&why, &["sends was stopped: it ran for more than 200 ms"]);
}

#[tokio::test]
async fn a_cancelled_call_lets_go_of_its_host() {
    let server = Server::start(&[]).await;
    let home = Home::new();
    let tool = home
        .tool(&sends(&server.url("/silence")).guest(), &server.grant())
        .await;
    let waiting = home.call(&tool, json!({}));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), waiting)
            .await
            .is_err()
    );
    // The server takes the next one only when the line is closed.
    let tool = home
        .tool(&sends(&server.url("/echo")).guest(), &server.grant())
        .await;
    assert!(home.call(&tool, json!({})).await.is_ok());
}

#[tokio::test]
async fn a_secret_is_sent_to_its_host_and_is_not_seen_by_the_tool() {
    let server = Server::start(&[]).await;
    let grant = format!(
        "{}[asks.secrets.TOKEN]\nhosts = [\"127.0.0.1:{}\"]\n",
        server.grant(),
        server.port
    );
    let home = home_with_secret();
    let guest = sends(&server.url("/echo"))
        .header("authorization", "Bearer {{secret:TOKEN}}")
        .guest();
    let output = home.run(&guest, &grant, json!({})).await.unwrap();
    assert!(server.asked()[0].contains("authorization: Bearer s3cr3t"));
    assert!(
        output.text.contains("Bearer {{secret:TOKEN}}") && !output.text.contains("s3cr3t"),
        "{}",
        output.text
    );
}

#[tokio::test]
async fn a_secret_for_another_host() {
    let (server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let grant = format!(
        "[asks]\nprivate_hosts = [\"127.0.0.1:{0}\", \"127.0.0.1:{1}\"]\n[asks.secrets.TOKEN]\nhosts = [\"127.0.0.1:{0}\"]\n",
        server.port, other.port
    );
    let home = home_with_secret();
    for (url, secret, part) in [
        (
            other.url("/echo"),
            "TOKEN",
            "the secret TOKEN was not granted for 127.0.0.1:",
        ),
        (
            server.url("/echo"),
            "OTHER",
            "the secret OTHER was not granted",
        ),
        (server.url("/echo"), "", "was not granted"),
    ] {
        let value = format!("{{{{secret:{secret}}}}}");
        let why = contained_in(&home, &sends(&url).header("x-key", &value).guest(), &grant).await;
        assert_says(&why, &[part]);
    }
}

#[tokio::test]
async fn a_secret_is_not_sent_on_to_another_host() {
    let other = Server::start(&[]).await;
    let server = Server::start(&[("/go", to(&other.url("/echo")))]).await;
    let grant = format!(
        "[asks]\nprivate_hosts = [\"127.0.0.1:{0}\", \"127.0.0.1:{1}\"]\n[asks.secrets.TOKEN]\nhosts = [\"127.0.0.1:{0}\"]\n",
        server.port, other.port
    );
    let guest = sends(&server.url("/go"))
        .header("x-key", "{{secret:TOKEN}}")
        .header("authorization", "Basic abc")
        .header("x-plain", "stays")
        .guest();
    home_with_secret()
        .run(&guest, &grant, json!({}))
        .await
        .unwrap();
    let sent = &other.asked()[0];
    assert!(sent.contains("x-plain: stays"), "{sent}");
    assert!(
        !sent.contains("x-key") && !sent.contains("authorization"),
        "{sent}"
    );
}
