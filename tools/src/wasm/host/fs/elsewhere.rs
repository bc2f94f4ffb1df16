//! Granted folders outside of the workspace, which are read only.

use std::{
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use nix::fcntl::OFlag;

use super::{entry, failure};
use crate::{
    staged::Seen,
    wasm::bindings::gpak::tool::{
        fs::Entry,
        types::{Failure, FailureKind},
    },
};

const ENTRIES: usize = 20_000;

pub(super) fn stat(folder: &Dir, path: &Path) -> Result<Entry, Failure> {
    let path = in_folder(path);
    let metadata = folder
        .symlink_metadata(path)
        .map_err(|why| broken(path, &why))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(entry(&name.to_string_lossy(), Seen::of(&metadata)))
}

pub(super) fn list(folder: &Dir, path: &Path) -> Result<Vec<Entry>, Failure> {
    let path = in_folder(path);
    let failed = |why: io::Error| broken(path, &why);
    let mut all = Vec::new();
    for found in folder.read_dir(path).map_err(failed)? {
        let found = found.map_err(failed)?;
        let (Some(name), metadata) = (
            found.file_name().to_str().map(str::to_owned),
            found.metadata(),
        ) else {
            continue;
        };
        all.push(entry(&name, Seen::of(&metadata.map_err(failed)?)));
        if all.len() > ENTRIES {
            let message = format!(
                "there are more than {ENTRIES} entries in {}",
                path.display()
            );
            return Err(failure(FailureKind::TooLarge, message));
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

pub(super) fn read(
    folder: &Dir,
    path: &Path,
    offset: u64,
    most: usize,
) -> Result<Vec<u8>, Failure> {
    let path = in_folder(path);
    let failed = |why: io::Error| broken(path, &why);
    let mut options = OpenOptions::new();
    // Never waits for the other end of a pipe.
    options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let mut file = folder.open_with(path, &options).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failure(
            FailureKind::Invalid,
            format!("{} is not a file", path.display()),
        ));
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).map_err(failed)?;
    file.take(most as u64)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

fn in_folder(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

fn broken(path: &Path, why: &io::Error) -> Failure {
    let kind = match why.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => FailureKind::NotFound,
        ErrorKind::PermissionDenied => FailureKind::Denied,
        _ => FailureKind::Unavailable,
    };
    failure(kind, format!("cannot open {}: {why}", path.display()))
}
