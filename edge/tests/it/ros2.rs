//! ROS 2 messages made and read by PyPI `rosbags`.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use gpak_edge::body::{
    hal::Twist,
    ros2::{imu, laser_scan, odometry, twist, twist_read},
};

use crate::python::python;

const MAKE: &str = r#"
import sys, numpy as np
from rosbags.typesys import Stores, get_typestore
ts = get_typestore(Stores.ROS2_HUMBLE)
t = ts.types
h = t['std_msgs/msg/Header'](stamp=t['builtin_interfaces/msg/Time'](sec=7, nanosec=9), frame_id='laser_frame')
v = lambda x, y, z: t['geometry_msgs/msg/Vector3'](x=x, y=y, z=z)
q = t['geometry_msgs/msg/Quaternion'](x=0.0, y=0.0, z=0.5, w=0.8660254037844387)
scan = t['sensor_msgs/msg/LaserScan'](header=h, angle_min=-1.0, angle_max=1.0, angle_increment=0.5, time_increment=0.0,
    scan_time=0.1, range_min=0.1, range_max=8.0, ranges=np.array([1.0, 2.5, np.inf, np.nan, 4.0], dtype=np.float32),
    intensities=np.array([], dtype=np.float32))
pose = t['geometry_msgs/msg/PoseWithCovariance'](pose=t['geometry_msgs/msg/Pose'](
    position=t['geometry_msgs/msg/Point'](x=1.5, y=-2.0, z=0.0), orientation=q), covariance=np.arange(36, dtype=np.float64))
tw = t['geometry_msgs/msg/Twist'](linear=v(0.4, 0.0, 0.0), angular=v(0.0, 0.0, -0.3))
odom = t['nav_msgs/msg/Odometry'](header=h, child_frame_id='base', pose=pose,
    twist=t['geometry_msgs/msg/TwistWithCovariance'](twist=tw, covariance=np.arange(36, dtype=np.float64)))
nine = np.arange(9, dtype=np.float64)
imu = t['sensor_msgs/msg/Imu'](header=h, orientation=q, orientation_covariance=nine, angular_velocity=v(0.0, 0.0, 0.7),
    angular_velocity_covariance=nine, linear_acceleration=v(0.25, 0.0, 9.80665), linear_acceleration_covariance=nine)
for name, msg in [('sensor_msgs/msg/LaserScan', scan), ('nav_msgs/msg/Odometry', odom), ('sensor_msgs/msg/Imu', imu),
                  ('geometry_msgs/msg/Twist', tw)]:
    for little in (True, False):
        print(bytes(ts.serialize_cdr(msg, name, little_endian=little)).hex())
read = ts.deserialize_cdr(bytes.fromhex(sys.stdin.readline().strip()), 'geometry_msgs/msg/Twist')
print(read.linear.x, read.linear.y, read.angular.z)
"#;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

#[test]
fn messages_that_rosbags_makes_are_read_in_either_byte_order_and_ours_are_read_by_it() {
    let mut child = Command::new(python("rosbags==0.11.9"))
        .args(["-c", MAKE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ours = twist(Twist {
        linear_mps: 0.25,
        angular_radps: -0.5,
    })
    .unwrap();
    let ours: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(child.stdin.take().unwrap(), "{ours}").unwrap();
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let lines: Vec<&str> = said.lines().collect();
    for order in 0..2 {
        let scan = laser_scan(&unhex(lines[order])).unwrap();
        assert_eq!((scan.angle_min_rad, scan.angle_step_rad), (-1.0, 0.5));
        assert_eq!((scan.range_min_m, scan.range_max_m), (0.1, 8.0));
        assert_eq!(scan.ranges_m[..2], [1.0, 2.5]);
        assert!(scan.ranges_m[2].is_infinite() && scan.ranges_m[3].is_nan());
        assert_eq!(scan.ranges_m.len(), 5);
        let odometry = odometry(&unhex(lines[2 + order])).unwrap();
        assert_eq!((odometry.pose.x_m, odometry.pose.y_m), (1.5, -2.0));
        assert!((odometry.pose.heading_rad - std::f32::consts::FRAC_PI_3).abs() < 1e-6);
        assert_eq!(
            odometry.twist,
            Twist {
                linear_mps: 0.4,
                angular_radps: -0.3
            }
        );
        let imu = imu(&unhex(lines[4 + order])).unwrap();
        assert_eq!((imu.yaw_rate_radps, imu.acceleration_mps2), (0.7, 0.25));
        assert!(imu.roll_rad.abs() < 1e-6 && imu.pitch_rad.abs() < 1e-6);
        let twist = twist_read(&unhex(lines[6 + order])).unwrap();
        assert_eq!(
            twist,
            Twist {
                linear_mps: 0.4,
                angular_radps: -0.3
            }
        );
    }
    assert_eq!(lines[8], "0.25 0.0 -0.5");
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    assert!(laser_scan(&[]).is_err());
    assert!(laser_scan(&[9, 9, 9, 9, 0, 0]).is_err());
    let lie = [&[0, 1, 0, 0][..], &[0; 8], &[255; 4]].concat();
    assert!(laser_scan(&lie).is_err());
    assert!(laser_scan(&vec![0; 1_000_000]).is_err());
    let good = twist(Twist::default()).unwrap();
    for cut in 0..good.len() {
        assert!(twist_read(&good[..cut]).is_err(), "{cut}");
    }
}
