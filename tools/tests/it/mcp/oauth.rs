//! Logging in to MCP servers, with what can go wrong.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use gpak_kernel::tool::{ToolError, ToolOutput};
use gpak_tools::mcp::{
    Grant, LoggedIn, Login, LoginError, OAuth, Options, ServerConfig, Servers, Transport,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    bed::call,
    issuer::{Issuer, Token, Ways, browse, get, value},
};

/// How long a browser that comes is waited for: a loaded machine takes its time.
const PATIENT: Duration = Duration::from_secs(120);

/// A user of one server, who may log in to it.
struct User {
    home: TempDir,
    config: ServerConfig,
}

impl User {
    fn of(url: &str, oauth: OAuth) -> Self {
        Self {
            home: TempDir::new().unwrap(),
            config: ServerConfig {
                name: "issues".parse().unwrap(),
                transport: Transport::Http {
                    url: url.to_owned(),
                    headers: BTreeMap::new(),
                    token: None,
                    oauth,
                },
                start_timeout: PATIENT,
                timeout: PATIENT,
                tools: Vec::new(),
            },
        }
    }

    /// What a process of theirs has.
    fn servers(&self) -> Servers {
        let options = Options {
            folder: self.home.path().join("mcp"),
            output_bytes: 2_000,
            yes: false,
            progress: Box::new(|_| {}),
        };
        Servers::new(vec![self.config.clone()], options)
    }

    async fn logs_in_by(
        &self,
        scopes: &[&str],
        open: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<LoggedIn, LoginError> {
        let asked = Login {
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            patience: PATIENT,
            open,
        };
        self.servers().log_in(&self.config.name, asked).await
    }

    async fn logs_in(&self, scopes: &[&str]) -> Result<LoggedIn, LoginError> {
        self.logs_in_by(scopes, &go).await
    }

    fn login_file(&self) -> Option<PathBuf> {
        let folder = std::fs::read_dir(self.home.path().join("mcp/logins")).ok()?;
        let mut paths = folder.map(|entry| entry.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|kind| kind == "json"))
    }
}

/// Goes to an address with a browser.
fn go(address: &str) {
    let address = address.to_owned();
    tokio::spawn(async move { browse(&address).await });
}

/// Calls the tool of the server, in a process that begins.
async fn who(servers: &Servers) -> Result<ToolOutput, ToolError> {
    let tools = servers.tools();
    call(&tools, "issues.who", json!({})).await
}

async fn known(servers: &Servers) -> Result<String, String> {
    let health = servers.look().await.pop().unwrap();
    health.protocol.map_err(|why| why.to_string())
}

fn ways(change: impl FnOnce(&mut Ways)) -> Issuer {
    let mut ways = Ways {
        lasts: 3_600,
        ..Ways::default()
    };
    change(&mut ways);
    Issuer::start(ways)
}

#[tokio::test]
async fn a_user_logs_in_and_out_and_later_processes_are_let_in_between() {
    let issuer = ways(|_| {});
    let user = User::of(&issuer.url(), OAuth::default());
    let why = known(&user.servers()).await.unwrap_err();
    assert!(why.contains("`gpak tools login issues`"), "{why}");
    let logged_in = user.logs_in(&[]).await.unwrap();
    assert_eq!(logged_in.issuer, Some(issuer.origin()));
    assert_eq!(
        (logged_in.scopes, logged_in.renews),
        (vec!["read".to_owned()], true)
    );
    for _ in 0..2 {
        let servers = user.servers();
        assert_eq!(known(&servers).await.unwrap(), "2025-11-25");
        assert_eq!(who(&servers).await.unwrap().text, "you are known");
        servers.close().await;
    }
    assert!(user.servers().log_out(&user.config.name).unwrap());
    assert!(!user.servers().log_out(&user.config.name).unwrap());
    assert_eq!(user.login_file(), None);
    let why = known(&user.servers()).await.unwrap_err();
    assert!(why.contains("`gpak tools login issues`"), "{why}");
}

#[tokio::test]
async fn a_browser_with_a_wrong_state_is_sent_away_and_the_right_one_is_waited_for() {
    let issuer = ways(|_| {});
    let user = User::of(&issuer.url(), OAuth::default());
    let pages = Arc::new(Mutex::new(Vec::new()));
    let (seen, state) = (pages.clone(), issuer.clone());
    let open = move |address: &str| {
        let (address, seen, state) = (address.to_owned(), seen.clone(), state.clone());
        tokio::spawn(async move {
            let back = value(address.split_once('?').unwrap().1, "redirect_uri").unwrap();
            for query in [
                "code=stolen&state=guessed",
                "code=stolen",
                "error=no&state=guessed",
            ] {
                let (status, _, page) = get(&format!("{back}?{query}")).await;
                seen.lock().unwrap().push((status, page));
            }
            assert_eq!(state.times("/token authorization_code"), 0);
            browse(&address).await;
        });
    };
    user.logs_in_by(&[], &open).await.unwrap();
    let pages = pages.lock().unwrap();
    assert_eq!(pages.len(), 3);
    for (status, page) in pages.iter() {
        assert!(
            *status == 400 && page.contains("not the answer"),
            "{status} {page}"
        );
    }
    assert_eq!(issuer.times("/token authorization_code"), 1);
}

