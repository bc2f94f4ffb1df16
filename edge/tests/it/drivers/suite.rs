//! The suite: a driver, its other end, and the real reflexes between a wish and the motors.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gpak_edge::{
    body::{
        driver::{Driver, Outlet, Sense},
        hal::{Lifecycle, Pose, Stamp, Twist},
    },
    reflex::{
        clock::now,
        command::{Command, SessionKey, Signed, Source},
        config::ReflexConfig,
        cycle::{Cycle, Signals},
        drive::BoardDrive,
        launch::Pulse,
        shm::{Board, Commander, ScanBuffer, Writer},
        step::Reflexes,
        verdict::Cause,
    },
};

/// The other end of a driver: its sensors, and its motors.
pub trait OtherEnd {
    /// The motions that its motors were told since this was asked last, the latest one last.
    fn motions(&mut self) -> Vec<Twist>;
    /// Where it is.
    fn pose(&mut self) -> Option<Pose> {
        None
    }
    /// Says once what is no number. Whether it can.
    fn poison(&mut self) -> bool {
        false
    }
    /// Says something that cannot be read. Whether it can.
    fn garbage(&mut self) -> bool {
        false
    }
    /// Dies and comes again. Whether it can.
    fn dies(&mut self) -> bool {
        false
    }
    /// Comes again.
    fn lives(&mut self) {}
}

/// What is slower than any of them says it.
pub fn config() -> ReflexConfig {
    let mut config = ReflexConfig::example();
    config.parent_ms = 1000;
    config.motor_ms = 100;
    config.body.forward_mps = 0.5;
    config.body.backward_mps = 0.3;
    config.zones.clear_ms = 0;
    config.scan.period_ms = 500;
    config.scan.blind = 1.0;
    config.odometry.period_ms = 500;
    config.imu.as_mut().unwrap().period_ms = 500;
    config.contact.as_mut().unwrap().period_ms = 500;
    config
}

const MOST: Duration = Duration::from_secs(30);

struct Bed<D, E> {
    driver: D,
    end: E,
    board: Board,
    session: SessionKey,
    signals: Arc<Signals>,
    reflexes: Option<JoinHandle<()>>,
    pulse: Pulse,
    commander: Commander,
    forged: Writer<Signed>,
    wish: Option<Twist>,
    /// What its motors do now.
    moves: Twist,
    /// What they were told since somebody wanted to know.
    seen: Vec<Twist>,
    _senses: Receiver<Sense>,
}

fn twist(linear_mps: f32, angular_radps: f32) -> Twist {
    Twist {
        linear_mps,
        angular_radps,
    }
}

fn same(one: Twist, other: Twist) -> bool {
    (one.linear_mps - other.linear_mps).abs() < 0.002
        && (one.angular_radps - other.angular_radps).abs() < 0.002
}

/// The whole suite.
pub fn conforms<D: Driver, E: OtherEnd>(make: impl FnOnce(Outlet) -> D, end: E) {
    let mut bed = Bed::new(make, end);
    bed.inactive_it_says_and_moves_nothing();
    bed.it_fails_where_another_has_its_sensors_and_can_be_tried_again();
    bed.its_readings_are_stamped_and_bounded();
    bed.it_moves_as_wished_and_says_so();
    bed.safe_is_safe_however_often_and_until_activated();
    bed.what_is_refused_is_not_moved();
    bed.what_is_no_number_stops_it_and_what_cannot_be_read_is_counted();
    bed.it_rests_when_it_is_deactivated();
    bed.it_says_when_its_body_is_gone();
    bed.it_stops_when_the_reflexes_do();
}

