//! A slot: one value that one writes and many read, and nobody waits for another.
//!
//! Two copies and a count. The writer fills the copy that is not shown, then shows it; each copy is a
//! seqlock (Boehm, "Can seqlocks get along with programming language memory models?", 2012), so a
//! reader that is overtaken notices. A writer that dies in mid-write leaves the copy that was shown.
//! All words are atomics: a race is a wrong value that is noticed, never undefined.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How often a reader tries when writers overtake it, before it goes on with what it has.
const TRIES: usize = 64;

/// The words of a slot, wherever they are.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a> {
    /// How many values were written.
    pub count: &'a AtomicU64,
    /// The two copies' sequences: odd while being written, twice the count when whole.
    pub sequences: &'a [AtomicU64; 2],
    /// The two copies, one after the other.
    pub words: &'a [AtomicU64],
}

impl<'a> Slot<'a> {
    fn copy(&self, count: u64) -> (&'a AtomicU64, &'a [AtomicU64]) {
        let (even, odd) = self.words.split_at(self.words.len() / 2);
        let [first, second] = self.sequences;
        if count.is_multiple_of(2) {
            (first, even)
        } else {
            (second, odd)
        }
    }

    /// Writes one value. There must be one writer at a time (see `Claim`).
    pub fn write(&self, fill: impl FnOnce(&[AtomicU64])) {
        let count = self.count.load(Ordering::Relaxed) + 1;
        let (sequence, words) = self.copy(count);
        sequence.store(2 * count - 1, Ordering::Relaxed);
        fence(Ordering::Release);
        fill(words);
        sequence.store(2 * count, Ordering::Release);
        self.count.store(count, Ordering::Release);
    }

    /// How many values were written.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The newest value and its number, or nothing if none was ever written, or a writer overtook the
    /// reader every time. `take` may see words of two values; what it makes of them is then dropped.
    pub fn read<T>(&self, mut take: impl FnMut(&[AtomicU64]) -> T) -> Option<(u64, T)> {
        for _ in 0..TRIES {
            let count = self.count.load(Ordering::Acquire);
            if count == 0 {
                return None;
            }
            let (sequence, words) = self.copy(count);
            if sequence.load(Ordering::Acquire) == 2 * count {
                let value = take(words);
                fence(Ordering::Acquire);
                if sequence.load(Ordering::Relaxed) == 2 * count {
                    return Some((count, value));
                }
            }
            std::hint::spin_loop();
        }
        None
    }
}
