//! A body behind a bridge between ROS 2 and Zenoh.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde::Deserialize;
use zenoh::{Session, Wait as _, qos::Priority};

use super::messages::{self, BadMessage};
use crate::{
    body::hal::{DeviceError, Stamp, Stamped, Twist},
    reflex::{
        clock::{after, now},
        shm::{Board, BoardError, Wheels},
    },
};

/// How the body is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ros2Config {
    /// Where the bridge listens.
    pub connect: Vec<String>,
    /// Where this end listens, if the bridge connects.
    pub listen: Vec<String>,
    /// The topic of the scanner.
    pub scan: String,
    /// The topic of the wheels.
    pub odom: String,
    /// The topic of the inertial sensor.
    pub imu: String,
    /// The topic of motions.
    pub cmd_vel: String,
}

impl Default for Ros2Config {
    fn default() -> Self {
        Self {
            connect: Vec::new(),
            listen: Vec::new(),
            scan: "scan".to_owned(),
            odom: "odom".to_owned(),
            imu: "imu".to_owned(),
            cmd_vel: "cmd_vel".to_owned(),
        }
    }
}

/// How often a motion is said again while it stands: a base stops by itself when it hears nothing.
const AGAIN: Duration = Duration::from_millis(50);

/// A body that is driven over Zenoh, until it is dropped.
pub struct Ros2 {
    session: Session,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    board: Board,
}

fn failed(why: impl std::fmt::Display) -> DeviceError {
    DeviceError::Failed {
        device: "ros2",
        why: why.to_string(),
    }
}

impl Ros2 {
    /// Takes what its sensors say to the board, and what the board says to its motors.
    ///
    /// # Errors
    ///
    /// The network does not let it, or another body writes to the board.
    pub fn start(config: &Ros2Config, board: &Board) -> Result<Self, DeviceError> {
        let session =
            zenoh::open(crate::mesh::network(&config.listen, &config.connect).map_err(failed)?)
                .wait()
                .map_err(failed)?;
        let refused = Arc::new(AtomicU64::new(0));
        let taken = |why: BoardError| failed(why);
        let mut scans = board.scan_writer().map_err(taken)?;
        listen(&session, &config.scan, &refused, move |bytes, at| {
            let scan = messages::laser_scan(bytes)?;
            scans.write(at, &scan).map_err(|why| BadMessage::Body {
                what: "scan for this board",
                why: why.to_string(),
            })
        })?;
        let mut wheels = board.odometry_writer().map_err(taken)?;
        listen(&session, &config.odom, &refused, move |bytes, at| {
            let value = messages::odometry(bytes)?;
            wheels.write(&Stamped { at, value });
            Ok(())
        })?;
        let mut inertia = board.imu_writer().map_err(taken)?;
        listen(&session, &config.imu, &refused, move |bytes, at| {
            let value = messages::imu(bytes)?;
            inertia.write(&Stamped { at, value });
            Ok(())
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let motors = Motors {
            publisher: session
                .declare_publisher(config.cmd_vel.clone())
                .priority(Priority::RealTime)
                .express(true)
                .wait()
                .map_err(failed)?,
            wheels: board.wheels(),
            board: board.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ros2".to_owned())
            .spawn(move || motors.turn())
            .map_err(failed)?;
        Ok(Self {
            session,
            stop,
            refused,
            thread: Some(thread),
            board: board.clone(),
        })
    }

    /// How many messages could not be read.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Ros2 {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.board.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.session.close().wait();
    }
}

/// A reading's time is when it came: the clock of another machine is not ours.
fn listen(
    session: &Session,
    topic: &str,
    refused: &Arc<AtomicU64>,
    mut take: impl FnMut(&[u8], Stamp) -> Result<(), BadMessage> + Send + 'static,
) -> Result<(), DeviceError> {
    let refused = refused.clone();
    let take = std::sync::Mutex::new(move |bytes: &[u8]| take(bytes, now()));
    session
        .declare_subscriber(topic.to_owned())
        .callback(move |sample| {
            let mut take = take
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Err(why) = take(&sample.payload().to_bytes()) {
                refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("{}: {why}", sample.key_expr());
            }
        })
        .background()
        .wait()
        .map_err(failed)
}

struct Motors {
    publisher: zenoh::pubsub::Publisher<'static>,
    wheels: Wheels,
    board: Board,
    stop: Arc<AtomicBool>,
}

impl Motors {
    /// A stop is said at once; and what stands no more is said as a stop.
    fn turn(self) {
        let mut seen = self.board.motor_rung();
        let (mut last, mut said_at) = (None, Stamp(0));
        while !self.stop.load(Ordering::Acquire) {
            let time = now();
            let twist = self.wheels.twist(time);
            if last != Some(twist) || said_at.age(time) >= AGAIN {
                self.say(twist);
                (last, said_at) = (Some(twist), time);
            }
            let mut until = after(time, AGAIN);
            if twist != Twist::default() {
                until = until.min(after(self.wheels.until(), Duration::from_micros(100)));
            }
            seen = self.wheels.wait(seen, until);
        }
        self.say(Twist::default());
    }

    fn say(&self, twist: Twist) {
        let said = messages::twist(twist).map_err(|why| why.to_string());
        let said = said.and_then(|bytes| {
            self.publisher
                .put(bytes)
                .wait()
                .map_err(|why| why.to_string())
        });
        if let Err(why) = said {
            tracing::error!("the motors are not reached: {why}");
        }
    }
}
