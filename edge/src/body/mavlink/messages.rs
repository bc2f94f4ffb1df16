//! From messages to readings and back. Pure.

use std::f32::consts::FRAC_PI_2;

use ::mavlink::dialects::common::{
    MavFrame, MavMessage, MavSensorOrientation, OBSTACLE_DISTANCE_DATA, PositionTargetTypemask,
    SET_POSITION_TARGET_LOCAL_NED_DATA,
};

use crate::body::hal::{Battery, Contact, Imu, Odometry, Pose, Scan, Twist, wrap};

/// What a message says of the body.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Distances around it.
    Scan(Scan),
    /// Where it is.
    Odometry(Odometry),
    /// How it leans and turns.
    Imu(Imu),
    /// What is left to live on.
    Battery(Battery),
    /// Whether the floor ends.
    Contact(Contact),
}

/// Why a message is no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReading {
    /// It needs the attitude, and none was heard.
    #[error("where the vehicle looks was not said yet (ATTITUDE)")]
    NoAttitude,
    /// Its distances have no directions.
    #[error("OBSTACLE_DISTANCE has no increment, or a frame that is none of the body or of north")]
    NoDirections,
}

/// What is remembered from message to message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    /// From what distance downwards the floor has ended.
    cliff_m: Option<f32>,
    /// Clockwise from north, and how fast it turns.
    yaw: Option<(f32, f32)>,
    /// Nose up.
    pitch_rad: f32,
    /// Along the nose, with gravity in it.
    force_mps2: Option<f32>,
}

impl Reader {
    /// Of a vehicle whose floor has ended from that distance downwards on, if it has such a sensor.
    pub fn new(cliff_m: Option<f32>) -> Self {
        Self {
            cliff_m,
            ..Self::default()
        }
    }
}

const GRAVITY_MPS2: f32 = 9.806_65;
/// The value of a distance that was not measured.
const UNKNOWN: u16 = u16::MAX;

/// What a message says, if it is of use here.
///
/// # Errors
///
/// It says something of which the meaning is not known.
pub fn readings(reader: &mut Reader, message: &MavMessage) -> Result<Option<Reading>, BadReading> {
    Ok(match message {
        MavMessage::ATTITUDE(said) => {
            reader.yaw = Some((said.yaw, said.yawspeed));
            reader.pitch_rad = said.pitch;
            // At rest with its nose up it feels gravity along its nose.
            let ahead = reader
                .force_mps2
                .map(|force| force - GRAVITY_MPS2 * said.pitch.sin());
            Some(Reading::Imu(Imu {
                roll_rad: said.roll,
                pitch_rad: -said.pitch,
                yaw_rate_radps: -said.yawspeed,
                acceleration_mps2: ahead.unwrap_or_default(),
            }))
        }
        MavMessage::HIGHRES_IMU(said) => {
            reader.force_mps2 = Some(said.xacc);
            None
        }
        MavMessage::SCALED_IMU(said) => {
            reader.force_mps2 = Some(f32::from(said.xacc) / 1000.0 * GRAVITY_MPS2);
            None
        }
        MavMessage::LOCAL_POSITION_NED(said) => {
            let (yaw, turning) = reader.yaw.ok_or(BadReading::NoAttitude)?;
            Some(Reading::Odometry(Odometry {
                pose: Pose {
                    x_m: said.y,
                    y_m: said.x,
                    heading_rad: wrap(FRAC_PI_2 - yaw),
                },
                twist: Twist {
                    linear_mps: said.vx * yaw.cos() + said.vy * yaw.sin(),
                    angular_radps: -turning,
                },
            }))
        }
        MavMessage::SYS_STATUS(said) => (said.battery_remaining >= 0).then(|| {
            Reading::Battery(Battery {
                charge: f32::from(said.battery_remaining) / 100.0,
                voltage_v: f32::from(said.voltage_battery) / 1000.0,
            })
        }),
        MavMessage::DISTANCE_SENSOR(said) => {
            let down = said.orientation == MavSensorOrientation::MAV_SENSOR_ROTATION_PITCH_270;
            reader.cliff_m.filter(|_| down).map(|deepest| {
                Reading::Contact(Contact {
                    bumper: false,
                    cliff: f32::from(said.current_distance) / 100.0 > deepest,
                })
            })
        }
        MavMessage::OBSTACLE_DISTANCE(said) => Some(Reading::Scan(scan(reader, said)?)),
        _ => None,
    })
}

