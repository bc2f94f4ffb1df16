//! Calls of other tools, through the gate of the run.

use gpak_kernel::{run::nested, tool::ToolOutput};
use serde_json::Value;

use super::{Host, failure};
use crate::wasm::bindings::gpak::tool::{
    invoke_tool,
    types::{Failure, FailureKind},
};

impl invoke_tool::Host for Host {
    async fn invoke(
        &mut self,
        tool: String,
        input: String,
    ) -> wasmtime::Result<Result<String, Failure>> {
        Ok(self.nested(&tool, &input).await)
    }
}

impl Host {
    async fn nested(&mut self, tool: &str, input: &str) -> Result<String, Failure> {
        if !self.grant().invoke.iter().any(|granted| granted == tool) {
            let message = format!("calling {tool} was not granted");
            return Err(failure(FailureKind::Denied, message));
        }
        let args: Value = serde_json::from_str(input)
            .map_err(|why| failure(FailureKind::Invalid, format!("the input is no JSON: {why}")))?;
        let called = nested::call(tool, args).await;
        let ToolOutput {
            text, data, label, ..
        } = called.map_err(|why| failure(FailureKind::Unavailable, why.to_string()))?;
        // What came from the network stays from there.
        if let Some(gpak_kernel::label::Label::Web(host)) = label {
            self.web = Some(host);
        }
        Ok(data.unwrap_or(Value::String(text)).to_string())
    }
}
