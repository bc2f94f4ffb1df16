//! Whatever is changed in the file is found when the run is read.

use gpak_kernel::{
    entry::ChainError,
    journal::{Journal, JournalError},
};

use crate::fixture::{RUN, Writer, closed_journal, database, open, tool_finished};

/// What reading the run says after `sql` was done to the file.
async fn found_after(sql: &str) -> JournalError {
    let (dir, _) = closed_journal().await;
    let changed = database(dir.path()).execute(sql, []).expect(sql);
    assert_eq!(changed, 1, "{sql}");
    match open(dir.path()).read(RUN, 1).await {
        Ok(_) => panic!("nobody noticed: {sql}"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn an_untouched_run_is_read() {
    let (dir, entries) = closed_journal().await;
    database(dir.path())
        .execute("UPDATE runs SET task = task", [])
        .unwrap();
    assert_eq!(open(dir.path()).read(RUN, 1).await.unwrap(), entries);
}

#[tokio::test]
async fn one_changed_byte_of_any_column_of_an_entry_is_found() {
    for change in [
        "body = replace(body, 'message 1', 'message 7')",
        "body = replace(body, ':', ': ')",
        "body = CAST(x'ff' || substr(body, 2) AS TEXT)",
        "body = ''",
        "time = '2026-11-22T10:00:03.5Z'",
        "time = '2026-11-22T10:00:03.0Z'",
        "time = 'yesterday'",
        "label = 'self'",
        "label = 'nobody'",
        "hash = CAST(x'00' || substr(hash, 2) AS BLOB)",
        "hash = zeroblob(32)",
        "hash = x'00'",
        "prev = zeroblob(32)",
        "prev = x''",
        "payloads = '[]'",
        "payloads = 'x'",
        "payloads = '[[0,\"00\"]]'",
        "seq = 30",
        "seq = 0",
        "seq = -3",
        "run = 30",
    ] {
        let error = found_after(&format!("UPDATE entries SET {change} WHERE seq = 3")).await;
        assert!(
            matches!(error, JournalError::Chain(_)),
            "{change}: {error:?}"
        );
    }
}

#[tokio::test]
async fn one_changed_byte_of_a_payload_is_found() {
    for change in [
        "UPDATE payloads SET data = 'L' || substr(data, 2)",
        "UPDATE payloads SET data = CAST(x'ff' || substr(data, 2) AS TEXT)",
        "UPDATE payloads SET data = ''",
        "UPDATE payloads SET hash = zeroblob(32)",
        "DELETE FROM payloads",
        "UPDATE entries SET payloads = NULL WHERE payloads IS NOT NULL",
        "UPDATE entries SET payloads = '[]' WHERE payloads IS NOT NULL",
        "UPDATE entries SET payloads = replace(payloads, '[[', '[[1') WHERE payloads IS NOT NULL",
        "UPDATE entries SET payloads = replace(payloads, '[[', '[[9999999') WHERE payloads IS NOT NULL",
    ] {
        let error = found_after(change).await;
        assert!(
            matches!(error, JournalError::Chain(_)),
            "{change}: {error:?}"
        );
    }
}

#[tokio::test]
async fn entries_that_were_removed_are_found_wherever_they_were() {
    for seq in 1..=6 {
        let error = found_after(&format!("DELETE FROM entries WHERE seq = {seq}")).await;
        let JournalError::Chain(ChainError::Unchained { seq: at, .. }) = error else {
            panic!("{seq}: {error:?}");
        };
        assert!(at == seq || at == seq + 1, "{seq} at {at}");
    }
}

#[tokio::test]
async fn entries_that_were_added_are_found() {
    for added in [0, 7] {
        let sql = format!(
            "INSERT INTO entries SELECT run, {added}, time, label, prev, hash, body, payloads
             FROM entries WHERE seq = 1"
        );
        let error = found_after(&sql).await;
        assert!(
            matches!(error, JournalError::Chain(_)),
            "{added}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_changed_line_about_a_run_is_found() {
    for change in [
        "task = 'something else'",
        "status = 'done'",
        "created = '2026-11-22T10:00:02.000000000Z'",
        "created = 'then'",
        "updated = '2026-11-22T10:00:02.000000000Z'",
        "updated = 'now'",
        "head_seq = 5",
        "head_seq = 7",
        "head_seq = -1",
        "head_hash = zeroblob(32)",
        "head_hash = x'00'",
        "run = 'abcd'",
        "id = 9",
    ] {
        let error = found_after(&format!("UPDATE runs SET {change}")).await;
        assert!(
            matches!(
                error,
                JournalError::Chain(_) | JournalError::Store(_) | JournalError::NoRun(_)
            ),
            "{change}: {error:?}"
        );
    }
    found_after("DELETE FROM runs").await;
}

#[tokio::test]
async fn a_change_before_is_no_matter_for_who_reads_from_behind_it() {
    let (dir, entries) = closed_journal().await;
    let sql = "UPDATE entries SET body = '' WHERE seq = 2";
    database(dir.path()).execute(sql, []).unwrap();
    let journal = open(dir.path());
    assert_eq!(journal.read(RUN, 4).await.unwrap(), entries[3..]);
    // But the end is checked by everybody.
    database(dir.path())
        .execute("DELETE FROM entries WHERE seq = 6", [])
        .unwrap();
    for from in 3..=7 {
        let read = journal.read(RUN, from).await;
        assert!(
            matches!(read, Err(JournalError::Chain(_))),
            "{from}: {read:?}"
        );
    }
}

#[tokio::test]
async fn a_payload_that_comes_again_is_stored_once_and_put_right() {
    let (dir, entries) = closed_journal().await;
    let mut writer = Writer::of(RUN);
    writer.head = entries.last().unwrap().head();
    let sql = "UPDATE payloads SET data = 'gone'";
    database(dir.path()).execute(sql, []).unwrap();
    let journal = open(dir.path());
    let again = writer.seal(tool_finished(2, "long ".repeat(10_000)));
    journal.append(std::slice::from_ref(&again)).await.unwrap();
    let read = journal.read(RUN, 1).await.unwrap();
    assert_eq!(read.last(), Some(&again));
    let count = |sql| {
        database(dir.path())
            .query_row(sql, [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM payloads"), 1);
    assert_eq!(
        count("SELECT count(*) FROM entries WHERE payloads IS NOT NULL"),
        2
    );
    assert!(count("SELECT max(length(body)) FROM entries") < 1_000);
}
