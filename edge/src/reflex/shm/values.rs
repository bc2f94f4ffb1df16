//! What is on the board and nowhere else: the hazards that hold, what the motors are to do, and what the
//! reflexes say of themselves.

use super::cell::{Cell, Packer, Unpacker};
use crate::{
    body::hal::{Stamp, Twist},
    reflex::verdict::{Causes, Hazard, HazardKind, Severity},
};

/// The hazards that hold: at most [`Hazards::MOST`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hazards {
    hazards: [Option<Hazard>; Self::MOST],
}

impl Hazards {
    /// How many there is room for.
    pub const MOST: usize = 32;

    /// None.
    pub const NONE: Self = Self {
        hazards: [None; Self::MOST],
    };

    /// These. If there are more than there is room for, those that stop come before those that slow,
    /// and the whole map is slow for what was left out.
    pub fn new(all: &[Hazard]) -> Self {
        let mut kept = Self::NONE;
        let ordered = all
            .iter()
            .filter(|hazard| hazard.stop)
            .chain(all.iter().filter(|hazard| !hazard.stop));
        for (place, hazard) in kept.hazards.iter_mut().zip(ordered) {
            *place = Some(*hazard);
        }
        if all.len() > Self::MOST
            && let Some(last) = kept.hazards.last_mut().and_then(Option::as_mut)
        {
            let stop = all.iter().filter(|hazard| hazard.stop).count() >= Self::MOST;
            *last = Hazard {
                kind: HazardKind::Other,
                stop,
                radius_m: f32::INFINITY,
                until: all
                    .iter()
                    .map(|hazard| hazard.until)
                    .max()
                    .unwrap_or_default(),
                ..*last
            };
        }
        kept
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Hazard> {
        self.hazards.iter().flatten()
    }
}

impl Cell for Hazards {
    const WORDS: usize = Self::MOST * (1 + Hazard::WORDS);

    fn pack(&self, to: &mut Packer<'_>) {
        for hazard in &self.hazards {
            to.word(u64::from(hazard.is_some()));
            match hazard {
                Some(hazard) => hazard.pack(to),
                None => to.zeros(Hazard::WORDS),
            }
        }
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let mut hazards = [None; Self::MOST];
        for hazard in &mut hazards {
            if from.word()? == 1 {
                *hazard = Some(Hazard::unpack(from)?);
            } else {
                from.skip(Hazard::WORDS)?;
            }
        }
        Some(Self { hazards })
    }
}

/// What the motors are to do. It stands until its time, and no longer: a motor that reads an older one
/// stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotorOut {
    /// The decision that says so.
    pub number: u64,
    /// When it was decided.
    pub at: Stamp,
    /// Until when it stands.
    pub until: Stamp,
    /// The motion.
    pub twist: Twist,
}

impl Cell for MotorOut {
    const WORDS: usize = 4;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.number);
        to.word(self.at.0);
        to.word(self.until.0);
        to.twist(self.twist);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            number: from.word()?,
            at: Stamp(from.word()?),
            until: Stamp(from.word()?),
            twist: from.twist()?,
        })
    }
}

/// What the reflex process says of itself, after every decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// When it was said.
    pub at: Stamp,
    /// The epoch: commands must name it.
    pub epoch: u32,
    /// Its process.
    pub pid: u32,
    /// How many decisions it has made.
    pub decisions: u64,
    /// How many ticks it missed: later than a whole period.
    pub missed: u64,
    /// How late the latest tick was.
    pub late_ns: u64,
    /// Whether it runs in the real-time class now.
    pub realtime: bool,
    /// Whether its memory is locked.
    pub locked: bool,
    /// Whether the e-stop holds.
    pub latched: bool,
    /// The least of what the rules and the latch say.
    pub severity: Severity,
    /// Why.
    pub causes: Causes,
    /// What the body does.
    pub twist: Twist,
}

impl Cell for Status {
    const WORDS: usize = 8;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.at.0);
        to.halves(self.epoch, self.pid);
        to.word(self.decisions);
        to.word(self.missed);
        to.word(self.late_ns);
        let flags = u32::from(self.realtime)
            | u32::from(self.locked) << 1
            | u32::from(self.latched) << 2
            | (self.severity as u32) << 8;
        to.halves(flags, self.causes.bits());
        to.twist(self.twist);
        to.zeros(1);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let at = Stamp(from.word()?);
        let (epoch, pid) = from.halves()?;
        let (decisions, missed, late_ns) = (from.word()?, from.word()?, from.word()?);
        let (flags, causes) = from.halves()?;
        Some(Self {
            at,
            epoch,
            pid,
            decisions,
            missed,
            late_ns,
            realtime: flags & 1 != 0,
            locked: flags & 2 != 0,
            latched: flags & 4 != 0,
            severity: *Severity::ALL.get(usize::try_from(flags >> 8).ok()?)?,
            causes: Causes::from_bits(causes),
            twist: from.twist()?,
        })
    }
}
