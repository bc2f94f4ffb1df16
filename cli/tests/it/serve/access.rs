//! Credentials: had, shown, refused, revoked, rotated.

use std::io::Write;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::house::{Answer, Service};
use crate::place::finish;

fn service() -> Service {
    Service::saying(&[finish("ok")])
}

/// A user with a password, as `gpak serve users add` makes one.
fn add(service: &Service, name: &str, role: &str, password: &str) -> i32 {
    let mut child = service
        .place
        .command()
        .args(["serve", "users", "add", name, "--role", role])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    child.wait().unwrap().code().unwrap()
}

fn login(service: &Service, user: &str, password: &str) -> Answer {
    let body = json!({"user": user, "password": password});
    service.request("POST", "/auth/login", &[], body)
}

fn refresh(service: &Service, token: &Value, more: Value) -> Answer {
    let mut body = json!({"refresh_token": token});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    service.request("POST", "/auth/refresh", &[], body)
}

fn me(service: &Service, token: &Value) -> Answer {
    service.ask_as(token.as_str().unwrap(), "GET", "/api/v1/me", Value::Null)
}

#[test]
fn every_request_takes_a_credential_on_this_machine_too() {
    let service = service();
    for (method, path) in [
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/runs"),
        ("GET", "/api/v1/approvals"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/docs/"),
        ("GET", "/no/such/thing"),
        ("POST", "/healthz"),
    ] {
        let answer = service.request(method, path, &[], Value::Null);
        assert_eq!(answer.status, 401, "{method} {path}");
        assert!(answer.header("www-authenticate").is_some());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert!(answer.json()["help"].as_str().unwrap().contains("keys add"));
    }
    for credential in [
        "Bearer gpak_wrong",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ] {
        let headers = [("authorization", credential)];
        let answer = service.request("GET", "/api/v1/me", &headers, Value::Null);
        assert_eq!(answer.status, 401, "{credential}");
    }
    for path in ["/healthz", "/readyz"] {
        service.request("GET", path, &[], Value::Null).with(200);
    }
}

#[test]
fn a_password_gets_tokens_and_a_wrong_one_does_not() {
    let service = service();
    assert_eq!(add(&service, "ann", "operator", "short"), 2, "too short");
    assert_eq!(add(&service, "ann", "operator", "correct horse battery"), 0);
    assert_eq!(
        add(&service, "ann", "operator", "correct horse battery"),
        2,
        "there already"
    );
    let tokens = login(&service, "ann", "correct horse battery").with(200);
    let who = me(&service, &tokens["access_token"]).with(200);
    assert_eq!(who, json!({"name": "ann", "role": "operator"}));
    // A refresh token is no access token, and the other way round.
    me(&service, &tokens["refresh_token"]).with(401);
    refresh(&service, &tokens["access_token"], json!({})).with(401);
    for (user, password) in [
        ("ann", "wrong horse battery"),
        ("bob", "correct horse battery"),
        ("admin", ""),
        ("ann", &"x".repeat(5000)),
    ] {
        let answer = login(&service, user, password);
        assert!(matches!(answer.status, 401 | 422), "{user}: {answer:?}");
    }
    service
        .place
        .gpak(&["serve", "users", "remove", "ann"])
        .with_code(0);
    me(&service, &tokens["access_token"]).with(401);
    refresh(&service, &tokens["refresh_token"], json!({})).with(401);
}

#[test]
fn a_refresh_token_is_good_once_and_used_twice_ends_its_family() {
    let service = service();
    add(&service, "ann", "operator", "correct horse battery");
    let first = login(&service, "ann", "correct horse battery").with(200);
    let second = refresh(&service, &first["refresh_token"], json!({})).with(200);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    // The answer was lost, and the client asks again at once: the same token, and no harm.
    let again = refresh(&service, &first["refresh_token"], json!({})).with(200);
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    let third = refresh(&service, &second["refresh_token"], json!({})).with(200);
    me(&service, &third["access_token"]).with(200);
    // The first is two turns old: somebody else has it.
    refresh(&service, &first["refresh_token"], json!({})).with(401);
    refresh(&service, &third["refresh_token"], json!({})).with(401);
    me(&service, &third["access_token"]).with(401);
    // Another login of the same user is not touched.
    let other = login(&service, "ann", "correct horse battery").with(200);
    me(&service, &other["access_token"]).with(200);
}

#[test]
fn a_refresh_gives_no_more_than_the_login_had() {
    let service = service();
    add(&service, "ann", "operator", "correct horse battery");
    let tokens = login(&service, "ann", "correct horse battery").with(200);
    refresh(&service, &tokens["refresh_token"], json!({"role": "admin"})).with(403);
    let fresh = login(&service, "ann", "correct horse battery").with(200);
    let less = refresh(&service, &fresh["refresh_token"], json!({"role": "viewer"})).with(200);
    let access = less["access_token"].as_str().unwrap();
    assert_eq!(less["role"], "viewer");
    let run = json!({"task": "do it"});
    service
        .ask_as(access, "POST", "/api/v1/runs", run)
        .with(403);
    service
        .ask_as(access, "GET", "/api/v1/runs", Value::Null)
        .with(200);
}

#[test]
fn a_token_of_another_service_does_not_count_here() {
    let (here, there) = (service(), service());
    add(&there, "admin2", "admin", "correct horse battery");
    add(&here, "admin2", "admin", "correct horse battery");
    let tokens = login(&there, "admin2", "correct horse battery").with(200);
    me(&there, &tokens["access_token"]).with(200);
    me(&here, &tokens["access_token"]).with(401);
    refresh(&here, &tokens["refresh_token"], json!({})).with(401);
    here.ask_as(&there.key, "GET", "/api/v1/me", Value::Null)
        .with(401);
    // One that was changed does not count either.
    let token = tokens["access_token"].as_str().unwrap();
    let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts[1] = parts[1].replace(|c: char| c.is_ascii_digit(), "A");
    me(&there, &json!(parts.join("."))).with(401);
}

/// A token with another end, signed as the service signs.
fn ending(service: &Service, token: &Value, end: impl Fn(i64) -> i64) -> Value {
    let store = rusqlite::Connection::open(service.place.home().join("data/serve.db")).unwrap();
    let sql = "SELECT value FROM secrets WHERE name = 'jwt'";
    let key: Vec<u8> = store.query_row(sql, [], |row| row.get(0)).unwrap();
    let parts: Vec<_> = token.as_str().unwrap().split('.').collect();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["exp"] = end(claims["exp"].as_i64().unwrap()).into();
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let signed = format!("{}.{claims}", parts[0]);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(signed.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    json!(format!("{signed}.{signature}"))
}

#[test]
fn a_token_that_has_run_out_does_not_count() {
    let service = service();
    add(&service, "ann", "admin", "correct horse battery");
    let tokens = login(&service, "ann", "correct horse battery").with(200);
    let (access, again) = (&tokens["access_token"], &tokens["refresh_token"]);
    me(&service, &ending(&service, access, |end| end)).with(200);
    me(&service, &ending(&service, access, |_| 1_700_000_000)).with(401);
    let late = ending(&service, again, |_| 1_700_000_000);
    refresh(&service, &late, json!({})).with(401);
    // It was not taken for one that is used twice: the family is good still.
    refresh(&service, again, json!({})).with(200);
}

#[test]
fn keys_are_made_listed_and_revoked_and_never_reach_further_than_their_maker() {
    let service = service();
    let operator = service.user("ann", "operator");
    let made = service.ask_as(&operator, "POST", "/api/v1/keys", json!({"role": "admin"}));
    made.with(403);
    let made = service.ask_as(
        &operator,
        "POST",
        "/api/v1/keys",
        json!({"name": "ci", "days": 1}),
    );
    let made = made.with(201);
    let key = made["key"].as_str().unwrap();
    assert_eq!(me(&service, &made["key"]).with(200)["role"], "operator");
    let listed = service.ask_as(key, "GET", "/api/v1/keys", Value::Null);
    assert!(!listed.text.contains(key), "a key is shown once");
    let listed = listed.with(200);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["user"] == "ann"),
        "{listed}"
    );
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let other = service.user("bob", "operator");
    service
        .ask_as(&other, "DELETE", &path, Value::Null)
        .with(404);
    service
        .ask_as(&operator, "DELETE", &path, Value::Null)
        .with(204);
    me(&service, &made["key"]).with(401);

    let list = service
        .place
        .gpak(&["serve", "keys", "list", "--user", "bob"])
        .with_code(0)
        .out;
    let id = list.split_whitespace().next().unwrap();
    service
        .place
        .gpak(&["serve", "keys", "revoke", id])
        .with_code(0);
    me(&service, &json!(other)).with(401);
    service
        .ask_as(&operator, "GET", "/api/v1/users", Value::Null)
        .with(403);
    let users = service.get("/api/v1/users").with(200);
    assert_eq!(users.as_array().unwrap().len(), 3);
}