/// A login that comes to nothing: its words, and what was asked for.
async fn fails(issuer: &Issuer) -> String {
    let user = User::of(&issuer.url(), OAuth::default());
    let why = user.logs_in(&[]).await.unwrap_err().to_string();
    assert_eq!(user.login_file(), None, "{why}");
    assert!(!why.contains("s3cret") && why.len() < 700, "{why}");
    why
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_used() {
    let issuer = ways(|ways| ways.iss = Some("https://evil.example".to_owned()));
    let why = fails(&issuer).await;
    assert!(why.contains("is of https://evil.example"), "{why}");
    assert_eq!(issuer.times("/token authorization_code"), 0);
}

#[tokio::test]
async fn metadata_of_another_host_is_not_used() {
    for (resource, server, says) in [
        (
            json!({"resource": "https://evil.example/mcp"}),
            Value::Null,
            "resource mismatch",
        ),
        (
            Value::Null,
            json!({"issuer": "https://evil.example"}),
            "is of https://evil.example",
        ),
        (
            Value::Null,
            json!({"issuer": null}),
            "does not say whose it is",
        ),
    ] {
        let issuer = ways(|ways| (ways.resource, ways.server) = (resource, server));
        let why = fails(&issuer).await;
        assert!(why.contains(says), "{why}");
        assert_eq!(
            (issuer.times("/register"), issuer.times("/authorize")),
            (0, 0)
        );
    }
}

#[tokio::test]
async fn what_could_be_listened_to_is_refused() {
    for endpoint in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        for (address, says) in [
            (
                "http://login.example/x",
                "http://login.example/x is not https",
            ),
            ("file:///etc/passwd", "is not https"),
            ("javascript:alert(1)", "is not https"),
        ] {
            let issuer = ways(|ways| ways.server = json!({endpoint: address}));
            let why = fails(&issuer).await;
            assert!(why.contains(says), "{endpoint}: {why}");
            assert_eq!(
                (issuer.times("/register"), issuer.times("/authorize")),
                (0, 0)
            );
        }
    }
    let user = User::of("http://issues.example/mcp", OAuth::default());
    let why = user.logs_in(&[]).await.unwrap_err().to_string();
    assert!(
        why.contains("http://issues.example/mcp is not https"),
        "{why}"
    );
}

#[tokio::test]
async fn nothing_is_sent_on_to_another_server() {
    let other = ways(|_| {});
    let place = other.origin();
    let metadata = ways(|ways| ways.moved = Some(format!("{place}/elsewhere")));
    let why = fails(&metadata).await;
    assert!(why.contains("redirect"), "{why}");
    let registration = ways(|ways| ways.registration_moved = Some(format!("{place}/register")));
    let why = fails(&registration).await;
    assert!(why.contains("307"), "{why}");
    let token = ways(|ways| ways.token = Token::Moves);
    let why = fails(&token).await;
    assert!(why.contains("no token was given"), "{why}");
    assert_eq!(other.state().came, Vec::<String>::new());
}

