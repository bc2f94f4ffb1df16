//! The e-stop, on disk: it holds over a restart.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// The file that is there as long as the e-stop holds.
#[derive(Clone, Debug)]
pub struct Latch {
    path: PathBuf,
}

impl Latch {
    /// At that path.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds. If it cannot be told, it does.
    pub fn holds(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(_) => true,
            Err(why) => why.kind() != ErrorKind::NotFound,
        }
    }

    /// Makes it hold, on the disk itself before this returns.
    ///
    /// # Errors
    ///
    /// The file cannot be written: the e-stop then holds as long as the process does.
    pub fn engage(&self, why: &str) -> std::io::Result<()> {
        let mut file = File::create(&self.path)?;
        writeln!(file, "{why}")?;
        file.sync_all()?;
        self.sync_folder()
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// The file cannot be removed: the e-stop then holds again after a restart.
    pub fn clear(&self) -> std::io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| self.sync_folder()),
        }
    }

    fn sync_folder(&self) -> std::io::Result<()> {
        match self.path.parent() {
            Some(folder) if folder.as_os_str().is_empty() => File::open(".")?.sync_all(),
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_e_stop_holds_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let latch = Latch::at(&folder.path().join("e-stop"));
        assert!(!latch.holds());
        latch.clear().unwrap();
        latch.engage("tilt").unwrap();
        latch.engage("again").unwrap();
        assert!(Latch::at(latch.path()).holds());
        latch.clear().unwrap();
        assert!(!latch.holds());
    }

    #[test]
    fn what_cannot_be_looked_at_holds() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let latch = Latch::at(&file.path().join("below a file"));
        assert!(latch.holds());
        assert!(latch.engage("it").is_err());
    }
}
