//! Robots that warn each other: each is a process of its own, with its own reflexes; one peer is PyPI's
//! `eclipse-zenoh`.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    place::{Place, call, finish},
    serve::python::python,
};

/// A long hall; the robot starts at its left, or just before where its floor ends.
fn hall(at: f32, cliff: bool) -> String {
    let cliff = if cliff {
        "[[cliffs]]\nfrom = [7.0, 0.0]\nto = [8.0, 4.0]\n"
    } else {
        ""
    };
    format!("name = \"hall\"\nsize_m = [12.0, 4.0]\n[robot]\nat = [{at}, 2.0]\n{cliff}")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn key(place: &Place) -> String {
    place
        .gpak(&["robot", "key", "node.key"])
        .with_code(0)
        .out
        .trim()
        .to_owned()
}

fn on_mesh(place: &Place, name: &str, port: u16, others: &[u16], trusted: &[String]) {
    let connect: Vec<String> = others
        .iter()
        .map(|port| format!("tcp/127.0.0.1:{port}"))
        .collect();
    place.write(
        "mesh.toml",
        &format!(
            "name = \"{name}\"\nkey = \"node.key\"\nlisten = [\"tcp/127.0.0.1:{port}\"]\nconnect = {connect:?}\n\
             trusted = {trusted:?}\n"
        ),
    );
}

/// A robot that goes to a place, in a process of its own.
fn goes(place: &Place, x_m: f32, within_s: u32) -> Child {
    does(
        place,
        &[
            call(
                "go_to",
                json!({"x_m": x_m, "y_m": 2.0, "within_s": within_s}),
            ),
            finish("went"),
        ],
    )
}

fn does(place: &Place, replies: &[Value]) -> Child {
    let model = place.script(replies);
    place
        .command()
        .args([
            "--json",
            "robot",
            "sim",
            "--yes",
            "--world",
            "w.toml",
            "--mesh",
            "mesh.toml",
        ])
        .args(["--model", model.as_str(), "go there"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What its sensors measured when it ended, and all that it said.
fn ended(child: Child) -> (Value, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // How its run ended is the mind's business: whether it had to say that it could not go on depends on where
    // the warning met it.
    let entries = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let measured = entries.filter(|entry| entry["event"]["type"] == "tool_finished");
    let measured =
        measured.filter_map(|entry| entry.pointer("/event/outcome/output/data").cloned());
    let first = measured.into_iter().next();
    (
        first.unwrap_or_else(|| panic!("nothing was measured:\n{said}")),
        said,
    )
}

#[test]
fn one_of_three_robots_sees_a_cliff_and_the_others_stop() {
    let places = [Place::new(), Place::new(), Place::new()];
    let keys: Vec<String> = places.iter().map(key).collect();
    let ports = [free_port(), free_port(), free_port()];
    for (index, place) in places.iter().enumerate() {
        place.write(
            "w.toml",
            &hall(if index == 0 { 5.5 } else { 1.0 }, index == 0),
        );
        on_mesh(
            place,
            &format!("r{index}"),
            ports[index],
            &ports[..index],
            &keys,
        );
    }
    // The first is at the edge, cannot go on, and stays there while the others come.
    let first = does(
        &places[0],
        &[
            call("go_to", json!({"x_m": 6.75, "y_m": 2.0, "within_s": 25})),
            call("wait_for", json!({"what": "person", "within_s": 25})),
            finish("went"),
            finish("It could not be reached."),
        ],
    );
    let others: Vec<Child> = places[1..]
        .iter()
        .map(|place| goes(place, 11.0, 25))
        .collect();
    let others: Vec<_> = others.into_iter().map(ended).collect();
    let (_, said) = ended(first);
    assert!(said.contains("held it back for: cliff"), "{said}");
    assert!(said.contains("\"fell\":false"), "{said}");
    for (measured, said) in others {
        assert_ne!(measured["ended"], "done", "{measured}");
        let x_m = measured["pose"]["x_m"].as_f64().unwrap();
        assert!((1.5..5.6).contains(&x_m), "{measured}");
        assert!(said.contains("peer r0 warns of cliff"), "{said}");
    }
}

const PEER: &str = r#"
import json, sys, time, zenoh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
port, stop_after = sys.argv[1], float(sys.argv[2])
good, stranger = Ed25519PrivateKey.from_private_bytes(b'\x01' * 32), Ed25519PrivateKey.from_private_bytes(b'\x02' * 32)
name = lambda key: key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
if port == 'key':
    print(name(good)); sys.exit()
def message(key, sender, sequence, x):
    now = int(time.time() * 1000)
    said = json.dumps({'epoch': start, 'sequence': sequence, 'at_ms': now, 'what': {'type': 'hazard', 'kind': 'cliff',
        'stop': True, 'x_m': x, 'y_m': 2.0, 'radius_m': 1.5, 'ttl_ms': 1500}})
    signature = key.sign(b'gpak.mesh.1\0' + said.encode()).hex()
    return json.dumps({'from': name(sender), 'said': said, 'signature': signature})
start = int(time.time() * 1000)
config = zenoh.Config()
config.insert_json5('mode', '"peer"')
config.insert_json5('scouting/multicast/enabled', 'false')
config.insert_json5('listen/endpoints', '["tcp/127.0.0.1:%s"]' % port)
heard = set()
with zenoh.open(config) as session:
    def hear(sample):
        envelope = json.loads(sample.payload.to_string())
        heard.add(json.loads(envelope['said'])['what']['type'])
    session.declare_subscriber('swarm/**', hear)
    print('ready', flush=True)
    n, end = 0, time.time() + stop_after
    while time.time() < end:
        n += 1
        # A stranger, and a forger in our name, would stop it where it stands.
        session.put('swarm/hazards/cliff', message(stranger, stranger, n, 1.0))
        session.put('swarm/hazards/cliff', message(stranger, good, n, 1.0))
        session.put('swarm/hazards/cliff', message(good, good, n, 7.0))
        time.sleep(0.25)
print(' '.join(sorted(heard)))
"#;

#[test]
fn a_peer_written_in_python_stops_a_robot_and_a_stranger_does_not() {
    let python = python("eclipse-zenoh==1.10.2 cryptography==50.0.2");
    let peer = |args: [&str; 2]| {
        let mut command = Command::new(&python);
        command.args(["-c", PEER]).args(args).stdout(Stdio::piped());
        command
    };
    let theirs = peer(["key", "0"]).output().unwrap();
    let theirs = String::from_utf8(theirs.stdout).unwrap().trim().to_owned();
    let place = Place::new();
    key(&place);
    let port = free_port();
    place.write("w.toml", &hall(1.0, false));
    on_mesh(&place, "r1", free_port(), &[port], &[theirs]);
    let mut child = peer([&port.to_string(), "45"]).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let (measured, heard) = ended(goes(&place, 11.0, 25));
    assert!(heard.contains("warns of cliff"), "{heard}");
    let x_m = measured["pose"]["x_m"].as_f64().unwrap();
    assert!((3.0..5.6).contains(&x_m), "{measured}");
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(line.contains("presence"), "{line}");
    assert!(child.wait().unwrap().success());
}
