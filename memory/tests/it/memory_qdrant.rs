//! The memory that a Qdrant server looks through, when the server is there, and when it is not.

use std::{path::Path, sync::Arc, time::Duration};

use gpak_kernel::{
    label::Label,
    memory::{Episode, Filter, Memory, Query},
};
use gpak_memory::{
    QdrantMemory, QdrantSettings, SqliteMemory,
    embed::{Embedder, StaticEmbedder},
};
use jiff::{SignedDuration, Timestamp};
use qdrant_client::qdrant::{CreateCollectionBuilder, Distance, VectorParamsBuilder};

use crate::stand_in::Kept;

fn open(dir: &Path, url: &str, change: impl FnOnce(&mut QdrantSettings)) -> QdrantMemory {
    let mut settings = QdrantSettings::new(url);
    settings.pause = Duration::ZERO;
    change(&mut settings);
    let embedder = Arc::new(StaticEmbedder::load().unwrap());
    QdrantMemory::open_with(dir, embedder, settings).unwrap()
}

fn start() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

const WORDS: [&str; 12] = [
    "harbour", "lantern", "violin", "glacier", "teapot", "meadow", "compass", "thunder", "velvet",
    "pumpkin", "castle", "feather",
];

fn turn(number: usize) -> Episode {
    let half = |n: usize| WORDS[n % WORDS.len()];
    let word = |nth: usize| {
        let n = number * (nth * 31 + 17) + number / 12 * nth;
        format!("{}{}", half(n), half(n / 12))
    };
    let text = format!(
        "the {} of {} by the {} in place {number}",
        word(0),
        word(1),
        word(2)
    );
    let at = start() + SignedDuration::from_secs(number as i64);
    let mut episode = Episode::new(text, Label::User, at);
    episode.conversation = Some(format!("talk {}", number / 10));
    episode.speaker = Some(["Ann", "Bob"][number % 2].to_owned());
    episode
}

fn ask(text: &str) -> Query {
    Query::new(text, "", start())
}

#[tokio::test]
async fn the_server_finds_what_the_file_finds_in_nearly_the_same_order() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let memory = open(dir.path(), &server.url, |_| {});
    let local = SqliteMemory::open(other.path()).unwrap();
    // More than a batch.
    let turns: Vec<Episode> = (0..400).map(turn).collect();
    memory.remember(turns.clone()).await.unwrap();
    local.remember(turns).await.unwrap();
    assert_eq!(kept.count(), 400);
    assert!(
        [
            "namespace",
            "at",
            "kind",
            "label",
            "run",
            "conversation",
            "tags"
        ]
        .iter()
        .all(|key| kept.indexed().contains(&(*key).to_owned()))
    );
    let (mut first, mut same, mut all) = (0, 0, 0);
    for number in (0..400).step_by(9) {
        let text = turn(number).text.replace("the ", "");
        let here = memory.recall(&ask(&text)).await.unwrap();
        let there = local.recall(&ask(&text)).await.unwrap();
        first += usize::from(here[0].id == there[0].id);
        all += there.len();
        same += there
            .iter()
            .filter(|hit| here.iter().any(|h| h.id == hit.id))
            .count();
    }
    assert!(first >= 43, "{first} of 45 first hits are the same");
    assert!(same * 10 >= all * 8, "{same} of {all} hits are the same");
    assert_eq!(memory.notice().await, None);
}

#[tokio::test]
async fn while_the_server_is_down_changes_wait_and_the_file_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let url = server.url.clone();
    let memory = open(dir.path(), &url, |_| {});
    let secret = memory.remember(vec![turn(1), turn(2)]).await.unwrap()[0].id;
    let down = server.stop();
    let late = memory.remember(vec![turn(3)]).await.unwrap()[0].id;
    memory.forget(&[secret]).await.unwrap();
    let notice = memory.notice().await.unwrap();
    assert!(
        notice.contains(&url) && notice.contains("cannot be reached"),
        "{notice}"
    );
    // The new one, the deletion, and the neighbour of the deleted one.
    assert!(notice.contains("3 changes wait"), "{notice}");
    let hits = memory.recall(&ask("place 3")).await.unwrap();
    assert!(hits.iter().any(|hit| hit.id == late) && hits.iter().all(|hit| hit.id != secret));
    assert!(kept.dump().contains("place 1"));
    // What waits survives the process.
    drop(memory);
    let server = kept.serve_again(down).await;
    let memory = open(dir.path(), &server.url, |_| {});
    let hits = memory.recall(&ask("place 3")).await.unwrap();
    assert!(hits.iter().any(|hit| hit.id == late));
    assert_eq!(memory.notice().await, None);
    assert_eq!(memory.waiting().await.unwrap(), 0);
    assert_eq!(kept.count(), 2);
    assert!(
        !kept.dump().contains("place 1"),
        "what was forgotten is gone there, too"
    );
}

