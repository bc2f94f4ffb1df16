//! `gpak tools login`: a person is let in by an MCP server, and runs with them.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Ways, browse},
    place::{Place, below, call, finish},
};

/// What every secret that the server gives out has in it.
const SECRET: &str = "s3cret";

fn ready() -> (Issuer, Place) {
    let issuer = Issuer::start(Ways {
        lasts: 3_600,
        call_scope: Some("write".to_owned()),
        ..Ways::default()
    });
    let place = Place::new();
    place.config(&format!("[mcp.issues]\nurl = '{}'\n", issuer.url()));
    (issuer, place)
}

/// Logs in with everything told that can be told. Gives what was printed, on both outputs.
fn logs_in(place: &Place, args: &[&str]) -> (Vec<Value>, String) {
    let told = place.home().join("told");
    let mut login = place.command();
    login
        .args(["--json", "tools", "login", "issues"])
        .args(args);
    login
        .env("GPAK_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(File::create(&told).unwrap());
    let mut login = login.spawn().unwrap();
    let mut lines = BufReader::new(login.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let opened: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
        let told = fs::read_to_string(&told).unwrap();
        panic!("`{line}` and:\n{}", told.lines().last().unwrap_or_default())
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let page = runtime.block_on(browse(opened["open"].as_str().unwrap()));
    assert!(page.contains("gpak is logged in"), "{page}");
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(login.wait().unwrap().success());
    let told = fs::read_to_string(&told).unwrap();
    let said = rest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    (said, format!("{line}{rest}{told}"))
}

fn has_secret(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes())
}

#[test]
fn runs_are_let_in_and_the_tokens_are_nowhere_but_in_a_file_of_the_users() {
    let (issuer, place) = ready();
    let said = place.run(&[finish("done")]).with_code(0);
    assert!(
        said.err.contains("`gpak tools login issues`"),
        "{}",
        said.err
    );
    let (said, told) = logs_in(&place, &[]);
    assert_eq!(said[0]["logged_in"], "issues");
    assert_eq!(
        (&said[0]["issuer"], &said[0]["scopes"]),
        (&json!(issuer.origin()), &json!(["read"]))
    );
    assert!(!told.contains(SECRET), "{told}");

    let who = call("issues.who", json!({}));
    place.run(&[who.clone(), finish("done"), finish("done")]);
    let command = "`gpak tools login issues --scope write`";
    let events = place.gpak(&["runs", "events"]).with_code(0);
    assert!(events.out.contains(command), "{}", events.out);
    let (said, _) = logs_in(&place, &["--scope", "write"]);
    assert_eq!(said[0]["scopes"], json!(["read", "write"]));
    place.run(&[who, finish("done")]).with_code(0);
    let events = place.gpak(&["runs", "events"]).with_code(0);
    assert!(events.out.contains("you are known"), "{}", events.out);

    let secret = below(&place.home(), "")
        .into_iter()
        .filter(|path| has_secret(path));
    let secret: Vec<_> = secret.collect();
    let [login] = secret.as_slice() else {
        panic!("{secret:?}");
    };
    assert!(
        login.starts_with(place.home().join("data/mcp/logins")),
        "{login:?}"
    );
    assert_eq!(
        fs::metadata(login).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let doctor = place.gpak(&["doctor"]);
    assert!(doctor.out.contains("issues: 1 tool"), "{}", doctor.out);
    place.gpak(&["tools", "logout", "issues"]).with_code(0);
    assert!(!login.exists());
    let doctor = place.gpak(&["doctor"]);
    assert!(
        doctor.out.contains("gpak tools login issues"),
        "{}",
        doctor.out
    );
}

#[test]
fn a_login_that_cannot_be_is_said_to_be_so() {
    let (_issuer, place) = ready();
    place.config(
        "[mcp.local]\ncommand = 'x'\n[mcp.far]\nurl = 'http://issues.example/mcp'\n\
         [mcp.keyed]\nurl = 'https://issues.example/mcp'\ntoken_cmd = 'echo x'\n",
    );
    for (server, code, part) in [
        ("nobody", 2, "no MCP server `nobody`"),
        ("local", 2, "program of this machine"),
        ("keyed", 2, "take that out"),
        ("far", 2, "is not https"),
    ] {
        let said = place
            .gpak(&["tools", "login", "--no-browser", server])
            .with_code(code);
        assert!(said.err.contains(part), "{server}: {}", said.err);
    }
    let said = place.gpak(&["tools", "logout", "far"]).with_code(0);
    assert!(said.out.contains("nobody was logged in"), "{}", said.out);
}

#[test]
fn nobody_who_logs_in_is_waited_for_no_longer_than_was_said() {
    let (_issuer, place) = ready();
    let said = place
        .gpak(&["tools", "login", "issues", "--timeout", "0"])
        .with_code(1);
    assert!(
        said.err.contains("nobody logged in within 0 s"),
        "{}",
        said.err
    );
    assert!(said.err.contains("/authorize?"), "{}", said.err);
}
