//! Copies of a workspace, in which a run tries several ways before it keeps one.
//!
//! ```text
//! copies/<run>/<way>/manifest.json     what was copied, by the BLAKE3 hash of its content
//! copies/<run>/<way>/<name>/…          the copy, under the workspace's own name
//! ```
//!
//! What `.gitignore` leaves out, `.git` and the caches of build tools are copied as far as they are not
//! large, so that a build in a copy works, and are never brought back. (On file systems that can, the
//! standard library's copy shares the blocks.) What a try changed is the difference between its copy
//! and the manifest; it is brought into the workspace only if the files that it changes there are still
//! those that were copied, and like every change it can be undone.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use gpak_kernel::{
    event::RunId,
    strategy::search::{ADOPT, COMPARE, COPY, DROP},
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use ignore::WalkBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    builtin::{Options, blocking},
    text::{Stop, many},
    undo::UndoStore,
    workspace::{Inside, Workspace, rejected},
};

mod adopt;
mod compare;

/// What may be copied.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of what is worked on.
    pub bytes: u64,
    /// Files of what is worked on.
    pub files: u64,
    /// Bytes of what is ignored; what is over it stays behind.
    pub ignored_bytes: u64,
}

impl Default for Limits {
    /// A gigabyte in 50,000 files, and a quarter of that of what is ignored.
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            files: 50_000,
            ignored_bytes: 1 << 28,
        }
    }
}

/// The tools by which a run tries several ways, with copies in `dir`: only the machine calls them.
pub fn all(options: &Options, dir: impl Into<PathBuf>, limits: Limits) -> Vec<Arc<dyn Tool>> {
    let undo = UndoStore::new(&options.undo_dir);
    let copies = Arc::new(Copies {
        dir: dir.into(),
        undo,
        protected: options.closed(),
        limits,
        output_bytes: options.output_bytes,
    });
    let tool = |name: &str, effect, work| -> Arc<dyn Tool> {
        Arc::new(CopyTool {
            spec: ToolSpec {
                resumable: true,
                ..ToolSpec::new(name, String::new(), json!({"type": "object"}), effect)
            },
            copies: Arc::clone(&copies),
            work,
        })
    };
    vec![
        tool(COPY, Effect::Idempotent, Copies::copy as Work),
        tool(COMPARE, Effect::Pure, Copies::compare),
        tool(ADOPT, Effect::Reversible, Copies::adopt),
        tool(DROP, Effect::Idempotent, Copies::remove),
    ]
}

/// The runs that have copies in `dir`.
pub fn runs(dir: &Path) -> Vec<RunId> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Removes what copies there are of `run`.
///
/// # Errors
/// If they are there and cannot be removed.
pub fn remove(dir: &Path, run: RunId) -> io::Result<()> {
    match fs::remove_dir_all(dir.join(run.to_string())) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

type Work = fn(&Copies, &Call, &ToolContext, &Stop) -> Result<ToolOutput, ToolError>;

struct CopyTool {
    spec: ToolSpec,
    copies: Arc<Copies>,
    work: Work,
}

#[async_trait]
impl Tool for CopyTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let (copies, work) = (Arc::clone(&self.copies), self.work);
        let (call, context) = (call.clone(), context.clone());
        blocking(move |stop| work(&copies, &call, &context, stop)).await
    }

    async fn compensate(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        let copies = Arc::clone(&self.copies);
        let (call, context) = (call.clone(), context.clone());
        blocking(move |_| copies.take_back(&call, &context)).await
    }
}

pub(crate) struct Copies {
    dir: PathBuf,
    undo: UndoStore,
    protected: Vec<PathBuf>,
    limits: Limits,
    output_bytes: usize,
}

/// What was copied and is worked on: the hash of each file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    /// Where the copy is, within the folder of its way.
    name: String,
    files: BTreeMap<Inside, String>,
}

/// What there is to copy.
#[derive(Default)]
struct Content {
    files: Vec<(Inside, u64)>,
    links: Vec<Inside>,
    folders: Vec<Inside>,
}