#[test]
fn the_first_link_signs_a_browser_in_once() {
    let service = service();
    let link = service.link.clone().unwrap();
    let path = link.strip_prefix(&service.url).unwrap();
    let opened = service.request("GET", path, &[], Value::Null);
    assert_eq!(opened.status, 303, "{opened:?}");
    let cookie = opened.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let session = cookie.split(';').next().unwrap();
    let with = |more: &[(&str, &str)]| {
        let mut headers = vec![("cookie", session)];
        headers.extend(more);
        service.request("GET", "/api/v1/me", &headers, Value::Null)
    };
    assert_eq!(with(&[]).with(200)["role"], "admin");
    assert_eq!(with(&[("origin", "https://evil.example")]).status, 403);
    assert_eq!(
        service.request("GET", path, &[], Value::Null).status,
        401,
        "once"
    );
    // A session is no key, and a link is none either.
    let secret = session.split('=').nth(1).unwrap();
    service
        .ask_as(secret, "GET", "/api/v1/me", Value::Null)
        .with(401);

    let said = service
        .place
        .gpak(&["serve", "link", "--url", &service.url])
        .with_code(0);
    let token = said.out.trim().split('=').nth(1).unwrap().to_owned();
    let body = json!({"token": token});
    let tokens = service
        .request("POST", "/auth/login", &[], body.clone())
        .with(200);
    me(&service, &tokens["access_token"]).with(200);
    service.request("POST", "/auth/login", &[], body).with(401);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let service = Service::with(
        crate::place::Place::new(),
        &[finish("ok")],
        &["--rate", "5"],
    );
    let operator = service.user("ann", "operator");
    let ask = || service.ask_as(&operator, "GET", "/api/v1/me", Value::Null);
    let refused = (0..200).map(|_| ask()).find(|answer| answer.status == 429);
    let refused = refused.expect("two hundred requests in a moment are too many");
    assert!(refused.header("retry-after").is_some());
    // Others are not held up by that.
    service.get("/api/v1/me").with(200);
    let guess = || login(&service, "ann", "some wrong guess");
    assert!(
        (0..60).any(|_| guess().status == 429),
        "passwords can be guessed for ever"
    );
}

#[test]
fn nobody_else_reads_the_hashes_and_no_secret_is_in_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let service = service();
    add(&service, "ann", "operator", "correct horse battery");
    let path = service.place.home().join("data/serve.db");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    for file in ["serve.db", "serve.db-wal"] {
        let bytes = std::fs::read(service.place.home().join("data").join(file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(&service.key) && !text.contains("correct horse"),
            "{file}"
        );
    }
}