/// Its distances go clockwise, ours counter-clockwise.
fn scan(reader: &Reader, said: &OBSTACLE_DISTANCE_DATA) -> Result<Scan, BadReading> {
    let step_deg = match said.increment_f {
        step if step > 0.0 => step,
        _ => f32::from(said.increment),
    };
    if !(step_deg > 0.0 && said.angle_offset.is_finite()) {
        return Err(BadReading::NoDirections);
    }
    let ahead = match said.frame {
        MavFrame::MAV_FRAME_BODY_FRD => 0.0,
        MavFrame::MAV_FRAME_GLOBAL => reader.yaw.ok_or(BadReading::NoAttitude)?.0,
        _ => return Err(BadReading::NoDirections),
    };
    // What is left over once it went around was not measured.
    let around = (360.0 / step_deg).floor().clamp(1.0, 72.0) as usize;
    let measured = said.distances.iter().take(around);
    let mut ranges_m: Vec<f32> = measured
        .map(|distance| match *distance {
            UNKNOWN => f32::NAN,
            beyond if beyond > said.max_distance => f32::INFINITY,
            distance => f32::from(distance) / 100.0,
        })
        .collect();
    ranges_m.reverse();
    let last = said.angle_offset.to_radians() - ahead
        + step_deg.to_radians() * (ranges_m.len().saturating_sub(1)) as f32;
    Ok(Scan {
        angle_min_rad: wrap(-last),
        angle_step_rad: step_deg.to_radians(),
        range_min_m: f32::from(said.min_distance) / 100.0,
        range_max_m: f32::from(said.max_distance) / 100.0,
        ranges_m,
    })
}

/// The one frame in which both ArduPilot's Rover and PX4 take a velocity along the nose.
#[allow(
    deprecated,
    reason = "MAV_FRAME_BODY_FRD, which superseded it, is not taken by Rover"
)]
const ALONG_THE_NOSE: MavFrame = MavFrame::MAV_FRAME_BODY_NED;

