//! Keys and values on disk, so that a system prompt and a tool list that some process has read once
//! cost no later process anything.
//!
//! A state is a cache: whatever is wrong with a file, it is dropped and the prompt is read again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use candle_core::{Device, Tensor};
use half::f16;

use super::shape::Dimensions;

const MAGIC: &[u8; 8] = b"gpak-kv2";
const HASH: usize = 32;
/// Fewer tokens than this are read faster than they are looked up.
const LEAST_TOKENS: usize = 32;

/// Keys and values of each layer, `[kv_heads, length, head]`, as 16-bit floats.
pub(super) type Layers = Vec<(Tensor, Tensor)>;

/// The states of one model in a folder.
pub(super) struct States {
    folder: PathBuf,
    /// Bytes that all states in the folder may take.
    budget: u64,
    model: [u8; 32],
    layers: usize,
    shape: [usize; 2],
}

impl States {
    pub(super) fn new(folder: PathBuf, budget: u64, model: [u8; 32], shape: &Dimensions) -> Self {
        Self {
            folder,
            budget,
            model,
            layers: shape.layers,
            shape: [shape.kv_heads, shape.head],
        }
    }

    /// The state after exactly these tokens, if it is there and whole.
    pub(super) fn load(&self, tokens: &[u32]) -> Option<Layers> {
        if tokens.len() < LEAST_TOKENS {
            return None;
        }
        let path = self.path(tokens);
        let file = File::open(&path).ok()?;
        let found = self.read(&file, tokens.len());
        if found.is_none() {
            tracing::debug!(path = %path.display(), "a stored prompt state is corrupt; it is dropped");
            let _ = fs::remove_file(&path);
        }
        // The time of use decides what is dropped first.
        let _ = file.set_modified(SystemTime::now());
        found
    }

    /// Stores the state after these tokens. Failing to is no loss but of time.
    pub(super) fn save(&self, tokens: &[u32], layers: &Layers) {
        let size = self.size(tokens.len()) as u64;
        if tokens.len() < LEAST_TOKENS || size > self.budget {
            return;
        }
        let path = self.path(tokens);
        if let Err(error) = self.write(&path, layers, size) {
            tracing::warn!(%error, path = %path.display(), "a prompt state could not be stored");
        }
        if let Err(error) = self.evict() {
            tracing::warn!(%error, "old prompt states could not be removed");
        }
    }

