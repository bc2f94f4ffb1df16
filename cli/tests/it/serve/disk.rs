//! The disk fills up while the service is at work: nothing is lost, the client is told what is the matter,
//! and the service goes on by itself once there is room.
//!
//! The disk is a small file system of its own, mounted in a namespace that only the test's own process sees
//! and that ends with it.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{house::Service, runs::write};
use crate::place::{Place, call, finish};

#[test]
fn a_full_disk_stops_nothing_for_good_and_loses_nothing() {
    let may = Command::new("unshare")
        .args(["-rm", "true"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: it needs `unshare -rm`, which is not allowed here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=24m tmpfs \"$TMPDIR\" && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "serve::disk::child_serves_on_a_small_disk"])
        .args(["--ignored", "--nocapture"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Takes all the room there is.
fn fill(place: &Place) -> PathBuf {
    let ballast = place.work().parent().unwrap().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    for block in [1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
    ballast
}

/// Waits until the service's log says so.
fn until_log(place: &Place, says: &str) {
    let log = place.work().parent().unwrap().join("serve.log");
    loop {
        let log = fs::read_to_string(&log).unwrap();
        if log.contains(says) {
            return;
        }
        std::thread::yield_now();
    }
}

fn events(service: &Service, run: &str) -> Vec<Value> {
    let page = service.get(&format!("/api/v1/runs/{run}/events")).with(200);
    page["entries"].as_array().unwrap().clone()
}

#[test]
#[ignore = "run by a_full_disk_stops_nothing_for_good_and_loses_nothing"]
fn child_serves_on_a_small_disk() {
    // The command ends once it is told to, where there is always room to tell it.
    let sign = Path::new("/dev/shm").join(format!("gpak-test-{}", std::process::id()));
    let command = format!(
        "echo made >> log.txt; until test -e {}; do sleep 0.05; done",
        sign.display()
    );
    let waits = call("run_command", json!({"command": command}));
    let script = [waits, write("b.txt", "b\n"), finish("all done")];
    let service = Service::with(Place::new(), &script, &["--yes"]);
    let start = || service.post("/api/v1/runs", json!({"task": "do it"}));

    let run = start().with(201)["id"].as_str().unwrap().to_owned();
    while !service.place.work().join("log.txt").exists() {
        std::thread::yield_now();
    }
    let ballast = fill(&service.place);
    let before = events(&service, &run);

    // A request that needs room says what is the matter; those that need none are answered.
    let refused = start();
    let problem = refused.with(503);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("is full") && detail.contains("free some space"),
        "{problem}"
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(service.get("/healthz").status, 200);
    let unready = service.get("/readyz").with(503);
    assert!(
        unready["detail"].as_str().unwrap().contains("full"),
        "{unready}"
    );
    let runs = service.get("/api/v1/runs").with(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");

    // The run's call comes to its end, and there is no room for that.
    fs::write(&sign, "").unwrap();
    until_log(&service.place, "not driven, and tried again soon");
    assert_eq!(events(&service, &run), before, "nothing is half written");

    // Once there is room it goes on. What came of the command is not written down, and a person is asked.
    fs::remove_file(&ballast).unwrap();
    let asks = service.until(&run, |now| now["waits"][0]["kind"] == "in_doubt");
    let call = asks["waits"][0]["call"].as_str().unwrap();
    let decided = json!({"decision": "was_done"});
    let path = format!("/api/v1/approvals/{run}/{call}");
    assert!(service.post(&path, decided).status < 300);
    let done = service.until(&run, |now| now["status"] == "completed");
    assert_eq!(done["answer"], "all done");
    assert_eq!(service.place.read("b.txt"), "b\n");
    assert_eq!(service.place.read("log.txt"), "made\n", "made once");
    assert_eq!(service.get("/readyz").status, 200);
    start().with(201);
    service.place.gpak(&["runs", "verify"]).with_code(0);
    fs::remove_file(&sign).unwrap();
}
