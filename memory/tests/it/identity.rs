//! The identity in files: whole after a crash, and nothing changed or gone unnoticed.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
};

use gpak_kernel::{
    identity::{Core, Edit, Founding, History, Refusal, SecretKey},
    label::Label,
};
use gpak_memory::{IdentityError, IdentityStore};
use jiff::Timestamp;
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    store: IdentityStore,
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32])
}

fn founded(name: &str) -> History {
    let core = Core {
        name: name.into(),
        constitution: vec!["Never lie.".into()],
        ..Core::default()
    };
    let founding = Founding {
        core,
        ..Founding::default()
    };
    History::found(&secret(1), founding, Timestamp::UNIX_EPOCH).unwrap()
}

/// Adds a fact.
fn learn(store: &IdentityStore, text: &str) -> Result<History, IdentityError> {
    let secret = store.secret()?;
    store.extend(|history| {
        let fact = Edit::Add {
            id: history.next_item(),
            text: text.into(),
            evidence: vec![],
            label: Label::User,
        };
        let now = Timestamp::now();
        let version = history.sign(&secret, Label::User, "", now, vec![fact]);
        Ok(history.take(version.unwrap())?)
    })
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = IdentityStore::new(dir.path());
        Self { dir, store }
    }

    /// With three versions.
    fn of_three() -> Self {
        let place = Self::new();
        place.store.found(&secret(1), &founded("Ada")).unwrap();
        learn(&place.store, "One.").unwrap();
        learn(&place.store, "Two.").unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("identity").join(name)
    }

    fn version(&self, number: u64) -> PathBuf {
        self.file(&format!("versions/{number:08}.json"))
    }

    fn history(&self) -> Result<Option<History>, IdentityError> {
        self.store.history()
    }
}

#[test]
fn what_is_kept_is_there_for_the_next_process() {
    let place = Place::new();
    assert!(place.history().unwrap().is_none());
    assert!(place.store.capsule().unwrap().is_none());
    assert!(matches!(learn(&place.store, "x"), Err(IdentityError::None)));
    place.store.found(&secret(1), &founded("Ada")).unwrap();
    let known = learn(&place.store, "Frost comes in May.").unwrap();

    let again = IdentityStore::new(place.dir.path());
    let history = again.history().unwrap().unwrap();
    assert_eq!(history.hash(), known.hash());
    assert_eq!(again.capsule().unwrap().unwrap(), known.capsule());
    assert_eq!(again.secret().unwrap().public(), history.key());
    let second = again.found(&secret(2), &founded("Eve"));
    assert!(matches!(second, Err(IdentityError::Exists(id)) if id == history.identity()));
}

#[test]
fn a_byte_that_is_changed_is_found_by_both_ways_of_reading() {
    let place = Place::of_three();
    for number in 1..=3 {
        let path = place.version(number);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x01;
            fs::write(&path, &changed).unwrap();
            let told = place.history().unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("version {number} ")),
                "byte {at} of version {number}: {told}"
            );
            // The quick way looks at what the content comes from, and that is all edits and the latest
            // signature. A header that nothing hangs on any more is for the whole check.
            let edits = whole
                .windows(10)
                .position(|w| w == b"],\"header\"")
                .unwrap();
            if number == 3 || at < edits {
                place.store.capsule().unwrap_err();
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    place.history().unwrap().unwrap();
}

#[test]
fn versions_that_are_gone_are_missed_and_come_back_from_a_copy() {
    let place = Place::of_three();
    let whole = place.history().unwrap().unwrap();
    for gone in [3, 1] {
        let path = place.version(gone);
        fs::remove_file(&path).unwrap();
        for told in [
            place.history().map(drop).unwrap_err(),
            place.store.capsule().map(drop).unwrap_err(),
        ] {
            assert!(
                matches!(told, IdentityError::Gone { version: 3, here, .. } if here == gone - 1),
                "{told}"
            );
        }
        assert!(learn(&place.store, "x").is_err(), "nothing is built on it");
        let short = History::open(whole.key(), None, whole.versions()[..2].to_vec()).unwrap();
        assert!(matches!(
            place.store.mend(&short),
            Err(IdentityError::Gone { here: 2, .. })
        ));
        place.store.mend(&whole).unwrap();
        assert_eq!(place.history().unwrap().unwrap().hash(), whole.hash());
    }
}

