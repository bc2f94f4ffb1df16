use std::{
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command as Process, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    body::hal::{Scan, Twist},
    reflex::{
        clock::{after, now},
        command::SessionKey,
        verdict::{Hazard, HazardKind},
    },
};

/// A reading all of whose numbers are the same: torn, they differ.
fn odometry(number: u64) -> Stamped<Odometry> {
    let mut reading = Stamped {
        at: Stamp(number),
        value: Odometry::default(),
    };
    reading.value.pose.x_m = number as f32;
    reading.value.pose.heading_rad = number as f32;
    reading.value.twist.angular_radps = number as f32;
    reading
}

fn whole(reading: &Stamped<Odometry>) -> bool {
    let number = reading.at.0 as f32;
    let value = reading.value;
    value.pose.x_m == number
        && value.pose.heading_rad == number
        && value.twist.angular_radps == number
}

fn scan(number: u32, points: usize) -> Scan {
    Scan {
        angle_min_rad: number as f32,
        angle_step_rad: 0.01,
        range_min_m: 0.1,
        range_max_m: 30.0,
        ranges_m: vec![number as f32; points],
    }
}

/// Starts this test binary again, as another process that does only that test.
fn other_process(test: &str, board: &Board) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args([
            &format!("{}::{test}", module_path!().split_once("::").unwrap().1),
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env("GPAK_TEST_BOARD", board.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The board of the process that started this one.
fn given() -> Board {
    Board::open(Path::new(&std::env::var("GPAK_TEST_BOARD").unwrap())).unwrap()
}

/// Waits for what another process is about to do, however long the machine takes.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_written_is_read_on_the_same_board_by_another_mapping() {
    let board = Board::create(360).unwrap();
    let other = Board::open(board.path()).unwrap();
    assert_eq!(other.scan_points(), 360);
    assert!(other.odometry().is_none(), "nothing was written yet");
    board.odometry_writer().unwrap().write(&odometry(7));
    assert_eq!(other.odometry(), Some(odometry(7)));
    let mut buffer = ScanBuffer::new(&other);
    assert!(!other.read_scan(&mut buffer));
    assert!(buffer.scan().is_none());
    let mut writer = board.scan_writer().unwrap();
    for points in [359, 360, 1, 0] {
        writer.write(Stamp(5), &scan(3, points)).unwrap();
        assert!(other.read_scan(&mut buffer));
        assert_eq!(buffer.scan().unwrap().value, scan(3, points));
        assert!(
            !other.read_scan(&mut buffer),
            "the same scan is not new twice"
        );
    }
}

#[test]
fn a_scan_that_does_not_fit_is_refused_and_not_cut() {
    let board = Board::create(10).unwrap();
    let mut writer = board.scan_writer().unwrap();
    let refused = writer.write(Stamp(1), &scan(1, 11));
    assert!(matches!(
        refused,
        Err(BoardError::TooManyPoints {
            points: 11,
            room: 10
        })
    ));
    assert!(!board.read_scan(&mut ScanBuffer::new(&board)));
}

#[test]
fn every_kind_of_value_comes_back_as_it_was() {
    let board = Board::create(1).unwrap();
    let at = Stamp(3);
    let imu = Stamped {
        at,
        value: Imu {
            roll_rad: 0.1,
            pitch_rad: 0.2,
            yaw_rate_radps: 0.3,
            acceleration_mps2: 0.4,
        },
    };
    board.imu_writer().unwrap().write(&imu);
    let battery = Stamped {
        at,
        value: Battery {
            charge: 0.5,
            voltage_v: 12.0,
        },
    };
    board.battery_writer().unwrap().write(&battery);
    let contact = Stamped {
        at,
        value: Contact {
            bumper: true,
            cliff: false,
        },
    };
    board.contact_writer().unwrap().write(&contact);
    let hazard = Hazard {
        kind: HazardKind::Fire,
        stop: true,
        x_m: 1.0,
        y_m: 2.0,
        radius_m: 3.0,
        until: Stamp(9),
        peer: 4,
    };
    board
        .hazards_writer()
        .unwrap()
        .write(&Hazards::new(&[hazard]));
    let key = SessionKey::from_bytes([1; 32]).of(Source::Manual);
    let release = key.release(4, at);
    board.release_writer().unwrap().write(&release);
    let sent = board
        .commander(Source::Manual, key.clone())
        .unwrap()
        .send(Twist::default(), Duration::from_millis(3));
    let motor = MotorOut {
        number: 1,
        at,
        until: Stamp(4),
        twist: Twist {
            linear_mps: 0.1,
            angular_radps: 0.2,
        },
    };
    board.motor_writer().unwrap().write(&motor);
    let status = Status {
        at,
        epoch: 2,
        pid: 3,
        realtime: true,
        latched: true,
        missed: 5,
        ..Status::default()
    };
    board.status_writer().unwrap().write(&status);

    assert_eq!(board.imu(), Some(imu));
    assert_eq!(board.battery(), Some(battery));
    assert_eq!(board.contact(), Some(contact));
    assert_eq!(
        board.hazards().unwrap().iter().copied().collect::<Vec<_>>(),
        [hazard]
    );
    assert_eq!(board.release(), Some(release));
    assert!(key.released(&board.release().unwrap()));
    assert_eq!(board.command(Source::Manual).unwrap().command, sent);
    assert!(key.signed(&board.command(Source::Manual).unwrap()));
    assert_eq!(board.motor(), Some(motor));
    assert_eq!(board.status(), Some(status));
}

#[test]
fn too_many_hazards_are_one_that_is_everywhere() {
    let hazard = |stop| Hazard {
        kind: HazardKind::Cliff,
        stop,
        x_m: 9.0,
        y_m: 9.0,
        radius_m: 0.1,
        until: Stamp(9),
        peer: 1,
    };
    let mut many = vec![hazard(false); Hazards::MOST];
    many.push(hazard(true));
    let kept = Hazards::new(&many);
    assert_eq!(kept.iter().count(), Hazards::MOST);
    assert!(
        kept.iter()
            .any(|hazard| hazard.stop && hazard.radius_m < 1.0),
        "the one that stops is kept"
    );
    assert!(
        kept.iter().any(|hazard| hazard.radius_m.is_infinite()),
        "what was left out slows everywhere"
    );
}

#[test]
fn a_board_of_another_version_or_layout_is_refused() {
    let board = Board::create(10).unwrap();
    let head = &board.layout().head;
    head.version.store(layout::VERSION + 1, Ordering::Relaxed);
    let error = Board::open(board.path()).unwrap_err();
    assert!(
        matches!(error, BoardError::Version { theirs: 2, ours: 1 }),
        "{error}"
    );
    head.version.store(layout::VERSION, Ordering::Relaxed);
    head.shape.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(Board::open(board.path()), Err(BoardError::Layout)));
    head.shape.fetch_sub(1, Ordering::Relaxed);
    head.scan_points.store(u64::MAX / 2, Ordering::Relaxed);
    assert!(matches!(Board::open(board.path()), Err(BoardError::Layout)));
    head.scan_points.store(10, Ordering::Relaxed);
    Board::open(board.path()).unwrap();
    head.magic.store(0, Ordering::Relaxed);
    assert!(matches!(
        Board::open(board.path()),
        Err(BoardError::NotABoard)
    ));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not a board").unwrap();
    assert!(matches!(
        Board::open(file.path()),
        Err(BoardError::NotABoard)
    ));
}

#[test]
fn a_slot_has_one_writer_at_a_time() {
    let board = Board::create(1).unwrap();
    let first = board.imu_writer().unwrap();
    assert!(matches!(
        board.imu_writer(),
        Err(BoardError::Claimed {
            port: Port::Imu,
            ..
        })
    ));
    drop(first);
    board.imu_writer().unwrap();
}

#[test]
fn threads_never_see_a_torn_reading() {
    let board = Board::create(2048).unwrap();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| {
            let mut wheels = board.odometry_writer().unwrap();
            let mut scans = board.scan_writer().unwrap();
            let mut scan = scan(0, 2048);
            for number in 1..20_000_u32 {
                wheels.write(&odometry(u64::from(number)));
                scan.angle_min_rad = number as f32;
                scan.ranges_m.fill(number as f32);
                scans.write(Stamp(u64::from(number)), &scan).unwrap();
            }
        });
        let mut buffer = ScanBuffer::new(&board);
        let mut seen = 0;
        while !write.is_finished() || seen == 0 {
            if let Some(reading) = board.odometry() {
                assert!(whole(&reading), "torn: {reading:?}");
            }
            if board.read_scan(&mut buffer) {
                let scan = buffer.scan().unwrap();
                let number = scan.at.0 as f32;
                assert!(
                    scan.value.angle_min_rad == number
                        && scan.value.ranges_m.iter().all(|range| *range == number),
                    "a torn scan"
                );
                seen += 1;
            }
        }
    });
}

