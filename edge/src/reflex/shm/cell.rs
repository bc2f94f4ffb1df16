//! What can be on the board: values as a fixed number of eight-byte words.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    body::hal::{Battery, Contact, Imu, Odometry, Pose, Stamp, Stamped, Twist},
    reflex::{
        command::Release,
        verdict::{Bounds, Causes, Hazard, HazardKind, Severity, Verdict},
    },
};

/// A value that is always as many words, and any words of which are either a value or refused.
pub trait Cell: Sized {
    /// How many.
    const WORDS: usize;
    /// Puts exactly that many.
    fn pack(&self, to: &mut Packer<'_>);
    /// Takes exactly that many. Must bear anything: a reader may meet words of two values, and only
    /// then finds that it did.
    fn unpack(from: &mut Unpacker<'_>) -> Option<Self>;
}

/// Where words are put.
pub struct Packer<'a> {
    to: Target<'a>,
    place: usize,
}

enum Target<'a> {
    Own(&'a mut [u64]),
    Shared(&'a [AtomicU64]),
}

impl<'a> Packer<'a> {
    /// Into words of one's own.
    pub fn over(words: &'a mut [u64]) -> Self {
        Self {
            to: Target::Own(words),
            place: 0,
        }
    }

    /// Into words that others may be reading.
    pub fn shared(words: &'a [AtomicU64]) -> Self {
        Self {
            to: Target::Shared(words),
            place: 0,
        }
    }

    /// Puts a word; past the end it is dropped.
    pub fn word(&mut self, word: u64) {
        match &mut self.to {
            Target::Own(words) => {
                if let Some(place) = words.get_mut(self.place) {
                    *place = word;
                }
            }
            Target::Shared(words) => {
                if let Some(place) = words.get(self.place) {
                    place.store(word, Ordering::Relaxed);
                }
            }
        }
        self.place += 1;
    }

    /// Two halves in a word.
    pub fn halves(&mut self, low: u32, high: u32) {
        self.word(u64::from(low) | u64::from(high) << 32);
    }

    /// Two numbers in a word.
    pub fn floats(&mut self, low: f32, high: f32) {
        self.halves(low.to_bits(), high.to_bits());
    }

    /// A motion in a word.
    pub fn twist(&mut self, twist: Twist) {
        self.floats(twist.linear_mps, twist.angular_radps);
    }

    /// Four words.
    pub fn bytes32(&mut self, bytes: &[u8; 32]) {
        for word in bytes.chunks_exact(8) {
            self.word(word.try_into().map_or(0, u64::from_le_bytes));
        }
    }

    /// Words that mean nothing.
    pub fn zeros(&mut self, words: usize) {
        for _ in 0..words {
            self.word(0);
        }
    }
}

/// Where words are taken from.
pub struct Unpacker<'a> {
    from: Origin<'a>,
    place: usize,
}

enum Origin<'a> {
    Own(&'a [u64]),
    Shared(&'a [AtomicU64]),
}

impl<'a> Unpacker<'a> {
    /// From words of one's own.
    pub fn over(words: &'a [u64]) -> Self {
        Self {
            from: Origin::Own(words),
            place: 0,
        }
    }

    /// From words that another may be writing.
    pub fn shared(words: &'a [AtomicU64]) -> Self {
        Self {
            from: Origin::Shared(words),
            place: 0,
        }
    }

    /// A word.
    pub fn word(&mut self) -> Option<u64> {
        let word = match self.from {
            Origin::Own(words) => words.get(self.place).copied(),
            Origin::Shared(words) => words
                .get(self.place)
                .map(|word| word.load(Ordering::Relaxed)),
        };
        self.place += 1;
        word
    }

    /// The halves of a word.
    pub fn halves(&mut self) -> Option<(u32, u32)> {
        let word = self.word()?;
        Some((word as u32, (word >> 32) as u32))
    }

    /// The two numbers of a word.
    pub fn floats(&mut self) -> Option<(f32, f32)> {
        let (low, high) = self.halves()?;
        Some((f32::from_bits(low), f32::from_bits(high)))
    }

    /// A motion.
    pub fn twist(&mut self) -> Option<Twist> {
        let (linear_mps, angular_radps) = self.floats()?;
        Some(Twist {
            linear_mps,
            angular_radps,
        })
    }

    /// Four words.
    pub fn bytes32(&mut self) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        for to in bytes.chunks_exact_mut(8) {
            to.copy_from_slice(&self.word()?.to_le_bytes());
        }
        Some(bytes)
    }

    /// Passes over words.
    pub fn skip(&mut self, words: usize) -> Option<()> {
        self.place = self.place.checked_add(words)?;
        Some(())
    }
}

impl<T: Cell> Cell for Stamped<T> {
    const WORDS: usize = 1 + T::WORDS;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(self.at.0);
        self.value.pack(to);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            at: Stamp(from.word()?),
            value: T::unpack(from)?,
        })
    }
}

