//! What a receiver refuses, and how it says so.

use gpak_kernel::{
    identity::{Edit, History, ItemId, Refusal, Version},
    label::Label,
};
use jiff::{SignedDuration, Timestamp};

use super::{add, change, five, found, founding, secret, signed, time};

fn lines(history: &History) -> Vec<String> {
    history.versions().iter().map(Version::line).collect()
}

/// Reads a history as a store does.
fn read(like: &History, lines: &[Vec<u8>]) -> Result<History, Refusal> {
    let versions: Result<Vec<Version>, Refusal> = (1..)
        .zip(lines)
        .map(|(number, line)| Version::read(line, number))
        .collect();
    History::open(like.key(), Some(like.identity()), versions?)
}

fn version_of(refusal: &Refusal) -> u64 {
    match refusal {
        Refusal::Unreadable { version, .. }
        | Refusal::Tampered { version, .. }
        | Refusal::Foreign { version, .. }
        | Refusal::Replayed { version, .. }
        | Refusal::Downgraded { version, .. }
        | Refusal::Forked { version }
        | Refusal::Gap { version, .. }
        | Refusal::Forbidden { version, .. } => *version,
    }
}

#[test]
fn any_byte_that_is_changed_is_found_in_its_version() {
    let history = five();
    let lines: Vec<Vec<u8>> = lines(&history)
        .into_iter()
        .map(String::into_bytes)
        .collect();
    assert_eq!(read(&history, &lines).unwrap().hash(), history.hash());
    for (number, line) in (1..).zip(&lines) {
        for at in 0..line.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut changed = lines.clone();
                changed[number - 1][at] ^= bit;
                let why = read(&history, &changed).unwrap_err();
                assert_eq!(
                    version_of(&why),
                    number as u64,
                    "byte {at} of version {number}: {why}"
                );
            }
        }
    }
}

