//! Tools by which a model keeps things for other runs, finds them again, and deletes them.

use std::{fmt::Write as _, sync::Arc};

use async_trait::async_trait;
use gpak_kernel::{
    label::Label,
    memory::{Episode, EpisodeId, Filter, Hit, Kind, MemoryError, Query},
    run::{Clock, Remembering, SystemClock, episodes::RECALL},
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde_json::{Value, json};

use super::spec;

/// Memories that `recall` gives, at most.
const HITS: usize = 8;
/// Tokens of them all.
const TOKENS: usize = 1500;
/// How much what a model chose to keep matters.
const IMPORTANCE: f32 = 0.8;

/// `remember`, `recall` and `forget`.
pub(super) fn all(remembering: &Remembering) -> Vec<Arc<dyn Tool>> {
    let fact = json!({
        "fact": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "One fact, in a sentence that can be understood without this task."},
        "everywhere": {"type": "boolean", "description": "True if it holds beyond this folder: what the user likes, for example."},
    });
    let query = json!({
        "query": {"type": "string", "minLength": 1, "description": "What you look for, in words. Times such as `last week` or `in May` narrow it."},
    });
    let ids = json!({
        "ids": {"type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "string", "pattern": "^[0-9a-f]{32}$"}, "description": "The ids that recall shows."},
    });
    let tool = |what, spec| -> Arc<dyn Tool> {
        let remembering = remembering.clone();
        Arc::new(MemoryTool {
            what,
            spec,
            remembering,
        })
    };
    vec![
        tool(
            What::Remember,
            spec(
                "remember",
                "Keep a fact for later tasks. For what will be needed again and is hard to find out: decisions, names, how things are done here. What you do is remembered anyway.",
                Effect::Idempotent,
                fact,
                1,
            ),
        ),
        tool(
            What::Recall,
            spec(
                RECALL,
                "Look into what is remembered of earlier tasks and of this one.",
                Effect::Pure,
                query,
                1,
            ),
        ),
        tool(
            What::Forget,
            spec(
                "forget",
                "Delete memories for good, because the user wants it or because they are wrong.",
                Effect::Irreversible,
                ids,
                1,
            ),
        ),
    ]
}

#[derive(Clone, Copy)]
enum What {
    Remember,
    Recall,
    Forget,
}

struct MemoryTool {
    what: What,
    spec: ToolSpec,
    remembering: Remembering,
}

#[async_trait]
impl Tool for MemoryTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let text = |name: &str| call.args.get(name).and_then(Value::as_str).unwrap_or("");
        match self.what {
            What::Remember => {
                let everywhere = call.args.get("everywhere").and_then(Value::as_bool);
                self.remember(text("fact"), everywhere == Some(true), context)
                    .await
            }
            What::Recall => self.recall(text("query"), context).await,
            What::Forget => {
                let ids = call.args.get("ids").and_then(Value::as_array);
                let ids = ids.into_iter().flatten().filter_map(Value::as_str);
                let ids: Vec<EpisodeId> = ids.filter_map(|id| id.parse().ok()).collect();
                self.forget(&ids).await
            }
        }
    }

    async fn preview(&self, call: &Call, _: &ToolContext) -> Option<String> {
        let ids = call.args.get("ids")?.as_array()?;
        let mut text = String::new();
        for id in ids
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|id| id.parse().ok())
        {
            if let Ok(Some(episode)) = self.remembering.memory.get(id).await {
                let _ = writeln!(text, "- {}", episode.text);
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

impl MemoryTool {
    async fn remember(
        &self,
        fact: &str,
        everywhere: bool,
        context: &ToolContext,
    ) -> Result<ToolOutput, ToolError> {
        let mut episode = Episode::new(fact.trim(), context.trust.clone(), SystemClock.now());
        episode.kind = Kind::Semantic;
        episode.importance = IMPORTANCE;
        episode.namespace.clone_from(&self.remembering.namespace);
        if !everywhere {
            episode.workspace = Some(context.workspace.to_string_lossy().into_owned());
        }
        let kept = self.remembering.memory.remember(vec![episode]).await;
        let new = kept.map_err(refused)?.first().is_some_and(|kept| kept.new);
        Ok(ToolOutput::text(match new {
            true => "remembered",
            false => "that is remembered already",
        }))
    }

    async fn recall(&self, query: &str, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let mut asked = Query::new(query, &self.remembering.namespace, SystemClock.now());
        asked.filter = Filter {
            workspace: Some(context.workspace.to_string_lossy().into_owned()),
            ..asked.filter
        };
        asked.limit = HITS;
        asked.tokens = Some(TOKENS);
        let hits = self.remembering.memory.recall(&asked).await;
        let hits = hits.map_err(refused)?;
        if hits.is_empty() {
            return Ok(ToolOutput::text("nothing is remembered of that"));
        }
        let label = hits.iter().fold(Label::Own, |label, hit| {
            label.or_less_trusted(&hit.episode.label)
        });
        Ok(ToolOutput {
            text: hits.iter().map(line).collect::<Vec<_>>().join("\n"),
            label: Some(label),
            ..ToolOutput::default()
        })
    }

    async fn forget(&self, ids: &[EpisodeId]) -> Result<ToolOutput, ToolError> {
        let gone = self.remembering.memory.forget(ids).await;
        Ok(ToolOutput::text(match gone.map_err(refused)? {
            0 => "no memory has such an id".to_owned(),
            gone => format!("{gone} forgotten"),
        }))
    }
}

fn line(hit: &Hit) -> String {
    let (day, id) = (hit.episode.at.strftime("%F"), hit.id);
    let text = hit.episode.text.replace('\n', "\n  ");
    format!("- [{day}, {}] {text} (id {id})", hit.episode.label)
}

/// What the model can do better is told to it; what it cannot help is told, too: the run can go on without
/// its memory.
fn refused(why: MemoryError) -> ToolError {
    ToolError::Rejected(why.to_string())
}
