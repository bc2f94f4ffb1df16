//! What a configuration is refused for.

use std::time::Duration;

use super::{ConfigError, ReflexConfig, STALE_PERIODS, Touch, ms};

impl ReflexConfig {
    /// Refuses what is out of range, and a body that could not stop in time.
    ///
    /// # Errors
    ///
    /// Says which key, and what it must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_ranges()?;
        self.check_optional()?;
        self.check_deadlines()
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let body = &self.body;
        let zones = &self.zones;
        within("tick_hz", self.tick_hz, 10.0, 2000.0, "must be 10 to 2000")?;
        within("motor_ms", self.motor_ms, 1.0, 500.0, "must be 1 to 500")?;
        within(
            "parent_ms",
            self.parent_ms,
            5.0,
            1000.0,
            "must be 5 to 1000",
        )?;
        within(
            "wake_us",
            self.wake_us,
            0.0,
            100_000.0,
            "must be at most 100000",
        )?;
        let metres = "must be between 0 and 10 metres";
        within("body.front_m", body.front_m, 0.0, 10.0, metres)?;
        within("body.back_m", body.back_m, 0.0, 10.0, metres)?;
        within("body.half_width_m", body.half_width_m, 0.001, 10.0, metres)?;
        let turn = body.turn_radius_m.unwrap_or(0.1);
        within("body.turn_radius_m", turn, 0.0, 20.0, metres)?;
        let speed = "must be between 0 and 20 m/s";
        within("body.forward_mps", body.forward_mps, 0.0, 20.0, speed)?;
        within("body.backward_mps", body.backward_mps, 0.0, 20.0, speed)?;
        within(
            "body.turn_radps",
            body.turn_radps,
            0.0,
            20.0,
            "must be between 0 and 20 rad/s",
        )?;
        within(
            "body.braking_mps2",
            body.braking_mps2,
            0.05,
            50.0,
            "must be 0.05 to 50 m/s²",
        )?;
        within(
            "body.lag_ms",
            body.lag_ms,
            0.0,
            1000.0,
            "must be at most 1000",
        )?;
        within("degraded_mps", self.degraded_mps, 0.0, 20.0, speed)?;
        within("zones.stop_m", zones.stop_m, 0.0, 10.0, metres)?;
        within(
            "zones.slow_m",
            zones.slow_m,
            zones.stop_m,
            20.0,
            "must be more than zones.stop_m",
        )?;
        within("zones.slow_mps", zones.slow_mps, 0.0, 20.0, speed)?;
        within("zones.side_m", zones.side_m, 0.0, 10.0, metres)?;
        within(
            "zones.collision_s",
            zones.collision_s,
            0.0,
            10.0,
            "must be at most 10 seconds",
        )?;
        within("zones.people_mps", zones.people_mps, 0.0, 10.0, speed)?;
        within(
            "zones.hysteresis_m",
            zones.hysteresis_m,
            0.0,
            2.0,
            "must be at most 2 metres",
        )?;
        within(
            "zones.clear_ms",
            zones.clear_ms,
            0.0,
            60_000.0,
            "must be at most a minute",
        )
    }

    fn check_optional(&self) -> Result<(), ConfigError> {
        let period = "must be 1 to 5000 milliseconds";
        let scan = &self.scan;
        within("scan.period_ms", scan.period_ms, 1.0, 5000.0, period)?;
        within(
            "scan.points",
            scan.points as f64,
            1.0,
            200_000.0,
            "must be 1 to 200000",
        )?;
        within(
            "scan.reach_m",
            scan.reach_m,
            0.1,
            1000.0,
            "must be 0.1 to 1000",
        )?;
        within("scan.x_m", scan.x_m, -10.0, 10.0, "must be on the body")?;
        within("scan.y_m", scan.y_m, -10.0, 10.0, "must be on the body")?;
        within(
            "scan.yaw_rad",
            scan.yaw_rad,
            -7.0,
            7.0,
            "must be an angle in radians",
        )?;
        within(
            "scan.blind",
            scan.blind,
            0.0,
            1.0,
            "must be a share, 0 to 1",
        )?;
        within(
            "odometry.period_ms",
            self.odometry.period_ms,
            1.0,
            5000.0,
            period,
        )?;
        if let Some(tilt) = &self.imu {
            within("imu.period_ms", tilt.period_ms, 1.0, 5000.0, period)?;
            within(
                "imu.slow_rad",
                tilt.slow_rad,
                0.0,
                1.6,
                "must be an angle up to 1.6",
            )?;
            within(
                "imu.stop_rad",
                tilt.stop_rad,
                tilt.slow_rad,
                1.6,
                "must be more than imu.slow_rad",
            )?;
            within(
                "imu.fallen_rad",
                tilt.fallen_rad,
                tilt.stop_rad,
                3.2,
                "must be more than imu.stop_rad",
            )?;
        }
        if let Some(charge) = &self.battery {
            within("battery.period_ms", charge.period_ms, 1.0, 60_000.0, period)?;
            within(
                "battery.empty",
                charge.empty,
                0.0,
                1.0,
                "must be a share, 0 to 1",
            )?;
            within(
                "battery.low",
                charge.low,
                charge.empty,
                1.0,
                "must be more than battery.empty",
            )?;
        }
        if let Some(contact) = &self.contact {
            within("contact.period_ms", contact.period_ms, 1.0, 5000.0, period)?;
            let reach = contact.cliff_m.unwrap_or(1.0);
            within(
                "contact.cliff_m",
                reach,
                0.01,
                10.0,
                "must be 0.01 to 10 metres",
            )?;
        }
        let corners = self.fence_m.len();
        if corners == 1 || corners == 2 {
            return Err(ConfigError::Range {
                key: "fence_m",
                value: corners as f64,
                must: "an area has three corners at least, or none",
            });
        }
        for corner in self.fence_m.as_flattened() {
            within(
                "fence_m",
                *corner,
                -1.0e6,
                1.0e6,
                "corners must be within 1000 km",
            )?;
        }
        for may in [
            &self.sources.model,
            &self.sources.mission,
            &self.sources.manual,
        ] {
            within(
                "sources.valid_ms",
                may.valid_ms,
                1.0,
                5000.0,
                "must be 1 to 5000",
            )?;
            within(
                "sources.linear_mps",
                may.linear_mps.unwrap_or(0.0),
                0.0,
                20.0,
                "must be between 0 and 20 m/s",
            )?;
            within(
                "sources.turn_radps",
                may.turn_radps.unwrap_or(0.0),
                0.0,
                20.0,
                "must be between 0 and 20 rad/s",
            )?;
        }
        Ok(())
    }

    fn check_deadlines(&self) -> Result<(), ConfigError> {
        let tick = self.tick();
        if ms(self.motor_ms) < tick * 2 {
            return Err(ConfigError::Deadline(format!(
                "reflex.motor_ms is {} and a tick is {tick:?}: the motors would stop between two ticks; \
                 make it two ticks at least, or raise reflex.tick_hz",
                self.motor_ms
            )));
        }
        if ms(self.parent_ms) < tick {
            return Err(ConfigError::Deadline(format!(
                "reflex.parent_ms is {} and a tick is {tick:?}: its silence would be noticed later than \
                 that; raise reflex.tick_hz or reflex.parent_ms",
                self.parent_ms
            )));
        }
        let fast = f64::from(self.body.forward_mps.max(self.body.backward_mps));
        // The oldest scan that is still believed, the motors' last decision, the wheels, the brakes.
        let blind = ms(self.scan.period_ms) * STALE_PERIODS + ms(self.motor_ms) + self.lag();
        let stop = fast * blind.as_secs_f64()
            + fast * fast / (2.0 * f64::from(self.body.braking_mps2))
            + f64::from(self.zones.people_mps)
                * (blind.as_secs_f64() + fast / f64::from(self.body.braking_mps2));
        let reach =
            f64::from(self.scan.reach_m) - f64::from(self.body.front_m.max(self.body.back_m));
        if stop > reach {
            return Err(ConfigError::Deadline(format!(
                "at {fast:.2} m/s the body needs {stop:.2} m to stand ({blind:?} until it brakes, then \
                 {} m/s²) and its scanner sees {reach:.2} m ahead of it; lower reflex.body.forward_mps \
                 or reflex.scan.period_ms",
                self.body.braking_mps2
            )));
        }
        self.check_edge()
    }

    /// How fast the body may be, at most, to stand before the edge that its cliff sensor sees. Nothing where
    /// there is no such sensor.
    pub fn edge_mps(&self) -> Option<f32> {
        let contact = self.contact.as_ref()?;
        let braking = f64::from(self.body.braking_mps2);
        let late = braking * self.before_it_brakes(contact).as_secs_f64();
        let fastest = (late * late + 2.0 * braking * f64::from(contact.cliff_m?)).sqrt() - late;
        // Rounded down: what is written here is compared with what it was made from.
        Some((fastest * 1000.0).floor() as f32 / 1000.0)
    }

    /// From an edge in reach to the brakes: the sensor's period, a tick, the wheels.
    fn before_it_brakes(&self, contact: &Touch) -> Duration {
        ms(contact.period_ms) + self.tick() + self.lag()
    }

    fn check_edge(&self) -> Result<(), ConfigError> {
        let (Some(contact), Some(most)) = (&self.contact, self.edge_mps()) else {
            return Ok(());
        };
        let reach = contact.cliff_m.unwrap_or_default();
        for (key, speed) in [
            ("forward_mps", self.body.forward_mps),
            ("backward_mps", self.body.backward_mps),
        ] {
            if speed > most {
                let blind = self.before_it_brakes(contact);
                let way = f64::from(speed) * blind.as_secs_f64()
                    + f64::from(speed).powi(2) / (2.0 * f64::from(self.body.braking_mps2));
                return Err(ConfigError::Deadline(format!(
                    "at {speed:.2} m/s the body needs {way:.2} m to stand ({blind:?} until it brakes, then {} \
                     m/s²) and its cliff sensor sees {reach:.2} m before it; lower reflex.body.{key} to {most}, \
                     or shorten reflex.contact.period_ms or reflex.body.lag_ms",
                    self.body.braking_mps2
                )));
            }
        }
        Ok(())
    }
}

fn within(
    key: &'static str,
    value: impl Into<f64>,
    least: impl Into<f64>,
    most: impl Into<f64>,
    must: &'static str,
) -> Result<(), ConfigError> {
    let value = value.into();
    if value >= least.into() && value <= most.into() {
        Ok(())
    } else {
        Err(ConfigError::Range { key, value, must })
    }
}
