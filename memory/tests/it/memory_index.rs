//! What recall looks in, and the file that it is kept in, which may be lost or damaged at any time.

use std::{fs, path::Path};

use gpak_kernel::{
    label::Label,
    memory::{Episode, Filter, Hit, Kind, Memory, Query},
};
use gpak_memory::{SqliteMemory, episodic::Weights};
use jiff::{SignedDuration, Timestamp};

/// More than it takes for the index to be written to a file.
const MANY: usize = 6_000;

const WORDS: [&str; 24] = [
    "harbour", "lantern", "violin", "glacier", "teapot", "meadow", "compass", "thunder", "velvet",
    "pumpkin", "castle", "feather", "granite", "whisper", "orchard", "anchor", "saffron", "puzzle",
    "marble", "canyon", "ribbon", "falcon", "cinnamon", "ladder",
];

fn start() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

/// Talks of ten turns each, in which words come again without a pattern.
fn turn(number: usize) -> Episode {
    let word =
        |nth: usize| WORDS[(number * (nth * nth + 7) / (nth + 1) + number / 13) % WORDS.len()];
    let text = format!("{} {} and {} in place {number}", word(0), word(1), word(2));
    let at = start() + SignedDuration::from_secs(number as i64);
    let mut episode = Episode::new(text, Label::User, at);
    episode.conversation = Some(format!("talk {}", number / 10));
    episode.speaker = Some(["Ann", "Bob"][number % 2].to_owned());
    episode
}

async fn filled(dir: &Path, count: usize) -> SqliteMemory {
    let memory = SqliteMemory::open(dir).unwrap();
    memory
        .remember((0..count).map(turn).collect())
        .await
        .unwrap();
    memory
}

fn questions() -> impl Iterator<Item = Query> {
    let ask = |n: usize| {
        format!(
            "Did {} see a {} by the {}?",
            ["Ann", "Bob"][n % 2],
            WORDS[n],
            WORDS[(n * 5 + 3) % 24]
        )
    };
    (0..WORDS.len()).map(move |n| Query::new(ask(n), "", start()))
}

async fn answers(memory: &SqliteMemory) -> Vec<Vec<Hit>> {
    let mut answers = Vec::new();
    for question in questions() {
        answers.push(memory.recall(&question).await.unwrap());
    }
    answers
}

#[tokio::test]
async fn an_index_from_its_file_answers_as_one_made_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path(), MANY).await;
    let told = answers(&memory).await;
    assert!(told.iter().all(|hits| hits.len() == 10));
    drop(memory);
    let file = dir.path().join("memory.index");
    let written = fs::read(&file).unwrap();
    assert!(
        !written.windows(7).any(|part| part == b"harbour"),
        "it has no text"
    );
    let memory = SqliteMemory::open(dir.path()).unwrap();
    assert_eq!(answers(&memory).await, told);
    // What came after it was written is found, too.
    let mut late = turn(MANY);
    late.text = "a zeppelin over the harbour".to_owned();
    memory.remember(vec![late.clone()]).await.unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let hits = memory
        .recall(&Query::new("zeppelin", "", start()))
        .await
        .unwrap();
    assert_eq!(hits[0].episode, late);
    drop(memory);
    assert_eq!(
        fs::read(&file).unwrap(),
        written,
        "one more is no reason to write it again"
    );
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_of_another_store_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("memory.index");
    let memory = filled(dir.path(), MANY).await;
    let told = answers(&memory).await;
    drop(memory);
    let whole = fs::read(&file).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = filled(elsewhere.path(), MANY).await;
    answers(&other).await;
    drop(other);
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[middle] ^= 1;
    let mut header = whole.clone();
    header[14] = 0xff;
    for damaged in [
        Vec::new(),
        b"no index".to_vec(),
        whole[..middle].to_vec(),
        [whole.as_slice(), b"more"].concat(),
        flipped,
        header,
        fs::read(elsewhere.path().join("memory.index")).unwrap(),
    ] {
        fs::write(&file, &damaged).unwrap();
        let memory = SqliteMemory::open(dir.path()).unwrap();
        assert_eq!(answers(&memory).await, told);
        drop(memory);
        assert_eq!(fs::read(&file).unwrap(), whole, "it is as it was before");
    }
    let files = fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().file_name());
    let unfinished = files.filter(|name| name.to_string_lossy().ends_with(".new"));
    assert_eq!(unfinished.count(), 0);
}

