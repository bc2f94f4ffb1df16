//! A hub on this machine, for tests: it has one file, and the faults that it is told to have.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// How the stand-in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As a hub does: with a redirect to another path, and ranges.
    Good,
    /// Each connection breaks after that many bytes.
    BreaksAfter(usize),
    /// It sends the whole file whatever range is asked for.
    NoRanges,
    /// It has no such file.
    Missing,
}

/// A running stand-in. Its thread ends with the process.
pub(super) struct Hub {
    pub(super) address: String,
    /// Each request for the file: the first byte asked for, and how many were sent.
    pub(super) served: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Hub {
    pub(super) fn start(content: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new(Vec::new()));
        let log = served.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, log) = (content.clone(), log.clone());
                std::thread::spawn(move || answer(stream, &content, manner, &log));
            }
        });
        Self { address, served }
    }

    pub(super) fn bytes_sent(&self) -> usize {
        self.served
            .lock()
            .unwrap()
            .iter()
            .map(|(_, sent)| sent)
            .sum()
    }
}

fn answer(
    stream: TcpStream,
    content: &[u8],
    manner: Manner,
    log: &Mutex<Vec<(usize, usize)>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    let (mut path, mut start) = (String::new(), 0);
    for line in reader
        .by_ref()
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
    {
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next()?.to_owned();
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().ok()?;
        }
    }
    if manner == Manner::Missing {
        return stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .ok();
    }
    if path.contains("/resolve/") {
        return stream
            .write_all(b"HTTP/1.1 302 Found\r\nLocation: /blob\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .ok();
    }
    let start = if manner == Manner::NoRanges { 0 } else { start };
    let status = if manner == Manner::NoRanges {
        "200 OK"
    } else {
        "206 Partial Content"
    };
    let (length, total) = (content.len() - start, content.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Range: bytes {start}-{}/{total}\r\nConnection: close\r\n\r\n",
        total - 1
    );
    let sent = match manner {
        Manner::BreaksAfter(bytes) => bytes.min(length),
        _ => length,
    };
    log.lock().unwrap().push((start, sent));
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&content[start..start + sent]).ok()
}
