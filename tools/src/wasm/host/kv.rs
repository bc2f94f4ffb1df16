//! Values that a package keeps from call to call, a file for each.
//!
//! A file is named by the hash of its key and holds the key's length (4 bytes, little-endian), the key, and
//! the value.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Host, failure};
use crate::wasm::{
    WasmError,
    bindings::gpak::tool::{
        kv,
        types::{Failure, FailureKind},
    },
    files,
};

const KEY: usize = 512;
/// How many there may be.
const KEYS: usize = 1000;
/// Room that a value takes besides its bytes and those of its key.
const HEAD: usize = 4;

/// The values of one package.
#[derive(Debug)]
pub(crate) struct Values {
    dir: PathBuf,
    /// Held while they are counted and changed.
    changing: Mutex<()>,
}

impl kv::Host for Host {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Failure>> {
        Ok(self
            .values(move |values, most| values.get(&key, most))
            .await)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), Failure>> {
        if let Err(why) = self.acts("keeping values") {
            return Ok(Err(why));
        }
        Ok(self
            .values(move |values, most| values.set(&key, &value, most))
            .await)
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), Failure>> {
        if let Err(why) = self.acts("forgetting values") {
            return Ok(Err(why));
        }
        Ok(self.values(move |values, _| values.delete(&key)).await)
    }

    async fn keys(&mut self, prefix: String) -> wasmtime::Result<Result<Vec<String>, Failure>> {
        Ok(self
            .values(move |values, most| values.keys(&prefix, most))
            .await)
    }
}

impl Host {
    async fn values<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Values, usize) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let most = self.grant().kv_kib as usize * 1024;
        let Some(house) = self.house.clone().filter(|_| most > 0) else {
            return Err(failure(
                FailureKind::Denied,
                "no room for values was granted".to_owned(),
            ));
        };
        let working = tokio::task::spawn_blocking(move || work(&house.values, most));
        working
            .await
            .unwrap_or_else(|why| Err(failure(FailureKind::Unavailable, why.to_string())))
    }
}

impl Values {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            changing: Mutex::new(()),
        }
    }

    /// Forgets all.
    pub(crate) fn remove_all(&self) -> Result<(), WasmError> {
        match fs::remove_dir_all(&self.dir) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                Err(WasmError::file("remove", &self.dir, &why))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, key: &str, most: usize) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.path(key)?;
        if !path.exists() {
            return Ok(None);
        }
        let bytes = files::read_bounded(&path, most + HEAD).map_err(broken)?;
        let (_, value) = split(&path, &bytes)?;
        Ok(Some(value.to_vec()))
    }

    fn set(&self, key: &str, value: &[u8], most: usize) -> Result<(), Failure> {
        let path = self.path(key)?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.all()?.into_iter().filter(|(other, _)| *other != path);
        let (count, bytes) = others.fold((0, 0), |(count, bytes), (_, size)| {
            (count + 1, bytes + size)
        });
        if count >= KEYS {
            return Err(failure(
                FailureKind::TooLarge,
                format!("there are {KEYS} values already"),
            ));
        }
        let needed = bytes + key.len() + value.len();
        if needed > most {
            return Err(failure(
                FailureKind::TooLarge,
                format!("with this value there would be {needed} bytes, and {most} are granted"),
            ));
        }
        let mut file = u32::try_from(key.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes()
            .to_vec();
        file.extend(key.as_bytes());
        file.extend(value);
        files::write_whole(&path, &file).map_err(broken)
    }

    fn delete(&self, key: &str) -> Result<(), Failure> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                Err(broken(WasmError::file("remove", &path, &why)))
            }
            _ => Ok(()),
        }
    }

    fn keys(&self, prefix: &str, most: usize) -> Result<Vec<String>, Failure> {
        let mut keys = Vec::new();
        for (path, _) in self.all()? {
            let bytes = files::read_bounded(&path, most + HEAD).map_err(broken)?;
            let (key, _) = split(&path, &bytes)?;
            if key.starts_with(prefix) {
                keys.push(key.to_owned());
            }
        }
        keys.sort();
        Ok(keys)
    }

    /// The files and the bytes of their keys and values.
    fn all(&self) -> Result<Vec<(PathBuf, usize)>, Failure> {
        let failed = |why: std::io::Error| broken(WasmError::file("read", &self.dir, &why));
        let entries = match fs::read_dir(&self.dir) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none() {
                let size = fs::metadata(&path).map_err(failed)?.len();
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                all.push((path, size.saturating_sub(HEAD)));
            }
        }
        Ok(all)
    }

    fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        if key.is_empty() || key.len() > KEY {
            return Err(failure(
                FailureKind::Invalid,
                format!("a key has 1 to {KEY} bytes, and this one {}", key.len()),
            ));
        }
        Ok(self
            .dir
            .join(blake3::hash(key.as_bytes()).to_hex().as_str()))
    }
}

fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a str, &'a [u8]), Failure> {
    let parts = || {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let (key, value) = rest.split_at_checked(u32::from_le_bytes(*head) as usize)?;
        Some((std::str::from_utf8(key).ok()?, value))
    };
    parts().ok_or_else(|| {
        failure(
            FailureKind::Unavailable,
            format!("{} is damaged; remove it", path.display()),
        )
    })
}

fn broken(why: WasmError) -> Failure {
    failure(FailureKind::Unavailable, why.to_string())
}
