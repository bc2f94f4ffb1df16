//! The clock of the reflexes: `CLOCK_MONOTONIC`, one for all processes of a machine, that no clock setting
//! moves.

use rustix::{
    thread::{ClockId, clock_nanosleep_absolute},
    time::{Timespec, clock_gettime},
};

use crate::body::hal::Stamp;

/// Now.
pub fn now() -> Stamp {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    Stamp(seconds * 1_000_000_000 + rest)
}

/// Sleeps until then, however often it is interrupted.
pub fn sleep_until(then: Stamp) {
    while clock_nanosleep_absolute(ClockId::Monotonic, &timespec(then)).is_err() && now() < then {}
}

/// As the system says it.
pub(crate) fn timespec(stamp: Stamp) -> Timespec {
    Timespec {
        tv_sec: (stamp.0 / 1_000_000_000).cast_signed(),
        tv_nsec: (stamp.0 % 1_000_000_000).cast_signed(),
    }
}

/// A time that much later.
pub(crate) fn after(stamp: Stamp, by: std::time::Duration) -> Stamp {
    Stamp(stamp.0.saturating_add(super::command::nanos(by)))
}
