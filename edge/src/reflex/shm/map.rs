//! The memory itself: made, opened, checked, and seen as a [`Layout`].

use std::{
    fs::{File, OpenOptions},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use super::{
    BoardError,
    layout::{Layout, MAGIC, VERSION, scan_words, shape, size},
};

/// A mapped board.
pub(super) struct Map {
    start: NonNull<Layout>,
    bytes: usize,
    scan_points: usize,
    path: PathBuf,
    /// Keeps the path alive for those who have yet to open it.
    _file: File,
}

// SAFETY: the memory is mapped until the map is dropped, and all that is in it are atomics.
#[allow(
    unsafe_code,
    reason = "a raw pointer is neither Send nor Sync by itself"
)]
unsafe impl Send for Map {}
// SAFETY: as above.
#[allow(
    unsafe_code,
    reason = "a raw pointer is neither Send nor Sync by itself"
)]
unsafe impl Sync for Map {}

impl Map {
    /// New memory that has no name, and is gone with the last process that maps it.
    pub fn create(scan_points: usize) -> Result<Self, BoardError> {
        let bytes = size(scan_points);
        let made = || {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let fd = memfd_create("gpak-board", flags)?;
            ftruncate(&fd, bytes as u64)?;
            // Nobody can take memory away under a reader, who would die of it.
            fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
            Ok::<_, rustix::io::Errno>(File::from(fd))
        };
        let file = made().map_err(|why| BoardError::System {
            what: "make shared memory",
            why: why.into(),
        })?;
        let path = PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            file.as_raw_fd()
        ));
        let map = Self::mapped(file, bytes, scan_points, path)?;
        let head = &map.layout().head;
        head.version.store(VERSION, Ordering::Relaxed);
        head.shape.store(shape(), Ordering::Relaxed);
        head.scan_points
            .store(scan_points as u64, Ordering::Relaxed);
        head.magic.store(MAGIC, Ordering::Release);
        Ok(map)
    }

    /// The memory that another process made.
    pub fn open(path: &Path) -> Result<Self, BoardError> {
        let system = |why| BoardError::System {
            what: "open the board",
            why,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(system)?;
        let bytes = usize::try_from(file.metadata().map_err(system)?.len()).unwrap_or(usize::MAX);
        if bytes < size_of::<Layout>() {
            return Err(BoardError::NotABoard);
        }
        let mut map = Self::mapped(file, bytes, 0, path.to_path_buf())?;
        let head = &map.layout().head;
        if head.magic.load(Ordering::Acquire) != MAGIC {
            return Err(BoardError::NotABoard);
        }
        let version = head.version.load(Ordering::Relaxed);
        if version != VERSION {
            return Err(BoardError::Version {
                theirs: version,
                ours: VERSION,
            });
        }
        let points = head.scan_points.load(Ordering::Relaxed);
        let points = usize::try_from(points).unwrap_or(usize::MAX);
        let fits = points <= bytes && size(points) == bytes;
        if head.shape.load(Ordering::Relaxed) != shape() || !fits {
            return Err(BoardError::Layout);
        }
        map.scan_points = points;
        Ok(map)
    }

    fn mapped(
        file: File,
        bytes: usize,
        scan_points: usize,
        path: PathBuf,
    ) -> Result<Self, BoardError> {
        // SAFETY: a new mapping at an address that the system chooses touches no memory of ours.
        #[allow(unsafe_code, reason = "mapping memory is a raw system call")]
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                &file,
                0,
            )
        };
        let start = start
            .map_err(std::io::Error::from)
            .and_then(|start| {
                NonNull::new(start.cast::<Layout>()).ok_or_else(|| std::io::Error::other("nowhere"))
            })
            .map_err(|why| BoardError::System {
                what: "map the board",
                why,
            })?;
        Ok(Self {
            start,
            bytes,
            scan_points,
            path,
            _file: file,
        })
    }

    /// What is at known places.
    pub fn layout(&self) -> &Layout {
        // SAFETY: the mapping is at least as long as a layout (checked when opened), starts at a page,
        // lives as long as `self`, cannot shrink (sealed), and any bytes are a layout: all of it is
        // atomics, through which every process writes it.
        #[allow(unsafe_code, reason = "shared memory is seen through a pointer")]
        unsafe {
            self.start.as_ref()
        }
    }

    /// The two copies of the scan, behind the layout.
    pub fn scan(&self) -> &[AtomicU64] {
        let words = 2 * scan_words(self.scan_points);
        debug_assert!(size_of::<Layout>() + words * size_of::<AtomicU64>() <= self.bytes);
        // SAFETY: the mapping is `size(scan_points)` bytes (checked when opened), of which these are the
        // last; a layout's size is a multiple of its alignment, 64; and as in `layout`.
        #[allow(unsafe_code, reason = "shared memory is seen through a pointer")]
        unsafe {
            std::slice::from_raw_parts(self.start.add(1).cast::<AtomicU64>().as_ptr(), words)
        }
    }

    /// For how many points there is room.
    pub fn scan_points(&self) -> usize {
        self.scan_points
    }

    /// Where others open it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nothing that was borrowed from the mapping outlives the map.
        #[allow(unsafe_code, reason = "unmapping memory is a raw system call")]
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}
