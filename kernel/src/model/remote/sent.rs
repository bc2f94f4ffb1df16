//! Whether a request says what it was to say.

use serde_json::Value;

use super::Names;
use crate::model::{ModelError, Request};

/// Where the tools are in a provider's request, as JSON pointers (RFC 6901).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// The name within one of the body's `tools`, where calls are native.
    pub(crate) name: &'static str,
    /// The text in which the tools are explained, where they are not.
    pub(crate) explained: &'static str,
}

/// Fails if a tool of `request` is not in the `body`: a model that is not shown a tool cannot call it,
/// and everything else would seem to work.
pub(crate) fn check_sent(
    body: &Value,
    request: &Request,
    names: &Names,
    native: bool,
    places: Places,
) -> Result<(), ModelError> {
    let tools = body.get("tools").and_then(Value::as_array);
    let text = body.pointer(places.explained).and_then(Value::as_str);
    let is_sent = |name: &str| {
        if native {
            let sent = names.sent(name);
            let is_it = |tool: &Value| {
                tool.pointer(places.name).and_then(Value::as_str) == Some(sent.as_str())
            };
            return tools.is_some_and(|tools| tools.iter().any(is_it));
        }
        text.is_some_and(|text| text.contains(&format!("- {name}(")))
    };
    match request.tools.iter().find(|tool| !is_sent(&tool.name)) {
        None => Ok(()),
        Some(tool) => Err(ModelError::Unusable {
            message: format!(
                "the tool {} is missing in the request to the model's server; please report it",
                tool.name
            ),
        }),
    }
}
