//! How far the points of a scan are from the body, along the ways it may go.

use crate::{
    body::hal::{Scan, Stamp, Stamped, Twist},
    reflex::config::ReflexConfig,
};

/// How far everything is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clearance {
    /// From the front to what is in the way, going forwards. Infinite is nothing; negative is touching.
    pub ahead_m: f32,
    /// From the back to what is in the way, going backwards.
    pub behind_m: f32,
    /// From the circle that turning on the spot needs to the nearest point.
    pub around_m: f32,
    /// The share of the points that are no readings.
    pub blind: f32,
}

/// So many points at once: what the processor's registers hold.
const LANES: usize = 8;

/// The directions of a scanner, and the last answer.
#[derive(Debug)]
pub(super) struct Points {
    front_m: f32,
    back_m: f32,
    half_width_m: f32,
    turn_radius_m: f32,
    mount: [f32; 3],
    /// Angle, step and number of points that the directions are for.
    geometry: (u32, u32, usize),
    cos: Vec<f32>,
    sin: Vec<f32>,
    last: Option<(Stamp, [u32; 2], Clearance)>,
}

/// A way around a centre of turning at that distance to the left, between two squared distances from it.
/// The straight way needs none: nothing is between infinity and zero.
#[derive(Clone, Copy)]
struct Way {
    centre_m: f32,
    inner2: f32,
    outer2: f32,
}

impl Points {
    pub fn new(config: &ReflexConfig) -> Self {
        let body = &config.body;
        let corner = body.front_m.max(body.back_m).hypot(body.half_width_m);
        Self {
            front_m: body.front_m,
            back_m: body.back_m,
            half_width_m: body.half_width_m + config.zones.side_m,
            turn_radius_m: body.turn_radius_m.unwrap_or(corner),
            mount: [config.scan.x_m, config.scan.y_m, config.scan.yaw_rad],
            geometry: (0, 0, 0),
            cos: Vec::with_capacity(config.scan.points),
            sin: Vec::with_capacity(config.scan.points),
            last: None,
        }
    }

    /// How far everything is on the ways of these motions, and straight.
    pub fn clearance(&mut self, scan: &Stamped<Scan>, motions: [Twist; 2]) -> Clearance {
        let ways = motions.map(|motion| self.way(motion));
        let key = ways.map(|way| way.centre_m.to_bits());
        if let Some((at, ways, clearance)) = self.last
            && at == scan.at
            && ways == key
        {
            return clearance;
        }
        self.aim(&scan.value);
        let clearance = self.measure(&scan.value, ways);
        self.last = Some((scan.at, key, clearance));
        clearance
    }

    /// The way of a motion. Turning on the spot and standing still are straight: what is around has its
    /// own rule.
    fn way(&self, motion: Twist) -> Way {
        let radius = motion.linear_mps / motion.angular_radps;
        // As exact as it needs to be: noise in the odometry does not ask again.
        let radius = (radius * 64.0).round() / 64.0;
        let straight = !radius.is_finite() || radius.abs() > 50.0 || motion.linear_mps.abs() < 0.02;
        if straight {
            return Way {
                centre_m: 0.0,
                inner2: f32::INFINITY,
                outer2: 0.0,
            };
        }
        let inner = (radius.abs() - self.half_width_m).max(0.0);
        let outer = (radius.abs() + self.half_width_m).hypot(self.front_m.max(self.back_m));
        Way {
            centre_m: radius,
            inner2: inner * inner,
            outer2: outer * outer,
        }
    }

    /// The directions of a scan, if they are not those of the one before.
    fn aim(&mut self, scan: &Scan) {
        let geometry = (
            scan.angle_min_rad.to_bits(),
            scan.angle_step_rad.to_bits(),
            scan.ranges_m.len(),
        );
        if geometry == self.geometry {
            return;
        }
        self.geometry = geometry;
        self.cos.clear();
        self.sin.clear();
        let [_, _, yaw] = self.mount;
        for index in 0..scan.ranges_m.len() {
            // In 64 bits: the last of 24,000 steps is as exact as the first.
            let angle = f64::from(scan.angle_min_rad)
                + index as f64 * f64::from(scan.angle_step_rad)
                + f64::from(yaw);
            self.cos.push(angle.cos() as f32);
            self.sin.push(angle.sin() as f32);
        }
    }

