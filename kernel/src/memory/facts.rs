//! Facts that a model finds in a run. Nothing of memory needs this: it is asked for.

use serde_json::{Value, json};

use super::{Episode, Kind};
use crate::{
    context::head,
    entry::Entry,
    label::Label,
    model::{Known, Message, Model, ModelError, Request, Sampling},
    run::episodes,
    tool::{Effect, ToolSpec},
};

/// The tag of a fact that a model found.
pub const FOUND: &str = "extracted";

/// Facts of one run.
const FACTS: usize = 5;
/// Bytes of a fact.
const LONGEST: usize = 240;
/// Bytes that a token has at least.
const BYTES: usize = 3;

const ASKED: &str = "You read what an agent did and write down the facts that will be useful in later \
tasks: names, numbers, places, decisions, what the user likes, how things are done here. Each fact is one \
sentence that can be understood alone. Not what was done, only what is true. None if there is none.";

/// The facts that the model finds in the entries of a run, from its first. They are trusted no more than
/// the least trusted text of the run.
///
/// # Errors
/// If the model does not answer.
pub async fn find(model: &dyn Model, entries: &[Entry]) -> Result<Vec<Episode>, ModelError> {
    let mut told = episodes::of_steps(entries, 0, u32::MAX);
    told.extend(episodes::of(entries));
    let (Some(like), Some(last)) = (told.last().cloned(), entries.last()) else {
        return Ok(Vec::new());
    };
    let label = told.iter().fold(Label::Own, |label, episode| {
        label.or_less_trusted(&episode.label)
    });
    let request = request(model, &told, label.clone());
    let reply = model.reply(&request, &mut ()).await?;
    let facts = reply.calls.first().and_then(|call| call.args.get("facts"));
    let facts = facts.and_then(Value::as_array).into_iter().flatten();
    let facts = facts.filter_map(Value::as_str).map(str::trim);
    let episode = |fact: &str| Episode {
        kind: Kind::Semantic,
        text: head(fact, LONGEST).to_owned(),
        label: label.clone(),
        conversation: None,
        speaker: None,
        at: last.time,
        importance: 0.6,
        tags: vec![FOUND.to_owned()],
        ..like.clone()
    };
    Ok(facts.filter(|fact| !fact.is_empty()).map(episode).collect())
}

fn request(model: &dyn Model, told: &[Episode], label: Label) -> Request {
    let room = model.profile().window as usize / 2 * BYTES;
    let texts: Vec<&str> = told.iter().map(|episode| episode.text.as_str()).collect();
    let text = texts.join("\n\n");
    Request {
        messages: vec![
            Message::System {
                text: ASKED.to_owned(),
            },
            Message::User {
                text: head(&text, room).to_owned(),
                label,
            },
        ],
        tools: [tool()].into(),
        barred: Vec::new(),
        // What it is told is of runs whose sources are not known here.
        known: Known {
            other_runs: true,
            ..Known::default()
        },
        sampling: Sampling {
            max_tokens: 600,
            ..Sampling::default()
        },
    }
}

fn tool() -> ToolSpec {
    ToolSpec::taking(
        "keep_facts",
        "Write the facts down.",
        json!({"facts": {
            "type": "array",
            "maxItems": FACTS,
            "items": {"type": "string", "maxLength": LONGEST},
        }}),
        &["facts"],
        Effect::Pure,
    )
}
