//! Guests that want files that are not for them.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;
use crate::wasm::doing::{moves, reads, reads_from, with_path, writes};

const READ: &str = "[[asks.files]]\npath = \".\"\n";
const WRITE: &str = "[[asks.files]]\npath = \".\"\naccess = \"write\"\n";
const DATA: &str = "[[asks.files]]\npath = \"data\"\naccess = \"write\"\n";

/// A home with a secret outside of the workspace and a folder within.
fn home() -> Home {
    let home = Home::new();
    fs::write(home.path("secret.json"), "\"secret\"").unwrap();
    fs::create_dir(home.workspace().join("data")).unwrap();
    fs::write(home.workspace().join("data/a.json"), "[1]").unwrap();
    fs::write(home.workspace().join("other.json"), "[2]").unwrap();
    home
}

#[tokio::test]
async fn reading_by_dots() {
    let home = home();
    for path in [
        "../secret.json",
        "data/../../secret.json",
        "./data/./../../secret.json",
    ] {
        assert_says(
            &contained_in(&home, &reads(path), READ).await,
            &["outside of the workspace"],
        );
    }
}

#[tokio::test]
async fn reading_by_an_absolute_path() {
    let home = home();
    let secret = home.path("secret.json").display().to_string();
    for path in [
        secret.as_str(),
        "/etc/passwd",
        "/proc/self/environ",
        "//etc/passwd",
    ] {
        assert_says(
            &contained_in(&home, &reads(path), READ).await,
            &["outside of the workspace"],
        );
    }
}

#[tokio::test]
async fn reading_through_links() {
    let home = home();
    let at = |name: &str| home.workspace().join(name);
    symlink(home.path("secret.json"), at("file.json")).unwrap();
    symlink("../secret.json", at("relative.json")).unwrap();
    symlink(home.root.path(), at("folder")).unwrap();
    symlink("folder", at("twice")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    for path in [
        "file.json",
        "relative.json",
        "folder/secret.json",
        "twice/secret.json",
        "zero",
    ] {
        let why = contained_in(&home, &reads(path), READ).await;
        assert_says(&why, &["outside of the workspace"]);
    }
}

#[tokio::test]
async fn reading_through_a_link_out_of_the_granted_folder() {
    let home = home();
    symlink("../other.json", home.workspace().join("data/link.json")).unwrap();
    for path in ["data/link.json", "other.json", "data/../other.json"] {
        let why = contained_in(&home, &reads(path), DATA).await;
        assert_says(&why, &["reading other.json was not granted"]);
    }
}

/// Ends the thread that swaps, also if the test fails.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_folder_that_becomes_a_link_while_it_is_read() {
    let home = home();
    let (real, link) = (home.workspace().join("data"), home.workspace().join("link"));
    fs::create_dir(home.path("outside")).unwrap();
    fs::write(home.path("outside/a.json"), "\"secret\"").unwrap();
    symlink(home.path("outside"), &link).unwrap();
    let tool = home.tool(&reads("data/a.json"), READ).await;
    let over = Over(Arc::default());
    let (swapping, workspace) = (over.0.clone(), home.workspace().to_owned());
    let swapper = std::thread::spawn(move || {
        let parked = workspace.join("parked");
        while !swapping.load(Ordering::Relaxed) {
            fs::rename(&real, &parked).unwrap();
            fs::rename(&link, &real).unwrap();
            fs::rename(&real, &link).unwrap();
            fs::rename(&parked, &real).unwrap();
        }
    });
    let mut read = 0;
    for _ in 0..1000 {
        match home.call(&tool, json!({})).await {
            Ok(output) => {
                assert_eq!(output.data, Some(json!([1])));
                read += 1;
            }
            Err(why) => assert!(!why.to_string().contains("\"secret\""), "{why}"),
        }
    }
    drop(over);
    swapper.join().unwrap();
    assert!(read > 0, "it was never there to be read");
    still_works(&home).await;
}

#[tokio::test]
async fn writing_out_of_the_workspace() {
    let home = home();
    symlink(home.root.path(), home.workspace().join("out")).unwrap();
    symlink(home.path("secret.json"), home.workspace().join("link.json")).unwrap();
    for path in [
        "../new.json",
        "/tmp/new.json",
        "out/new.json",
        "out/secret.json",
        "link.json",
    ] {
        let why = contained_in(&home, &writes(path, "mine"), WRITE).await;
        assert_says(&why, &["writes: "]);
    }
    assert_eq!(
        fs::read_to_string(home.path("secret.json")).unwrap(),
        "\"secret\""
    );
    assert!(!home.path("new.json").exists());
}

#[tokio::test]
async fn writing_where_only_reading_was_granted() {
    let home = home();
    let doing = |guest: Guest| guest.effect(3);
    for guest in [
        writes("other.json", "mine"),
        with_path("remove", "other.json"),
        with_path("make-folder", "new"),
        moves("other.json", "new.json"),
    ] {
        let why = contained_in(&home, &doing(guest), READ).await;
        assert_says(&why, &["changing", "was not granted"]);
    }
    assert_eq!(
        fs::read_to_string(home.workspace().join("other.json")).unwrap(),
        "[2]"
    );
}

