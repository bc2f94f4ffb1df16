//! `run_script`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use gpak_kernel::tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use serde::Deserialize;
use serde_json::json;

use super::{
    Outcome, ScriptLimits, Staging,
    batch::Batch,
    desk::Desk,
    interpreter::{Interpreter, Ran, ScriptError},
    source,
    staged::{Leaves, Staged},
};
use crate::{
    UndoStore,
    builtin::{self, Options, arguments, blocking},
    text::Stop,
    wasm::{Cache, WasmError},
    workspace::{Inside, Workspace, rejected},
};

/// The name of the tool.
pub const RUN_SCRIPT: &str = "run_script";

/// Runs a script over the files of the workspace.
#[derive(Clone)]
pub struct RunScript {
    spec: Arc<ToolSpec>,
    interpreter: Interpreter,
    undo: UndoStore,
    protected: Arc<[std::path::PathBuf]>,
    limits: ScriptLimits,
}

#[derive(Deserialize)]
struct Args {
    script: String,
}

impl RunScript {
    /// The tool, with compiled code in `cache`.
    pub fn new(options: &Options, cache: Cache, limits: ScriptLimits) -> Self {
        let spec = builtin::spec(
            RUN_SCRIPT,
            "Run a JavaScript program over the files of the workspace: node's fs and path, and list(glob), read(path), lines(path), csv(path) (rows as objects), write(path, text), append, move, remove, exists, print. It has no network and starts no programs. Its changes are kept only if it ends without an error.",
            Effect::Reversible,
            json!({
                "script": {"type": "string", "minLength": 1, "description": "The program. What it prints, and the value of its last expression, is the result."},
            }),
            1,
        );
        let undo = UndoStore::new(&options.undo_dir);
        let mut protected = options.protected.clone();
        protected.push(undo.dir().to_owned());
        Self {
            spec: Arc::new(ToolSpec {
                resumable: true,
                ..spec
            }),
            interpreter: Interpreter::new(cache),
            undo,
            protected: protected.into(),
            limits,
        }
    }

    /// What a script would come to, without changing anything.
    ///
    /// # Errors
    /// [`ToolError::Fatal`] if the workspace cannot be read. A script that fails is an outcome.
    pub async fn trial(&self, script: &str, context: &ToolContext) -> Result<Outcome, ToolError> {
        let (this, script, context) = (self.clone(), script.to_owned(), context.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move |stop| {
            let ran = this.run(&script, &context, stop, &runtime)?;
            ran.outcome(&context, &this.protected)
        })
        .await
    }

    fn run(
        &self,
        script: &str,
        context: &ToolContext,
        stop: &Stop,
        runtime: &tokio::runtime::Handle,
    ) -> Result<RanScript, ToolError> {
        let script = source::runnable(script);
        let mut ran = self.run_as_is(&script, context, stop, runtime)?;
        let returns = |error: &ScriptError| {
            matches!(error, ScriptError::Thrown { message, .. }
                if message.starts_with("SyntaxError") && message.contains("return"))
        };
        if ran.result.as_ref().is_err_and(returns) {
            let script = source::in_a_function(&script);
            ran = self.run_as_is(&script, context, stop, runtime)?;
        }
        Ok(RanScript(ran))
    }

