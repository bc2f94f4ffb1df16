//! What every memory promises. The suite is written against the port and run for each store of `stores`: on
//! SQLite, on a stand-in for a Qdrant server, and on the server at `QDRANT_URL`, if that is set.

use std::sync::Arc;

use gpak_kernel::{
    label::Label,
    memory::{Episode, Filter, Hit, Kind, Memory, MemoryError, Query},
};
use gpak_memory::{QdrantMemory, QdrantSettings, SqliteMemory, embed::StaticEmbedder};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::stand_in::{Kept, Server};

/// What a store needs to be there for it.
struct Ground {
    _dir: TempDir,
    _server: Option<Server>,
}

async fn stores() -> Vec<(Ground, Arc<dyn Memory>)> {
    let mut stores: Vec<(Ground, Arc<dyn Memory>)> = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Arc::new(SqliteMemory::open(dir.path()).unwrap());
    stores.push((
        Ground {
            _dir: dir,
            _server: None,
        },
        sqlite,
    ));
    let server = Kept::default().serve(None).await;
    let settings = QdrantSettings::new(&server.url);
    stores.push(qdrant(settings, Some(server)));
    match std::env::var("QDRANT_URL") {
        Ok(url) => {
            println!("on the Qdrant server {url}, too");
            let mut settings = QdrantSettings::new(url);
            settings.api_key = std::env::var("QDRANT_API_KEY").ok();
            settings.collection = format!("gpak-test-{}", a_name());
            stores.push(qdrant(settings, None));
        }
        Err(_) => println!("not on a real Qdrant server: QDRANT_URL is not set"),
    }
    stores
}

fn qdrant(settings: QdrantSettings, server: Option<Server>) -> (Ground, Arc<dyn Memory>) {
    let dir = tempfile::tempdir().unwrap();
    let embedder = Arc::new(StaticEmbedder::load().unwrap());
    let memory = QdrantMemory::open_with(dir.path(), embedder, settings).unwrap();
    let ground = Ground {
        _dir: dir,
        _server: server,
    };
    (ground, Arc::new(memory))
}