impl<D: Driver, E: OtherEnd> Bed<D, E> {
    fn new(make: impl FnOnce(Outlet) -> D, end: E) -> Self {
        let config = config();
        let board = Board::create(config.scan.points).unwrap();
        let (senses, heard) = sync_channel(64);
        let driver = make(Outlet {
            board: board.clone(),
            senses,
            recorder: None,
        });
        let session = SessionKey::new().unwrap();
        let drive = BoardDrive::new(&board, Duration::from_millis(100)).unwrap();
        let reflexes = Reflexes::new(config, &session, 1, false);
        let mut cycle = Cycle::new(board.clone(), reflexes, drive).unwrap();
        cycle.activate().unwrap();
        let signals = Arc::new(Signals::default());
        let theirs = signals.clone();
        let reflexes = std::thread::spawn(move || cycle.run(&theirs, |_| {}));
        Self {
            driver,
            end,
            pulse: Pulse::start(&board, Duration::from_millis(5), MOST).unwrap(),
            commander: board
                .commander(Source::Mission, session.of(Source::Mission))
                .unwrap(),
            forged: board.command_writer(Source::Manual).unwrap(),
            board,
            session,
            signals,
            reflexes: Some(reflexes),
            wish: None,
            moves: Twist::default(),
            seen: Vec::new(),
            _senses: heard,
        }
    }