    fn run_as_is(
        &self,
        script: &str,
        context: &ToolContext,
        stop: &Stop,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Ran<Desk>, ToolError> {
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let desk = Desk {
            staged: Staged::new(workspace),
        };
        let running = self.interpreter.run(desk, script, &self.limits, stop);
        runtime.block_on(running).map_err(|why| unusable(&why))
    }

    /// Runs the script and puts its changes in place, or finishes what an earlier attempt began.
    fn make(
        &self,
        call: &Call,
        context: &ToolContext,
        stop: &Stop,
        runtime: &tokio::runtime::Handle,
    ) -> Result<String, ToolError> {
        let args: Args = arguments(&call.args)?;
        let _alone = self.undo.lock();
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let batch = Batch {
            undo: &self.undo,
            workspace: &workspace,
            call,
            context,
        };
        if let Some(said) = batch.finish()? {
            return Ok(said);
        }
        let ran = self.run(&args.script, context, stop, runtime)?;
        stop.check()?;
        let changes = ran.0.host.staged.changes.clone();
        let outcome = ran.outcome(context, &self.protected)?;
        if let Some(error) = &outcome.error {
            return Err(rejected(failed(error, &outcome.printed, &args.script)));
        }
        let said = outcome.report();
        if !outcome.changes.is_empty() {
            let really = |(path, _): &(Inside, Leaves)| {
                outcome.changes.iter().any(|change| change.path == *path)
            };
            batch.make(changes.into_iter().filter(really), &said)?;
        }
        Ok(said)
    }
}

struct RanScript(Ran<Desk>);

impl RanScript {
    /// What it came to: of what was staged, only what is not so already.
    fn outcome(
        self,
        context: &ToolContext,
        protected: &[std::path::PathBuf],
    ) -> Result<Outcome, ToolError> {
        let Ran {
            result,
            printed,
            host,
        } = self.0;
        let (value, error) = match result {
            Ok(value) => (Some(value).filter(|value| value != "null"), None),
            Err(error) => (None, Some(error)),
        };
        let staged = match error {
            None => host.staged.changes,
            Some(_) => BTreeMap::new(),
        };
        let disk = Staged::new(Workspace::open(&context.workspace, protected)?);
        let mut changes = Vec::new();
        for (path, leaves) in staged {
            let is = disk.look(&path)?;
            let was_folder = is == Some(super::staged::Is::Folder);
            let before = match is {
                Some(super::staged::Is::File { .. }) => Some(disk.read(&path)?.0),
                _ => None,
            };
            let (after, folder) = match leaves {
                Leaves::File { bytes, .. } => (Some(bytes), false),
                Leaves::Folder => (Some(Vec::new()), true),
                Leaves::Nothing => (None, was_folder),
            };
            let as_it_was = match folder {
                true => was_folder == after.is_some(),
                false => before == after,
            };
            if !as_it_was {
                changes.push(Staging {
                    path,
                    before,
                    after,
                    folder,
                });
            }
        }
        Ok(Outcome {
            printed,
            value,
            changes,
            error,
        })
    }
}

#[async_trait]
impl Tool for RunScript {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let (this, call, context) = (self.clone(), call.clone(), context.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move |stop| this.make(&call, &context, stop, &runtime))
            .await
            .map(ToolOutput::text)
    }

    async fn preview(&self, call: &Call, context: &ToolContext) -> Option<String> {
        let args: Args = arguments(&call.args).ok()?;
        let outcome = self.trial(&args.script, context).await;
        Some(match outcome {
            Ok(outcome) => match &outcome.error {
                Some(error) => format!("this call would fail: {error}"),
                None => outcome.report(),
            },
            Err(why) => format!("this call would fail: {why}"),
        })
    }

    async fn compensate(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        let (this, call, context) = (self.clone(), call.clone(), context.clone());
        blocking(move |_| {
            let _alone = this.undo.lock();
            let workspace = Workspace::open(&context.workspace, &this.protected)?;
            let batch = Batch {
                undo: &this.undo,
                workspace: &workspace,
                call: &call,
                context: &context,
            };
            batch.take_back()
        })
        .await
    }
}

fn unusable(why: &WasmError) -> ToolError {
    rejected(format!(
        "scripts cannot be run here ({why}); use the other tools"
    ))
}

/// What a model is told of a script that failed.
fn failed(error: &ScriptError, printed: &str, script: &str) -> String {
    let mut text = match error {
        ScriptError::Thrown {
            message,
            line: Some(line),
        } => {
            let at = usize::try_from(*line).unwrap_or_default().saturating_sub(1);
            let shown = script.lines().nth(at).unwrap_or_default().trim();
            format!("the script failed at line {line} (`{shown}`): {message}")
        }
        other => format!("the script failed: {other}"),
    };
    text.push_str("\nNothing was changed.");
    let printed = printed.trim_end();
    if !printed.is_empty() {
        text.push_str(" It had printed:\n");
        text.push_str(printed);
    }
    text
}
