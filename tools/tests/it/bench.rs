//! A workspace, the tools, and somebody who calls them.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    tool::{Call, Tool, ToolContext, ToolError, ToolOutput},
};
use gpak_tools::{
    Conflict, UndoStore,
    builtin::{self, CommandLimits, Options},
    copies::{self, Limits},
};
use serde_json::Value;
use tempfile::TempDir;

pub struct Bench {
    pub home: TempDir,
    tools: BTreeMap<String, Arc<dyn Tool>>,
    pub context: ToolContext,
}

pub fn id(reply: u32) -> CallId {
    CallId { reply, index: 0 }
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("work")).unwrap();
        fs::write(home.path().join("outside.txt"), "outside\n").unwrap();
        let mut options = Options::new(home.path().join("data/undo"));
        options.protected = vec![
            home.path().join("data"),
            home.path().join("work/.config/gpak"),
        ];
        options.command = CommandLimits::default();
        change(&mut options);
        let context = ToolContext {
            run: RunId::from_u128(7),
            workspace: home.path().join("work"),
            trust: Label::Own,
            may_change: true,
        };
        let tools = builtin::all(&options)
            .into_iter()
            .map(|tool| (tool.spec().name.clone(), tool))
            .collect();
        Self {
            home,
            tools,
            context,
        }
    }

    /// With the tools that copy the workspace.
    pub fn copying(limits: Limits) -> Self {
        let mut bench = Self::new();
        let mut options = Options::new(bench.home.path().join("data/undo"));
        options.protected = vec![bench.home.path().join("data")];
        let tools = copies::all(&options, bench.home.path().join("copies"), limits);
        let named = tools
            .into_iter()
            .map(|tool| (tool.spec().name.clone(), tool));
        bench.tools.extend(named);
        bench
    }

    pub fn tool(&self, name: &str) -> Arc<dyn Tool> {
        Arc::clone(&self.tools[name])
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.context.workspace.join(path)
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path(path)).unwrap();
    }

    /// All files and folders with their content.
    pub fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.context.workspace.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path
                    .strip_prefix(&self.context.workspace)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                let content = path.is_file().then(|| fs::read(&path).unwrap());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
                all.insert(name, content);
            }
        }
        all
    }

    pub fn call_of(&self, reply: u32, tool: &str, args: &Value) -> Call {
        Call {
            id: id(reply),
            name: tool.to_owned(),
            args: args.clone(),
            attempt: 1,
        }
    }

    pub async fn make(&self, reply: u32, tool: &str, args: Value) -> Result<ToolOutput, ToolError> {
        self.tool(tool)
            .call(&self.call_of(reply, tool, &args), &self.context)
            .await
    }

    /// What a call says that must succeed.
    pub async fn call(&self, reply: u32, tool: &str, args: Value) -> String {
        self.make(reply, tool, args)
            .await
            .unwrap_or_else(|e| panic!("{tool}: {e}"))
            .text
    }

    /// What a model is told of a call that must be refused.
    pub async fn refused(&self, tool: &str, args: Value) -> String {
        match self.make(99, tool, args).await {
            Err(ToolError::Rejected(message)) => message,
            other => panic!("{tool} was not refused: {other:?}"),
        }
    }

    pub async fn undo(&self, reply: u32, tool: &str) -> Result<String, ToolError> {
        let call = self.call_of(reply, tool, &Value::Null);
        self.tool(tool).compensate(&call, &self.context).await
    }

    pub async fn preview(&self, tool: &str, args: Value) -> String {
        self.tool(tool)
            .preview(&self.call_of(98, tool, &args), &self.context)
            .await
            .unwrap()
    }

    /// `path: why` for each conflict of undoing `replies`, newest first.
    pub async fn conflicts(&self, replies: &[u32]) -> Vec<String> {
        let store = UndoStore::new(self.home.path().join("data/undo"));
        let calls: Vec<_> = replies.iter().copied().map(id).collect();
        let found = store
            .conflicts(self.context.run, &calls, &self.context.workspace)
            .await
            .unwrap();
        found
            .into_iter()
            .map(|Conflict { path, why }| format!("{path}: {why}"))
            .collect()
    }
}

/// Waits until `done`, and fails if that takes far longer than it should.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