    fn measure(&self, scan: &Scan, ways: [Way; 2]) -> Clearance {
        let mut found = Found::new();
        let limits = [scan.range_min_m.max(0.0), scan.range_max_m];
        let (ranges, last) = scan.ranges_m.as_chunks::<LANES>();
        let (cos, last_cos) = self.cos.as_chunks::<LANES>();
        let (sin, last_sin) = self.sin.as_chunks::<LANES>();
        for ((ranges, cos), sin) in ranges.iter().zip(cos).zip(sin) {
            self.look(&mut found, ranges, cos, sin, limits, &ways);
        }
        // The last few, beside lanes that meet nothing.
        let fill = |from: &[f32], with: f32| {
            let mut lanes = [with; LANES];
            for (lane, value) in lanes.iter_mut().zip(from) {
                *lane = *value;
            }
            lanes
        };
        let ranges = fill(last, f32::INFINITY);
        let (cos, sin) = (fill(last_cos, 0.0), fill(last_sin, 0.0));
        self.look(&mut found, &ranges, &cos, &sin, limits, &ways);
        let along = |squares: &[f32; LANES], own: f32| least(squares).sqrt() - own;
        let blind: u32 = found.blind.iter().sum();
        let points = scan.ranges_m.len();
        Clearance {
            ahead_m: (least(&found.ahead) - self.front_m)
                .min(along(&found.ahead_square, self.front_m)),
            behind_m: (least(&found.behind) - self.back_m)
                .min(along(&found.behind_square, self.back_m)),
            around_m: along(&found.around_square, self.turn_radius_m),
            blind: if points == 0 {
                1.0
            } else {
                blind as f32 / points as f32
            },
        }
    }

    /// Eight points. No branches: the compiler makes vectors of it.
    #[inline]
    #[allow(
        clippy::indexing_slicing,
        reason = "a lane is less than LANES, and every array has as many; iterators over nine of them hide that"
    )]
    fn look(
        &self,
        found: &mut Found,
        ranges: &[f32; LANES],
        cos: &[f32; LANES],
        sin: &[f32; LANES],
        [least, most]: [f32; 2],
        ways: &[Way; 2],
    ) {
        let [mount_x, mount_y, _] = self.mount;
        for lane in 0..LANES {
            let range = ranges[lane];
            // A range that is not a number is not at least that; nor is one closer than can be seen.
            let reading = range >= least;
            let seen = reading & (range <= most);
            let x = mount_x + range * cos[lane];
            let y = mount_y + range * sin[lane];
            let square = x * x + y * y;
            let straight = seen & (y.abs() <= self.half_width_m);
            nearer(&mut found.ahead[lane], straight & (x > 0.0), x);
            nearer(&mut found.behind[lane], straight & (x <= 0.0), -x);
            for way in ways {
                let across = y - way.centre_m;
                let from_centre = x * x + across * across;
                let on = seen & (from_centre >= way.inner2) & (from_centre <= way.outer2);
                // The chord is shorter than the way around: rather too near than too far.
                nearer(&mut found.ahead_square[lane], on & (x > 0.0), square);
                nearer(&mut found.behind_square[lane], on & (x <= 0.0), square);
            }
            nearer(&mut found.around_square[lane], seen, square);
            found.blind[lane] += u32::from(!reading);
        }
    }
}

#[inline]
fn nearer(least: &mut f32, counts: bool, distance: f32) {
    let distance = if counts { distance } else { f32::INFINITY };
    *least = if distance < *least { distance } else { *least };
}

fn least(lanes: &[f32; LANES]) -> f32 {
    lanes.iter().copied().fold(f32::INFINITY, f32::min)
}

/// The nearest of each kind, by lane.
struct Found {
    ahead: [f32; LANES],
    behind: [f32; LANES],
    ahead_square: [f32; LANES],
    behind_square: [f32; LANES],
    around_square: [f32; LANES],
    blind: [u32; LANES],
}

impl Found {
    fn new() -> Self {
        let nothing = [f32::INFINITY; LANES];
        Self {
            ahead: nothing,
            behind: nothing,
            ahead_square: nothing,
            behind_square: nothing,
            around_square: nothing,
            blind: [0; LANES],
        }
    }
}
