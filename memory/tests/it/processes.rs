//! Several processes on one journal.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use futures::StreamExt;
use gpak_kernel::{
    entry::Entry,
    journal::{Journal, JournalError},
};

use crate::fixture::{RUN, Writer, finished, given_dir, in_a_process, message, open};

const EACH: usize = 30;

/// Two that append to one run as fast as they can: each number is won by one of them.
#[tokio::test]
async fn of_two_processes_one_wins_each_entry() {
    let dir = tempfile::tempdir().unwrap();
    // They make the file as well.
    let rivals = [0, 1].map(|_| {
        let mut rival = in_a_process("processes::child_appends_against_another", dir.path());
        rival.stdout(Stdio::null()).spawn().unwrap()
    });
    for mut rival in rivals {
        assert!(rival.wait().unwrap().success());
    }
    let entries = open(dir.path()).read(RUN, 1).await.unwrap();
    assert_eq!(entries.len(), 1 + 2 * EACH);
}

#[tokio::test]
#[ignore = "run by of_two_processes_one_wins_each_entry"]
async fn child_appends_against_another() {
    let journal = open(&given_dir());
    let me = std::process::id().to_string();
    let mut writer = Writer::of(RUN);
    match journal.append(&[writer.created()]).await {
        Ok(()) | Err(JournalError::Conflict { expected: 1, .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let mut won = 0;
    while won < EACH {
        let entries = journal.read(RUN, 1).await.unwrap();
        writer.head = entries.last().unwrap().head();
        match journal.append(&[writer.seal(message(&me))]).await {
            Ok(()) => won += 1,
            Err(JournalError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_what_another_process_appends() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let mut writer = Writer::of(RUN);
    journal.append(&[writer.created()]).await.unwrap();
    let watch = journal.watch(RUN, 1);
    let mut other = in_a_process("processes::child_appends_to_the_end", dir.path());
    let mut other = other.stdout(Stdio::null()).spawn().unwrap();
    let seen: Vec<Entry> = watch.map(Result::unwrap).collect().await;
    assert!(other.wait().unwrap().success());
    let numbers: Vec<_> = seen.iter().map(|entry| entry.seq).collect();
    let all: Vec<_> = (1..=2 + EACH as u64).collect();
    assert_eq!(numbers, all);
}

#[tokio::test]
#[ignore = "run by a_watcher_sees_what_another_process_appends"]
async fn child_appends_to_the_end() {
    let journal = open(&given_dir());
    let mut writer = Writer::of(RUN);
    writer.head = journal.read(RUN, 1).await.unwrap()[0].head();
    for n in 0..EACH {
        let entry = writer.seal(message(&n.to_string()));
        journal.append(&[entry]).await.unwrap();
    }
    journal.append(&[writer.seal(finished())]).await.unwrap();
}

/// Starts a process that claims the run and holds it.
fn holder(dir: &Path) -> Child {
    let mut holder = in_a_process("processes::child_holds_a_claim", dir);
    let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap()).lines();
    let claimed = said
        .map(Result::unwrap)
        .any(|line| line.contains("claimed"));
    assert!(claimed);
    holder
}

#[tokio::test]
async fn a_claim_names_its_holder_and_goes_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    for _ in 0..3 {
        let mut holder = holder(dir.path());
        match journal.claim(RUN).await {
            Err(JournalError::Busy {
                run: RUN,
                holder: Some(pid),
            }) => assert_eq!(pid, holder.id()),
            other => panic!("{:?}", other.err()),
        }
        // SIGKILL: nothing is cleaned up.
        holder.kill().unwrap();
        holder.wait().unwrap();
        journal.claim(RUN).await.map(drop).unwrap();
    }
}

#[tokio::test]
#[ignore = "run by a_claim_names_its_holder_and_goes_with_its_process"]
async fn child_holds_a_claim() {
    let journal = open(&given_dir());
    let _claim = journal.claim(RUN).await.unwrap();
    println!("\nclaimed");
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_claim_file_that_was_left_behind_claims_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let file = dir.path().join("claims").join(format!("{RUN}.lock"));
    std::fs::create_dir(dir.path().join("claims")).unwrap();
    std::fs::write(&file, std::process::id().to_string()).unwrap();
    let claim = journal.claim(RUN).await.unwrap();
    drop(claim);
    assert!(!file.exists());
}

/// Threads that take and leave one claim: there is never more than one holder.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_has_one_holder_however_many_want_it() {
    let dir = tempfile::tempdir().unwrap();
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let wanting = (0..4).map(|_| {
        let (journal, inside) = (open(dir.path()), inside.clone());
        tokio::spawn(async move {
            let mut taken = 0;
            while taken < 200 {
                match journal.claim(RUN).await {
                    Ok(claim) => {
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(claim);
                        taken += 1;
                    }
                    Err(JournalError::Busy { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    for task in wanting.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// A process that is killed while it appends leaves whole batches.
#[tokio::test]
async fn a_process_killed_while_it_appends_leaves_whole_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut length = 0;
    for round in 0..10_u32 {
        let mut victim = in_a_process("processes::child_appends_for_ever", dir.path());
        let mut victim = victim.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(victim.stdout.take().unwrap()).lines();
        let wanted = format!("appended {}", round * 2);
        assert!(said.any(|line| line.unwrap() == wanted));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let entries = open(dir.path()).read(RUN, 1).await.unwrap();
        assert_eq!(entries.len() % 3, 1);
        assert!(entries.len() > length, "what it said it appended is there");
        length = entries.len();
    }
}

#[tokio::test]
#[ignore = "run by a_process_killed_while_it_appends_leaves_whole_batches"]
async fn child_appends_for_ever() {
    let journal = open(&given_dir());
    let mut writer = Writer::of(RUN);
    match journal.read(RUN, 1).await {
        Ok(entries) => writer.head = entries.last().unwrap().head(),
        Err(_) => journal.append(&[writer.created()]).await.unwrap(),
    }
    println!();
    for n in 0.. {
        let batch = [0, 1, 2].map(|_| writer.seal(message(&"text ".repeat(400))));
        journal.append(&batch).await.unwrap();
        println!("appended {n}");
    }
}
