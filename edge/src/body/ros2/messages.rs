//! From messages to readings and back.
//!
//! Fields are those of the `.msg` files of `sensor_msgs`, `nav_msgs` and `geometry_msgs`, in their order.

use byteorder::{BigEndian, LittleEndian};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::body::hal::{Battery, Imu, Odometry, Pose, Scan, Sighting, Twist};

/// Why bytes are no such message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// The first four bytes are none that are known.
    #[error("no CDR message: it begins with {0:02x?}")]
    Header(Vec<u8>),
    /// The rest is not as long as it says, or says something else.
    #[error("no {what}: {why}")]
    Body {
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// The longest scan.
const MOST_POINTS: usize = 24_000;
/// More people are not told apart.
const MOST_PEOPLE: usize = 100;
/// Longer words are nobody's.
const LONGEST_WORDS: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Time {
    sec: i32,
    nanosec: u32,
}

#[derive(Serialize, Deserialize)]
struct Header {
    stamp: Time,
    frame_id: String,
}

#[derive(Serialize, Deserialize)]
struct LaserScan {
    header: Header,
    angle_min: f32,
    angle_max: f32,
    angle_increment: f32,
    time_increment: f32,
    scan_time: f32,
    range_min: f32,
    range_max: f32,
    ranges: Vec<f32>,
    intensities: Vec<f32>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Vector3 {
    x: f64,
    y: f64,
    z: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Quaternion {
    x: f64,
    y: f64,
    z: f64,
    w: f64,
}

/// Serde has arrays of up to 32; in CDR an array is no more than its items.
type Covariance6 = ([f64; 32], [f64; 4]);

#[derive(Serialize, Deserialize)]
struct PoseWithCovariance {
    position: Vector3,
    orientation: Quaternion,
    covariance: Covariance6,
}

#[derive(Serialize, Deserialize)]
struct TwistMessage {
    linear: Vector3,
    angular: Vector3,
}

#[derive(Serialize, Deserialize)]
struct OdometryMessage {
    header: Header,
    child_frame_id: String,
    pose: PoseWithCovariance,
    twist: TwistMessage,
    twist_covariance: Covariance6,
}

#[derive(Serialize, Deserialize)]
struct ImuMessage {
    header: Header,
    orientation: Quaternion,
    orientation_covariance: [f64; 9],
    angular_velocity: Vector3,
    angular_velocity_covariance: [f64; 9],
    linear_acceleration: Vector3,
    linear_acceleration_covariance: [f64; 9],
}

#[derive(Serialize, Deserialize)]
struct BatteryMessage {
    header: Header,
    voltage: f32,
    temperature: f32,
    current: f32,
    charge: f32,
    capacity: f32,
    design_capacity: f32,
    percentage: f32,
}

#[derive(Serialize, Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize, Deserialize)]
struct PoseMessage {
    position: Vector3,
    orientation: Quaternion,
}

#[derive(Serialize, Deserialize)]
struct PoseArray {
    header: Header,
    poses: Vec<PoseMessage>,
}

fn read<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, BadMessage> {
    let bad = |why: cdr_encoding::Error| BadMessage::Body {
        what,
        why: why.to_string(),
    };
    let (head, body) = bytes
        .split_at_checked(4)
        .ok_or_else(|| BadMessage::Header(bytes.to_vec()))?;
    let (message, _) = match head {
        [0, 1, ..] => cdr_encoding::from_bytes::<T, LittleEndian>(body).map_err(bad)?,
        [0, 0, ..] => cdr_encoding::from_bytes::<T, BigEndian>(body).map_err(bad)?,
        _ => return Err(BadMessage::Header(head.to_vec())),
    };
    Ok(message)
}

/// A `sensor_msgs/msg/LaserScan`.
///
/// # Errors
///
/// It is none, or longer than any scanner's.
pub fn laser_scan(bytes: &[u8]) -> Result<Scan, BadMessage> {
    let what = "sensor_msgs/msg/LaserScan";
    // A length that is a lie must not become memory.
    if bytes.len() > MOST_POINTS * 8 + 1024 {
        let why = format!("it has more than {MOST_POINTS} points");
        return Err(BadMessage::Body { what, why });
    }
    let scan: LaserScan = read(bytes, what)?;
    Ok(Scan {
        angle_min_rad: scan.angle_min,
        angle_step_rad: scan.angle_increment,
        range_min_m: scan.range_min,
        range_max_m: scan.range_max,
        ranges_m: scan.ranges,
    })
}

/// Roll, pitch and yaw, of ROS: x forward, y left, z up.
fn angles(q: Quaternion) -> (f64, f64, f64) {
    let roll = (2.0 * (q.w * q.x + q.y * q.z)).atan2(1.0 - 2.0 * (q.x * q.x + q.y * q.y));
    let pitch = (2.0 * (q.w * q.y - q.z * q.x)).clamp(-1.0, 1.0).asin();
    let yaw = (2.0 * (q.w * q.z + q.x * q.y)).atan2(1.0 - 2.0 * (q.y * q.y + q.z * q.z));
    (roll, pitch, yaw)
}

/// A `nav_msgs/msg/Odometry`.
///
/// # Errors
///
/// It is none.
pub fn odometry(bytes: &[u8]) -> Result<Odometry, BadMessage> {
    let message: OdometryMessage = read(bytes, "nav_msgs/msg/Odometry")?;
    let (_, _, yaw) = angles(message.pose.orientation);
    Ok(Odometry {
        pose: Pose {
            x_m: message.pose.position.x as f32,
            y_m: message.pose.position.y as f32,
            heading_rad: yaw as f32,
        },
        twist: Twist {
            linear_mps: message.twist.linear.x as f32,
            angular_radps: message.twist.angular.z as f32,
        },
    })
}

/// A `sensor_msgs/msg/Imu`.
///
/// # Errors
///
/// It is none.
pub fn imu(bytes: &[u8]) -> Result<Imu, BadMessage> {
    let message: ImuMessage = read(bytes, "sensor_msgs/msg/Imu")?;
    let (roll, pitch, _) = angles(message.orientation);
    // Gravity is in the measurement (REP 145); what of it is along x is taken out.
    const GRAVITY: f64 = 9.806_65;
    let ahead = message.linear_acceleration.x + GRAVITY * pitch.sin();
    Ok(Imu {
        roll_rad: roll as f32,
        pitch_rad: pitch as f32,
        yaw_rate_radps: message.angular_velocity.z as f32,
        acceleration_mps2: ahead as f32,
    })
}

/// A `sensor_msgs/msg/BatteryState`: its first fields; what follows is left.
///
/// # Errors
///
/// It is none.
pub fn battery(bytes: &[u8]) -> Result<Battery, BadMessage> {
    let message: BatteryMessage = read(bytes, "sensor_msgs/msg/BatteryState")?;
    Ok(Battery {
        charge: message.percentage,
        voltage_v: message.voltage,
    })
}

/// A `std_msgs/msg/Bool`.
///
/// # Errors
///
/// It is none.
pub fn boolean(bytes: &[u8]) -> Result<bool, BadMessage> {
    let message: Data<bool> = read(bytes, "std_msgs/msg/Bool")?;
    Ok(message.data)
}

/// The people in a `geometry_msgs/msg/PoseArray`, whose places are from the middle of the body.
///
/// # Errors
///
/// It is none, or says more than a camera can see.
pub fn people(bytes: &[u8]) -> Result<Vec<Sighting>, BadMessage> {
    let what = "geometry_msgs/msg/PoseArray";
    if bytes.len() > MOST_PEOPLE * size_of::<PoseMessage>() + 1024 {
        let why = format!("it has more than {MOST_PEOPLE} people");
        return Err(BadMessage::Body { what, why });
    }
    let message: PoseArray = read(bytes, what)?;
    let places = message.poses.iter().map(|pose| &pose.position);
    let places = places.filter(|at| at.x.is_finite() && at.y.is_finite());
    let people = places.map(|at| Sighting {
        what: "person".to_owned(),
        range_m: at.x.hypot(at.y) as f32,
        bearing_rad: at.y.atan2(at.x) as f32,
    });
    Ok(people.collect())
}

/// The words in a `std_msgs/msg/String`.
///
/// # Errors
///
/// It is none, or longer than anybody speaks.
pub fn string_read(bytes: &[u8]) -> Result<String, BadMessage> {
    let what = "std_msgs/msg/String";
    if bytes.len() > LONGEST_WORDS {
        let why = format!("it is longer than {LONGEST_WORDS} bytes");
        return Err(BadMessage::Body { what, why });
    }
    let message: Data<String> = read(bytes, what)?;
    Ok(message.data)
}

/// Words as a `std_msgs/msg/String`.
///
/// # Errors
///
/// They cannot be written.
pub fn string(text: &str) -> Result<Vec<u8>, BadMessage> {
    write(&Data { data: text }, "std_msgs/msg/String")
}

/// A motion as a `geometry_msgs/msg/Twist`.
///
/// # Errors
///
/// It cannot be written.
pub fn twist(twist: Twist) -> Result<Vec<u8>, BadMessage> {
    let along = |x| Vector3 { x, y: 0.0, z: 0.0 };
    let message = TwistMessage {
        linear: along(f64::from(twist.linear_mps)),
        angular: Vector3 {
            z: f64::from(twist.angular_radps),
            ..Vector3::default()
        },
    };
    write(&message, "geometry_msgs/msg/Twist")
}

fn write<T: Serialize>(message: &T, what: &'static str) -> Result<Vec<u8>, BadMessage> {
    let body = cdr_encoding::to_vec::<_, LittleEndian>(message);
    let body = body.map_err(|why| BadMessage::Body {
        what,
        why: why.to_string(),
    })?;
    Ok([&[0, 1, 0, 0], body.as_slice()].concat())
}

/// The motion in a `geometry_msgs/msg/Twist`.
///
/// # Errors
///
/// It is none.
pub fn twist_read(bytes: &[u8]) -> Result<Twist, BadMessage> {
    let message: TwistMessage = read(bytes, "geometry_msgs/msg/Twist")?;
    Ok(Twist {
        linear_mps: message.linear.x as f32,
        angular_radps: message.angular.z as f32,
    })
}
