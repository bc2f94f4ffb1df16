//! A world as it is written in a TOML file: walls, people, what moves, where the floor ends, and the
//! robot in it. A key that means nothing is refused, with its line.

use std::path::Path;

use serde::Deserialize;

use crate::body::hal::Pose;

/// A point on the floor, `[x, y]` in metres.
pub type Point = [f32; 2];

/// Why a file is no world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// It cannot be read.
    #[error("cannot read {file}: {why}")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is not written as a world is.
    #[error("{file} is no world: {why}")]
    Syntax {
        /// Its name.
        file: String,
        /// What is wrong, with the line.
        why: toml::de::Error,
    },
    /// It is written well and cannot be.
    #[error("{file}: {what} {why}")]
    Impossible {
        /// Its name.
        file: String,
        /// Which part of it.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A world.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// What it is called.
    pub name: String,
    /// It reaches from (0, 0) to here, and has walls around it.
    pub size_m: Point,
    /// Of everything in it that is random.
    #[serde(default)]
    pub seed: u64,
    /// The robot.
    pub robot: RobotSpec,
    /// Its laser scanner.
    #[serde(default)]
    pub lidar: LidarSpec,
    /// Its battery.
    #[serde(default)]
    pub battery: BatterySpec,
    /// Straight walls.
    #[serde(default)]
    pub walls: Vec<Wall>,
    /// Boxes.
    #[serde(default)]
    pub boxes: Vec<Crate>,
    /// Things that move.
    #[serde(default)]
    pub obstacles: Vec<Mover>,
    /// People, who may move and speak.
    #[serde(default)]
    pub people: Vec<Person>,
    /// Where there is no floor.
    #[serde(default)]
    pub cliffs: Vec<Area>,
    /// Where the floor slopes.
    #[serde(default)]
    pub slopes: Vec<Slope>,
}

/// The robot: round, on two wheels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobotSpec {
    /// Where it starts.
    pub at: Point,
    /// Where it looks at first, from the map's x, counter-clockwise.
    #[serde(default)]
    pub heading_deg: f32,
    /// How far it reaches.
    #[serde(default = "radius")]
    pub radius_m: f32,
    /// How fast its motors can go.
    #[serde(default = "max_speed")]
    pub max_speed_mps: f32,
    /// How fast they can turn it.
    #[serde(default = "max_turn")]
    pub max_turn_radps: f32,
    /// How fast it gains and loses speed.
    #[serde(default = "max_acceleration")]
    pub max_acceleration_mps2: f32,
    /// The part of each movement by which the wheels may be wrong.
    #[serde(default)]
    pub odometry_noise: f32,
    /// How far it recognises a person that it looks at.
    #[serde(default = "sight")]
    pub sight_m: f32,
}

fn radius() -> f32 {
    0.2
}

fn max_speed() -> f32 {
    0.8
}

fn max_turn() -> f32 {
    1.8
}

fn max_acceleration() -> f32 {
    1.0
}

fn sight() -> f32 {
    4.0
}

/// The laser scanner, which looks all around.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LidarSpec {
    /// How many distances a scan has.
    pub points: usize,
    /// How far it sees.
    pub range_max_m: f32,
    /// The standard deviation of a distance.
    pub noise_m: f32,
}

impl Default for LidarSpec {
    fn default() -> Self {
        Self {
            points: 360,
            range_max_m: 8.0,
            noise_m: 0.005,
        }
    }
}

/// The battery.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatterySpec {
    /// How full it is at first, 0 to 1.
    pub charge: f32,
    /// How long it lasts at rest.
    pub rest_s: f32,
    /// How far it goes.
    pub reach_m: f32,
}

impl Default for BatterySpec {
    fn default() -> Self {
        Self {
            charge: 1.0,
            rest_s: 14_400.0,
            reach_m: 5_000.0,
        }
    }
}

/// A straight wall.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wall {
    /// One end.
    pub from: Point,
    /// The other.
    pub to: Point,
    /// How thick it is.
    #[serde(default = "thickness")]
    pub thickness_m: f32,
}

fn thickness() -> f32 {
    0.1
}

/// A box that stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crate {
    /// Its middle.
    pub at: Point,
    /// Its sides.
    pub size_m: Point,
    /// How it is turned.
    #[serde(default)]
    pub angle_deg: f32,
}

/// A round thing that goes from point to point, and begins again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mover {
    /// Where it goes; it starts at the first.
    pub route: Vec<Point>,
    /// How fast.
    #[serde(default)]
    pub speed_mps: f32,
    /// How far it reaches.
    #[serde(default = "mover_radius")]
    pub radius_m: f32,
    /// How long it waits before it starts.
    #[serde(default)]
    pub after_s: f32,
}

fn mover_radius() -> f32 {
    0.25
}

/// Somebody.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Their name, for the picture and the log; the robot does not know it.
    pub name: String,
    /// Where they go; they start at the first.
    pub route: Vec<Point>,
    /// How fast.
    #[serde(default)]
    pub speed_mps: f32,
    /// How far they reach.
    #[serde(default = "mover_radius")]
    pub radius_m: f32,
    /// How long they wait before they start.
    #[serde(default)]
    pub after_s: f32,
    /// What they say.
    #[serde(default)]
    pub says: Vec<Saying>,
}

