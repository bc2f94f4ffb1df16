//! Copies of a workspace, what was changed in one, and bringing that back.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use gpak_kernel::{
    strategy::search::{ADOPT, COMPARE, COPY, DROP},
    tool::ToolError,
};
use gpak_tools::copies::Limits;
use serde_json::json;

use crate::bench::Bench;

fn bench() -> Bench {
    let bench = Bench::copying(Limits::default());
    bench.put("a.txt", "one\ntwo\n");
    bench.put("docs/deep/x.txt", "x\n");
    bench.put("run.sh", "echo 1\n");
    fs::set_permissions(bench.path("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    bench.put(".gitignore", "build/\n");
    bench.put("build/out.o", "object");
    bench.put(".git/HEAD", "ref: refs/heads/main\n");
    bench.put(".gpak/config.toml", "");
    bench.link("inner", "a.txt");
    let absolute = bench.path("docs").display().to_string();
    bench.link("absolute", &absolute);
    bench
}

async fn copied(bench: &Bench, way: u32) -> PathBuf {
    let output = bench.make(1, COPY, json!({"way": way})).await.unwrap();
    PathBuf::from(output.data.unwrap()["path"].as_str().unwrap())
}

/// Changes of every kind.
fn change(copy: &Path) {
    fs::write(copy.join("a.txt"), "one\n2\n").unwrap();
    fs::create_dir_all(copy.join("new/er")).unwrap();
    fs::write(copy.join("new/er/bin"), [0, 159, 146, 150]).unwrap();
    fs::set_permissions(copy.join("new/er/bin"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir_all(copy.join("docs")).unwrap();
    fs::write(copy.join("build/out.o"), "another").unwrap();
    fs::write(copy.join(".git/HEAD"), "moved").unwrap();
    fs::create_dir(copy.join("__pycache__")).unwrap();
    fs::write(copy.join("__pycache__/x.pyc"), "cache").unwrap();
}

#[tokio::test]
async fn a_copy_is_like_the_workspace_and_is_made_once() {
    let bench = bench();
    let copy = copied(&bench, 1).await;
    assert_eq!(copy.file_name().unwrap(), "work");
    for path in [
        "a.txt",
        "docs/deep/x.txt",
        "build/out.o",
        ".git/HEAD",
        ".gpak/config.toml",
        "inner",
    ] {
        let (ours, theirs) = (fs::read(bench.path(path)), fs::read(copy.join(path)));
        assert_eq!(ours.unwrap(), theirs.unwrap(), "{path}");
    }
    let mode = fs::metadata(copy.join("run.sh"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    assert_eq!(
        fs::read_link(copy.join("absolute")).unwrap(),
        copy.join("docs"),
        "it leads into the copy"
    );
    fs::write(copy.join("a.txt"), "changed").unwrap();
    assert_eq!(copied(&bench, 1).await, copy);
    assert_eq!(
        fs::read_to_string(copy.join("a.txt")).unwrap(),
        "changed",
        "not made anew"
    );
    assert_ne!(copied(&bench, 2).await, copy);
    bench.call(2, DROP, json!({})).await;
    assert!(
        !bench
            .home
            .path()
            .join("copies")
            .join(bench.context.run.to_string())
            .exists()
    );
}

#[tokio::test]
async fn what_was_changed_is_shown_without_what_is_ignored() {
    let bench = bench();
    let copy = copied(&bench, 1).await;
    assert_eq!(
        bench.call(2, COMPARE, json!({"way": 1})).await,
        "nothing was changed"
    );
    change(&copy);
    let diff = bench.call(3, COMPARE, json!({"way": 1})).await;
    for part in [
        "--- a/a.txt\n+++ b/a.txt",
        "-two\n+2",
        "new/er/bin: binary, now 4 bytes",
        "+++ /dev/null",
    ] {
        assert!(diff.contains(part), "no {part:?} in:\n{diff}");
    }
    assert!(
        !diff.contains("build") && !diff.contains("pycache") && !diff.contains(".git"),
        "{diff}"
    );
}

#[tokio::test]
async fn what_was_changed_is_brought_over_and_can_be_undone() {
    let bench = bench();
    let before = bench.tree();
    let copy = copied(&bench, 1).await;
    change(&copy);
    let said = bench.call(2, ADOPT, json!({"way": 1})).await;
    assert_eq!(said, "changed a.txt, docs/deep/x.txt, new/er/bin");
    assert_eq!(bench.get("a.txt"), "one\n2\n");
    assert_eq!(bench.get("build/out.o"), "object");
    assert_eq!(bench.get(".git/HEAD"), "ref: refs/heads/main\n");
    assert!(!bench.path("docs").exists() && !bench.path("__pycache__").exists());
    let mode = fs::metadata(bench.path("new/er/bin"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(
        bench.call(2, ADOPT, json!({"way": 1})).await,
        said,
        "a call made again is done"
    );

    // The copies are gone by the time that somebody undoes it.
    bench.call(3, DROP, json!({})).await;
    bench.put("a.txt", "mine\n");
    let refused = bench.undo(2, ADOPT).await;
    assert!(
        matches!(&refused, Err(ToolError::Rejected(why)) if why.contains("a.txt was changed since")),
        "{refused:?}"
    );
    assert!(bench.path("new/er/bin").exists(), "all or nothing");
    bench.put("a.txt", "one\n2\n");
    bench.undo(2, ADOPT).await.unwrap();
    assert_eq!(bench.tree(), before);
}

#[tokio::test]
async fn a_call_that_a_crash_interrupted_finishes_or_is_taken_back() {
    for finishes in [true, false] {
        let bench = bench();
        let before = bench.tree();
        let copy = copied(&bench, 1).await;
        change(&copy);
        bench.call(2, ADOPT, json!({"way": 1})).await;
        let after = bench.tree();
        // As if it had come no further than its first change.
        fs::remove_dir_all(bench.path("new")).unwrap();
        bench.put("docs/deep/x.txt", "x\n");
        if finishes {
            bench.call(2, ADOPT, json!({"way": 1})).await;
            assert_eq!(bench.tree(), after);
        }
        bench.undo(2, ADOPT).await.unwrap();
        assert_eq!(bench.tree(), before, "finishes: {finishes}");
    }
}

#[tokio::test]
async fn nothing_is_brought_over_where_the_workspace_changed_meanwhile() {
    let bench = bench();
    let copy = copied(&bench, 1).await;
    change(&copy);
    bench.put("a.txt", "mine\n");
    let before = bench.tree();
    let why = bench.refused(ADOPT, json!({"way": 1})).await;
    assert!(
        why.contains("changed in the workspace meanwhile: a.txt"),
        "{why}"
    );
    assert_eq!(bench.tree(), before);
}

#[tokio::test]
async fn a_workspace_over_the_limit_is_refused_and_ignored_weight_stays_behind() {
    let limits = Limits {
        bytes: 100,
        files: 10,
        ignored_bytes: 50,
    };
    let bench = Bench::copying(limits);
    bench.put(".gitignore", "build/\nsmall/\n");
    bench.put("build/large", "x".repeat(100));
    bench.put("small/note", "kept");
    let output = bench.make(1, COPY, json!({"way": 1})).await.unwrap();
    assert!(output.text.contains("left out: build"), "{}", output.text);
    let copy = PathBuf::from(output.data.unwrap()["path"].as_str().unwrap());
    assert!(copy.join("small/note").exists() && !copy.join("build").exists());

    bench.put("large.txt", "x".repeat(101));
    let why = bench.refused(COPY, json!({"way": 2})).await;
    assert!(why.contains("too large to be copied"), "{why}");
    fs::remove_file(bench.path("large.txt")).unwrap();
    for number in 0..10 {
        bench.put(&format!("{number}"), "");
    }
    let why = bench.refused(COPY, json!({"way": 2})).await;
    assert!(why.contains("10 files"), "{why}");
}
