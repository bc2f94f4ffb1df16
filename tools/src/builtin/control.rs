//! Calls by which a model speaks to the machine. The machine answers them itself; they are listed as
//! tools so that a model is shown them, and its arguments checked, like any other.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::tool::{
    Call, Control, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec,
};
use serde_json::{Value, json};

use super::spec;

struct ControlTool(ToolSpec);

fn control(name: &str, description: &str, control: Control, properties: Value) -> Arc<dyn Tool> {
    let spec = spec(name, description, Effect::Pure, properties, 1);
    Arc::new(ControlTool(ToolSpec {
        control: Some(control),
        ..spec
    }))
}

/// `pin_fact`.
pub(super) fn pin_fact() -> Arc<dyn Tool> {
    control(
        "pin_fact",
        "Keep a fact in view, word for word, for the rest of the task. For what is needed later: earlier results may be left out of a long task.",
        Control::Pin,
        json!({"fact": {"type": "string", "minLength": 1, "maxLength": 400, "description": "The fact."}}),
    )
}

/// `update_plan`, `ask_user` and `finish`.
pub(super) fn all() -> [Arc<dyn Tool>; 3] {
    [
        control(
            "update_plan",
            "Write down the plan of a task with several parts, or tick off a part. Give the whole list each time.",
            Control::Plan,
            json!({"items": {
                "type": "array",
                "description": "The whole plan, in order.",
                "minItems": 1,
                "maxItems": 30,
                "items": {
                    "type": "object",
                    "properties": {
                        "text": {"type": "string", "description": "What is to be done."},
                        "status": {"type": "string", "enum": ["pending", "active", "done"]},
                    },
                    "required": ["text", "status"],
                    "additionalProperties": false,
                },
            }}),
        ),
        control(
            "ask_user",
            "Ask the user a question and wait for the answer. Only if you cannot go on without it.",
            Control::Ask,
            json!({"question": {"type": "string", "minLength": 1, "description": "The question."}}),
        ),
        control(
            "finish",
            "End the task, once all of it is done, and give the user the answer.",
            Control::Finish,
            json!({"answer": {"type": "string", "description": "The answer, or what was done."}}),
        ),
    ]
}

#[async_trait]
impl Tool for ControlTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        Err(ToolError::Fatal(format!(
            "{} is handled by the machine",
            self.0.name
        )))
    }
}
