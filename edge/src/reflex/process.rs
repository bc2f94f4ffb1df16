//! The reflex process: what is around the loop. One thread loops; one waits for the parent's death, one
//! for the signals that end the process, and one writes to the disk and says what a person must know.

use std::{
    fs::File,
    io::{BufWriter, IsTerminal as _, Read as _, Write},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{PidfdFlags, getppid, pidfd_open},
};

use super::{
    command::SessionKey,
    config::{ConfigError, ReflexConfig},
    cycle::{Cycle, Signals, Tick},
    drive::BoardDrive,
    latch::Latch,
    realtime,
    shm::{Board, BoardError, Decisions},
    step::Reflexes,
};

/// How much stack the threads beside the loop get: their memory is locked, too.
const STACK: usize = 256 * 1024;
/// How often the thread that writes to the disk looks by itself.
const HOUSEKEEPING: Duration = Duration::from_millis(20);

/// What the process is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The board.
    pub board: PathBuf,
    /// The file with the table `[reflex]`.
    pub config: PathBuf,
    /// The file that is there as long as the e-stop holds.
    pub latch: PathBuf,
    /// Where every decision is written, if anywhere.
    pub log: Option<PathBuf>,
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// Its parent is dead.
    Orphaned,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The board.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// The board is for smaller scans than the configuration says.
    #[error(
        "the board has room for {room} points and reflex.scan.points is {points}; make the board for as many"
    )]
    Points {
        /// For so many.
        room: usize,
        /// So many.
        points: usize,
    },
    /// The system.
    #[error("cannot {what}: {why}")]
    System {
        /// What was asked of it.
        what: String,
        /// What it says.
        why: std::io::Error,
    },
    /// Nobody gave it the key of the session.
    #[error(
        "no session key came in: `gpak robot run` starts the reflexes and writes 32 bytes to their standard input"
    )]
    NoKey,
}

fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> StartError {
    let what = what.into();
    move |why| StartError::System { what, why }
}

/// Runs the reflexes until they are told to stop or their parent dies. `ticked` is told of every tick.
///
/// # Errors
///
/// What it was started with cannot work; the drive was not touched.
pub fn run(
    options: &Options,
    session: &SessionKey,
    ticked: impl FnMut(Tick),
) -> Result<Ended, StartError> {
    let text = std::fs::read_to_string(&options.config)
        .map_err(system(format!("read {}", options.config.display())))?;
    let config = ReflexConfig::from_robot(&text)?;
    let board = Board::open(&options.board)?;
    let (room, points) = (board.scan_points(), config.scan.points);
    if points > room {
        return Err(StartError::Points { room, points });
    }
    let latch = Latch::at(&options.latch);
    let held = latch.holds();
    // Commands for reflexes of before count no longer.
    let epoch = board
        .status()
        .map_or(1, |status| status.epoch.wrapping_add(1));
    let log = options.log.as_ref().map(|path| {
        let file = File::options().append(true).create(true).open(path);
        file.map_err(system(format!("write {}", path.display())))
    });
    let log = log.transpose()?.map(BufWriter::new);
    let tick = config.tick();
    let cap = config.degraded_mps;
    let wake_us = config.wake_us;
    let drive = BoardDrive::new(&board, Duration::from_millis(u64::from(config.motor_ms)))?;
    let reflexes = Reflexes::new(config, session, epoch, held);
    let mut cycle = Cycle::new(board.clone(), reflexes, drive)?;
    let signals = Arc::new(Signals::default());
    signals.latched.store(held, Ordering::Release);

    // First, so that every thread inherits that the signals are blocked.
    watch_signals(&board, &signals)?;
    watch_parent(&board, &signals)?;
    let realtime = realtime::enter(realtime::REFLEXES);
    signals.realtime.store(realtime.is_ok(), Ordering::Release);
    let locked = realtime::lock_memory();
    cycle.set_locked(locked.is_ok());
    // Kept until the loop has ended.
    let awake = realtime::stay_awake(i32::try_from(wake_us).unwrap_or(i32::MAX));
    let granted = Granted {
        realtime: realtime.as_ref().map(drop),
        locked: locked.as_ref().map(drop),
        awake: awake.as_ref().map(drop),
    };
    say_start(tick, cap, held, granted);
    let keeper = Keeper {
        decisions: board.decisions().from_now(),
        signals: Arc::clone(&signals),
        latch,
        log,
        held,
        realtime: realtime.is_ok(),
        cap,
    };
    let keeper = thread("reflex-keeper", move || keeper.run())?;
    cycle.tell(keeper.thread().clone());
    cycle.activate().map_err(|why| StartError::System {
        what: "activate the drive".into(),
        why: std::io::Error::other(why),
    })?;
    cycle.run(&signals, ticked);
    drop(awake);
    signals.stop.store(true, Ordering::Release);
    keeper.thread().unpark();
    // What it has left to write; a panic there is no reason to end otherwise here.
    let _ = keeper.join();
    if signals.orphaned.load(Ordering::Acquire) {
        Ok(Ended::Orphaned)
    } else {
        Ok(Ended::Told)
    }
}