    /// Wishes on until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, mut so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            self.pulse.alive();
            if let Some(wish) = self.wish {
                self.commander.send(wish, Duration::from_millis(400));
            }
            for motion in self.end.motions() {
                self.moves = motion;
                self.seen.push(motion);
            }
            if so(self) {
                return;
            }
            assert!(
                begun.elapsed() < MOST,
                "{}: {what} never came; moves {:?}, status {:?}, {:?}",
                self.driver.name(),
                self.moves,
                self.board.status(),
                self.driver.lifecycle()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wishes(&mut self, wish: Twist) {
        self.wish = Some(wish);
        self.seen.clear();
    }

    #[track_caller]
    fn until_moved(&mut self, wish: Twist) {
        self.wishes(wish);
        self.until("a motion", |bed| same(bed.moves, wish));
    }

    /// Until the reflexes have decided so often again.
    #[track_caller]
    fn until_decided(&mut self, times: u64) {
        let before = self.decisions();
        self.until("a decision", |bed| bed.decisions() >= before + times);
    }

    fn decisions(&self) -> u64 {
        self.board.status().map_or(0, |status| status.decisions)
    }

    #[track_caller]
    fn nothing_moved(&self) {
        let moved = self.seen.iter().find(|twist| **twist != Twist::default());
        assert!(moved.is_none(), "{}: moved {moved:?}", self.driver.name());
    }

    fn inactive_it_says_and_moves_nothing(&mut self) {
        assert_eq!(self.driver.lifecycle(), Lifecycle::Inactive);
        self.driver.safe();
        self.driver.deactivate();
        self.wishes(twist(0.1, 0.0));
        self.until_decided(20);
        self.nothing_moved();
        assert!(self.board.odometry().is_none());
        assert_eq!(self.driver.lifecycle(), Lifecycle::Inactive);
    }

    fn it_fails_where_another_has_its_sensors_and_can_be_tried_again(&mut self) {
        let taken = self.board.odometry_writer().unwrap();
        let why = self.driver.activate().unwrap_err().to_string();
        assert!(why.contains("Odometry"), "{why}");
        assert_eq!(self.driver.lifecycle(), Lifecycle::Error);
        drop(taken);
        self.driver.activate().unwrap();
        assert_eq!(self.driver.lifecycle(), Lifecycle::Active);
        self.driver.activate().unwrap();
        assert_eq!(self.driver.lifecycle(), Lifecycle::Active);
    }

    fn its_readings_are_stamped_and_bounded(&mut self) {
        self.wish = None;
        let mut scans = ScanBuffer::new(&self.board);
        self.until("a reading of every sensor", |bed| {
            bed.board.read_scan(&mut scans);
            let board = &bed.board;
            let others = board.imu().is_some() && board.battery().is_some();
            scans.scan().is_some()
                && others
                && board.contact().is_some()
                && board.odometry().is_some()
        });
        let first = self.board.odometry().unwrap();
        self.until("a newer reading", |bed| {
            bed.board
                .odometry()
                .is_some_and(|odometry| odometry.at > first.at)
        });
        let board = &self.board;
        let scan = scans.scan().unwrap();
        let battery = board.battery().unwrap();
        let stamps = [
            scan.at,
            first.at,
            board.imu().unwrap().at,
            battery.at,
            board.contact().unwrap().at,
        ];
        assert!(
            stamps.iter().all(|at| *at > Stamp(0) && *at <= now()),
            "{stamps:?}"
        );
        assert!((0.0..=1.0).contains(&battery.value.charge), "{battery:?}");
        let scan = &scan.value;
        assert!(!scan.ranges_m.is_empty() && scan.ranges_m.len() <= board.scan_points());
        assert!(scan.angle_step_rad > 0.0 && scan.range_min_m < scan.range_max_m);
        let imu = board.imu().unwrap().value;
        assert!(
            imu.roll_rad.abs() < 0.1 && imu.pitch_rad.abs() < 0.1,
            "{imu:?}"
        );
        if let Some(pose) = self.end.pose() {
            let said = first.value.pose;
            assert!(
                (said.x_m - pose.x_m).abs() < 0.01 && (said.y_m - pose.y_m).abs() < 0.01,
                "{said:?}"
            );
            assert!(
                (said.heading_rad - pose.heading_rad).abs() < 0.01,
                "{said:?}"
            );
            walls(scan, pose);
        }
    }

    fn it_moves_as_wished_and_says_so(&mut self) {
        let before = self.board.odometry().unwrap().value.pose;
        self.until_moved(twist(0.1, 0.0));
        self.until("the way that it went ahead", |bed| {
            let pose = bed.board.odometry().unwrap().value.pose;
            let (dx, dy) = (pose.x_m - before.x_m, pose.y_m - before.y_m);
            dx * before.heading_rad.cos() + dy * before.heading_rad.sin() > 0.02
        });
        let odometry = self.board.odometry().unwrap().value;
        assert!(odometry.twist.linear_mps > 0.0, "{odometry:?}");
        self.until_moved(twist(0.0, 0.3));
        self.until("that it turned to the left", |bed| {
            bed.board.odometry().unwrap().value.pose.heading_rad > before.heading_rad + 0.05
        });
    }

    fn safe_is_safe_however_often_and_until_activated(&mut self) {
        for _ in 0..3 {
            self.driver.safe();
        }
        self.until("a stop", |bed| bed.moves == Twist::default());
        self.seen.clear();
        self.until_decided(30);
        let wished = self.board.motor().unwrap().twist;
        assert!(same(wished, twist(0.0, 0.3)), "{wished:?}");
        self.nothing_moved();
        self.driver.activate().unwrap();
        self.until_moved(twist(0.1, 0.0));
    }

    fn what_is_refused_is_not_moved(&mut self) {
        self.commander.withdraw();
        self.wish = None;
        self.until("a stop", |bed| bed.moves == Twist::default());
        self.seen.clear();
        let key = self.session.of(Source::Manual);
        let good = Command {
            source: Source::Manual,
            sequence: 1,
            epoch: self.board.status().unwrap().epoch,
            at: now(),
            valid_for: Duration::from_millis(400),
            twist: twist(0.15, 0.0),
        };
        let forged = SessionKey::new().unwrap().of(Source::Manual).sign(good);
        let mut bad = vec![forged];
        for (number, change) in (2..).zip([
            Command {
                twist: twist(f32::NAN, 0.0),
                ..good
            },
            Command {
                twist: twist(9.0, 0.0),
                ..good
            },
            Command {
                at: Stamp(good.at.0 - 10_000_000_000),
                ..good
            },
            Command {
                at: Stamp(good.at.0 + 10_000_000_000),
                ..good
            },
            Command {
                epoch: good.epoch + 1,
                ..good
            },
            Command {
                valid_for: Duration::from_secs(3600),
                ..good
            },
        ]) {
            bad.push(key.sign(Command {
                sequence: number,
                ..change
            }));
        }
        for signed in bad {
            self.forged.write(&signed);
            self.until_decided(10);
        }
        self.nothing_moved();
        // What is good is taken, once.
        let now = Command {
            sequence: 20,
            at: now(),
            ..good
        };
        self.forged.write(&key.sign(now));
        self.until("the good one", |bed| {
            bed.seen.iter().any(|seen| same(*seen, good.twist))
        });
        self.until("its end", |bed| bed.moves == Twist::default());
        self.seen.clear();
        self.forged.write(&key.sign(now));
        self.until_decided(20);
        self.nothing_moved();
    }

    fn what_is_no_number_stops_it_and_what_cannot_be_read_is_counted(&mut self) {
        self.until_moved(twist(0.1, 0.0));
        if self.end.poison() {
            self.until("that the reflexes noticed", |bed| {
                let status = bed.board.status().unwrap();
                status.causes.has(Cause::SensorFault) && status.twist == Twist::default()
            });
            self.until_moved(twist(0.1, 0.0));
        }
        let refused = self.driver.refused();
        if self.end.garbage() {
            self.until("that it was counted", |bed| bed.driver.refused() > refused);
            let last = self.board.odometry().unwrap().at;
            self.until("that it goes on", |bed| {
                bed.board.odometry().unwrap().at > last
            });
        }
    }

    fn it_rests_when_it_is_deactivated(&mut self) {
        self.until_moved(twist(0.1, 0.0));
        self.driver.deactivate();
        self.driver.deactivate();
        assert_eq!(self.driver.lifecycle(), Lifecycle::Inactive);
        let last = self.board.odometry().unwrap().at;
        self.until("a stop", |bed| bed.moves == Twist::default());
        self.seen.clear();
        self.until_decided(30);
        self.nothing_moved();
        assert_eq!(self.board.odometry().unwrap().at, last);
        self.driver.activate().unwrap();
        self.until("a newer reading", |bed| {
            bed.board.odometry().unwrap().at > last
        });
        self.until_moved(twist(0.1, 0.0));
    }

    fn it_says_when_its_body_is_gone(&mut self) {
        if !self.end.dies() {
            return;
        }
        self.until("the error", |bed| {
            bed.driver.lifecycle() == Lifecycle::Error
        });
        let status = self.board.status().unwrap();
        assert!(status.causes.has(Cause::SensorStale), "{status:?}");
        self.end.lives();
        // Another, which was told nothing yet.
        self.moves = Twist::default();
        self.driver.activate().unwrap();
        assert_eq!(self.driver.lifecycle(), Lifecycle::Active);
        self.until_moved(twist(0.1, 0.0));
    }

    fn it_stops_when_the_reflexes_do(&mut self) {
        self.until_moved(twist(0.1, 0.0));
        self.signals
            .stop
            .store(true, std::sync::atomic::Ordering::Release);
        self.board.ring();
        self.reflexes.take().unwrap().join().unwrap();
        self.until("a stop", |bed| bed.moves == Twist::default());
    }
}

/// The nearest wall of the room of 8 m is where it should be, in the direction of the scan.
fn walls(scan: &gpak_edge::body::hal::Scan, pose: Pose) {
    for (index, range) in scan.ranges_m.iter().enumerate() {
        let angle = pose.heading_rad + scan.angle_min_rad + scan.angle_step_rad * index as f32;
        let (x, y) = (
            pose.x_m + range * angle.cos(),
            pose.y_m + range * angle.sin(),
        );
        let off = [x, y, 8.0 - x, 8.0 - y].map(f32::abs);
        let off = off.into_iter().fold(f32::MAX, f32::min);
        assert!(off < 0.05, "point {index} is at ({x}, {y})");
    }
}
