//! `gpak robot run`: the same kernel, reflexes and missions over drivers of other bodies, whose other end is a process
//! of Python; behaviour trees in place of a mind; and what is refused before anything moves.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    place::{Place, call, finish},
    serve::python::python,
};

const ROBOT: &str = include_str!("../../../edge/tests/it/drivers/robot.py");

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/robots")
        .join(name)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What another robot's file says, with those lines in place of others.
fn changed(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(example(name)).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    text
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A mission over a body in Python: what gpak said, and what the body was told.
fn mission(
    place: &Place,
    kind: &str,
    address: &str,
    replies: &[Value],
) -> (Vec<Value>, Vec<String>) {
    let mut body = Command::new(python(
        "eclipse-zenoh==1.10.2 rosbags==0.11.9 pymavlink==2.4.50",
    ))
    .args(["-c", ROBOT, kind, address])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut out = BufReader::new(body.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert_eq!(first, "ready\n");
    let model = place.script(replies);
    let said = place
        .gpak(&[
            "--json", "robot", "run", "--yes", "--out", "out", "--model", &model, "go there",
        ])
        .with_code(0);
    // Its standard input ends: so does it.
    drop(body.stdin.take());
    let told: Vec<String> = out.lines().map(Result::unwrap).collect();
    body.wait().unwrap();
    (lines(&said.out), told)
}

fn went_there(place: &Place, said: &[Value], told: &[String]) {
    let measured = said.iter().find_map(|entry| {
        let data = entry.pointer("/event/outcome/output/data")?;
        (entry["event"]["type"] == "tool_finished").then_some(data)
    });
    let measured = measured.unwrap_or_else(|| panic!("nothing was measured: {said:?}"));
    assert_eq!(measured["ended"], "done", "{measured}");
    let at = |name: &str| measured["pose"][name].as_f64().unwrap();
    assert!((at("x_m") - 3.0).hypot(at("y_m") - 3.5) < 0.4, "{measured}");
    let motions: Vec<&String> = told.iter().filter(|line| line.starts_with("cmd")).collect();
    assert!(motions.len() > 3, "{told:?}");
    assert_eq!(*motions.last().unwrap(), "cmd 0.000 0.000");
    let fastest = motions.iter().map(|line| {
        let speed = line.split(' ').nth(1).unwrap();
        speed.parse::<f64>().unwrap().abs()
    });
    assert!(fastest.fold(0.0, f64::max) <= 0.31, "{motions:?}");
    let replayed = place
        .gpak(&["--json", "robot", "replay", "out/mission.mcap"])
        .with_code(0);
    let replayed = &lines(&replayed.out)[0];
    assert_eq!(replayed["replay"]["same"], true);
    for channel in ["/scan", "/odom", "/imu", "/battery", "/contact"] {
        assert!(
            replayed["channels"][channel].as_u64().unwrap_or_default() > 0,
            "{channel}: {replayed}"
        );
    }
}

#[test]
fn a_robot_over_ros_2_goes_where_it_is_sent_under_its_reflexes() {
    let place = Place::new();
    let port = free_port().to_string();
    let connect = format!("tcp/127.0.0.1:{port}");
    let robot = changed("ros2.robot.toml", &[("tcp/127.0.0.1:7447", &connect)]);
    place.write("robot.toml", &robot);
    let replies = [
        call("go_to", json!({"x_m": 3.0, "y_m": 3.5, "within_s": 60})),
        finish("I am there."),
    ];
    let (said, told) = mission(&place, "ros2", &port, &replies);
    went_there(&place, &said, &told);
}

#[test]
fn a_vehicle_over_mavlink_goes_where_it_is_sent_and_is_disarmed() {
    let place = Place::new();
    let port = free_port().to_string();
    let robot = changed(
        "mavlink.robot.toml",
        &[
            ("0.0.0.0:14550", &format!("127.0.0.1:{port}")),
            ("arm = false", "arm = true"),
        ],
    );
    place.write("robot.toml", &robot);
    let replies = [
        call("go_to", json!({"x_m": 3.0, "y_m": 3.5, "within_s": 60})),
        finish("I am there."),
    ];
    let address = format!("udpout:127.0.0.1:{port}");
    let (said, told) = mission(&place, "mavlink", &address, &replies);
    went_there(&place, &said, &told);
    let armed: Vec<&String> = told.iter().filter(|line| line.contains("armed")).collect();
    assert_eq!(armed, ["armed", "disarmed"]);
}

#[test]
fn a_robot_that_could_not_stop_in_time_or_lacks_a_sensor_is_refused_with_what_to_do() {
    let place = Place::new();
    let try_it = |text: &str, saying: &[&str]| {
        place.write("robot.toml", text);
        place
            .gpak(&["robot", "run", "--model", "scripted/none", "go"])
            .with_code(2)
            .saying(saying);
    };
    let ros2 = |changes| changed("ros2.robot.toml", changes);
    // Its wheels are slower to brake than its cliff sensor sees.
    try_it(
        &ros2(&[("forward_mps = 0.3", "forward_mps = 0.5")]),
        &[
            "cliff sensor sees 0.12 m",
            "lower reflex.body.forward_mps to 0.",
        ],
    );
    try_it(
        &ros2(&[("reach_m = 8.0", "reach_m = 0.5")]),
        &["its scanner sees 0.25 m", "lower reflex.body.forward_mps"],
    );
    try_it(
        &ros2(&[("motor_ms = 60", "motor_ms = 6")]),
        &["motor_ms is 6", "raise reflex.tick_hz"],
    );
    try_it(
        &ros2(&[("cliff = \"cliff\"", "#"), ("bumper = \"bumper\"", "#")]),
        &["[reflex.contact]", "driver.ros2.cliff"],
    );
    try_it(
        &changed("mavlink.robot.toml", &[("cliff_m = 0.3 ", "# ")]),
        &["driver.mavlink.cliff_m"],
    );
    try_it(
        &ros2(&[("say = \"say\"", "voice = \"say\"")]),
        &["voice", "line 1"],
    );
    try_it("name = \"x\"\n[driver.wheels]\n", &["wheels", "ros2"]);
    try_it("name = \"x\"\n[driver.ros2]\n", &["no table [reflex]"]);
}

#[test]
fn a_tree_of_a_file_leads_a_robot_without_a_mind() {
    let place = Place::new();
    let robot = example("sim.robot.toml").display().to_string();
    let tree = example("rescue.tree.toml").display().to_string();
    let args = ["--json", "robot", "run", "--robot", &robot, "--tree", &tree];
    let said = place
        .gpak(&[&args[..], &["--out", "out"]].concat())
        .with_code(0);
    let said = lines(&said.out);
    let ended = said.last().unwrap();
    assert_eq!(ended, &json!({"tree": "rescue", "ended": "succeeded"}));
    let robot = said.iter().find_map(|line| line.get("robot")).unwrap();
    assert_eq!(robot["said"][0]["heard_by"], json!(["Ana"]), "{robot}");
    let actions: Vec<_> = said
        .iter()
        .filter_map(|line| line["action"].as_str())
        .collect();
    assert_eq!(actions, ["wait_for", "approach", "say"]);
    reads_with_mcap(&place);
}

const READ: &str = r#"
import json, sys
from mcap.reader import make_reader
counts, last = {}, 0
with open(sys.argv[1], 'rb') as file:
    reader = make_reader(file, validate_crcs=True)
    summary = reader.get_summary()
    for schema, channel, message in reader.iter_messages():
        counts[channel.topic] = counts.get(channel.topic, 0) + 1
        if channel.message_encoding == 'json':
            said = json.loads(message.data)
            if channel.topic == '/odom':
                assert set(said) == {'pose', 'twist'}, said
        assert message.log_time > 0
    stored = {summary.channels[id].topic: n for id, n in summary.statistics.channel_message_counts.items()}
    metadata = [m.name for m in reader.iter_metadata()]
assert stored == counts, (stored, counts)
print(json.dumps({'counts': counts, 'metadata': metadata}))
"#;

/// PyPI's `mcap` finds in it what gpak does.
fn reads_with_mcap(place: &Place) {
    let read = Command::new(python("mcap==1.6.0"))
        .args(["-c", READ])
        .arg(place.work().join("out/mission.mcap"))
        .output()
        .unwrap();
    let why = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{why}");
    let theirs: Value = serde_json::from_slice(&read.stdout).unwrap();
    let ours = place
        .gpak(&["--json", "robot", "replay", "out/mission.mcap"])
        .with_code(0);
    assert_eq!(theirs["counts"], lines(&ours.out)[0]["channels"]);
    assert_eq!(theirs["metadata"], json!(["gpak.reflex"]));
    for channel in ["/odom", "/scan", "/reflex/decisions", "/tree", "/heard"] {
        assert!(
            theirs["counts"][channel].as_u64().unwrap_or_default() > 0,
            "{channel}: {theirs}"
        );
    }
}

#[test]
fn a_tree_that_fails_or_is_none_says_so() {
    let place = Place::new();
    let world = example("rescue.toml").display().to_string();
    let tried = |tree: &str, code: i32, saying: &[&str]| {
        place.write("t.toml", tree);
        place
            .gpak(&["robot", "sim", "--world", &world, "--tree", "t.toml"])
            .with_code(code)
            .saying(saying);
    };
    tried(
        "name = \"t\"\n[root]\naction = \"fly\"\n",
        2,
        &["`fly`", "go_to"],
    );
    tried(
        "name = \"t\"\n[root]\ncondition = \"person_near\"\n",
        2,
        &["within_m"],
    );
    tried(
        "name = \"t\"\n[root]\naction = \"go_to\"\nx_m = 1\n",
        2,
        &["go_to", "y_m"],
    );
    let fails = "name = \"t\"\n[root]\nsequence = [{ action = \"turn\", to_deg = 20 }, { action = \"approach\", whom = \
                 \"person\" }]\n";
    tried(fails, 1, &["no person is in sight", "the tree t failed"]);
}
