//! What every driver must do, over each of them with its real other end: the simulator, ROS 2 messages of PyPI's
//! `rosbags` over `eclipse-zenoh`, and PyPI's `pymavlink` over UDP and TCP.

mod python;
mod sim;
mod suite;
