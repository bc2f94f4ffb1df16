//! Programs from npm, fetched the first time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that has these packages. Tests in several processes may ask at once; one fetches them.
pub fn folder(name: &str, packages: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_gpak")).ancestors().nth(2);
    let folder = target.unwrap().join(format!("gpak-test-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (wanted, stamp) = (format!("{packages:?}"), folder.join("packages"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return folder;
    }
    let npm = ["install", "--no-audit", "--no-fund", "--prefix"];
    let made = Command::new("npm")
        .args(npm)
        .arg(&folder)
        .args(packages)
        .output();
    let made = made.expect("npm is on the PATH");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fs::write(&stamp, wanted).unwrap();
    folder
}

/// A program of such a folder, with the Node beside it on its `PATH`.
pub fn command(folder: &Path, program: &str) -> Command {
    let bin = folder.join("node_modules/.bin");
    let mut command = Command::new(bin.join(program));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", bin.display()));
    command
}
