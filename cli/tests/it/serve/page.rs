//! The page, in a real browser; and that what is in the binary is what its sources make.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::house::Service;
use crate::{
    npm,
    place::{Place, call, finish},
};

const NPM: [&str; 2] = ["puppeteer-core@25.16.0", "node@22.23.3"];

/// The browser: the one that is here, or Debian's, which root can install. None where neither can be had.
fn chromium() -> Option<PathBuf> {
    let found = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut all = std::env::split_paths(&path).map(|folder| folder.join("chromium"));
        all.find(|program| program.exists())
    };
    if let Some(found) = found() {
        return Some(found);
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        command.output().is_ok_and(|done| done.status.success())
    };
    let install = [
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "chromium",
    ];
    let _ = apt(&["update", "-qq"]) && apt(&install);
    found()
}

#[test]
fn a_person_signs_in_starts_a_run_and_allows_its_write() {
    let Some(chromium) = chromium() else {
        println!("NOT RUN: no chromium, and apt-get does not install one");
        return;
    };
    let service = Service::saying(&[
        call("write_file", json!({"path": "b.txt", "content": "seven\n"})),
        finish("it is written"),
    ]);
    let password = "correct horse battery";
    let mut add = service.place.command();
    add.args(["serve", "users", "add", "ann", "--role", "operator"])
        .stdin(Stdio::piped());
    let mut add = add.spawn().unwrap();
    let mut stdin = add.stdin.take().unwrap();
    writeln!(stdin, "{password}").unwrap();
    drop(stdin);
    assert!(add.wait().unwrap().success());
    let node = npm::folder("page", &NPM);
    // Modules are found beside the script.
    let script = node.join("page.mjs");
    fs::write(&script, include_str!("page.mjs")).unwrap();
    let picture = node.join("page.png");
    let _ = fs::remove_file(&picture);
    let said = npm::command(&node, "node")
        .arg(&script)
        .arg(&chromium)
        .args([&service.url, password])
        .arg(&picture)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{err}");
    let told: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(told["asked"].as_str().unwrap().contains("+seven"), "{told}");
    assert!(
        told["tree"].as_str().unwrap().contains("write_file"),
        "{told}"
    );
    assert_eq!(told["broken"], json!([]));
    assert_eq!(service.place.read("b.txt"), "seven\n");
    let picture = fs::read(&picture).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000);
}

#[test]
fn the_page_in_the_binary_is_what_its_sources_make() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let copy = Place::new();
    let made = copy.work();
    for name in [
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "vite.config.js",
        "index.html",
    ] {
        fs::copy(web.join(name), made.join(name)).unwrap();
    }
    fs::create_dir(made.join("src")).unwrap();
    for entry in fs::read_dir(web.join("src")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, made.join("src").join(path.file_name().unwrap())).unwrap();
    }
    for args in [
        ["ci", "--no-audit", "--no-fund"].as_slice(),
        &["run", "build"],
    ] {
        let done = Command::new("npm").args(args).current_dir(&made).output();
        let done = done.expect("npm is on the PATH");
        let said = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
    }
    for name in ["index.html", "page.js", "page.css"] {
        let (kept, new) = (web.join("dist").join(name), made.join("dist").join(name));
        assert!(
            fs::read(kept).unwrap() == fs::read(new).unwrap(),
            "cli/web/dist/{name} is old: npm --prefix cli/web ci && npm --prefix cli/web run build"
        );
    }
}
