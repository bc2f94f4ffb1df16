//! Tools in five languages: what `gpak tools new` makes builds and runs by the lines of
//! `examples/tools/README.md`, and so do the tools there.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::place::{Place, Said};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/tools");
const README: &str = include_str!("../../../examples/tools/README.md");

/// Runs the lines of the README from a heading to the next in the workspace, and holds what each prints to
/// what the README says. `path` is looked in for programs before all else.
fn follow_readme(place: &Place, heading: &str, path: &[PathBuf]) {
    let section = README.split("\n## ").find(|text| {
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("# ") == heading
    });
    let section = section.unwrap_or_else(|| panic!("the README has no {heading}"));
    let blocks = section.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let mut lines = 0;
    for part in blocks.flat_map(|block| block.split("$ ").skip(1)) {
        let (line, expected) = part.split_once('\n').unwrap();
        let said = shell(place, line, path);
        assert_eq!(said.code, 0, "{line}\n{}\n{}", said.out, said.err);
        for wanted in expected.lines() {
            assert!(
                said.out.lines().any(|line| line == wanted),
                "{line}\n{}",
                said.out
            );
        }
        lines += 1;
    }
    assert!(lines >= 4, "the README has only {lines} lines of {heading}");
}

/// Runs a line by `sh` in the workspace, with this `gpak` on the path.
fn shell(place: &Place, line: &str, path: &[PathBuf]) -> Said {
    let gpak = Path::new(env!("CARGO_BIN_EXE_gpak")).parent().unwrap();
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = path.iter().cloned().chain([gpak.to_owned()]);
    let all = env::join_paths(all.chain(env::split_paths(&rest))).unwrap();
    let sh = place
        .command_of("sh")
        .args(["-c", line])
        .env("PATH", all)
        // The libraries that all tools in Rust have are built once.
        .env("CARGO_TARGET_DIR", kept("guests-rust"))
        .output()
        .unwrap();
    Said::from(sh)
}

/// A folder that stays from test to test.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Copies an example's sources without its component, builds it there, adds it, and makes its examples.
fn build_example(place: &Place, name: &str, path: &[PathBuf]) {
    let source = Path::new(EXAMPLES).join(name);
    let line = format!(
        "cp -R '{}' . && rm -f {name}/{name}.wasm && sh {name}/build.sh && gpak tools add --yes {name} \
         && gpak tools test {name}",
        source.display()
    );
    let said = shell(place, &line, path);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    assert!(said.out.contains(&format!("✓ {name}")), "{}", said.out);
}

/// Whether a program is on the path.
fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn skipped(language: &str, what: &str) {
    println!("SKIPPED: no compiler of {language} for Wasm is here; {what}");
}

#[test]
fn a_project_in_wat_builds_and_runs_by_the_readme() {
    follow_readme(&Place::new(), "WAT", &[]);
}

#[test]
fn a_project_in_c_builds_and_runs_by_the_readme() {
    if !is_there("clang-19") || !is_there("wasm-ld-19") {
        return skipped("C", "apt-get install clang-19 lld-19");
    }
    let place = Place::new();
    follow_readme(&place, "C", &[]);
    build_example(&place, "checksum", &[]);
}

#[test]
fn a_project_in_rust_builds_and_runs_by_the_readme() {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let has_target = sysroot
        .join("lib/rustlib/wasm32-unknown-unknown/lib")
        .is_dir();
    let debian = Path::new("/usr/lib/rustlib/src/rust/library").is_dir() && is_there("wasm-ld-19");
    if !has_target && !debian {
        return skipped(
            "Rust",
            "rustup target add wasm32-unknown-unknown, or apt-get install rustc-web rust-web-src lld-19",
        );
    }
    let place = Place::new();
    follow_readme(&place, "Rust", &[]);
    build_example(&place, "convert_units", &[]);
}

#[test]
fn a_project_in_python_builds_and_runs_by_the_readme() {
    let python = kept("guests-python");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&python)
        .status();
    assert!(
        made.unwrap().success(),
        "python3 -m venv {} fails",
        python.display()
    );
    let path = [python.join("bin")];
    let place = Place::new();
    follow_readme(&place, "Python", &path);
    build_example(&place, "date_span", &path);
}

/// What JavaScript wants of script packages: the source is a file that defines `invoke(input)`, called with the
/// arguments as an object; what it gives is the result as JSON, and what it throws is an error whose words
/// the examples have.
#[test]
fn a_project_in_javascript_runs_by_the_readme() {
    let place = Place::new();
    follow_readme(&place, "JavaScript", &[]);
    let example = format!("{EXAMPLES}/roman_numerals");
    place
        .gpak(&["tools", "add", "--yes", &example])
        .with_code(0);
    place
        .gpak(&["tools", "test", "roman_numerals"])
        .with_code(0);
}

#[test]
fn committed_components_run_by_the_readme_without_a_compiler() {
    let place = Place::new();
    std::os::unix::fs::symlink(
        Path::new(EXAMPLES).parent().unwrap(),
        place.work().join("examples"),
    )
    .unwrap();
    follow_readme(&place, "Tools in five languages", &[]);
    let mut count = 0;
    for entry in fs::read_dir(EXAMPLES).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let component = folder.join(format!("{name}.wasm"));
        if !folder.is_dir() || name == "date_span" || !component.is_file() {
            continue;
        }
        count += 1;
        let size = component.metadata().unwrap().len();
        assert!(size < 100 * 1024, "{name} has {size} bytes");
        assert!(
            README.contains(&format!("examples/tools/{name}\n")),
            "{name}"
        );
    }
    assert_eq!(count, 3);
}

