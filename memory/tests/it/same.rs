//! The same behaviour of every journal.

use std::time::Duration;

use futures::StreamExt;
use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId},
    journal::{Journal, JournalError, MemoryJournal, RunFilter},
    run::Status,
};

use crate::fixture::{
    RUN, Writer, created, finished, message, open, paused, replied, tool_finished,
};

macro_rules! of_every_journal {
    ($($name:ident)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(MemoryJournal::default()).await })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(open(dir.path())).await
            })*
        }
    };
}

of_every_journal! {
    what_was_appended_is_read
    reading_begins_where_asked
    nothing_appended_is_nothing_done
    only_the_first_of_two_drivers_appends
    a_gap_is_a_conflict
    a_batch_is_appended_whole_or_not_at_all
    entries_of_two_runs_are_no_batch
    an_unknown_run_is_said_so
    runs_are_listed_newest_first_and_filtered
    the_status_follows_the_entries
    a_watcher_sees_old_and_new_entries_once_and_in_order
    a_watcher_may_begin_beyond_the_end
    watching_ends_with_the_run
    watching_an_unknown_run_is_an_error
    a_claim_keeps_others_out_until_it_is_dropped
    claims_of_two_runs_do_not_meet
    many_tasks_may_use_it_at_once
}

async fn what_was_appended_is_read(journal: impl Journal) {
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(2);
    entries.push(writer.seal(replied(
        1,
        "ein Gedanke: \u{1F914} \"quoted\"\n\u{0}\u{2028}",
    )));
    entries.push(writer.seal(tool_finished(1, "ä".repeat(40_000))));
    entries.push(writer.seal(Event::Unknown(serde_json::json!({
        "type": "dreamt_of_sheep", "electric": true, "much": 0.30000000000000004, "deep": "x".repeat(20_000),
    }))));
    journal.append(&entries[..2]).await.unwrap();
    journal.append(&entries[2..]).await.unwrap();
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
    assert_eq!(journal.read(RUN, 0).await.unwrap(), entries);
}

async fn reading_begins_where_asked(journal: impl Journal) {
    let entries = Writer::of(RUN).begun(4);
    journal.append(&entries).await.unwrap();
    assert_eq!(journal.read(RUN, 3).await.unwrap(), entries[2..]);
    assert_eq!(journal.read(RUN, 5).await.unwrap(), entries[4..]);
    for beyond in [6, 7, u64::MAX] {
        assert_eq!(journal.read(RUN, beyond).await.unwrap(), []);
    }
}

async fn nothing_appended_is_nothing_done(journal: impl Journal) {
    journal.append(&[]).await.unwrap();
    assert_eq!(journal.runs(&RunFilter::default()).await.unwrap(), []);
}

async fn only_the_first_of_two_drivers_appends(journal: impl Journal) {
    let mut first = Writer::of(RUN);
    journal.append(&first.begun(1)).await.unwrap();
    let mut second = Writer {
        head: first.head,
        ..Writer::of(RUN)
    };
    journal
        .append(&[first.seal(message("mine"))])
        .await
        .unwrap();
    let late = journal.append(&[second.seal(message("no, mine"))]).await;
    let expected = 3;
    assert!(matches!(late, Err(JournalError::Conflict { run: RUN, expected: e }) if e == expected));
    // Also where the number is right and the past is another.
    let late = journal.append(&[second.seal(message("still mine"))]).await;
    assert!(matches!(
        late,
        Err(JournalError::Conflict {
            run: RUN,
            expected: 4
        })
    ));
    assert_eq!(journal.read(RUN, 1).await.unwrap().len(), 3);
}

async fn a_gap_is_a_conflict(journal: impl Journal) {
    let entries = Writer::of(RUN).begun(3);
    journal.append(&entries[..1]).await.unwrap();
    let gap = journal.append(&entries[2..]).await;
    assert!(matches!(
        gap,
        Err(JournalError::Conflict { expected: 3, .. })
    ));
    let again = journal.append(&entries[..1]).await;
    assert!(matches!(
        again,
        Err(JournalError::Conflict { expected: 1, .. })
    ));
}

async fn a_batch_is_appended_whole_or_not_at_all(journal: impl Journal) {
    let entries = Writer::of(RUN).begun(3);
    journal.append(&entries[..1]).await.unwrap();
    let torn = [entries[1].clone(), entries[3].clone()];
    assert!(matches!(
        journal.append(&torn).await,
        Err(JournalError::Conflict { expected: 4, .. })
    ));
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries[..1]);
    journal.append(&entries[1..]).await.unwrap();
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
}

