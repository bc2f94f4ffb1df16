//! A folder of models.
//!
//! `<dir>/<file>.gguf` is a whole model; `<file>.gguf.ok` beside it says that its hash was checked, for
//! which size and time of change, so that it need not be hashed at every start. `.partial/` holds what is
//! still being fetched.

use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};

use super::{
    Catalogue, CatalogueError, Entry, Network, PROVIDER, Source, Watch, hub, part, plain, space,
};

/// A folder of models, and the catalogue of what may be in it.
#[derive(Debug, Clone)]
pub struct Store {
    catalogue: Catalogue,
    dir: PathBuf,
}

/// A model that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// `embedded/…`, as `--model` takes it.
    pub id: String,
    /// The GGUF file.
    pub path: PathBuf,
    /// What the catalogue says of it, if it is from there.
    pub entry: Option<Entry>,
}

/// A line of the list of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// `embedded/…`, as `--model` takes it.
    pub id: String,
    /// Where its file is or would be.
    pub path: PathBuf,
    /// Whether it is there.
    pub state: State,
    /// What the catalogue says of it, if it is from there.
    pub entry: Option<Entry>,
}

/// Whether a model is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It is.
    Here {
        /// The size of its file.
        bytes: u64,
    },
    /// A pull was interrupted; the next goes on from there.
    Partial {
        /// Bytes that are there.
        bytes: u64,
    },
    /// It is not.
    Absent,
    /// A file is there that is not the model.
    Damaged {
        /// The size of the file.
        bytes: u64,
    },
}

/// What is written when a file's hash was found right.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    sha256: String,
    bytes: u64,
    changed_ms: u128,
}

impl Store {
    /// The models in `dir`. The folder need not exist.
    pub fn new(catalogue: Catalogue, dir: impl Into<PathBuf>) -> Self {
        Self {
            catalogue,
            dir: dir.into(),
        }
    }

    /// What may be in it.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the hub of the default model can be reached. Blocks, but not for long.
    pub fn hub_answers(&self, network: &Network) -> bool {
        let sources = self
            .catalogue
            .default_entry()
            .map(|entry| entry.sources.as_slice());
        sources
            .unwrap_or_default()
            .iter()
            .any(|source| match source {
                Source::Hub { repository, path } => hub::answers(network, repository, path),
                Source::Pip { .. } => false,
            })
    }

    /// Finds a model: a name of the catalogue, the name of a file that was added, or a path to any GGUF,
    /// each with or without `embedded/` in front. Never uses the network.
    ///
    /// A file of the catalogue is hashed the first time it is seen, and after that only if it changed.
    ///
    /// # Errors
    /// [`CatalogueError::Absent`] if it has to be pulled first; [`CatalogueError::Damaged`],
    /// [`CatalogueError::Unknown`], [`CatalogueError::NoFile`] or [`CatalogueError::NotGguf`].
    pub fn locate(&self, id: &str, watch: &mut dyn Watch) -> Result<Located, CatalogueError> {
        if let Some(entry) = self.catalogue.get(id) {
            return self.locate_entry(entry, watch);
        }
        let name = plain(id);
        let added = self.dir.join(format!("{name}.gguf"));
        let is_path = name.contains(['/', '\\']) || name.ends_with(".gguf");
        let path = match is_path {
            true => PathBuf::from(name),
            false if added.is_file() => added,
            false => return Err(self.unknown(name)),
        };
        sound(&path)?;
        Ok(Located {
            id: format!("{PROVIDER}/{name}"),
            path,
            entry: None,
        })
    }

    /// Where the model is, if a glance says that it is there: for start-up, where no hash is to be
    /// computed.
    pub fn glance(&self, entry: &Entry) -> State {
        let bytes = |path: &Path| {
            path.metadata()
                .ok()
                .filter(|meta| meta.is_file())
                .map(|meta| meta.len())
        };
        match (bytes(&self.path_of(entry)), bytes(&self.part_path(entry))) {
            (Some(bytes), _) if bytes == entry.bytes => State::Here { bytes },
            (Some(bytes), _) => State::Damaged { bytes },
            (None, Some(bytes)) if bytes > 0 => State::Partial { bytes },
            (None, _) => State::Absent,
        }
    }

    /// All models of the catalogue, and those that were added.
    pub fn list(&self) -> Vec<Listed> {
        let known = self.catalogue.entries.iter().map(|entry| Listed {
            id: entry.id(),
            path: self.path_of(entry),
            state: self.glance(entry),
            entry: Some(entry.clone()),
        });
        known.chain(self.added()).collect()
    }

