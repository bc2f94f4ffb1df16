//! The parent of the measurements: it starts the reflexes, says that it lives, and wishes to drive.

use std::{path::Path, time::Duration};

use super::{BenchError, swarm::Joined, system};
use crate::{
    body::hal::Twist,
    reflex::{
        clock::{after, now, sleep_until},
        command::{SessionKey, Source},
        launch::{Launch, wait_ready},
        process::Options,
        shm::Board,
    },
};

/// Until somebody ends this process. The folder holds `robot.toml`, and `board` with the board's path.
///
/// # Errors
///
/// The reflexes do not start, or end.
pub fn parent(program: &Path, folder: &Path) -> Result<(), BenchError> {
    let path =
        std::fs::read_to_string(folder.join("board")).map_err(system("read the board's path"))?;
    let path = Path::new(path.trim());
    let board = Board::open(path)?;
    let session = SessionKey::new().map_err(system("make a key"))?;
    let mut heart = board.heart()?;
    heart.beat();
    let launch = Launch {
        program: program.to_path_buf(),
        options: Options {
            board: path.to_path_buf(),
            config: folder.join("robot.toml"),
            latch: folder.join("e-stop"),
            log: None,
        },
    };
    let mut child = launch
        .start(&session)
        .map_err(system("start the reflexes"))?;
    let ready = wait_ready(&board, &mut child, Duration::from_secs(10));
    if !ready.map_err(system("wait for the reflexes"))? {
        return Err(BenchError::NotStarted);
    }
    let _joined = Joined::join(folder, &board)?;
    let mut commander = board.commander(Source::Mission, session.of(Source::Mission))?;
    let twist = Twist {
        linear_mps: 0.5,
        angular_radps: 0.0,
    };
    // As urgent as a parent's heartbeat is.
    let _ = crate::reflex::realtime::enter(crate::reflex::realtime::TELLERS);
    let mut next = now();
    for beat in 0_u64.. {
        heart.beat();
        if beat.is_multiple_of(25) {
            commander.send(twist, Duration::from_millis(300));
        }
        next = after(next, Duration::from_millis(2)).max(now());
        sleep_until(next);
    }
    Ok(())
}
