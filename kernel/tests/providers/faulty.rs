//! A server that says what a test tells it to, byte by byte, and remembers what it was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// What came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `POST /v1/chat/completions`.
    pub line: String,
    /// The header lines, in lower case.
    pub head: String,
    /// The body; null if there was none.
    pub body: Value,
}

/// What goes out.
#[derive(Debug, Clone)]
pub enum Say {
    /// A whole answer.
    Whole(u16, &'static str, String),
    /// The same with one more header line.
    With(u16, &'static str, String),
    /// A stream, closed after these pieces, with its end marked or not.
    Stream(Vec<String>, bool),
    /// These pieces, and then nothing.
    Hang(Vec<String>),
}

impl Say {
    pub fn json(status: u16, body: &str) -> Self {
        Self::Whole(status, "application/json", body.to_owned())
    }

    /// Server-sent events with this data, and a proper end.
    pub fn events(data: &[&str]) -> Self {
        Self::Stream(sse(data), true)
    }
}

pub fn sse(data: &[&str]) -> Vec<String> {
    data.iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect()
}

/// The server. It stops when it is dropped.
pub struct Faulty {
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    gone: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Faulty {
    /// Answers posts with `script`, its last line again and again, and anything else with an empty list.
    pub async fn start(script: Vec<Say>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (asked, gone) = (Arc::default(), Arc::new(Notify::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            script,
            Arc::clone(&asked),
            Arc::clone(&gone),
        ));
        Self {
            base,
            asked,
            gone,
            _tasks: tasks,
        }
    }

    /// The address of its OpenAI API.
    pub fn v1(&self) -> String {
        format!("{}/v1", self.base)
    }

    /// The posts that came in.
    pub fn posts(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        let posts = asked.iter().filter(|asked| asked.line.starts_with("POST"));
        posts.cloned().collect()
    }

    /// All that came in.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until a client has hung up on an answer that hangs.
    pub async fn client_is_gone(&self) {
        self.gone.notified().await;
    }
}

async fn accept(
    listener: TcpListener,
    script: Arc<Mutex<VecDeque<Say>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    gone: Arc<Notify>,
) {
    let mut serving = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (script, asked, gone) = (script.clone(), asked.clone(), gone.clone());
        serving.spawn(async move {
            // What a client that hangs up makes impossible to write is nobody's loss.
            let _ = serve(socket, &script, &asked, &gone).await;
        });
    }
}

async fn serve(
    mut socket: TcpStream,
    script: &Mutex<VecDeque<Say>>,
    asked: &Mutex<Vec<Asked>>,
    gone: &Notify,
) -> std::io::Result<()> {
    let Some(request) = read(&mut socket).await? else {
        return Ok(());
    };
    let is_post = request.line.starts_with("POST");
    asked.lock().unwrap().push(request);
    let say = if is_post {
        let mut script = script.lock().unwrap();
        match script.len() {
            1 => script.front().cloned(),
            _ => script.pop_front(),
        }
    } else {
        Some(Say::json(200, r#"{"data":[],"models":[]}"#))
    };
    match say {
        None => Ok(()),
        Some(Say::Whole(status, kind, body)) => {
            whole(&mut socket, status, &format!("content-type: {kind}"), &body).await
        }
        Some(Say::With(status, header, body)) => whole(&mut socket, status, header, &body).await,
        Some(Say::Stream(pieces, ends)) => {
            stream(&mut socket, &pieces).await?;
            if ends {
                socket.write_all(b"0\r\n\r\n").await?;
            }
            socket.shutdown().await
        }
        Some(Say::Hang(pieces)) => {
            stream(&mut socket, &pieces).await?;
            // Comes back when the client closes.
            let mut rest = [0; 64];
            while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            gone.notify_one();
            Ok(())
        }
    }
}

async fn whole(
    socket: &mut TcpStream,
    status: u16,
    header: &str,
    body: &str,
) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status} Because\r\n{header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

async fn stream(socket: &mut TcpStream, pieces: &[String]) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\
                connection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    for piece in pieces {
        socket
            .write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes())
            .await?;
        socket.flush().await?;
    }
    Ok(())
}

async fn read(socket: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_owned();
            let lower = head.to_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let line = head.lines().next().unwrap_or_default();
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                let body = serde_json::from_str(body).unwrap_or_default();
                let head = lower;
                return Ok(Some(Asked { line, head, body }));
            }
        }
        match socket.read(&mut piece).await? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
