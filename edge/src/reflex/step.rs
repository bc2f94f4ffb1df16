//! The reflexes without their process: rules, latch and arbiter in one step, pure but for what they
//! remember. The reflex process, the simulator and the tests drive the same.

use std::time::Duration;

use super::{
    arbiter::{Approved, Arbiter, Record},
    command::{Release, SessionKey, Signed},
    config::ReflexConfig,
    rules::{Rules, Snapshot},
    verdict::Severity,
};
use crate::body::hal::{Stamp, Twist};

/// For how long a request to end an e-stop stands.
const RELEASE_STANDS: Duration = Duration::from_secs(2);

/// Why an e-stop is not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreleased {
    /// There is none.
    #[error("no e-stop holds")]
    Free,
    /// The request was not made by a person's key.
    #[error("the request is not signed by a person's key")]
    Unsigned,
    /// The request is for another epoch, old, or from the future.
    #[error("the request is not of this e-stop, or too old; make it again")]
    Stale,
    /// What caused it still holds.
    #[error("what caused the e-stop still holds; set the body upright first")]
    Holds,
}

/// Rules, latch and arbiter.
#[derive(Debug)]
pub struct Reflexes {
    rules: Rules,
    arbiter: Arbiter,
    epoch: u32,
    latched: bool,
    severity: Severity,
}

impl Reflexes {
    /// In an epoch that was not there before, and with or without an e-stop that held before.
    pub fn new(config: ReflexConfig, session: &SessionKey, epoch: u32, latched: bool) -> Self {
        let may = config.envelopes();
        Self {
            rules: Rules::new(config),
            arbiter: Arbiter::new(session, may),
            epoch,
            latched,
            severity: Severity::Clear,
        }
    }

    /// The epoch: commands must name it.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether the e-stop holds.
    pub fn latched(&self) -> bool {
        self.latched
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The e-stop holds from now on.
    pub fn press(&mut self) {
        self.latched = true;
    }

    /// Ends the e-stop and begins the next epoch, if a person wishes it and its cause is gone.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the request.
    pub fn release(&mut self, release: &Release, now: Stamp) -> Result<(), Unreleased> {
        if !self.latched {
            return Err(Unreleased::Free);
        }
        if !self.arbiter.authorities().released(release) {
            return Err(Unreleased::Unsigned);
        }
        let fresh = release.at <= now && release.at.age(now) <= RELEASE_STANDS;
        if release.epoch != self.epoch || !fresh {
            return Err(Unreleased::Stale);
        }
        if self.severity == Severity::Latch {
            return Err(Unreleased::Holds);
        }
        self.latched = false;
        self.epoch = self.epoch.wrapping_add(1);
        Ok(())
    }

    /// Looks, judges and decides. The wish in `seen` is replaced by that of the strongest slot.
    pub fn step(&mut self, seen: &Snapshot<'_>, slots: [Option<Signed>; 3]) -> (Approved, Record) {
        let seen = Snapshot {
            wanted: wish(&slots),
            ..*seen
        };
        let verdict = self.rules.check(&seen);
        self.severity = verdict.severity;
        self.latched |= verdict.severity == Severity::Latch;
        self.arbiter
            .decide(seen.now, self.epoch, self.latched, verdict, slots)
    }
}

/// The motion that is asked for, whoever asks: looking at a way too many costs nothing but care.
fn wish(slots: &[Option<Signed>; 3]) -> Twist {
    let mut wishes = slots.iter().flatten().map(|signed| signed.command.twist);
    let finite = |twist: &Twist| twist.linear_mps.is_finite() && twist.angular_radps.is_finite();
    wishes.rfind(finite).unwrap_or_default()
}
