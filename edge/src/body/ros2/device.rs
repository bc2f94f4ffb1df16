//! A body behind a bridge between ROS 2 and Zenoh.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use serde::Deserialize;
use zenoh::{
    Session, Wait as _,
    qos::{CongestionControl, Priority},
};

use super::messages::{self, BadMessage};
use crate::{
    body::{
        driver::{Driver, Hold, Loudspeaker, Motors, Outlet, SILENT, Sensor, failed},
        hal::{Contact, Device, DeviceError, Heard, Lifecycle, Speaker, Stamp},
    },
    reflex::clock::now,
};

const NAME: &str = "ros2";

/// How the body is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ros2Config {
    /// Where the bridge listens.
    pub connect: Vec<String>,
    /// Where this end listens, if the bridge connects.
    pub listen: Vec<String>,
    /// The topic of the scanner (`sensor_msgs/LaserScan`).
    pub scan: String,
    /// The topic of the wheels (`nav_msgs/Odometry`).
    pub odom: String,
    /// The topic of motions (`geometry_msgs/Twist`).
    pub cmd_vel: String,
    /// The topic of the inertial sensor (`sensor_msgs/Imu`).
    pub imu: Option<String>,
    /// The topic of the battery (`sensor_msgs/BatteryState`).
    pub battery: Option<String>,
    /// The topic that says whether the floor ends (`std_msgs/Bool`).
    pub cliff: Option<String>,
    /// The topic that says whether something is touched (`std_msgs/Bool`).
    pub bumper: Option<String>,
    /// The topic of people in sight, as places before the body (`geometry_msgs/PoseArray`).
    pub people: Option<String>,
    /// The topic of what was heard (`std_msgs/String`).
    pub heard: Option<String>,
    /// The topic of what the loudspeaker is to say (`std_msgs/String`).
    pub say: String,
}

impl Default for Ros2Config {
    fn default() -> Self {
        Self {
            connect: Vec::new(),
            listen: Vec::new(),
            scan: "scan".to_owned(),
            odom: "odom".to_owned(),
            cmd_vel: "cmd_vel".to_owned(),
            imu: None,
            battery: None,
            cliff: None,
            bumper: None,
            people: None,
            heard: None,
            say: "say".to_owned(),
        }
    }
}

/// A body that is driven over Zenoh.
pub struct Ros2 {
    config: Ros2Config,
    outlet: Outlet,
    counts: Arc<Counts>,
    hold: Hold<Open>,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    heard: AtomicU64,
}

struct Open {
    // First, so that its stop is said while there is a session.
    motors: Motors,
    session: Arc<Session>,
}

impl Ros2 {
    /// The body that the bridge there has.
    pub fn new(config: Ros2Config, outlet: Outlet) -> Self {
        Self {
            config,
            outlet,
            counts: Arc::default(),
            hold: Hold::default(),
        }
    }

    fn open(&self) -> Result<Open, DeviceError> {
        let failed = failed(NAME);
        let config = &self.config;
        let network = crate::mesh::network(&config.listen, &config.connect);
        let session = zenoh::open(network.map_err(|why| failed(&why))?)
            .wait()
            .map_err(|why| failed(&why))?;
        self.listen_all(&session)?;
        let publisher = session
            .declare_publisher(config.cmd_vel.clone())
            .priority(Priority::RealTime)
            .congestion_control(CongestionControl::Drop)
            .express(true)
            .wait()
            .map_err(|why| failed(&why))?;
        let say = move |twist| {
            let bytes = messages::twist(twist).map_err(|why| why.to_string())?;
            publisher.put(bytes).wait().map_err(|why| why.to_string())
        };
        let motors = Motors::start(NAME, &self.outlet.board, Box::new(say));
        Ok(Open {
            motors: motors.map_err(|why| failed(&why))?,
            session: Arc::new(session),
        })
    }

