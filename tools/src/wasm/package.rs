//! A folder with a `tool.toml` before it is added, and what is kept of it after.

use std::path::{Path, PathBuf};

use gpak_kernel::tool::Effect;
use serde::{Deserialize, Serialize};

use super::{
    Asks, Cache, Described, FileAccess, Kind, Limits, Manifest, WasmError, cache::hash, compile,
    component::COMPONENT_BYTES, files, scripted,
};

/// How long a component may take to describe its tools, in milliseconds.
const DESCRIBING_MS: u32 = 3000;

/// A package that was read and looked at, and can be added.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What its `tool.toml` says.
    pub manifest: Manifest,
    /// Its tools.
    pub tools: Vec<Described>,
    /// BLAKE3 of the component or script, in hexadecimal.
    pub hash: String,
    /// The folder it was read from, absolute.
    pub origin: PathBuf,
    pub(super) manifest_text: String,
    pub(super) bytes: Vec<u8>,
}

/// A package that was added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Package {
    /// What its `tool.toml` said when it was added.
    pub manifest: Manifest,
    /// Its tools, as they described themselves then.
    pub tools: Vec<Described>,
    /// BLAKE3 of the component or script, in hexadecimal. It is used only as long as it has that.
    pub hash: String,
    /// BLAKE3 of the text of `tool.toml`.
    pub manifest_hash: String,
    /// What the user granted: all that it asks for, or less.
    pub grant: Asks,
    /// The folder it was added from.
    pub origin: PathBuf,
    /// When, in milliseconds since 1970, UTC.
    pub added: u64,
}

impl Candidate {
    /// Reads the package in `folder`: checks its `tool.toml`, compiles its component, and asks it to
    /// describe its tools. Nothing is granted to it yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn read(folder: &Path, cache: &Cache) -> Result<Self, WasmError> {
        let origin = folder
            .canonicalize()
            .map_err(|why| WasmError::file("read", folder, &why))?;
        let (manifest, manifest_text) = Manifest::read(&origin)?;
        let path = origin.join(&manifest.file);
        let bytes = files::read_bounded(&path, COMPONENT_BYTES)?;
        let tools = match manifest.kind {
            Kind::Component => describe(&manifest, bytes.clone(), cache.clone()).await?,
            Kind::Script => scripted::described(&manifest, &bytes)?,
        };
        check_effects(&tools, &manifest.asks)?;
        check_examples(&manifest, &tools)?;
        Ok(Self {
            hash: hash(&bytes),
            manifest,
            tools,
            origin,
            manifest_text,
            bytes,
        })
    }
}

async fn describe(
    manifest: &Manifest,
    bytes: Vec<u8>,
    cache: Cache,
) -> Result<Vec<Described>, WasmError> {
    let code = compile::load(bytes, cache).await?;
    let beyond = code.imports.beyond(&manifest.asks);
    if !beyond.is_empty() {
        let lines: Vec<_> = beyond
            .iter()
            .map(|capability| format!("{} ({capability})", capability.line()))
            .collect();
        return Err(WasmError::Grant(format!(
            "the component imports what its tool.toml does not ask for; add to [asks], or import less: {}",
            lines.join(", ")
        )));
    }
    let limits = Limits {
        time_ms: DESCRIBING_MS,
        ..manifest.limits
    };
    code.describe(limits).await
}

/// A tool that says it can be undone must have something that does it.
fn check_effects(tools: &[Described], asks: &Asks) -> Result<(), WasmError> {
    let writes = asks
        .files
        .iter()
        .any(|folder| folder.access == FileAccess::Write);
    let reversible = |tool: &&Described| tool.spec.effect == Effect::Reversible;
    let stuck = tools
        .iter()
        .filter(reversible)
        .find(|tool| !tool.can_compensate && !writes);
    stuck.map_or(Ok(()), |tool| {
        Err(WasmError::Description(format!(
            "{} says that its calls can be undone, and nothing does it: export `compensate`, ask for files \
             to change (which the host can undo), or call it irreversible",
            tool.spec.name
        )))
    })
}

fn check_examples(manifest: &Manifest, tools: &[Described]) -> Result<(), WasmError> {
    for (at, example) in manifest.examples.iter().enumerate() {
        let known = match &example.tool {
            Some(name) => tools.iter().any(|tool| tool.spec.name == *name),
            None => tools.len() == 1,
        };
        if !known {
            let names: Vec<_> = tools.iter().map(|tool| tool.spec.name.as_str()).collect();
            return Err(WasmError::Description(format!(
                "example {} does not say which tool it is of; `tool` is one of {}",
                at + 1,
                names.join(", ")
            )));
        }
    }
    Ok(())
}

impl Candidate {
    /// A package of a script that is in no folder.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of_script(
        manifest: &Manifest,
        source: &str,
        origin: PathBuf,
    ) -> Result<Self, WasmError> {
        manifest
            .fault()
            .map_or(Ok(()), |why| Err(WasmError::Description(why)))?;
        let bytes = source.as_bytes().to_vec();
        let tools = scripted::described(manifest, &bytes)?;
        check_effects(&tools, &manifest.asks)?;
        Ok(Self {
            hash: hash(&bytes),
            manifest: manifest.clone(),
            tools,
            origin,
            manifest_text: String::new(),
            bytes,
        })
    }
}

impl Package {
    pub(super) fn of(candidate: &Candidate, grant: Asks, now: u64) -> Self {
        Self {
            manifest: candidate.manifest.clone(),
            tools: candidate.tools.clone(),
            hash: candidate.hash.clone(),
            manifest_hash: hash(candidate.manifest_text.as_bytes()),
            grant,
            origin: candidate.origin.clone(),
            added: now,
        }
    }

    /// The name of the package.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }
}
