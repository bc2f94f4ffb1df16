//! A run as clients see it: what its entries come to.

use gpak_kernel::{
    entry::Entry,
    event::{Event, RunId},
    journal::{Journal, JournalError},
    model::CallId,
    run::{Machine, Status, Waiting, waiting},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::serve::{House, problem::Answered, work::request_of};

/// Where a run stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// `pending`, `running`, `waiting`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// What is to be done.
    pub task: String,
    /// The folder it works in.
    pub workspace: String,
    /// The model, as `provider/name`.
    pub model: String,
    /// The user who asked for it; nobody, if it is none of the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was created.
    pub created: String,
    /// When its last entry was written.
    pub updated: String,
    /// How many entries it has.
    pub entries: u64,
    /// Whether somebody may be asked.
    pub attended: bool,
    /// Whether it waits for another message after each answer.
    pub conversation: bool,
    /// What it may use up.
    #[schema(value_type = Object)]
    pub budget: Value,
    /// What it has used up.
    #[schema(value_type = Object)]
    pub spent: Value,
    /// The answer, of a run that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// How it ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub outcome: Option<Value>,
    /// Why it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub paused: Option<Value>,
    /// What it waits for, that somebody must say.
    pub waits: Vec<Wait>,
    /// The model's plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub plan: Vec<Value>,
    /// The run that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The run that it was forked from, and the last entry that both share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub origin: Option<Value>,
    /// What the client that asked for it wants to have back.
    #[schema(value_type = Object)]
    pub meta: Value,
}

/// Something that a run waits for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Wait {
    /// What it is: `approval`, `in_doubt`, `question` or `message`.
    pub kind: String,
    /// The run that waits: this one, or one that it started.
    pub run: String,
    /// The call that waits, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Its tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<Value>,
    /// Why it must be approved, or what is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What the call would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

impl Wait {
    /// What that run waits for.
    pub fn new(run: RunId, waiting: &Waiting) -> Option<Self> {
        let empty = |kind: &str| Self {
            kind: kind.to_owned(),
            run: run.to_string(),
            call: None,
            tool: None,
            arguments: None,
            text: None,
            preview: None,
        };
        let (kind, call, text) = match waiting {
            Waiting::Approval { call, reason } => ("approval", call, Some(reason.clone())),
            Waiting::InDoubt { call } => {
                let text = "gpak was stopped while this was running: was it done?".to_owned();
                ("in_doubt", call, Some(text))
            }
            Waiting::Question { call, text } => (
                "question",
                call,
                Some(text.clone()).filter(|text| !text.is_empty()),
            ),
            Waiting::Message => return Some(empty("message")),
            Waiting::Driver(_) => return None,
        };
        Some(Self {
            call: Some(call.id.to_string()),
            tool: Some(call.name.clone()),
            arguments: Some(call.args.clone()),
            text,
            ..empty(kind)
        })
    }
}

/// What a run waits for, with what each call would change.
pub async fn waits(house: &House, run: RunId) -> Answered<Vec<Wait>> {
    let journal = house.work.journal();
    let mut waits = Vec::new();
    for (waits_for, waiting) in waiting::of(journal, run).await? {
        let Some(mut wait) = Wait::new(waits_for, &waiting) else {
            continue;
        };
        if let Waiting::Approval { call, .. } = &waiting {
            wait.preview = preview(journal, waits_for, call.id).await?;
        }
        waits.push(wait);
    }
    Ok(waits)
}

/// What a call that a run asks for would change, as it was found when it was asked for.
pub async fn preview(
    journal: &dyn Journal,
    run: RunId,
    call: CallId,
) -> Result<Option<String>, JournalError> {
    let entries = journal.read(run, 1).await?;
    let mut newest_first = entries.into_iter().rev();
    Ok(newest_first.find_map(|entry| match entry.event {
        Event::ApprovalRequested {
            call: asked,
            preview,
            ..
        } if asked == call => preview,
        _ => None,
    }))
}

/// Where that run stands.
pub async fn run(house: &House, run: RunId) -> Answered<Run> {
    let entries = house.work.journal().read(run, 1).await?;
    let machine = Machine::fold(&entries);
    let state = machine.state();
    let is_still = state.status == Status::Waiting;
    let waits = match is_still {
        true => waits(house, run).await?,
        false => Vec::new(),
    };
    let asked = request_of(&entries);
    let spec = state.spec.as_ref();
    let answer = match &state.outcome {
        Some(gpak_kernel::event::Outcome::Completed { answer }) => Some(answer.clone()),
        _ => state.answer().map(str::to_owned),
    };
    let time = |entry: Option<&Entry>| entry.map(|entry| entry.time.to_string());
    Ok(Run {
        id: run.to_string(),
        status: state.status.to_string(),
        task: spec.map(|spec| spec.task.clone()).unwrap_or_default(),
        workspace: spec
            .map(|spec| spec.workspace.display().to_string())
            .unwrap_or_default(),
        model: spec.map(|spec| spec.model.clone()).unwrap_or_default(),
        by: asked.as_ref().map(|asked| asked.by.clone()),
        created: time(entries.first()).unwrap_or_default(),
        updated: time(entries.last()).unwrap_or_default(),
        entries: entries.last().map_or(0, |entry| entry.seq),
        attended: spec.is_some_and(|spec| spec.attended),
        conversation: spec.is_some_and(|spec| spec.conversation),
        budget: spec.map_or(Value::Null, |spec| json!(spec.budget)),
        spent: json!(state.spent),
        answer,
        outcome: state.outcome.as_ref().map(|outcome| json!(outcome)),
        paused: state
            .paused
            .as_ref()
            .filter(|_| is_still)
            .map(|reason| json!(reason)),
        waits,
        plan: state.plan.iter().map(|item| json!(item)).collect(),
        parent: spec
            .and_then(|spec| spec.parent)
            .map(|parent| parent.run.to_string()),
        origin: spec
            .and_then(|spec| spec.origin)
            .map(|origin| json!(origin)),
        meta: asked.map_or_else(|| json!({}), |asked| Value::Object(asked.meta)),
    })
}

/// The id in a path.
pub fn id(text: &str) -> Answered<RunId> {
    text.parse().map_err(|_| {
        crate::serve::problem::Problem::missing(format!("there is no run `{text}`"))
            .help("an id has 32 hex digits; GET /api/v1/runs lists them")
    })
}
