use gpak_kernel::{
    identity::{Edit, EditError, History, ITEMS, ItemId},
    label::Label,
};

use super::{add, change, entry, five, found, secret, signed, time};

#[test]
fn a_pinned_item_is_neither_revised_nor_retired() {
    let history = five();
    let pinned = ItemId(1);
    let revise = Edit::Revise {
        id: pinned,
        text: "The pump is fine.".into(),
        evidence: vec![entry(2)],
        label: Label::User,
    };
    let retire = Edit::Retire {
        id: pinned,
        into: None,
    };
    let unpin = Edit::Unpin { id: pinned };
    for by in [Label::User, Label::Own] {
        for edits in [vec![revise.clone()], vec![retire.clone()]] {
            let refused = history.sign(&secret(1), by.clone(), "", time(9), edits);
            assert_eq!(refused, Err(EditError::Pinned(pinned)));
        }
    }
    let at_once = vec![unpin.clone(), retire.clone()];
    let refused = history.sign(&secret(1), Label::User, "", time(9), at_once);
    assert_eq!(refused, Err(EditError::Pinned(pinned)));
    let mut history = history;
    change(&mut history, vec![unpin]);
    change(&mut history, vec![retire]);
    assert_eq!(history.capsule().item(pinned), None);
}

#[test]
fn what_is_the_users_alone_no_one_else_can_do() {
    let history = five();
    let id = ItemId(2);
    for edit in [
        Edit::Pin { id },
        Edit::Unpin { id },
        Edit::Endorse { id },
        Edit::Revert { to: 1 },
    ] {
        let refused = history.sign(&secret(1), Label::Own, "", time(9), vec![edit]);
        assert!(
            matches!(refused, Err(EditError::NotByUser(_))),
            "{refused:?}"
        );
    }
    let unfounded = Edit::Add {
        id: ItemId(3),
        text: "I may do anything.".into(),
        evidence: vec![],
        label: Label::Own,
    };
    let refused = history.sign(&secret(1), Label::Own, "", time(9), vec![unfounded]);
    assert_eq!(refused, Err(EditError::NoEvidence(ItemId(3))));
}

#[test]
fn the_core_is_given_once() {
    let history = five();
    let text = || "Eve".to_owned();
    for edit in [
        Edit::Name { text: text() },
        Edit::Persona { text: text() },
        Edit::Rule { text: text() },
    ] {
        let refused = history.sign(&secret(1), Label::User, "", time(9), vec![edit]);
        assert!(matches!(refused, Err(EditError::Core(_))), "{refused:?}");
    }
}

#[test]
fn a_revert_gives_the_older_content_byte_by_byte_and_can_be_reverted() {
    let mut history = five();
    for (to, expected) in [(1, 1), (2, 2), (6, 1), (3, 3), (5, 5)] {
        let before = history.latest();
        change(&mut history, vec![Edit::Revert { to }]);
        assert_eq!(history.latest(), before + 1);
        let older = history.at(expected).unwrap();
        assert_eq!(history.capsule().bytes(), older.bytes(), "back to {to}");
        assert_eq!(history.capsule().hash(), older.hash());
    }
    let versions = history.versions().to_vec();
    History::open(history.key(), Some(history.identity()), versions).unwrap();
    let two = vec![Edit::Revert { to: 1 }, Edit::Pin { id: ItemId(2) }];
    let refused = history.sign(&secret(1), Label::User, "", time(99), two);
    assert_eq!(refused, Err(EditError::NotAlone));
    let never = history.sign(
        &secret(1),
        Label::User,
        "",
        time(99),
        vec![Edit::Revert { to: 99 }],
    );
    assert_eq!(never, Err(EditError::NoVersion { to: 99, last: 10 }));
}

#[test]
fn the_number_of_an_item_that_is_gone_is_never_given_again() {
    let mut history = five();
    let fact = add(&history, "Snails come at night.", Label::User);
    change(&mut history, vec![fact]);
    change(&mut history, vec![Edit::Revert { to: 1 }]);
    assert_eq!(history.next_item(), ItemId(4));
    let again = Edit::Add {
        id: ItemId(3),
        text: "Snails come at noon.".into(),
        evidence: vec![],
        label: Label::User,
    };
    let refused = history.sign(&secret(1), Label::User, "", time(99), vec![again]);
    assert_eq!(refused, Err(EditError::Taken(ItemId(3), ItemId(4))));
}

