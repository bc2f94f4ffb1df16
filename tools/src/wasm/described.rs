//! What a component says of its tools, and whether that can be believed.

use gpak_kernel::tool::{Effect, ToolSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{WasmError, bindings::gpak::tool::types, manifest::name_fault};
use crate::schema;

/// Tools in one package, and characters of a description.
const TOOLS: usize = 64;
const DESCRIPTION: usize = 2000;

/// A tool of a package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// What a model and the gate are told.
    pub spec: ToolSpec,
    /// The JSON Schema of its results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Whether the component itself undoes its calls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub can_compensate: bool,
}

/// The tools that a component described; `compensates` tells whether it exports `compensate`.
pub(crate) fn described(
    tools: Vec<types::ToolSpec>,
    compensates: bool,
) -> Result<Vec<Described>, WasmError> {
    if tools.is_empty() || tools.len() > TOOLS {
        return Err(WasmError::Description(format!(
            "the component describes {} tools; a package has 1 to {TOOLS}",
            tools.len()
        )));
    }
    let mut all: Vec<Described> = Vec::new();
    for tool in tools {
        let tool = one(tool, compensates).map_err(WasmError::Description)?;
        if all.iter().any(|other| other.spec.name == tool.spec.name) {
            return Err(WasmError::Description(format!(
                "the component describes two tools named {}",
                tool.spec.name
            )));
        }
        all.push(tool);
    }
    Ok(all)
}

/// What is wrong with the words and the schemas of a tool, if something is.
pub(crate) fn check(
    name: &str,
    description: &str,
    input: &Value,
    output: Option<&Value>,
) -> Result<(), String> {
    if let Some(why) = name_fault(name) {
        return Err(why);
    }
    let length = description.trim().chars().count();
    if length == 0 || length > DESCRIPTION {
        return Err(format!(
            "the description of {name} has {length} characters; it has 1 to {DESCRIPTION}"
        ));
    }
    schema::check(input).map_err(|why| format!("the input schema of {name} {why}"))?;
    if input.get("type").and_then(Value::as_str) != Some("object") {
        return Err(format!(
            "the input schema of {name} is not of \"type\": \"object\", as arguments have names"
        ));
    }
    let output = output.map(schema::check).transpose();
    output.map_err(|why| format!("the output schema of {name} {why}"))?;
    Ok(())
}

fn one(tool: types::ToolSpec, compensates: bool) -> Result<Described, String> {
    let name = &tool.name;
    let description = tool.description.trim();
    let input = schema::parse(&tool.input_schema)
        .map_err(|why| format!("the input schema of {name} {why}"))?;
    let output = tool.output_schema.as_deref().map(schema::parse).transpose();
    let output = output.map_err(|why| format!("the output schema of {name} {why}"))?;
    check(name, description, &input, output.as_ref())?;
    if tool.can_compensate && !compensates {
        return Err(format!(
            "{name} says that it can compensate, and the component exports no `compensate` (world undoable-tool)"
        ));
    }
    let effect = match tool.effect {
        types::Effect::Pure => Effect::Pure,
        types::Effect::Idempotent => Effect::Idempotent,
        types::Effect::Reversible => Effect::Reversible,
        types::Effect::Irreversible => Effect::Irreversible,
    };
    if tool.can_compensate && effect != Effect::Reversible {
        return Err(format!(
            "{name} says that it can compensate, and that it is not reversible"
        ));
    }
    Ok(Described {
        spec: ToolSpec {
            // What only the host changes is taken back before it is made again.
            resumable: tool.resumable || (effect == Effect::Reversible && !tool.can_compensate),
            ..ToolSpec::new(tool.name.clone(), description, input, effect)
        },
        output,
        can_compensate: tool.can_compensate,
    })
}
