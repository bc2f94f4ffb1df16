//! A user's folders, with packages in them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    tool::{Call, ToolContext, ToolError, ToolOutput},
};
use gpak_tools::{
    builtin,
    wasm::{Asks, Cache, Called, Options, Package, PackagedTool, Packages, WasmError},
};
use serde_json::Value;

use super::guest::Guest;

/// A user with a workspace.
pub struct Home {
    pub root: tempfile::TempDir,
    pub packages: Packages,
    pub context: ToolContext,
}

impl Home {
    pub fn new() -> Self {
        Self::with(|options| options)
    }

    /// A home whose packages are told something else than usual.
    pub fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        let packages = Packages::new(change(options(root.path())));
        let context = ToolContext {
            run: RunId::random(),
            workspace,
            trust: Label::Own,
            may_change: true,
        };
        Self {
            root,
            packages,
            context,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn workspace(&self) -> &Path {
        &self.context.workspace
    }

    /// A folder with the guest and a `tool.toml` that says `more`.
    pub fn folder(&self, guest: &Guest, more: &str) -> PathBuf {
        self.folder_of(&guest.name, &guest.build(), more)
    }

    pub fn folder_of(&self, name: &str, bytes: &[u8], more: &str) -> PathBuf {
        let folder = self.path("source").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("tool.wasm"), bytes).unwrap();
        let manifest = format!("name = \"{name}\"\nversion = \"1\"\nfile = \"tool.wasm\"\n{more}");
        std::fs::write(folder.join("tool.toml"), manifest).unwrap();
        folder
    }

    /// Adds what is in a folder, with all that it asks for.
    pub async fn add_folder(&self, folder: &Path) -> Result<Package, WasmError> {
        let candidate = self.packages.read(folder).await?;
        let grant = candidate.manifest.asks.clone();
        self.packages.add(&candidate, grant, &BTreeSet::new())
    }

    pub async fn try_add(&self, guest: &Guest, more: &str) -> Result<Package, WasmError> {
        self.add_folder(&self.folder(guest, more)).await
    }

    /// The tool of a guest, added with all that `more` asks for.
    pub async fn tool(&self, guest: &Guest, more: &str) -> Arc<PackagedTool> {
        let package = self.try_add(guest, more).await.unwrap();
        self.packages.tools_of(package).remove(0)
    }

    pub async fn call(&self, tool: &PackagedTool, args: Value) -> Result<ToolOutput, ToolError> {
        self.call_logged(tool, args).await.result
    }

    pub async fn call_logged(&self, tool: &PackagedTool, args: Value) -> Called {
        tool.call_logged(&call(tool, args), &self.context).await
    }

    /// Adds a guest and calls it.
    pub async fn run(
        &self,
        guest: &Guest,
        more: &str,
        args: Value,
    ) -> Result<ToolOutput, ToolError> {
        let tool = self.tool(guest, more).await;
        self.call(&tool, args).await
    }
}

/// The packages of the user whose folders are in `root`, as another process sees them.
pub fn packages(root: &Path) -> Packages {
    Packages::new(options(root))
}

fn options(root: &Path) -> Options {
    let data = root.join("data");
    let mut builtin = builtin::Options::new(data.join("undo"));
    builtin.protected = vec![data.clone(), root.join("cache")];
    let cache = Cache::new(root.join("cache/wasm"), data.join("wasm-code.key"));
    Options::new(data.join("tools"), cache, builtin)
}

/// All that is in `asks` left out but `kept`.
pub fn only(asks: &Asks, kept: &[&str]) -> Asks {
    let leave_out = asks
        .items()
        .into_iter()
        .filter(|(name, _)| !kept.contains(&name.as_str()));
    leave_out.fold(asks.clone(), |asks, (name, _)| {
        asks.without(&name).unwrap_or(asks)
    })
}

pub fn call(tool: &PackagedTool, args: Value) -> Call {
    Call {
        id: CallId { reply: 1, index: 0 },
        name: tool.described().spec.name.clone(),
        args,
        attempt: 1,
    }
}

/// What the model is told.
pub fn told(result: Result<ToolOutput, ToolError>) -> String {
    match result {
        Err(ToolError::Rejected(why)) => why,
        other => panic!("it was not refused: {other:?}"),
    }
}
