//! `read_history`: what a run did and saw, out of its journal.
//!
//! The kernel shows a model no more of a run than its window holds, and says where it left something out;
//! this is how the model gets at it.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::{
    context::READ_HISTORY,
    journal::Journal,
    label::Label,
    model::CallId,
    run::State,
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde::Deserialize;
use serde_json::json;

use crate::{builtin, workspace::rejected};

mod excerpt;
mod search;
mod steps;

/// Reads the journal of the run that calls it, and of no other.
pub struct ReadHistory {
    spec: ToolSpec,
    journal: Arc<dyn Journal>,
    output_bytes: usize,
}

#[derive(Deserialize)]
struct Args {
    step: Option<u32>,
    to_step: Option<u32>,
    call: Option<String>,
    from: Option<usize>,
    search: Option<String>,
}

impl ReadHistory {
    /// The tool over this journal. A call gives at most about `output_bytes` of text.
    pub fn new(journal: Arc<dyn Journal>, output_bytes: usize) -> Self {
        let spec = builtin::spec(
            READ_HISTORY,
            "Look up what earlier steps of this task said and gave, word for word, where it is left out above. Give one of step, call and search.",
            Effect::Pure,
            json!({
                "step": {"type": "integer", "minimum": 0, "description": "The number of a step; 0 is the task itself."},
                "to_step": {"type": "integer", "minimum": 0, "description": "The last step, to see several in short."},
                "call": {"type": "string", "description": "The result of one call, as in \"3.0\"."},
                "from": {"type": "integer", "minimum": 0, "description": "The byte of the result to begin at; 0 if left out."},
                "search": {"type": "string", "minLength": 1, "maxLength": 200, "description": "Words to find in all steps."},
            }),
            0,
        );
        Self {
            spec,
            journal,
            output_bytes: output_bytes.max(1024),
        }
    }
}

#[async_trait]
impl Tool for ReadHistory {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let args: Args = builtin::arguments(&call.args)?;
        let entries = self.journal.read(context.run, 1).await;
        let entries = entries.map_err(|why| {
            ToolError::Fatal(format!("the history of this run cannot be read: {why}"))
        })?;
        let state = State::fold(&entries);
        let room = self.output_bytes;
        match args {
            Args {
                call: Some(id),
                from,
                ..
            } => result(&state, &id, from.unwrap_or(0), room),
            Args {
                search: Some(words),
                ..
            } => search::search(&state, &words, room).map(ToolOutput::text),
            Args {
                step: Some(step),
                to_step: None,
                ..
            } => steps::one(&state, step, room).map(ToolOutput::text),
            Args { step, to_step, .. } => {
                steps::several(&state, step.unwrap_or(0), to_step, room).map(ToolOutput::text)
            }
        }
    }
}

/// A result from one byte on. It is trusted no more than when it came.
fn result(state: &State, id: &str, from: usize, room: usize) -> Result<ToolOutput, ToolError> {
    let id: CallId = id.parse().map_err(rejected)?;
    let (text, label) = steps::result(state, id)?;
    let label = match label {
        Label::User | Label::Own => None,
        label => Some(label.clone()),
    };
    Ok(ToolOutput {
        label,
        ..ToolOutput::text(excerpt::from(text, id, from, room)?)
    })
}
