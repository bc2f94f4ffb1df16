//! The packages that this user has added.
//!
//! ```text
//! data/tools/<name>/tool.toml       as it was
//!                   <file>          the component or script, as it was
//!                   package.json    what is known of both, and what was granted
//!            .values/<name>/          the values that it keeps
//! ```
//!
//! What tools say of themselves is read from `package.json` alone: neither is a component read nor compiled
//! before the first call of one of its tools.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use gpak_kernel::tool::Tool;

use super::{
    Asks, Cache, Candidate, EnvironmentSecrets, MANIFEST, Names, Package, Secrets, SystemNames,
    WasmError,
    component::COMPONENT_BYTES,
    files,
    host::{House, Values},
    net::Network,
    scripted::Granted,
    tool::{Loaded, PackagedTool},
};
use crate::{UndoStore, builtin, script::interpreter::Interpreter};

/// The file of what is known of a package, and how large it may be.
const RECORD: &str = "package.json";
const RECORD_BYTES: usize = 16 * 1024 * 1024;

/// What packages need to know of the house they are in.
#[derive(Clone)]
pub struct Options {
    /// The folder of what was added.
    pub dir: PathBuf,
    /// Where compiled code is kept.
    pub cache: Cache,
    /// What the built-in tools are told: packages keep to the same folders.
    pub builtin: builtin::Options,
    /// Knows the secrets that packages were granted.
    pub secrets: Arc<dyn Secrets>,
    /// Finds the hosts that they send requests to.
    pub names: Arc<dyn Names>,
}

impl Options {
    /// Packages in `dir`, with secrets from the environment and names from the operating system.
    pub fn new(dir: impl Into<PathBuf>, cache: Cache, builtin: builtin::Options) -> Self {
        Self {
            dir: dir.into(),
            cache,
            builtin,
            secrets: Arc::new(EnvironmentSecrets),
            names: Arc::new(SystemNames),
        }
    }
}

/// The packages that this user has added.
#[derive(Clone)]
pub struct Packages {
    options: Arc<Options>,
    network: Arc<Network>,
    interpreter: Interpreter<Granted>,
}

/// A package that is there and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its name.
    pub name: String,
    /// Why, and what to do.
    pub why: String,
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// By name.
    pub packages: Vec<Package>,
    /// Those of which what is known cannot be read.
    pub unusable: Vec<Unusable>,
}

/// The tools of all packages.
#[derive(Default)]
pub struct Offered {
    /// They are not loaded before they are called.
    pub tools: Vec<Arc<dyn Tool>>,
    /// What was left out and why, for the user.
    pub notices: Vec<String>,
}

impl Packages {
    /// The packages in the folder that `options` name.
    pub fn new(options: Options) -> Self {
        Self {
            network: Arc::new(Network::new(options.names.clone())),
            interpreter: Interpreter::new(options.cache.clone()),
            options: Arc::new(options),
        }
    }