#[test]
fn the_component_of_the_example_in_wat_is_of_its_source() {
    let place = Place::new();
    build_example(&place, "luhn_check", &[]);
    let built = fs::read(place.work().join("luhn_check/luhn_check.wasm")).unwrap();
    let committed = fs::read(format!("{EXAMPLES}/luhn_check/luhn_check.wasm")).unwrap();
    assert!(
        built == committed,
        "build it again: sh examples/tools/luhn_check/build.sh"
    );
}

#[test]
fn the_examples_have_the_files_of_a_new_project() {
    let place = Place::new();
    for (language, example, files) in [
        (
            "rust",
            "convert_units",
            &["build.sh", "Cargo.toml", "wit/tool.wit"][..],
        ),
        ("c", "checksum", &["build.sh", "guest.h", "wit/tool.wit"]),
        ("python", "date_span", &["build.sh", "wit/tool.wit"]),
        ("wat", "luhn_check", &["build.sh", "wit/tool.wit"]),
    ] {
        place
            .gpak(&["tools", "new", "--lang", language, example])
            .with_code(0);
        for file in files {
            let new = place.read(&format!("{example}/{file}"));
            let there = fs::read_to_string(format!("{EXAMPLES}/{example}/{file}")).unwrap();
            assert!(
                new == there,
                "{example}/{file} is not what gpak tools new writes"
            );
        }
    }
}

#[test]
fn a_project_is_made_only_where_there_is_nothing_and_with_a_good_name() {
    let place = Place::new();
    place.write("taken/notes.txt", "mine");
    place
        .gpak(&["tools", "new", "--lang", "c", "taken"])
        .with_code(2)
        .saying(&["something at taken already", "choose another name"]);
    place
        .gpak(&["tools", "new", "--lang", "c", "../out"])
        .with_code(2)
        .saying(&["a to z", "gpak tools new --lang"]);
    place
        .gpak(&["tools", "new", "--lang", "wat", "read_file"])
        .with_code(2)
        .saying(&["comes with gpak"]);
    place
        .gpak(&["tools", "new", "--lang", "cobol", "x"])
        .with_code(2)
        .saying(&["rust, c, js, python, wat"]);
    assert_eq!(
        place.files(),
        [("taken/notes.txt".to_owned(), "mine".to_owned())]
    );
    // A name that no crate and no variable could have.
    let made = place
        .gpak(&["tools", "new", "--lang", "wat", "9_lives", "--json"])
        .with_code(0);
    let made: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    assert_eq!(made["next"][0], "sh 9_lives/build.sh");
    assert_eq!(shell(&place, "sh 9_lives/build.sh", &[]).code, 0);
    place
        .gpak(&["tools", "add", "--yes", "9_lives"])
        .with_code(0);
    place.gpak(&["tools", "test", "9_lives"]).with_code(0);
}

#[test]
fn what_no_component_can_be_made_of_is_said() {
    let place = Place::new();
    let refused = |args: &[&str], parts: &[&str]| {
        let mut all = vec!["tools", "componentize", "a.wat", "-o", "a.wasm"];
        all.extend(args);
        place.gpak(&all).with_code(1).saying(parts);
        assert!(!place.work().join("a.wasm").exists());
    };
    refused(&[], &["a.wat"]);
    place.write("a.wat", "(module (func");
    refused(&[], &["neither a Wasm module nor its text", "expected"]);
    place.write("a.wat", "(component)");
    refused(&[], &["a component already"]);
    place.write("a.wat", "(module)");
    refused(&[], &["not what its world wants", "describe"]);
    refused(
        &["--world", "desktop"],
        &["no world desktop", "pure-tool", "undoable-tool"],
    );
    refused(&["--wit", "nowhere"], &["nowhere cannot be read as WIT"]);
    place.write(
        "a.wat",
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))"#,
    );
    refused(&[], &["wasm32-wasip2"]);
}

#[test]
fn a_component_is_made_for_a_world_of_ones_own() {
    let place = Place::new();
    place.write(
        "wit/mine.wit",
        "package my:tools; world small { export answer: func() -> u32; }",
    );
    place.write(
        "a.wat",
        r#"(module (func (export "answer") (result i32) i32.const 42))"#,
    );
    place
        .gpak(&[
            "tools",
            "componentize",
            "a.wat",
            "--wit",
            "wit",
            "--world",
            "small",
            "-o",
            "a.wasm",
        ])
        .with_code(0)
        .saying(&["made a.wasm"]);
    let made = fs::read(place.work().join("a.wasm")).unwrap();
    assert!(made.starts_with(b"\0asm\x0d\0\x01\0"));
    // It is one, and not of a world of gpak's.
    place.write(
        "tool.toml",
        "name = \"a\"\nversion = \"1\"\nfile = \"a.wasm\"\n",
    );
    place
        .gpak(&["tools", "add", "--yes", "."])
        .with_code(1)
        .saying(&["describe"]);
}
