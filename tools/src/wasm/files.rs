//! Files of packages, read and written with care.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::WasmError;

/// Reads a file that has at most so many bytes.
pub(crate) fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>, WasmError> {
    let broken = |why: io::Error| WasmError::file("read", path, &why);
    let mut options = fs::OpenOptions::new();
    // Never waits for the other end of a pipe.
    options
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    let file = options.open(path).map_err(broken)?;
    if !file.metadata().map_err(broken)?.is_file() {
        return Err(WasmError::File(format!("{} is not a file", path.display())));
    }
    let mut bytes = Vec::new();
    let mut bounded = file.take(most as u64 + 1);
    bounded.read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() > most {
        return Err(WasmError::File(format!(
            "{} has more than {most} bytes, which is too much",
            path.display()
        )));
    }
    Ok(bytes)
}

/// Writes a file that only this user reads, whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WasmError> {
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        make_folder(folder)?;
        let mut temp = path.as_os_str().to_owned();
        temp.push(format!(".{}.tmp", std::process::id()));
        let temp = Path::new(&temp);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(temp)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(temp, path));
        if written.is_err() {
            let _ = fs::remove_file(temp);
        }
        written
    };
    write().map_err(|why| WasmError::file("write", path, &why))
}

/// Makes a folder that only this user enters.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Gives the folder `fresh` the name `path`; what was there is removed.
pub(crate) fn put_folder(fresh: &Path, path: &Path) -> Result<(), WasmError> {
    let put = || {
        if !path.exists() {
            return fs::rename(fresh, path);
        }
        exchange(fresh, path)?;
        fs::remove_dir_all(fresh)
    };
    put().map_err(|why| WasmError::file("put in place", path, &why))
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    Ok(renameat2(
        AT_FDCWD,
        one,
        AT_FDCWD,
        other,
        RenameFlags::RENAME_EXCHANGE,
    )?)
}

/// Elsewhere a crash at this very moment leaves the old one under a name with a dot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let aside = one.with_extension("old");
    fs::rename(other, &aside)?;
    fs::rename(one, other)?;
    fs::rename(aside, one)
}