#[tokio::test]
async fn writing_beside_the_granted_folder() {
    let home = home();
    for path in ["other.json", "data2/a.json", "data/../other.json", "."] {
        let why = contained_in(&home, &writes(path, "mine"), DATA).await;
        assert_says(&why, &["writes: "]);
    }
    let why = contained_in(&home, &moves("data/a.json", "a.json"), DATA).await;
    assert_says(&why, &["changing a.json was not granted"]);
}

#[tokio::test]
async fn writing_by_a_tool_that_says_it_changes_nothing() {
    let home = home();
    for guest in [
        writes("new.json", "mine"),
        with_path("remove", "other.json"),
        with_path("make-folder", "new"),
        moves("other.json", "new.json"),
    ] {
        let why = contained_in(&home, &guest.effect(0), WRITE).await;
        assert_says(&why, &["not for a tool that says it changes nothing"]);
    }
    assert!(home.workspace().join("other.json").exists());
}

#[tokio::test]
async fn writing_what_other_programs_run() {
    let home = home();
    fs::create_dir(home.workspace().join(".git")).unwrap();
    for path in [
        ".git/hooks/post-checkout",
        ".gpak/config.toml",
        "data/.git/config",
    ] {
        let why = contained_in(&home, &writes(path, "mine"), WRITE).await;
        assert_says(&why, &["never write to"]);
    }
}

#[tokio::test]
async fn gpaks_own_files() {
    // The workspace is the folder above gpak's own.
    let mut home = Home::new();
    home.context.workspace = home.root.path().to_owned();
    still_works(&home).await;
    for path in [
        "data/tools/echo/package.json",
        "data/wasm-code.key",
        "cache/wasm",
    ] {
        let why = contained_in(&home, &reads(path), READ).await;
        assert_says(&why, &["belongs to gpak itself"]);
        let why = contained_in(&home, &writes(path, "mine"), WRITE).await;
        assert_says(&why, &["gpak itself"]);
    }
    let root = home.root.path().display();
    let above = format!("[[asks.files]]\npath = \"{root}\"\n");
    let why = contained_in(&home, &reads(&format!("{root}/data/wasm-code.key")), &above).await;
    assert_says(&why, &["belongs to gpak itself"]);
}

#[tokio::test]
async fn a_pipe_that_nobody_writes_to() {
    let home = home();
    let pipe = home.workspace().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let why = contained_in(&home, &reads("pipe"), READ).await;
    assert_says(&why, &["pipe is not a file"]);
    let why = contained_in(&home, &writes("pipe", "mine"), WRITE).await;
    assert_says(&why, &["pipe is not a file"]);
}

#[tokio::test]
async fn paths_that_are_none() {
    let home = home();
    for path in ["a\0b", &"a".repeat(2000), ""] {
        assert_says(&contained_in(&home, &reads(path), READ).await, &["reads: "]);
        assert_says(
            &contained_in(&home, &writes(path, "mine"), WRITE).await,
            &["writes: "],
        );
    }
}

#[tokio::test]
async fn a_place_far_behind_the_end() {
    let home = home();
    for offset in [-1, i64::MAX, i64::MIN] {
        let why = contained_in(&home, &reads_from("other.json", offset), READ).await;
        assert_says(&why, &["reads"]);
    }
}

#[tokio::test]
async fn more_than_a_call_may_change() {
    let home = home();
    let flood = writes("flood", "x").invoke(
        "(drop (memory.grow (i32.const 200)))
         (local.set $a (i32.const 100))
         (loop $l
           (i32.store8 (i32.const 33000) (local.get $a))
           (call $write (i32.const 33000) (i32.const 1) (i32.const 65536) (i32.const 12000000) (i32.const 32800))
           (if (i32.load8_u (i32.const 32800))
             (then (return (call $err (i32.const 1) (i32.load (i32.const 32808)) (i32.load (i32.const 32812))))))
           (local.set $a (i32.sub (local.get $a) (i32.const 1)))
           (br_if $l (local.get $a)))
         unreachable",
    );
    let why = contained_in(&home, &flood, WRITE).await;
    assert_says(&why, &["more than 64 MiB"]);
    assert_eq!(fs::read_dir(home.workspace()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_folder_elsewhere_is_read_and_not_left() {
    let home = home();
    let lent = home.path("lent");
    fs::create_dir(&lent).unwrap();
    fs::write(lent.join("a.json"), "[3]").unwrap();
    symlink(home.path("secret.json"), lent.join("link.json")).unwrap();
    let grant = format!("[[asks.files]]\npath = \"{}\"\n", lent.display());
    let path = |name: &str| format!("{}/{name}", lent.display());
    let output = home
        .run(&reads(&path("a.json")), &grant, json!({}))
        .await
        .unwrap();
    assert_eq!(output.data, Some(json!([3])));
    for name in ["link.json", "../secret.json", "b.json"] {
        let why = contained_in(&home, &reads(&path(name)), &grant).await;
        assert_says(&why, &["reads: cannot open"]);
    }
    let why = contained_in(&home, &writes(&path("a.json"), "mine").effect(3), &grant).await;
    assert_says(&why, &["outside of the workspace"]);
}