#[tokio::test]
async fn what_was_forgotten_and_learnt_again_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let memory = open(dir.path(), &server.url, |_| {});
    let id = memory.remember(vec![turn(1)]).await.unwrap()[0].id;
    let down = server.stop();
    memory.forget(&[id]).await.unwrap();
    memory.remember(vec![turn(1)]).await.unwrap();
    let _server = kept.serve_again(down).await;
    assert_eq!(memory.recall(&ask("place 1")).await.unwrap()[0].id, id);
    assert_eq!(memory.notice().await, None);
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn a_collection_of_another_shape_is_left_alone_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let name = format!("gpak-{}", StaticEmbedder::load().unwrap().id());
    let params = VectorParamsBuilder::new(3, Distance::Cosine);
    kept.make(
        CreateCollectionBuilder::new(name)
            .vectors_config(params)
            .build(),
    );
    let server = kept.serve(None).await;
    let memory = open(dir.path(), &server.url, |_| {});
    let id = memory.remember(vec![turn(1)]).await.unwrap()[0].id;
    assert_eq!(memory.recall(&ask("place 1")).await.unwrap()[0].id, id);
    let notice = memory.notice().await.unwrap();
    assert!(
        notice.contains("another shape") && notice.contains("256 numbers"),
        "{notice}"
    );
    assert_eq!(kept.count(), 0);
    // Another name, and all that waited is there.
    let memory = open(dir.path(), &server.url, |s| {
        s.collection = "other".to_owned()
    });
    memory.send_all().await.unwrap();
    assert_eq!((memory.notice().await, kept.count()), (None, 1));
}

#[tokio::test]
async fn a_key_is_sent_and_a_wrong_one_is_told_of_without_telling_it() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let server = kept.serve(Some("right-key")).await;
    let memory = open(dir.path(), &server.url, |s| {
        s.api_key = Some("wrong-key".to_owned())
    });
    let id = memory.remember(vec![turn(1)]).await.unwrap()[0].id;
    let notice = memory.notice().await.unwrap();
    assert!(
        notice.contains("QDRANT_API_KEY") && !notice.contains("wrong-key"),
        "{notice}"
    );
    let memory = open(dir.path(), &server.url, |s| {
        s.api_key = Some("right-key".to_owned())
    });
    assert_eq!(memory.recall(&ask("place 1")).await.unwrap()[0].id, id);
    assert_eq!((memory.notice().await, kept.count()), (None, 1));
}

#[tokio::test]
async fn a_server_that_never_answers_does_not_keep_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let memory = open(dir.path(), &server.url, |s| {
        s.timeout = Duration::from_millis(50)
    });
    let id = memory.remember(vec![turn(1)]).await.unwrap()[0].id;
    kept.hang();
    assert_eq!(memory.recall(&ask("place 1")).await.unwrap()[0].id, id);
    assert!(memory.notice().await.unwrap().contains("Qdrant"));
}

#[tokio::test]
async fn a_server_that_has_lost_everything_is_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let memory = open(dir.path(), &server.url, |_| {});
    let id = memory.remember((0..30).map(turn).collect()).await.unwrap()[7].id;
    kept.lose();
    // The file answers at once, and the server from the next time on.
    for _ in 0..2 {
        let hits = memory.recall(&ask("place 7")).await.unwrap();
        assert_eq!(hits[0].id, id);
    }
    assert_eq!((memory.notice().await, kept.count()), (None, 30));
}

#[tokio::test]
async fn what_another_machine_sent_is_found() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kept = Kept::default();
    let server = kept.serve(None).await;
    let one = open(here.path(), &server.url, |_| {});
    let other = open(there.path(), &server.url, |_| {});
    let mine = one.remember((0..20).map(turn).collect()).await.unwrap();
    other.remember(vec![turn(100)]).await.unwrap();
    let hits = other.recall(&ask("place 7")).await.unwrap();
    assert_eq!(hits[0].id, mine[7].id);
    assert_eq!(other.get(mine[7].id).await.unwrap(), Some(turn(7)));
    assert!(
        other.list(&Filter::default(), 99).await.unwrap().len() == 1,
        "but not kept here"
    );
    assert_eq!(
        one.recall(&ask("place 100")).await.unwrap()[0].episode,
        turn(100)
    );
}

#[test]
fn an_address_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let embedder = Arc::new(StaticEmbedder::load().unwrap());
    let opened = QdrantMemory::open_with(dir.path(), embedder, QdrantSettings::new("not a url"));
    let error = opened.err().unwrap().to_string();
    assert!(error.contains("http://localhost:6334"), "{error}");
}
