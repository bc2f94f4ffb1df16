//! Drives the MCP client as a run does, for the conformance tests of MCP: connects to the server at a URL,
//! lists its tools, and calls each. `MCP_CONFORMANCE_CONTEXT` may name the calls to make instead.
//! `cargo run --example mcp_client -- URL`

use std::{collections::BTreeMap, env, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    run::{Answer, Human, Waiting},
    tool::{Call, Tool, ToolContext},
};
use gpak_tools::mcp::{Options, ServerConfig, Servers, Transport};
use serde_json::{Map, Value, json};

/// The name of the server, which its tools are named after.
const SERVER: &str = "tested";

/// Somebody who takes every default, and agrees where there is none.
struct Agreeable;

#[async_trait]
impl Human for Agreeable {
    async fn ask(&self, waiting: &Waiting, _: Option<&str>) -> Option<Answer> {
        let answer = match waiting {
            Waiting::Question { text, .. } if text.trim_end().ends_with(']') => "",
            _ => "yes",
        };
        Some(Answer::Text(answer.to_owned()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = env::args().nth(1) else {
        return Err("usage: mcp_client URL".into());
    };
    let folder = tempfile::tempdir()?;
    let config = ServerConfig {
        name: SERVER.parse()?,
        transport: Transport::Http {
            url,
            headers: BTreeMap::new(),
            token: None,
        },
        start_timeout: Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        tools: Vec::new(),
    };
    let options = Options {
        folder: folder.path().to_owned(),
        output_bytes: 8_000,
        yes: false,
        progress: Box::new(|_| {}),
    };
    let servers = Servers::new(vec![config], options);
    servers.ask(Arc::new(Agreeable));
    for health in servers.list_new().await {
        println!("speaks {}, has {} tools", health.protocol?, health.tools);
        health
            .left_out
            .iter()
            .for_each(|why| println!("left out: {why}"));
    }
    let context = ToolContext {
        run: RunId::from_u128(1),
        workspace: folder.path().to_owned(),
        trust: Label::Own,
    };
    let tools = servers.tools();
    for (number, (tool, args)) in (0..).zip(calls(&tools)?) {
        let call = Call {
            id: CallId {
                reply: number,
                index: 0,
            },
            name: tool.spec().name.clone(),
            args,
            attempt: 1,
        };
        match tool.call(&call, &context).await {
            Ok(output) => println!("{}: {}", call.name, output.text),
            Err(why) => println!("{} failed: {why}", call.name),
        }
    }
    servers.close().await;
    Ok(())
}

/// A tool, and what to call it with.
type Wanted<'a> = (&'a Arc<dyn Tool>, Value);

/// The calls that the tests ask for, or one of each tool.
fn calls(tools: &[Arc<dyn Tool>]) -> Result<Vec<Wanted<'_>>, Box<dyn Error>> {
    let context = match env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Value::Null,
    };
    let Some(wanted) = context.get("toolCalls").and_then(Value::as_array) else {
        let call = |tool| (tool, arguments(tool, tools));
        return Ok(tools.iter().map(call).collect());
    };
    let named = |wanted: &Value| {
        let name = wanted.get("name")?.as_str()?;
        let name = format!("{SERVER}.{name}");
        let tool = tools.iter().find(|tool| tool.spec().name == name)?;
        Some((tool, wanted.get("arguments")?.clone()))
    };
    Ok(wanted.iter().filter_map(named).collect())
}

/// Simple values for what a tool must be given. A schema that it is to be given is that of the first tool.
fn arguments(tool: &Arc<dyn Tool>, tools: &[Arc<dyn Tool>]) -> Value {
    let schema = &tool.spec().input;
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let first = tools.first().map(|tool| &tool.spec().input);
    let value = |name: &str| match (name, first) {
        ("schema", Some(first)) => first.clone(),
        _ => simple(schema.get("properties").and_then(|all| all.get(name))),
    };
    let values: Map<_, _> = names.map(|name| (name.to_owned(), value(name))).collect();
    Value::Object(values)
}

fn simple(schema: Option<&Value>) -> Value {
    match schema.and_then(|schema| schema.get("type")?.as_str()) {
        Some("integer" | "number") => json!(2),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        Some("null") => Value::Null,
        _ => json!("text"),
    }
}
