//! Compiled code, kept from run to run.
//!
//! ```text
//! cache/wasm/<hash of the component>-<hash of the engine's version, settings and processor>.code
//! data/wasm-code.key       made at first use; whoever has it can write code that gpak runs
//! ```
//!
//! Running code that was read from a file is trusting whoever wrote it. So each file begins with a MAC
//! over its name and content, the key is in the user's data, and both are private to the user. A file
//! that is not as it was written is made again.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use wasmtime::{Engine, component::Component};

use super::{
    WasmError,
    component::{COMPONENT_BYTES, check_bytes},
    files,
};

const MAC: usize = blake3::OUT_LEN;
/// Compiled code is a few times as large as the component.
const CODE_BYTES: usize = 16 * COMPONENT_BYTES;

/// Where compiled code is kept.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    key: PathBuf,
}

/// The hash of a file, in hexadecimal.
pub(crate) fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

impl Cache {
    /// Code in `folder`, made sure of by the key in file `key`; both are made when first needed.
    pub fn new(folder: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            key: key.into(),
        }
    }

    /// The code of a component with that hash: from the cache, or compiled, which takes its time.
    ///
    /// # Errors
    /// If it is no component, or cannot be compiled. A cache that cannot be written is no error.
    pub(crate) fn code(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, WasmError> {
        check_bytes(bytes)?;
        let name = file_name(engine, &hash(bytes));
        let path = self.folder.join(&name);
        if let Some(component) = self.read(engine, &path, &name) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, bytes).map_err(|why| invalid(&why))?;
        if let Err(why) = self.write(&component, &path, &name) {
            tracing::warn!(%why, "compiled code could not be kept; it is compiled again next time");
        }
        Ok(component)
    }

    /// Forgets the code of the component with that hash.
    pub(crate) fn forget(&self, hash: &str) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(hash)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    #[allow(
        unsafe_code,
        reason = "code is run as it was read: the MAC says that this user's gpak wrote it for this engine"
    )]
    fn read(&self, engine: &Engine, path: &Path, name: &str) -> Option<Component> {
        let bytes = files::read_bounded(path, CODE_BYTES).ok()?;
        let (mac, code) = bytes.split_at_checked(MAC)?;
        let key = self.key(false).ok()?;
        // Of constant time, as hashes of this crate compare.
        if blake3::Hash::from_slice(mac).ok()? != sign(&key, name, code) {
            tracing::warn!(path = %path.display(), "compiled code is not as it was written; it is compiled again");
            return None;
        }
        // SAFETY: these bytes are what `Component::serialize` gave, as the MAC shows.
        let component = unsafe { Component::deserialize(engine, code) };
        component.ok()
    }

    fn write(&self, component: &Component, path: &Path, name: &str) -> Result<(), WasmError> {
        let code = component
            .serialize()
            .map_err(|why| WasmError::Component(format!("{why:#}")))?;
        let key = self.key(true)?;
        let mut bytes = sign(&key, name, &code).as_bytes().to_vec();
        bytes.extend(code);
        files::write_whole(path, &bytes)
    }

    fn key(&self, make: bool) -> Result<[u8; 32], WasmError> {
        let read = || -> Result<[u8; 32], WasmError> {
            let bytes =
                fs::read(&self.key).map_err(|why| WasmError::file("read", &self.key, &why))?;
            bytes.try_into().map_err(|_| {
                WasmError::File(format!("{} is no key; remove it", self.key.display()))
            })
        };
        match fs::metadata(&self.key) {
            Err(why) if why.kind() == ErrorKind::NotFound && make => {
                let mut key = [0; 32];
                getrandom::fill(&mut key)
                    .map_err(|why| WasmError::File(format!("no key can be made: {why}")))?;
                files::write_whole(&self.key, &key)?;
                // Another process may have made one at the same time: the one that stayed counts.
                read()
            }
            _ => read(),
        }
    }
}

fn file_name(engine: &Engine, hash: &str) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{hash}-{:016x}.code", hasher.finish())
}

fn sign(key: &[u8; 32], name: &str, code: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(name.as_bytes()).update(&[0]).update(code);
    hasher.finalize()
}

fn invalid(why: &wasmtime::Error) -> WasmError {
    WasmError::Component(format!(
        "the component is not valid ({}); build it again",
        why.root_cause()
    ))
}