impl Copies {
    /// Makes a copy, or finds the one that was made.
    fn copy(
        &self,
        call: &Call,
        context: &ToolContext,
        stop: &Stop,
    ) -> Result<ToolOutput, ToolError> {
        let way = way(&call.args)?;
        let folder = self.folder(context.run, way);
        let made = |manifest: &Manifest, left: &str| {
            let path = folder.join(&manifest.name);
            let files = many(manifest.files.len() as u64, "file");
            ToolOutput {
                data: Some(json!({"path": path})),
                ..ToolOutput::text(format!("copied {files} to {}{left}", path.display()))
            }
        };
        if let Ok(manifest) = self.manifest(context.run, way) {
            return Ok(made(&manifest, ""));
        }
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let from = workspace.real().to_owned();
        let here = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        if here.starts_with(&from) {
            return Err(rejected(format!(
                "the workspace cannot be copied: it holds {}, where copies are kept; work in a folder \
                 below it",
                here.display()
            )));
        }
        let content = self.content(&workspace, &from, stop)?;
        let failed = |e: io::Error| self.failed(&folder, &e);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        let name = from.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or("workspace").to_owned();
        let to = folder.join(&name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&to)
            .map_err(failed)?;
        let files = copy_content(&content, &from, &to, stop).map_err(failed)?;
        let left = self
            .copy_ignored(&content, &from, &to, stop)
            .map_err(failed)?;
        let manifest = Manifest { name, files };
        let written = serde_json::to_vec(&manifest).map_err(io::Error::other);
        written
            .and_then(|bytes| fs::write(folder.join("manifest.json"), bytes))
            .map_err(failed)?;
        let left = match left.as_slice() {
            [] => String::new(),
            left => format!(" (too large, and left out: {})", left.join(", ")),
        };
        Ok(made(&manifest, &left))
    }

    /// Removes the copies of a run.
    fn remove(&self, _: &Call, context: &ToolContext, _: &Stop) -> Result<ToolOutput, ToolError> {
        remove(&self.dir, context.run).map_err(|e| self.failed(&self.dir, &e))?;
        Ok(ToolOutput::text("removed the copies"))
    }

    fn folder(&self, run: RunId, way: u32) -> PathBuf {
        self.dir.join(run.to_string()).join(way.to_string())
    }

    fn manifest(&self, run: RunId, way: u32) -> io::Result<Manifest> {
        let bytes = fs::read(self.folder(run, way).join("manifest.json"))?;
        serde_json::from_slice(&bytes).map_err(io::Error::other)
    }

    /// The manifest of a way, with the copy opened as a workspace of its own.
    fn opened(&self, run: RunId, args: &Value) -> Result<(Manifest, Workspace), ToolError> {
        let way = way(args)?;
        let folder = self.folder(run, way);
        let manifest = self
            .manifest(run, way)
            .map_err(|e| self.failed(&folder, &e))?;
        let copy = Workspace::open(&folder.join(&manifest.name), &[])?;
        Ok((manifest, copy))
    }

    /// What is worked on: all but what is ignored, `.git`, `.gpak` and caches.
    fn content(
        &self,
        workspace: &Workspace,
        root: &Path,
        stop: &Stop,
    ) -> Result<Content, ToolError> {
        let mut content = Content::default();
        let mut bytes = 0;
        let private: Vec<PathBuf> = workspace.private_folders().collect();
        let walk = WalkBuilder::new(root)
            .hidden(false)
            .parents(false)
            .git_global(false)
            .require_git(false)
            .follow_links(false)
            .filter_entry(move |entry| {
                entry.depth() == 0
                    || !is_apart(entry.path()) && !private.iter().any(|one| one == entry.path())
            })
            .build();
        for entry in walk {
            stop.check()?;
            let Ok(entry) = entry else { continue };
            let path = entry
                .path()
                .to_str()
                .and_then(|path| workspace.parse(path).ok());
            let (Some(path), Some(kind)) = (path, entry.file_type()) else {
                continue;
            };
            if entry.depth() == 0 {
                continue;
            }
            if kind.is_dir() {
                content.folders.push(path);
            } else if kind.is_symlink() {
                content.links.push(path);
            } else if kind.is_file() {
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                bytes += size;
                content.files.push((path, size));
            }
            let files = content.files.len() as u64;
            if bytes > self.limits.bytes || files > self.limits.files {
                return Err(rejected(format!(
                    "the workspace is too large to be copied: it has over {} in over {} that \
                     .gitignore does not leave out, and the limits are {} MB and {} files",
                    megabytes(bytes),
                    many(files.saturating_sub(1), "file"),
                    self.limits.bytes >> 20,
                    self.limits.files
                )));
            }
        }
        Ok(content)
    }

