//! Where settings, data and models are kept.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use tempfile::NamedTempFile;

use crate::failure::{Failure, file};

/// The folders of gpak on this machine.
#[derive(Debug, Clone)]
pub struct Home {
    /// Settings: `config.toml`.
    pub config: PathBuf,
    /// Journals and what undo needs.
    pub data: PathBuf,
    /// Models and what can be made again.
    pub cache: PathBuf,
    /// Copies of workspaces, while several ways are tried in them.
    pub copies: PathBuf,
}

impl Home {
    /// The folders under `GPAK_HOME` where it is set, else the user's own.
    pub fn find() -> Result<Self, Failure> {
        if let Some(home) = std::env::var_os("GPAK_HOME").filter(|home| !home.is_empty()) {
            let home = std::path::absolute(Path::new(&home))
                .map_err(|why| Failure::usage(format!("GPAK_HOME cannot be used: {why}")))?;
            return Ok(Self {
                config: home.join("config"),
                data: home.join("data"),
                cache: home.join("cache"),
                copies: home.join("copies"),
            });
        }
        let dirs = ProjectDirs::from("", "", "gpak").ok_or_else(|| {
            Failure::new("this user has no home folder")
                .help("set GPAK_HOME to a folder of your own")
        })?;
        Ok(Self {
            config: dirs.config_dir().to_owned(),
            data: dirs.data_dir().to_owned(),
            cache: dirs.cache_dir().to_owned(),
            copies: match dirs.state_dir() {
                Some(state) => state.join("copies"),
                None => std::env::temp_dir().join("gpak-copies"),
            },
        })
    }

    /// Bytes that the disk of the data has left, where that can be asked.
    #[allow(
        clippy::useless_conversion,
        reason = "the fields are narrower on some systems"
    )]
    pub fn room(&self) -> Option<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.data).ok()?;
        u64::from(stat.blocks_available()).checked_mul(u64::from(stat.fragment_size()))
    }

    /// The settings of this user.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// What undo needs.
    pub fn undo(&self) -> PathBuf {
        self.data.join("undo")
    }

    /// What is known of the tools of MCP servers.
    pub fn mcp(&self) -> PathBuf {
        self.data.join("mcp")
    }

    /// GGUF files.
    pub fn models(&self) -> PathBuf {
        self.cache.join("models")
    }

    /// What embedded models keep of prompts they have read.
    pub fn model_state(&self) -> PathBuf {
        self.cache.join("model-state")
    }

    /// All but the copies, in which runs work: no tool may write there.
    pub fn protected(&self) -> Vec<PathBuf> {
        vec![self.config.clone(), self.data.clone(), self.cache.clone()]
    }
}

/// Writes a file whole, or not at all, and makes the folders above it.
///
/// # Errors
/// If they cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let whole = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut beside = NamedTempFile::new_in(folder)?;
        beside.write_all(bytes)?;
        beside.as_file().sync_all()?;
        beside.persist(path)?;
        Ok(())
    };
    whole().map_err(file(path))
}
