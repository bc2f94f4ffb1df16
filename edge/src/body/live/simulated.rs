//! The simulator as a driver: its sensors write to the board, its motors read from it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    body::{
        driver::{Driver, Hold, Loudspeaker, Outlet, Sensors, failed},
        hal::{Device, DeviceError, Lifecycle, Speaker, Stamp, Twist},
        sim::{EDGE_M, Readings, STEP, Scene, Simulation, world::World},
    },
    reflex::{
        clock::{after, now, sleep_until},
        config::{ConfigError, ReflexConfig},
    },
};

const NAME: &str = "simulator";

/// A simulator that runs in a thread of its own while it is active. Inactive, its time stands still.
pub struct Simulated {
    simulation: Arc<Mutex<Simulation>>,
    outlet: Outlet,
    step: Duration,
    told: Arc<Told>,
    thread: Hold<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    safe: AtomicBool,
}

impl Simulated {
    /// A world at its beginning, of which so many seconds pass in one.
    pub fn new(simulation: Simulation, speed: f32, outlet: Outlet) -> Self {
        Self {
            simulation: Arc::new(Mutex::new(simulation)),
            outlet,
            step: STEP.div_f32(speed.clamp(0.05, 50.0)),
            told: Arc::default(),
            thread: Hold::default(),
        }
    }

    fn start(&mut self) -> Result<JoinHandle<()>, DeviceError> {
        let sensors = self.outlet.open(NAME)?;
        self.told = Arc::default();
        let (simulation, told, step) = (self.simulation.clone(), self.told.clone(), self.step);
        let wheels = self.outlet.board.wheels();
        std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                let wanted = |time| match told.safe.load(Ordering::Acquire) {
                    true => Twist::default(),
                    false => wheels.twist(time),
                };
                live(&simulation, &told.stop, wanted, sensors, step);
            })
            .map_err(|why| failed(NAME)(&why))
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

    /// The world itself, for who looks at it.
    pub fn world(&self) -> Arc<Mutex<Simulation>> {
        self.simulation.clone()
    }
}

impl Device for Simulated {
    fn name(&self) -> &'static str {
        NAME
    }

    fn lifecycle(&self) -> Lifecycle {
        self.thread.lifecycle(|thread| !thread.is_finished())
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        if self.lifecycle() == Lifecycle::Active {
            self.told.safe.store(false, Ordering::Release);
            return Ok(());
        }
        self.deactivate();
        let started = self.start();
        self.thread.keep(started)
    }

    fn deactivate(&mut self) {
        self.told.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.let_go() {
            let _ = thread.join();
        }
    }
}

impl Driver for Simulated {
    fn safe(&self) {
        self.told.safe.store(true, Ordering::Release);
    }

    fn refused(&self) -> u64 {
        0
    }

    fn speaker(&self) -> Box<dyn Speaker> {
        let world = Some(&self.simulation);
        Box::new(Loudspeaker::over(
            world,
            Box::new(|world: &Mutex<Simulation>, text| {
                let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                world.say(text);
                Ok(())
            }),
        ))
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.deactivate();
    }
}

/// A world that falls behind its clock is slow; it does not catch up in a burst.
fn live(
    simulation: &Mutex<Simulation>,
    stop: &AtomicBool,
    wanted: impl Fn(Stamp) -> Twist,
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
        let twist = wanted(now());
        let readings = {
            let mut simulation = simulation.lock().unwrap_or_else(PoisonError::into_inner);
            let until = after(simulation.now(), STEP * 2);
            simulation.drive(twist, until);
            simulation.tick()
        };
        write(&mut sensors, readings);
    }
    let mut simulation = simulation.lock().unwrap_or_else(PoisonError::into_inner);
    let until = simulation.now();
    simulation.drive(Twist::default(), until);
}

/// Stamped anew: the board has the machine's clock.
fn write(sensors: &mut Sensors, readings: Readings) {
    if let Some(odometry) = readings.odometry {
        sensors.odometry.put(odometry.value);
    }
    if let Some(imu) = readings.imu {
        sensors.imu.put(imu.value);
    }
    if let Some(contact) = readings.contact {
        sensors.contact.put(contact.value);
    }
    if let Some(battery) = readings.battery {
        sensors.battery.put(battery.value);
    }
    if let Some(scan) = readings.scan
        && let Err(why) = sensors.scan.put(&scan.value)
    {
        tracing::error!("{why}");
    }
    if let Some(sightings) = readings.sightings {
        sensors.senses.sees(sightings.value);
    }
    for heard in readings.heard {
        sensors.senses.heard(heard.value);
    }
}

/// The configuration of the reflexes of a simulated robot.
///
/// # Errors
///
/// The robot of that world could not stop for what it sees.
pub fn robot_toml(world: &World, speed: f32) -> Result<ReflexConfig, ConfigError> {
    let robot = &world.robot;
    let mut config = ReflexConfig::example();
    let body = &mut config.body;
    (body.front_m, body.back_m) = (robot.radius_m, robot.radius_m);
    (body.half_width_m, body.turn_radius_m) = (robot.radius_m, Some(robot.radius_m));
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
        contact.cliff_m = Some(EDGE_M);
    }
    if let Some(battery) = &mut config.battery {
        battery.period_ms = 400;
    }
    let before_an_edge = config.edge_mps().unwrap_or(f32::INFINITY);
    config.body.forward_mps = robot.max_speed_mps.min(before_an_edge);
    config.body.backward_mps = config.body.backward_mps.min(before_an_edge);
    config.check()?;
    Ok(config)
}
