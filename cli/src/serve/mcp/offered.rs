//! The tools as clients see them.

use std::{path::PathBuf, sync::Arc};

use gpak_kernel::tool::{Effect, ToolSpec};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde_json::{Value, json};

/// Gives a task to the agent.
pub const RUN: &str = "run_task";
/// Says where such a run stands.
pub const LOOK: &str = "look_at_run";

/// Arguments of [`RUN`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// In words.
    pub task: String,
    /// Where to work.
    pub workspace: Option<PathBuf>,
    /// As `provider/name`.
    pub model: Option<String>,
}

/// Arguments of [`LOOK`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// Its id.
    pub run: String,
}

/// A tool of the toolbox.
pub fn tool(spec: &ToolSpec) -> Tool {
    let hints = match spec.effect {
        Effect::Pure => ToolAnnotations::new().read_only(true),
        Effect::Idempotent => ToolAnnotations::new()
            .read_only(false)
            .idempotent(true)
            .destructive(false),
        // It can be undone, but not by the client.
        Effect::Reversible => ToolAnnotations::new().read_only(false).destructive(true),
        Effect::Irreversible => ToolAnnotations::new()
            .read_only(false)
            .destructive(true)
            .open_world(true),
    };
    Tool::new(
        spec.name.clone(),
        spec.description.clone(),
        object(spec.input.clone()),
    )
    .annotate(hints)
}

/// The tools that are not of the toolbox.
pub fn ours() -> [Tool; 2] {
    let run = json!({
        "type": "object",
        "properties": {
            "task": {"type": "string", "minLength": 1, "description": "What is to be done, in words."},
            "workspace": {"type": "string", "description": "The folder to work in, within the server's."},
            "model": {"type": "string", "description": "The model, as provider/name."},
        },
        "required": ["task"],
        "additionalProperties": false,
    });
    let look = json!({
        "type": "object",
        "properties": {"run": {"type": "string", "description": "The run's id."}},
        "required": ["run"],
        "additionalProperties": false,
    });
    let stand = json!({
        "type": "object",
        "properties": {
            "run": {"type": "string"},
            "status": {"type": "string"},
            "answer": {"type": "string"},
            "waits_for": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["run", "status"],
    });
    [
        Tool::new(
            RUN,
            "Have the agent do a task: it reads, thinks, calls tools and answers. It may take minutes.",
            object(run),
        )
        .with_raw_output_schema(object(stand.clone()))
        .annotate(ToolAnnotations::new().read_only(false).open_world(true)),
        Tool::new(
            LOOK,
            "Say where a run of the agent stands, and what it answered.",
            object(look),
        )
        .with_raw_output_schema(object(stand))
        .annotate(ToolAnnotations::new().read_only(true)),
    ]
}

fn object(schema: Value) -> Arc<JsonObject> {
    match schema {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}
