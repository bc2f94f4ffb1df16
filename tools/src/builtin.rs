//! The tools that come with gpak.
//!
//! Written for small models: paths in what they say are relative to the workspace and can be used
//! as they are, what was left out is said with the call that shows it, and an error names the call
//! that would have been right.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::{
    run::Remembering,
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    text::Stop,
    undo::UndoStore,
    workspace::{Workspace, rejected},
};

mod change;
mod control;
mod files;
mod memory;
mod search;
mod shell;

pub(crate) use change::{restore, tidy};
pub use shell::Reach;

/// Bytes of the list of files that is told with a task.
const OVERVIEW: usize = 2048;

/// What the tools need to know of the house they are in.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where what undo needs is kept.
    pub undo_dir: PathBuf,
    /// gpak's own folders and files (configuration, data, cache), absolute: no tool for files reads or writes
    /// them, whether they exist or not. The undo folder is always among them.
    pub protected: Vec<PathBuf>,
    /// How much text a call that looks at files gives, in bytes.
    pub output_bytes: usize,
    /// Bounds of `run_command`.
    pub command: CommandLimits,
    /// Where commands may write.
    pub reach: Reach,
}

/// Bounds of `run_command`.
#[derive(Debug, Clone, Copy)]
pub struct CommandLimits {
    /// How long a command may take if the call does not say.
    pub timeout: Duration,
    /// How long a call may say.
    pub longest: Duration,
    /// How much of what it prints is kept, in bytes. The kernel shows a model less, and keeps all of it at
    /// hand.
    pub output_bytes: usize,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            longest: Duration::from_secs(600),
            output_bytes: 1 << 20,
        }
    }
}

impl Options {
    /// The usual ones, with the undo folder `undo_dir`.
    pub fn new(undo_dir: impl Into<PathBuf>) -> Self {
        Self {
            undo_dir: undo_dir.into(),
            protected: Vec::new(),
            output_bytes: 8 * 1024,
            command: CommandLimits::default(),
            reach: Reach::default(),
        }
    }

    /// All folders and files that no tool for files reads or writes.
    pub(crate) fn closed(&self) -> Vec<PathBuf> {
        let mut closed = self.protected.clone();
        closed.push(self.undo_dir.clone());
        closed
    }
}

/// All built-in tools, in the order that a model is shown.
pub fn all(options: &Options) -> Vec<Arc<dyn Tool>> {
    let undo = UndoStore::new(&options.undo_dir);
    let desk = Arc::new(Desk {
        undo,
        protected: options.closed(),
        output_bytes: options.output_bytes.max(1024),
    });
    let mut tools: Vec<Arc<dyn Tool>> = vec![
        Arc::new(Reading::new(&desk, files::list::spec(), files::list::list)),
        Arc::new(Reading::new(&desk, files::read::spec(), files::read::read)),
        Arc::new(Reading::new(&desk, search::spec(), search::search)),
        Arc::new(change::Changing::new(
            &desk,
            files::write::spec(),
            files::write::plan,
        )),
        Arc::new(change::Changing::new(
            &desk,
            files::edit::spec(),
            files::edit::plan,
        )),
        Arc::new(change::Changing::new(
            &desk,
            files::relocate::spec(),
            files::relocate::plan,
        )),
        Arc::new(change::Changing::new(
            &desk,
            files::delete::spec(),
            files::delete::plan,
        )),
    ];
    tools.extend(without_files(options));
    tools
}

/// The built-in tools without those for files, for a model that has another way to these.
pub fn without_files(options: &Options) -> Vec<Arc<dyn Tool>> {
    let (reach, closed) = (options.reach.clone(), options.closed());
    let mut tools: Vec<Arc<dyn Tool>> = vec![Arc::new(shell::RunCommand::new(
        options.command,
        reach,
        closed,
    ))];
    tools.extend(control::all());
    tools
}

