//! Which of its models an Ollama would be used with, where none is named.

use jiff::Timestamp;
use ollama_rs::models::ModelInfo;
use serde_json::Value;

use super::{Connection, Failure, ModelError, Server, listed, show};

/// Parameters that a model has at least which is trusted with steps although it makes no native calls.
const ENOUGH: f64 = 1e9;
/// How many models are looked at, the likeliest first.
const LOOKED_AT: usize = 8;

/// A model that can do a run's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The server's name for it.
    pub name: String,
    /// Whether it is loaded.
    pub loaded: bool,
}

/// The model that a server would be used with: one that is loaded, the last used first, else the one
/// that was fetched last; of those only one that makes native calls or is large enough to take steps.
/// None if it has no such model.
///
/// # Errors
/// If the server cannot be reached.
pub async fn offer(connection: &Connection) -> Result<Option<Offer>, ModelError> {
    let server = Server::new(connection)?;
    let loaded = running(&server).await.map_err(|failure| failure.error)?;
    let all = listed(&server).await.map_err(|failure| failure.error)?;
    let loaded = latest_first(loaded, "expires_at").into_iter();
    let loaded = loaded.map(|model| (model, true));
    let all = latest_first(all, "modified_at").into_iter();
    for (model, loaded) in loaded
        .chain(all.map(|model| (model, false)))
        .take(LOOKED_AT)
    {
        let Some(name) = model.get("name").and_then(Value::as_str) else {
            continue;
        };
        // One that the server cannot describe is none that can be used.
        if let Ok(info) = show(&server, name).await
            && is_fit(&model, &info)
        {
            let name = name.to_owned();
            return Ok(Some(Offer { name, loaded }));
        }
    }
    Ok(None)
}

/// The models that are loaded. Servers that do not know the question have none.
async fn running(server: &Server) -> Result<Vec<Value>, Failure> {
    let running = match server.get("api/ps").await {
        Ok(running) => running,
        Err(failure) if failure.status.is_some() => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let models = running.get("models").and_then(Value::as_array);
    Ok(models.cloned().unwrap_or_default())
}

fn latest_first(mut models: Vec<Value>, time: &str) -> Vec<Value> {
    models.sort_by_key(|model| {
        let time = model.get(time).and_then(Value::as_str);
        std::cmp::Reverse(time.and_then(|time| time.parse::<Timestamp>().ok()))
    });
    models
}

/// Whether a model can do a run's work. Older servers do not say what a model can do.
fn is_fit(listed: &Value, info: &ModelInfo) -> bool {
    let can = |what: &str| info.capabilities.iter().any(|it| it == what);
    if can("tools") {
        return true;
    }
    let writes = info.capabilities.is_empty() || can("completion");
    writes && !only_embeds(listed) && parameters(listed).is_none_or(|size| size >= ENOUGH)
}

/// Whether it is of a family that writes nothing.
fn only_embeds(listed: &Value) -> bool {
    let family = listed.pointer("/details/family").and_then(Value::as_str);
    family.is_some_and(|family| family.contains("bert"))
}

/// `7.6B`, `494.03M`.
fn parameters(listed: &Value) -> Option<f64> {
    let said = listed.pointer("/details/parameter_size")?.as_str()?;
    let (number, unit) = said.split_at_checked(said.len().checked_sub(1)?)?;
    let times = match unit {
        "T" => 1e12,
        "B" => 1e9,
        "M" => 1e6,
        "K" => 1e3,
        _ => return None,
    };
    Some(number.trim().parse::<f64>().ok()? * times)
}