    fn listen_all(&self, session: &Session) -> Result<(), DeviceError> {
        let config = &self.config;
        let mut sensors = self.outlet.open(NAME)?;
        let scan = Some(&config.scan);
        self.listen(session, scan, move |bytes| {
            let scan = messages::laser_scan(bytes)?;
            sensors.scan.put(&scan).map_err(|why| BadMessage::Body {
                what: "scan for this board",
                why: why.to_string(),
            })
        })?;
        self.listen(session, Some(&config.odom), move |bytes| {
            sensors.odometry.put(messages::odometry(bytes)?);
            Ok(())
        })?;
        self.listen(session, config.imu.as_ref(), move |bytes| {
            sensors.imu.put(messages::imu(bytes)?);
            Ok(())
        })?;
        self.listen(session, config.battery.as_ref(), move |bytes| {
            sensors.battery.put(messages::battery(bytes)?);
            Ok(())
        })?;
        let touch = Arc::new(Mutex::new(Touch {
            sensor: sensors.contact,
            cliff: config.cliff.as_ref().map(|_| (Stamp(0), false)),
            bumper: config.bumper.as_ref().map(|_| (Stamp(0), false)),
        }));
        let other = touch.clone();
        self.listen(session, config.cliff.as_ref(), move |bytes| {
            let value = messages::boolean(bytes)?;
            let mut touch = touch.lock().unwrap_or_else(PoisonError::into_inner);
            touch.cliff = Some((now(), value));
            touch.put();
            Ok(())
        })?;
        self.listen(session, config.bumper.as_ref(), move |bytes| {
            let value = messages::boolean(bytes)?;
            let mut touch = other.lock().unwrap_or_else(PoisonError::into_inner);
            touch.bumper = Some((now(), value));
            touch.put();
            Ok(())
        })?;
        let (eyes, ears) = (sensors.senses.clone(), sensors.senses);
        self.listen(session, config.people.as_ref(), move |bytes| {
            eyes.sees(messages::people(bytes)?);
            Ok(())
        })?;
        self.listen(session, config.heard.as_ref(), move |bytes| {
            ears.heard(Heard {
                text: messages::string_read(bytes)?,
                bearing_rad: None,
            });
            Ok(())
        })
    }

    fn listen(
        &self,
        session: &Session,
        topic: Option<&String>,
        take: impl FnMut(&[u8]) -> Result<(), BadMessage> + Send + 'static,
    ) -> Result<(), DeviceError> {
        let Some(topic) = topic else {
            return Ok(());
        };
        let counts = self.counts.clone();
        let take = Mutex::new(take);
        session
            .declare_subscriber(topic.clone())
            .callback(move |sample| {
                let mut take = take.lock().unwrap_or_else(PoisonError::into_inner);
                match take(&sample.payload().to_bytes()) {
                    Ok(()) => counts.heard.store(now().0, Ordering::Release),
                    Err(why) => {
                        counts.refused.fetch_add(1, Ordering::Relaxed);
                        tracing::debug!("{}: {why}", sample.key_expr());
                    }
                }
            })
            .background()
            .wait()
            .map_err(|why| failed(NAME)(&why))
    }
}

/// Two topics that are one reading: as old as the older of them.
struct Touch {
    sensor: Sensor<Contact>,
    cliff: Option<(Stamp, bool)>,
    bumper: Option<(Stamp, bool)>,
}

impl Touch {
    fn put(&mut self) {
        let both = [self.cliff, self.bumper];
        let Some(at) = both.iter().flatten().map(|(at, _)| *at).min() else {
            return;
        };
        // One of them was never heard.
        if at == Stamp(0) {
            return;
        }
        let value = Contact {
            cliff: self.cliff.is_some_and(|(_, value)| value),
            bumper: self.bumper.is_some_and(|(_, value)| value),
        };
        self.sensor.put_at(at, value);
    }
}

impl Device for Ros2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn lifecycle(&self) -> Lifecycle {
        let heard = Stamp(self.counts.heard.load(Ordering::Acquire));
        self.hold.lifecycle(|_| heard.age(now()) <= SILENT)
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        // A new session, also for one that was made safe: what was said before it counts no longer.
        self.deactivate();
        let opened = self.open();
        self.hold.keep(opened)?;
        // Silence counts from here.
        self.counts.heard.store(now().0, Ordering::Release);
        Ok(())
    }

    fn deactivate(&mut self) {
        if let Some(Open { motors, session }) = self.hold.let_go() {
            drop(motors);
            let _ = session.close().wait();
        }
    }
}

impl Driver for Ros2 {
    fn safe(&self) {
        if let Some(open) = self.hold.get() {
            open.motors.safe();
        }
    }

    fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    fn speaker(&self) -> Box<dyn Speaker> {
        let topic = self.config.say.clone();
        let session = self.hold.get().map(|open| &open.session);
        Box::new(Loudspeaker::over(
            session,
            Box::new(move |session: &Session, text| {
                let bytes = messages::string(text).map_err(|why| why.to_string())?;
                let put = session.put(topic.as_str(), bytes);
                put.wait().map_err(|why| why.to_string())
            }),
        ))
    }
}

impl Drop for Ros2 {
    fn drop(&mut self) {
        self.deactivate();
    }
}
