//! The identity of this machine's agent, in files: its history, who is trusted to go on with it, and, where
//! the identity was made, its secret key.
//!
//! ```text
//! identity/versions/00000001.json   one version each, in canonical JSON
//! identity/owner.json               the identity, its key, and the latest version that was ever here
//! identity/key                      the secret key, for this user alone (0600)
//! identity/prompt.json              the prompt that the core last signed for this node
//! identity/lock                     held while something is written
//! ```
//!
//! Each file is written beside its place, brought to the disk, and moved there: a crash leaves it as it was or
//! as it should be. A version's file is never written again. `owner.json` comes after the version it names,
//! so that versions that are gone from the end are missed.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gpak_kernel::{
    entry::Hash,
    identity::{Capsule, History, IdentityId, PublicKey, Refusal, SecretKey, Version},
};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// How long another process may hold the lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the identity could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("there is no identity yet; `gpak identity init NAME` makes one")]
    None,
    /// There is one.
    #[error("there is an identity already: {0}; `gpak identity show` shows it")]
    Exists(IdentityId),
    /// A version is not what it must be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A version that was here is not here any more.
    #[error(
        "version {version} is gone: {here} versions are in {}; get it back from a copy with \
         `gpak identity import FILE`", folder.display()
    )]
    Gone {
        /// The latest that was here.
        version: u64,
        /// The latest that is.
        here: u64,
        /// Where they are.
        folder: PathBuf,
    },
    /// The secret key is elsewhere.
    #[error(
        "the secret key of the identity is not here ({}): it can be looked at and brought up to date, and \
         is changed where it was made; `gpak identity key --import FILE` brings the key here",
        .0.display()
    )]
    NoKey(PathBuf),
    /// Others can read the secret key.
    #[error(
        "others may read the secret key: {} has the mode {mode:03o}; `chmod 600 {}` keeps it to yourself, \
         and if somebody has read it, make a new identity", path.display(), path.display()
    )]
    Open {
        /// Its file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is the key of another identity.
    #[error("the secret key {} is not the one that the identity is signed with ({key})", path.display())]
    WrongKey {
        /// Its file.
        path: PathBuf,
        /// The one it is signed with.
        key: PublicKey,
    },
    /// Another process is at it.
    #[error("another gpak is changing the identity; try again")]
    Busy,
    /// A file could not be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

type Done<T> = Result<T, IdentityError>;

/// Who is trusted, and how far it had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    identity: IdentityId,
    key: PublicKey,
    latest: u64,
    hash: Hash,
}

/// The identity in a data folder. Every method blocks.
#[derive(Debug, Clone)]
pub struct IdentityStore {
    folder: PathBuf,
}

impl IdentityStore {
    /// The one in the data folder `dir`, whether or not there is one.
    pub fn new(dir: &Path) -> Self {
        Self {
            folder: dir.join("identity"),
        }
    }

    /// Where the secret key is, if it is here.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// Where the prompt is that the core last signed for this node, if there is one. It can be made again from
    /// the versions.
    pub fn prompt_file(&self) -> PathBuf {
        self.folder.join("prompt.json")
    }