    fn added(&self) -> Vec<Listed> {
        let files = std::fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| file.path());
        let own = files.filter(|path| {
            !self
                .catalogue
                .entries
                .iter()
                .any(|entry| self.path_of(entry) == *path)
        });
        let mut listed: Vec<_> = own
            .filter_map(|path| {
                let name = path
                    .file_name()?
                    .to_str()?
                    .strip_suffix(".gguf")?
                    .to_owned();
                let bytes = path.metadata().ok()?.len();
                Some(Listed {
                    id: format!("{PROVIDER}/{name}"),
                    path,
                    state: State::Here { bytes },
                    entry: None,
                })
            })
            .collect();
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        listed
    }

    /// Copies a GGUF file into the folder. One of the catalogue is known by its size and hash and gets
    /// its name; any other keeps the name of its file.
    ///
    /// # Errors
    /// [`CatalogueError::NotGguf`], [`CatalogueError::NoFile`], [`CatalogueError::NoSpace`].
    pub fn add(&self, file: &Path, watch: &mut dyn Watch) -> Result<Located, CatalogueError> {
        let bytes = sound(file)?;
        std::fs::create_dir_all(self.partial_dir())
            .map_err(CatalogueError::io("cannot create", &self.dir))?;
        space::check(&self.dir, bytes)?;
        let entry = self.recognise(file, bytes, watch)?;
        let name = entry
            .map(|entry| entry.file.clone().into())
            .or_else(|| file.file_name().map(PathBuf::from));
        let name = name
            .unwrap_or_else(|| "model.gguf".into())
            .with_extension("gguf");
        let beside = self.partial_dir().join(&name).with_extension("gguf.adding");
        std::fs::copy(file, &beside).map_err(CatalogueError::io("cannot write", &beside))?;
        if let Some(entry) = entry {
            return self.take(entry, &beside);
        }
        let path = self.dir.join(&name);
        std::fs::rename(&beside, &path).map_err(CatalogueError::io("cannot write", &path))?;
        let id = format!("{PROVIDER}/{}", name.with_extension("").display());
        Ok(Located {
            id,
            path,
            entry: None,
        })
    }

    fn recognise(
        &self,
        file: &Path,
        bytes: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<&Entry>, CatalogueError> {
        let mut alike = self
            .catalogue
            .entries
            .iter()
            .filter(|entry| entry.bytes == bytes)
            .peekable();
        if alike.peek().is_none() {
            return Ok(None);
        }
        let sha256 = part::sha256_of(file, watch)?;
        Ok(alike.find(|entry| entry.sha256 == sha256))
    }

    fn locate_entry(
        &self,
        entry: &Entry,
        watch: &mut dyn Watch,
    ) -> Result<Located, CatalogueError> {
        let path = self.path_of(entry);
        let damaged = |reason: String| CatalogueError::Damaged {
            id: entry.id(),
            path: path.clone(),
            reason,
        };
        match self.glance(entry) {
            State::Absent | State::Partial { .. } => {
                return Err(CatalogueError::Absent {
                    id: entry.id(),
                    bytes: entry.bytes,
                });
            }
            State::Damaged { bytes } => {
                return Err(damaged(format!(
                    "it has {bytes} bytes instead of {}",
                    entry.bytes
                )));
            }
            State::Here { .. } => {}
        }
        if self.stamp_of(entry) != read_stamp(&stamp_path(&path)) {
            if part::sha256_of(&path, watch)? != entry.sha256 {
                return Err(damaged("its SHA-256 is not that of the catalogue".into()));
            }
            self.stamp(entry);
        }
        Ok(Located {
            id: entry.id(),
            path,
            entry: Some(entry.clone()),
        })
    }

    /// Puts a whole and checked file in its place.
    pub(super) fn take(&self, entry: &Entry, from: &Path) -> Result<Located, CatalogueError> {
        let path = self.path_of(entry);
        std::fs::rename(from, &path).map_err(CatalogueError::io("cannot write", &path))?;
        self.stamp(entry);
        Ok(Located {
            id: entry.id(),
            path,
            entry: Some(entry.clone()),
        })
    }

    /// Notes that the file was checked. In a folder that cannot be written it is checked again next time.
    fn stamp(&self, entry: &Entry) {
        let text = self
            .stamp_of(entry)
            .and_then(|stamp| serde_json::to_string(&stamp).ok());
        if let Some(text) = text {
            let _ = std::fs::write(stamp_path(&self.path_of(entry)), text);
        }
    }

    fn stamp_of(&self, entry: &Entry) -> Option<Stamp> {
        let meta = self.path_of(entry).metadata().ok()?;
        let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Stamp {
            sha256: entry.sha256.clone(),
            bytes: meta.len(),
            changed_ms: changed.as_millis(),
        })
    }

    pub(super) fn entry(&self, id: &str) -> Result<&Entry, CatalogueError> {
        self.catalogue
            .get(id)
            .ok_or_else(|| self.unknown(plain(id)))
    }

    fn unknown(&self, name: &str) -> CatalogueError {
        CatalogueError::Unknown {
            name: name.to_owned(),
            known: self.catalogue.ids(),
        }
    }

    fn path_of(&self, entry: &Entry) -> PathBuf {
        self.dir.join(&entry.file)
    }

    pub(super) fn partial_dir(&self) -> PathBuf {
        self.dir.join(".partial")
    }

    pub(super) fn part_path(&self, entry: &Entry) -> PathBuf {
        self.partial_dir().join(format!("{}.part", entry.file))
    }
}

fn stamp_path(path: &Path) -> PathBuf {
    path.with_extension("gguf.ok")
}

fn read_stamp(path: &Path) -> Option<Stamp> {
    serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
}

/// The size of a file that begins as a GGUF does.
fn sound(path: &Path) -> Result<u64, CatalogueError> {
    let Ok(meta) = path.metadata() else {
        return Err(CatalogueError::NoFile {
            path: path.to_path_buf(),
        });
    };
    let not = |reason: &str| CatalogueError::NotGguf {
        path: path.to_path_buf(),
        reason: reason.into(),
    };
    if !meta.is_file() {
        return Err(not("it is not a file"));
    }
    match part::is_gguf(path) {
        Ok(true) => Ok(meta.len()),
        Ok(false) => Err(not("it does not begin with `GGUF`")),
        Err(error) => Err(CatalogueError::io("cannot read", path)(error)),
    }
}
