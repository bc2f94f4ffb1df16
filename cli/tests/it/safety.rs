//! Whatever is killed or stopped, and whenever: the body touches nothing at more than 0.1 m/s.
//!
//! The world and the motors are in this process, for they are what no signal reaches in a real body. The
//! sensors' reader, the parent with its reckless wishes, and the reflexes are processes of their own, and
//! each of them is killed or stopped at random moments of random missions among carts that stop for
//! nobody.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use gpak_edge::{
    body::{
        hal::{Scan, Stamp, Stamped, Twist},
        sim::{STEP, Simulation, world::World},
    },
    reflex::{
        clock::{now, sleep_until},
        command::{SessionKey, Source},
        config::ReflexConfig,
        launch::{Launch, wait_ready},
        process::Options,
        realtime,
        shm::{Board, ScanBuffer, ScanWriter},
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const GPAK: &str = env!("CARGO_BIN_EXE_gpak");
/// Where the processes of a mission find each other.
const FOLDER: &str = "GPAK_TEST_MISSION";
/// Faster than that, nothing may be touched.
const GENTLE_MPS: f32 = 0.1;
/// As fast as any cart goes.
const CARTS_MPS: f32 = 0.5;

fn config() -> ReflexConfig {
    let mut config = ReflexConfig::example();
    let body = &mut config.body;
    (body.front_m, body.back_m, body.half_width_m) = (0.2, 0.2, 0.2);
    body.turn_radius_m = Some(0.2);
    (body.forward_mps, body.backward_mps) = (0.8, 0.4);
    body.braking_mps2 = 1.0;
    body.lag_ms = 10;
    config.zones.people_mps = CARTS_MPS;
    config.zones.clear_ms = 100;
    config.scan.period_ms = 60;
    config.parent_ms = 50;
    config
}

/// Rooms with boxes and carts, no two alike.
fn world(random: &mut fastrand::Rng) -> World {
    use std::fmt::Write as _;
    let mut text = String::from("name = \"any\"\nsize_m = [9.0, 9.0]\n[robot]\nat = [4.5, 4.5]\n");
    let _ = writeln!(text, "heading_deg = {}", random.i32(-180..180));
    let mut place = || loop {
        let at = [0.8 + 7.4 * random.f32(), 0.8 + 7.4 * random.f32()];
        // Not upon the robot.
        if (at[0] - 4.5_f32).hypot(at[1] - 4.5) > 1.4 {
            return format!("[{:.2}, {:.2}]", at[0], at[1]);
        }
    };
    for _ in 0..5 {
        let _ = writeln!(
            text,
            "[[boxes]]\nat = {}\nsize_m = [0.6, 0.4]\nangle_deg = 30",
            place()
        );
    }
    for _ in 0..3 {
        let (from, to) = (place(), place());
        let _ = writeln!(
            text,
            "[[obstacles]]\nroute = [{from}, [4.5, 4.5], {to}]\nspeed_mps = {CARTS_MPS}\nafter_s = 1.5"
        );
    }
    World::parse(&text, "any").unwrap()
}

/// This test binary again, as another process.
fn other(part: &str, folder: &Path) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("safety::{part}"),
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder of the mission that this process is a part of; nothing if somebody runs it by hand.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn board(folder: &Path, name: &str) -> Board {
    let path = std::fs::read_to_string(folder.join(name)).unwrap();
    Board::open(Path::new(&path)).unwrap()
}

#[test]
#[ignore = "a process of the missions below: reads the sensors"]
fn relay() {
    let Some(folder) = folder() else { return };
    let (from, to) = (board(&folder, "bus"), board(&folder, "board"));
    let _ = realtime::enter(realtime::TELLERS);
    let mut scan: ScanWriter = to.scan_writer().unwrap();
    let mut odometry = to.odometry_writer().unwrap();
    let mut imu = to.imu_writer().unwrap();
    let mut battery = to.battery_writer().unwrap();
    let mut contact = to.contact_writer().unwrap();
    let mut buffer = ScanBuffer::new(&from);
    loop {
        let seen = from.rung();
        if from.read_scan(&mut buffer)
            && let Some(Stamped { at, value }) = buffer.scan()
        {
            scan.write(*at, value).unwrap();
        }
        // As old as they are: nothing is made fresh on the way.
        from.odometry()
            .iter()
            .for_each(|reading| odometry.write(reading));
        from.imu().iter().for_each(|reading| imu.write(reading));
        from.battery()
            .iter()
            .for_each(|reading| battery.write(reading));
        from.contact()
            .iter()
            .for_each(|reading| contact.write(reading));
        from.wait_rung(seen, later(now(), 1000));
    }
}

#[test]
#[ignore = "a process of the missions below: the parent, who wishes recklessly"]
fn parent() {
    let Some(folder) = folder() else { return };
    let to = board(&folder, "board");
    let seed = std::fs::read_to_string(folder.join("seed")).unwrap();
    let mut random = fastrand::Rng::with_seed(seed.parse().unwrap());
    let session = SessionKey::new().unwrap();
    let mut heart = to.heart().unwrap();
    heart.beat();
    let launch = Launch {
        program: GPAK.into(),
        options: Options {
            board: to.path().to_path_buf(),
            config: folder.join("robot.toml"),
            latch: folder.join("e-stop"),
            log: Some(folder.join("decisions")),
        },
    };
    let mut reflexes = launch.start(&session).unwrap();
    assert!(wait_ready(&to, &mut reflexes, Duration::from_secs(30)).unwrap());
    let _ = realtime::enter(realtime::TELLERS);
    let mut commander = to
        .commander(Source::Mission, session.of(Source::Mission))
        .unwrap();
    let mut wish = Twist::default();
    let mut change = now();
    loop {
        heart.beat();
        if now() >= change {
            change = later(now(), random.u64(200..1500));
            let ahead = random.f32() < 0.8;
            wish.linear_mps = if ahead { 0.8 } else { -0.4 };
            wish.angular_radps = if random.bool() {
                0.0
            } else {
                3.0 * random.f32() - 1.5
            };
        }
        commander.send(wish, Duration::from_millis(200));
        sleep_until(later(now(), 10));
    }
}

fn later(then: Stamp, milliseconds: u64) -> Stamp {
    Stamp(then.0 + milliseconds * 1_000_000)
}

/// What happens to whom.
#[derive(Debug)]
struct Blow {
    after_ms: u64,
    whom: usize,
    signal: Signal,
}

/// One to three processes, each killed, or stopped and some time later let go on.
fn blows(random: &mut fastrand::Rng) -> Vec<Blow> {
    let mut blows = Vec::new();
    for _ in 0..random.u32(1..4) {
        let (after_ms, whom) = (random.u64(0..2500), random.usize(0..3));
        if random.bool() {
            blows.push(Blow {
                after_ms,
                whom,
                signal: Signal::SIGKILL,
            });
        } else {
            blows.push(Blow {
                after_ms,
                whom,
                signal: Signal::SIGSTOP,
            });
            let again = after_ms + random.u64(5..900);
            blows.push(Blow {
                after_ms: again,
                whom,
                signal: Signal::SIGCONT,
            });
        }
    }
    blows.sort_by_key(|blow| blow.after_ms);
    blows
}

/// How a mission went.
#[derive(Debug, Default)]
struct Went {
    collisions: Vec<f32>,
    way_m: f32,
}

fn mission(seed: u64) -> Went {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sim = Simulation::new(world(&mut random), Some(seed));
    let blows = blows(&mut random);
    let folder = tempfile::tempdir().unwrap();
    let (bus, board) = (Board::create(360).unwrap(), Board::create(360).unwrap());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("bus", bus.path().to_str().unwrap());
    write("board", board.path().to_str().unwrap());
    write("seed", &seed.to_string());
    write("robot.toml", &config().to_robot().unwrap());
    let (relay, parent) = (
        other("relay", folder.path()),
        other("parent", folder.path()),
    );

    let mut hardware = Hardware::new(&bus);
    // Until it moves; a machine that is very busy may take its time to start three processes.
    let ready = later(now(), 30_000);
    while sim.wheels() == Twist::default() && now() < ready {
        hardware.pass(&mut sim, &board);
    }
    let begin = now();
    for blow in &blows {
        while now() < later(begin, blow.after_ms) {
            hardware.pass(&mut sim, &board);
        }
        let reflexes = board.status().map_or(0, |status| status.pid);
        let pid = [relay.0.id(), parent.0.id(), reflexes][blow.whom];
        // It may be gone with one that was killed before.
        if pid != 0 {
            let _ = kill(Pid::from_raw(pid.cast_signed()), blow.signal);
        }
    }
    let end = later(now(), 1000);
    while now() < end {
        hardware.pass(&mut sim, &board);
    }
    if let Some(status) = board.status() {
        let _ = kill(Pid::from_raw(status.pid.cast_signed()), Signal::SIGKILL);
    }
    let collisions = sim
        .collisions()
        .iter()
        .map(|collision| collision.speed_mps)
        .collect();
    let went = Went {
        collisions,
        way_m: hardware.way_m,
    };
    println!(
        "mission {seed}: {:.2} m, touched at {:?} m/s, {blows:?}",
        went.way_m, went.collisions
    );
    went
}

/// What no signal reaches: the world, its sensors' wires, and the motors with their watchdog.
struct Hardware {
    /// When the world began.
    zero: Stamp,
    scan: ScanWriter,
    odometry: gpak_edge::reflex::shm::Writer<Stamped<gpak_edge::body::hal::Odometry>>,
    imu: gpak_edge::reflex::shm::Writer<Stamped<gpak_edge::body::hal::Imu>>,
    battery: gpak_edge::reflex::shm::Writer<Stamped<gpak_edge::body::hal::Battery>>,
    contact: gpak_edge::reflex::shm::Writer<Stamped<gpak_edge::body::hal::Contact>>,
    way_m: f32,
}

impl Hardware {
    fn new(bus: &Board) -> Self {
        Self {
            zero: now(),
            scan: bus.scan_writer().unwrap(),
            odometry: bus.odometry_writer().unwrap(),
            imu: bus.imu_writer().unwrap(),
            battery: bus.battery_writer().unwrap(),
            contact: bus.contact_writer().unwrap(),
            way_m: 0.0,
        }
    }

    fn real<T>(&self, reading: Stamped<T>) -> Stamped<T> {
        Stamped {
            at: Stamp(self.zero.0 + reading.at.0),
            value: reading.value,
        }
    }

    /// Lets the world catch up with the clock, tick by tick. If this process was held up, the motors
    /// went on meanwhile by what they had been told, until that ended, and so they do here.
    fn pass(&mut self, sim: &mut Simulation, board: &Board) {
        let zero = self.zero.0;
        let next = |sim: &Simulation| Stamp(zero + sim.now().0 + STEP.as_nanos() as u64);
        // Never ahead of the clock: a reading of the future is not believed.
        while next(sim) <= now() {
            if let Some(out) = board.motor() {
                let until = Stamp(out.until.0.saturating_sub(self.zero.0));
                sim.drive(out.twist, until);
            }
            let readings = sim.tick();
            self.way_m += sim.wheels().linear_mps.abs() * STEP.as_secs_f32();
            if let Some(scan) = readings.scan {
                let Stamped { at, value }: Stamped<Scan> = self.real(scan);
                self.scan.write(at, &value).unwrap();
            }
            if let Some(reading) = readings.odometry {
                self.odometry.write(&self.real(reading));
            }
            if let Some(reading) = readings.imu {
                self.imu.write(&self.real(reading));
            }
            if let Some(reading) = readings.battery {
                self.battery.write(&self.real(reading));
            }
            if let Some(reading) = readings.contact {
                self.contact.write(&self.real(reading));
            }
        }
        sleep_until(next(sim));
    }
}

fn missions(seeds: std::ops::Range<u64>) {
    let _ = realtime::enter(realtime::REFLEXES - 1);
    let count = seeds.end - seeds.start;
    let mut way_m = 0.0;
    let mut touched = 0;
    for seed in seeds {
        let went = mission(seed);
        way_m += went.way_m;
        touched += went.collisions.len();
        let hard = went.collisions.iter().find(|speed| **speed > GENTLE_MPS);
        assert!(
            hard.is_none(),
            "mission {seed} touched something at {hard:?} m/s"
        );
    }
    println!(
        "{count} missions, {way_m:.0} m, touched {touched} times, never faster than {GENTLE_MPS} m/s"
    );
    assert!(
        way_m > 0.05 * count as f32,
        "the bodies hardly moved: {way_m} m"
    );
}

#[test]
fn whatever_dies_the_body_touches_nothing_hard() {
    missions(1..6);
}

/// `cargo nextest run --workspace --run-ignored only -E 'test(two_hundred_missions)' --no-capture`
#[test]
#[ignore = "takes about a quarter of an hour"]
fn whatever_dies_the_body_touches_nothing_hard_in_two_hundred_missions() {
    missions(1000..1200);
}