#[tokio::test]
async fn a_token_endpoint_that_fails_lies_or_binds_gives_no_login() {
    for (token, says) in [
        (Token::Fails, "no token was given"),
        (Token::Lies, "is no token"),
        (Token::Binds, "of the kind `dpop`"),
    ] {
        let why = fails(&ways(|ways| ways.token = token)).await;
        assert!(why.to_lowercase().contains(says), "{why}");
    }
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_ends_the_login() {
    let why = fails(&ways(|ways| ways.token = Token::Hangs)).await;
    assert!(why.contains("/token did not answer within"), "{why}");
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_ends_a_connection_and_the_login_is_kept() {
    let issuer = ways(|ways| ways.lasts = 0);
    let user = User::of(&issuer.url(), OAuth::default());
    user.logs_in(&[]).await.unwrap();
    issuer.state().ways.token = Token::Hangs;
    let why = known(&user.servers()).await.unwrap_err();
    assert!(why.contains("/token did not answer within"), "{why}");
    issuer.state().ways.token = Token::Gives;
    known(&user.servers()).await.unwrap();
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_or_fails_ends_a_call_and_the_login_is_kept() {
    let issuer = ways(|_| {});
    let user = User::of(&issuer.url(), OAuth::default());
    user.logs_in(&[]).await.unwrap();
    let servers = user.servers();
    known(&servers).await.unwrap();
    issuer.revoke();
    for (token, says) in [
        (Token::Hangs, "/token did not answer within"),
        (Token::Fails, "/token answered 500"),
    ] {
        issuer.state().ways.token = token;
        let why = who(&servers).await.unwrap_err().to_string();
        assert!(why.contains(says) && !why.contains("s3cret"), "{why}");
    }
    issuer.state().ways.token = Token::Gives;
    assert_eq!(who(&servers).await.unwrap().text, "you are known");
}

#[tokio::test]
async fn a_browser_that_never_comes_or_says_no_is_said_so() {
    let issuer = ways(|_| {});
    let user = User::of(&issuer.url(), OAuth::default());
    let asked = Login {
        scopes: Vec::new(),
        patience: Duration::ZERO,
        open: &|_| {},
    };
    let late = user.servers().log_in(&user.config.name, asked).await;
    assert!(
        matches!(late, Err(LoginError::Late { seconds: 0 })),
        "{late:?}"
    );
    let denied = user.logs_in_by(&[], &|address| {
        let query = address.split_once('?').unwrap().1;
        let (back, state) = (value(query, "redirect_uri"), value(query, "state"));
        let back = format!(
            "{}?error=access_denied&error_description=not+you&state={}",
            back.unwrap(),
            state.unwrap()
        );
        tokio::spawn(async move { get(&back).await });
    });
    let why = denied.await.unwrap_err().to_string();
    assert!(why.contains("access_denied (not you)"), "{why}");
    assert_eq!(user.login_file(), None);
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_by_one_process_after_the_other() {
    let issuer = ways(|ways| ways.lasts = 0);
    let user = User::of(&issuer.url(), OAuth::default());
    user.logs_in(&[]).await.unwrap();
    // What renews is good for one use only: whoever uses one that another used is refused.
    let processes: Vec<_> = (0..4).map(|_| user.servers()).collect();
    let looked = processes.iter().map(known);
    for known in futures::future::join_all(looked).await {
        assert_eq!(known.unwrap(), "2025-11-25");
    }
    assert!(issuer.times("/token refresh_token") >= 1);
    for servers in &processes {
        assert_eq!(who(servers).await.unwrap().text, "you are known");
    }
}

#[tokio::test]
async fn a_login_that_is_over_is_said_to_be_and_a_new_one_is_used_at_once() {
    let issuer = ways(|_| {});
    let user = User::of(&issuer.url(), OAuth::default());
    user.logs_in(&[]).await.unwrap();
    let servers = user.servers();
    known(&servers).await.unwrap();
    issuer.revoke();
    issuer.state().ways.token = Token::Refuses;
    for _ in 0..2 {
        let why = who(&servers).await.unwrap_err().to_string();
        assert!(
            why.contains("logs in again with `gpak tools login issues`"),
            "{why}"
        );
    }
    // It was tried once: what was refused is forgotten.
    assert_eq!(issuer.times("/token refresh_token"), 1);
    user.logs_in(&[]).await.unwrap();
    assert_eq!(who(&servers).await.unwrap().text, "you are known");
}

#[tokio::test]
async fn a_call_that_takes_more_than_was_allowed_names_the_command_that_asks_for_it() {
    let issuer = ways(|ways| ways.call_scope = Some("write".to_owned()));
    let user = User::of(&issuer.url(), OAuth::default());
    user.logs_in(&[]).await.unwrap();
    let servers = user.servers();
    known(&servers).await.unwrap();
    let why = who(&servers).await.unwrap_err().to_string();
    assert!(
        why.contains("`gpak tools login issues --scope write`"),
        "{why}"
    );
    let logged_in = user.logs_in(&["write"]).await.unwrap();
    assert_eq!(logged_in.scopes, ["read", "write"]);
    assert_eq!(who(&servers).await.unwrap().text, "you are known");
    let why = user.logs_in(&["a b"]).await.unwrap_err().to_string();
    assert!(why.contains("is no scope"), "{why}");
}

#[tokio::test]
async fn a_client_of_its_own_gets_a_token_and_another_when_that_is_over() {
    let issuer = ways(|_| {});
    let oauth = OAuth {
        grant: Grant::Client,
        client_id: Some("robot".to_owned()),
        client_secret: Some(Arc::new(|| Ok("robots-s3cret".to_owned()))),
        ..OAuth::default()
    };
    let user = User::of(&issuer.url(), oauth.clone());
    let servers = user.servers();
    known(&servers).await.unwrap();
    issuer.revoke();
    assert_eq!(who(&servers).await.unwrap().text, "you are known");
    assert_eq!(issuer.times("/token client_credentials"), 2);
    assert_eq!(user.login_file(), None);
    let why = user.logs_in(&[]).await.unwrap_err().to_string();
    assert!(why.contains("nobody has to log in"), "{why}");
    issuer.state().ways.token = Token::Fails;
    let why = known(&user.servers()).await.unwrap_err();
    assert!(
        why.contains("no token was given") && !why.contains("s3cret"),
        "{why}"
    );
}