    /// Reads the package in `folder`, which may be added then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn read(&self, folder: &Path) -> Result<Candidate, WasmError> {
        Candidate::read(folder, &self.options.cache).await
    }

    /// Adds a package, in place of one of the same name. `grant` is what it asks for, or less;
    /// `reserved` are names that tools of others have.
    ///
    /// # Errors
    /// If a name is taken, the grant is more than was asked for or less than the component imports, or
    /// the files cannot be written. Then all is as it was.
    pub fn add(
        &self,
        candidate: &Candidate,
        grant: Asks,
        reserved: &BTreeSet<String>,
    ) -> Result<Package, WasmError> {
        self.check_names(candidate, reserved)?;
        if !grant.is_within(&candidate.manifest.asks) {
            return Err(WasmError::Grant(
                "the grant is more than the package asks for".to_owned(),
            ));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let package = Package::of(candidate, grant, u64::try_from(now).unwrap_or_default());
        let record = serde_json::to_vec_pretty(&package)
            .map_err(|why| WasmError::File(format!("the package cannot be written down: {why}")))?;
        let fresh = self
            .options
            .dir
            .join(format!(".{}.{}", package.name(), std::process::id()));
        let written = files::write_whole(&fresh.join(MANIFEST), candidate.manifest_text.as_bytes())
            .and_then(|()| {
                files::write_whole(&fresh.join(&package.manifest.file), &candidate.bytes)
            })
            .and_then(|()| files::write_whole(&fresh.join(RECORD), &record))
            .and_then(|()| files::put_folder(&fresh, &self.folder(package.name())));
        if written.is_err() {
            let _ = fs::remove_dir_all(&fresh);
        }
        written.map(|()| package)
    }

    fn check_names(
        &self,
        candidate: &Candidate,
        reserved: &BTreeSet<String>,
    ) -> Result<(), WasmError> {
        let mut owners = BTreeMap::new();
        for package in self.list()?.packages {
            let name = package.name().to_owned();
            if name != candidate.manifest.name {
                owners.extend(
                    package
                        .tools
                        .into_iter()
                        .map(|tool| (tool.spec.name, name.clone())),
                );
            }
        }
        for tool in &candidate.tools {
            let name = &tool.spec.name;
            if reserved.contains(name) {
                return Err(WasmError::Description(format!(
                    "there is a tool {name} already, which comes with gpak; give this one another name"
                )));
            }
            if let Some(owner) = owners.get(name) {
                return Err(WasmError::Description(format!(
                    "there is a tool {name} already, of the package {owner}; give this one another name, or \
                     remove the other: gpak tools remove {owner}"
                )));
            }
        }
        Ok(())
    }

    /// All packages, by name.
    ///
    /// # Errors
    /// If their folder cannot be read. That there is none is fine.
    pub fn list(&self) -> Result<Listed, WasmError> {
        let dir = &self.options.dir;
        let entries = match fs::read_dir(dir) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Listed::default()),
            entries => entries.map_err(|why| WasmError::file("read", dir, &why))?,
        };
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        let mut listed = Listed::default();
        for name in names {
            match self.get(&name) {
                Ok(package) => listed.packages.push(package),
                Err(why) => listed.unusable.push(Unusable {
                    why: format!("{why}; add it again, or gpak tools remove {name}"),
                    name,
                }),
            }
        }
        Ok(listed)
    }

    /// The package of that name.
    ///
    /// # Errors
    /// If there is none, or what is known of it cannot be read.
    pub fn get(&self, name: &str) -> Result<Package, WasmError> {
        let folder = self.known(name)?;
        let record = folder.join(RECORD);
        let bytes = files::read_bounded(&record, RECORD_BYTES)?;
        let package: Package = serde_json::from_slice(&bytes).map_err(|why| {
            WasmError::Changed(format!("{} is damaged ({why})", record.display()))
        })?;
        if package.name() != name {
            return Err(WasmError::Changed(format!(
                "{} is of another package, {}",
                record.display(),
                package.name()
            )));
        }
        Ok(package)
    }

    /// The package that has a tool of that name, or has that name itself.
    ///
    /// # Errors
    /// If there is none.
    pub fn with_tool(&self, name: &str) -> Result<Package, WasmError> {
        let listed = self.list()?;
        let has = |package: &&Package| package.tools.iter().any(|tool| tool.spec.name == name);
        let found = listed.packages.iter().find(has);
        found.cloned().map_or_else(|| self.get(name), Ok)
    }

    /// Removes a package and what was made for it.
    ///
    /// # Errors
    /// If there is none, or its files cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), WasmError> {
        let folder = self.known(name)?;
        let package = self.get(name);
        fs::remove_dir_all(&folder).map_err(|why| WasmError::file("remove", &folder, &why))?;
        self.values(name).remove_all()?;
        if let Ok(package) = package {
            self.options.cache.forget(&package.hash);
        }
        Ok(())
    }

    /// The folder in which a package was put: its `tool.toml`, its file.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    /// Looks whether a package is what it was when it was added, and can be loaded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, name: &str) -> Result<(), WasmError> {
        let package = self.get(name)?;
        self.loaded(package).code().await.map(drop)
    }

    /// The tools of one package.
    pub fn tools_of(&self, package: Package) -> Vec<Arc<PackagedTool>> {
        let loaded = Arc::new(self.loaded(package));
        let tools = loaded.package.tools.iter();
        tools
            .map(|tool| Arc::new(PackagedTool::new(tool.clone(), loaded.clone())))
            .collect()
    }

    /// The tool of a script that is in no folder, with all granted that it asks for.
    pub(crate) fn tool_of_script(&self, candidate: &Candidate) -> Option<Arc<PackagedTool>> {
        let grant = candidate.manifest.asks.clone();
        let loaded = self.loaded(Package::of(candidate, grant, 0));
        let loaded = Arc::new(loaded.given(candidate.bytes.clone()));
        let tool = loaded.package.tools.first().cloned()?;
        Some(Arc::new(PackagedTool::new(tool, loaded)))
    }

    /// The tools of all packages but those whose names are `reserved`, as gpak may since have got tools
    /// of its own of these names. Nothing here stops a run: what cannot be offered is left out and said.
    pub fn offer(&self, reserved: &BTreeSet<String>) -> Offered {
        let mut offered = Offered::default();
        let listed = match self.list() {
            Ok(listed) => listed,
            Err(why) => {
                offered
                    .notices
                    .push(format!("no packages of tools are used: {why}"));
                return offered;
            }
        };
        for Unusable { name, why } in listed.unusable {
            offered
                .notices
                .push(format!("the tool package {name} is not used: {why}"));
        }
        let mut taken = reserved.clone();
        for package in listed.packages {
            let of = package.name().to_owned();
            for tool in self.tools_of(package) {
                let name = &tool.spec().name;
                if taken.insert(name.clone()) {
                    offered.tools.push(tool);
                } else {
                    offered.notices.push(format!(
                        "the tool {name} of the package {of} is not used, as there is another of that name; \
                         gpak tools remove {of} removes it"
                    ));
                }
            }
        }
        offered
    }

    fn loaded(&self, package: Package) -> Loaded {
        let undo = UndoStore::new(&self.options.builtin.undo_dir);
        Loaded::new(package, self.clone(), undo)
    }

    fn known(&self, name: &str) -> Result<PathBuf, WasmError> {
        let folder = self.folder(name);
        if super::manifest::name_fault(name).is_some() || !folder.is_dir() {
            return Err(WasmError::Unknown(name.to_owned()));
        }
        Ok(folder)
    }

    /// The bytes of a package's file, if that and its `tool.toml` are what they were.
    pub(super) fn bytes(&self, package: &Package) -> Result<Vec<u8>, WasmError> {
        let folder = self.folder(package.name());
        let (manifest, file) = (folder.join(MANIFEST), folder.join(&package.manifest.file));
        let unchanged = |path: &Path, hash: &str| {
            let bytes = files::read_bounded(path, COMPONENT_BYTES)?;
            if super::cache::hash(&bytes) == hash {
                return Ok(bytes);
            }
            Err(WasmError::Changed(format!(
                "{} is not what it was when it was added; look at it, and add it again: gpak tools add {}",
                path.display(),
                package.origin.display()
            )))
        };
        unchanged(&manifest, &package.manifest_hash)?;
        unchanged(&file, &package.hash)
    }

    pub(super) fn house(&self, package: &Package) -> House {
        let options = &self.options;
        House {
            package: package.name().to_owned(),
            grant: package.grant.clone(),
            network: self.network.clone(),
            secrets: options.secrets.clone(),
            values: self.values(package.name()),
            protected: options.builtin.closed(),
        }
    }

    fn values(&self, name: &str) -> Values {
        Values::new(self.options.dir.join(".values").join(name))
    }

    pub(super) fn interpreter(&self) -> Interpreter<Granted> {
        self.interpreter.clone()
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.options.cache
    }
}
