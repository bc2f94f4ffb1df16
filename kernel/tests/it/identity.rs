//! Who the agent is: capsules, their histories, and what is refused.

mod condense;
mod history;
mod mind;
mod prompt;
mod reflection;
mod refusals;
mod rounds;

use gpak_kernel::{
    event::RunId,
    identity::{Core, Edit, Founding, History, ItemId, SecretKey, Version},
    label::Label,
    memory::Origin,
};
use jiff::Timestamp;

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

pub fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

pub fn founding() -> Founding {
    Founding {
        core: Core {
            name: "Ada".into(),
            persona: "You are calm and exact.".into(),
            constitution: vec!["Never lie.".into(), "Never harm a person.".into()],
        },
        mission: "Keep the greenhouse alive.".into(),
        constraints: vec!["Water costs money.".into()],
    }
}

pub fn found() -> History {
    History::found(&secret(1), founding(), time(0)).unwrap()
}

pub fn entry(number: u64) -> Origin {
    Origin {
        run: RunId::from_u128(7),
        entry: number,
    }
}

pub fn add(history: &History, text: &str, label: Label) -> Edit {
    Edit::Add {
        id: history.next_item(),
        text: text.into(),
        evidence: vec![entry(1)],
        label,
    }
}

pub fn signed(history: &History, by: Label, edits: Vec<Edit>) -> Version {
    let second = history.latest() as i64;
    history
        .sign(&secret(1), by, "a test", time(second), edits)
        .unwrap()
}

/// Makes the edits as the user.
pub fn change(history: &mut History, edits: Vec<Edit>) {
    let version = signed(history, Label::User, edits);
    history.take(version).unwrap();
}

/// A history of five versions with two items, the first of them pinned.
pub fn five() -> History {
    let mut history = found();
    let fact = add(&history, "The pump needs two tries.", Label::User);
    change(&mut history, vec![fact]);
    let fact = add(
        &history,
        "Frost comes in May.",
        Label::Web("example.org".into()),
    );
    change(&mut history, vec![fact, Edit::Pin { id: ItemId(1) }]);
    change(&mut history, vec![Edit::Endorse { id: ItemId(2) }]);
    let mission = "Keep both greenhouses alive.".into();
    change(&mut history, vec![Edit::Mission { text: mission }]);
    history
}
