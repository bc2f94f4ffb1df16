//! The link to a vehicle: one thread hears, one says the motions, one says that we live.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use ::mavlink::{
    Connectable as _, Connection, MavConnection as _, MavHeader, TcpConfig, UdpConfig, UdpMode,
    dialects::common::{
        COMMAND_ACK_DATA, COMMAND_LONG_DATA, HEARTBEAT_DATA, MavAutopilot, MavCmd, MavMessage,
        MavModeFlag, MavResult, MavType,
    },
    error::MessageReadError,
};
use serde::Deserialize;

use super::{
    messages::{Reader, Reading, readings, set_point},
    texts::pieces,
};
use crate::{
    body::{
        driver::{Driver, Hold, Loudspeaker, Motors, Outlet, SILENT, Sensors, failed},
        hal::{Device, DeviceError, Lifecycle, Speaker, Stamp},
    },
    reflex::{
        clock::{after, now, sleep_until},
        realtime,
    },
};

const NAME: &str = "mavlink";
/// How long a read waits, at most: so soon a thread that is told to end ends.
const READ: Duration = Duration::from_millis(100);
/// How long a vehicle may take to answer.
const ANSWER: Duration = Duration::from_secs(3);
/// How often we say that we live.
const BEAT: Duration = Duration::from_secs(1);
/// A computer aboard (`MAV_COMP_ID_ONBOARD_COMPUTER`).
const COMPONENT: u8 = 191;
/// Answers that wait to be read.
const ANSWERS: usize = 16;

/// How the vehicle is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MavlinkConfig {
    /// `udpin:ADDRESS:PORT` to be sent to, `udpout:` or `tcpout:` to connect.
    pub connect: String,
    /// The number of the vehicle.
    #[serde(default = "one")]
    pub system: u8,
    /// The number of its autopilot.
    #[serde(default = "one")]
    pub component: u8,
    /// The number of the flight mode in which it follows set points, to be asked for: 15 is ArduPilot Rover's
    /// GUIDED. Left out, a person sets it.
    #[serde(default)]
    pub mode: Option<u32>,
    /// Arm it when the mission begins and disarm it at its end. Left out, a person does.
    #[serde(default)]
    pub arm: bool,
    /// Where its downward sensor (`DISTANCE_SENSOR`) measures more than that, the floor has ended.
    #[serde(default)]
    pub cliff_m: Option<f32>,
}

fn one() -> u8 {
    1
}

/// A vehicle.
pub struct Mavlink {
    config: MavlinkConfig,
    outlet: Outlet,
    counts: Arc<Counts>,
    hold: Hold<Open>,
}

#[derive(Default)]
struct Counts {
    refused: AtomicU64,
    /// Its latest heartbeat.
    beat: AtomicU64,
}

/// The link, shared by those who speak.
struct Link {
    connection: Connection<MavMessage>,
    system: u8,
    component: u8,
    began: Stamp,
}

struct Open {
    link: Arc<Link>,
    motors: Option<Motors>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Whether it was armed by us.
    armed: bool,
    answers: Receiver<COMMAND_ACK_DATA>,
}

impl Link {
    fn say(&self, message: &MavMessage) -> Result<(), String> {
        let header = MavHeader {
            system_id: u32::from(self.system),
            component_id: COMPONENT,
            ..MavHeader::default()
        };
        let sent = self.connection.send(&header, message);
        sent.map(|_| ()).map_err(|why| why.to_string())
    }

    /// Milliseconds since the link was made, as set points are stamped.
    fn time_ms(&self) -> u32 {
        u32::try_from(self.began.age(now()).as_millis()).unwrap_or(u32::MAX)
    }
}

impl Mavlink {
    /// The vehicle at that address.
    pub fn new(config: MavlinkConfig, outlet: Outlet) -> Self {
        Self {
            config,
            outlet,
            counts: Arc::default(),
            hold: Hold::default(),
        }
    }

    fn connect(&self) -> Result<Connection<MavMessage>, DeviceError> {
        let failed = failed(NAME);
        let address = self.config.connect.as_str();
        let at = |why: std::io::Error| failed(&format!("{address}: {why}"));
        if let Some(place) = address.strip_prefix("tcpout:") {
            let place = place.to_socket_addrs().map_err(at)?.next();
            let place = place.ok_or_else(|| failed(&format!("{address} is no place")))?;
            let stream = TcpStream::connect_timeout(&place, ANSWER).map_err(at)?;
            stream.set_read_timeout(Some(READ)).map_err(at)?;
            // A vehicle that reads nothing may not hold its motors' thread.
            stream.set_write_timeout(Some(READ)).map_err(at)?;
            stream.set_nodelay(true).map_err(at)?;
            return TcpConfig::from_stream(stream)
                .and_then(|config| config.connect())
                .map_err(at);
        }
        let (mode, place) = match address.split_once(':') {
            Some(("udpin", place)) => (UdpMode::Udpin, place),
            Some(("udpout", place)) => (UdpMode::Udpout, place),
            _ => {
                return Err(failed(&format!(
                    "driver.mavlink.connect is {address:?}: give udpin:0.0.0.0:14550, udpout:HOST:PORT or \
                     tcpout:HOST:PORT"
                )));
            }
        };
        UdpConfig::new(place.to_owned(), mode)
            .read_timeout(READ)
            .connect()
            .map_err(at)
    }

