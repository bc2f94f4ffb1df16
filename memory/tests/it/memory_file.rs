//! What the memory's file promises.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use gpak_kernel::{
    label::Label,
    memory::{Episode, EpisodeId, Filter, Memory, MemoryError, Query},
};
use gpak_memory::SqliteMemory;
use jiff::Timestamp;
use rusqlite::Connection;

use crate::fixture::{given_dir, in_a_process};

fn turn(number: usize) -> Episode {
    let at = Timestamp::from_second(1_700_000_000 + number as i64).unwrap();
    let mut episode = Episode::new(
        format!("turn {number} of xylophone{number}"),
        Label::User,
        at,
    );
    episode.conversation = Some(format!("talk {}", number / 20));
    episode
}

/// Whether any file of the folder has the bytes, in small or large letters.
fn is_in_files(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|file| {
        let bytes = std::fs::read(file.unwrap().path())
            .unwrap()
            .to_ascii_lowercase();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    })
}

#[tokio::test]
async fn what_is_forgotten_leaves_no_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let mut episodes: Vec<Episode> = (0..60).map(turn).collect();
    episodes[30].text = "the password is Quetzalcoatl7".to_owned();
    let kept = memory.remember(episodes.clone()).await.unwrap();
    let ask = Query::new("quetzalcoatl7", "", Timestamp::UNIX_EPOCH);
    assert_eq!(memory.recall(&ask).await.unwrap()[0].id, kept[30].id);
    assert!(
        is_in_files(dir.path(), "quetzalcoatl7"),
        "the search of bytes works"
    );
    assert_eq!(memory.forget(&[kept[30].id]).await.unwrap(), 1);
    // Not its stem either, as the index of words has it.
    assert!(!is_in_files(dir.path(), "quetzalcoatl"));
    assert!(is_in_files(dir.path(), "xylophone29"));
    let hits = memory.recall(&ask).await.unwrap();
    assert!(
        hits.iter()
            .all(|hit| hit.id != kept[30].id && hit.why.iter().all(|w| w.by != "words"))
    );
    assert_eq!(memory.forget(&[kept[30].id]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_another_process_writes_and_forgets_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        SqliteMemory::open(dir.path()).unwrap(),
        SqliteMemory::open(dir.path()).unwrap(),
    );
    let ask = Query::new("xylophone7", "", Timestamp::UNIX_EPOCH);
    assert!(two.recall(&ask).await.unwrap().is_empty());
    let kept = one.remember(vec![turn(7)]).await.unwrap();
    assert_eq!(two.recall(&ask).await.unwrap().len(), 1);
    one.forget(&[kept[0].id]).await.unwrap();
    assert!(two.recall(&ask).await.unwrap().is_empty());
}

#[test]
fn a_file_of_a_newer_gpak_or_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteMemory::open(dir.path()).unwrap());
    let file = dir.path().join("memory.db");
    let set = |sql| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let refusal = || match SqliteMemory::open(dir.path()) {
        Err(MemoryError::Store(why)) => why,
        _ => panic!("it was opened"),
    };
    set("PRAGMA user_version = 99");
    assert!(refusal().contains("newer gpak"));
    set("PRAGMA user_version = 4; PRAGMA application_id = 7");
    assert!(refusal().contains("another program"));
    std::fs::write(&file, "this is no database, but a text that is long enough").unwrap();
    assert!(refusal().contains("damaged"));
}

#[tokio::test]
async fn a_locked_file_is_said_to_be_locked() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let other = Connection::open(dir.path().join("memory.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = memory.remember(vec![turn(1)]).await.unwrap_err();
    assert!(error.to_string().contains("locked"), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    memory.remember(vec![turn(1)]).await.unwrap();
}

/// Remembers turns and tells of each.
#[tokio::test]
#[ignore = "run by a_hundred_kills_lose_nothing_that_was_acknowledged"]
async fn child_remembers_until_killed() {
    let memory = SqliteMemory::open(&given_dir()).unwrap();
    let start = memory
        .list(&Filter::default(), usize::MAX)
        .await
        .unwrap()
        .len();
    for first in (start..).step_by(3) {
        for kept in memory
            .remember((first..first + 3).map(turn).collect())
            .await
            .unwrap()
        {
            println!("kept {}", kept.id);
        }
    }
}

#[tokio::test]
async fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<EpisodeId> = Vec::new();
    for round in 0..100 {
        let mut child = in_a_process("memory_file::child_remembers_until_killed", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_told = |line: &String| line.split_once("kept ")?.1.parse::<EpisodeId>().ok();
        let mut told = Vec::new();
        while told.len() <= round % 7 {
            let line = lines.next().expect("it stopped by itself").unwrap();
            told.extend(is_told(&line));
        }
        child.kill().unwrap();
        // What it had told before it died counts, too; the last line may be cut.
        told.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| is_told(&line)),
        );
        child.wait().unwrap();
        acknowledged.extend(told);
    }
    let memory = SqliteMemory::open(dir.path()).unwrap();
    for id in &acknowledged {
        assert!(memory.get(*id).await.unwrap().is_some(), "{id} was lost");
    }
    let all = memory
        .export(&Filter::default(), None, usize::MAX)
        .await
        .unwrap();
    assert!(all.len() >= acknowledged.len() && acknowledged.len() >= 100);
    assert!(all.iter().all(|record| record.vector.is_some()));
    let file = Connection::open(dir.path().join("memory.db")).unwrap();
    let whole: String = file
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
    // What was acknowledged is found by its own word, and by its vector, which is of its text.
    for id in acknowledged.iter().step_by(7) {
        let text = memory.get(*id).await.unwrap().unwrap().text;
        let ask = Query::new(text.rsplit(' ').next().unwrap(), "", Timestamp::UNIX_EPOCH);
        let hits = memory.recall(&ask).await.unwrap();
        assert_eq!(hits[0].id, *id);
        let found_by = |by: &str| hits[0].why.iter().any(|why| why.by == by);
        assert!(found_by("words") && found_by("meaning"));
    }
}

