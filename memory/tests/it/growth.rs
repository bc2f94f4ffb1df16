//! The file grows with what is written, and not faster.

use std::{fs, path::Path};

use gpak_kernel::{event::Event, journal::Journal};

use crate::fixture::{RUN, Writer, open, replied, started, tool_finished};

/// Bytes of the files in `dir`.
fn size(dir: &Path) -> usize {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap());
    files
        .filter(|file| file.is_file())
        .map(|file| file.len() as usize)
        .sum()
}

/// Appends steps; answers how many bytes of content they have in all.
async fn steps(
    journal: &impl Journal,
    writer: &mut Writer,
    numbers: std::ops::Range<u32>,
) -> usize {
    let mut content = 0;
    for n in numbers {
        // 800 bytes, as 200 tokens are: what the model thought, and what it was shown.
        let thought =
            format!("In step {n} I look at the next file, since the last had none. ").repeat(2);
        let shown: String = (0..20)
            .map(|line| format!("    let value_{n}_{line} = compute();\n"))
            .collect();
        content += thought.len() + shown.len();
        let events: [Event; 3] = [replied(n, &thought), started(n), tool_finished(n, shown)];
        for event in events {
            journal.append(&[writer.seal(event)]).await.unwrap();
        }
    }
    content
}

#[tokio::test]
async fn a_thousand_steps_of_200_tokens_take_less_than_three_times_their_content() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::of(RUN);
    let journal = open(dir.path());
    journal.append(&[writer.created()]).await.unwrap();
    let half = steps(&journal, &mut writer, 1..501).await;
    drop(journal);
    let at_half = size(dir.path());
    let journal = open(dir.path());
    let content = half + steps(&journal, &mut writer, 501..1_001).await;
    let open_size = size(dir.path());
    drop(journal);
    let closed = size(dir.path());
    let ratio = closed as f64 / content as f64;
    println!("content {content}, closed {closed} ({ratio:.2}), while open {open_size}");
    assert!((700_000..900_000).contains(&content), "{content}");
    assert!(ratio < 3.0, "{ratio}");
    // Also with the write-ahead log beside it, as a killed process leaves it.
    assert!(open_size < 3 * content, "{open_size}");
    // Linear: the second half takes what the first took.
    assert!(closed < at_half * 21 / 10, "{at_half} then {closed}");
}

#[tokio::test]
async fn the_same_large_result_in_many_steps_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::of(RUN);
    let text = "the same file, read again and again\n".repeat(4_000);
    let mut entries = vec![writer.created()];
    entries.extend((1..=100).map(|n| writer.seal(tool_finished(n, text.clone()))));
    let journal = open(dir.path());
    journal.append(&entries).await.unwrap();
    assert_eq!(journal.read(RUN, 1).await.unwrap(), entries);
    drop(journal);
    assert!(size(dir.path()) < 2 * text.len(), "{}", size(dir.path()));
}