#[test]
fn a_crash_between_two_files_leaves_what_was_or_what_is() {
    let place = Place::of_three();
    let owner = fs::read(place.file("owner.json")).unwrap();
    let known = learn(&place.store, "Three.").unwrap();
    // As if it had died once the version was there and before its owner's file was.
    fs::write(place.file("owner.json"), owner).unwrap();
    fs::write(place.file("versions/.tmpAbCdEf"), "{\"edi").unwrap();
    assert_eq!(place.history().unwrap().unwrap().hash(), known.hash());
    assert_eq!(place.store.capsule().unwrap().unwrap(), known.capsule());
    let next = learn(&place.store, "Four.").unwrap();
    assert_eq!(next.latest(), 5);
    assert_eq!(place.history().unwrap().unwrap().hash(), next.hash());

    // As if it had died before anybody was trusted: it is begun anew, and the first key is kept.
    let place = Place::new();
    place.store.found(&secret(1), &founded("Ada")).unwrap();
    fs::remove_file(place.file("owner.json")).unwrap();
    let founding = Founding {
        core: Core {
            name: "Eve".into(),
            ..Core::default()
        },
        ..Founding::default()
    };
    let eve = History::found(&secret(2), founding, Timestamp::UNIX_EPOCH).unwrap();
    place.store.found(&secret(2), &eve).unwrap();
    let history = place.history().unwrap().unwrap();
    assert_eq!(history.capsule().core.name, "Eve");
    let name: String = secret(1).public().to_string().chars().take(16).collect();
    let kept = fs::read_to_string(place.file(&format!("key.{name}"))).unwrap();
    assert_eq!(kept, secret(1).reveal());
}

#[test]
fn the_secret_key_is_for_its_user_alone() {
    let place = Place::of_three();
    let key = place.store.key_file();
    assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let told = place.store.secret().unwrap_err();
        assert!(
            matches!(&told, IdentityError::Open { mode: found, .. } if *found == mode),
            "{told}"
        );
        assert!(told.to_string().contains("chmod 600"));
        assert!(learn(&place.store, "x").is_err());
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    learn(&place.store, "Three.").unwrap();
    fs::remove_file(&key).unwrap();
    fs::write(&key, secret(2).reveal()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let told = place.store.secret().unwrap_err();
    assert!(matches!(told, IdentityError::WrongKey { .. }), "{told}");
}

#[test]
fn an_identity_of_another_machine_is_followed_and_not_changed() {
    let made = Place::of_three();
    let history = made.history().unwrap().unwrap();
    let there = Place::new();
    there.store.adopt(&history).unwrap();
    let told = learn(&there.store, "Mine.").unwrap_err();
    assert!(matches!(told, IdentityError::NoKey(_)), "{told}");

    let newer = learn(&made.store, "Three.").unwrap();
    let versions = newer.versions().to_vec();
    let taken = there.store.extend(|history| {
        history.catch_up(versions)?;
        Ok::<_, IdentityError>(())
    });
    assert_eq!(taken.unwrap().hash(), newer.hash());
    let old = history.versions().to_vec();
    let told = there
        .store
        .extend(|here| Ok::<_, IdentityError>(here.catch_up(old).map(drop)?))
        .unwrap_err();
    assert!(
        matches!(
            told,
            IdentityError::Refused(Refusal::Downgraded {
                version: 3,
                have: 4
            })
        ),
        "{told}"
    );

    let file = made.dir.path().join("taken-along");
    made.store.give_key(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert!(made.store.give_key(&file).is_err(), "never written over");
    there.store.take_key(&file).unwrap();
    assert_eq!(learn(&there.store, "Four.").unwrap().latest(), 5);
}

#[test]
fn writers_at_once_do_not_lose_each_others_versions() {
    let place = Arc::new(Place::of_three());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let place = place.clone();
            std::thread::spawn(move || {
                for number in 0..5 {
                    learn(&place.store, &format!("{writer}.{number}")).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let history = place.history().unwrap().unwrap();
    assert_eq!(history.latest(), 23);
    assert_eq!(history.capsule().learned.len(), 22);
}
