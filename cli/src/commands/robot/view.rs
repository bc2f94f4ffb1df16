//! What there is to see of a simulation while it runs: frames in files, and in a terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gpak_edge::body::sim::{Scene, Simulation, frame, png, terminal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, file};

/// Pixels to a metre of a file.
const FILE_SCALE: f32 = 40.0;

/// A scene as a PNG file.
pub fn save(scene: &Scene, path: &Path) -> Result<(), Failure> {
    let bytes = png(&frame(scene, FILE_SCALE)).map_err(|why| Failure::new(why.to_string()))?;
    std::fs::write(path, bytes).map_err(file(path))
}

/// Draws twice a second until it is told to stop.
pub async fn draw(world: Arc<Mutex<Simulation>>, folder: PathBuf, stop: CancellationToken) {
    let shown = std::io::stderr().is_terminal();
    let mut number = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
        let scene = world.lock().unwrap_or_else(PoisonError::into_inner).scene();
        number += 1;
        let path = folder.join(format!("frame-{number:05}.png"));
        let drawn = tokio::task::spawn_blocking(move || {
            if shown {
                let [width, _] = scene.world.size_m;
                let text = terminal(&frame(&scene, 72.0 / width));
                let mut out = std::io::stderr().lock();
                // From the upper left corner: each frame is drawn over the one before.
                let _ = write!(out, "\x1b[H{text}");
            }
            save(&scene, &path)
        });
        if let Ok(Err(why)) = drawn.await {
            eprintln!("gpak: no more frames: {why}");
            return;
        }
    }
}
