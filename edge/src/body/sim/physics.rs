//! One tick after the other.

use std::{sync::Arc, time::Duration};

use rapier2d::prelude::{
    Collider, ColliderBuilder, ColliderHandle, PhysicsWorld, QueryFilter, Ray, RigidBodyBuilder,
    RigidBodyHandle, Rotation, Vector,
};

use super::{
    voices::{Said, Voices},
    world::{Point, World},
};
use crate::body::hal::{
    Battery, Contact, Heard, Imu, Odometry, Pose, Scan, Sighting, Stamp, Stamped, Twist, wrap,
};

/// How much time passes in a tick.
pub const STEP: Duration = Duration::from_millis(2);

/// How far before the body its cliff sensors look.
pub const EDGE_M: f32 = 0.12;

const STEP_S: f32 = 0.002;
/// After how many ticks a sensor says something new: 100 Hz, 20 Hz, 10 Hz.
const FAST: u64 = 5;
const SCAN: u64 = 25;
const SLOW: u64 = 50;

/// The robot touched something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Collision {
    /// When.
    pub at: Stamp,
    /// How fast the robot itself went, whatever the other did.
    pub speed_mps: f32,
}

/// What the sensors say in one tick.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// The laser scanner.
    pub scan: Option<Stamped<Scan>>,
    /// The wheels.
    pub odometry: Option<Stamped<Odometry>>,
    /// The inertial sensor.
    pub imu: Option<Stamped<Imu>>,
    /// Bumper and cliff sensor.
    pub contact: Option<Stamped<Contact>>,
    /// The battery.
    pub battery: Option<Stamped<Battery>>,
    /// Whom the camera sees; nobody is a reading, too.
    pub sightings: Option<Stamped<Vec<Sighting>>>,
    /// What the microphone heard.
    pub heard: Vec<Stamped<Heard>>,
}

/// Something that goes its way.
struct Moving {
    body: RigidBodyHandle,
    shape: ColliderHandle,
    route: Vec<Point>,
    next: usize,
    speed_mps: f32,
    radius_m: f32,
    starts: u64,
    /// People wait for a robot that is in their way; things do not.
    polite: bool,
}

/// What there is to see of a world at one moment.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The world as it was written.
    pub world: Arc<World>,
    /// Where the robot is.
    pub pose: Pose,
    /// What its scanner saw last.
    pub scan: Scan,
    /// Where it was.
    pub trace: Vec<Point>,
    /// Each person's name, place and size.
    pub people: Vec<(String, Point, f32)>,
    /// Each obstacle's place and size.
    pub obstacles: Vec<(Point, f32)>,
}

/// A world in motion.
pub struct Simulation {
    world: Arc<World>,
    physics: PhysicsWorld,
    robot: RigidBodyHandle,
    shape: ColliderHandle,
    moving: Vec<Moving>,
    voices: Voices,
    random: fastrand::Rng,
    ticks: u64,
    wanted: Twist,
    until: Stamp,
    wheels: Twist,
    wheel_error: f32,
    acceleration_mps2: f32,
    odometry: Pose,
    charge: f32,
    fell: bool,
    touching: bool,
    collisions: Vec<Collision>,
    trace: Vec<Point>,
    scan: Scan,
    hasher: blake3::Hasher,
}

