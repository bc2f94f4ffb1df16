//! What a server says of its models.

use serde_json::Value;

use super::{ModelError, Options};
use crate::model::remote::{self, Failure, Server};

/// Members by which servers say the window in their list of models: llama.cpp (in `meta`, what is
/// served first, then what was trained), LM Studio, vLLM, and gateways.
const MEMBERS: [&str; 7] = [
    "/meta/n_ctx",
    "/loaded_context_length",
    "/max_model_len",
    "/context_length",
    "/context_window",
    "/max_context_length",
    "/meta/n_ctx_train",
];

/// What is known of a model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) window: Option<u32>,
    pub(super) fingerprint: String,
}

/// The list of models.
pub(super) async fn listed(server: &Server) -> Result<Vec<Value>, Failure> {
    let list = server.get("models").await?;
    let models = list.get("data").and_then(Value::as_array);
    Ok(models.cloned().unwrap_or_default())
}

/// Their names, sorted.
pub(super) fn names(listed: &[Value]) -> Vec<String> {
    let names = listed.iter().filter_map(|model| model.get("id")?.as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// The model of the options: its name, its window as the server says it or as it was given, the
/// smaller one.
///
/// # Errors
/// If the server cannot be reached or wants another key, or if no model is named and it has not exactly
/// one.
pub(super) async fn find(server: &Server, options: &Options) -> Result<Known, ModelError> {
    let listed = match listed(server).await {
        Ok(listed) => listed,
        // Not every gateway lists its models.
        Err(failure) if matches!(failure.status, Some(400 | 404 | 405 | 501)) => Vec::new(),
        Err(failure) => return Err(failure.error),
    };
    let name = match (options.model.as_str(), listed.as_slice()) {
        ("", [only]) => only
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        ("", _) => {
            return Err(remote::missing(
                server,
                "",
                "no model is named",
                &names(&listed),
            ));
        }
        (name, _) => name.to_owned(),
    };
    let is_it = |model: &&Value| {
        let aliases = model.get("aliases").and_then(Value::as_array);
        let is_alias = aliases.is_some_and(|all| all.iter().any(|alias| *alias == *name));
        model.get("id").and_then(Value::as_str) == Some(&name) || is_alias
    };
    let entry = listed.iter().find(is_it).cloned().unwrap_or_default();
    let served = match props(server, &entry).await {
        Some(window) => Some(window),
        None => MEMBERS
            .iter()
            .find_map(|member| tokens(entry.pointer(member)?)),
    };
    let window = [served, options.window].into_iter().flatten().min();
    Ok(Known {
        name,
        window,
        fingerprint: fingerprint(&entry),
    })
}

/// The window of a request's slot, as llama.cpp's server says it.
async fn props(server: &Server, entry: &Value) -> Option<u32> {
    // Only llama.cpp's has the page, and only its models have this member.
    entry.get("meta")?;
    let path = server.base().strip_suffix("/v1")?.to_owned() + "/props";
    let props = server.get_at(&path).await.ok()?;
    tokens(props.pointer("/default_generation_settings/n_ctx")?)
}

fn tokens(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?)
        .ok()
        .filter(|tokens| *tokens > 0)
}

/// Changes with the model that is served under a name: llama.cpp says sizes, vLLM the path.
fn fingerprint(entry: &Value) -> String {
    let said = |member: &str| entry.pointer(member).map(Value::to_string);
    let said: Vec<String> = ["/meta/n_params", "/meta/size", "/meta/n_vocab", "/root"]
        .iter()
        .filter_map(|member| said(member))
        .collect();
    said.join(":")
}
