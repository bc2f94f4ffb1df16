//! The decisions, in a ring: who reads them late finds how many it missed.

use std::sync::atomic::{Ordering, fence};

use super::{
    Board,
    cell::{Cell, Packer, Unpacker},
    layout::{Entry, Layout, RING},
};
use crate::reflex::arbiter::Record;

fn entry(layout: &Layout, number: u64) -> Option<&Entry> {
    layout.ring.get(number as usize % RING)
}

/// Puts a decision over the oldest. There is one who does (see [`super::Port::Status`]).
pub(super) fn log(layout: &Layout, record: &Record) {
    let number = layout.decided.0.load(Ordering::Relaxed) + 1;
    let Some(entry) = entry(layout, number) else {
        return;
    };
    entry.number.store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    record.pack(&mut Packer::shared(&entry.words));
    entry.number.store(number, Ordering::Release);
    layout.decided.0.store(number, Ordering::Release);
}

/// Reads the decisions one after the other.
#[derive(Debug)]
pub struct Decisions {
    board: Board,
    next: u64,
    missed: u64,
}

impl Decisions {
    pub(super) fn of(board: Board) -> Self {
        let decided = board.decided().load(Ordering::Acquire);
        let next = decided.saturating_sub(RING as u64 - 1).max(1);
        Self {
            board,
            next,
            missed: 0,
        }
    }

    /// Passes over those that were made already.
    #[must_use]
    pub fn from_now(mut self) -> Self {
        self.next = self.board.decided().load(Ordering::Acquire) + 1;
        self
    }

    /// How many were overwritten before they were read.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl Iterator for Decisions {
    type Item = Record;

    /// The next one, or nothing if it is not made yet: ask again later.
    fn next(&mut self) -> Option<Record> {
        loop {
            let decided = self.board.decided().load(Ordering::Acquire);
            if self.next > decided {
                return None;
            }
            let oldest = decided.saturating_sub(RING as u64 - 1).max(1);
            if self.next < oldest {
                self.missed += oldest - self.next;
                self.next = oldest;
            }
            let number = self.next;
            let entry = entry(self.board.layout(), number)?;
            self.next += 1;
            if entry.number.load(Ordering::Acquire) == number {
                let record = Record::unpack(&mut Unpacker::shared(&entry.words));
                fence(Ordering::Acquire);
                if entry.number.load(Ordering::Relaxed) == number
                    && let Some(record) = record
                {
                    return Some(record);
                }
            }
            // Overwritten while it was read.
            self.missed += 1;
        }
    }
}
