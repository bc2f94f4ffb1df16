//! The file of a robot, `robot.toml`: what it is called, through which driver its body is reached, and what
//! its reflexes must know. A key that means nothing is refused, with its line; so is a body that could not
//! stop for what it sees, and a sensor that is to be watched and that the driver does not have.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{mavlink::MavlinkConfig, ros2::Ros2Config};
use crate::reflex::config::{ConfigError, ReflexConfig};

/// Why a file is no robot's.
#[derive(Debug, thiserror::Error)]
pub enum RobotError {
    /// It cannot be read.
    #[error("cannot read {file}: {why}")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is not written as a robot is.
    #[error("{file} is no robot: {why}")]
    Syntax {
        /// Its name.
        file: String,
        /// What is wrong, with the line.
        why: toml::de::Error,
    },
    /// Its reflexes are refused.
    #[error(transparent)]
    Reflex(#[from] ConfigError),
    /// The reflexes wait for a sensor that never says anything.
    #[error(
        "{file}: [reflex.{table}] is watched, and the driver {driver} has no such sensor: {todo}, or leave \
         [reflex.{table}] out"
    )]
    Unsensed {
        /// Its name.
        file: String,
        /// The table of the reflexes.
        table: &'static str,
        /// The driver's name.
        driver: &'static str,
        /// How it would have one.
        todo: &'static str,
    },
}

/// A robot.
#[derive(Clone, Debug)]
pub struct RobotFile {
    /// What it is called.
    pub name: String,
    /// How its body is reached.
    pub driver: DriverConfig,
    /// What its reflexes know. A simulated robot's are made from its world.
    pub reflex: Option<ReflexConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    driver: DriverConfig,
    reflex: Option<ReflexConfig>,
}

/// How a body is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverConfig {
    /// It is simulated.
    Sim(SimConfig),
    /// Over Zenoh, as ROS 2 messages.
    Ros2(Box<Ros2Config>),
    /// As a MAVLink vehicle.
    Mavlink(MavlinkConfig),
}

/// A simulated body.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimConfig {
    /// The file of its world; from the folder of the robot's file, if it is no absolute path.
    pub world: PathBuf,
    /// How many of the world's seconds pass in one.
    #[serde(default = "default_speed")]
    pub speed: f32,
    /// Of what is random in the world, in place of the world's own.
    #[serde(default)]
    pub seed: Option<u64>,
}

fn default_speed() -> f32 {
    1.0
}

impl DriverConfig {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sim(_) => "sim",
            Self::Ros2(_) => "ros2",
            Self::Mavlink(_) => "mavlink",
        }
    }

    /// What the reflexes want to watch and the body cannot say: the table, and what to do.
    fn unsensed(&self, reflex: &ReflexConfig) -> Option<(&'static str, &'static str)> {
        let wants = [
            ("imu", reflex.imu.is_some()),
            ("battery", reflex.battery.is_some()),
            ("contact", reflex.contact.is_some()),
        ];
        let todo = |table| match (self, table) {
            (Self::Ros2(ros2), "imu") => {
                (ros2.imu.is_none()).then_some("name its topic as driver.ros2.imu")
            }
            (Self::Ros2(ros2), "battery") => {
                (ros2.battery.is_none()).then_some("name its topic as driver.ros2.battery")
            }
            (Self::Ros2(ros2), "contact") => (ros2.cliff.is_none() && ros2.bumper.is_none())
                .then_some("name a topic as driver.ros2.cliff or driver.ros2.bumper"),
            (Self::Mavlink(mavlink), "contact") => (mavlink.cliff_m.is_none())
                .then_some("say as driver.mavlink.cliff_m how deep a floor is that ended"),
            _ => None,
        };
        let mut wanted = wants.into_iter().filter(|(_, wanted)| *wanted);
        wanted.find_map(|(table, _)| todo(table).map(|todo| (table, todo)))
    }
}

impl RobotFile {
    /// The robot in a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no robot that could be driven.
    pub fn read(path: &Path) -> Result<Self, RobotError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|why| RobotError::Read {
            file: file.clone(),
            why,
        })?;
        let mut robot = Self::parse(&text, &file)?;
        if let (DriverConfig::Sim(sim), Some(folder)) = (&mut robot.driver, path.parent()) {
            sim.world = folder.join(&sim.world);
        }
        Ok(robot)
    }

    /// The robot in a text; `file` is what it is called in errors.
    ///
    /// # Errors
    ///
    /// It is no robot that could be driven.
    pub fn parse(text: &str, file: &str) -> Result<Self, RobotError> {
        let File {
            name,
            driver,
            reflex,
        } = toml::from_str(text).map_err(|why| RobotError::Syntax {
            file: file.to_owned(),
            why,
        })?;
        if let Some(reflex) = &reflex {
            reflex.check()?;
            if let Some((table, todo)) = driver.unsensed(reflex) {
                return Err(RobotError::Unsensed {
                    file: file.to_owned(),
                    table,
                    driver: driver.name(),
                    todo,
                });
            }
        } else if !matches!(driver, DriverConfig::Sim(_)) {
            return Err(ConfigError::Missing.into());
        }
        Ok(Self {
            name,
            driver,
            reflex,
        })
    }
}