#[test]
fn a_change_is_named_by_its_item() {
    let history = five();
    let lines = lines(&history);
    for (version, old, new, what) in [
        (1, "Ada", "Eva", "the name"),
        (1, "calm and exact", "loud and vague", "the persona"),
        (1, "Never harm", "Always harm", "rule 2 of the constitution"),
        (1, "Keep the", "Burn the", "the mission"),
        (1, "costs money", "costs no money", "the constraints"),
        (2, "two tries", "ten tries", "item 1, which it adds"),
        (3, "in May", "in June", "item 2, which it adds"),
        (4, r#""id":2"#, r#""id":1"#, "item 1, which it endorses"),
        (
            5,
            "a test",
            "a joke",
            "its time, its author, its reason or its signature",
        ),
        (
            3,
            r#""by":"user""#,
            r#""by":"self""#,
            "its time, its author",
        ),
    ] {
        let mut changed: Vec<Vec<u8>> = lines.iter().cloned().map(String::into_bytes).collect();
        let line = &lines[version - 1];
        assert!(line.contains(old), "{line}");
        changed[version - 1] = line.replacen(old, new, 1).into_bytes();
        let why = read(&history, &changed).unwrap_err().to_string();
        let expected = format!("version {version} is not what was signed: {what}");
        assert!(why.starts_with(&expected), "{why}");
    }
    let mut torn: Vec<Vec<u8>> = lines.iter().cloned().map(String::into_bytes).collect();
    torn[2] = lines[2].replacen(r#""label""#, r#"label""#, 1).into_bytes();
    let why = read(&history, &torn).unwrap_err().to_string();
    assert!(
        why.starts_with("version 3 cannot be read at edit 1 (add of item 2): "),
        "{why}"
    );
}

#[test]
fn the_same_json_in_other_bytes_is_refused() {
    let history = found();
    let line = history.versions()[0].line();
    let spaced = line.replacen(':', ": ", 1);
    let why = Version::read(spaced.as_bytes(), 1).unwrap_err().to_string();
    assert!(why.contains("byte 10 is not as it was written"), "{why}");
    assert!(Version::read(&vec![b'['; 2 << 20], 1).is_err());
    assert!(Version::read(&vec![b'['; 1000], 1).is_err());
    assert!(Version::read(b"", 1).is_err());
}

#[test]
fn versions_come_one_after_the_other_and_once() {
    let history = five();
    let all = history.versions();
    let mut receiver = History::open(history.key(), None, all[..2].to_vec()).unwrap();
    let gap = receiver.take(all[3].clone());
    assert_eq!(
        gap,
        Err(Refusal::Gap {
            version: 4,
            have: 2
        })
    );
    receiver.take(all[2].clone()).unwrap();
    let again = receiver.take(all[2].clone());
    assert_eq!(
        again,
        Err(Refusal::Replayed {
            version: 3,
            have: 3
        })
    );
    assert_eq!(
        receiver.take(all[0].clone()).unwrap_err().to_string(),
        "version 1 is a replay: it was taken already, and 3 is here"
    );
    assert_eq!(receiver.catch_up(all.to_vec()), Ok(2));
    assert_eq!(receiver.hash(), history.hash());
    assert_eq!(
        receiver.catch_up(all.to_vec()),
        Err(Refusal::Replayed {
            version: 5,
            have: 5
        })
    );
    assert_eq!(
        receiver.catch_up(all[..4].to_vec()),
        Err(Refusal::Downgraded {
            version: 4,
            have: 5
        })
    );
}

#[test]
fn a_copy_with_a_changed_version_is_taken_not_at_all() {
    let history = five();
    let mut receiver =
        History::open(history.key(), None, history.versions()[..2].to_vec()).unwrap();
    for at in [0, 3] {
        let mut copy = history.versions().to_vec();
        copy[at].header.reason = "another".into();
        let why = receiver.catch_up(copy).unwrap_err();
        assert!(
            matches!(&why, Refusal::Tampered { version, .. } if *version == at as u64 + 1),
            "{why}"
        );
        assert_eq!(receiver.latest(), 2, "all or nothing");
    }
}

#[test]
fn what_another_key_signed_is_foreign() {
    let ours = five();
    let theirs = History::found(&secret(2), founding(), time(0)).unwrap();
    let why = History::open(ours.key(), None, theirs.versions().to_vec()).unwrap_err();
    assert!(
        why.to_string()
            .contains("is foreign: it is signed with the key"),
        "{why}"
    );

    // The thief of nothing but the public key signs with one of his own.
    let mut forged = signed(&ours, Label::User, vec![Edit::Pin { id: ItemId(2) }]);
    let by_another = History::found(&secret(2), founding(), time(0)).unwrap();
    let theirs = signed_by(
        2,
        &by_another,
        vec![Edit::Mission {
            text: "Mine.".into(),
        }],
    );
    forged.signature = theirs.signature;
    let mut receiver = ours.clone();
    let why = receiver.take(forged).unwrap_err();
    assert!(matches!(why, Refusal::Tampered { version: 6, .. }), "{why}");

    // Of the same key, and of another identity.
    let mut other = History::found(&secret(1), founding(), time(60)).unwrap();
    assert_ne!(other.identity(), ours.identity());
    for _ in 0..5 {
        let fact = add(&other, "Something else.", Label::User);
        change(&mut other, vec![fact]);
    }
    let why = receiver.take(other.versions()[5].clone()).unwrap_err();
    assert!(
        why.to_string()
            .contains("is foreign: it is of the identity"),
        "{why}"
    );
    let why = receiver.take(other.versions()[1].clone()).unwrap_err();
    assert!(matches!(why, Refusal::Foreign { version: 2, .. }), "{why}");
}

fn signed_by(seed: u8, history: &History, edits: Vec<Edit>) -> Version {
    history
        .sign(&secret(seed), Label::User, "", time(5), edits)
        .unwrap()
}

#[test]
fn two_versions_of_one_number_are_a_fork() {
    let (mut here, mut there) = (five(), five());
    let fact = add(&here, "Said here.", Label::User);
    change(&mut here, vec![fact]);
    for text in ["Said there.", "And this."] {
        let fact = add(&there, text, Label::User);
        change(&mut there, vec![fact]);
    }
    let why = here.catch_up(there.versions().to_vec());
    assert_eq!(why, Err(Refusal::Forked { version: 6 }));
    let why = here.take(there.versions()[6].clone());
    assert_eq!(why, Err(Refusal::Forked { version: 6 }));
}

#[test]
fn a_clock_that_is_days_off_is_no_reason_to_refuse() {
    let mut history = five();
    for days in [-400, 3, -2] {
        let time: Timestamp = time(0) + SignedDuration::from_hours(24 * days);
        let edit = Edit::Mission {
            text: format!("{days} days off"),
        };
        let version = history
            .sign(&secret(1), Label::User, "", time, vec![edit])
            .unwrap();
        history.take(version).unwrap();
    }
    History::open(history.key(), None, history.versions().to_vec()).unwrap();
}
