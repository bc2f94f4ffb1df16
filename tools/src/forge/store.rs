//! The made tools of each workspace, all versions.
//!
//! ```text
//! data/made/<hash of the workspace's path>/<name>/<version>.json
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use gpak_kernel::{event::RunId, tool::Made};
use serde::{Deserialize, Serialize};

use super::making::MAKE_TOOL;
use crate::wasm::{Candidate, MANIFEST, Manifest, PackagedTool, Packages, WasmError, files};

/// A file of the store has at most so many bytes.
const RECORD_BYTES: usize = 4 * 1024 * 1024;

/// The tools that runs made.
#[derive(Clone)]
pub struct MadeStore {
    dir: PathBuf,
    packages: Packages,
}

/// A tool as it is written down: what the journal has of it, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) manifest: Manifest,
    pub(crate) source: String,
}

/// A version of a made tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The workspace that it was made in.
    pub workspace: PathBuf,
    /// The run that made it.
    pub run: RunId,
    /// When, in milliseconds since 1970, UTC.
    pub time: u64,
    /// What the journal has of it.
    pub made: Made,
}

/// The made tools of a workspace, for a run.
#[derive(Default)]
pub struct Offer {
    /// The latest version of each, by name.
    pub tools: Vec<Arc<PackagedTool>>,
    /// What was left out and why, for the user.
    pub notices: Vec<String>,
}

impl MadeStore {
    /// The store in `dir`, whose tools run as those of `packages` do.
    pub fn new(dir: impl Into<PathBuf>, packages: Packages) -> Self {
        Self {
            dir: dir.into(),
            packages,
        }
    }

    /// The names of the tools that were made in a workspace, sorted.
    pub fn names(&self, workspace: &Path) -> Vec<String> {
        let entries = fs::read_dir(self.folder(workspace)).into_iter().flatten();
        let names = entries.flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// The numbers of the versions that are kept of a tool, ascending.
    pub fn versions(&self, workspace: &Path, name: &str) -> Vec<u32> {
        let folder = self.folder(workspace).join(name);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json")?.parse().ok()
        };
        let mut versions: Vec<u32> = entries.filter_map(number).collect();
        versions.sort_unstable();
        versions
    }

