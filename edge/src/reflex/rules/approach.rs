//! How fast the body may go where what it sees may come nearer by itself, from any side.
//!
//! Every point is taken for the edge of something that may set out at `people_mps` in any direction. The
//! body going `v` stands after the way `s = v·t + v²/2a` and the time `T = t + v/a`; it stands before it
//! is touched if the point is farther than `s + u·T` along the way, or farther than `u·T` beside it. What
//! steps out from behind a corner was behind the corner's own point, which is nearer.

use super::clearance::{LANES, Points, Way, least};
use crate::body::hal::{Scan, Stamped, Twist};

/// How the body brakes, and how the others come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    /// How hard it brakes.
    pub braking_mps2: f32,
    /// How fast others come nearer; more than nothing.
    pub people_mps: f32,
    /// How long until it brakes.
    pub delay_s: f32,
}

impl Motion {
    /// The fastest that stands before what is that far along the way.
    #[inline]
    pub fn along(self, distance_m: f32) -> f32 {
        let room = (distance_m - self.people_mps * self.delay_s).max(0.0);
        let lost = self.delay_s + self.people_mps / self.braking_mps2;
        self.braking_mps2 * ((lost * lost + 2.0 * room / self.braking_mps2).sqrt() - lost)
    }

    /// The fastest that stands before what is that far beside the way can have come to it.
    #[inline]
    fn beside(self, distance_m: f32) -> f32 {
        (self.braking_mps2 * (distance_m / self.people_mps - self.delay_s)).max(0.0)
    }
}

impl Points {
    /// The fastest forwards and backwards, on the ways of these motions and straight.
    pub fn approach(
        &mut self,
        scan: &Stamped<Scan>,
        motions: [Twist; 2],
        motion: Motion,
    ) -> [f32; 2] {
        let ways = motions.map(|motion| self.way(motion));
        self.aim(&scan.value);
        let limits = [scan.value.range_min_m.max(0.0), scan.value.range_max_m];
        let mut fastest = [[f32::MAX; LANES]; 2];
        let chunks = self.chunks(&scan.value);
        for (ranges, cos, sin) in chunks {
            self.come(&mut fastest, [&ranges, &cos, &sin], limits, &ways, motion);
        }
        fastest.map(|lanes| least(&lanes))
    }

    #[inline]
    #[allow(
        clippy::indexing_slicing,
        reason = "a lane is less than LANES, and every array has as many"
    )]
    fn come(
        &self,
        [forward, backward]: &mut [[f32; LANES]; 2],
        [ranges, cos, sin]: [&[f32; LANES]; 3],
        [nearest, farthest]: [f32; 2],
        ways: &[Way; 2],
        motion: Motion,
    ) {
        for lane in 0..LANES {
            let range = ranges[lane];
            let seen = (range >= nearest) & (range <= farthest);
            let (x, y) = self.place(range, cos[lane], sin[lane]);
            let (ahead, behind) = (x - self.front_m, -x - self.back_m);
            let beside = motion.beside(y.abs() - self.half_width_m);
            // Along the way it is approached, against the way it can only come by itself.
            let mut on = if x > 0.0 {
                motion.along(ahead)
            } else {
                motion.beside(behind)
            }
            .max(beside);
            let mut off = if x > 0.0 {
                motion.beside(ahead)
            } else {
                motion.along(behind)
            }
            .max(beside);
            let chord = (x * x + y * y).sqrt();
            for way in ways {
                let Some(gap) = way.gap(x, y) else { continue };
                let beside = motion.beside(gap);
                let along = motion.along(chord - if x > 0.0 { self.front_m } else { self.back_m });
                on = on.min(
                    if x > 0.0 {
                        along
                    } else {
                        motion.beside(behind)
                    }
                    .max(beside),
                );
                off = off.min(if x > 0.0 { motion.beside(ahead) } else { along }.max(beside));
            }
            let on = if seen { on } else { f32::MAX };
            let off = if seen { off } else { f32::MAX };
            forward[lane] = forward[lane].min(on);
            backward[lane] = backward[lane].min(off);
        }
    }
}
