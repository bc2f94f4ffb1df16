//! From a reading to standing motors, and from a death to standing motors, across processes.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Bench, BenchError, Finding, SAID, enter, histogram, system, write_config};
use crate::{
    body::hal::{Battery, Contact, Imu, Odometry, Scan, Stamp, Stamped, Twist},
    reflex::{
        clock::{after, now},
        command::nanos,
        config::ReflexConfig,
        realtime,
        shm::{Board, ScanWriter, Wheels, Writer},
    },
};

/// What may happen to a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    name: &'static str,
    signal: Signal,
    /// To the reflexes, or else to their parent.
    reflexes: bool,
    most_ms: f64,
}

/// All that is measured. What stops when the reflexes themselves are gone is the motors' watchdog.
pub(super) const DEATHS: [Death; 4] = [
    Death {
        name: "parent killed to zero speed",
        signal: Signal::SIGKILL,
        reflexes: false,
        most_ms: 10.0,
    },
    Death {
        name: "parent stopped to zero speed",
        signal: Signal::SIGSTOP,
        reflexes: false,
        most_ms: 30.0,
    },
    Death {
        name: "reflexes killed to zero speed (watchdog)",
        signal: Signal::SIGKILL,
        reflexes: true,
        most_ms: 10.0,
    },
    Death {
        name: "reflexes stopped to zero speed (watchdog)",
        signal: Signal::SIGSTOP,
        reflexes: true,
        most_ms: 30.0,
    },
];

/// How often each death is tried.
const TRIES: u32 = 40;
/// After so long something will not come any more.
pub(super) const NEVER: Duration = Duration::from_secs(5);

/// The hardware, and the processes over it.
pub(super) struct Rig {
    pub(super) board: Board,
    parent: Child,
    scan: ScanWriter,
    odometry: Writer<Stamped<Odometry>>,
    imu: Writer<Stamped<Imu>>,
    battery: Writer<Stamped<Battery>>,
    contact: Writer<Stamped<Contact>>,
    wheels: Wheels,
    clear: Scan,
    blocked: Scan,
    /// When the readings besides the scan are due again.
    due: Stamp,
    round: u32,
}

impl Rig {
    pub(super) fn start(bench: &Bench, points: usize) -> Result<Self, BenchError> {
        let mut config = ReflexConfig::example();
        config.scan.points = points;
        config.zones.clear_ms = 0;
        // A loop fast enough for the motors' watchdog to be short.
        config.tick_hz = 500;
        config.motor_ms = 8;
        // A killed process is gone when its memory is: under load its silence may be noticed first.
        config.parent_ms = 9;
        // Without the real-time class nothing would move at half a metre a second.
        config.degraded_mps = 1.0;
        write_config(&bench.folder, &config)?;
        let board = Board::create(points)?;
        let path = board.path().to_string_lossy().into_owned();
        std::fs::write(bench.folder.join("board"), path)
            .map_err(system("write the board's path"))?;
        let clear = Scan {
            angle_min_rad: -std::f32::consts::PI,
            angle_step_rad: 2.0 * std::f32::consts::PI / points as f32,
            range_min_m: 0.1,
            range_max_m: 12.0,
            ranges_m: vec![6.0; points],
        };
        let mut blocked = clear.clone();
        blocked.ranges_m.fill(0.3);
        let said = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(bench.folder.join(SAID))
            .map_err(system("write what the processes say"))?;
        let mut rig = Self {
            scan: board.scan_writer()?,
            odometry: board.odometry_writer()?,
            imu: board.imu_writer()?,
            battery: board.battery_writer()?,
            contact: board.contact_writer()?,
            wheels: board.wheels(),
            parent: Command::new(&bench.program)
                .args(["reflexd", "--bench-parent"])
                .arg(&bench.folder)
                .stdin(Stdio::null())
                .stderr(said)
                .spawn()
                .map_err(system("start the parent"))?,
            board,
            clear,
            blocked,
            due: now(),
            round: 0,
        };
        rig.drive(true, Duration::from_secs(20), "the first motion")?;
        Ok(rig)
    }

    /// Writes what the sensors say besides the scan, if it is due.
    pub(super) fn sense(&mut self) {
        let at = now();
        if at < self.due {
            return;
        }
        self.due = after(at, Duration::from_millis(10));
        let odometry = Odometry::default();
        self.odometry.write(&Stamped {
            at: now(),
            value: odometry,
        });
        self.imu.write(&Stamped {
            at: now(),
            value: Imu::default(),
        });
        let value = Battery {
            charge: 0.9,
            voltage_v: 12.0,
        };
        self.battery.write(&Stamped { at: now(), value });
        self.contact.write(&Stamped {
            at: now(),
            value: Contact::default(),
        });
        if self.round.is_multiple_of(4) {
            let _ = self.scan.write(now(), &self.clear);
        }
        self.round = self.round.wrapping_add(1);
    }