impl Simulation {
    /// A world at its beginning; its own seed, or another.
    pub fn new(world: World, seed: Option<u64>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.unwrap_or(world.seed));
        let mut physics = PhysicsWorld {
            gravity: Vector::new(0.0, 0.0),
            ..PhysicsWorld::default()
        };
        physics.integration_parameters.dt = STEP_S;
        build(&mut physics, &world);
        let start = world.start();
        let (robot, shape) = physics.insert(
            RigidBodyBuilder::dynamic()
                .translation(Vector::new(start.x_m, start.y_m))
                .rotation(start.heading_rad)
                .can_sleep(false),
            ColliderBuilder::ball(world.robot.radius_m)
                .density(100.0)
                .friction(0.2),
        );
        let moving = movers(&mut physics, &world, &mut random);
        let wheel_error = world.robot.odometry_noise * noise(&mut random) * 0.5;
        Self {
            voices: Voices::new(&world, &mut random),
            charge: world.battery.charge,
            odometry: start,
            physics,
            robot,
            shape,
            moving,
            random,
            ticks: 0,
            wanted: Twist::default(),
            until: Stamp(0),
            wheels: Twist::default(),
            wheel_error,
            acceleration_mps2: 0.0,
            fell: false,
            touching: false,
            collisions: Vec::new(),
            trace: vec![world.robot.at],
            scan: Scan::default(),
            hasher: blake3::Hasher::new(),
            world: Arc::new(world),
        }
    }

    /// The world, as it was written.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What time it is in it.
    pub fn now(&self) -> Stamp {
        Stamp(self.ticks * STEP.as_nanos() as u64)
    }

    /// Tells the motors what to do until then. They stop by themselves if nobody tells them again.
    pub fn drive(&mut self, twist: Twist, until: Stamp) {
        let finite = twist.linear_mps.is_finite() && twist.angular_radps.is_finite();
        self.wanted = if finite { twist } else { Twist::default() };
        self.until = until;
    }

    /// What its motors are told now.
    pub fn wanted(&self) -> Twist {
        if self.now() > self.until {
            return Twist::default();
        }
        self.wanted
    }

    /// The loudspeaker says something.
    pub fn say(&mut self, text: &str) {
        let now = self.now();
        let at = self.pose();
        let people = self.people();
        self.voices.say(now, text, at, &people);
    }

    /// What the loudspeaker said, and who was near enough to hear it.
    pub fn said(&self) -> &[Said] {
        self.voices.said()
    }

    /// Where the robot really is.
    pub fn pose(&self) -> Pose {
        let Some(body) = self.physics.bodies.get(self.robot) else {
            return Pose::default();
        };
        let at = body.translation();
        Pose {
            x_m: at.x,
            y_m: at.y,
            heading_rad: body.rotation().angle(),
        }
    }

    /// How fast it really is.
    pub fn speed_mps(&self) -> f32 {
        let body = self.physics.bodies.get(self.robot);
        body.map_or(0.0, |body| body.linvel().length())
    }

    /// What its wheels do.
    pub fn wheels(&self) -> Twist {
        self.wheels
    }

    /// What it touched.
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// Whether it fell off a cliff, and so moves no more.
    pub fn fell(&self) -> bool {
        self.fell
    }

    /// Where it was, every tenth of a second.
    pub fn trace(&self) -> &[Point] {
        &self.trace
    }

    /// The newest scan.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// Each person's name, place and size.
    pub fn people(&self) -> Vec<(String, Point, f32)> {
        let named = self.world.people.iter().zip(&self.moving);
        named
            .map(|(person, moving)| (person.name.clone(), self.place(moving), moving.radius_m))
            .collect()
    }

    /// Each obstacle's place and size.
    pub fn obstacles(&self) -> Vec<(Point, f32)> {
        let obstacles = self.moving.iter().skip(self.world.people.len());
        obstacles
            .map(|moving| (self.place(moving), moving.radius_m))
            .collect()
    }

    /// All that a picture of it needs.
    pub fn scene(&self) -> Scene {
        Scene {
            world: self.world.clone(),
            pose: self.pose(),
            scan: self.scan.clone(),
            trace: self.trace.clone(),
            people: self.people(),
            obstacles: self.obstacles(),
        }
    }

    /// Of everything that was up to now.
    pub fn hash(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// Lets a tick pass and gives what the sensors say.
    pub fn tick(&mut self) -> Readings {
        self.ticks += 1;
        self.turn_wheels();
        self.move_others();
        self.physics.step();
        self.count_wheels();
        self.notice();
        let readings = self.sense();
        self.hash_in(&readings);
        readings
    }

    fn place(&self, moving: &Moving) -> Point {
        let body = self.physics.bodies.get(moving.body);
        body.map_or([0.0, 0.0], |body| {
            let at = body.translation();
            [at.x, at.y]
        })
    }

    fn turn_wheels(&mut self) {
        let robot = &self.world.robot;
        let dead = self.fell || self.charge <= 0.0 || self.now() > self.until;
        let wanted = if dead { Twist::default() } else { self.wanted };
        let step = robot.max_acceleration_mps2 * STEP_S;
        let before = self.wheels.linear_mps;
        self.wheels = Twist {
            linear_mps: toward(before, wanted.linear_mps, robot.max_speed_mps, step),
            angular_radps: toward(
                self.wheels.angular_radps,
                wanted.angular_radps,
                robot.max_turn_radps,
                step / robot.radius_m,
            ),
        };
        if self.fell {
            self.wheels = Twist::default();
        }
        self.acceleration_mps2 = (self.wheels.linear_mps - before) / STEP_S;
        let (speed, turn) = (self.wheels.linear_mps, self.wheels.angular_radps);
        if let Some(body) = self.physics.bodies.get_mut(self.robot) {
            let ahead = *body.rotation() * Vector::new(speed, 0.0);
            body.set_linvel(ahead, true);
            body.set_angvel(turn, true);
        }
    }

    fn move_others(&mut self) {
        let robot = self.pose();
        for index in 0..self.moving.len() {
            let Some(at) = self.moving.get(index).map(|moving| self.place(moving)) else {
                continue;
            };
            let reach = self.world.robot.radius_m + 0.3;
            let Some(moving) = self.moving.get_mut(index) else {
                continue;
            };
            if self.ticks < moving.starts || moving.speed_mps <= 0.0 {
                continue;
            }
            let Some(next) = moving.route.get(moving.next).copied() else {
                continue;
            };
            let (here, goal) = (Vector::new(at[0], at[1]), Vector::new(next[0], next[1]));
            let way = goal - here;
            let left = way.length();
            let step = moving.speed_mps * STEP_S;
            if left <= step {
                moving.next = (moving.next + 1) % moving.route.len();
            }
            let to_robot = Vector::new(robot.x_m, robot.y_m) - here;
            let near = to_robot.length() < reach + moving.radius_m;
            if moving.polite && near && to_robot.dot(way) > 0.0 {
                continue;
            }
            let there = if left <= step {
                goal
            } else {
                here + way * (step / left)
            };
            if let Some(body) = self.physics.bodies.get_mut(moving.body) {
                body.set_next_kinematic_translation(there);
            }
        }
    }

    fn count_wheels(&mut self) {
        let spread = self.world.robot.odometry_noise;
        let wrong = if spread > 0.0 {
            1.0 + self.wheel_error + spread * noise(&mut self.random)
        } else {
            1.0
        };
        let moved = self.wheels.linear_mps * STEP_S * wrong;
        let turned = self.wheels.angular_radps * STEP_S * wrong;
        let middle = Rotation::new(self.odometry.heading_rad + turned / 2.0);
        let ahead = middle * Vector::new(moved, 0.0);
        self.odometry = Pose {
            x_m: self.odometry.x_m + ahead.x,
            y_m: self.odometry.y_m + ahead.y,
            heading_rad: wrap(self.odometry.heading_rad + turned),
        };
        let battery = &self.world.battery;
        let used = STEP_S / battery.rest_s + moved.abs() / battery.reach_m;
        self.charge = (self.charge - used).max(0.0);
    }

    fn notice(&mut self) {
        let pose = self.pose();
        if self.ticks.is_multiple_of(SLOW) {
            self.trace.push([pose.x_m, pose.y_m]);
        }
        self.fell |= over(&self.world, [pose.x_m, pose.y_m]);
        let mut contacts = self.physics.contact_pairs_with(self.shape);
        let touching = contacts.any(|pair| pair.has_any_active_contact());
        if touching && !self.touching {
            self.collisions.push(Collision {
                at: self.now(),
                speed_mps: self.wheels.linear_mps.abs(),
            });
        }
        self.touching = touching;
    }

    fn sense(&mut self) -> Readings {
        let at = self.now();
        let pose = self.pose();
        let mut readings = Readings::default();
        if self.ticks.is_multiple_of(FAST) {
            readings.odometry = Some(Stamped {
                at,
                value: Odometry {
                    pose: self.odometry,
                    twist: self.wheels,
                },
            });
            let value = self.imu(pose);
            readings.imu = Some(Stamped { at, value });
            let value = Contact {
                bumper: self.touching,
                cliff: self.fell || self.before_cliff(pose),
            };
            readings.contact = Some(Stamped { at, value });
        }
        if self.ticks.is_multiple_of(SCAN) {
            self.scan = self.cast(pose);
            readings.scan = Some(Stamped {
                at,
                value: self.scan.clone(),
            });
        }
        if self.ticks.is_multiple_of(SLOW) {
            let value = Battery {
                charge: self.charge,
                voltage_v: 21.0 + 4.2 * self.charge,
            };
            readings.battery = Some(Stamped { at, value });
            let value = self.look(pose);
            readings.sightings = Some(Stamped { at, value });
        }
        let people = self.people();
        readings.heard = self.voices.hear(at, pose, &people, &mut self.random);
        readings
    }

    fn imu(&mut self, pose: Pose) -> Imu {
        let here = [pose.x_m, pose.y_m];
        let slopes = &self.world.slopes;
        let slope = slopes.iter().find(|slope| slope.area.has(here));
        let (steep, down) = slope.map_or((0.0, 0.0), |slope| {
            (slope.steep_deg.to_radians(), slope.down_deg.to_radians())
        });
        let toward = Rotation::new(down - pose.heading_rad);
        Imu {
            roll_rad: -steep * toward.sin() + 0.002 * noise(&mut self.random),
            pitch_rad: steep * toward.cos() + 0.002 * noise(&mut self.random),
            yaw_rate_radps: self.wheels.angular_radps + 0.003 * noise(&mut self.random),
            acceleration_mps2: self.acceleration_mps2 + 0.02 * noise(&mut self.random),
        }
    }

    /// The cliff sensors look at the floor just before the wheels, in five directions; in reverse at
    /// what is behind.
    fn before_cliff(&self, pose: Pose) -> bool {
        let back = if self.wheels.linear_mps < 0.0 {
            std::f32::consts::PI
        } else {
            0.0
        };
        let reach = self.world.robot.radius_m + EDGE_M;
        [-0.8, -0.4, 0.0, 0.4, 0.8].iter().any(|side| {
            let look = Rotation::new(pose.heading_rad + back + side) * Vector::new(reach, 0.0);
            over(&self.world, [pose.x_m + look.x, pose.y_m + look.y])
        })
    }

    fn cast(&mut self, pose: Pose) -> Scan {
        let spec = &self.world.lidar;
        let step = std::f32::consts::TAU / spec.points as f32;
        let filter = QueryFilter::default().exclude_rigid_body(self.robot);
        let query = self.physics.query_pipeline_with_filter(filter);
        let origin = Vector::new(pose.x_m, pose.y_m);
        let ranges_m = (0..spec.points).map(|index| {
            let angle = pose.heading_rad - std::f32::consts::PI + step * index as f32;
            let ray = Ray::new(origin, Rotation::new(angle) * Vector::new(1.0, 0.0));
            let hit = query.cast_ray(&ray, spec.range_max_m, true);
            hit.map_or(f32::INFINITY, |(_, range)| {
                (range + spec.noise_m * noise(&mut self.random)).max(0.0)
            })
        });
        Scan {
            ranges_m: ranges_m.collect(),
            angle_min_rad: -std::f32::consts::PI,
            angle_step_rad: step,
            range_min_m: 0.05,
            range_max_m: spec.range_max_m,
        }
    }

    /// Whom the camera sees: within 60° to either side, near enough, and with nothing between.
    fn look(&self, pose: Pose) -> Vec<Sighting> {
        let here = Vector::new(pose.x_m, pose.y_m);
        let filter = QueryFilter::default().exclude_rigid_body(self.robot);
        let query = self.physics.query_pipeline_with_filter(filter);
        let people = self.moving.iter().take(self.world.people.len());
        let seen = people.filter_map(|person| {
            let [x, y] = self.place(person);
            let way = Vector::new(x, y) - here;
            let range_m = way.length();
            let angle = Rotation::from_rotation_arc(Vector::new(1.0, 0.0), way / range_m.max(1e-6));
            let bearing_rad = wrap(angle.angle() - pose.heading_rad);
            if range_m > self.world.robot.sight_m || bearing_rad.abs() > 1.05 {
                return None;
            }
            let ray = Ray::new(here, way / range_m.max(1e-6));
            let (first, _) = query.cast_ray(&ray, range_m, true)?;
            (first == person.shape).then(|| Sighting {
                what: "person".to_owned(),
                range_m,
                bearing_rad,
            })
        });
        seen.collect()
    }

    fn hash_in(&mut self, readings: &Readings) {
        let pose = self.pose();
        let mut put = |value: f32| {
            self.hasher.update(&value.to_bits().to_le_bytes());
        };
        for value in [pose.x_m, pose.y_m, pose.heading_rad, self.charge] {
            put(value);
        }
        put(self.wheels.linear_mps);
        put(self.wheels.angular_radps);
        if let Some(imu) = &readings.imu {
            put(imu.value.pitch_rad);
            put(imu.value.yaw_rate_radps);
        }
        if let Some(scan) = &readings.scan {
            scan.value.ranges_m.iter().for_each(|range| put(*range));
        }
        for heard in &readings.heard {
            self.hasher.update(heard.value.text.as_bytes());
        }
    }
}

