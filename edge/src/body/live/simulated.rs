//! The simulator as a process's body: its sensors write to the board, its motors read from it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::SyncSender,
    },
    thread::JoinHandle,
    time::Duration,
};

use super::Sense;
use crate::body::hal::{Battery, Contact, Imu, Odometry};
use crate::{
    body::{
        hal::{Stamp, Stamped},
        record::Recorder,
        sim::{Readings, STEP, Scene, Simulation, world::World},
    },
    reflex::{
        clock::{after, now, sleep_until},
        config::ReflexConfig,
        shm::{Board, BoardError, ScanWriter, Wheels, Writer},
    },
};

/// How a simulated life begins.
pub struct Start {
    /// Its world at its beginning.
    pub simulation: Simulation,
    /// How many of its seconds pass in one.
    pub speed: f32,
    /// Where its sensors write to.
    pub board: Board,
    /// Where those write to that are not on the board.
    pub senses: SyncSender<Sense>,
    /// Where all is written down.
    pub recorder: Recorder,
}

/// A simulator that runs in a thread of its own, until it is dropped.
pub struct Simulated {
    simulation: Arc<Mutex<Simulation>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Sensors {
    odometry: Writer<Stamped<Odometry>>,
    imu: Writer<Stamped<Imu>>,
    contact: Writer<Stamped<Contact>>,
    battery: Writer<Stamped<Battery>>,
    scan: ScanWriter,
    senses: SyncSender<Sense>,
    recorder: Recorder,
}

impl Simulated {
    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// Another body writes to the board, or the system gives no thread.
    pub fn start(start: Start) -> Result<Self, BoardError> {
        let board = &start.board;
        let sensors = Sensors {
            odometry: board.odometry_writer()?,
            imu: board.imu_writer()?,
            contact: board.contact_writer()?,
            battery: board.battery_writer()?,
            scan: board.scan_writer()?,
            senses: start.senses,
            recorder: start.recorder,
        };
        let simulation = Arc::new(Mutex::new(start.simulation));
        let stop = Arc::new(AtomicBool::new(false));
        let step = STEP.div_f32(start.speed.clamp(0.05, 50.0));
        let (theirs, told, wheels) = (simulation.clone(), stop.clone(), board.wheels());
        let thread = std::thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(move || live(&theirs, &told, &wheels, sensors, step))
            .map_err(|why| BoardError::System {
                what: "start a thread",
                why,
            })?;
        Ok(Self {
            simulation,
            stop,
            thread: Some(thread),
        })
    }

    /// The loudspeaker says something.
    pub fn say(&self, text: &str) {
        self.with(|simulation| simulation.say(text));
    }

    /// What there is to see now.
    pub fn scene(&self) -> Scene {
        self.with(|simulation| simulation.scene())
    }

    /// Asks the world.
    pub fn with<T>(&self, ask: impl FnOnce(&mut Simulation) -> T) -> T {
        ask(&mut self
            .simulation
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// The world itself, for who says things in it.
    pub fn world(&self) -> Arc<Mutex<Simulation>> {
        self.simulation.clone()
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A world that falls behind its clock is slow; it does not catch up in a burst.
fn live(
    simulation: &Mutex<Simulation>,
    stop: &AtomicBool,
    wheels: &Wheels,
    mut sensors: Sensors,
    step: Duration,
) {
    let mut next = now();
    while !stop.load(Ordering::Acquire) {
        next = after(next, step);
        let time = now();
        if next.age(time) > Duration::from_millis(100) {
            next = time;
        }
        sleep_until(next);
        let twist = wheels.twist(now());
        let readings = {
            let mut simulation = simulation.lock().unwrap_or_else(PoisonError::into_inner);
            let until = after(simulation.now(), STEP * 2);
            simulation.drive(twist, until);
            simulation.tick()
        };
        sensors.write(readings);
    }
}

impl Sensors {
    /// Stamped anew: the board has the machine's clock.
    fn write(&mut self, readings: Readings) {
        let at = now();
        let recorder = &self.recorder;
        if let Some(odometry) = readings.odometry {
            let value = odometry.value;
            self.odometry.write(&Stamped { at, value });
            recorder.put("/odom", at, &value);
        }
        if let Some(imu) = readings.imu {
            let value = imu.value;
            self.imu.write(&Stamped { at, value });
            recorder.put("/imu", at, &value);
        }
        if let Some(contact) = readings.contact {
            let value = contact.value;
            self.contact.write(&Stamped { at, value });
            recorder.put("/contact", at, &value);
        }
        if let Some(battery) = readings.battery {
            let value = battery.value;
            self.battery.write(&Stamped { at, value });
            recorder.put("/battery", at, &value);
        }
        if let Some(scan) = readings.scan {
            if let Err(why) = self.scan.write(at, &scan.value) {
                tracing::error!("{why}");
            }
            recorder.put("/scan", at, &scan.value);
        }
        if let Some(sightings) = readings.sightings {
            let value = sightings.value;
            recorder.put("/sightings", at, &serde_json::json!({"sightings": value}));
            // A pilot that does not listen misses a glance, not a word.
            let _ = self
                .senses
                .try_send(Sense::Sightings(Stamped { at, value }));
        }
        for heard in readings.heard {
            let value = heard.value;
            recorder.put("/heard", at, &value);
            if self
                .senses
                .try_send(Sense::Heard(Stamped { at, value }))
                .is_err()
            {
                tracing::warn!("a word was not heard: the pilot does not listen");
            }
        }
    }
}

/// How fast a robot may be that sees the floor end 12 cm before it, 50 ms late, and brakes so hard.
fn before_an_edge(braking_mps2: f32) -> f32 {
    let late = braking_mps2 * 0.05;
    (late * late + 2.0 * braking_mps2 * 0.12).sqrt() - late
}

/// The configuration of the reflexes of a simulated robot.
///
/// # Errors
///
/// The robot of that world could not stop for what it sees.
pub fn robot_toml(world: &World, speed: f32) -> Result<(ReflexConfig, String), String> {
    let robot = &world.robot;
    let mut config = ReflexConfig::example();
    let body = &mut config.body;
    (body.front_m, body.back_m) = (robot.radius_m, robot.radius_m);
    (body.half_width_m, body.turn_radius_m) = (robot.radius_m, Some(robot.radius_m));
    body.forward_mps = robot
        .max_speed_mps
        .min(before_an_edge(robot.max_acceleration_mps2 * 0.9));
    body.backward_mps = robot.max_speed_mps.min(0.3);
    body.turn_radps = robot.max_turn_radps;
    body.braking_mps2 = robot.max_acceleration_mps2 * 0.9;
    // What is late in the machine's time is later in that of a world that goes faster.
    body.lag_ms = (20.0 * speed.max(1.0)) as u32;
    config.degraded_mps = robot.max_speed_mps.min(0.5);
    config.parent_ms = 60;
    config.motor_ms = 30;
    config.scan.points = world.lidar.points;
    config.scan.period_ms = 80;
    config.scan.reach_m = world.lidar.range_max_m;
    // Rays that meet nothing are common in a wide room.
    config.scan.blind = 1.0;
    config.odometry.period_ms = 40;
    if let Some(imu) = &mut config.imu {
        imu.period_ms = 40;
    }
    if let Some(contact) = &mut config.contact {
        contact.period_ms = 40;
    }
    if let Some(battery) = &mut config.battery {
        battery.period_ms = 400;
    }
    config.check().map_err(|why| why.to_string())?;
    let text = config.to_robot().map_err(|why| why.to_string())?;
    Ok((config, text))
}

/// Nothing was taken yet.
pub(super) const NEVER: Stamp = Stamp(0);