    fn open(&self) -> Result<Open, DeviceError> {
        let failed = failed(NAME);
        let link = Arc::new(Link {
            connection: self.connect()?,
            system: self.config.system,
            component: self.config.component,
            began: now(),
        });
        let sensors = self.outlet.open(NAME)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (answered, answers) = sync_channel(ANSWERS);
        self.counts.beat.store(0, Ordering::Release);
        let mut hearing = Hearing {
            link: link.clone(),
            stop: stop.clone(),
            counts: self.counts.clone(),
            sensors,
            reader: Reader::new(self.config.cliff_m),
            answered,
        };
        let (beating, told) = (link.clone(), stop.clone());
        let mut open = Open {
            link,
            motors: None,
            stop,
            threads: Vec::new(),
            armed: false,
            answers,
        };
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let name = format!("{NAME}-{name}");
            std::thread::Builder::new()
                .name(name)
                .spawn(run)
                .map_err(|why| failed(&why))
        };
        open.threads
            .push(thread("ears", Box::new(move || hearing.run()))?);
        open.threads
            .push(thread("heart", Box::new(move || beat(&beating, &told)))?);
        self.begin(&mut open)?;
        let link = open.link.clone();
        let say = move |twist| {
            let vehicle = (link.system, link.component);
            link.say(&set_point(twist, vehicle, link.time_ms()))
        };
        let motors = Motors::start(NAME, &self.outlet.board, Box::new(say));
        open.motors = Some(motors.map_err(|why| failed(&why))?);
        Ok(open)
    }

    /// Waits for the vehicle, asks for what is to be said, and arms it if that is wished.
    fn begin(&self, open: &mut Open) -> Result<(), DeviceError> {
        let failed = failed(NAME);
        let until = after(now(), ANSWER);
        while self.counts.beat.load(Ordering::Acquire) == 0 {
            if now() > until {
                return Err(failed(&format!(
                    "no heartbeat of vehicle {} in {ANSWER:?} at {}; is it on, and are driver.mavlink.connect \
                     and .system right?",
                    self.config.system, self.config.connect
                )));
            }
            sleep_until(after(now(), Duration::from_millis(5)));
        }
        for (message, every_us) in STREAMS {
            let asked = open.command(
                MavCmd::MAV_CMD_SET_MESSAGE_INTERVAL,
                [message as f32, every_us as f32, 0.0],
            );
            // Some send what they send: what is missing the reflexes will miss, too.
            if let Err(why) = asked {
                tracing::warn!("message {message} was not ordered: {why}");
            }
        }
        if let Some(mode) = self.config.mode {
            let custom = f32::from(MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED.bits());
            open.command(MavCmd::MAV_CMD_DO_SET_MODE, [custom, mode as f32, 0.0])
                .map_err(|why| {
                    failed(&format!("the vehicle does not go into mode {mode}: {why}"))
                })?;
        }
        if self.config.arm {
            open.command(MavCmd::MAV_CMD_COMPONENT_ARM_DISARM, [1.0, 0.0, 0.0])
                .map_err(|why| failed(&format!("the vehicle does not arm: {why}")))?;
            open.armed = true;
        }
        Ok(())
    }
}

/// What is ordered: the message's number, and how often in microseconds.
const STREAMS: [(u32, u32); 6] = [
    (30, 20_000),  // ATTITUDE
    (32, 20_000),  // LOCAL_POSITION_NED
    (330, 66_000), // OBSTACLE_DISTANCE
    (132, 20_000), // DISTANCE_SENSOR
    (1, 500_000),  // SYS_STATUS
    (105, 20_000), // HIGHRES_IMU
];

