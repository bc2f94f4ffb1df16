//! How late the loop's ticks are.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Bench, BenchError, Finding, histogram, system};
use crate::reflex::{
    command::{SessionKey, nanos},
    config::ReflexConfig,
    cycle::{Cycle, Signals},
    drive::BoardDrive,
    realtime,
    shm::Board,
    step::Reflexes,
};

/// The whole loop on a board where nothing comes in, as often as that: what is measured is what the
/// reflex process does between two ticks, and the system's wish to let it.
pub(super) fn cadence(bench: &Bench, hertz: u32) -> Result<Finding, BenchError> {
    let mut config = ReflexConfig::example();
    config.tick_hz = hertz;
    let board = Board::create(config.scan.points)?;
    let session = SessionKey::new().map_err(system("make a key"))?;
    let drive = BoardDrive::new(&board, Duration::from_millis(20))?;
    let reflexes = Reflexes::new(config, &session, 1, false);
    let mut cycle = Cycle::new(board.clone(), reflexes, drive)?;
    let signals = Arc::new(Signals::default());
    let mut taken = histogram()?;
    // As the reflex process does.
    let _awake = realtime::stay_awake(0);
    let (told, duration) = (Arc::clone(&signals), bench.duration);
    let measured = std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let granted = realtime::enter(realtime::REFLEXES).is_ok();
            cycle.run(&signals, |tick| taken.saturating_record(nanos(tick.late)));
            granted
        });
        std::thread::sleep(duration);
        told.stop.store(true, Ordering::Release);
        board.ring();
        looping.join()
    });
    let granted = measured.unwrap_or(false);
    let mut finding = Finding::new(
        format!("{hertz} Hz loop, lateness"),
        granted,
        bench.load,
        &taken,
    );
    let missed = board.status().map_or(0, |status| status.missed);
    finding.missed = Some(missed);
    Ok(if hertz >= 1000 {
        let ticks = (taken.len() + missed) as f64;
        finding
            .must("p99.9", 150.0)
            .must("missed", (ticks / 1000.0).floor())
    } else {
        finding.must("missed", 0.0)
    })
}