/// Remembers turns of its own, and one that its rivals remember, too.
#[tokio::test]
#[ignore = "run by several_processes_remember_at_once"]
async fn child_remembers_among_rivals() {
    let memory = SqliteMemory::open(&given_dir()).unwrap();
    let me = std::process::id() as usize * 1000;
    for number in 0..40 {
        let kept = memory
            .remember(vec![turn(me + number), turn(number)])
            .await
            .unwrap();
        assert!(kept[0].new);
        let ask = Query::new(
            format!("xylophone{}", me + number),
            "",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(memory.recall(&ask).await.unwrap()[0].id, kept[0].id);
    }
}

#[tokio::test]
async fn several_processes_remember_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // They make the file as well.
    let rivals: Vec<_> = (0..4)
        .map(|_| {
            let mut rival = in_a_process("memory_file::child_remembers_among_rivals", dir.path());
            rival.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut rival in rivals {
        assert!(rival.wait().unwrap().success());
    }
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let all = memory
        .export(&Filter::default(), None, usize::MAX)
        .await
        .unwrap();
    assert_eq!(all.len(), 4 * 40 + 40);
    assert!(all.iter().all(|record| record.vector.is_some()));
}

#[tokio::test]
async fn a_reader_that_holds_old_pages_is_told_of_and_they_go_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let mut secret = turn(1);
    secret.text = "the password is Quetzalcoatl7".to_owned();
    let kept = memory.remember(vec![secret, turn(2)]).await.unwrap();
    let reader = Connection::open(dir.path().join("memory.db")).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM episodes")
        .unwrap();
    let error = memory.forget(&[kept[0].id]).await.unwrap_err();
    assert!(
        error.to_string().contains("another program that reads"),
        "{error}"
    );
    assert_eq!(memory.get(kept[0].id).await.unwrap(), None);
    reader.execute_batch("COMMIT").unwrap();
    drop((reader, memory));
    let memory = SqliteMemory::open(dir.path()).unwrap();
    assert!(!is_in_files(dir.path(), "quetzalcoatl"));
    assert_eq!(
        memory
            .stats()
            .await
            .unwrap()
            .namespaces
            .values()
            .sum::<u64>(),
        1
    );
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let kept = memory.remember(vec![turn(1), turn(2)]).await.unwrap();
    drop(memory);
    let file = Connection::open(dir.path().join("memory.db")).unwrap();
    // As it was: an index of words in the file, and a count of what was forgotten.
    file.execute_batch(
        "DROP TABLE gone; DROP TABLE state; DROP TABLE again; DROP TABLE remotes;
         DROP TABLE revised;
         CREATE TABLE state (forgotten INTEGER NOT NULL) STRICT;
         INSERT INTO state VALUES (3);
         CREATE VIRTUAL TABLE words USING fts5(
            speaker, text, caption, before, before2, after, date,
            content = '', contentless_delete = 1, tokenize = 'porter unicode61 remove_diacritics 2');
         INSERT INTO words (rowid, text) VALUES (1, 'turn 1 of xylophone1');
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(file);
    let memory = SqliteMemory::open(dir.path()).unwrap();
    let ask = Query::new("xylophone2", "", Timestamp::UNIX_EPOCH);
    assert_eq!(memory.recall(&ask).await.unwrap()[0].id, kept[1].id);
    memory.forget(&[kept[0].id]).await.unwrap();
    assert!(!is_in_files(dir.path(), "xylophone1"));
}
