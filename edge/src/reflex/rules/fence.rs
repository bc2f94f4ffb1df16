//! Where the fence is, and where a peer's hazard is, seen from the body.

use crate::{body::hal::Pose, reflex::verdict::Hazard};

/// An area of the map.
#[derive(Debug)]
pub(super) struct Fence {
    corners: Vec<[f32; 2]>,
}

/// How far it is along the way, in either direction. Infinite is never.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ways {
    pub inside: bool,
    pub ahead_m: f32,
    pub behind_m: f32,
}

impl Fence {
    pub fn new(corners: &[[f32; 2]]) -> Option<Self> {
        (corners.len() >= 3).then(|| Self {
            corners: corners.to_vec(),
        })
    }

    fn edges(&self) -> impl Iterator<Item = ([f32; 2], [f32; 2])> {
        let next = self.corners.iter().cycle().skip(1);
        self.corners.iter().copied().zip(next.copied())
    }

    /// How far the fence is ahead and behind, straight or where turning leads.
    pub fn ways(&self, pose: Pose, turning_rad: f32) -> Ways {
        let ray = |heading: f32| {
            self.edges()
                .map(|(from, to)| meets(pose, heading, from, to))
                .fold(f32::INFINITY, f32::min)
        };
        let both = |heading: f32| ray(heading).min(ray(heading + turning_rad));
        Ways {
            inside: self.holds(pose.x_m, pose.y_m),
            ahead_m: both(pose.heading_rad),
            behind_m: both(pose.heading_rad + std::f32::consts::PI),
        }
    }

    /// Whether the place is in the area: a ray from it crosses the edges an odd number of times.
    fn holds(&self, x: f32, y: f32) -> bool {
        let crossed = self.edges().filter(|([x1, y1], [x2, y2])| {
            (*y1 > y) != (*y2 > y) && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
        });
        crossed.count() % 2 == 1
    }
}

/// How far along a heading an edge is met.
fn meets(pose: Pose, heading: f32, [x1, y1]: [f32; 2], [x2, y2]: [f32; 2]) -> f32 {
    let (sin, cos) = heading.sin_cos();
    let (ex, ey) = (x2 - x1, y2 - y1);
    let (px, py) = (x1 - pose.x_m, y1 - pose.y_m);
    let cross = cos * ey - sin * ex;
    if cross.abs() < 1e-9 {
        return f32::INFINITY;
    }
    let along = (px * ey - py * ex) / cross;
    let share = (px * sin - py * cos) / cross;
    if along >= 0.0 && (-1e-4..=1.0001).contains(&share) {
        along
    } else {
        f32::INFINITY
    }
}

/// Where a hazard is. Without a place of one's own, or of its own, one is in it.
pub(super) fn to_hazard(hazard: &Hazard, pose: Option<Pose>, own_m: f32) -> Ways {
    let everywhere = Ways {
        inside: true,
        ahead_m: 0.0,
        behind_m: 0.0,
    };
    let Some(pose) = pose else { return everywhere };
    let (dx, dy) = (hazard.x_m - pose.x_m, hazard.y_m - pose.y_m);
    let reach = hazard.radius_m.max(0.0) + own_m;
    let distance = dx.hypot(dy);
    if !(distance.is_finite() && reach.is_finite()) || hazard.radius_m.is_nan() || distance <= reach
    {
        return everywhere;
    }
    let (sin, cos) = pose.heading_rad.sin_cos();
    let (along, across) = (dx * cos + dy * sin, (dy * cos - dx * sin).abs());
    let mut ways = Ways {
        inside: false,
        ahead_m: f32::INFINITY,
        behind_m: f32::INFINITY,
    };
    if across < reach {
        let away = along.abs() - (reach * reach - across * across).sqrt();
        if along > 0.0 {
            ways.ahead_m = away;
        } else {
            ways.behind_m = away;
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Fence {
        Fence::new(&[[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]).unwrap()
    }

    fn at(x_m: f32, y_m: f32, heading_rad: f32) -> Pose {
        Pose {
            x_m,
            y_m,
            heading_rad,
        }
    }

    #[test]
    fn the_fence_is_as_far_as_it_is_along_the_way() {
        let ways = square().ways(at(1.0, 2.0, 0.0), 0.0);
        assert!(ways.inside);
        assert!((ways.ahead_m - 3.0).abs() < 1e-4, "{ways:?}");
        assert!((ways.behind_m - 1.0).abs() < 1e-4, "{ways:?}");
    }

    #[test]
    fn turning_towards_the_fence_counts() {
        let straight = square().ways(at(1.0, 3.5, 0.0), 0.0);
        let turning = square().ways(at(1.0, 3.5, 0.0), 1.0);
        assert!(turning.ahead_m < straight.ahead_m);
        assert!((turning.ahead_m - 0.5 / 1.0_f32.sin()).abs() < 1e-3);
    }

    #[test]
    fn outside_is_outside_and_only_the_way_back_meets_the_fence() {
        let ways = square().ways(at(5.0, 2.0, 0.0), 0.0);
        assert!(!ways.inside);
        assert_eq!(ways.ahead_m, f32::INFINITY);
        assert!((ways.behind_m - 1.0).abs() < 1e-4);
    }
}
