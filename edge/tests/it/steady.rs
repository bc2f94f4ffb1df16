//! That the loop of the reflexes allocates nothing, whatever comes in.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use gpak_edge::{
    body::hal::{Battery, Contact, Imu, Odometry, Scan, Stamped, Twist},
    reflex::{
        clock::now,
        command::{SessionKey, Source},
        config::ReflexConfig,
        cycle::{Cycle, Signals},
        drive::BoardDrive,
        shm::{Board, Hazards},
        step::Reflexes,
        verdict::{Hazard, HazardKind},
    },
};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no count any more.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
#[allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn asked() -> u64 {
    ASKED.get()
}

#[test]
fn the_loop_allocates_nothing_whatever_comes_in() {
    let mut config = ReflexConfig::example();
    // What is clear is clear at once: the rounds follow each other faster than any time.
    config.zones.clear_ms = 0;
    let board = Board::create(config.scan.points).unwrap();
    let session = SessionKey::new().unwrap();
    let drive = BoardDrive::new(&board, Duration::from_millis(20)).unwrap();
    let reflexes = Reflexes::new(config, &session, 1, false);
    let mut cycle = Cycle::new(board.clone(), reflexes, drive).unwrap();
    cycle.activate().unwrap();
    let signals = Signals::default();

    let mut heart = board.heart().unwrap();
    let mut scans = board.scan_writer().unwrap();
    let mut odometry = board.odometry_writer().unwrap();
    let mut imu = board.imu_writer().unwrap();
    let mut battery = board.battery_writer().unwrap();
    let mut contact = board.contact_writer().unwrap();
    let mut hazards = board.hazards_writer().unwrap();
    let mut release = board.release_writer().unwrap();
    let mut commander = board
        .commander(Source::Mission, session.of(Source::Mission))
        .unwrap();
    let mut scan = Scan {
        angle_min_rad: -3.0,
        angle_step_rad: 0.016,
        range_min_m: 0.1,
        range_max_m: 12.0,
        ranges_m: vec![6.0; 360],
    };
    let mut moved = 0;
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..2000_u32 {
        scan.ranges_m.fill(0.2 + 8.0 * random.f32());
        // Shorter scans, too, whose directions are others.
        if round % 50 == 49 {
            scan.ranges_m.truncate(360 - round as usize % 7);
        } else {
            scan.ranges_m.resize(360, 3.0);
        }
        let before = asked();
        heart.beat();
        scans.write(now(), &scan).unwrap();
        let mut reading = Odometry::default();
        reading.twist.linear_mps = 0.3;
        odometry.write(&Stamped {
            at: now(),
            value: reading,
        });
        imu.write(&Stamped {
            at: now(),
            value: Imu::default(),
        });
        let charge = if round % 97 == 0 { f32::NAN } else { 0.9 };
        battery.write(&Stamped {
            at: now(),
            value: Battery {
                charge,
                voltage_v: 12.0,
            },
        });
        let value = Contact {
            bumper: round % 31 == 0,
            cliff: round % 37 == 0,
        };
        contact.write(&Stamped { at: now(), value });
        let hazard = Hazard {
            kind: HazardKind::Cliff,
            stop: round % 3 == 0,
            x_m: 3.0,
            y_m: 0.0,
            radius_m: 1.0,
            until: now(),
            peer: 1,
        };
        hazards.write(&Hazards::new(&[hazard]));
        if round % 200 == 0 {
            board.press();
        }
        if round % 200 == 50 {
            let epoch = board.status().unwrap().epoch;
            release.write(&session.of(Source::Manual).release(epoch, now()));
        }
        let twist = Twist {
            linear_mps: 0.1 * random.f32(),
            angular_radps: random.f32(),
        };
        commander.send(twist, Duration::from_millis(100));
        cycle.turn(&signals);
        let taken = asked() - before;
        // The first scans make the room that all others use.
        if round > 2 {
            assert_eq!(taken, 0, "round {round} allocated");
        }
        moved += u32::from(board.motor().unwrap().twist != Twist::default());
    }
    assert!(moved > 100, "the body hardly moved: the loop was not tried");
    let seen = asked();
    drop(vec![1_u8; 100]);
    assert_eq!(asked() - seen, 2, "allocations are counted");
}