async fn entries_of_two_runs_are_no_batch(journal: impl Journal) {
    let mut entries = Writer::of(RUN).begun(0);
    entries.extend(Writer::of(RunId::from_u128(2)).begun(0));
    let mixed = journal.append(&entries).await;
    assert!(matches!(mixed, Err(JournalError::Conflict { .. })));
}

async fn an_unknown_run_is_said_so(journal: impl Journal) {
    let read = journal.read(RUN, 1).await;
    assert!(matches!(read, Err(JournalError::NoRun(RUN))), "{read:?}");
}

async fn runs_are_listed_newest_first_and_filtered(journal: impl Journal) {
    let ids = [0xaaaa_0001_u128, 0xaaaa_0002, 0xbbbb_0003].map(|n| RunId::from_u128(n << 96));
    // Created at the whole second, half a second later, and in between: as text these sort wrongly.
    for (id, time) in ids
        .into_iter()
        .zip(["10:00:00Z", "10:00:00.5Z", "10:00:00.25Z"])
    {
        let mut writer = Writer::of(id);
        writer.time = format!("2026-11-22T{time}").parse().unwrap();
        journal.append(&writer.begun(1)).await.unwrap();
        if id == ids[1] {
            journal.append(&[writer.seal(paused())]).await.unwrap();
        }
    }
    let found = async |filter: RunFilter| {
        let runs = journal.runs(&filter).await.unwrap();
        runs.into_iter()
            .map(|summary| summary.run)
            .collect::<Vec<_>>()
    };
    let prefix = |prefix: &str| RunFilter {
        prefix: Some(prefix.to_owned()),
        ..RunFilter::default()
    };
    assert_eq!(found(RunFilter::default()).await, [ids[1], ids[2], ids[0]]);
    assert_eq!(found(prefix("aaaa")).await, [ids[1], ids[0]]);
    assert_eq!(found(prefix("aaaa0001")).await, [ids[0]]);
    assert_eq!(found(prefix(&ids[2].to_string())).await, [ids[2]]);
    assert_eq!(found(prefix("")).await.len(), 3);
    for none in [
        "c",
        "%",
        "_aaa",
        "AAAA",
        "aaaa0001%",
        "g",
        "ä",
        "'; DROP TABLE runs; --",
    ] {
        assert_eq!(found(prefix(none)).await, [], "{none}");
    }
    let status = |status| RunFilter {
        status: Some(status),
        ..prefix("aaaa")
    };
    assert_eq!(found(status(Status::Waiting)).await, [ids[1]]);
    assert_eq!(found(status(Status::Pending)).await, [ids[0]]);
    for (limit, length) in [(0, 0), (2, 2), (9, 3), (usize::MAX, 3)] {
        let limit = RunFilter {
            limit: Some(limit),
            ..RunFilter::default()
        };
        assert_eq!(found(limit).await.len(), length);
    }
}

async fn the_status_follows_the_entries(journal: impl Journal) {
    let mut writer = Writer::of(RUN);
    journal.append(&writer.begun(0)).await.unwrap();
    let summary = async || journal.runs(&RunFilter::default()).await.unwrap().remove(0);
    let first = summary().await;
    assert_eq!((first.status, first.entries), (Status::Pending, 1));
    assert_eq!(
        (first.task.as_str(), first.created),
        ("count the lines", writer.time)
    );
    journal.append(&[writer.seal(paused())]).await.unwrap();
    assert_eq!(summary().await.status, Status::Waiting);
    journal.append(&[writer.seal(finished())]).await.unwrap();
    let last = summary().await;
    assert_eq!((last.status, last.entries), (Status::Completed, 3));
    assert_eq!((last.created, last.updated), (first.created, writer.time));
}

