//! A file that is being put together, piece by piece, hashed as it grows.
//!
//! Every source of a model has the same bytes, so what one source left off another can go on with.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{CatalogueError, Notice, Watch, pull::stop};

/// What a GGUF file begins with.
const MAGIC: &[u8] = b"GGUF";
/// Bytes that are read or hashed between two notices.
pub(super) const CHUNK: usize = 256 << 10;

/// A file on its way to `total` bytes.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    len: u64,
    total: u64,
}

/// Why a source's bytes were not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// They cannot be the model.
    Bytes(String),
    /// The disk said no, or somebody stopped it.
    Stop(CatalogueError),
}

impl Part {
    /// Opens what is there of the file, and hashes it.
    pub(super) fn open(
        path: &Path,
        total: u64,
        watch: &mut dyn Watch,
    ) -> Result<Self, CatalogueError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path);
        let file = file.map_err(CatalogueError::io("cannot write", path))?;
        let mut part = Self {
            path: path.to_path_buf(),
            file,
            hasher: Sha256::new(),
            len: 0,
            total,
        };
        let there = part
            .file
            .metadata()
            .map_err(CatalogueError::io("cannot read", path))?
            .len();
        if there > total {
            part.restart()?;
        } else if there > 0 {
            let mut reader = File::open(path).map_err(CatalogueError::io("cannot read", path))?;
            part.len = hash_into(&mut part.hasher, &mut reader, path, there, watch)?;
        }
        Ok(part)
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that are there when it is whole.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Throws away what is there.
    pub(super) fn restart(&mut self) -> Result<(), CatalogueError> {
        self.file
            .set_len(0)
            .map_err(CatalogueError::io("cannot write", &self.path))?;
        self.hasher = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Adds bytes to the end.
    pub(super) fn append(&mut self, bytes: &[u8], watch: &mut dyn Watch) -> Result<(), Refused> {
        if self.len + bytes.len() as u64 > self.total {
            return Err(Refused::Bytes(format!(
                "it has more than the {} bytes of the model",
                self.total
            )));
        }
        if self.len == 0 && bytes.len() >= MAGIC.len() && !begins_a_model(bytes) {
            return Err(Refused::Bytes(
                "what it sent is neither a GGUF nor a safetensors file".into(),
            ));
        }
        let written = self.file.write_all(bytes);
        written
            .map_err(CatalogueError::io("cannot write", &self.path))
            .map_err(Refused::Stop)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        stop(watch.notice(Notice::Progress {
            done: self.len,
            total: self.total,
        }))
        .map_err(Refused::Stop)
    }

    /// Adds all that `reader` gives.
    pub(super) fn append_all(
        &mut self,
        reader: &mut dyn Read,
        watch: &mut dyn Watch,
    ) -> Result<(), Broken> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let filled = fill(reader, &mut chunk);
            let (count, end) = match filled {
                Ok(count) => (count, count < CHUNK),
                Err((count, error)) => {
                    self.append(chunk.get(..count).unwrap_or_default(), watch)
                        .map_err(Broken::Refused)?;
                    return Err(Broken::Read(error));
                }
            };
            self.append(chunk.get(..count).unwrap_or_default(), watch)
                .map_err(Broken::Refused)?;
            if end {
                return Ok(());
            }
        }
    }

    /// Whether the whole file has this SHA-256; if so it is on the disk for good.
    pub(super) fn finish(&self, sha256: &str) -> Result<bool, CatalogueError> {
        if hex(&self.hasher.clone().finalize()) != sha256 {
            return Ok(false);
        }
        self.file
            .sync_all()
            .map_err(CatalogueError::io("cannot write", &self.path))?;
        Ok(true)
    }
}

/// Why a reader's bytes did not all arrive.
pub(super) enum Broken {
    /// The reader failed; what it gave before is kept.
    Read(std::io::Error),
    /// What it gave was not taken.
    Refused(Refused),
}

/// Reads until the chunk is full or the reader is at its end.
fn fill(reader: &mut dyn Read, chunk: &mut [u8]) -> Result<usize, (usize, std::io::Error)> {
    let mut count = 0;
    while let Some(rest) = chunk.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err((count, error)),
        }
    }
    Ok(count)
}

/// The SHA-256 of a file, in hex.
pub(super) fn sha256_of(path: &Path, watch: &mut dyn Watch) -> Result<String, CatalogueError> {
    let mut file = File::open(path).map_err(CatalogueError::io("cannot read", path))?;
    let total = file
        .metadata()
        .map_err(CatalogueError::io("cannot read", path))?
        .len();
    let mut hasher = Sha256::new();
    hash_into(&mut hasher, &mut file, path, total, watch)?;
    Ok(hex(&hasher.finalize()))
}

fn hash_into(
    hasher: &mut Sha256,
    file: &mut File,
    path: &Path,
    total: u64,
    watch: &mut dyn Watch,
) -> Result<u64, CatalogueError> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let count = fill(file, &mut chunk).map_err(|(_, error)| error);
        let count = count.map_err(CatalogueError::io("cannot read", path))?;
        hasher.update(chunk.get(..count).unwrap_or_default());
        done += count as u64;
        stop(watch.notice(Notice::Checking { done, total }))?;
        if count < CHUNK {
            return Ok(done);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file that begins so may be a GGUF, or a safetensors file: the length of a JSON object, and that.
fn begins_a_model(bytes: &[u8]) -> bool {
    let header = bytes.get(8..).unwrap_or_default();
    bytes.starts_with(MAGIC) || header.first().is_none_or(|first| *first == b'{')
}

/// Whether the file begins as a GGUF does.
pub(super) fn is_gguf(path: &Path) -> std::io::Result<bool> {
    let mut magic = Vec::new();
    File::open(path)?
        .take(MAGIC.len() as u64)
        .read_to_end(&mut magic)?;
    Ok(magic == MAGIC)
}