    /// When the readings besides the scan are due again.
    pub(super) fn due(&self) -> Stamp {
        self.due
    }

    /// Whether the reflexes' last word is to move, however long that stands.
    pub(super) fn is_told_to_move(&self) -> bool {
        let out = self.board.motor();
        out.is_some_and(|out| out.twist != Twist::default())
    }

    fn moves(&self) -> bool {
        self.wheels.twist(now()) != Twist::default()
    }

    /// Feeds the sensors until the motors do as they should.
    pub(super) fn drive(
        &mut self,
        moving: bool,
        at_most: Duration,
        what: &'static str,
    ) -> Result<(), BenchError> {
        let until = after(now(), at_most);
        loop {
            let seen = self.board.motor_rung();
            self.sense();
            if self.moves() == moving {
                return Ok(());
            }
            if now() > until {
                return Err(BenchError::Never(what));
            }
            self.board.wait_motor_rung(seen, self.due);
        }
    }

    pub(super) fn realtime(&self) -> bool {
        self.board.status().is_some_and(|status| status.realtime)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A killed parent takes its reflexes with it: they end by themselves. A stopped one, too.
        if let Some(status) = self.board.status()
            && let Ok(pid) = i32::try_from(status.pid)
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }
}

/// From a scan with something in the stop zone to a motor that is told to stand.
pub(super) fn sample_to_stop(bench: &Bench, points: usize) -> Result<Finding, BenchError> {
    let mut rig = Rig::start(bench, points)?;
    let mut taken = histogram()?;
    let granted = enter();
    let until = after(now(), bench.duration);
    let mut random = fastrand::Rng::with_seed(1);
    let measured = loop {
        if now() > until {
            break Ok(());
        }
        if let Err(why) = rig.drive(true, NEVER, "a motion") {
            break Err(why);
        }
        // At any moment of the loop's tick.
        let begin = after(now(), Duration::from_micros(random.u64(0..4000)));
        while now() < begin {
            let seen = rig.board.motor_rung();
            rig.sense();
            rig.board.wait_motor_rung(seen, begin.min(rig.due));
        }
        if !rig.moves() {
            continue;
        }
        let begin = now();
        let mut seen = rig.board.motor_rung();
        if let Err(why) = rig.scan.write(begin, &rig.blocked) {
            break Err(why.into());
        }
        // By the reflexes' word, not because the last one ran out.
        while rig.is_told_to_move() {
            rig.board
                .wait_motor_rung(seen, after(now(), Duration::from_millis(50)));
            seen = rig.board.motor_rung();
        }
        taken.saturating_record(nanos(begin.age(now())));
        if let Err(why) = rig.scan.write(now(), &rig.clear) {
            break Err(why.into());
        }
    };
    if granted {
        let _ = realtime::leave();
    }
    measured?;
    let name = format!("sample ({points} points) to motor stop, 2 processes");
    Ok(Finding::new(name, rig.realtime(), bench.load, &taken)
        .must("p99", 150.0)
        .must("p99.9", 500.0))
}

/// From the signal to motors that stand, each time with new processes.
pub(super) fn death_to_stop(bench: &Bench, death: Death) -> Result<Finding, BenchError> {
    let mut taken = histogram()?;
    let mut realtime = true;
    for _ in 0..TRIES {
        let mut rig = Rig::start(bench, 360)?;
        realtime &= rig.realtime();
        let pid = if death.reflexes {
            rig.board.status().map_or(0, |status| status.pid)
        } else {
            rig.parent.id()
        };
        let pid = Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX));
        let granted = enter();
        let begin = now();
        let sent = kill(pid, death.signal);
        let stopped = stopped_at(&mut rig);
        if granted {
            let _ = realtime::leave();
        }
        sent.map_err(|why| system("send a signal")(why.into()))?;
        taken.saturating_record(nanos(begin.age(stopped?)));
    }
    Ok(Finding::new(death.name, realtime, bench.load, &taken).must("max", death.most_ms * 1000.0))
}

/// When the motors stand, with the sensors going on.
fn stopped_at(rig: &mut Rig) -> Result<Stamp, BenchError> {
    let never = after(now(), NEVER);
    loop {
        let seen = rig.board.motor_rung();
        rig.sense();
        let at = now();
        if rig.wheels.twist(at) == Twist::default() {
            return Ok(at);
        }
        if at > never {
            return Err(BenchError::Never("zero speed"));
        }
        let until = Stamp(rig.wheels.until().0.saturating_add(1));
        rig.board.wait_motor_rung(seen, until.min(rig.due));
    }
}