impl Cell for Odometry {
    const WORDS: usize = 3;

    fn pack(&self, to: &mut Packer<'_>) {
        to.floats(self.pose.x_m, self.pose.y_m);
        to.floats(self.pose.heading_rad, 0.0);
        to.twist(self.twist);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (x_m, y_m) = from.floats()?;
        let (heading_rad, _) = from.floats()?;
        Some(Self {
            pose: Pose {
                x_m,
                y_m,
                heading_rad,
            },
            twist: from.twist()?,
        })
    }
}

impl Cell for Imu {
    const WORDS: usize = 2;

    fn pack(&self, to: &mut Packer<'_>) {
        to.floats(self.roll_rad, self.pitch_rad);
        to.floats(self.yaw_rate_radps, self.acceleration_mps2);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (roll_rad, pitch_rad) = from.floats()?;
        let (yaw_rate_radps, acceleration_mps2) = from.floats()?;
        Some(Self {
            roll_rad,
            pitch_rad,
            yaw_rate_radps,
            acceleration_mps2,
        })
    }
}

impl Cell for Battery {
    const WORDS: usize = 1;

    fn pack(&self, to: &mut Packer<'_>) {
        to.floats(self.charge, self.voltage_v);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (charge, voltage_v) = from.floats()?;
        Some(Self { charge, voltage_v })
    }
}

impl Cell for Contact {
    const WORDS: usize = 1;

    fn pack(&self, to: &mut Packer<'_>) {
        to.halves(u32::from(self.bumper), u32::from(self.cliff));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        // What is neither yes nor no is a danger.
        let (bumper, cliff) = from.halves()?;
        Some(Self {
            bumper: bumper != 0,
            cliff: cliff != 0,
        })
    }
}

impl Cell for Release {
    const WORDS: usize = 6;

    fn pack(&self, to: &mut Packer<'_>) {
        to.word(u64::from(self.epoch));
        to.word(self.at.0);
        to.bytes32(&self.tag);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        Some(Self {
            epoch: u32::try_from(from.word()?).ok()?,
            at: Stamp(from.word()?),
            tag: from.bytes32()?,
        })
    }
}

impl Cell for Bounds {
    const WORDS: usize = 2;

    fn pack(&self, to: &mut Packer<'_>) {
        to.floats(self.forward_mps, self.backward_mps);
        to.floats(self.turn_radps, 0.0);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (forward_mps, backward_mps) = from.floats()?;
        let (turn_radps, _) = from.floats()?;
        Some(Self {
            forward_mps,
            backward_mps,
            turn_radps,
        })
    }
}

impl Cell for Verdict {
    const WORDS: usize = 2 * Bounds::WORDS + 2;

    fn pack(&self, to: &mut Packer<'_>) {
        self.hard.pack(to);
        self.soft.pack(to);
        to.halves(self.hard_causes.bits(), self.soft_causes.bits());
        to.word(self.severity as u64);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let hard = Bounds::unpack(from)?;
        let soft = Bounds::unpack(from)?;
        let (hard_causes, soft_causes) = from.halves()?;
        let severity = *Severity::ALL.get(usize::try_from(from.word()?).ok()?)?;
        Some(Self {
            hard,
            soft,
            severity,
            hard_causes: Causes::from_bits(hard_causes),
            soft_causes: Causes::from_bits(soft_causes),
        })
    }
}

impl Cell for Hazard {
    const WORDS: usize = 5;

    fn pack(&self, to: &mut Packer<'_>) {
        to.floats(self.x_m, self.y_m);
        to.floats(self.radius_m, 0.0);
        to.halves(self.kind as u32, u32::from(self.stop));
        to.word(self.until.0);
        to.word(self.peer);
    }

    fn unpack(from: &mut Unpacker<'_>) -> Option<Self> {
        let (x_m, y_m) = from.floats()?;
        let (radius_m, _) = from.floats()?;
        let (kind, stop) = from.halves()?;
        Some(Self {
            kind: *HazardKind::ALL.get(usize::try_from(kind).ok()?)?,
            stop: stop != 0,
            x_m,
            y_m,
            radius_m,
            until: Stamp(from.word()?),
            peer: from.word()?,
        })
    }
}

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
