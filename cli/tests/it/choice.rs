//! Which model is used where none is named, with servers that say what a test tells them to.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use crate::place::{Place, Said};

/// What a server answers to a request line and a body.
type Route = fn(&str, &Value) -> (u16, String);

/// A server and what it was asked. It ends with the test's process.
struct Server {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(route: Route) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = seen.clone();
                std::thread::spawn(move || answer(stream.unwrap(), route, &seen));
            }
        });
        Self { host, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, route: Route, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    asked.lock().unwrap().push(line.clone());
    let (status, body) = route(&line, &serde_json::from_slice(&body).unwrap_or_default());
    let kind = if body.starts_with("data:") {
        "text/event-stream"
    } else if line.ends_with("/api/chat") {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let answer = format!(
        "HTTP/1.1 {status} Because\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // A client that hung up has what it wanted.
    let _ = stream.write_all(answer.as_bytes());
}

/// An Ollama with an embedder loaded, a small model fetched last, and one that calls tools.
fn ollama(line: &str, body: &Value) -> (u16, String) {
    let listed = |name: &str, size: &str, modified: &str| {
        json!({"name": name, "modified_at": modified, "expires_at": modified,
               "details": {"family": "qwen", "parameter_size": size}})
    };
    let said = match line {
        "GET /api/ps" => json!({"models": [listed("embedder", "137M", "2026-11-25T01:00:00Z")]}),
        "GET /api/tags" => json!({"models": [
            listed("old:7b", "7.6B", "2026-01-01T00:00:00Z"),
            listed("caller:4b", "4.0B", "2026-11-20T00:00:00+02:00"),
            listed("tiny:latest", "135M", "2026-11-24T00:00:00Z"),
        ]}),
        "POST /api/show" => {
            let can = match body["model"].as_str().unwrap() {
                "embedder" => json!(["embedding"]),
                "tiny:latest" => json!(["completion"]),
                _ => json!(["completion", "tools"]),
            };
            json!({"capabilities": can, "model_info": {"qwen.context_length": 8192}})
        }
        "POST /api/chat" => {
            let tool = &body["tools"][0]["function"]["name"];
            let call = if tool == "ping" {
                json!({"name": "ping", "arguments": {"word": "kestrel"}})
            } else {
                assert_eq!(body["keep_alive"], json!("10m"));
                let answer = format!("says {}", body["model"].as_str().unwrap());
                json!({"name": "finish", "arguments": {"answer": answer}})
            };
            json!({"message": {"content": "", "tool_calls": [{"function": call}]}, "done": true})
        }
        _ => return (404, r#"{"error":"not found"}"#.into()),
    };
    (200, said.to_string())
}

/// OpenAI's protocol with one model.
fn openai(line: &str, body: &Value) -> (u16, String) {
    match line {
        "GET /v1/models" => (200, json!({"data": [{"id": "one"}]}).to_string()),
        "POST /v1/chat/completions" => {
            let ping = body["tools"][0]["function"]["name"] == "ping";
            let (name, args) = match ping {
                true => ("ping", r#"{"word":"kestrel"}"#),
                false => ("finish", r#"{"answer":"says one"}"#),
            };
            let call =
                json!({"index": 0, "id": "x", "function": {"name": name, "arguments": args}});
            let choice = json!({"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"});
            let chunk = json!({"choices": [choice]});
            (200, format!("data: {chunk}\n\ndata: [DONE]\n\n"))
        }
        _ => (404, "{}".into()),
    }
}

fn refuses(_: &str, _: &Value) -> (u16, String) {
    (401, r#"{"error":{"message":"no such key"}}"#.into())
}

struct World {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl World {
    fn new(variables: &[(&'static str, &str)]) -> Self {
        let place = Place::new();
        fs::create_dir_all(place.home().join("config")).unwrap();
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let world = Self {
            place,
            variables: variables.collect(),
        };
        world.settings("ollama.keep_alive = \"10m\"\n");
        world
    }

    fn settings(&self, text: &str) {
        fs::write(self.place.home().join("config/config.toml"), text).unwrap();
    }

    fn gpak(&self, args: &[&str]) -> Said {
        let mut command = self.place.command();
        command.args(args).envs(self.variables.clone());
        Said::from(command.output().unwrap())
    }
}

#[test]
fn an_ollama_that_answers_is_used_with_its_latest_model_that_calls_tools() {
    let server = Server::start(ollama);
    let world = World::new(&[("OLLAMA_HOST", &server.host)]);
    let said = world.gpak(&["run", "do it"]).with_code(0);
    assert_eq!(said.out, "says caller:4b\n");
    let why = format!(
        "using ollama/caller:4b: an Ollama answers at http://{}",
        server.host
    );
    said.saying(&[&why, "it is the latest there that can call tools"]);
    let quiet = world.gpak(&["--json", "run", "do it"]).with_code(0);
    assert_eq!(quiet.err, "");
    for command in [&["models", "list"][..], &["doctor"]] {
        world
            .gpak(command)
            .with_code(0)
            .saying(&["a run uses", "ollama/caller:4b: an Ollama"]);
    }
    let used = world.gpak(&["--json", "models", "list"]).with_code(0).out;
    let used: Value = serde_json::from_str(used.lines().last().unwrap()).unwrap();
    assert_eq!(used["used"], "ollama/caller:4b");
}

#[test]
fn a_key_in_the_environment_is_used_and_it_is_said_where_text_goes() {
    let server = Server::start(openai);
    let base = format!("http://{}/v1", server.host);
    let world = World::new(&[("OPENAI_API_KEY", "sk-test"), ("OPENAI_BASE_URL", &base)]);
    let said = world.gpak(&["run", "do it"]).with_code(0);
    assert_eq!(said.out, "says one\n");
    said.saying(&[
        "OPENAI_API_KEY is set",
        &format!("is sent to {base}"),
        "model = \"embedded\"",
    ]);
    let world = World::new(&[("OPENAI_API_KEY", "sk-test")]);
    world.gpak(&["models", "list"]).with_code(0).saying(&[
        "a run uses openai/gpt-5-mini",
        "is sent to https://api.openai.com",
    ]);
    world.settings("openai.model = \"other\"\n");
    world
        .gpak(&["models", "list"])
        .with_code(0)
        .saying(&["a run uses openai/other"]);
}

#[test]
fn what_cannot_be_used_is_passed_over_with_the_reason() {
    let (openai, server) = (Server::start(refuses), Server::start(ollama));
    let base = format!("http://{}/v1", openai.host);
    let world = World::new(&[
        ("OPENAI_API_KEY", "sk-test"),
        ("OPENAI_BASE_URL", &base),
        ("OLLAMA_HOST", &server.host),
    ]);
    let said = world.gpak(&["run", "do it"]).with_code(0);
    assert_eq!(said.out, "says caller:4b\n");
    said.saying(&["is passed over: the model's server refused the key: no such key"]);
}

#[test]
fn a_setting_turns_the_choice_off_and_nobody_is_asked() {
    let server = Server::start(ollama);
    let world = World::new(&[("OPENAI_API_KEY", "sk-test"), ("OLLAMA_HOST", &server.host)]);
    world.settings("model = \"embedded\"\n");
    world
        .gpak(&["models", "list"])
        .with_code(0)
        .saying(&["a run uses embedded/", "names it"]);
    assert_eq!(server.asked(), [""; 0]);
}

#[test]
fn where_nothing_answers_the_embedded_model_is_used() {
    // A server that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    for (host, part) in [
        (host.as_str(), "did not say"),
        ("127.0.0.1:9", "no Ollama answers"),
    ] {
        let world = World::new(&[("OLLAMA_HOST", host)]);
        world.gpak(&["models", "list"]).with_code(0).saying(&[
            "a run uses embedded/",
            "OPENAI_API_KEY is not set",
            part,
        ]);
    }
}

#[test]
fn a_time_to_keep_a_model_that_is_none_is_refused_with_what_is_right() {
    let world = World::new(&[]);
    for (text, part) in [
        (
            "ollama.keep_alive = \"10 minutes\"\n",
            "give seconds as a number",
        ),
        ("openai.keep_alive = 300\n", "it is ollama.keep_alive"),
    ] {
        world.settings(text);
        world
            .gpak(&["run", "x"])
            .with_code(2)
            .saying(&["config.toml", part]);
    }
    world.settings("ollama.keep_alive = -1\n");
    world
        .gpak(&["config", "show"])
        .with_code(0)
        .saying(&["ollama.keep_alive = -1"]);
}
