//! A robot that lives, asked and overridden by a person: over the service's API, at the command line, by its peers,
//! and in a terminal.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{place::Place, serve::house::Service, tmux::Terminal};

const HALL: &str = "name = \"hall\"\nsize_m = [12.0, 6.0]\n[robot]\nat = [2.0, 3.0]\n";
/// Nobody ever speaks there.
const WAITS: &str =
    "name = \"waits\"\n[root]\naction = \"wait_for\"\nwhat = \"voice\"\nwithin_s = 170\n";
const DRIVES: &str = "name = \"drives\"\n[root]\naction = \"go_to\"\nx_m = 10.0\ny_m = 3.0\n";

/// How long anything here may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A robot in a process of its own, until it is dropped.
struct Robot(Child);

impl Robot {
    fn start(place: &Place, tree: &str, more: &[&str]) -> Self {
        place.write("w.toml", HALL);
        place.write("t.toml", tree);
        let args = [
            "--json", "robot", "sim", "--world", "w.toml", "--tree", "t.toml",
        ];
        let child = place
            .command()
            .args(args)
            .args(more)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn killed(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn until<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = so() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The service's status, once its mode is that.
#[track_caller]
fn until_mode(service: &Service, mode: &str) -> Value {
    until(mode, || {
        let status = service.get("/status").with(200);
        (status["mode"] == mode).then_some(status)
    })
}

fn x_m(service: &Service) -> f64 {
    let measured = service.get("/api/v1/telemetry").with(200);
    measured["pose"]["x_m"].as_f64().unwrap()
}

fn override_(service: &Service, body: Value) -> Value {
    service.post("/api/v1/override", body).with(200)
}

#[test]
fn a_person_drives_a_robot_as_long_as_they_hold_on_and_it_stands_when_they_let_go() {
    let service = Service::saying(&[]);
    let drive = |speed: f64| json!({"command": "drive", "linear_mps": speed, "hold_ms": 400});
    let nobody = service.post("/api/v1/override", drive(0.2)).with(409);
    assert!(nobody["detail"].as_str().unwrap().contains("no body"));
    let _robot = Robot::start(&service.place, WAITS, &[]);
    let status = until_mode(&service, "rests");
    assert_eq!(status["body"]["driver"], "simulator", "{status}");
    assert_eq!(status["body"]["lifecycle"], "active");
    assert_eq!(status["body"]["task"], "tree waits");
    assert!(status["notes"][0].as_str().unwrap().contains("no mesh"));
    let measured = service.get("/api/v1/telemetry").with(200);
    assert_eq!(measured["body"]["latched"], false, "{measured}");
    assert!(measured["battery"].as_f64().unwrap() > 0.5);
    let nearest = measured["body"]["nearest_m"].as_f64().unwrap();
    assert!((1.5..3.5).contains(&nearest), "{measured}");

    let viewer = service.user("eve", "viewer");
    service
        .ask_as(&viewer, "POST", "/api/v1/override", drive(0.2))
        .with(403);
    let body = drive(0.2);
    service
        .request("POST", "/api/v1/override", &[], body)
        .with(401);

    let before = x_m(&service);
    let told = override_(&service, drive(9.0));
    assert_eq!(told["body"]["capped"], true, "{told}");
    let wished = told["body"]["wished"]["linear_mps"].as_f64().unwrap();
    assert!((wished - 0.3).abs() < 1e-6, "{told}");
    until("its way ahead", || {
        let told = override_(&service, drive(0.2));
        assert_eq!(told["body"]["capped"], false, "{told}");
        (x_m(&service) > before + 0.1).then_some(())
    });
    // Nobody asks any more: it stands, and its mission does not go on by itself.
    until_mode(&service, "held");
    until("a stand", || {
        let measured = service.get("/api/v1/telemetry").with(200);
        let twist = &measured["body"]["odometry"]["twist"];
        (twist["linear_mps"] == 0.0).then_some(())
    });
    let stands = x_m(&service);
    assert_eq!(x_m(&service), stands);
    let too_long = json!({"command": "drive", "linear_mps": 0.1, "hold_ms": 60_000});
    assert_eq!(override_(&service, too_long)["body"]["for_ms"], 500);
    override_(&service, json!({"command": "release"}));
    until_mode(&service, "rests");
}

#[test]
fn what_a_person_does_to_a_robot_is_in_the_log_as_it_happens() {
    let service = Service::saying(&[]);
    let _robot = Robot::start(&service.place, WAITS, &[]);
    until_mode(&service, "rests");
    let mut connection = service.connect();
    write!(
        connection,
        "GET /api/v1/logs HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        service.host(),
        service.key
    )
    .unwrap();
    let mut lines = BufReader::new(connection).lines();
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    std::thread::scope(|scope| {
        let service = &service;
        // Until it is read: when the stream began to listen is not known.
        let asking = scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                override_(service, json!({"command": "hold"}));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let found = lines.find_map(|line| {
            let line = line.unwrap();
            let data = line.strip_prefix("data: ").or(line.strip_prefix("data:"))?;
            let said: Value = serde_json::from_str(data).ok()?;
            (said["body"]["channel"] == "/override").then_some(said)
        });
        done.store(true, std::sync::atomic::Ordering::Release);
        asking.join().unwrap();
        let found = found.unwrap();
        assert_eq!(found["body"]["what"]["ask"], "hold", "{found}");
        assert_eq!(found["body"]["what"]["by"], "admin", "{found}");
    });
}

#[test]
fn an_e_stop_holds_over_a_restart_until_a_person_says_why_it_may_move_again() {
    let service = Service::saying(&[]);
    let place = &service.place;
    let out = ["--out", "out"];
    let robot = Robot::start(place, DRIVES, &out);
    until_mode(&service, "moves");
    override_(&service, json!({"command": "estop"}));
    let status = until_mode(&service, "e_stop");
    assert_eq!(status["body"]["task"], "tree drives");
    let drive = json!({"command": "drive", "linear_mps": 0.1});
    let refused = service.post("/api/v1/override", drive).with(409);
    assert!(refused["detail"].as_str().unwrap().contains("e-stop holds"));
    place
        .gpak(&["robot", "status"])
        .with_code(0)
        .saying(&["E-STOP", "gpak robot release"]);
    robot.killed();
    until("that it is gone", || {
        let status = service.get("/status").with(200);
        status["body"].is_null().then_some(())
    });

    let _robot = Robot::start(place, DRIVES, &out);
    until_mode(&service, "e_stop");
    service
        .post("/api/v1/override", json!({"command": "release_estop"}))
        .with(409);
    let release = ["robot", "release", "--reason", "the cable is away"];
    place.gpak(&release).with_code(2).saying(&["--yes"]);
    until_mode(&service, "e_stop");
    place
        .gpak(&[&release[..], &["--yes"]].concat())
        .with_code(0)
        .saying(&["is released"]);
    until_mode(&service, "held");
    let reasons = std::fs::read_to_string(place.home().join("data/robot/releases.jsonl")).unwrap();
    assert!(reasons.contains("the cable is away"), "{reasons}");
    place
        .gpak(&[&release[..], &["--yes"]].concat())
        .with_code(1)
        .saying(&["no e-stop holds"]);
    let before = x_m(&service);
    override_(&service, json!({"command": "release"}));
    until("that the mission goes on", || {
        (x_m(&service) > before + 0.2).then_some(())
    });

    // At the command line, and released over the API.
    place.gpak(&["robot", "stop"]).with_code(0);
    until_mode(&service, "e_stop");
    let why = json!({"command": "release_estop", "reason": "nobody is near"});
    override_(&service, why);
    until_mode(&service, "held");
    let reasons = std::fs::read_to_string(place.home().join("data/robot/releases.jsonl")).unwrap();
    assert!(reasons.contains("nobody is near"), "{reasons}");
}

#[test]
fn the_e_stop_of_a_robot_that_is_not_there_is_released_by_its_file() {
    let place = Place::new();
    place.write("hall.toml", HALL);
    place.write(
        "robot.toml",
        "name = \"bo\"\n[driver.sim]\nworld = \"hall.toml\"\n",
    );
    let release = [
        "robot",
        "release",
        "--robot",
        "robot.toml",
        "--reason",
        "looked",
        "--yes",
    ];
    place
        .gpak(&release)
        .with_code(1)
        .saying(&["no e-stop of bo"]);
    place
        .gpak(&["robot", "release", "--reason", "looked", "--yes"])
        .with_code(1)
        .saying(&["no robot", "--robot"]);
    place.gpak(&["robot", "stop"]).with_code(1);
    place.write("t.toml", WAITS);
    let args = ["--json", "robot", "run", "--tree", "t.toml"];
    let robot = place.command().args(args).stdout(Stdio::null()).spawn();
    let robot = Robot(robot.unwrap());
    until("the stop", || {
        let said = place.gpak(&["robot", "stop"]);
        (said.code == 0).then_some(())
    });
    let latch = place.home().join("data/robot/bo.e-stop");
    until("the e-stop on disk", || latch.exists().then_some(()));
    place.gpak(&release).with_code(2).saying(&["bo lives now"]);
    robot.killed();
    assert!(latch.exists());
    place.gpak(&release).with_code(0).saying(&["is released"]);
    assert!(!latch.exists());
}

#[test]
fn peers_see_how_a_robot_is() {
    let (one, other) = (Place::new(), Place::new());
    let key = |place: &Place| {
        let said = place.gpak(&["robot", "key", "node.key"]).with_code(0);
        said.out.trim().to_owned()
    };
    let (ours, theirs) = (key(&one), key(&other));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mesh = |name: &str, trusted: &str, way: &str| {
        format!(
            "name = \"{name}\"\nkey = \"node.key\"\ntrusted = [\"{trusted}\"]\n{way} = [\"tcp/127.0.0.1:{port}\"]\n"
        )
    };
    one.write("mesh.toml", &mesh("r1", &theirs, "listen"));
    other.write("mesh.toml", &mesh("watcher", &ours, "connect"));
    let _robot = Robot::start(&one, WAITS, &["--mesh", "mesh.toml"]);
    let peers = ["robot", "peers", "--mesh", "mesh.toml", "--listen", "2"];
    let found = until("the robot's telemetry", || {
        let said = other.gpak(&[&["--json"], &peers[..]].concat()).with_code(0);
        let peer: Value = serde_json::from_str(said.out.lines().next()?).unwrap();
        (!peer["telemetry"].is_null() && !peer["presence"].is_null()).then_some(peer)
    });
    assert_eq!(
        (&found["peer"], &found["key"]),
        (&json!("r1"), &json!(ours))
    );
    assert_eq!(found["telemetry"]["latched"], false, "{found}");
    assert_eq!(found["refused"], 0, "{found}");
    let x_m = &found["telemetry"]["odometry"]["pose"]["x_m"];
    assert!((x_m.as_f64().unwrap() - 2.0).abs() < 0.1, "{found}");
    other
        .gpak(&peers)
        .with_code(0)
        .saying(&["r1", "heard", "battery", "nearest thing"]);
    // A node that trusts nobody but itself sees strangers.
    other.write("mesh.toml", &mesh("watcher", &theirs, "connect"));
    let alone = other.gpak(&peers).with_code(0);
    assert!(alone.out.contains("messages of strangers"), "{alone:?}");
    assert!(!alone.out.contains("heard"), "{alone:?}");
}

#[test]
fn a_simulated_robot_is_seen_in_a_terminal_while_it_moves() {
    let place = Place::new();
    place.write("w.toml", HALL);
    place.write("t.toml", WAITS);
    let mut command = place.command();
    command.args(["robot", "sim", "--world", "w.toml", "--tree", "t.toml"]);
    command.args(["--render", "frames"]);
    let Some(terminal) = Terminal::run(place.work().join("tmux"), &command) else {
        eprintln!("SKIPPED: there is no tmux");
        return;
    };
    // Two pixels to a character; it may be looked at before all lines are drawn.
    terminal.wait("a picture", |screen| {
        let lines = screen.lines().filter(|line| line.contains('▀'));
        screen.matches('▀').count() > 200 && lines.count() > 8
    });
    until("frames", || {
        place
            .work()
            .join("frames/frame-00003.png")
            .exists()
            .then_some(())
    });
    terminal.press("C-c");
    terminal.sees("the tree waits interrupted");
    let frame = std::fs::read(place.work().join("frames/frame-00002.png")).unwrap();
    assert_eq!(&frame[1..4], b"PNG");
}
