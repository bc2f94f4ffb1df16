//! An MCP server that wants OAuth, and its authorization server, on one port of this machine. It does what
//! it should, save for what a test has it do wrong.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What it does wrong, or in a way of its own.
#[derive(Default, Clone)]
pub struct Ways {
    /// Fields of the metadata of the resource, in place of the right ones.
    pub resource: Value,
    /// Fields of the metadata of the authorization server, in place of the right ones.
    pub server: Value,
    /// Where the metadata of the authorization server is said to be now.
    pub moved: Option<String>,
    /// Where a registration is sent on to.
    pub registration_moved: Option<String>,
    /// The issuer that a browser is sent back with.
    pub iss: Option<String>,
    /// What the token endpoint does.
    pub token: Token,
    /// Seconds that the first token lasts.
    pub lasts: u64,
    /// A scope that calls take.
    pub call_scope: Option<String>,
}

/// What the token endpoint does.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// It gives tokens.
    #[default]
    Gives,
    /// It never answers.
    Hangs,
    /// It answers with an error of HTTP, and something secret.
    Fails,
    /// It answers as if it had given one.
    Lies,
    /// It gives one of another kind.
    Binds,
    /// It gives one to codes, and none to what renews them.
    Refuses,
    /// It sends to another server.
    Moves,
}

/// What it knows.
#[derive(Default)]
pub struct State {
    /// As it is now.
    pub ways: Ways,
    /// Tokens that are good, each with the scopes that it has.
    good: Vec<(String, String)>,
    renewals: BTreeSet<String>,
    scope: String,
    count: u32,
    /// Each request that came, by its path; requests for tokens with their grant.
    pub came: Vec<String>,
    /// Everything secret that it gave out.
    pub secrets: Vec<String>,
}

/// One that listens until the tests end.
#[derive(Clone)]
pub struct Issuer {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Issuer {
    pub fn start(ways: Ways) -> Self {
        let state = Arc::new(Mutex::new(State {
            ways,
            ..State::default()
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let issuer = Self {
            port: listener.local_addr().unwrap().port(),
            state,
        };
        let listening = issuer.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(listening.listen(listener));
        });
        issuer
    }

    async fn listen(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().serve(stream));
        }
    }

    async fn serve(self, stream: TcpStream) {
        let service = service_fn(|request| {
            let issuer = self.clone();
            async move { Ok::<_, hyper::Error>(issuer.answer(request).await) }
        });
        // Clients go away as they like.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("{}/mcp", self.origin())
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How many requests came to that path.
    pub fn times(&self, path: &str) -> usize {
        self.state()
            .came
            .iter()
            .filter(|came| *came == path)
            .count()
    }

    /// No token is good any more.
    pub fn revoke(&self) {
        self.state().good.clear();
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(read(body).await).unwrap();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let path = head.uri.path().to_owned();
        if path != "/token" {
            self.state().came.push(path.clone());
        }
        match path.as_str() {
            "/mcp" => {
                let header = head.headers.get(header::AUTHORIZATION);
                let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
                self.mcp(token, &body)
            }
            "/.well-known/oauth-protected-resource/mcp" => self.resource(),
            "/.well-known/oauth-authorization-server" => self.metadata(),
            "/register" => self.register(),
            "/authorize" => self.authorize(&query),
            "/token" => self.token(&body).await,
            _ => status(404),
        }
    }

    fn mcp(&self, token: Option<&str>, body: &str) -> Response<String> {
        let state = self.state();
        let scope = state
            .good
            .iter()
            .find(|(good, _)| Some(good.as_str()) == token);
        let Some((_, scope)) = scope else {
            let pointer = format!("{}/.well-known/oauth-protected-resource/mcp", self.origin());
            let challenge = format!("Bearer resource_metadata=\"{pointer}\", scope=\"read\"");
            return with(status(401), header::WWW_AUTHENTICATE, &challenge);
        };
        let asked: Value = serde_json::from_str(body).unwrap_or_default();
        let Some(id) = asked.get("id") else {
            return status(202);
        };
        let method = asked["method"].as_str().unwrap_or_default();
        let result = match method {
            "initialize" => json!({
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "issuer", "version": "1"},
            }),
            "tools/list" => json!({"tools": [{
                "name": "who", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true},
            }]}),
            "tools/call" => {
                if let Some(wanted) = &state.ways.call_scope
                    && !scope.split(' ').any(|scope| scope == wanted)
                {
                    let challenge =
                        format!("Bearer error=\"insufficient_scope\", scope=\"{wanted}\"");
                    return with(status(403), header::WWW_AUTHENTICATE, &challenge);
                }
                json!({"content": [{"type": "text", "text": "you are known"}]})
            }
            _ => {
                let error = json!({"code": -32601, "message": "no such method"});
                return as_json(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
            }
        };
        as_json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }

    fn resource(&self) -> Response<String> {
        let right = json!({
            "resource": self.url(), "authorization_servers": [self.origin()],
            "scopes_supported": ["read", "all"],
        });
        as_json(&mixed(right, &self.state().ways.resource))
    }