fn over(world: &World, point: Point) -> bool {
    world.cliffs.iter().any(|cliff| cliff.has(point))
}

/// A step toward a speed, within what the motor can.
fn toward(now: f32, wanted: f32, most: f32, step: f32) -> f32 {
    let wanted = wanted.clamp(-most, most);
    now + (wanted - now).clamp(-step, step)
}

/// About normal, with a deviation of 1, from additions only: the same on every machine.
pub(super) fn noise(random: &mut fastrand::Rng) -> f32 {
    (0..12).map(|_| random.f32()).sum::<f32>() - 6.0
}

fn build(physics: &mut PhysicsWorld, world: &World) {
    let [width, height] = world.size_m;
    let mut put = |shape: Collider, at: Vector, angle: f32| {
        let body = RigidBodyBuilder::fixed().translation(at).rotation(angle);
        physics.insert(body, shape);
    };
    let half = 0.1;
    for (x, y, w, h) in [
        (width / 2.0, -half, width / 2.0 + 2.0 * half, half),
        (width / 2.0, height + half, width / 2.0 + 2.0 * half, half),
        (-half, height / 2.0, half, height / 2.0),
        (width + half, height / 2.0, half, height / 2.0),
    ] {
        put(
            ColliderBuilder::cuboid(w, h).build(),
            Vector::new(x, y),
            0.0,
        );
    }
    for wall in &world.walls {
        let (from, to) = (
            Vector::new(wall.from[0], wall.from[1]),
            Vector::new(wall.to[0], wall.to[1]),
        );
        let along = to - from;
        let length = along.length();
        let angle = Rotation::from_rotation_arc(Vector::new(1.0, 0.0), along / length).angle();
        let shape = ColliderBuilder::cuboid(length / 2.0, wall.thickness_m / 2.0).build();
        put(shape, (from + to) / 2.0, angle);
    }
    for item in &world.boxes {
        let [w, h] = item.size_m;
        let at = Vector::new(item.at[0], item.at[1]);
        let shape = ColliderBuilder::cuboid(w / 2.0, h / 2.0).build();
        put(shape, at, item.angle_deg.to_radians());
    }
}

/// People first, then obstacles. Each starts up to a second later than written, by the seed.
fn movers(physics: &mut PhysicsWorld, world: &World, random: &mut fastrand::Rng) -> Vec<Moving> {
    let people = world.people.iter().map(|person| {
        let times = (person.speed_mps, person.after_s);
        (&person.route, person.radius_m, times, true)
    });
    let obstacles = world.obstacles.iter().map(|mover| {
        let times = (mover.speed_mps, mover.after_s);
        (&mover.route, mover.radius_m, times, false)
    });
    let mut moving = Vec::new();
    for (route, radius_m, (speed_mps, after_s), polite) in people.chain(obstacles) {
        let [x, y] = route.first().copied().unwrap_or_default();
        let (body, shape) = physics.insert(
            RigidBodyBuilder::kinematic_position_based().translation(Vector::new(x, y)),
            ColliderBuilder::ball(radius_m),
        );
        moving.push(Moving {
            body,
            shape,
            route: route.clone(),
            next: 1 % route.len().max(1),
            speed_mps,
            radius_m,
            starts: ((after_s + random.f32()) / STEP_S) as u64,
            polite,
        });
    }
    moving
}