/// A motion as a set point: velocity along the nose and rate of turn, all else ignored.
pub fn set_point(twist: Twist, (system, component): (u8, u8), time_boot_ms: u32) -> MavMessage {
    use PositionTargetTypemask as Ignore;
    let type_mask = Ignore::POSITION_TARGET_TYPEMASK_X_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_Y_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_Z_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_VZ_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_AX_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_AY_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_AZ_IGNORE
        | Ignore::POSITION_TARGET_TYPEMASK_YAW_IGNORE;
    MavMessage::SET_POSITION_TARGET_LOCAL_NED(SET_POSITION_TARGET_LOCAL_NED_DATA {
        time_boot_ms,
        target_system: system,
        target_component: component,
        coordinate_frame: ALONG_THE_NOSE,
        type_mask,
        vx: twist.linear_mps,
        yaw_rate: -twist.angular_radps,
        ..SET_POSITION_TARGET_LOCAL_NED_DATA::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use std::f32::consts::PI;

    use ::mavlink::dialects::common::{ATTITUDE_DATA, LOCAL_POSITION_NED_DATA, SYS_STATUS_DATA};

    use super::*;

    fn distances(frame: MavFrame, change: impl FnOnce(&mut OBSTACLE_DISTANCE_DATA)) -> MavMessage {
        let mut said = OBSTACLE_DISTANCE_DATA {
            distances: [UNKNOWN; 72],
            increment: 5,
            min_distance: 20,
            max_distance: 1000,
            frame,
            ..OBSTACLE_DISTANCE_DATA::default()
        };
        change(&mut said);
        MavMessage::OBSTACLE_DISTANCE(said)
    }

    fn attitude(yaw: f32) -> MavMessage {
        MavMessage::ATTITUDE(ATTITUDE_DATA {
            yaw,
            ..ATTITUDE_DATA::default()
        })
    }

    fn scan_of(reader: &mut Reader, message: &MavMessage) -> Scan {
        match readings(reader, message) {
            Ok(Some(Reading::Scan(scan))) => scan,
            other => panic!("{other:?}"),
        }
    }

    /// What was measured, and in which direction of the body.
    fn seen(scan: &Scan) -> Vec<(f32, f32)> {
        let rays = scan.ranges_m.iter().enumerate();
        let rays = rays.map(|(index, range)| {
            let angle = scan.angle_min_rad + scan.angle_step_rad * index as f32;
            (wrap(angle), *range)
        });
        rays.filter(|(_, range)| range.is_finite()).collect()
    }

    #[test]
    fn a_distance_to_the_right_is_to_the_right_and_unknown_is_no_reading() {
        let to_the_right = |said: &mut OBSTACLE_DISTANCE_DATA| {
            said.distances[18] = 250;
            said.distances[0] = 1001;
        };
        let message = distances(MavFrame::MAV_FRAME_BODY_FRD, to_the_right);
        let scan = scan_of(&mut Reader::default(), &message);
        let seen = seen(&scan);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(
            (seen[0].0 + FRAC_PI_2).abs() < 1e-3 && seen[0].1 == 2.5,
            "{seen:?}"
        );
        let beyond = scan.ranges_m.iter().filter(|range| range.is_infinite());
        assert_eq!(beyond.count(), 1);
        assert_eq!(
            scan.ranges_m.iter().filter(|range| range.is_nan()).count(),
            70
        );
    }

    #[test]
    fn distances_from_north_need_to_know_where_the_nose_points() {
        let to_the_north = |said: &mut OBSTACLE_DISTANCE_DATA| said.distances[0] = 300;
        let message = distances(MavFrame::MAV_FRAME_GLOBAL, to_the_north);
        let mut reader = Reader::default();
        assert_eq!(readings(&mut reader, &message), Err(BadReading::NoAttitude));
        // The nose points east: north is to the left.
        readings(&mut reader, &attitude(FRAC_PI_2)).unwrap();
        let seen = seen(&scan_of(&mut reader, &message));
        assert!((seen[0].0 - FRAC_PI_2).abs() < 1e-3, "{seen:?}");
        let nowhere = distances(MavFrame::MAV_FRAME_LOCAL_NED, |_| {});
        assert_eq!(
            readings(&mut reader, &nowhere),
            Err(BadReading::NoDirections)
        );
        let flat = distances(MavFrame::MAV_FRAME_BODY_FRD, |said| said.increment = 0);
        assert_eq!(readings(&mut reader, &flat), Err(BadReading::NoDirections));
    }

    #[test]
    fn where_it_is_is_turned_from_north_and_down_to_east_and_up() {
        let mut reader = Reader::default();
        let place = MavMessage::LOCAL_POSITION_NED(LOCAL_POSITION_NED_DATA {
            x: 3.0,
            y: 1.0,
            vx: -0.5,
            ..LOCAL_POSITION_NED_DATA::default()
        });
        assert_eq!(readings(&mut reader, &place), Err(BadReading::NoAttitude));
        readings(&mut reader, &attitude(PI)).unwrap();
        let Ok(Some(Reading::Odometry(odometry))) = readings(&mut reader, &place) else {
            panic!("no odometry");
        };
        assert_eq!((odometry.pose.x_m, odometry.pose.y_m), (1.0, 3.0));
        assert!(
            (odometry.pose.heading_rad + FRAC_PI_2).abs() < 1e-6,
            "{odometry:?}"
        );
        assert!(
            (odometry.twist.linear_mps - 0.5).abs() < 1e-6,
            "{odometry:?}"
        );
    }

    #[test]
    fn a_battery_of_which_nothing_is_known_is_no_reading() {
        let status = |battery_remaining| {
            MavMessage::SYS_STATUS(SYS_STATUS_DATA {
                battery_remaining,
                voltage_battery: 12_000,
                ..SYS_STATUS_DATA::default()
            })
        };
        let mut reader = Reader::default();
        assert_eq!(readings(&mut reader, &status(-1)), Ok(None));
        let half = Battery {
            charge: 0.5,
            voltage_v: 12.0,
        };
        let said = readings(&mut reader, &status(50));
        assert_eq!(said, Ok(Some(Reading::Battery(half))));
    }
}