async fn a_watcher_sees_old_and_new_entries_once_and_in_order(journal: impl Journal) {
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(9);
    entries.extend((0..90).map(|n| writer.seal(message(&n.to_string()))));
    entries.push(writer.seal(finished()));
    journal.append(&entries[..10]).await.unwrap();
    let all = journal.watch(RUN, 1).collect::<Vec<_>>();
    let some = journal.watch(RUN, 40).collect::<Vec<_>>();
    let append = async {
        for batch in entries[10..].chunks(3) {
            journal.append(batch).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (all, some, ()) = tokio::join!(all, some, append);
    let whole =
        |seen: Vec<Result<Entry, _>>| seen.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(whole(all), entries);
    assert_eq!(whole(some), entries[39..]);
}

async fn a_watcher_may_begin_beyond_the_end(journal: impl Journal) {
    let mut writer = Writer::of(RUN);
    let entries = writer.begun(4);
    journal.append(&entries[..2]).await.unwrap();
    let mut watch = journal.watch(RUN, 4);
    let nothing = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
    assert!(nothing.is_err());
    journal.append(&entries[2..]).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap(), entries[3]);
}

async fn watching_ends_with_the_run(journal: impl Journal) {
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(1);
    entries.push(writer.seal(finished()));
    journal.append(&entries).await.unwrap();
    assert_eq!(journal.watch(RUN, 2).count().await, 2);
}

async fn watching_an_unknown_run_is_an_error(journal: impl Journal) {
    let seen: Vec<_> = journal.watch(RUN, 1).collect().await;
    assert!(matches!(seen[..], [Err(JournalError::NoRun(RUN))]));
}

async fn a_claim_keeps_others_out_until_it_is_dropped(journal: impl Journal) {
    journal.append(&Writer::of(RUN).begun(0)).await.unwrap();
    let claim = journal.claim(RUN).await.unwrap();
    let other = journal.claim(RUN).await;
    assert!(matches!(other, Err(JournalError::Busy { run: RUN, .. })));
    drop(claim);
    drop(journal.claim(RUN).await.unwrap());
    journal.claim(RUN).await.map(drop).unwrap();
}

async fn claims_of_two_runs_do_not_meet(journal: impl Journal) {
    let _one = journal.claim(RUN).await.unwrap();
    let _other = journal.claim(RunId::from_u128(2)).await.unwrap();
}

async fn many_tasks_may_use_it_at_once(journal: impl Journal) {
    let drive = async |n: u128| {
        let mut writer = Writer::of(RunId::from_u128(n));
        let entries = writer.begun(9);
        for entry in &entries {
            journal.append(std::slice::from_ref(entry)).await.unwrap();
            journal.runs(&RunFilter::default()).await.unwrap();
        }
        assert_eq!(journal.read(writer.run, 1).await.unwrap(), entries);
    };
    futures::future::join_all((1..=100).map(drive)).await;
    assert_eq!(
        journal.runs(&RunFilter::default()).await.unwrap().len(),
        100
    );
}

#[tokio::test]
async fn a_run_that_does_not_begin_with_its_creation_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let entry = Writer::of(RUN).seal(message("hello"));
    assert!(matches!(
        journal.append(&[entry]).await,
        Err(JournalError::Store(_))
    ));
    assert!(matches!(
        journal.read(RUN, 1).await,
        Err(JournalError::NoRun(_))
    ));
}

#[tokio::test]
async fn an_entry_that_could_not_be_read_back_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut entry = Writer::of(RUN).created();
    entry.event = created("another task");
    let refused = journal.append(&[entry]).await;
    assert!(
        matches!(refused, Err(JournalError::Chain(_))),
        "{refused:?}"
    );
    assert!(matches!(
        journal.read(RUN, 1).await,
        Err(JournalError::NoRun(_))
    ));
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let entries = Writer::of(RUN).begun(5);
    open(dir.path()).append(&entries).await.unwrap();
    assert_eq!(open(dir.path()).read(RUN, 1).await.unwrap(), entries);
}

#[tokio::test]
async fn appends_that_are_dropped_anywhere_leave_a_whole_run() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut writer = Writer::of(RUN);
    journal.append(&writer.begun(0)).await.unwrap();
    const TO_THE_END: usize = 4;
    for polls in (0..=TO_THE_END).cycle().take(200) {
        let head = journal.read(RUN, 1).await.unwrap().last().unwrap().head();
        writer.head = head;
        let batch = [0, 1, 2].map(|n| writer.seal(message(&n.to_string())));
        let mut append = journal.append(&batch);
        if polls == TO_THE_END {
            // It is in the way of a dropped one that was made all the same, or is made itself.
            let made = append.await;
            assert!(
                matches!(made, Ok(()) | Err(JournalError::Conflict { .. })),
                "{made:?}"
            );
            continue;
        }
        for _ in 0..polls {
            if futures::poll!(&mut append).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
    }
    drop(journal);
    let entries = open(dir.path()).read(RUN, 1).await.unwrap();
    assert_eq!(entries.len() % 3, 1);
    assert!(entries.len() > 1);
}
