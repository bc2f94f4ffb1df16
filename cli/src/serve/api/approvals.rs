//! `/api/v1/approvals`: what runs wait for, and what is decided.

use axum::{Json, extract::State};
use gpak_kernel::{
    event::Decision,
    journal::RunFilter,
    label::Label,
    model::CallId,
    run::{Answer, Status},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    runs::short_enough,
    state::{Wait, id, waits},
};
use crate::serve::{
    House,
    access::{Role, Who},
    problem::{Answered, Problem},
    take::{Body, Part},
};

/// Something that waits for a decision or an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pending {
    /// The run that goes on with it.
    root: String,
    /// Its task.
    task: String,
    /// What it waits for.
    #[serde(flatten)]
    wait: Wait,
}

/// List what runs wait for: approvals, calls in doubt, questions
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", responses(
    (status = 200, body = Vec<Pending>)))]
pub async fn list(State(house): State<House>, _: Who) -> Answered<Json<Vec<Pending>>> {
    let filter = RunFilter {
        status: Some(Status::Waiting),
        whole: true,
        ..RunFilter::default()
    };
    let mut pending = Vec::new();
    for summary in house.work.journal().runs(&filter).await? {
        let found = waits(&house, summary.run).await?;
        let found = found.into_iter().filter(|wait| wait.kind != "message");
        pending.extend(found.map(|wait| Pending {
            root: summary.run.to_string(),
            task: summary.task.clone(),
            wait,
        }));
    }
    Ok(Json(pending))
}

/// What is decided on a call, or answered to its question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// `allow`, `allow_for_run`, `deny`, or of a call in doubt `was_done`.
    #[schema(value_type = Option<String>, pattern = "^(allow|allow_for_run|deny|was_done)$")]
    decision: Option<Decision>,
    /// What the model is told besides.
    #[serde(default)]
    note: String,
    /// The answer, to a question.
    #[schema(min_length = 1, pattern = "\\S")]
    answer: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Became {
    /// Whether the run goes on; if not, it waits for something else.
    goes_on: bool,
}

/// Decide on a call that waits for approval, or answer its question
#[utoipa::path(post, path = "/api/v1/approvals/{run}/{call}", tag = "approvals", request_body = Decided,
    params(("run" = String, Path, description = "The run that waits"),
        ("call" = String, Path, description = "The call, as in `3.0`")),
    responses((status = 200, body = Became), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn decide(
    State(house): State<House>,
    who: Who,
    Part((run, call)): Part<(String, String)>,
    Body(decided): Body<Decided>,
) -> Answered<Json<Became>> {
    who.needs(Role::Operator)?;
    let run = id(&run)?;
    let call: CallId = call.parse().map_err(Problem::missing)?;
    let answer = match decided {
        Decided {
            decision: Some(decision),
            note,
            answer: None,
        } => Answer::Decision(decision, note),
        Decided {
            decision: None,
            answer: Some(answer),
            ..
        } => {
            short_enough(&answer)?;
            Answer::Text(answer)
        }
        _ => {
            return Err(Problem::unprocessable(
                "give either a `decision` or an `answer`",
            ));
        }
    };
    tracing::info!(%run, %call, by = who.name, "decided");
    let goes_on = house
        .work
        .answer(run, vec![(call, answer, Label::User)])
        .await?;
    Ok(Json(Became { goes_on }))
}
