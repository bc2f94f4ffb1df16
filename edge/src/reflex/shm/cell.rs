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