    /// Copies what is no content, as far as it is not large; gives what was left out.
    fn copy_ignored(
        &self,
        content: &Content,
        from: &Path,
        to: &Path,
        stop: &Stop,
    ) -> io::Result<Vec<String>> {
        let known: std::collections::HashSet<PathBuf> = content
            .folders
            .iter()
            .chain(&content.links)
            .chain(content.files.iter().map(|(path, _)| path))
            .map(|path| from.join(path.as_path()))
            .collect();
        let (mut room, mut left) = (self.limits.ignored_bytes, Vec::new());
        for folder in content
            .folders
            .iter()
            .map(|path| from.join(path.as_path()))
            .chain([from.to_owned()])
        {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if known.contains(&path) || self.protected.iter().any(|one| one == &path) {
                    continue;
                }
                let inner = path.strip_prefix(from).unwrap_or(&path);
                match size_within(&path, room, stop) {
                    Some(size) => {
                        room -= size;
                        copy_tree(&path, &to.join(inner), stop)?;
                    }
                    None => left.push(inner.display().to_string()),
                }
            }
        }
        Ok(left)
    }

    fn failed(&self, path: &Path, error: &io::Error) -> ToolError {
        let path = path.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ToolError::Fatal(format!(
                "the workspace cannot be copied to {path}: the disk is full; free some space, then \
                 resume the run"
            )),
            _ => rejected(format!("the workspace cannot be copied to {path}: {error}")),
        }
    }
}

/// Whether a folder is set apart by what it is: of git, of gpak, or a cache that says so.
fn is_apart(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    matches!(
        name,
        Some(".git" | ".gpak" | "node_modules" | "__pycache__" | ".venv")
    ) || path.join("CACHEDIR.TAG").is_file()
}

fn copy_content(
    content: &Content,
    from: &Path,
    to: &Path,
    stop: &Stop,
) -> io::Result<BTreeMap<Inside, String>> {
    for folder in &content.folders {
        fs::create_dir_all(to.join(folder.as_path()))?;
    }
    for link in &content.links {
        copy_link(
            &from.join(link.as_path()),
            &to.join(link.as_path()),
            from,
            to,
        )?;
    }
    let mut files = BTreeMap::new();
    for (path, _) in &content.files {
        stop.check().map_err(io::Error::other)?;
        let copy = to.join(path.as_path());
        match fs::copy(from.join(path.as_path()), &copy) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            copied => copied?,
        };
        // Of the copy, so that what is compared later is what was copied.
        files.insert(path.clone(), hash(&copy)?);
    }
    Ok(files)
}

/// A link into the workspace leads into the copy, also where it is absolute.
fn copy_link(link: &Path, copy: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let target = fs::read_link(link)?;
    let target = match target.strip_prefix(from) {
        Ok(inner) => to.join(inner),
        Err(_) => target,
    };
    std::os::unix::fs::symlink(target, copy)
}

/// The bytes below `path`, if they are at most `room`.
fn size_within(path: &Path, room: u64, stop: &Stop) -> Option<u64> {
    let mut size = 0;
    for entry in WalkBuilder::new(path)
        .standard_filters(false)
        .build()
        .flatten()
    {
        stop.check().ok()?;
        let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file());
        size += metadata.map_or(0, |metadata| metadata.len());
        if size > room {
            return None;
        }
    }
    Some(size)
}

fn copy_tree(from: &Path, to: &Path, stop: &Stop) -> io::Result<()> {
    for entry in WalkBuilder::new(from)
        .standard_filters(false)
        .build()
        .flatten()
    {
        stop.check().map_err(io::Error::other)?;
        let copy = match entry.path().strip_prefix(from) {
            Ok(inner) if inner.as_os_str().is_empty() => to.to_owned(),
            Ok(inner) => to.join(inner),
            Err(_) => continue,
        };
        match entry.file_type() {
            Some(kind) if kind.is_dir() => fs::create_dir_all(&copy)?,
            Some(kind) if kind.is_symlink() => copy_link(entry.path(), &copy, from, to)?,
            Some(kind) if kind.is_file() => {
                fs::copy(entry.path(), &copy)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn way(args: &Value) -> Result<u32, ToolError> {
    let way = args.get("way").and_then(Value::as_u64);
    way.and_then(|way| u32::try_from(way).ok())
        .ok_or_else(|| rejected("the call names no way".to_owned()))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

fn mode(path: &Path) -> Option<u32> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(metadata.permissions().mode() & 0o7777)
}