    fn path(&self, tokens: &[u32]) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC).update(&self.model);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        let name = hasher.finalize().to_hex();
        self.folder.join(format!("{name}.kv"))
    }

    /// Bytes of a file for that many tokens.
    fn size(&self, length: usize) -> usize {
        MAGIC.len() + self.layers * 2 * self.elements(length) * 2 + HASH
    }

    /// Numbers of the keys, or of the values, of a layer.
    fn elements(&self, length: usize) -> usize {
        length * self.shape.iter().product::<usize>()
    }

    fn read(&self, mut file: &File, length: usize) -> Option<Layers> {
        let size = self.size(length);
        if file.metadata().ok()?.len() != size as u64 {
            return None;
        }
        let mut bytes = Vec::with_capacity(size);
        file.read_to_end(&mut bytes).ok()?;
        let (body, hash) = bytes.split_at_checked(size - HASH)?;
        if blake3::hash(body).as_bytes() != hash {
            return None;
        }
        let mut numbers = body.strip_prefix(MAGIC)?;
        let mut tensor = || {
            let (these, rest) = numbers.split_at_checked(self.elements(length) * 2)?;
            numbers = rest;
            let pairs = these.as_chunks::<2>().0.iter();
            let halves: Vec<f16> = pairs.map(|pair| f16::from_le_bytes(*pair)).collect();
            let [heads, head] = self.shape;
            Tensor::from_vec(halves, (heads, length, head), &Device::Cpu).ok()
        };
        (0..self.layers)
            .map(|_| Some((tensor()?, tensor()?)))
            .collect()
    }

    fn write(&self, path: &Path, layers: &Layers, size: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend_from_slice(MAGIC);
        for tensor in layers.iter().flat_map(|(keys, values)| [keys, values]) {
            let halves = tensor.flatten_all().and_then(|t| t.to_vec1::<f16>());
            for half in halves.map_err(io::Error::other)? {
                bytes.extend_from_slice(&half.to_le_bytes());
            }
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        // Under a name of its own first: two processes may store the same state, and one may die.
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        fs::rename(&draft, path).inspect_err(|_| {
            let _ = fs::remove_file(&draft);
        })
    }

    /// Removes what was used longest ago until the rest fits the budget.
    fn evict(&self) -> io::Result<()> {
        let mut states = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let ours = path.extension().is_some_and(|e| e == "kv" || e == "draft");
            // Another process may have removed it since.
            if let Some(meta) = fs::metadata(&path).ok().filter(|_| ours) {
                states.push((meta.modified()?, meta.len(), path));
            }
        }
        states.sort();
        let mut total: u64 = states.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in states {
            if total <= self.budget {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    const LAYERS: usize = 3;

    fn states(folder: &Path, budget: u64) -> States {
        States {
            folder: folder.to_owned(),
            budget,
            model: [7; 32],
            layers: LAYERS,
            shape: [2, 4],
        }
    }

    fn layers(length: usize) -> Layers {
        let tensor = |from: usize| {
            let count = length * 8;
            let numbers = (from..from + count).map(|n| n as f32 / 8.0);
            let tensor = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
            let tensor = tensor.reshape((2, length, 4)).unwrap();
            tensor.to_dtype(DType::F16).unwrap()
        };
        (0..LAYERS).map(|l| (tensor(l), tensor(l + 10))).collect()
    }

    fn numbers(layers: &Layers) -> Vec<Vec<f16>> {
        let all = layers.iter().flat_map(|(k, v)| [k, v]);
        all.map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
            .collect()
    }

    fn tokens(first: u32) -> Vec<u32> {
        (first..first + 40).collect()
    }

    #[test]
    fn a_state_is_found_again_for_the_same_tokens_and_model_only() {
        let folder = tempfile::tempdir().unwrap();
        let states_ = states(folder.path(), 1 << 20);
        assert!(states_.load(&tokens(0)).is_none());
        states_.save(&tokens(0), &layers(40));
        let again = states(folder.path(), 1 << 20).load(&tokens(0)).unwrap();
        assert_eq!(numbers(&again), numbers(&layers(40)));
        assert!(states_.load(&tokens(1)).is_none());
        let other = States {
            model: [8; 32],
            ..states(folder.path(), 1 << 20)
        };
        assert!(other.load(&tokens(0)).is_none());
    }

    #[test]
    fn a_damaged_state_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let states = states(folder.path(), 1 << 20);
        for damage in [0, 9, 2000] {
            states.save(&tokens(0), &layers(40));
            let path = states.path(&tokens(0));
            let mut bytes = fs::read(&path).unwrap();
            bytes[damage] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(states.load(&tokens(0)).is_none());
            assert!(!path.exists());
        }
        states.save(&tokens(0), &layers(40));
        let path = states.path(&tokens(0));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(states.load(&tokens(0)).is_none());
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let room_for_two = states(folder.path(), 0).size(40) as u64 * 2 + 10;
        let states = states(folder.path(), room_for_two);
        fs::write(folder.path().join("notes.txt"), vec![0; 100_000]).unwrap();
        states.save(&tokens(0), &layers(40));
        states.save(&tokens(100), &layers(40));
        let long_ago = SystemTime::UNIX_EPOCH;
        let file = File::options()
            .append(true)
            .open(states.path(&tokens(100)))
            .unwrap();
        file.set_modified(long_ago).unwrap();
        states.save(&tokens(200), &layers(40));
        assert!(states.load(&tokens(0)).is_some());
        assert!(states.load(&tokens(100)).is_none());
        assert!(states.load(&tokens(200)).is_some());
        assert!(folder.path().join("notes.txt").exists());
    }
}
