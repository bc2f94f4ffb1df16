//! What a run waits for, as questions to the user of an MCP client, and their answers.

use std::collections::BTreeMap;

use gpak_kernel::{
    event::{Decision, RunId},
    journal::Journal,
    label::Label,
    model::CallId,
    run::{Answer, Waiting},
};
use rmcp::model::{
    ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema,
    InputRequest, InputRequests, InputResponses,
};
use serde_json::{Value, json};

use crate::serve::{
    api::state::preview,
    problem::{Answered, Problem},
};

/// Something that a run waits for, to be asked of the client's user.
pub struct Question {
    run: RunId,
    call: CallId,
    text: String,
    is_doubt: bool,
    schema: ElicitationSchema,
}

/// An answer to a question, for the run that waits for it.
pub type Reply = (CallId, Answer, Label);

impl Question {
    /// What is asked for that wait; nothing, if no question can be made of it.
    pub async fn of(
        journal: &dyn Journal,
        run: RunId,
        waiting: &Waiting,
    ) -> Answered<Option<Self>> {
        let (call, text, is_doubt) = match waiting {
            Waiting::Approval { call, reason } => {
                let preview = preview(journal, run, call.id).await?;
                let preview = preview.unwrap_or_else(|| call.args.to_string());
                (
                    call,
                    format!("May {} be called? {reason}\n\n{preview}", call.name),
                    false,
                )
            }
            Waiting::InDoubt { call } => {
                let (name, args) = (&call.name, &call.args);
                let text =
                    format!("gpak was stopped while {name} {args} was running. Was it done?");
                (call, text, true)
            }
            Waiting::Question { call, text } => {
                let schema = text_schema();
                return Ok(Some(Self {
                    run,
                    call: call.id,
                    text: text.clone(),
                    is_doubt: false,
                    schema: schema.map_err(Problem::internal)?,
                }));
            }
            Waiting::Message | Waiting::Driver(_) => return Ok(None),
        };
        Ok(Some(Self {
            run,
            call: call.id,
            text,
            is_doubt,
            schema: decision_schema(is_doubt).map_err(Problem::internal)?,
        }))
    }

    /// Names it among the questions of one result.
    pub fn key(&self) -> String {
        format!("{}/{}", self.run, self.call)
    }

    /// Which run waits for it.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// It, as a request to the client.
    pub fn params(&self) -> ElicitRequestParams {
        ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: self.text.clone(),
            requested_schema: self.schema.clone(),
        }
    }

    /// What the user answered; nothing, if they put it off.
    pub fn answer(&self, result: &ElicitResult) -> Option<Reply> {
        let said = |name: &str| {
            let content = result.content.as_ref()?;
            content.get(name)?.as_str().map(str::to_owned)
        };
        let answer = match result.action {
            ElicitationAction::Cancel => return None,
            ElicitationAction::Decline => match said("answer") {
                Some(text) => Answer::Text(text),
                None => Answer::Decision(Decision::Deny, "the user said no".to_owned()),
            },
            _ => match (said("answer"), said("decision")) {
                (Some(text), _) => Answer::Text(text),
                (None, decision) => {
                    let decision = match decision.as_deref() {
                        Some("allow") => Decision::Allow,
                        Some("allow_for_run") => Decision::AllowForRun,
                        Some("was_done") if self.is_doubt => Decision::WasDone,
                        Some("deny") => Decision::Deny,
                        _ => return None,
                    };
                    Answer::Decision(decision, String::new())
                }
            },
        };
        Some((self.call, answer, Label::User))
    }
}

fn decision_schema(is_doubt: bool) -> serde_json::Result<ElicitationSchema> {
    let (values, titles) = match is_doubt {
        true => (
            json!(["was_done", "allow", "deny"]),
            json!(["It was done", "Do it again", "Leave it"]),
        ),
        false => (
            json!(["allow", "allow_for_run", "deny"]),
            json!(["Once", "For the rest of the run", "No"]),
        ),
    };
    schema(json!({
        "type": "object",
        "properties": {"decision": {"type": "string", "title": "Decision", "enum": values, "enumNames": titles}},
        "required": ["decision"],
    }))
}

fn text_schema() -> serde_json::Result<ElicitationSchema> {
    schema(json!({
        "type": "object",
        "properties": {"answer": {"type": "string", "title": "Answer"}},
        "required": ["answer"],
    }))
}

fn schema(value: Value) -> serde_json::Result<ElicitationSchema> {
    serde_json::from_value(value)
}

/// The questions, as a result that waits for input has them.
pub fn requests(questions: &[Question]) -> InputRequests {
    let requests = questions.iter().map(|question| {
        let request = ElicitRequest::new(question.params());
        (question.key(), InputRequest::Elicitation(request))
    });
    requests.collect()
}

/// The answers among a client's responses, by the run that waits for them. Others are not looked at.
pub fn replies(
    questions: &[Question],
    responses: &InputResponses,
) -> Answered<BTreeMap<RunId, Vec<Reply>>> {
    let mut replies: BTreeMap<RunId, Vec<Reply>> = BTreeMap::new();
    for question in questions {
        let Some(response) = responses.get(&question.key()) else {
            continue;
        };
        let result: ElicitResult = serde_json::from_value(response.clone()).map_err(|why| {
            Problem::bad(format!("the response to {} is none: {why}", question.key()))
        })?;
        if let Some(reply) = question.answer(&result) {
            replies.entry(question.run).or_default().push(reply);
        }
    }
    Ok(replies)
}
