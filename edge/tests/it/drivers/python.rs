//! Bodies that are processes of Python, with PyPI's packages.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, UdpSocket},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use gpak_edge::body::{
    driver::{Driver as _, Outlet},
    hal::{Device as _, Lifecycle, Pose, Twist},
    mavlink::{Mavlink, MavlinkConfig},
    ros2::{Ros2, Ros2Config},
};

use super::suite::{OtherEnd, conforms};
use crate::python::python;

const ROBOT: &str = include_str!("robot.py");
const PACKAGES: &str = "eclipse-zenoh==1.10.2 rosbags==0.11.9 pymavlink==2.4.50";

/// A robot that runs until it is dropped.
struct Robot {
    args: Vec<String>,
    child: Child,
    said: Receiver<String>,
}

impl Robot {
    fn start(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (child, said) = Self::spawn(&args);
        Self { args, child, said }
    }

    fn spawn(args: &[String]) -> (Child, Receiver<String>) {
        let mut child = Command::new(python(PACKAGES))
            .args(["-c", ROBOT])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        // What is listened for over TCP is ready when the other comes.
        if !args.iter().any(|arg| arg.starts_with("tcpin:")) {
            let first = said.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(first, "ready");
        }
        (child, said)
    }

    fn ask(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OtherEnd for Robot {
    fn motions(&mut self) -> Vec<Twist> {
        let lines = self.said.try_iter();
        let motions = lines.filter_map(|line| {
            let (linear, angular) = line.strip_prefix("cmd ")?.split_once(' ')?;
            Some(Twist {
                linear_mps: linear.parse().unwrap(),
                angular_radps: angular.parse().unwrap(),
            })
        });
        motions.collect()
    }

    fn pose(&mut self) -> Option<Pose> {
        Some(Pose {
            x_m: 2.0,
            y_m: 3.0,
            heading_rad: 0.5,
        })
    }

    fn poison(&mut self) -> bool {
        self.ask("poison");
        true
    }

    fn garbage(&mut self) -> bool {
        self.ask("garbage");
        true
    }

    fn dies(&mut self) -> bool {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        true
    }

    fn lives(&mut self) {
        (self.child, self.said) = Self::spawn(&self.args);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn vehicle(connect: String) -> MavlinkConfig {
    MavlinkConfig {
        connect,
        system: 1,
        component: 1,
        mode: Some(15),
        arm: true,
        cliff_m: Some(0.3),
    }
}

#[test]
fn ros_2_over_zenoh_is_a_driver_as_all_are() {
    let port = free_port().to_string();
    let config = Ros2Config {
        connect: vec![format!("tcp/127.0.0.1:{port}")],
        imu: Some("imu".to_owned()),
        battery: Some("battery_state".to_owned()),
        cliff: Some("cliff".to_owned()),
        bumper: Some("bumper".to_owned()),
        ..Ros2Config::default()
    };
    conforms(
        |outlet| Ros2::new(config, outlet),
        Robot::start(&["ros2", &port]),
    );
}

#[test]
fn mavlink_over_udp_is_a_driver_as_all_are() {
    let port = free_udp_port();
    let config = vehicle(format!("udpin:127.0.0.1:{port}"));
    let robot = Robot::start(&["mavlink", &format!("udpout:127.0.0.1:{port}")]);
    conforms(|outlet| Mavlink::new(config, outlet), robot);
}

fn alone(config: MavlinkConfig) -> Mavlink {
    let (senses, _) = sync_channel(1);
    let outlet = Outlet {
        board: gpak_edge::reflex::shm::Board::create(360).unwrap(),
        senses,
        recorder: None,
    };
    Mavlink::new(config, outlet)
}

#[test]
fn a_vehicle_over_tcp_says_aloud_what_it_is_told_and_is_disarmed_at_the_end() {
    let port = free_port();
    let robot = Robot::start(&["mavlink", &format!("tcpin:127.0.0.1:{port}")]);
    let mut vehicle = alone(vehicle(format!("tcpout:127.0.0.1:{port}")));
    // It listens when its Python has started.
    let begun = std::time::Instant::now();
    while let Err(why) = vehicle.activate() {
        assert!(begun.elapsed().as_secs() < 60, "{why}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let words = "I am here to assist you; please stay where you are until somebody comes.";
    vehicle.speaker().say(words).unwrap();
    let next = |what: &str| loop {
        let line = robot.said.recv_timeout(Duration::from_secs(30)).unwrap();
        if line.starts_with(what) {
            return line;
        }
    };
    next("armed");
    assert_eq!(next("said"), format!("said {words}"));
    vehicle.deactivate();
    next("disarmed");
    assert!(vehicle.speaker().say("too late").is_err());
}

#[test]
fn a_vehicle_that_is_not_there_or_does_not_arm_says_so() {
    let port = free_udp_port();
    let mut nobody = alone(vehicle(format!("udpin:127.0.0.1:{port}")));
    let why = nobody.activate().unwrap_err().to_string();
    assert!(why.contains("no heartbeat of vehicle 1"), "{why}");
    assert_eq!(nobody.lifecycle(), Lifecycle::Error);
    let _robot = Robot::start(&["mavlink", &format!("udpout:127.0.0.1:{port}"), "unwilling"]);
    let why = nobody.activate().unwrap_err().to_string();
    assert!(
        why.contains("does not arm") && why.contains("DENIED"),
        "{why}"
    );
    let mut nowhere = alone(vehicle("serial:/dev/ttyUSB0".to_owned()));
    let why = nowhere.activate().unwrap_err().to_string();
    assert!(why.contains("udpin:0.0.0.0:14550"), "{why}");
}