#[tokio::test]
async fn what_is_forgotten_is_not_in_the_index_either() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path(), MANY).await;
    let told = answers(&memory).await;
    let gone: Vec<_> = told.iter().map(|hits| hits[0].id).collect();
    drop(memory);
    let records = {
        let memory = SqliteMemory::open(dir.path()).unwrap();
        memory.export(&Filter::default(), None, MANY).await.unwrap()
    };
    let vector = records.iter().find(|record| record.id == gone[0]).unwrap();
    let bytes: Vec<u8> = vector
        .vector
        .as_ref()
        .unwrap()
        .values
        .iter()
        .map(|part| part.cast_unsigned())
        .collect();
    let is_somewhere = || {
        fs::read_dir(dir.path()).unwrap().any(|file| {
            let content = fs::read(file.unwrap().path()).unwrap();
            content.windows(bytes.len()).any(|part| part == bytes)
        })
    };
    assert!(is_somewhere(), "the search of bytes works");
    let (memory, other) = (
        SqliteMemory::open(dir.path()).unwrap(),
        SqliteMemory::open(dir.path()).unwrap(),
    );
    answers(&memory).await;
    answers(&other).await;
    memory.forget(&gone).await.unwrap();
    assert!(!is_somewhere());
    let after = answers(&memory).await;
    assert!(after.iter().flatten().all(|hit| !gone.contains(&hit.id)));
    assert_eq!(
        answers(&other).await,
        after,
        "another process has heard of it"
    );
    drop((memory, other));
    let fresh = SqliteMemory::open(dir.path()).unwrap();
    assert_eq!(
        answers(&fresh).await,
        after,
        "no trace of it is left in any score"
    );
    drop(fresh);
    assert!(!is_somewhere());
}

#[tokio::test]
async fn many_episodes_are_found_by_sketches_as_by_comparing_all() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path(), 4_000).await;
    let mut exact = Vec::new();
    for question in questions() {
        exact.push(
            memory
                .recall_with(&question, Weights::MEANING)
                .await
                .unwrap(),
        );
    }
    let memory = SqliteMemory::open(dir.path()).unwrap();
    memory.exact_up_to(1_000);
    let (mut found, mut all) = (0, 0);
    for (question, exact) in questions().zip(exact) {
        let hits = memory
            .recall_with(&question, Weights::MEANING)
            .await
            .unwrap();
        all += exact.len();
        found += exact
            .iter()
            .filter(|hit| hits.iter().any(|other| other.id == hit.id))
            .count();
    }
    assert!(found * 100 >= all * 98, "{found} of {all}");
    for question in questions().take(3) {
        let hits = memory.recall(&question).await.unwrap();
        assert!(hits[0].why.iter().any(|why| why.by == "words"));
        assert!(hits[0].why.iter().any(|why| why.by == "meaning"));
    }
}

#[tokio::test]
async fn a_filter_finds_the_one_among_thousands() {
    let dir = tempfile::tempdir().unwrap();
    let memory = filled(dir.path(), 3_000).await;
    let mut rule = Episode::new("ladder before anchor", Label::Tool("shell".into()), start());
    rule.kind = Kind::Procedural;
    rule.tags = vec!["rule".to_owned(), "ship".to_owned()];
    memory.remember(vec![rule.clone()]).await.unwrap();
    let question = || Query::new("harbour lantern violin", "", start());
    let narrow: [fn(&mut Filter); 4] = [
        |filter| filter.kinds = vec![Kind::Procedural],
        |filter| filter.labels = vec![Label::Tool("shell".into())],
        |filter| filter.tags = vec!["ship".to_owned()],
        |filter| {
            filter.tags = vec!["rule".to_owned()];
            filter.kinds = vec![Kind::Procedural, Kind::Semantic];
        },
    ];
    for exact in [usize::MAX, 100, 0] {
        memory.exact_up_to(exact);
        for narrow in narrow {
            let mut query = question();
            narrow(&mut query.filter);
            let hits = memory.recall(&query).await.unwrap();
            assert_eq!(hits.len(), 1);
            assert_eq!(hits[0].episode, rule);
        }
        let mut query = question();
        query.filter.conversation = Some("talk 7".to_owned());
        assert_eq!(memory.recall(&query).await.unwrap().len(), 10);
        query.filter.conversation = None;
        query.filter.time = Some(turn(5).at..turn(8).at);
        assert_eq!(memory.recall(&query).await.unwrap().len(), 3);
        query.filter.tags = vec!["nobody's".to_owned()];
        assert!(memory.recall(&query).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_store_that_is_used_comes_sooner_in_every_process() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let said = |text: &str| Episode::new(text, Label::User, start());
    memory
        .remember(vec![said("the red kettle"), said("the kettle red")])
        .await
        .unwrap();
    let other = SqliteMemory::open(dir.path()).unwrap();
    let question = Query::new("red kettle", "", start());
    let second = memory.recall(&question).await.unwrap()[1].id;
    assert_eq!(other.recall(&question).await.unwrap()[1].id, second);
    for _ in 0..20 {
        memory.used(&[second]).await.unwrap();
    }
    for memory in [memory, other] {
        let hits = memory.recall(&question).await.unwrap();
        assert_eq!(hits[0].id, second);
        assert!(hits[0].why.iter().any(|why| why.by == "uses"));
    }
}