    fn metadata(&self) -> Response<String> {
        if let Some(moved) = &self.state().ways.moved {
            return with(status(302), header::LOCATION, moved);
        }
        let origin = self.origin();
        let right = json!({
            "issuer": origin, "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"), "registration_endpoint": format!("{origin}/register"),
            "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        as_json(&mixed(right, &self.state().ways.server))
    }

    fn register(&self) -> Response<String> {
        let mut state = self.state();
        if let Some(moved) = &state.ways.registration_moved {
            return with(status(307), header::LOCATION, moved);
        }
        let secret = state.secret("client");
        as_json(&json!({
            "client_id": "gpak-here", "client_secret": secret,
            "redirect_uris": ["http://127.0.0.1/callback"],
        }))
    }

    fn authorize(&self, query: &str) -> Response<String> {
        let mut state = self.state();
        let value = |name| value(query, name).unwrap_or_default();
        state.scope = value("scope");
        let code = state.secret("code");
        let iss = state.ways.iss.clone().unwrap_or_else(|| self.origin());
        let back = format!(
            "{}?code={code}&state={}&iss={iss}",
            value("redirect_uri"),
            value("state")
        );
        with(status(302), header::LOCATION, &back)
    }

    async fn token(&self, body: &str) -> Response<String> {
        let grant = value(body, "grant_type").unwrap_or_default();
        let ways = {
            let mut state = self.state();
            state.came.push(format!("/token {grant}"));
            state.ways.clone()
        };
        match ways.token {
            Token::Hangs => {
                // Longer than anybody waits: clients go away, which ends this.
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                return status(500);
            }
            Token::Fails => {
                return Response::builder()
                    .status(500)
                    .body("s3cret".into())
                    .unwrap();
            }
            Token::Lies => return as_json(&json!({"access_token": {"s3cret": true}})),
            Token::Moves => return with(status(307), header::LOCATION, "http://127.0.0.1:1/token"),
            Token::Refuses if grant == "refresh_token" => {
                let error = json!({"error": "invalid_grant", "error_description": "it is over"});
                return Response::builder()
                    .status(400)
                    .body(error.to_string())
                    .unwrap();
            }
            Token::Gives | Token::Binds | Token::Refuses => {}
        }
        let mut state = self.state();
        let lasts = match grant.as_str() {
            "refresh_token" => {
                // Each is good for once, as OAuth 2.1 wants it of public clients.
                let used = value(body, "refresh_token").unwrap_or_default();
                if !state.renewals.remove(&used) {
                    let error = json!({"error": "invalid_grant"});
                    return Response::builder()
                        .status(400)
                        .body(error.to_string())
                        .unwrap();
                }
                3_600
            }
            _ => ways.lasts,
        };
        let (token, renewal, scope) = (
            state.secret("token"),
            state.secret("renewal"),
            state.scope.clone(),
        );
        state.renewals.insert(renewal.clone());
        // One that is over is not good.
        if lasts > 0 {
            state.good.push((token.clone(), scope.clone()));
        }
        let kind = if ways.token == Token::Binds {
            "DPoP"
        } else {
            "Bearer"
        };
        let mut given = json!({
            "access_token": token, "token_type": kind, "expires_in": lasts, "scope": scope,
        });
        if grant != "client_credentials" {
            given["refresh_token"] = json!(renewal);
        }
        as_json(&given)
    }
}

impl State {
    fn secret(&mut self, what: &str) -> String {
        self.count += 1;
        let secret = format!("{what}-s3cret-{}", self.count);
        self.secrets.push(secret.clone());
        secret
    }
}

/// What a browser does with an address: it goes wherever that leads. Gives the last page.
pub async fn browse(address: &str) -> String {
    let mut address = address.to_owned();
    for _ in 0..5 {
        let (status, location, page) = get(&address).await;
        match location {
            Some(next) if (300..400).contains(&status) => address = next,
            _ => return page,
        }
    }
    panic!("{address} leads nowhere");
}

/// Gets a page of this machine: its status, where it leads to, and what it says.
pub async fn get(address: &str) -> (u16, Option<String>, String) {
    let (host, path) = address
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let asked = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location")
            .then(|| value.to_owned())
    });
    (status, location, page.to_owned())
}

async fn read(mut body: Incoming) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        if let Ok(data) = frame.unwrap().into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes
}

/// A value of a form or a query.
pub fn value(form: &str, name: &str) -> Option<String> {
    let nowhere = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
    let mut pairs = nowhere.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn mixed(mut right: Value, wrong: &Value) -> Value {
    for (name, value) in wrong.as_object().into_iter().flatten() {
        right[name] = value.clone();
    }
    right
}

fn status(code: u16) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn with(mut response: Response<String>, name: header::HeaderName, value: &str) -> Response<String> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

fn as_json(value: &Value) -> Response<String> {
    let response = Response::new(value.to_string());
    with(response, header::CONTENT_TYPE, "application/json")
}