/// A name that no other test has.
fn a_name() -> String {
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().file_name().unwrap().to_string_lossy();
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn said(text: &str, speaker: &str, minutes: i64) -> Episode {
    let mut episode = Episode::new(
        text,
        Label::User,
        now() + SignedDuration::from_mins(minutes),
    );
    episode.namespace = "test".to_owned();
    episode.conversation = Some("monday".to_owned());
    episode.speaker = Some(speaker.to_owned());
    episode
}

fn talk() -> Vec<Episode> {
    vec![
        said("What did you do at the weekend?", "Ann", 0),
        said("I repaired the old bicycle in the garage.", "Bob", 1),
        said("Oh nice, was it hard?", "Ann", 2),
        said("The brakes took me three hours.", "Bob", 3),
        said("I baked a cake with blueberries for my sister.", "Ann", 4),
    ]
}

fn ask(text: &str) -> Query {
    Query::new(text, "test", now())
}

#[tokio::test]
async fn a_turn_is_found_by_its_words_and_says_why() {
    for (_dir, memory) in stores().await {
        memory.remember(talk()).await.unwrap();
        let hits = memory.recall(&ask("Who baked blueberries?")).await.unwrap();
        assert!(hits[0].episode.text.contains("blueberries"));
        assert!(
            hits[0]
                .why
                .iter()
                .any(|why| why.by == "words" && why.rank == Some(1))
        );
        assert_eq!(hits[0].id, hits[0].episode.id());
    }
}

#[tokio::test]
async fn a_turn_is_found_by_its_meaning_alone() {
    for (_dir, memory) in stores().await {
        memory.remember(talk()).await.unwrap();
        let hits = memory.recall(&ask("dessert pastry")).await.unwrap();
        assert!(
            hits[0].episode.text.contains("cake"),
            "{:?}",
            hits[0].episode.text
        );
        assert!(hits[0].why.iter().all(|why| why.by != "words"));
    }
}

#[tokio::test]
async fn a_turn_is_found_by_a_word_that_means_nearly_the_same() {
    for (_dir, memory) in stores().await {
        memory.remember(talk()).await.unwrap();
        let hits = memory.recall(&ask("a bike?")).await.unwrap();
        let first = &hits[0];
        assert!(first.episode.text.contains("bicycle"), "{first:?}");
        let by_words = first
            .why
            .iter()
            .any(|why| why.by == "words" && why.score > 0.0);
        assert!(by_words, "{first:?}");
        // The number beside one means another one.
        let hits = memory.recall(&ask("4711?")).await.unwrap();
        let by_words = |hit: &Hit| hit.why.iter().any(|why| why.by == "words");
        assert!(!hits.iter().any(by_words), "{hits:?}");
    }
}

#[tokio::test]
async fn a_turn_that_comes_later_is_a_neighbour_of_those_before() {
    for (_dir, memory) in stores().await {
        for episode in talk() {
            memory.remember(vec![episode]).await.unwrap();
        }
        let mut query = ask("bicycle");
        query.neighbours = 1;
        let hits = memory.recall(&query).await.unwrap();
        let found: Vec<_> = hits[0].around.iter().map(|e| e.text.clone()).collect();
        let talk = talk();
        assert_eq!(found, [talk[0].text.clone(), talk[2].text.clone()]);
        let by_words = |text: &str| {
            let hit = hits.iter().find(|hit| hit.episode.text == text);
            hit.is_some_and(|hit| hit.why.iter().any(|why| why.by == "words"))
        };
        assert!(
            by_words(&talk[0].text),
            "the next turn's words find this one"
        );
        assert!(!by_words(&talk[4].text));
    }
}

#[tokio::test]
async fn what_is_remembered_twice_is_kept_once() {
    for (_dir, memory) in stores().await {
        let first = memory.remember(talk()).await.unwrap();
        let again = memory.remember(talk()).await.unwrap();
        assert!(first.iter().all(|kept| kept.new));
        assert!(again.iter().all(|kept| !kept.new));
        assert_eq!(memory.list(&Filter::default(), 100).await.unwrap().len(), 5);
    }
}

#[tokio::test]
async fn filters_and_budgets_leave_out_what_they_should() {
    for (_dir, memory) in stores().await {
        let mut fact = Episode::new("Bob has a red bicycle", Label::Web("x.org".into()), now());
        fact.namespace = "test".to_owned();
        fact.kind = Kind::Semantic;
        fact.tags = vec!["bikes".to_owned()];
        let mut elsewhere = said("my bicycle is blue", "Eve", 0);
        elsewhere.namespace = "other".to_owned();
        memory.remember(talk()).await.unwrap();
        memory
            .remember(vec![fact.clone(), elsewhere])
            .await
            .unwrap();
        let texts = async |query: &Query| -> Vec<String> {
            let hits = memory.recall(query).await.unwrap();
            hits.into_iter().map(|hit| hit.episode.text).collect()
        };
        let all = texts(&ask("bicycle")).await;
        assert!(all.contains(&fact.text) && !all.contains(&"my bicycle is blue".to_owned()));
        let mut query = ask("bicycle");
        query.filter.kinds = vec![Kind::Semantic];
        assert_eq!(texts(&query).await, [fact.text.clone()]);
        query.filter.kinds = vec![];
        query.filter.tags = vec!["bikes".to_owned()];
        assert_eq!(texts(&query).await, [fact.text.clone()]);
        query.filter.tags = vec![];
        query.filter.labels = vec![fact.label.clone()];
        assert_eq!(texts(&query).await, [fact.text.clone()]);
        query.filter.labels = vec![];
        query.tokens = Some(6);
        let size: usize = texts(&query).await.iter().map(String::len).sum();
        assert!(size <= 24);
        query.tokens = None;
        query.limit = 2;
        assert_eq!(texts(&query).await.len(), 2);
    }
}

#[tokio::test]
async fn an_export_makes_the_same_store_elsewhere() {
    for ((_a, from), (_b, to)) in stores().await.into_iter().zip(stores().await) {
        let mut odd = said("nul \0 byte, “quotes”, 🦀", "Ann", 9);
        odd.meta.insert("number".to_owned(), 0.1.into());
        odd.importance = 0.7;
        from.remember(talk()).await.unwrap();
        from.remember(vec![odd]).await.unwrap();
        let records = from.export(&Filter::default(), None, 100).await.unwrap();
        assert!(records.iter().all(|record| record.vector.is_some()));
        let lines: Vec<_> = records
            .iter()
            .map(|r| serde_json::to_string(r).unwrap())
            .collect();
        let read = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        to.import(read).await.unwrap();
        assert_eq!(
            to.export(&Filter::default(), None, 100).await.unwrap(),
            records
        );
        let rest = from
            .export(&Filter::default(), Some(records[3].place), 100)
            .await
            .unwrap();
        assert_eq!(rest, records[4..]);
    }
}

#[tokio::test]
async fn a_record_that_was_changed_or_does_not_fit_is_refused_whole() {
    for (_dir, memory) in stores().await {
        memory.remember(talk()).await.unwrap();
        let records = memory.export(&Filter::default(), None, 100).await.unwrap();
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        memory.forget(&ids).await.unwrap();
        let mut changed = records.clone();
        changed[4].episode.text.push('!');
        assert!(matches!(
            memory.import(changed).await,
            Err(MemoryError::Invalid(_))
        ));
        let mut short = records.clone();
        short[4].vector.as_mut().unwrap().values.pop();
        let error = memory.import(short).await.unwrap_err();
        assert!(
            error.to_string().contains("255 dimensions in place of 256"),
            "{error}"
        );
        assert!(
            memory
                .list(&Filter::default(), 100)
                .await
                .unwrap()
                .is_empty()
        );
        let mut foreign = records;
        foreign[0].vector.as_mut().unwrap().embedder = "somebody-else".to_owned();
        memory.import(foreign.clone()).await.unwrap();
        let made = memory.export(&Filter::default(), None, 1).await.unwrap();
        assert_eq!(
            made[0].vector.as_ref().unwrap().values,
            foreign[0].vector.as_ref().unwrap().values
        );
    }
}

#[tokio::test]
async fn texts_that_cannot_be_kept_are_refused_with_a_reason() {
    for (_dir, memory) in stores().await {
        let refused = async |episode: Episode| {
            let error = memory
                .remember(vec![said("fine", "Ann", 0), episode])
                .await
                .unwrap_err();
            assert!(matches!(error, MemoryError::Invalid(_)), "{error}");
        };
        refused(said(" \n", "Ann", 1)).await;
        refused(said(&"x".repeat((1 << 20) + 1), "Ann", 1)).await;
        let mut heavy = said("heavy", "Ann", 1);
        heavy.importance = f32::NAN;
        refused(heavy).await;
        assert!(
            memory.list(&Filter::default(), 9).await.unwrap().is_empty(),
            "all or none"
        );
        memory
            .remember(vec![said(&"word ".repeat(200_000), "Ann", 1)])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_question_may_be_anything() {
    for (_dir, memory) in stores().await {
        memory.remember(talk()).await.unwrap();
        let long = "bicycle ".repeat(100_000);
        for text in [
            "",
            " ",
            "\0",
            "\"",
            "*",
            "bicycle\"",
            "NEAR(a b)",
            "bicycle AND NOT",
            "text:bicycle",
            "bicycle*",
            "(",
            "^",
            "a'; DROP TABLE episodes; --",
            "🦀",
            "the of and",
            &long,
        ] {
            let hits = memory.recall(&ask(text)).await.unwrap();
            if text.contains("bicycle") {
                assert!(hits[0].episode.text.contains("bicycle"), "{text:.20}");
            }
        }
    }
}

fn fact(text: &str, minutes: i64) -> Episode {
    let mut episode = said(text, "", minutes);
    episode.kind = Kind::Semantic;
    episode.conversation = None;
    episode.speaker = None;
    episode
}

#[tokio::test]
async fn what_says_the_same_becomes_one_and_is_found_once() {
    for (_dir, memory) in stores().await {
        let before = fact(
            "The tests of the parser take ten minutes on the old machine",
            0,
        );
        let after = fact(
            "On the old machine the tests of the parser take ten minutes",
            5,
        );
        let kept = memory
            .remember(vec![before.clone(), after.clone()])
            .await
            .unwrap();
        memory.used(&[kept[0].id]).await.unwrap();
        let done = memory.consolidate(now()).await.unwrap();
        assert_eq!(done.merged, [(before.id(), after.id())]);
        let hits = memory
            .recall(&ask("How long do the tests of the parser take?"))
            .await;
        let found: Vec<_> = hits.unwrap().iter().map(|hit| hit.id).collect();
        assert_eq!(found, [after.id()]);
        let old = memory.get(before.id()).await.unwrap().unwrap();
        assert_eq!(old.meta["merged_into"], after.id().to_string());
        let again = memory.consolidate(now()).await.unwrap();
        assert_eq!((again.looked_at, again.merged.len()), (0, 0));
    }
}

#[tokio::test]
async fn the_later_of_two_facts_holds_whichever_was_told_first() {
    for (_dir, memory) in stores().await {
        let newer = fact("The port of the server is 9090", 10);
        let older = fact("The port of the server is 8080", 0);
        memory.remember(vec![newer.clone()]).await.unwrap();
        memory.consolidate(now()).await.unwrap();
        memory.remember(vec![older.clone()]).await.unwrap();
        let done = memory.consolidate(now()).await.unwrap();
        assert_eq!(done.superseded, [(older.id(), newer.id())]);
        let ended = memory.get(older.id()).await.unwrap().unwrap();
        assert_eq!(ended.valid_to, Some(newer.at));
        let mut query = ask("port of the server");
        assert_eq!(memory.recall(&query).await.unwrap().len(), 1);
        query.filter.past = true;
        assert_eq!(memory.recall(&query).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_was_recalled_often_comes_first_among_like_ones() {
    for (_dir, memory) in stores().await {
        let (one, other) = (fact("Ann keeps bees", 0), fact("Bob keeps bees", 1));
        memory.remember(vec![one, other.clone()]).await.unwrap();
        let asked = ask("Who keeps bees?");
        memory.used(&vec![other.id(); 20]).await.unwrap();
        let hits = memory.recall(&asked).await.unwrap();
        assert_eq!(hits[0].id, other.id());
    }
}

#[tokio::test]
async fn a_folder_sees_its_own_memories_and_those_of_no_folder() {
    for (_dir, memory) in stores().await {
        let at = |folder: Option<&str>| {
            let mut episode = fact("Bees are kept in the garden", 0);
            episode.workspace = folder.map(str::to_owned);
            episode
        };
        let all = vec![at(None), at(Some("/a")), at(Some("/b"))];
        memory.remember(all).await.unwrap();
        let filter = Filter {
            workspace: Some("/a".to_owned()),
            ..Filter::namespace("test")
        };
        let listed = memory.list(&filter, 10).await.unwrap();
        let mut folders: Vec<_> = listed.into_iter().map(|it| it.workspace).collect();
        folders.sort();
        assert_eq!(folders, [None, Some("/a".to_owned())]);
    }
}