/// The key of the session, as [`super::launch`] writes it to this process's standard input.
///
/// # Errors
///
/// It is not there.
pub fn session_from_stdin() -> Result<SessionKey, StartError> {
    let mut bytes = [0; 32];
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(StartError::NoKey);
    }
    stdin
        .lock()
        .read_exact(&mut bytes)
        .map_err(|_| StartError::NoKey)?;
    Ok(SessionKey::from_bytes(bytes))
}

/// What the system grants.
struct Granted<'a> {
    realtime: Result<(), &'a std::io::Error>,
    locked: Result<(), &'a std::io::Error>,
    awake: Result<(), &'a std::io::Error>,
}

fn say_start(tick: Duration, cap: f32, held: bool, granted: Granted<'_>) {
    let yes = |granted: Result<(), &std::io::Error>| match granted {
        Ok(()) => "granted".to_owned(),
        Err(why) => format!("not granted ({why})"),
    };
    let Granted {
        realtime,
        locked,
        awake,
    } = granted;
    eprintln!(
        "gpak reflexd: a tick every {tick:?}; SCHED_FIFO {}; locked memory {}; processors that wake up soon {}",
        yes(realtime),
        yes(locked),
        yes(awake)
    );
    if realtime.is_err() {
        say_degraded(cap);
    }
    if held {
        eprintln!("gpak reflexd: the e-stop holds from before, until a person releases it");
    }
}

fn say_degraded(cap: f32) {
    eprintln!(
        "gpak reflexd: DEGRADED: without the real-time class a stop can come late, so nothing moves faster \
         than {cap} m/s; grant it with `ulimit -r 40` (limits.conf: rtprio) or CAP_SYS_NICE"
    );
}

fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(system("start a thread"))
}

/// Says at once when the parent is dead: the heartbeat would say so later.
fn watch_parent(board: &Board, signals: &Arc<Signals>) -> Result<(), StartError> {
    let parent =
        getppid().ok_or_else(|| system("find the parent")(std::io::ErrorKind::NotFound.into()))?;
    let watched = pidfd_open(parent, PidfdFlags::empty())
        .map_err(|why| system("watch the parent")(why.into()))?;
    // It may have died before it was watched; then another is the parent by now.
    if getppid() != Some(parent) {
        signals.orphaned.store(true, Ordering::Release);
    }
    let (board, signals) = (board.clone(), Arc::clone(signals));
    thread("reflex-parent", move || {
        // As urgent as a sensor. Where it is not granted, the loop has said so for itself.
        let _ = realtime::enter(realtime::TELLERS);
        loop {
            let mut polled = [PollFd::new(&watched, PollFlags::IN)];
            match poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => {}
                // If it cannot be watched, nobody answers for it.
                _ => break,
            }
        }
        signals.orphaned.store(true, Ordering::Release);
        board.ring();
    })?;
    Ok(())
}

/// Ends the loop at SIGTERM and SIGINT, with the drive safe.
fn watch_signals(board: &Board, signals: &Arc<Signals>) -> Result<(), StartError> {
    let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let ends = ends.into_iter().collect::<SigSet>();
    ends.thread_block()
        .map_err(|why| system("block signals")(why.into()))?;
    let (board, signals) = (board.clone(), Arc::clone(signals));
    thread("reflex-signals", move || {
        while ends.wait() == Err(nix::errno::Errno::EINTR) {}
        signals.stop.store(true, Ordering::Release);
        board.ring();
    })?;
    Ok(())
}

/// The thread for the disk and for people.
struct Keeper {
    decisions: Decisions,
    signals: Arc<Signals>,
    latch: Latch,
    log: Option<BufWriter<File>>,
    /// What is on the disk.
    held: bool,
    realtime: bool,
    cap: f32,
}

impl Keeper {
    fn run(mut self) {
        loop {
            let stop = self.signals.stop.load(Ordering::Acquire);
            self.keep_latch();
            self.keep_log();
            let realtime = self.signals.realtime.load(Ordering::Acquire);
            if self.realtime && !realtime {
                eprintln!("gpak reflexd: the real-time class was taken away");
                say_degraded(self.cap);
            } else if realtime && !self.realtime {
                eprintln!("gpak reflexd: the real-time class is granted again");
            }
            self.realtime = realtime;
            if stop {
                return;
            }
            std::thread::park_timeout(HOUSEKEEPING);
        }
    }

    fn keep_latch(&mut self) {
        let latched = self.signals.latched.load(Ordering::Acquire);
        if latched == self.held {
            return;
        }
        let kept = if latched {
            eprintln!("gpak reflexd: E-STOP: it holds until a person releases it");
            self.latch.engage("the e-stop holds")
        } else {
            eprintln!("gpak reflexd: the e-stop was released");
            self.latch.clear()
        };
        match kept {
            Ok(()) => self.held = latched,
            // Tried again at the next round.
            Err(why) => eprintln!("gpak reflexd: {}: {why}", self.latch.path().display()),
        }
    }

    fn keep_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        let missed = self.decisions.missed();
        let mut written = Ok(());
        for record in self.decisions.by_ref() {
            written = written.and_then(|()| log.write_all(&record.to_bytes()));
        }
        if let Err(why) = written.and_then(|()| log.flush()) {
            eprintln!("gpak reflexd: the log of decisions ends here: {why}");
            self.log = None;
        } else if self.decisions.missed() > missed {
            let lost = self.decisions.missed() - missed;
            eprintln!("gpak reflexd: {lost} decisions were made faster than they were written");
        }
    }
}
