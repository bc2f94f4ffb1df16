//! A tool of a server, as the kernel calls it.

use std::sync::Arc;

use async_trait::async_trait;
use gpak_kernel::tool::{Call, Tool, ToolContext, ToolError, ToolOutput, ToolSpec};
use serde_json::Value;

use super::{catalogue::Described, server::Server};

/// One tool.
pub(super) struct McpTool {
    server: Arc<Server>,
    described: Described,
    spec: ToolSpec,
}

impl McpTool {
    pub(super) fn new(server: Arc<Server>, described: Described) -> Self {
        let spec = described.spec(&server.config.name);
        Self {
            server,
            described,
            spec,
        }
    }
}

#[async_trait]
impl Tool for McpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let args = match &call.args {
            Value::Object(args) => args.clone(),
            // The gate lets nothing else through.
            _ => serde_json::Map::new(),
        };
        self.server.call(&self.described, args).await
    }

    async fn preview(&self, call: &Call, _: &ToolContext) -> Option<String> {
        serde_json::to_string_pretty(&call.args).ok()
    }
}