/// `pin_fact`, by which a model keeps a fact in view. One more tool costs a small model more than it gives.
pub fn pin_fact() -> Arc<dyn Tool> {
    control::pin_fact()
}

/// `remember`, `recall` and `forget`.
pub fn memory(remembering: &Remembering) -> Vec<Arc<dyn Tool>> {
    memory::all(remembering)
}

/// What all tools for files share.
pub(crate) struct Desk {
    pub(crate) undo: UndoStore,
    protected: Vec<PathBuf>,
    pub(crate) output_bytes: usize,
}

impl Desk {
    pub(crate) fn open(&self, context: &ToolContext) -> Result<Workspace, ToolError> {
        Workspace::open(&context.workspace, &self.protected)
    }
}

/// What a tool that only reads is given.
pub(crate) struct Reader<'a> {
    pub(crate) workspace: Workspace,
    pub(crate) output_bytes: usize,
    pub(crate) stop: &'a Stop,
}

/// What is in a workspace, for somebody who is about to work in it; None if that is too much, or nothing.
pub(crate) fn overview(workspace: Workspace) -> Result<Option<String>, ToolError> {
    files::list::overview(&Reader {
        workspace,
        output_bytes: OVERVIEW,
        stop: &Stop::default(),
    })
}

type Read = fn(&Reader<'_>, &Value) -> Result<String, ToolError>;

/// A tool that only reads.
struct Reading {
    spec: ToolSpec,
    desk: Arc<Desk>,
    read: Read,
}

impl Reading {
    fn new(desk: &Arc<Desk>, spec: ToolSpec, read: Read) -> Self {
        Self {
            spec,
            desk: Arc::clone(desk),
            read,
        }
    }
}

#[async_trait]
impl Tool for Reading {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let (desk, read) = (Arc::clone(&self.desk), self.read);
        let (args, context) = (call.args.clone(), context.clone());
        blocking(move |stop| {
            let workspace = desk.open(&context)?;
            read(
                &Reader {
                    workspace,
                    output_bytes: desk.output_bytes,
                    stop,
                },
                &args,
            )
        })
        .await
        .map(ToolOutput::text)
    }
}

/// Does blocking work on a thread for it. Dropping the future stops work that looks at its [`Stop`].
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    struct SetOnDrop(Stop);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let guard = SetOnDrop(Stop::default());
    let stop = guard.0.clone();
    let work = move || {
        stop.check()?;
        work(&stop)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(ToolError::Fatal(format!(
            "a tool broke down: {e}; please report this"
        ))),
    }
}

/// The spec of a built-in tool; `required` names its first `required` properties.
pub(crate) fn spec(
    name: &str,
    description: &str,
    effect: Effect,
    properties: Value,
    required: usize,
) -> ToolSpec {
    let names: Vec<_> = properties
        .as_object()
        .map(|all| all.keys().take(required).cloned().collect())
        .unwrap_or_default();
    ToolSpec {
        resumable: effect == Effect::Reversible,
        ..ToolSpec::taking(name, description, properties, &names, effect)
    }
}

/// A call's arguments, which the gate checked against the tool's schema.
pub(crate) fn arguments<T: DeserializeOwned>(args: &Value) -> Result<T, ToolError> {
    T::deserialize(args).map_err(|e| rejected(format!("the arguments are wrong: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_a_call_stops_its_work() {
        let (started, mut has_started) = tokio::sync::mpsc::channel(1);
        let (stopped, has_stopped) = std::sync::mpsc::channel();
        let work = blocking(move |stop| {
            started
                .blocking_send(())
                .map_err(|e| rejected(e.to_string()))?;
            while stop.check().is_ok() {
                std::thread::yield_now();
            }
            stopped.send(()).map_err(|e| rejected(e.to_string()))
        });
        tokio::select! {
            done = work => panic!("it ended by itself: {done:?}"),
            _ = has_started.recv() => {}
        }
        has_stopped
            .recv_timeout(Duration::from_secs(60))
            .expect("the work stops");
    }
}
