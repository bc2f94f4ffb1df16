//! The thread between the board and motors that are reached over a network.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    body::hal::{Stamp, Twist},
    reflex::{
        clock::{after, now},
        realtime,
        shm::{Board, Wheels},
    },
};

/// How often a motion is said again while it stands: a base stops by itself when it hears nothing.
const AGAIN: Duration = Duration::from_millis(50);

/// Says a motion to the motors; never waits for them.
pub(crate) type Say = Box<dyn FnMut(Twist) -> Result<(), String> + Send>;

/// Says what the board says, until it is dropped; then it says a stop.
pub(crate) struct Motors {
    board: Board,
    stop: Arc<AtomicBool>,
    safe: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Motors {
    pub(crate) fn start(name: &'static str, board: &Board, say: Say) -> std::io::Result<Self> {
        let (stop, safe) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut turning = Turning {
            wheels: board.wheels(),
            board: board.clone(),
            stop: Arc::clone(&stop),
            safe: Arc::clone(&safe),
            say,
            unreached: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("{name}-motors"))
            .spawn(move || {
                // Where it is not granted a motion comes later, and the reflexes' cap is lower.
                let _ = realtime::enter(realtime::TELLERS);
                turning.turn();
            })?;
        Ok(Self {
            board: board.clone(),
            stop,
            safe,
            thread: Some(thread),
        })
    }

    /// From now on every motion is a stop.
    pub(crate) fn safe(&self) {
        self.safe.store(true, Ordering::Release);
        self.board.ring_motor();
    }
}

impl Drop for Motors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.board.ring_motor();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Turning {
    wheels: Wheels,
    board: Board,
    stop: Arc<AtomicBool>,
    safe: Arc<AtomicBool>,
    say: Say,
    unreached: bool,
}

impl Turning {
    /// A stop is said at once; and what stands no more is said as a stop.
    fn turn(&mut self) {
        let mut seen = self.board.motor_rung();
        let (mut last, mut said_at) = (None, Stamp(0));
        while !self.stop.load(Ordering::Acquire) {
            let time = now();
            let twist = match self.safe.load(Ordering::Acquire) {
                true => Twist::default(),
                false => self.wheels.twist(time),
            };
            if last != Some(twist) || said_at.age(time) >= AGAIN {
                self.said(twist);
                (last, said_at) = (Some(twist), time);
            }
            let mut until = after(time, AGAIN);
            if twist != Twist::default() {
                until = until.min(after(self.wheels.until(), Duration::from_micros(100)));
            }
            seen = self.wheels.wait(seen, until);
        }
        self.said(Twist::default());
    }

    /// What the motors do not hear is said once, and that they hear again, too.
    fn said(&mut self, twist: Twist) {
        match (self.say)(twist) {
            Ok(()) if self.unreached => {
                tracing::warn!("the motors are reached again");
                self.unreached = false;
            }
            Err(why) if !self.unreached => {
                tracing::error!("the motors are not reached: {why}");
                self.unreached = true;
            }
            _ => {}
        }
    }
}