#[test]
fn a_revision_keeps_the_evidence_and_is_trusted_no_more_than_what_it_is_made_of() {
    let mut history = five();
    let by_the_agent = Edit::Revise {
        id: ItemId(2),
        text: "Frost comes in late May.".into(),
        evidence: vec![entry(9)],
        label: Label::Own,
    };
    let version = signed(&history, Label::Own, vec![by_the_agent]);
    history.take(version).unwrap();
    let item = history.capsule().item(ItemId(2)).unwrap().clone();
    assert_eq!(item.evidence, [entry(1), entry(9)]);
    assert_eq!(item.label, Label::Web("example.org".into()));
    assert!(!item.endorsed, "the user stood by other words");
    assert!(!item.is_shown());
}

#[test]
fn merged_items_leave_their_evidence_in_the_history() {
    let mut history = found();
    for (number, text) in (10..).zip([
        "The pump of the north house needs two tries to start",
        "the pump of the north house needs two tries, to start!",
        "Tomatoes want six hours of sun",
    ]) {
        let fact = Edit::Add {
            id: history.next_item(),
            text: text.into(),
            evidence: vec![entry(number)],
            label: Label::Own,
        };
        let version = signed(&history, Label::Own, vec![fact]);
        history.take(version).unwrap();
    }
    let fact = add(&history, "Frost comes in May", Label::User);
    let edits = history
        .with_room(&Label::Own, vec![fact], 3, usize::MAX)
        .unwrap();
    let version = signed(&history, Label::Own, edits);
    history.take(version).unwrap();
    let capsule = history.capsule();
    let ids: Vec<u32> = capsule.learned.iter().map(|item| item.id.0).collect();
    assert_eq!(ids, [1, 3, 4], "the second says what the first does");
    assert_eq!(
        capsule.item(ItemId(1)).unwrap().evidence,
        [entry(10), entry(11)]
    );
    assert_eq!(history.evidence(ItemId(1)), [entry(10), entry(11)]);
    assert_eq!(history.evidence(ItemId(2)), [entry(11)], "it is gone");
}

#[test]
fn a_capsule_takes_no_more_than_fits() {
    let mut history = found();
    let facts = |history: &History, count: usize| -> Vec<Edit> {
        (0..count as u32)
            .map(|number| Edit::Add {
                id: ItemId(history.next_item().0 + number),
                text: format!("Fact {number}"),
                evidence: vec![],
                label: Label::User,
            })
            .collect()
    };
    let many = facts(&history, ITEMS);
    change(&mut history, many);
    let over = facts(&history, 1);
    let refused = history.sign(&secret(1), Label::User, "", time(9), over.clone());
    assert_eq!(refused, Err(EditError::TooMany(ITEMS + 1)));
    let edits = history
        .with_room(&Label::User, over, ITEMS, usize::MAX)
        .unwrap();
    change(&mut history, edits);
    assert_eq!(history.capsule().learned.len(), ITEMS);
    assert_eq!(
        history.capsule().learned[0].id,
        ItemId(2),
        "the oldest went"
    );
    let long = Edit::Mission {
        text: "x".repeat(9000),
    };
    let refused = history.sign(&secret(1), Label::User, "", time(9), vec![long]);
    assert!(
        matches!(refused, Err(EditError::TooLong { bytes: 9000, .. })),
        "{refused:?}"
    );
}

#[test]
fn what_changed_between_two_versions_is_told_item_by_item() {
    let history = five();
    let changes = history.at(2).unwrap().changes(history.at(5).unwrap());
    let told: Vec<String> = changes
        .into_iter()
        .map(|change| {
            let side = |text: Option<String>| text.unwrap_or("-".into());
            format!(
                "{}: {} -> {}",
                change.what,
                side(change.before),
                side(change.after)
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "mission: Keep the greenhouse alive. -> Keep both greenhouses alive.",
            "item 1: The pump needs two tries. (user, 1 entry) -> The pump needs two tries. (user, \
             pinned, 1 entry)",
            "item 2: - -> Frost comes in May. (web:example.org, endorsed, 1 entry)",
        ]
    );
}
