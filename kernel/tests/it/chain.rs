use gpak_kernel::{
    entry::{ChainError, Entry, Head, Stored},
    event::{Event, RunId},
    label::Label,
};
use jiff::Timestamp;
use serde_json::json;

const RUN: RunId = RunId::from_u128(1);

fn said(text: &str) -> Event {
    Event::MessageReceived {
        text: text.into(),
        from: Label::User,
    }
}

fn stored<'a>(entry: &Entry, body: &'a str) -> Stored<'a> {
    Stored {
        run: entry.run,
        seq: entry.seq,
        time: entry.time,
        label: entry.label.clone(),
        prev: entry.prev,
        hash: entry.hash,
        body,
    }
}

#[test]
fn an_entry_opens_as_it_was_sealed() {
    let entry = Entry::seal(RUN, Head::EMPTY, Timestamp::UNIX_EPOCH, said("hello"));
    let body = entry.body();
    assert_eq!(Entry::open(stored(&entry, &body), Head::EMPTY), Ok(entry));
}

#[test]
fn any_change_to_an_entry_is_found() {
    let entry = Entry::seal(RUN, Head::EMPTY, Timestamp::UNIX_EPOCH, said("hello"));
    let (body, other) = (entry.body(), entry.body().replace("hello", "hellO"));
    let changed = Err(ChainError::Changed { run: RUN, seq: 1 });
    let unchained = Err(ChainError::Unchained { run: RUN, seq: 1 });
    let open = |stored| Entry::open(stored, Head::EMPTY).map(|_| ());
    assert_eq!(open(stored(&entry, &other)), changed);
    let later = Timestamp::UNIX_EPOCH + std::time::Duration::from_nanos(1);
    assert_eq!(
        open(Stored {
            time: later,
            ..stored(&entry, &body)
        }),
        changed
    );
    assert_eq!(
        open(Stored {
            label: Label::Own,
            ..stored(&entry, &body)
        }),
        changed
    );
    assert_eq!(
        open(Stored {
            prev: entry.hash,
            ..stored(&entry, &body)
        }),
        unchained
    );
}

#[test]
fn an_event_of_a_newer_version_is_kept_whole() {
    let body = r#"{"lesson":"look first","type":"lesson_learnt"}"#;
    let event: Event = serde_json::from_str(body).unwrap();
    assert_eq!(
        event,
        Event::Unknown(json!({"lesson": "look first", "type": "lesson_learnt"}))
    );
    let entry = Entry::seal(RUN, Head::EMPTY, Timestamp::UNIX_EPOCH, event);
    assert_eq!(entry.body(), body);
    assert_eq!(Entry::open(stored(&entry, body), Head::EMPTY), Ok(entry));
}

#[test]
fn a_known_event_that_is_not_whole_is_no_event_of_a_newer_version() {
    let event = Event::Unknown(json!({"type": "tool_started"}));
    let entry = Entry::seal(RUN, Head::EMPTY, Timestamp::UNIX_EPOCH, event);
    let body = entry.body();
    let opened = Entry::open(stored(&entry, &body), Head::EMPTY);
    assert!(
        matches!(opened, Err(ChainError::Unreadable { seq: 1, .. })),
        "{opened:?}"
    );
}

#[test]
fn the_known_types_are_those_that_are_written() {
    let sample = json!({"call": "1.0", "tool": "t", "attempt": 1, "text": "", "from": "user"});
    for name in Event::TYPES {
        let mut value = sample.clone();
        value["type"] = name.into();
        let why = serde_json::from_value::<Event>(value.clone()).unwrap();
        // What has other fields falls through to Unknown; what fits is the event of that type.
        if !matches!(why, Event::Unknown(_)) {
            assert_eq!(serde_json::to_value(&why).unwrap()["type"], name);
        }
    }
}

#[test]
fn numbers_are_read_back_as_they_were_written() {
    let numbers =
        json!({"big": u64::MAX, "whole": 1.0, "small": 0.1, "odd": 1.7976931348623157e308});
    let event = Event::Unknown(json!({"type": "of_tomorrow", "z": 1, "a": numbers}));
    let entry = Entry::seal(RUN, Head::EMPTY, Timestamp::UNIX_EPOCH, event);
    let body = entry.body();
    assert!(
        body.starts_with(r#"{"a":{"big":18446744073709551615,"odd":"#),
        "{body}"
    );
    assert_eq!(Entry::open(stored(&entry, &body), Head::EMPTY), Ok(entry));
}