    /// Keeps a prompt that the core signed, which the caller has checked.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_prompt(&self, prompt: &[u8]) -> Done<()> {
        let _lock = self.lock()?;
        replace(&self.prompt_file(), prompt)
    }

    /// The whole history, every version of it checked; nothing where there is no identity.
    ///
    /// # Errors
    /// If a file cannot be read, a version is not what was signed, or one is gone.
    pub fn history(&self) -> Done<Option<History>> {
        let Some(owner) = self.owner()? else {
            return Ok(None);
        };
        let versions = self.versions()?;
        let here = versions.len() as u64;
        let history = History::open(owner.key, Some(owner.identity), versions);
        let history = match here {
            0 => Err(self.gone(&owner, 0)),
            _ => Ok(history?),
        }?;
        self.check_reached(&owner, &history)?;
        Ok(Some(history))
    }

    /// What the agent is now, quickly: see [`History::newest`]. Nothing where there is no identity.
    ///
    /// # Errors
    /// As of [`IdentityStore::history`].
    pub fn capsule(&self) -> Done<Option<Capsule>> {
        let Some(owner) = self.owner()? else {
            return Ok(None);
        };
        let versions = self.versions()?;
        let here = versions.len() as u64;
        if here < owner.latest {
            return Err(self.gone(&owner, here));
        }
        Ok(Some(History::newest(owner.key, owner.identity, &versions)?))
    }

    /// Keeps a new identity, and its secret key.
    ///
    /// # Errors
    /// If there is one already, or a file cannot be written.
    pub fn found(&self, secret: &SecretKey, history: &History) -> Done<()> {
        let _lock = self.lock()?;
        self.check_none()?;
        self.write_key(secret)?;
        self.write(history, 0)
    }

    /// Keeps an identity that was made elsewhere, without its secret key.
    ///
    /// # Errors
    /// If there is one already, or a file cannot be written.
    pub fn adopt(&self, history: &History) -> Done<()> {
        let _lock = self.lock()?;
        self.check_none()?;
        self.write(history, 0)
    }

    /// Appends what `extend` makes of the history as it is here, which nobody else changes meanwhile.
    ///
    /// # Errors
    /// If there is no identity, `extend` fails, or a file cannot be written.
    pub fn extend<E: From<IdentityError>>(
        &self,
        extend: impl FnOnce(&mut History) -> Result<(), E>,
    ) -> Result<History, E> {
        let _lock = self.lock()?;
        let mut history = self.history()?.ok_or(IdentityError::None)?;
        let before = history.latest();
        extend(&mut history)?;
        self.write(&history, before)?;
        Ok(history)
    }

    /// Brings versions that are gone, or damaged, back from a whole copy of the history.
    ///
    /// # Errors
    /// If the copy is another's, or does not reach as far as the history had come here.
    pub fn mend(&self, copy: &History) -> Done<()> {
        let _lock = self.lock()?;
        let owner = self.owner()?.ok_or(IdentityError::None)?;
        self.check_reached(&owner, copy)?;
        self.write(copy, 0)
    }

    /// What the identity is signed with, and its name; nothing where there is none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn trusted(&self) -> Done<Option<(IdentityId, PublicKey)>> {
        Ok(self.owner()?.map(|owner| (owner.identity, owner.key)))
    }

    /// The latest version, without a look at what is in it; nothing where there is no identity.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn latest(&self) -> Done<Option<u64>> {
        Ok(self.owner()?.map(|owner| owner.latest))
    }

    /// The secret key.
    ///
    /// # Errors
    /// If it is not here, others may read it, or it is another's.
    pub fn secret(&self) -> Done<SecretKey> {
        let owner = self.owner()?.ok_or(IdentityError::None)?;
        let secret = read_secret(&self.key_file())?;
        self.check_key(secret, &owner, &self.key_file())
    }

    /// Takes the secret key from a file that [`IdentityStore::give_key`] wrote.
    ///
    /// # Errors
    /// If others may read it, or it is another's.
    pub fn take_key(&self, from: &Path) -> Done<()> {
        let _lock = self.lock()?;
        let owner = self.owner()?.ok_or(IdentityError::None)?;
        let secret = self.check_key(read_secret(from)?, &owner, from)?;
        self.write_key(&secret)
    }

    /// Writes the secret key to a file that is not there yet, for this user alone.
    ///
    /// # Errors
    /// If the key is not here, or the file is there.
    pub fn give_key(&self, to: &Path) -> Done<()> {
        let secret = self.secret()?;
        let written = stage(to, secret.reveal().as_bytes())?.persist_noclobber(to);
        written.map_err(|why| failed(to)(why.error))?;
        Ok(())
    }

    fn check_key(&self, secret: SecretKey, owner: &Owner, path: &Path) -> Done<SecretKey> {
        match secret.public() == owner.key {
            true => Ok(secret),
            false => Err(IdentityError::WrongKey {
                path: path.to_owned(),
                key: owner.key,
            }),
        }
    }

    fn check_none(&self) -> Done<()> {
        match self.owner()? {
            Some(owner) => Err(IdentityError::Exists(owner.identity)),
            None => Ok(()),
        }
    }

    /// Whether the history is as long as it once was, and the same.
    fn check_reached(&self, owner: &Owner, history: &History) -> Done<()> {
        let before = usize::try_from(owner.latest).unwrap_or(0).checked_sub(1);
        let reached = before.and_then(|at| history.versions().get(at));
        match reached {
            None => Err(self.gone(owner, history.latest())),
            Some(version) if version.header.hash() != owner.hash => Err(Refusal::Forked {
                version: owner.latest,
            }
            .into()),
            Some(_) => Ok(()),
        }
    }

    fn gone(&self, owner: &Owner, here: u64) -> IdentityError {
        IdentityError::Gone {
            version: owner.latest,
            here,
            folder: self.versions_folder(),
        }
    }

    fn versions_folder(&self) -> PathBuf {
        self.folder.join("versions")
    }

    fn version_file(&self, number: u64) -> PathBuf {
        self.versions_folder().join(format!("{number:08}.json"))
    }

    fn owner(&self) -> Done<Option<Owner>> {
        let path = self.folder.join("owner.json");
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let owner = serde_json::from_slice(&text);
        owner.map(Some).map_err(|why| IdentityError::File {
            path,
            why: format!("it is no file of gpak's: {why}"),
        })
    }

    /// The versions from the first to where one is missing, read and not yet checked.
    fn versions(&self) -> Done<Vec<Version>> {
        let mut versions = Vec::new();
        for number in 1.. {
            let Some(line) = read(&self.version_file(number))? else {
                break;
            };
            versions.push(Version::read(&line, number)?);
        }
        Ok(versions)
    }

    /// Writes the versions behind that one, and who is trusted from now on.
    fn write(&self, history: &History, behind: u64) -> Done<()> {
        let folder = self.versions_folder();
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let behind = usize::try_from(behind).unwrap_or(usize::MAX);
        for version in history.versions().iter().skip(behind) {
            let path = self.version_file(version.header.version);
            replace(&path, version.line().as_bytes())?;
        }
        let owner = Owner {
            identity: history.identity(),
            key: history.key(),
            latest: history.latest(),
            hash: history.hash(),
        };
        let path = self.folder.join("owner.json");
        let text = serde_json::to_vec(&owner).map_err(|why| IdentityError::File {
            path: path.clone(),
            why: why.to_string(),
        })?;
        replace(&path, &text)
    }

    /// Writes the secret key. Another one that is there is kept under the name of its public key: nobody
    /// could make it again.
    fn write_key(&self, secret: &SecretKey) -> Done<()> {
        let path = self.key_file();
        if path.exists()
            && let Ok(other) = read_secret(&path)
            && other.public() != secret.public()
        {
            let name: String = other.public().to_string().chars().take(16).collect();
            fs::rename(&path, self.folder.join(format!("key.{name}"))).map_err(failed(&path))?;
        }
        replace(&path, secret.reveal().as_bytes())
    }

    /// Held until it is dropped.
    fn lock(&self) -> Done<File> {
        fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        let path = self.folder.join("lock");
        let mut options = File::options();
        let file = options.append(true).create(true).open(&path);
        let file = file.map_err(failed(&path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(why)) => return Err(failed(&path)(why)),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(IdentityError::Busy);
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// The secret key in a file that only this user can read.
fn read_secret(path: &Path) -> Done<SecretKey> {
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            return Err(IdentityError::NoKey(path.to_owned()));
        }
        file => file.map_err(failed(path))?,
    };
    let mode = file.metadata().map_err(failed(path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(IdentityError::Open { path, mode });
    }
    let text = io::read_to_string(file).map_err(failed(path))?;
    text.trim().parse().map_err(|why| IdentityError::File {
        path: path.to_owned(),
        why,
    })
}

/// The file, if there is one.
fn read(path: &Path) -> Done<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(failed(path)(why)),
    }
}

/// A file beside its place, for this user alone, on the disk.
fn stage(path: &Path, content: &[u8]) -> Done<NamedTempFile> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let written = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).and_then(|mut file| {
        file.write_all(content)?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    written.map_err(failed(path))
}

/// Puts a file in its place, whole, and on the disk.
fn replace(path: &Path, content: &[u8]) -> Done<()> {
    let staged = stage(path, content)?.persist(path);
    staged.map_err(|why| failed(path)(why.error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(folder))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> IdentityError {
    move |why| IdentityError::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
