//! The scan's slot: as long as the board was made for.

use super::{
    Board, BoardError,
    cell::{Packer, Unpacker},
    layout::SCAN_HEAD,
    ports::{Claim, Port},
};
use crate::body::hal::{Scan, Stamp, Stamped};

/// Writes scans.
pub struct ScanWriter {
    claim: Claim,
}

impl Board {
    /// Writes scans.
    ///
    /// # Errors
    ///
    /// Another does.
    pub fn scan_writer(&self) -> Result<ScanWriter, BoardError> {
        let claim = Claim::make(self, Port::Scan)?;
        Ok(ScanWriter { claim })
    }

    /// The newest scan, into a buffer. Says whether it is another than the one that was there, and
    /// leaves the buffer as it is if not. Allocates nothing.
    pub fn read_scan(&self, buffer: &mut ScanBuffer) -> bool {
        let slot = self.slot(Port::Scan);
        if slot.count() == buffer.number {
            return false;
        }
        let spare = &mut buffer.spare;
        match slot.read(|words| take(&mut Unpacker::shared(words), spare)) {
            Some((number, Some(()))) => {
                buffer.number = number;
                std::mem::swap(&mut buffer.scan, &mut buffer.spare);
                true
            }
            _ => false,
        }
    }
}

impl ScanWriter {
    /// Writes a scan and wakes the reflexes. Never waits.
    ///
    /// # Errors
    ///
    /// It has more points than there is room for. Part of a scan would be a blind side.
    pub fn write(&mut self, at: Stamp, scan: &Scan) -> Result<(), BoardError> {
        let room = self.claim.board.scan_points();
        let points = scan.ranges_m.len();
        if points > room {
            return Err(BoardError::TooManyPoints { points, room });
        }
        let slot = self.claim.board.slot(Port::Scan);
        slot.write(|words| {
            let mut to = Packer::shared(words);
            to.word(at.0);
            to.floats(scan.angle_min_rad, scan.angle_step_rad);
            to.floats(scan.range_min_m, scan.range_max_m);
            to.word(points as u64);
            let (pairs, last) = scan.ranges_m.as_chunks::<2>();
            for [one, other] in pairs {
                to.floats(*one, *other);
            }
            if let [one] = last {
                to.floats(*one, 0.0);
            }
        });
        self.claim.board.ring();
        Ok(())
    }
}

/// Where a reader keeps the scan: room for two, so that one is whole while the next is taken.
#[derive(Debug)]
pub struct ScanBuffer {
    number: u64,
    scan: Stamped<Scan>,
    spare: Stamped<Scan>,
}

impl ScanBuffer {
    /// For the scans of this board.
    pub fn new(board: &Board) -> Self {
        let empty = || Stamped {
            at: Stamp(0),
            value: Scan {
                ranges_m: Vec::with_capacity(board.scan_points()),
                ..Scan::default()
            },
        };
        Self {
            number: 0,
            scan: empty(),
            spare: empty(),
        }
    }

    /// The scan, if there ever was one.
    pub fn scan(&self) -> Option<&Stamped<Scan>> {
        (self.number > 0).then_some(&self.scan)
    }
}

fn take(from: &mut Unpacker<'_>, into: &mut Stamped<Scan>) -> Option<()> {
    let at = Stamp(from.word()?);
    let (angle_min_rad, angle_step_rad) = from.floats()?;
    let (range_min_m, range_max_m) = from.floats()?;
    let points = usize::try_from(from.word()?).ok()?;
    let room = into.value.ranges_m.capacity();
    if points > room {
        return None;
    }
    let mut ranges_m = std::mem::take(&mut into.value.ranges_m);
    ranges_m.clear();
    for _ in 0..points / 2 {
        let (one, other) = from.floats().unwrap_or((f32::NAN, f32::NAN));
        ranges_m.push(one);
        ranges_m.push(other);
    }
    if !points.is_multiple_of(2) {
        ranges_m.push(from.floats().map_or(f32::NAN, |(one, _)| one));
    }
    *into = Stamped {
        at,
        value: Scan {
            angle_min_rad,
            angle_step_rad,
            range_min_m,
            range_max_m,
            ranges_m,
        },
    };
    Some(())
}

const _: () = assert!(SCAN_HEAD == 4, "as many words as are put before the points");
