//! Packages from PyPI, unmodified.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A Python with these packages, fetched the first time. Tests in several processes may ask at once.
pub fn python(packages: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.ancestors().nth(3).unwrap();
    let name: String = packages.chars().filter(char::is_ascii_alphabetic).collect();
    let folder = Path::new(target).join(format!("gpak-test-{name}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let (python, stamp) = (folder.join("venv/bin/python"), folder.join("packages"));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == packages) {
        return python;
    }
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder.join("venv")));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(Command::new(&python).args(pip).args(packages.split(' ')));
    fs::write(&stamp, packages).unwrap();
    python
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{said}");
}
