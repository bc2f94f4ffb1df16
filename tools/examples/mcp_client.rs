//! Drives the MCP client as a run does, for the conformance tests of MCP: connects to the server at a URL,
//! lists its tools, and calls each. `MCP_CONFORMANCE_CONTEXT` may name the calls to make instead. Where it is
//! told to log in, it does what it is told, as a user would, and tries again; its browser follows redirects
//! and nothing else. `cargo run --example mcp_client -- URL`

use std::{collections::BTreeMap, env, error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    run::{Answer, Human, Waiting},
    tool::{Call, Tool, ToolContext},
};
use gpak_tools::mcp::{Grant, Login, OAuth, Options, ServerConfig, ServerName, Servers, Transport};
use serde_json::{Map, Value, json};

/// The name of the server, which its tools are named after.
const SERVER: &str = "tested";
/// How often it logs in where it is told to again and again.
const LOGINS: usize = 2;
/// The page that the tests take for one that says who a client is.
const PAGE: &str = "https://conformance-test.local/client-metadata.json";

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

/// A user, and how often they have logged in.
struct User {
    servers: Servers,
    name: ServerName,
    logins: usize,
}

impl User {
    /// Does what an error tells the user to do: logs in, and asks for the scopes that it names. Whether it
    /// told them so, and they did.
    async fn obeys(&mut self, error: &str) -> Result<bool, Box<dyn Error>> {
        let command = format!("gpak tools login {SERVER}");
        let Some((_, told)) = error.split_once(&command) else {
            return Ok(false);
        };
        if self.logins == LOGINS {
            return Ok(false);
        }
        self.logins += 1;
        let told = told.split('`').next().unwrap_or_default();
        let scopes = told.split(" --scope ").skip(1).map(str::to_owned);
        let asked = Login {
            scopes: scopes.collect(),
            patience: Duration::from_secs(60),
            open: &browse,
        };
        let logged_in = self.servers.log_in(&self.name, asked).await?;
        println!("logged in: {logged_in:?}");
        Ok(true)
    }
}

/// Opens an address in a browser.
fn browse(address: &str) {
    let address = address.to_owned();
    tokio::spawn(async move {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(without_tls()?)
            .build()?;
        let page = client.get(address).send().await?.text().await?;
        println!("the browser shows: {page}");
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });
}

/// The tests listen on this machine only.
fn without_tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(rustls::RootCertStore::empty());
    Ok(config.with_no_client_auth())
}

/// How the tests say that gpak is known.
fn known(context: &Value) -> OAuth {
    let scenario = env::var("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let text = |name: &str| context.get(name).and_then(Value::as_str).map(str::to_owned);
    OAuth {
        grant: match scenario.contains("client-credentials") {
            true => Grant::Client,
            false => Grant::Person,
        },
        client_id: text("client_id"),
        client_secret: text("client_secret")
            .map(|secret| -> gpak_tools::mcp::Token { Arc::new(move || Ok(secret.clone())) }),
        client_metadata_url: scenario.contains("cimd").then(|| PAGE.to_owned()),
        ..OAuth::default()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = env::args().nth(1) else {
        return Err("usage: mcp_client URL".into());
    };
    let wanted = match env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(text) => serde_json::from_str(&text)?,
        Err(_) => Value::Null,
    };
    let folder = tempfile::tempdir()?;
    let config = ServerConfig {
        name: SERVER.parse()?,
        transport: Transport::Http {
            url,
            headers: BTreeMap::new(),
            token: None,
            oauth: known(&wanted),
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
    let mut user = User {
        servers: Servers::new(vec![config], options),
        name: SERVER.parse()?,
        logins: 0,
    };
    user.servers.ask(Arc::new(Agreeable));
    loop {
        let health = user.servers.look().await.pop();
        let health = health.ok_or("there is no server")?;
        match health.protocol {
            Ok(protocol) => println!("speaks {protocol}, has {} tools", health.tools),
            Err(why) => {
                println!("{why}");
                if user.obeys(&why.to_string()).await? {
                    continue;
                }
                return Err(why.into());
            }
        }
        health
            .left_out
            .iter()
            .for_each(|why| println!("left out: {why}"));
        break;
    }
    let context = ToolContext {
        run: RunId::from_u128(1),
        workspace: folder.path().to_owned(),
        trust: Label::Own,
        may_change: true,
    };
    let tools = user.servers.tools();
    for (number, (tool, args)) in (0..).zip(calls(&tools, &wanted)) {
        let call = Call {
            id: CallId {
                reply: number,
                index: 0,
            },
            name: tool.spec().name.clone(),
            args,
            attempt: 1,
        };
        loop {
            match tool.call(&call, &context).await {
                Ok(output) => println!("{}: {}", call.name, output.text),
                Err(why) => {
                    println!("{} failed: {why}", call.name);
                    if user.obeys(&why.to_string()).await? {
                        continue;
                    }
                }
            }
            break;
        }
    }
    user.servers.close().await;
    Ok(())
}

/// A tool, and what to call it with.
type Wanted<'a> = (&'a Arc<dyn Tool>, Value);

/// The calls that the tests ask for, or one of each tool.
fn calls<'a>(tools: &'a [Arc<dyn Tool>], context: &Value) -> Vec<Wanted<'a>> {
    let Some(wanted) = context.get("toolCalls").and_then(Value::as_array) else {
        let call = |tool| (tool, arguments(tool, tools));
        return tools.iter().map(call).collect();
    };
    let named = |wanted: &Value| {
        let name = wanted.get("name")?.as_str()?;
        let name = format!("{SERVER}.{name}");
        let tool = tools.iter().find(|tool| tool.spec().name == name)?;
        Some((tool, wanted.get("arguments")?.clone()))
    };
    wanted.iter().filter_map(named).collect()
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
