//! Claims: a run is driven by one driver at a time.
//!
//! A claim is a lock of the operating system on a file of the run's name. It goes with its process,
//! however that ends; the file itself means nothing.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use gpak_kernel::{event::RunId, journal::JournalError};

use super::failure;

/// How often a file may vanish between being opened and being locked before somebody is to blame.
const TRIES: usize = 100;

/// A claim that is held.
pub(super) struct Held {
    file: File,
    path: PathBuf,
}

/// Takes the claim of `run` in the folder `claims`.
pub(super) fn claim(claims: &Path, run: RunId) -> Result<Held, JournalError> {
    let path = claims.join(format!("{run}.lock"));
    let failed = |e: io::Error| failure::file(&path, "locked", &e);
    fs::create_dir_all(claims).map_err(failed)?;
    for _ in 0..TRIES {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(JournalError::Busy { run, holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // The one who held it may have removed the file after we opened it.
        if !is_at(&file, &path) {
            continue;
        }
        sign(&mut file).map_err(failed)?;
        return Ok(Held { file, path });
    }
    Err(JournalError::Busy { run, holder: None })
}

impl Drop for Held {
    fn drop(&mut self) {
        // Only the holder removes the file, and whoever locks a file that is no longer there tries
        // again. Elsewhere than on Unix an open file may not be removable: then it stays.
        if cfg!(unix) {
            let _ = fs::remove_file(&self.path);
        }
        // Not left to the closing: a child that is just being started may hold a copy of it.
        let _ = self.file.unlock();
    }
}

/// Writes who holds it, for the message to others.
fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut pid = String::new();
    file.take(20).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

/// Whether `file` is what `path` leads to.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(there)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}
