//! How much room a disk has.

use std::path::Path;

use super::CatalogueError;

/// Room that is left over on purpose, so that nothing else on the disk chokes.
const MARGIN: u64 = 64 << 20;

/// Fails if the disk of `dir` has not `need` bytes free. Where that cannot be asked, it has.
pub(super) fn check(dir: &Path, need: u64) -> Result<(), CatalogueError> {
    let need = need.saturating_add(MARGIN);
    match free(dir) {
        Some(free) if free < need => Err(CatalogueError::NoSpace {
            dir: dir.to_path_buf(),
            need,
            free,
        }),
        _ => Ok(()),
    }
}

#[cfg(unix)]
#[allow(
    clippy::useless_conversion,
    reason = "the fields are narrower on some systems"
)]
fn free(dir: &Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(dir).ok()?;
    u64::from(stat.blocks_available()).checked_mul(u64::from(stat.fragment_size()))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_noticed_before_anything_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path(), 1).unwrap();
        let error = check(dir.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("make room"), "{error}");
    }
}
