//! A self of 200 items through 100 rounds of edits.

use std::collections::BTreeMap;

use gpak_kernel::{
    identity::{Edit, History, ItemId, Version},
    label::Label,
};
use proptest::{prelude::*, sample::Index};

use super::{change, entry, found, secret, time};

const ITEMS: usize = 200;
const BYTES: usize = 64 * 1024;
const ROUNDS: usize = 100;

/// What one edit of a round is to do. The user does the last two.
#[derive(Debug, Clone)]
enum Act {
    Add(u8, u8, bool),
    Revise(Index, u8),
    Retire(Index),
    Pin(Index),
    Endorse(Index),
}

fn act() -> impl Strategy<Value = Act> {
    let index = any::<Index>;
    prop_oneof![
        4 => any::<(u8, u8, bool)>().prop_map(|(a, b, own)| Act::Add(a, b, own)),
        3 => (index(), any::<u8>()).prop_map(|(at, word)| Act::Revise(at, word)),
        2 => index().prop_map(Act::Retire),
        1 => index().prop_map(Act::Pin),
        1 => index().prop_map(Act::Endorse),
    ]
}

fn text(a: u8, b: u8) -> String {
    let things = [
        "pump", "door", "lamp", "vent", "tank", "hose", "seed", "bench",
    ];
    let (thing, place) = (things[usize::from(a % 8)], a / 8);
    format!("The {thing} in house {place} wants care {b} times a week, and gets it.")
}

/// The edits of a round that can be made, each item in one of them at most.
fn edits(history: &History, acts: &[Act], by: &Label) -> Vec<Edit> {
    let capsule = history.capsule();
    let mut next = history.next_item().0;
    let mut met = Vec::new();
    let mut free = |index: &Index, may_be_pinned: bool| {
        let item = capsule.learned.get(index.index(capsule.learned.len()))?;
        let is_free = !met.contains(&item.id) && (may_be_pinned || !item.pinned);
        met.push(item.id);
        is_free.then_some(item.id)
    };
    let user = *by == Label::User;
    let label = |own: bool| match own {
        true => Label::Own,
        false => Label::Web("example.org".into()),
    };
    let made = acts.iter().filter_map(|act| match act {
        Act::Add(a, b, own) => {
            next += 1;
            Some(Edit::Add {
                id: ItemId(next - 1),
                text: text(*a, *b),
                evidence: vec![entry(u64::from(next)), entry(u64::from(*b))],
                label: label(*own),
            })
        }
        Act::Revise(at, word) => Some(Edit::Revise {
            id: free(at, false)?,
            text: text(*word, *word),
            evidence: vec![entry(1000 + u64::from(*word))],
            label: Label::Own,
        }),
        Act::Retire(at) => Some(Edit::Retire {
            id: free(at, false)?,
            into: None,
        }),
        Act::Pin(at) if user => Some(Edit::Pin {
            id: free(at, true)?,
        }),
        Act::Endorse(at) if user => Some(Edit::Endorse {
            id: free(at, true)?,
        }),
        _ => None,
    });
    made.collect()
}

/// Two hundred items, the first twenty of them pinned.
fn two_hundred() -> History {
    let mut history = found();
    let mut facts: Vec<Edit> = (1..=ITEMS as u32)
        .map(|number| Edit::Add {
            id: ItemId(number),
            text: format!("Fact {number}: {}", text(number as u8, (number * 7) as u8)),
            evidence: vec![entry(u64::from(number))],
            label: Label::User,
        })
        .collect();
    facts.extend((1..=20).map(|number| Edit::Pin { id: ItemId(number) }));
    change(&mut history, facts);
    history
}

/// The texts of all that is pinned.
fn pinned(history: &History) -> BTreeMap<ItemId, String> {
    let learned = history.capsule().learned;
    let pinned = learned.iter().filter(|item| item.pinned);
    pinned.map(|item| (item.id, item.text.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_hundred_rounds_of_edits_keep_what_is_pinned_and_stay_small(
        rounds in prop::collection::vec(prop::collection::vec(act(), 1..12), ROUNDS),
        backs in prop::collection::vec(any::<Index>(), 5),
    ) {
        let mut history = two_hundred();
        let key = history.key();
        let mut receiver = History::open(key, None, history.versions().to_vec()).unwrap();
        let mut facts = pinned(&history);
        let mut contents = vec![history.at(1).unwrap().bytes(), history.capsule().bytes()];
        for (number, acts) in (0..).zip(&rounds) {
            let by = if number % 3 == 0 { Label::User } else { Label::Own };
            let edits = history.with_room(&by, edits(&history, acts, &by), ITEMS, BYTES).unwrap();
            if edits.is_empty() {
                continue;
            }
            let version = match history.sign(&secret(1), by, "a round", time(number), edits) {
                Err(gpak_kernel::identity::EditError::Nothing) => continue,
                version => version.unwrap(),
            };
            let line = version.line();
            history.take(version).unwrap();

            // Whoever gets it finds it signed, and the same.
            receiver.take(Version::read(line.as_bytes(), history.latest()).unwrap()).unwrap();
            prop_assert_eq!(receiver.hash(), history.hash());
            let bytes = receiver.capsule().bytes();
            prop_assert_eq!(&bytes, &history.capsule().bytes());
            prop_assert!(bytes.len() <= BYTES, "{} bytes", bytes.len());
            prop_assert!(receiver.capsule().learned.len() <= ITEMS);
            for (id, text) in &facts {
                let item = receiver.capsule().item(*id).cloned();
                prop_assert!(item.is_some_and(|item| item.pinned && item.text == *text), "item {} is lost", id);
            }
            facts.extend(pinned(&history));
            contents.push(bytes);
        }
        prop_assert!(facts.len() >= 20);
        prop_assert!(history.latest() > 90, "{} versions", history.latest());
        History::open(key, Some(history.identity()), history.versions().to_vec()).unwrap();
        for back in backs {
            let to = back.index(contents.len());
            if history.capsule().bytes() == contents[to] {
                continue;
            }
            change(&mut history, vec![Edit::Revert { to: to as u64 + 1 }]);
            prop_assert_eq!(&history.capsule().bytes(), &contents[to]);
            contents.push(contents[to].clone());
        }
        History::open(key, Some(history.identity()), history.versions().to_vec()).unwrap();
    }
}
