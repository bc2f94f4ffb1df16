//! npm's `openai`, unmodified, on Node, against the service.

use std::fs;

use serde_json::json;

use super::{house::Service, python::run, runs::write};
use crate::{
    npm,
    place::{Place, finish, when},
};

const NPM: &[&str] = &["openai@7.57.0", "node@24.21.0"];

#[track_caller]
fn does(service: &Service, what: &str) {
    let folder = npm::folder("openai-npm", NPM);
    // Node looks for packages from where the script is.
    let script = folder.join(format!("{what}.mjs"));
    fs::write(&script, include_str!("openai.mjs")).unwrap();
    let mut node = npm::command(&folder, "node");
    node.arg(script).arg(what);
    node.env("URL", &service.url).env("KEY", &service.key);
    run(&mut node);
}

fn agent() -> Service {
    let script = [
        when("and now?", finish("and now this")),
        write("a.txt", "hi\n"),
        finish("made a.txt"),
        when("and now?", finish("and now this")),
    ];
    Service::with(Place::new(), &script, &["--yes"])
}

#[test]
fn chats_are_answered_and_streamed() {
    does(&agent(), "chat");
}

#[test]
fn responses_are_streamed_and_gone_on_from() {
    does(&agent(), "responses");
}

#[test]
fn a_chat_waits_for_what_the_clients_own_tools_give() {
    let weather = |city: &str| json!({"name": "get_weather", "args": {"city": city}});
    let both = json!({"calls": [weather("Oslo"), weather("Rome")]});
    does(&Service::saying(&[both, finish("sun everywhere")]), "tools");
}