    /// The latest version of a tool; none if none of that name was made in the workspace.
    ///
    /// # Errors
    /// If its file cannot be read, or is not what was written.
    pub fn latest(&self, workspace: &Path, name: &str) -> Result<Option<Kept>, WasmError> {
        if crate::wasm::manifest::name_fault(name).is_some() {
            return Ok(None);
        }
        let Some(version) = self.versions(workspace, name).pop() else {
            return Ok(None);
        };
        let path = self.file(workspace, name, version);
        let damaged = |why: String| {
            WasmError::Changed(format!(
                "{} is damaged ({why}); gpak tools remove {name} removes the tool",
                path.display()
            ))
        };
        let bytes = files::read_bounded(&path, RECORD_BYTES)?;
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|why| damaged(why.to_string()))?;
        Written::of(&kept.made).map_err(damaged)?;
        Ok(Some(kept))
    }

    /// The latest version of each tool that was made in a workspace. Nothing here stops a run.
    pub fn offer(&self, workspace: &Path) -> Offer {
        let mut offer = Offer::default();
        for name in self.names(workspace) {
            let kept = self.latest(workspace, &name);
            match kept.and_then(|kept| kept.map(|kept| self.open(&kept.made)).transpose()) {
                Ok(tool) => offer.tools.extend(tool),
                Err(why) => offer
                    .notices
                    .push(format!("the made tool {name} is not used: {why}")),
            }
        }
        offer
    }

    /// The tool itself.
    ///
    /// # Errors
    /// If it is not what was written.
    pub fn open(&self, made: &Made) -> Result<Arc<PackagedTool>, WasmError> {
        let written = Written::of(made).map_err(WasmError::Changed)?;
        self.tool(&written)
    }

    /// Writes the latest version into a folder of its own, as a package that others can add. Gives how
    /// many examples were left out, as `tool.toml` has no null.
    ///
    /// # Errors
    /// If there is no such tool, there is something in the folder, or it cannot be written.
    pub fn export(&self, workspace: &Path, name: &str, folder: &Path) -> Result<usize, WasmError> {
        let kept = self.latest(workspace, name)?;
        let kept = kept.ok_or_else(|| WasmError::Unknown(name.to_owned()))?;
        let mut written = Written::of(&kept.made).map_err(WasmError::Changed)?;
        let all = written.manifest.examples.len();
        let examples = &mut written.manifest.examples;
        examples.retain(|example| toml::to_string(example).is_ok());
        let left_out = all - examples.len();
        let text = toml::to_string_pretty(&written.manifest).map_err(|why| {
            WasmError::File(format!("{name} cannot be written as a tool.toml: {why}"))
        })?;
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(WasmError::File(format!(
                "there is something in {} already; name a folder that is not there yet",
                folder.display()
            )));
        }
        files::write_whole(&folder.join(MANIFEST), text.as_bytes())?;
        let source = folder.join(&written.manifest.file);
        files::write_whole(&source, written.source.as_bytes())?;
        Ok(left_out)
    }

    /// The source, and the `tool.toml` as it says it, of a made tool.
    ///
    /// # Errors
    /// If it is not what was written.
    pub fn source(&self, made: &Made) -> Result<(Manifest, String), WasmError> {
        let written = Written::of(made).map_err(WasmError::Changed)?;
        Ok((written.manifest, written.source))
    }

    /// Removes a tool with all its versions; false if there was none.
    ///
    /// # Errors
    /// If its files cannot be removed.
    pub fn remove(&self, workspace: &Path, name: &str) -> Result<bool, WasmError> {
        if crate::wasm::manifest::name_fault(name).is_some() {
            return Ok(false);
        }
        let folder = self.folder(workspace).join(name);
        match fs::remove_dir_all(&folder) {
            Ok(()) => Ok(true),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(why) => Err(WasmError::file("remove", &folder, &why)),
        }
    }

    pub(super) fn tool(&self, written: &Written) -> Result<Arc<PackagedTool>, WasmError> {
        let candidate = Candidate::of_script(&written.manifest, &written.source, self.dir.clone())?;
        let tool = self.packages.tool_of_script(&candidate);
        tool.ok_or_else(|| WasmError::Description("there is no tool in it".to_owned()))
    }

    /// Keeps a tool as the next version of its name. One that is the latest already is not kept twice.
    pub(super) fn keep(
        &self,
        workspace: &Path,
        run: RunId,
        mut written: Written,
    ) -> Result<Made, WasmError> {
        let name = written.manifest.name.clone();
        loop {
            let latest = self.versions(workspace, &name).pop().unwrap_or(0);
            written.manifest.version = latest.to_string();
            if let Ok(Some(kept)) = self.latest(workspace, &name)
                && Written::of(&kept.made).is_ok_and(|there| there == written)
            {
                return Ok(kept.made);
            }
            let version = latest.saturating_add(1);
            written.manifest.version = version.to_string();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let kept = Kept {
                workspace: workspace.to_owned(),
                run,
                time: u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default(),
                made: self.made(&written, version)?,
            };
            let bytes = serde_json::to_vec_pretty(&kept).map_err(|why| unwritable(&why))?;
            let path = self.file(workspace, &name, version);
            if put(&path, &bytes)? {
                return Ok(kept.made);
            }
        }
    }

    fn made(&self, written: &Written, version: u32) -> Result<Made, WasmError> {
        let package = serde_json::to_string(written).map_err(|why| unwritable(&why))?;
        Ok(Made {
            by: MAKE_TOOL.to_owned(),
            spec: self.tool(written)?.described().spec.clone(),
            version,
            hash: blake3::hash(package.as_bytes()).to_string(),
            package,
        })
    }

    fn folder(&self, workspace: &Path) -> PathBuf {
        let path = workspace.as_os_str().as_encoded_bytes();
        self.dir.join(blake3::hash(path).to_hex().as_str())
    }

    fn file(&self, workspace: &Path, name: &str, version: u32) -> PathBuf {
        let folder = self.folder(workspace).join(name);
        folder.join(format!("{version}.json"))
    }
}

impl Written {
    /// What was written of a tool; the error says why that is not it.
    fn of(made: &Made) -> Result<Self, String> {
        if blake3::hash(made.package.as_bytes()).to_string() != made.hash {
            return Err(format!("{} is not what was made", made.spec.name));
        }
        serde_json::from_str(&made.package).map_err(|why| why.to_string())
    }
}

/// Writes a file that is not there yet, whole; false if another run was faster.
fn put(path: &Path, bytes: &[u8]) -> Result<bool, WasmError> {
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    files::write_whole(&fresh, bytes)?;
    let linked = fs::hard_link(&fresh, path);
    let _ = fs::remove_file(&fresh);
    match linked {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(why) => Err(WasmError::file("write", path, &why)),
    }
}

fn unwritable(why: &serde_json::Error) -> WasmError {
    WasmError::File(format!("the tool cannot be written down: {why}"))
}
