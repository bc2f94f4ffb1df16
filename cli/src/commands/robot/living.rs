//! Where the body of this user's robot is found while it lives.

use std::path::PathBuf;

use gpak_edge::{
    body::{
        control::{self, Ask, BodyStatus, ControlError},
        telemetry::Telemetry,
    },
    reflex::{clock, shm::Board},
};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, file},
    home::Home,
};

/// A body that lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Living {
    /// Its board.
    pub board: PathBuf,
    /// The process of its mind.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// Where a person asks it.
    pub control: PathBuf,
}

impl Living {
    fn file(home: &Home) -> PathBuf {
        home.data.join("robot").join("body.json")
    }

    /// Where releases of the e-stop are written down.
    pub fn releases(home: &Home) -> PathBuf {
        home.data.join("robot").join("releases.jsonl")
    }

    /// The body that lives now, if there is one.
    pub fn find(home: &Home) -> Option<Self> {
        let text = std::fs::read_to_string(Self::file(home)).ok()?;
        let living: Self = serde_json::from_str(&text).ok()?;
        // Its board is its process's: it cannot be opened when that is dead.
        Board::open(&living.board).ok()?;
        Some(living)
    }

    /// Says where it is found.
    pub fn write(&self, home: &Home) -> Result<(), Failure> {
        let path = Self::file(home);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(file(folder))?;
        }
        let text = serde_json::to_string(self).map_err(|why| Failure::new(why.to_string()))?;
        std::fs::write(&path, text).map_err(file(&path))
    }

    /// It lives no more, unless another does by now.
    pub fn remove(&self, home: &Home) {
        if Self::find(home).is_some_and(|living| living.pid == self.pid) {
            let _ = std::fs::remove_file(Self::file(home));
        }
    }

    /// What it measures now.
    pub fn telemetry(&self) -> Option<Telemetry> {
        let board = Board::open(&self.board).ok()?;
        Some(Telemetry::read(&board, clock::now()))
    }

    /// How it is now.
    pub async fn status(&self) -> Result<BodyStatus, ControlError> {
        let said = control::ask(&self.control, &Ask::Status).await?;
        serde_json::from_value(said).map_err(|why| ControlError::Unreadable(why.to_string()))
    }
}
