//! Tools whose calls the client makes itself.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::tool::{
    Call, Control, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec,
};

/// A tool of the client's: a call of it is a question to the client, for whose answer the run waits.
struct ClientTool(ToolSpec);

/// These tools, for a toolbox.
pub fn client_tools(specs: &[ToolSpec]) -> Vec<Arc<dyn Tool>> {
    let tools = specs.iter().cloned();
    tools
        .map(|spec| Arc::new(ClientTool(spec)) as Arc<dyn Tool>)
        .collect()
}

/// What a tool of the client's says of itself.
pub fn spec(name: String, description: String, input: serde_json::Value) -> ToolSpec {
    ToolSpec {
        control: Some(Control::Ask),
        // Whatever it does, the client does it, and asks whom it must.
        ..ToolSpec::new(name, description, input, Effect::Pure)
    }
}

#[async_trait]
impl Tool for ClientTool {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let message = format!("{} is called by the client", self.0.name);
        Err(ToolError::Fatal(message))
    }
}