#[test]
fn a_reader_goes_on_when_the_writer_is_killed_in_mid_write() {
    let board = Board::create(4096).unwrap();
    let mut buffer = ScanBuffer::new(&board);
    for round in 0..20 {
        let mut writer = other_process("write_until_killed", &board);
        let before = board.slot(Port::Scan).count();
        until(|| board.slot(Port::Scan).count() > before + 3 + round);
        writer.kill().unwrap();
        // Not yet buried: it writes no more all the same, and its slot can be taken over.
        until(|| board.scan_writer().is_ok());
        assert!(whole(
            &board.odometry().expect("the value before is still there")
        ));
        if board.read_scan(&mut buffer) {
            let scan = buffer.scan().unwrap();
            assert!(
                scan.value
                    .ranges_m
                    .iter()
                    .all(|range| *range == scan.at.0 as f32)
            );
        }
        board
            .scan_writer()
            .unwrap()
            .write(Stamp(1), &scan(1, 4096))
            .unwrap();
        assert!(board.read_scan(&mut buffer));
        assert_eq!(writer.wait().unwrap().signal(), Some(9));
    }
}

#[test]
fn a_copy_that_was_left_half_written_is_never_shown() {
    let board = Board::create(1).unwrap();
    let mut writer = board.odometry_writer().unwrap();
    writer.write(&odometry(1));
    let slot = board.slot(Port::Odometry);
    let died = std::panic::catch_unwind(|| {
        slot.write(|words| {
            words[0].store(77, Ordering::Relaxed);
            panic!("the writer dies here");
        });
    });
    assert!(died.is_err());
    assert_eq!(board.odometry(), Some(odometry(1)));
    writer.write(&odometry(2));
    assert_eq!(board.odometry(), Some(odometry(2)));
    writer.write(&odometry(3));
    assert_eq!(board.odometry(), Some(odometry(3)));
}