impl Open {
    /// Asks for something, and waits for the answer.
    fn command(&self, command: MavCmd, [one, two, three]: [f32; 3]) -> Result<(), String> {
        // Answers of before are not of this.
        while self.answers.try_recv().is_ok() {}
        self.link.say(&MavMessage::COMMAND_LONG(COMMAND_LONG_DATA {
            param1: one,
            param2: two,
            param3: three,
            command,
            target_system: self.link.system,
            target_component: self.link.component,
            ..COMMAND_LONG_DATA::default()
        }))?;
        let until = after(now(), ANSWER);
        loop {
            let left = now().until(until);
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer.command != command => {}
                Ok(answer) if answer.result == MavResult::MAV_RESULT_IN_PROGRESS => {}
                Ok(answer) if answer.result == MavResult::MAV_RESULT_ACCEPTED => return Ok(()),
                Ok(answer) => return Err(format!("it answers {:?}", answer.result)),
                Err(_) => return Err(format!("it does not answer in {ANSWER:?}")),
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Says a stop.
        self.motors = None;
        if self.armed
            && let Err(why) = self.command(MavCmd::MAV_CMD_COMPONENT_ARM_DISARM, [0.0, 0.0, 0.0])
        {
            tracing::error!("the vehicle may still be armed: {why}");
        }
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Hearing {
    link: Arc<Link>,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    sensors: Sensors,
    reader: Reader,
    answered: SyncSender<COMMAND_ACK_DATA>,
}

impl Hearing {
    fn run(&mut self) {
        // Where it is not granted a reading comes later, and the reflexes' cap is lower.
        let _ = realtime::enter(realtime::TELLERS);
        while !self.stop.load(Ordering::Acquire) {
            match self.link.connection.recv() {
                Ok((from, message)) if from.system_id == u32::from(self.link.system) => {
                    self.take(&message)
                }
                Ok(_) => {}
                Err(MessageReadError::Io(why)) if is_patient(&why) => {}
                Err(MessageReadError::Io(why)) => {
                    // The heartbeat will be missed; a link that is broken may not take the processor.
                    tracing::debug!("mavlink: {why}");
                    std::thread::park_timeout(READ);
                }
                Err(why) => {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!("mavlink: {why}");
                }
            }
        }
    }

    fn take(&mut self, message: &MavMessage) {
        match message {
            MavMessage::HEARTBEAT(_) => self.counts.beat.store(now().0, Ordering::Release),
            // Nobody waits for more answers than that.
            MavMessage::COMMAND_ACK(answer) => drop(self.answered.try_send(answer.clone())),
            _ => {}
        }
        let refused = match readings(&mut self.reader, message) {
            Ok(None) => return,
            Ok(Some(reading)) => self.put(reading),
            Err(why) => Err(why.to_string()),
        };
        if let Err(why) = refused {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("mavlink: {why}");
        }
    }

    fn put(&mut self, reading: Reading) -> Result<(), String> {
        match reading {
            Reading::Scan(scan) => {
                return self.sensors.scan.put(&scan).map_err(|why| why.to_string());
            }
            Reading::Odometry(odometry) => self.sensors.odometry.put(odometry),
            Reading::Imu(imu) => self.sensors.imu.put(imu),
            Reading::Battery(battery) => self.sensors.battery.put(battery),
            Reading::Contact(contact) => self.sensors.contact.put(contact),
        }
        Ok(())
    }
}

fn is_patient(why: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(why.kind(), WouldBlock | TimedOut | Interrupted)
}

/// Says once a second that we live, until told to end.
fn beat(link: &Link, stop: &AtomicBool) {
    let heartbeat = MavMessage::HEARTBEAT(HEARTBEAT_DATA {
        mavtype: MavType::MAV_TYPE_ONBOARD_CONTROLLER,
        autopilot: MavAutopilot::MAV_AUTOPILOT_INVALID,
        mavlink_version: 3,
        ..HEARTBEAT_DATA::default()
    });
    while !stop.load(Ordering::Acquire) {
        if let Err(why) = link.say(&heartbeat) {
            tracing::debug!("mavlink: {why}");
        }
        std::thread::park_timeout(BEAT);
    }
}

impl Device for Mavlink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn lifecycle(&self) -> Lifecycle {
        let beat = Stamp(self.counts.beat.load(Ordering::Acquire));
        self.hold.lifecycle(|_| beat.age(now()) <= SILENT)
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        self.deactivate();
        let opened = self.open();
        self.hold.keep(opened)
    }

    fn deactivate(&mut self) {
        self.hold.let_go();
    }
}

impl Driver for Mavlink {
    fn safe(&self) {
        if let Some(motors) = self.hold.get().and_then(|open| open.motors.as_ref()) {
            motors.safe();
        }
    }

    fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    fn speaker(&self) -> Box<dyn Speaker> {
        let mut number = 0_u16;
        let link = self.hold.get().map(|open| &open.link);
        Box::new(Loudspeaker::over(
            link,
            Box::new(move |link: &Link, text| {
                number = number.checked_add(1).unwrap_or(1);
                pieces(number, text).try_for_each(|piece| link.say(&piece))
            }),
        ))
    }
}
