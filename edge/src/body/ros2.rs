//! ROS 2 messages, as they go over the wire: CDR (OMG DDSI-RTPS 2.3, section 10), behind four bytes that
//! say the byte order. What a bridge between ROS 2 and Zenoh publishes as `scan`, `odom` and `imu` becomes
//! readings; what the reflexes approve becomes `cmd_vel`.

mod device;
mod messages;

pub use device::{Ros2, Ros2Config};
pub use messages::{
    BadMessage, battery, boolean, imu, laser_scan, odometry, people, string, string_read, twist,
    twist_read,
};
