//! The reflex process as its parent meets it: the real binary, a real board, real signals.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gpak_edge::{
    body::hal::{Battery, Contact, Imu, Odometry, Scan, Stamped, Twist},
    reflex::{
        arbiter::{Authority, Decision},
        clock::now,
        command::{SessionKey, Source},
        config::ReflexConfig,
        launch::{Launch, Pulse, wait_ready},
        process::Options,
        shm::Board,
        verdict::Cause,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const GPAK: &str = env!("CARGO_BIN_EXE_gpak");
const STILL: Twist = Twist {
    linear_mps: 0.0,
    angular_radps: 0.0,
};
/// Slow enough where the real-time class is not granted, too.
const SLOW: Twist = Twist {
    linear_mps: 0.1,
    angular_radps: 0.0,
};

/// A body whose sensors see an empty room until it is dropped.
struct Sensors {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sensors {
    fn of(board: &Board) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, board) = (Arc::clone(&stop), board.clone());
        let mut scan = board.scan_writer().unwrap();
        let mut odometry = board.odometry_writer().unwrap();
        let mut imu = board.imu_writer().unwrap();
        let mut battery = board.battery_writer().unwrap();
        let mut contact = board.contact_writer().unwrap();
        let room = Scan {
            angle_min_rad: -3.0,
            angle_step_rad: 6.0 / 360.0,
            range_min_m: 0.1,
            range_max_m: 12.0,
            ranges_m: vec![6.0; 360],
        };
        let run = move || {
            while !told.load(Ordering::Acquire) {
                scan.write(now(), &room).unwrap();
                odometry.write(&Stamped { at: now(), value: Odometry::default() });
                imu.write(&Stamped { at: now(), value: Imu::default() });
                battery.write(&Stamped { at: now(), value: Battery { charge: 0.9, voltage_v: 12.0 } });
                contact.write(&Stamped { at: now(), value: Contact::default() });
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        Self {
            stop,
            thread: Some(std::thread::spawn(run)),
        }
    }
}

impl Drop for Sensors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A folder with a configuration, and what the parent of reflexes has.
struct Robot {
    folder: tempfile::TempDir,
    board: Board,
    session: SessionKey,
}

impl Robot {
    /// Patient with a machine that is busy with other tests.
    fn config() -> ReflexConfig {
        let mut config = ReflexConfig::example();
        config.parent_ms = 1000;
        config.motor_ms = 200;
        config.scan.period_ms = 400;
        config.odometry.period_ms = 400;
        config.imu.as_mut().unwrap().period_ms = 400;
        config.contact.as_mut().unwrap().period_ms = 400;
        config.zones.clear_ms = 0;
        config
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), &Self::config());
        Self {
            folder,
            board: Board::create(360).unwrap(),
            session: SessionKey::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Reflexes {
        let launch = Launch {
            program: GPAK.into(),
            options: Options {
                board: self.board.path().to_path_buf(),
                config: self.path("robot.toml"),
                latch: self.path("e-stop"),
                log: Some(self.path("decisions")),
            },
        };
        let mut child = launch.start(&self.session).unwrap();
        assert!(wait_ready(&self.board, &mut child, Duration::from_secs(60)).unwrap());
        Reflexes(child)
    }

    /// Wishes that motion again and again until a decision is as it should be.
    fn wish_until(&self, source: Source, twist: Twist, done: impl Fn(&Decision) -> bool) -> Decision {
        let mut commander = self
            .board
            .commander(source, self.session.of(source))
            .unwrap();
        let mut decisions = self.board.decisions().from_now();
        until("a decision", || {
            commander.send(twist, Duration::from_millis(400));
            decisions.by_ref().map(|record| record.decision).find(&done)
        })
    }

    fn moves(&self) -> bool {
        self.board.wheels().twist(now()) != STILL
    }
}

/// The process, killed when dropped.
struct Reflexes(Child);

impl Reflexes {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Reflexes {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_config(folder: &Path, config: &ReflexConfig) {
    std::fs::write(folder.join("robot.toml"), config.to_robot().unwrap()).unwrap();
}

/// Waits for what must come; a minute is for a machine that hangs.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn pulse(board: &Board) -> Pulse {
    Pulse::start(board, Duration::from_millis(5), Duration::from_secs(600)).unwrap()
}

#[test]
fn the_body_moves_at_a_fresh_wish_and_stands_when_it_is_over() {
    let robot = Robot::new();
    let _sensors = Sensors::of(&robot.board);
    let _pulse = pulse(&robot.board);
    let _reflexes = robot.start();
    assert!(!robot.moves());
    let moved = robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    assert_eq!(moved.authority, Authority::Mission);
    // Nobody wishes any more, and what was wished is still in its slot.
    until("standing motors", || (!robot.moves()).then_some(()));
    assert!(robot.board.command(Source::Mission).is_some());
}

#[test]
fn a_sensor_that_falls_silent_and_a_parent_that_does_stop_the_body() {
    let robot = Robot::new();
    let sensors = Sensors::of(&robot.board);
    let pulse = pulse(&robot.board);
    let _reflexes = robot.start();
    robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    drop(sensors);
    let stale = robot.wish_until(Source::Mission, SLOW, |d| d.causes.has(Cause::SensorStale));
    assert_eq!((stale.authority, stale.twist), (Authority::HardReflex, STILL));
    let _sensors = Sensors::of(&robot.board);
    robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    drop(pulse);
    let alone = robot.wish_until(Source::Mission, SLOW, |d| d.causes.has(Cause::Parent));
    assert_eq!((alone.authority, alone.twist), (Authority::HardReflex, STILL));
}

#[test]
fn an_e_stop_holds_over_a_restart_until_a_person_releases_it() {
    let mut robot = Robot::new();
    let sensors = Sensors::of(&robot.board);
    let before = pulse(&robot.board);
    let reflexes = robot.start();
    robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    robot.board.press();
    robot.wish_until(Source::Manual, SLOW, |d| d.authority == Authority::EStop);
    until("the latch on disk", || robot.path("e-stop").exists().then_some(()));
    reflexes.signal(Signal::SIGKILL);
    drop((reflexes, sensors, before));

    // All is new but the disk.
    robot.board = Board::create(360).unwrap();
    robot.session = SessionKey::new().unwrap();
    let _sensors = Sensors::of(&robot.board);
    let _pulse = pulse(&robot.board);
    let _reflexes = robot.start();
    let held = robot.wish_until(Source::Manual, SLOW, |decision| decision.source.is_some());
    assert_eq!((held.authority, held.twist), (Authority::EStop, STILL));

    let mut release = robot.board.release_writer().unwrap();
    let epoch = robot.board.status().unwrap().epoch;
    // The mission's key does not do.
    release.write(&robot.session.of(Source::Mission).release(epoch, now()));
    robot.wish_until(Source::Manual, SLOW, |d| d.authority == Authority::EStop);
    until("the release", || {
        release.write(&robot.session.of(Source::Manual).release(epoch, now()));
        (!robot.board.status()?.latched).then_some(())
    });
    let freed = robot.wish_until(Source::Manual, SLOW, |decision| decision.twist == SLOW);
    assert_eq!(freed.epoch, epoch + 1);
    until("the latch's end on disk", || (!robot.path("e-stop").exists()).then_some(()));
}

#[test]
fn reflexes_on_the_same_board_begin_another_epoch_and_forget_old_wishes() {
    let robot = Robot::new();
    let _sensors = Sensors::of(&robot.board);
    let _pulse = pulse(&robot.board);
    let reflexes = robot.start();
    let first = robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    drop(reflexes);
    let _reflexes = robot.start();
    let second = robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    assert_eq!(second.epoch, first.epoch + 1);
}

#[test]
fn it_ends_with_a_safe_drive_when_it_is_told_to() {
    let robot = Robot::new();
    let _sensors = Sensors::of(&robot.board);
    let _pulse = pulse(&robot.board);
    let mut reflexes = robot.start();
    robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    reflexes.signal(Signal::SIGTERM);
    assert_eq!(reflexes.0.wait().unwrap().code(), Some(0));
    assert_eq!(robot.board.motor().unwrap().twist, STILL);
}

#[test]
fn two_reflexes_do_not_drive_one_body() {
    let robot = Robot::new();
    let _pulse = pulse(&robot.board);
    let _reflexes = robot.start();
    let second = run_with(&robot, &robot.path("robot.toml"), Some([1; 32]));
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("one writer"), "{}", stderr(&second));
}

/// Runs `gpak reflexd` to its end.
fn run_with(robot: &Robot, config: &Path, key: Option<[u8; 32]>) -> Output {
    let mut child = Command::new(GPAK)
        .args(["reflexd", "--board"])
        .arg(robot.board.path())
        .arg("--config")
        .arg(config)
        .arg("--latch")
        .arg(robot.path("other e-stop"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    if let Some(key) = key {
        std::io::Write::write_all(&mut stdin, &key).unwrap();
    }
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_cannot_work_is_refused_at_start_with_the_reason() {
    let robot = Robot::new();
    let refused = |change: &dyn Fn(&mut ReflexConfig)| {
        let mut config = ReflexConfig::example();
        change(&mut config);
        write_config(robot.folder.path(), &config);
        let output = run_with(&robot, &robot.path("robot.toml"), Some([1; 32]));
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let fast = refused(&|config| config.body.forward_mps = 19.0);
    assert!(fast.contains("needs") && fast.contains("forward_mps"), "{fast}");
    let points = refused(&|config| config.scan.points = 24_000);
    assert!(points.contains("360 points"), "{points}");
    std::fs::write(robot.path("robot.toml"), "[reflex]\nspeed = 9\n").unwrap();
    let unknown = run_with(&robot, &robot.path("robot.toml"), Some([1; 32]));
    assert!(stderr(&unknown).contains("speed"), "{}", stderr(&unknown));
    write_config(robot.folder.path(), &Robot::config());
    let no_key = run_with(&robot, &robot.path("robot.toml"), None);
    assert!(stderr(&no_key).contains("session key"), "{}", stderr(&no_key));
    assert!(robot.board.motor().is_none(), "the drive was touched");
}

#[test]
fn a_board_of_another_version_is_refused() {
    let robot = Robot::new();
    let memory = OpenOptions::new().write(true).open(robot.board.path()).unwrap();
    memory.write_all_at(&99_u32.to_le_bytes(), 8).unwrap();
    let output = run_with(&robot, &robot.path("robot.toml"), Some([1; 32]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("version 99"), "{}", stderr(&output));
}

#[test]
fn a_log_is_made_again_hash_for_hash_and_a_changed_one_is_found() {
    let robot = Robot::new();
    let sensors = Sensors::of(&robot.board);
    let pulse = pulse(&robot.board);
    let mut reflexes = robot.start();
    robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
    reflexes.signal(Signal::SIGTERM);
    reflexes.0.wait().unwrap();
    drop((sensors, pulse));
    let replay = || {
        Command::new(GPAK)
            .args(["reflexd", "--json", "--replay"])
            .arg(robot.path("decisions"))
            .arg("--config")
            .arg(robot.path("robot.toml"))
            .output()
            .unwrap()
    };
    let same = replay();
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let said: serde_json::Value = serde_json::from_slice(&same.stdout).unwrap();
    assert!(said["decisions"].as_u64().unwrap() > 1, "{said}");

    let log = OpenOptions::new().read(true).write(true).open(robot.path("decisions")).unwrap();
    let mut byte = [0];
    // In the first decision's time.
    log.read_exact_at(&mut byte, 8).unwrap();
    log.write_all_at(&[byte[0] ^ 1], 8).unwrap();
    let changed = replay();
    assert_eq!(changed.status.code(), Some(1));
    let said: serde_json::Value = serde_json::from_slice(&changed.stdout).unwrap();
    assert_eq!(said["differs"], 1);
}

#[test]
fn losing_the_real_time_class_is_noticed_and_slows_the_body() {
    let robot = Robot::new();
    let _sensors = Sensors::of(&robot.board);
    let _pulse = pulse(&robot.board);
    let reflexes = robot.start();
    let fast = Twist { linear_mps: 0.6, angular_radps: 0.0 };
    let cap = Robot::config().degraded_mps;
    if robot.board.status().unwrap().realtime {
        robot.wish_until(Source::Mission, fast, |decision| decision.twist == fast);
        let pid = reflexes.0.id().to_string();
        let taken = Command::new("chrt").args(["-o", "-p", "0", &pid]).status().unwrap();
        assert!(taken.success());
    }
    let slow = robot.wish_until(Source::Mission, fast, |d| d.causes.has(Cause::Degraded));
    assert_eq!(slow.authority, Authority::HardReflex);
    assert!((slow.twist.linear_mps - cap).abs() < 1e-6, "{slow:?}");
    assert!(!robot.board.status().unwrap().realtime);
}

/// A parent in a process of its own, as the measurements have it.
fn with_parent(signal: Signal) {
    let robot = Robot::new();
    let _sensors = Sensors::of(&robot.board);
    std::fs::write(robot.path("board"), robot.board.path().to_str().unwrap()).unwrap();
    let parent = Command::new(GPAK)
        .args(["reflexd", "--bench-parent"])
        .arg(robot.folder.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let parent = Reflexes(parent);
    until("a motion", || robot.moves().then_some(()));
    let reflexes = robot.board.status().unwrap().pid;
    parent.signal(signal);
    until("standing motors", || (!robot.moves()).then_some(()));
    if signal == Signal::SIGKILL {
        // Nobody is left to command it.
        let gone = || kill(Pid::from_raw(reflexes.cast_signed()), None).is_err();
        until("the end of the reflexes", || gone().then_some(()));
        assert_eq!(robot.board.motor().unwrap().twist, STILL);
    } else {
        // Its wish was over before it counted as silent.
        until("the reason", || {
            let causes = robot.board.status()?.causes;
            causes.has(Cause::Parent).then_some(())
        });
        parent.signal(Signal::SIGCONT);
        until("a motion after it goes on", || robot.moves().then_some(()));
    }
}

#[test]
fn a_parent_that_is_killed_leaves_standing_motors_and_no_process() {
    with_parent(Signal::SIGKILL);
}

#[test]
fn a_parent_that_is_stopped_stands_the_body_until_it_goes_on() {
    with_parent(Signal::SIGSTOP);
}

#[test]
fn dead_reflexes_are_standing_motors() {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let robot = Robot::new();
        let _sensors = Sensors::of(&robot.board);
        let _pulse = pulse(&robot.board);
        let reflexes = robot.start();
        robot.wish_until(Source::Mission, SLOW, |decision| decision.twist == SLOW);
        reflexes.signal(signal);
        until("standing motors", || (!robot.moves()).then_some(()));
    }
}
