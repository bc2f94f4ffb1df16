//! A service of its own for each test.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::place::Place;

/// How long anything here may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Service {
    pub place: Place,
    /// As in `http://127.0.0.1:1234`.
    pub url: String,
    /// The link of a first start.
    pub link: Option<String>,
    /// An API key of the first user.
    pub key: String,
    arguments: Vec<String>,
    child: Child,
    _out: BufReader<ChildStdout>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The body, if the status is that one.
    #[track_caller]
    pub fn with(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        match self.text.is_empty() {
            true => Value::Null,
            false => self.json(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

impl Service {
    /// A service whose runs say that script.
    pub fn saying(script: &[Value]) -> Self {
        Self::with(Place::new(), script, &[])
    }

    /// A service in that place, with more arguments.
    pub fn with(place: Place, script: &[Value], more: &[&str]) -> Self {
        let model = place.script(script);
        Self::of(place, &[&["--model", &model], more].concat())
    }

    /// A service in that place, with the model that its settings name.
    pub fn of(place: Place, more: &[&str]) -> Self {
        let always = ["--json", "serve", "--listen", "127.0.0.1:0"];
        let arguments = always.iter().chain(more);
        let arguments: Vec<String> = arguments.map(|one| (*one).to_owned()).collect();
        let (child, out, told) = start(&place, &arguments, &[]);
        let mut service = Self {
            url: told["listening"].as_str().unwrap().to_owned(),
            link: told["link"].as_str().map(str::to_owned),
            key: String::new(),
            place,
            arguments,
            child,
            _out: out,
        };
        service.key = service.new_key("admin", "admin");
        service
    }

    /// Starts it again, after it ended, with variables of the environment.
    pub fn again(&mut self, environment: &[(&str, &str)]) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (child, out, told) = start(&self.place, &self.arguments, environment);
        (self.child, self._out) = (child, out);
        self.url = told["listening"].as_str().unwrap().to_owned();
        assert_eq!(told["link"], Value::Null, "only a first start gives a link");
    }

    pub fn new_key(&self, user: &str, role: &str) -> String {
        let args = ["serve", "keys", "add", "--user", user, "--role", role];
        let said = self.place.gpak(&args).with_code(0);
        said.out.trim().to_owned()
    }

    /// A user of that role, and a key of theirs.
    pub fn user(&self, name: &str, role: &str) -> String {
        let args = [
            "serve",
            "users",
            "add",
            name,
            "--no-password",
            "--role",
            role,
        ];
        self.place.gpak(&args).with_code(0);
        self.new_key(name, role)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the system says of its memory.
    pub fn kilobytes(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Waits until it ended, and gives its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// A request with the service's own key.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask_as(&self.key, method, path, body)
    }

    pub fn ask_as(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {key}");
        self.request(method, path, &[("authorization", &bearer)], body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Value::Null)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, body)
    }

    /// A request with those headers and no other.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let response = agent.run(request.body(body).unwrap());
        let mut response = response.unwrap_or_else(|why| panic!("{method} {path}: {why}"));
        let headers = response.headers().iter();
        Answer {
            status: response.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    }

    /// Starts a run of the task and gives its id.
    pub fn run(&self, task: &str) -> String {
        let run = self.post("/api/v1/runs", json!({"task": task})).with(201);
        run["id"].as_str().unwrap().to_owned()
    }

    /// The run, once it is so.
    pub fn until(&self, run: &str, is: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let now = self.get(&format!("/api/v1/runs/{run}")).with(200);
            if is(&now) {
                return now;
            }
            assert!(start.elapsed() < PATIENCE, "it never came so far: {now}");
            let next = now["entries"].as_u64().unwrap() + 1;
            // Comes back as soon as something happens.
            self.get(&format!("/api/v1/runs/{run}/events?from={next}&wait=1"));
        }
    }

    pub fn until_status(&self, run: &str, status: &str) -> Value {
        self.until(run, |now| now["status"] == status)
    }

    /// The events of a run behind that entry, until `enough` of them came or the stream ends.
    pub fn stream(&self, run: &str, last: Option<u64>, enough: usize) -> Stream {
        let mut headers = format!("authorization: Bearer {}\r\n", self.key);
        if let Some(last) = last {
            headers += &format!("last-event-id: {last}\r\n");
        }
        let path = format!("/api/v1/runs/{run}/events");
        self.stream_of("GET", &path, &headers, "", enough)
    }

    pub fn stream_of(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
        enough: usize,
    ) -> Stream {
        let host = self.host();
        let mut connection = self.connect();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n\
             content-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        Stream::read(connection, enough)
    }

    pub fn host(&self) -> String {
        self.url.split("://").nth(1).unwrap().to_owned()
    }

    pub fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(self.host()).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(
    place: &Place,
    arguments: &[String],
    environment: &[(&str, &str)],
) -> (Child, BufReader<ChildStdout>, Value) {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(place.work().parent().unwrap().join("serve.log"))
        .unwrap();
    let mut child = place
        .command()
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let told = serde_json::from_str(&line);
    let told = told.unwrap_or_else(|why| panic!("it said `{line}`: {why}"));
    (child, out, told)
}

/// A stream of events, as far as it was read.
#[derive(Debug)]
pub struct Stream {
    pub status: u16,
    /// Each event's id and data.
    pub events: Vec<(String, String)>,
    /// Whether it ended by itself.
    pub ended: bool,
}

impl Stream {
    fn read(connection: TcpStream, enough: usize) -> Self {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut chunked = false;
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            chunked |= line
                .to_lowercase()
                .starts_with("transfer-encoding: chunked");
            if line.trim().is_empty() {
                break;
            }
        }
        let mut stream = Self {
            status,
            events: Vec::new(),
            ended: false,
        };
        let mut text = String::new();
        let mut chunks = Chunks { reader, chunked };
        while stream.events.len() < enough {
            let Some(chunk) = chunks.next() else {
                stream.ended = true;
                break;
            };
            text += &chunk;
            while let Some((event, rest)) = text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
                };
                if let Some(data) = field("data:") {
                    stream.events.push((field("id:").unwrap_or_default(), data));
                }
                text = rest.to_owned();
            }
        }
        stream.events.truncate(enough);
        stream
    }
}

struct Chunks {
    reader: BufReader<TcpStream>,
    chunked: bool,
}

impl Chunks {
    fn next(&mut self) -> Option<String> {
        if !self.chunked {
            let mut rest = String::new();
            self.reader.read_to_string(&mut rest).unwrap();
            return (!rest.is_empty()).then_some(rest);
        }
        let mut line = String::new();
        self.reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }
}
