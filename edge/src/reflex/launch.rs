//! What a parent does: it starts the reflex process, and says that it lives.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    clock::{after, now, sleep_until},
    command::SessionKey,
    process::Options,
    realtime,
    shm::{Board, BoardError},
};
use crate::body::hal::Stamp;

/// How to start the reflexes.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program: gpak itself.
    pub program: PathBuf,
    /// With what.
    pub options: Options,
}

impl Launch {
    /// Starts the process and gives it the key. It is the caller's child, to be waited for; it ends by
    /// itself when the caller dies.
    ///
    /// # Errors
    ///
    /// The process cannot be started. That it cannot work it says by ending with an error.
    pub fn start(&self, session: &SessionKey) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg("reflexd")
            .arg("--board")
            .arg(&self.options.board)
            .arg("--config")
            .arg(&self.options.config)
            .arg("--latch")
            .arg(&self.options.latch)
            .stdin(Stdio::piped());
        if let Some(log) = &self.options.log {
            command.arg("--log").arg(log);
        }
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&session.to_bytes())?;
        }
        Ok(child)
    }
}

/// Waits until the reflexes on that board have decided something, or the process ended. Says whether
/// they have.
///
/// # Errors
///
/// The process cannot be asked.
pub fn wait_ready(board: &Board, child: &mut Child, at_most: Duration) -> std::io::Result<bool> {
    let until = after(now(), at_most);
    let mut seen = board.motor_rung();
    loop {
        if board
            .status()
            .is_some_and(|status| status.pid == child.id())
        {
            return Ok(true);
        }
        if child.try_wait()?.is_some() || now() >= until {
            return Ok(false);
        }
        // The reflexes ring at their first decision; a process that ended does not.
        board.wait_motor_rung(seen, after(now(), Duration::from_millis(20)).min(until));
        seen = board.motor_rung();
    }
}

/// The parent's heartbeat: a thread that beats as long as the parent's own loop shows that it goes round.
#[derive(Debug)]
pub struct Pulse {
    shown: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    /// Beats that often, until [`Pulse::alive`] was not called for that long.
    ///
    /// # Errors
    ///
    /// Another process is the parent.
    pub fn start(board: &Board, every: Duration, patience: Duration) -> Result<Self, BoardError> {
        let mut heart = board.heart()?;
        let shown = Arc::new(AtomicU64::new(now().0));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, told) = (Arc::clone(&shown), Arc::clone(&stop));
        let beat = move || {
            // Where it is not granted the beat may be late, and the body stops for it.
            let _ = realtime::enter(realtime::TELLERS);
            let mut next = now();
            while !told.load(Ordering::Acquire) {
                if Stamp(theirs.load(Ordering::Acquire)).age(now()) <= patience {
                    heart.beat();
                }
                next = after(next, every).max(now());
                sleep_until(next);
            }
        };
        let thread = std::thread::Builder::new()
            .name("reflex-pulse".into())
            .spawn(beat)
            .map_err(|why| BoardError::System {
                what: "start a thread",
                why,
            })?;
        Ok(Self {
            shown,
            stop,
            thread: Some(thread),
        })
    }

    /// The parent's loop goes round.
    pub fn alive(&self) {
        self.shown.store(now().0, Ordering::Release);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