#[test]
fn processes_wake_each_other_and_never_see_a_torn_reading() {
    let board = Board::create(4096).unwrap();
    let mut writer = other_process("write_until_killed", &board);
    let mut buffer = ScanBuffer::new(&board);
    let mut seen = board.rung();
    for _ in 0..2000 {
        board.wait_rung(seen, after(now(), Duration::from_secs(60)));
        assert_ne!(board.rung(), seen, "nobody rang in a minute");
        seen = board.rung();
        if let Some(reading) = board.odometry() {
            assert!(whole(&reading), "torn: {reading:?}");
        }
        if board.read_scan(&mut buffer) {
            let scan = buffer.scan().unwrap();
            assert!(
                scan.value
                    .ranges_m
                    .iter()
                    .all(|range| *range == scan.at.0 as f32),
                "a torn scan"
            );
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
}

#[test]
fn the_late_wake_of_a_ring_that_was_seen_is_no_ring() {
    let board = Board::create(1).unwrap();
    let until = after(now(), Duration::from_millis(50));
    let waiting = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while waiting.load(Ordering::Acquire) {
                let _ = futex::wake(&board.layout().bell.0, futex::Flags::empty(), 1);
                std::thread::yield_now();
            }
        });
        board.wait_rung(board.rung(), until);
        waiting.store(false, Ordering::Release);
    });
    assert!(now() >= until, "woken by nobody");
}

#[test]
#[ignore = "the other process of the tests above"]
fn write_until_killed() {
    let board = given();
    let mut wheels = board.odometry_writer().unwrap();
    let mut scans = board.scan_writer().unwrap();
    let mut scan = scan(0, 4096);
    for number in 1..u32::from(u16::MAX) * 200 {
        wheels.write(&odometry(u64::from(number % 1_000_000)));
        scan.ranges_m.fill((number % 1_000_000) as f32);
        scans
            .write(Stamp(u64::from(number % 1_000_000)), &scan)
            .unwrap();
    }
}

#[test]
fn wheels_stop_by_themselves_when_nothing_new_is_said() {
    let board = Board::create(1).unwrap();
    let wheels = board.wheels();
    assert_eq!(
        wheels.twist(Stamp(5)),
        Twist::default(),
        "nothing was ever said"
    );
    let twist = Twist {
        linear_mps: 0.5,
        angular_radps: 0.1,
    };
    let mut out = MotorOut {
        number: 1,
        at: Stamp(100),
        until: Stamp(200),
        twist,
    };
    board.motor_writer().unwrap().write(&out);
    assert_eq!(wheels.twist(Stamp(200)), twist);
    assert_eq!(wheels.twist(Stamp(201)), Twist::default());
    out.at = Stamp(300);
    board.motor_writer().unwrap().write(&out);
    assert_eq!(
        wheels.twist(Stamp(150)),
        Twist::default(),
        "decided after it ends"
    );
}

#[test]
fn anybody_presses_the_e_stop_and_a_press_after_the_release_still_holds() {
    let board = Board::create(1).unwrap();
    assert!(!board.is_pressed());
    board.press();
    let seen = board.presses();
    board.press();
    board.set_released(seen);
    assert!(board.is_pressed());
    board.set_released(board.presses());
    assert!(!board.is_pressed());
}
