//! The bodies that a robot can have, before one of them lives.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use gpak_edge::{
    body::{
        driver::{Driver, Outlet},
        live::{Simulated, robot_toml},
        mavlink::{Mavlink, MavlinkConfig},
        robot::{DriverConfig, RobotFile, SimConfig},
        ros2::{Ros2, Ros2Config},
        sim::{Simulation, world::World},
    },
    reflex::config::ReflexConfig,
};

use super::args::{RunArgs, SimArgs};
use crate::{failure::Failure, home::Home};

/// A body, and what its reflexes know of it.
pub struct Body {
    /// What it is called.
    pub name: String,
    /// What its reflexes know.
    pub reflex: ReflexConfig,
    /// The file that is there as long as its e-stop holds; nothing if that is beside its recording.
    pub latch: Option<PathBuf>,
    kind: Kind,
}

enum Kind {
    Sim(Box<World>, SimConfig),
    Ros2(Box<Ros2Config>),
    Mavlink(MavlinkConfig),
}

/// A driver, and the world in which its body is, if that is simulated.
pub struct Made {
    /// The driver.
    pub driver: Box<dyn Driver>,
    /// The world.
    pub world: Option<Arc<Mutex<Simulation>>>,
}

/// The file that is there as long as the e-stop of a robot holds.
pub fn latch(home: &Home, name: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    home.data.join("robot").join(format!("{name}.e-stop"))
}

fn simulated(config: SimConfig, reflex: Option<ReflexConfig>) -> Result<Body, Failure> {
    let world = World::read(&config.world).map_err(|why| Failure::usage(why.to_string()))?;
    if !(0.05..=20.0).contains(&config.speed) {
        return Err(Failure::usage(
            "the speed of a simulated world must be between 0.05 and 20".to_owned(),
        ));
    }
    let reflex = match reflex {
        Some(reflex) => reflex,
        None => robot_toml(&world, config.speed)
            .map_err(|why| Failure::usage(format!("{}: {why}", config.world.display())))?,
    };
    if reflex.scan.points < world.lidar.points {
        return Err(Failure::usage(format!(
            "reflex.scan.points is {} and the world's scanner has {} points; raise it",
            reflex.scan.points, world.lidar.points
        )));
    }
    Ok(Body {
        name: world.name.clone(),
        reflex,
        latch: None,
        kind: Kind::Sim(Box::new(world), config),
    })
}

impl Body {
    /// In the world that was named.
    pub fn of_world(args: &SimArgs) -> Result<Self, Failure> {
        let config = SimConfig {
            world: args.world.clone(),
            speed: args.speed,
            seed: args.seed,
        };
        simulated(config, None)
    }

    /// The robot in a file.
    pub fn of_robot(home: &Home, args: &RunArgs) -> Result<Self, Failure> {
        let robot = read(&args.robot)?;
        let latch = Some(latch(home, &robot.name));
        let missing = || Failure::usage("robot.toml has no table [reflex]".to_owned());
        let (kind, reflex) = match robot.driver {
            DriverConfig::Sim(config) => {
                let body = simulated(config, robot.reflex)?;
                (body.kind, body.reflex)
            }
            DriverConfig::Ros2(config) => (Kind::Ros2(config), robot.reflex.ok_or_else(missing)?),
            DriverConfig::Mavlink(config) => {
                (Kind::Mavlink(config), robot.reflex.ok_or_else(missing)?)
            }
        };
        Ok(Self {
            name: robot.name,
            reflex,
            latch,
            kind,
        })
    }

    /// Its driver, which is not active yet.
    pub fn make(self, outlet: Outlet) -> Made {
        match self.kind {
            Kind::Sim(world, config) => {
                let simulation = Simulation::new(*world, config.seed);
                let driver = Simulated::new(simulation, config.speed, outlet);
                let world = Some(driver.world());
                Made {
                    driver: Box::new(driver),
                    world,
                }
            }
            Kind::Ros2(config) => Made {
                driver: Box::new(Ros2::new(*config, outlet)),
                world: None,
            },
            Kind::Mavlink(config) => Made {
                driver: Box::new(Mavlink::new(config, outlet)),
                world: None,
            },
        }
    }
}

/// The robot in a file.
pub fn read(path: &Path) -> Result<RobotFile, Failure> {
    RobotFile::read(path).map_err(|why| {
        Failure::usage(why.to_string()).help(
            "a robot has a `name`, a [driver.sim], [driver.ros2] or [driver.mavlink], and a [reflex], of which \
             `gpak reflexd --print-config` prints one to start from; examples are in examples/robots",
        )
    })
}
