//! Packages from PyPI, unmodified.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A Python with that package, or those, fetched the first time. Tests in several processes may ask at once.
pub fn python(package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_gpak")).ancestors().nth(2);
    let name = package.split("==").next().unwrap();
    let folder = target.unwrap().join(format!("gpak-test-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (python, stamp) = (folder.join("venv/bin/python"), folder.join("packages"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == package) {
        return python;
    }
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder.join("venv")));
    let pip = ["-m", "pip", "install", "--quiet"];
    run(Command::new(&python).args(pip).args(package.split(" ")));
    fs::write(&stamp, package).unwrap();
    python
}

/// Runs it, and fails with all it said unless it succeeds.
#[track_caller]
pub fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let more = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?} failed:\n{said}\n{more}"
    );
}
