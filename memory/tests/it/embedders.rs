//! Embedders beside the built-in one, and a store that goes from one to another.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use gpak_kernel::{
    label::Label,
    memory::{Episode, Filter, Memory, MemoryError, Query},
    model::{
        catalogue::testkit,
        embedding::{Api, EmbeddingModel},
        openai::{Connection, Key},
    },
};
use gpak_memory::{
    SqliteMemory,
    embed::{Embedder, MiniLm, RemoteEmbedder, StaticEmbedder},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn like(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn minilm_makes_the_vectors_that_its_makers_code_makes() {
    let minilm = MiniLm::open(&testkit::model("minilm").unwrap()).unwrap();
    let said = texts(&[
        "The cat sits on the mat.",
        "A kitten lies on the rug",
        "Quarterly revenue grew by eight percent",
        "",
    ]);
    let made = minilm.embed(&said).await.unwrap();
    // From the same weights by the NumPy code in `memory/embed/distil.py`.
    let known = [
        [0.13418, -0.0329, -0.0248, 0.04144],
        [0.02903, 0.04356, 0.03235, 0.05488],
        [0.03796, 0.00945, 0.03192, -0.00023],
    ];
    for (vector, known) in made.iter().zip(known) {
        assert_eq!(vector.len(), minilm.dimension());
        for (part, known) in vector.iter().zip(known) {
            assert!((part - known).abs() < 1e-3, "{part} is not {known}");
        }
    }
    assert!((like(&made[0], &made[1]) - 0.547).abs() < 1e-3);
    assert!(like(&made[0], &made[2]) < 0.0);
    // The same whatever else goes through the model with it.
    let alone = minilm.embed(&said[2..3]).await.unwrap();
    assert!(like(&alone[0], &made[2]) > 0.9999);
    let long = minilm.embed(&["word ".repeat(5000)]).await.unwrap();
    assert!((like(&long[0], &long[0]) - 1.0).abs() < 1e-3);
}

#[test]
fn weights_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("weights");
    for content in [&b""[..], b"no weights at all"] {
        std::fs::write(&file, content).unwrap();
        let error = MiniLm::open(&file).err().unwrap().to_string();
        assert!(error.contains("gpak models pull minilm"), "{error}");
    }
}

/// Answers every request with what `answer` makes of its path and body. Gives its address.
async fn server(answer: impl Fn(&str, &str, Value) -> (u16, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let (head, body) = loop {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).await.unwrap();
                read.extend_from_slice(&piece[..count]);
                let text = String::from_utf8(read.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                if body.len() == length {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let path = head.split(' ').nth(1).unwrap();
            let (status, said) = answer(path, &head, serde_json::from_str(&body).unwrap());
            let said = said.to_string();
            let reply = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{said}",
                said.len()
            );
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}")
}

/// A vector that tells which text it is of.
fn vector(text: &str) -> Value {
    json!([text.len(), 1.0, 0.5])
}

#[tokio::test]
async fn a_server_of_ollama_is_asked_for_batches_and_each_text_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let base = server(move |path, _, body| {
        assert_eq!((path, &body["model"]), ("/api/embed", &json!("nomic")));
        let input = body["input"].as_array().unwrap();
        assert!(input.len() <= 64 && input.iter().all(|text| text != ""));
        counted.fetch_add(input.len(), Relaxed);
        let vectors: Vec<Value> = input.iter().map(|t| vector(t.as_str().unwrap())).collect();
        (200, json!({"embeddings": vectors}))
    })
    .await;
    let model = EmbeddingModel::new(&Connection::new(base), Api::Ollama, "nomic").unwrap();
    let embedder = RemoteEmbedder::connect(model).await.unwrap();
    assert_eq!((embedder.id(), embedder.dimension()), ("ollama/nomic", 3));
    let before = asked.load(Relaxed);
    let mut many: Vec<String> = (0..150).map(|n| "x".repeat(n + 1)).collect();
    many.extend(texts(&["x", "", "xx"]));
    let made = embedder.embed(&many).await.unwrap();
    assert_eq!(made.len(), 153);
    assert_eq!(made[150], made[0]);
    assert_eq!(made[151], [0.0; 3]);
    assert!((like(&made[9], &made[9]) - 1.0).abs() < 1e-5, "of length 1");
    assert!((made[9][0] / made[9][1] - 10.0).abs() < 1e-3, "in order");
    assert_eq!(asked.load(Relaxed) - before, 150);
    embedder.embed(&many).await.unwrap();
    assert_eq!(
        asked.load(Relaxed) - before,
        150,
        "what is known is not asked again"
    );
}

#[tokio::test]
async fn a_server_of_openais_kind_gets_the_key_and_may_answer_in_any_order() {
    let base = server(|path, head, body| {
        assert_eq!(path, "/v1/embeddings");
        if !head.to_lowercase().contains("authorization: bearer right") {
            return (401, json!({"error": {"message": "wrong key"}}));
        }
        let input = body["input"].as_array().unwrap().iter().enumerate().rev();
        let item = |(n, text): (usize, &Value)| {
            json!({"index": n, "embedding": vector(text.as_str().unwrap())})
        };
        (200, json!({"data": input.map(item).collect::<Vec<_>>()}))
    })
    .await;
    let model = |key: &str| {
        let mut connection = Connection::new(format!("{base}/v1"));
        connection.key = Some(Key::new(key));
        EmbeddingModel::new(&connection, Api::OpenAi, "small").unwrap()
    };
    let embedder = RemoteEmbedder::connect(model("right")).await.unwrap();
    let made = embedder.embed(&texts(&["a", "bbbb"])).await.unwrap();
    assert!((made[1][0] / made[1][1] - 4.0).abs() < 1e-3);
    let error = RemoteEmbedder::connect(model("secret"))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_to_be_that() {
    for answer in [
        json!({}),
        json!({"embeddings": []}),
        json!({"embeddings": [[]]}),
        json!({"embeddings": [[1.0], [2.0]]}),
        json!({"embeddings": [["one"]]}),
    ] {
        let base = server(move |_, _, _| (200, answer.clone())).await;
        let model = EmbeddingModel::new(&Connection::new(base), Api::Ollama, "m").unwrap();
        let error = RemoteEmbedder::connect(model).await.err().unwrap();
        assert!(
            matches!(&error, MemoryError::Embedder(why) if why.contains("1 vectors")),
            "{error}"
        );
    }
}

/// Vectors of letters, to tell from the built-in ones; none while it is away.
#[derive(Default)]
struct Letters {
    away: AtomicBool,
}

#[async_trait]
impl Embedder for Letters {
    fn id(&self) -> &str {
        "letters"
    }

    fn dimension(&self) -> usize {
        26
    }

    fn licence(&self) -> &str {
        "MIT"
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, MemoryError> {
        if self.away.load(Relaxed) {
            return Err(MemoryError::Embedder("it is away".to_owned()));
        }
        let count = |text: &String| {
            let mut counts = vec![0.0; 26];
            for byte in text.bytes().filter(u8::is_ascii_lowercase) {
                counts[usize::from(byte - b'a')] += 1.0;
            }
            counts
        };
        Ok(texts.iter().map(count).collect())
    }
}

fn said(number: usize) -> Episode {
    let letter = char::from(b'a' + (number % 26) as u8);
    let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(number as i64);
    Episode::new(
        format!("{} {number}", letter.to_string().repeat(9)),
        Label::User,
        at,
    )
}

async fn by(memory: &SqliteMemory) -> Vec<(String, u64)> {
    memory.stats().await.unwrap().vectors.into_iter().collect()
}

fn with_letters(dir: &Path) -> SqliteMemory {
    SqliteMemory::open_with(dir, Arc::new(Letters::default())).unwrap()
}

#[tokio::test]
async fn vectors_of_another_embedder_are_made_again_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    memory.remember((0..30).map(said).collect()).await.unwrap();
    drop(memory);
    let memory = with_letters(dir.path());
    let other = with_letters(dir.path());
    assert_eq!(memory.foreign_vectors().await.unwrap(), 30);
    // No word of it is there: only vectors find it.
    let ask = Query::new("zzzz", "", Timestamp::UNIX_EPOCH);
    assert!(other.recall(&ask).await.unwrap().is_empty());
    assert_eq!(memory.reembed(20).await.unwrap(), 20);
    let standard = StaticEmbedder::load().unwrap().id().to_owned();
    assert_eq!(
        by(&memory).await,
        [("letters".to_owned(), 20), (standard, 10)]
    );
    let found = |hits: Vec<gpak_kernel::memory::Hit>| hits[0].episode.text.clone();
    assert_eq!(
        found(other.recall(&ask).await.unwrap()),
        said(25).text,
        "at once, in another process"
    );
    // Stopped there, and gone on with.
    drop(memory);
    let memory = with_letters(dir.path());
    assert_eq!(memory.reembed(20).await.unwrap(), 10);
    assert_eq!(memory.reembed(20).await.unwrap(), 0);
    assert_eq!(memory.foreign_vectors().await.unwrap(), 0);
    let ask = Query::new("aaaa", "", Timestamp::UNIX_EPOCH);
    for memory in [memory, other, with_letters(dir.path())] {
        let hits = memory.recall(&ask).await.unwrap();
        assert!(hits.iter().any(|hit| hit.episode == said(0)));
        let records = memory.export(&Filter::default(), None, 99).await.unwrap();
        assert!(
            records
                .iter()
                .all(|r| r.vector.as_ref().unwrap().embedder == "letters")
        );
    }
}

#[tokio::test]
async fn an_embedder_that_is_away_keeps_nothing_from_being_remembered_and_found_by_words() {
    let dir = tempfile::tempdir().unwrap();
    let letters = Arc::new(Letters::default());
    let memory = SqliteMemory::open_with(dir.path(), letters.clone()).unwrap();
    memory.remember(vec![said(0)]).await.unwrap();
    assert_eq!(memory.notice().await, None);
    letters.away.store(true, Relaxed);
    memory.remember(vec![said(1), said(2)]).await.unwrap();
    let ask = |text: &str| Query::new(text, "", Timestamp::UNIX_EPOCH);
    let hits = memory.recall(&ask("bbbbbbbbb")).await.unwrap();
    assert_eq!(hits[0].episode, said(1));
    let notice = memory.notice().await.unwrap();
    assert!(
        notice.contains("it is away") && notice.contains("gpak memory reembed"),
        "{notice}"
    );
    assert!(memory.reembed(9).await.is_err());
    letters.away.store(false, Relaxed);
    assert_eq!(memory.foreign_vectors().await.unwrap(), 2);
    assert_eq!(memory.reembed(9).await.unwrap(), 2);
    let hits = memory.recall(&ask("ccc")).await.unwrap();
    assert_eq!(hits[0].episode, said(2));
    assert_eq!(memory.notice().await, None);
    assert_eq!(
        SqliteMemory::dimension_of(dir.path(), "letters").unwrap(),
        Some(26)
    );
    assert_eq!(
        SqliteMemory::dimension_of(dir.path(), "nobody").unwrap(),
        None
    );
}
