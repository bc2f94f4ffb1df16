//! Files that are not what they should be.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use gpak_kernel::journal::{Journal, RunFilter};
use gpak_memory::SqliteJournal;
use rusqlite::Connection;

use crate::fixture::{RUN, Writer, closed_journal, database, open, refused, tool_finished};

/// Bytes of a page of the file.
const PAGE: u64 = 8_192;

/// Files set aside in `dir`.
fn aside(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|file| file.to_string_lossy().contains("corrupt"))
        .collect()
}

/// Damages a journal and checks that it is set aside as it is, and that work goes on.
async fn is_set_aside(what: &str, damage: impl FnOnce(&Path)) {
    let (dir, entries) = closed_journal().await;
    let path = dir.path().join("journal.db");
    damage(&path);
    let damaged = fs::read(&path).unwrap();

    let opened = SqliteJournal::open(dir.path()).unwrap();
    let notice = opened.notice.unwrap_or_else(|| panic!("{what}: no notice"));
    // Where there was no log of SQLite's, looking at the file may have made an empty one.
    let mut aside = aside(dir.path());
    aside.retain(|file| !file.to_string_lossy().contains("Z-"));
    assert_eq!(aside.len(), 1, "{what}: {aside:?}");
    assert_eq!(fs::read(&aside[0]).unwrap(), damaged, "{what}");
    assert!(notice.contains(&aside[0].display().to_string()), "{notice}");

    let journal = opened.journal;
    assert_eq!(journal.runs(&RunFilter::default()).await.unwrap(), []);
    journal.append(&entries).await.unwrap();
    drop(journal);
    assert_eq!(open(dir.path()).read(RUN, 1).await.unwrap(), entries);
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_file_with_a_garbage_header_is_set_aside() {
    is_set_aside("header", |path| {
        overwrite(path, 0, b"not a database, not at all")
    })
    .await;
}

#[tokio::test]
async fn a_file_of_garbage_is_set_aside() {
    for length in [1, 15, 100, 1_000, 100_000] {
        is_set_aside("garbage", |path| {
            fs::write(path, vec![0x5a; length]).unwrap()
        })
        .await;
    }
}

#[tokio::test]
async fn a_truncated_file_is_set_aside() {
    for keep in [
        1,
        50,
        99,
        100,
        511,
        512,
        4_095,
        4_096,
        5_000,
        8_191,
        8_192,
        8_193,
        8_192 * 3,
    ] {
        is_set_aside(&format!("{keep} bytes kept"), |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(keep)
                .unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_file_with_any_page_zeroed_is_set_aside() {
    let (dir, _) = closed_journal().await;
    let pages = fs::metadata(dir.path().join("journal.db")).unwrap().len() / PAGE;
    let pages = u32::try_from(pages).unwrap();
    let database = database(dir.path());
    let tree_pages: Vec<u32> = database
        .prepare("SELECT pageno FROM dbstat WHERE pagetype != 'overflow' ORDER BY pageno")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .unwrap_or_else(|_| (1..=pages.min(10)).collect());
    drop(database);
    for page in tree_pages {
        is_set_aside(&format!("page {page}"), |path| {
            overwrite(path, u64::from(page - 1) * PAGE, &[0; PAGE as usize]);
        })
        .await;
    }
}

#[tokio::test]
async fn what_belongs_to_a_damaged_file_goes_with_it() {
    let (dir, _) = closed_journal().await;
    let path = dir.path().join("journal.db");
    overwrite(&path, 0, b"nonsense nonsense");
    fs::write(
        dir.path().join("journal.db-wal"),
        b"what was not yet in the file",
    )
    .unwrap();
    let opened = SqliteJournal::open(dir.path()).unwrap();
    assert!(opened.notice.is_some());
    let aside = aside(dir.path());
    let wal = aside
        .iter()
        .find(|file| file.to_string_lossy().ends_with("-wal"))
        .unwrap();
    assert_eq!(fs::read(wal).unwrap(), b"what was not yet in the file");
}

#[tokio::test]
async fn a_damaged_file_that_is_in_use_is_not_pulled_away() {
    let (dir, _) = closed_journal().await;
    let journal = open(dir.path());
    overwrite(&dir.path().join("journal.db"), 0, b"nonsense nonsense");
    let message = refused(dir.path());
    assert!(message.contains("another gpak is using it"), "{message}");
    assert_eq!(aside(dir.path()), Vec::<PathBuf>::new());
    drop(journal);
}

#[tokio::test]
async fn damage_met_while_reading_is_looked_into_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(0);
    // Different text, so that it is stored, and over the size that is checked at every open.
    entries.extend((0..300).map(|n| {
        let text = n.to_string().repeat(70_000 / n.to_string().len());
        writer.seal(tool_finished(n, text))
    }));
    open(dir.path()).append(&entries).await.unwrap();
    let path = dir.path().join("journal.db");
    assert!(fs::metadata(&path).unwrap().len() > 17 << 20);
    // The check is made, and noted as made.
    drop(open(dir.path()));
    let root: u32 = database(dir.path())
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'entries'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    overwrite(&path, u64::from(root - 1) * PAGE, &[0xff; PAGE as usize]);

    let journal = open(dir.path());
    let error = journal.read(RUN, 1).await.unwrap_err().to_string();
    assert!(error.contains("start gpak again"), "{error}");
    drop(journal);
    let opened = SqliteJournal::open(dir.path()).unwrap();
    assert!(opened.notice.is_some());
    assert!(!aside(dir.path()).is_empty());
}

#[tokio::test]
async fn a_file_of_a_newer_gpak_is_refused_and_left_alone() {
    let (dir, entries) = closed_journal().await;
    let version = |version: i32| {
        database(dir.path())
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    let ours: i32 = database(dir.path())
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    version(99);
    let before = fs::read(dir.path().join("journal.db")).unwrap();
    let message = refused(dir.path());
    assert!(
        message.contains("newer gpak") && message.contains("99"),
        "{message}"
    );
    assert!(message.contains("update gpak"), "{message}");
    assert_eq!(fs::read(dir.path().join("journal.db")).unwrap(), before);
    version(ours);
    assert_eq!(open(dir.path()).read(RUN, 1).await.unwrap(), entries);
}

#[tokio::test]
async fn a_journal_from_before_runs_had_parents_is_brought_up_to_date() {
    let (dir, entries) = closed_journal().await;
    let old = database(dir.path());
    old.execute("ALTER TABLE runs DROP COLUMN parent", [])
        .unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let journal = open(dir.path());
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
    let whole = gpak_kernel::journal::RunFilter {
        whole: true,
        ..Default::default()
    };
    let listed = journal.runs(&whole).await.unwrap();
    assert!(listed.iter().all(|run| run.parent.is_none()) && !listed.is_empty());
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let other = Connection::open(&path).unwrap();
    other
        .execute("CREATE TABLE recipes (name TEXT)", [])
        .unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    let message = refused(dir.path());
    assert!(message.contains("another program"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn an_empty_file_is_a_new_journal() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("journal.db"), b"").unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.runs(&RunFilter::default()).await.unwrap(), []);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let message = refused(&file.join("data"));
    assert!(message.contains("GPAK_HOME"), "{message}");
}

#[test]
fn a_folder_in_the_place_of_the_file_is_said_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("journal.db")).unwrap();
    let message = refused(dir.path());
    assert!(message.contains("GPAK_HOME"), "{message}");
}
