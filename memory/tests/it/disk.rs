//! Disks that are full or cannot be written.
//!
//! Each is a small file system of its own, mounted in a namespace that only the test's own process
//! sees and that ends with it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use gpak_kernel::journal::{Journal, JournalError};

use crate::fixture::{RUN, Writer, given_dir, message, open, refused, tool_finished};

/// Runs the ignored test `name` on a file system of one megabyte.
fn on_a_small_disk(name: &str) {
    let may = Command::new("unshare")
        .args(["-rm", "true"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {name} needs `unshare -rm`, which is not allowed here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$GPAK_TEST_DIR\" && exec \"$0\" \"$@\"";
    let status = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env("GPAK_TEST_DIR", dir.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn remount(dir: &Path, how: &str) {
    let mut mount = Command::new("mount");
    mount.args(["-o", &format!("remount,{how}")]).arg(dir);
    assert!(mount.status().unwrap().success());
}

#[test]
fn a_full_disk_fails_the_append_and_leaves_the_journal_whole() {
    on_a_small_disk("disk::child_fills_the_disk");
}

#[tokio::test]
#[ignore = "run by a_full_disk_fails_the_append_and_leaves_the_journal_whole"]
async fn child_fills_the_disk() {
    let dir = given_dir();
    let journal = open(&dir);
    let mut writer = Writer::of(RUN);
    let mut entries = writer.begun(0);
    journal.append(&entries).await.unwrap();
    let mut refused = None;
    for n in 0..1_000 {
        let before = writer.head;
        let text = format!("{n} ").repeat(2_000);
        let entry = writer.seal(tool_finished(n, text));
        match journal.append(std::slice::from_ref(&entry)).await {
            Ok(()) => entries.push(entry),
            Err(error) => {
                writer.head = before;
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("a megabyte is not full after eight");
    assert!(matches!(refused, JournalError::Store(_)), "{refused:?}");
    let said = refused.to_string();
    assert!(
        said.contains("full") && said.contains("gpak resume"),
        "{said}"
    );
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
    drop(journal);

    // It opens on the full disk, and goes on once there is room.
    let journal = open(&dir);
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
    remount(&dir, "size=8m");
    let entry = writer.seal(message("there is room again"));
    journal.append(std::slice::from_ref(&entry)).await.unwrap();
    entries.push(entry);
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
}

#[test]
fn a_journal_is_not_begun_on_a_full_disk() {
    on_a_small_disk("disk::child_begins_on_a_full_disk");
}

#[tokio::test]
#[ignore = "run by a_journal_is_not_begun_on_a_full_disk"]
async fn child_begins_on_a_full_disk() {
    let dir = given_dir();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 1_020 << 10]).unwrap();
    let said = refused(&dir);
    assert!(said.contains("free some space"), "{said}");
    std::fs::remove_file(&ballast).unwrap();
    open(&dir).append(&Writer::of(RUN).begun(2)).await.unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_said_so() {
    on_a_small_disk("disk::child_cannot_write");
}

#[tokio::test]
#[ignore = "run by a_folder_that_cannot_be_written_is_said_so"]
async fn child_cannot_write() {
    let dir = given_dir();
    let mut writer = Writer::of(RUN);
    let entries = writer.begun(2);
    open(&dir).append(&entries).await.unwrap();
    remount(&dir, "ro");
    let said = refused(&dir);
    assert!(said.contains("GPAK_HOME"), "{said}");
    remount(&dir, "rw");
    assert_eq!(open(&dir).read(RUN, 1).await.unwrap(), entries);
}