/// Something that is said, and by default said again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saying {
    /// The words.
    pub text: String,
    /// When they are said first.
    pub after_s: f32,
    /// How long after that again; never if zero.
    #[serde(default)]
    pub every_s: f32,
    /// How far they are heard.
    #[serde(default = "loudness")]
    pub range_m: f32,
}

fn loudness() -> f32 {
    30.0
}

/// A rectangle of floor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// One corner.
    pub from: Point,
    /// The other.
    pub to: Point,
}

impl Area {
    /// Whether a point is in it.
    pub fn has(&self, [x, y]: Point) -> bool {
        let [x1, y1] = self.from;
        let [x2, y2] = self.to;
        x >= x1.min(x2) && x <= x1.max(x2) && y >= y1.min(y2) && y <= y1.max(y2)
    }
}

/// A rectangle of floor that slopes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slope {
    /// Where.
    pub area: Area,
    /// How steep it is.
    pub steep_deg: f32,
    /// In which direction it goes down.
    pub down_deg: f32,
}

impl World {
    /// The world in a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no world.
    pub fn read(path: &Path) -> Result<Self, WorldError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &file),
            Err(why) => Err(WorldError::Read { file, why }),
        }
    }

    /// The world in a text; `file` is what it is called in errors.
    ///
    /// # Errors
    ///
    /// It is no world.
    pub fn parse(text: &str, file: &str) -> Result<Self, WorldError> {
        let world: Self = toml::from_str(text).map_err(|why| WorldError::Syntax {
            file: file.to_owned(),
            why,
        })?;
        world
            .check()
            .map_err(|(what, why)| WorldError::Impossible {
                file: file.to_owned(),
                what,
                why,
            })?;
        Ok(world)
    }

    /// Where the robot starts.
    pub fn start(&self) -> Pose {
        let [x_m, y_m] = self.robot.at;
        Pose {
            x_m,
            y_m,
            heading_rad: self.robot.heading_deg.to_radians(),
        }
    }

    fn inside(&self, [x, y]: Point, margin: f32) -> bool {
        let [width, height] = self.size_m;
        x >= margin && x <= width - margin && y >= margin && y <= height - margin
    }

    fn check(&self) -> Result<(), (String, String)> {
        let fail = |what: &str, why: &str| Err((what.to_owned(), why.to_owned()));
        let [width, height] = self.size_m;
        if !(1.0..=500.0).contains(&width) || !(1.0..=500.0).contains(&height) {
            return fail("size_m", "must be between 1 and 500 metres each way");
        }
        let robot = &self.robot;
        let motor = [
            robot.radius_m,
            robot.max_speed_mps,
            robot.max_turn_radps,
            robot.max_acceleration_mps2,
        ];
        if !motor.iter().all(|value| *value > 0.0 && value.is_finite()) {
            return fail(
                "robot",
                "must have a size, speeds and an acceleration above zero",
            );
        }
        if !self.inside(robot.at, robot.radius_m) {
            return fail("robot.at", "is not in the world");
        }
        if !(0.0..=0.5).contains(&robot.odometry_noise) {
            return fail("robot.odometry_noise", "must be between 0 and 0.5");
        }
        if !(1..=24_000).contains(&self.lidar.points) || !is_above_zero(self.lidar.range_max_m) {
            return fail("lidar", "needs 1 to 24000 points and a range above zero");
        }
        if !(0.0..=1.0).contains(&self.battery.charge)
            || !is_above_zero(self.battery.rest_s)
            || !is_above_zero(self.battery.reach_m)
        {
            return fail(
                "battery",
                "needs a charge from 0 to 1, and must last some time and way",
            );
        }
        let people = self.people.iter().enumerate().map(|(n, person)| {
            let what = format!("people[{n}] ({})", person.name);
            (what, &person.route, person.speed_mps, person.radius_m)
        });
        let obstacles = self.obstacles.iter().enumerate().map(|(n, mover)| {
            let what = format!("obstacles[{n}]");
            (what, &mover.route, mover.speed_mps, mover.radius_m)
        });
        for (what, route, speed, radius) in people.chain(obstacles) {
            if route.is_empty() || !route.iter().all(|point| self.inside(*point, 0.0)) {
                return fail(&what, "needs a route of points that are in the world");
            }
            if !(0.0..=20.0).contains(&speed) || !is_above_zero(radius) {
                return fail(
                    &what,
                    "needs a speed from 0 to 20 m/s and a radius above zero",
                );
            }
        }
        let sayings = self.people.iter().flat_map(|person| &person.says);
        if let Some(saying) = sayings.into_iter().find(|saying| {
            let times = [saying.after_s, saying.every_s];
            times.iter().any(|time| time.is_nan() || *time < 0.0) || !is_above_zero(saying.range_m)
        }) {
            return fail(
                &format!("{:?}", saying.text),
                "needs times from 0 on and a range",
            );
        }
        for (n, wall) in self.walls.iter().enumerate() {
            if wall.from == wall.to || !is_above_zero(wall.thickness_m) {
                return fail(&format!("walls[{n}]"), "needs two ends and a thickness");
            }
        }
        Ok(())
    }
}

/// Whether it is; what is no number is not.
fn is_above_zero<T: PartialOrd + Default>(value: T) -> bool {
    value > T::default()
}
