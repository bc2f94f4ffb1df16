//! `run_script`.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use gpak_kernel::tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use serde::Deserialize;
use serde_json::json;

use super::{
    Outcome, ScriptLimits,
    desk::Desk,
    hint,
    interpreter::{Interpreter, Program, Ran, ScriptError},
    nothing::Nothing,
    source,
};
use crate::{
    UndoStore,
    builtin::{self, Options, arguments, blocking},
    staged::{Staged, fresh_record, put_back},
    text::Stop,
    wasm::{Cache, WasmError},
    workspace::{Temp, Workspace, rejected},
};

/// The name of the tool.
pub const RUN_SCRIPT: &str = "run_script";

/// What the tool says of itself.
const DESCRIPTION: &str = "Run a JavaScript program over the files of the folder. It has these functions: \
list(glob) gives the paths of files, as list(\"docs/**/*.md\") or list(); read(path) gives the text of a file, \
lines(path) an array of its lines, csv(path) an array of its rows as objects; replace(path, before, after) \
changes the first place of the file that says before, replaceAll(path, before, after) all of them; write(path, text), append(path, text), move(from, to), remove(path), \
exists(path), print(value). Everything else is plain JavaScript; node's fs and path are there. It has no \
network and starts no programs. Its changes are kept only if it ends without an error.";

/// What is said of a program that prints what it was told.
const ONLY_TELLS: &str = "the program looks at no file and prints a number that is written in it, so nothing \
was found out. Let it read the files that matter, with lines(path), read(path) or csv(path), and work the number out.";

/// What is said below a failure.
const ANEW: &str = "Nothing was changed. Write the whole program in another way.";

/// Runs a script over the files of the workspace.
#[derive(Clone)]
pub struct RunScript {
    spec: Arc<ToolSpec>,
    interpreter: Interpreter<Desk>,
    undo: UndoStore,
    protected: Arc<[PathBuf]>,
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
            DESCRIPTION,
            Effect::Reversible,
            json!({
                "script": {"type": "string", "minLength": 1, "contentMediaType": "text/javascript", "description": "The program. What it prints, and the value of its last expression, is the result."},
            }),
            1,
        );
        Self {
            spec: Arc::new(ToolSpec {
                resumable: true,
                ..spec
            }),
            interpreter: Interpreter::new(cache),
            undo: UndoStore::new(&options.undo_dir),
            protected: options.closed().into(),
            limits,
        }
    }

    /// What a script would come to, without changing anything.
    ///
    /// # Errors
    /// [`ToolError::Fatal`] if the workspace cannot be read, [`ToolError::Rejected`] if the script only prints numbers
    /// that are written in it. A script that fails is an outcome.
    pub async fn trial(&self, script: &str, context: &ToolContext) -> Result<Outcome, ToolError> {
        let (this, script, context) = (self.clone(), script.to_owned(), context.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move |stop| {
            let ran = this.run(&script, &context, stop, &runtime)?;
            Ok(came_to(ran)?.0)
        })
        .await
    }

    fn run(
        &self,
        script: &str,
        context: &ToolContext,
        stop: &Stop,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Ran<Desk>, ToolError> {
        if source::only_tells(script) {
            return Err(rejected(ONLY_TELLS.to_owned()));
        }
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
        Ok(ran)
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
            read: Vec::new(),
        };
        let program = Program {
            before: None,
            source: script,
            function: None,
        };
        let running = self.interpreter.run(desk, program, &self.limits, stop);
        runtime.block_on(running).map_err(|why| unusable(&why))
    }

    /// Runs the script and puts its changes in place. What an earlier attempt began and did not finish is
    /// taken back first.
    fn make(
        &self,
        call: &Call,
        context: &ToolContext,
        stop: &Stop,
        runtime: &tokio::runtime::Handle,
    ) -> Result<ToolOutput, ToolError> {
        let args: Args = arguments(&call.args)?;
        if let Some(record) = self.undo.get(&context.run, &call.id)? {
            if !record.said.is_empty() {
                return Ok(ToolOutput::text(record.said));
            }
            let _alone = self.undo.lock();
            let workspace = Workspace::open(&context.workspace, &self.protected)?;
            put_back(
                &workspace,
                &self.undo,
                &record,
                &Temp::new(&context.run, &call.id),
            )?;
        }
        let ran = self.run(&args.script, context, stop, runtime)?;
        stop.check()?;
        let (outcome, Desk { staged, read }) = came_to(ran)?;
        if let Some(error) = &outcome.error {
            return Err(rejected(failed(error, &outcome.printed, &args.script)));
        }
        let nothing = Nothing::of(&outcome);
        let withheld = !context.may_change && !outcome.changes.is_empty();
        let said = match nothing {
            Some(nothing) => nothing.told(&outcome, &read),
            None if withheld => outcome.withheld(),
            None => outcome.report(),
        };
        if nothing == Some(Nothing::Missing) {
            return Err(rejected(format!("{said}\n{ANEW}")));
        }
        let mut record = fresh_record(&call.name);
        if !withheld {
            staged.put_in_place(&self.undo, &context.run, &call.id, &mut record)?;
        }
        record.said = said;
        self.undo.put(&context.run, &call.id, &record)?;
        Ok(ToolOutput {
            empty: nothing.is_some(),
            withheld,
            ..ToolOutput::text(record.said)
        })
    }

    fn take_back(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        let Some(mut record) = self.undo.get(&context.run, &call.id)? else {
            return Err(rejected(format!(
                "call {} cannot be undone: what undo needs was not kept",
                call.id
            )));
        };
        if record.undone {
            return Ok("the script was undone already".to_owned());
        }
        let _alone = self.undo.lock();
        let workspace = Workspace::open(&context.workspace, &self.protected)?;
        let temp = Temp::new(&context.run, &call.id);
        let said = put_back(&workspace, &self.undo, &record, &temp)?;
        record.undone = true;
        self.undo.put(&context.run, &call.id, &record)?;
        Ok(match said.as_slice() {
            [] => "nothing to undo: the script changed nothing".to_owned(),
            said => said.join("; "),
        })
    }
}

/// What a script came to, and what it staged and read.
fn came_to(ran: Ran<Desk>) -> Result<(Outcome, Desk), ToolError> {
    let Ran {
        result,
        printed,
        host: desk,
    } = ran;
    let (value, error) = match result {
        Ok(value) => (Some(value).filter(|value| value != "null"), None),
        Err(error) => (None, Some(error)),
    };
    let changes = match error {
        None => desk.staged.differences()?,
        Some(_) => Vec::new(),
    };
    let outcome = Outcome {
        printed,
        value,
        changes,
        error,
    };
    Ok((outcome, desk))
}

#[async_trait]
impl Tool for RunScript {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let (this, call, context) = (self.clone(), call.clone(), context.clone());
        let runtime = tokio::runtime::Handle::current();
        blocking(move |stop| this.make(&call, &context, stop, &runtime)).await
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
        blocking(move |_| this.take_back(&call, &context)).await
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
            format!("the program failed at line {line} (`{shown}`): {message}")
        }
        other => format!("the program failed: {other}"),
    };
    if let ScriptError::Thrown { message, .. } = error
        && let Some(hint) = hint::of(message, script)
    {
        text.push_str(&hint);
    }
    text.push('\n');
    text.push_str(ANEW);
    let printed = printed.trim_end();
    if !printed.is_empty() {
        text.push_str(" It had printed:\n");
        text.push_str(printed);
    }
    text
}
