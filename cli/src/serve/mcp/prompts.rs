//! The repository's skills as prompts, for a client's user to choose.

use gpak_kernel::{
    event::RunId,
    label::Label,
    model::CallId,
    tool::{Call, ToolContext},
};
use gpak_tools::repository::{self, Found};
use rmcp::{
    ErrorData,
    model::{GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage, Role},
};
use serde_json::{Value, json};

use super::{host::Host, server::internal};
use crate::serve::problem::{Answered, Problem};

/// What is to be done by the skill.
const TASK: &str = "task";
/// Bytes of a skill that a prompt shows.
const SHOWN: usize = 64 * 1024;

/// A prompt for each skill.
pub async fn list(host: &Host) -> Answered<Vec<Prompt>> {
    let (found, _) = found(host).await?;
    let skills = found.repository.skills.into_iter();
    let prompts = skills.map(|skill| {
        let task = PromptArgument::new(TASK)
            .with_description("What is to be done by it.")
            .with_required(false);
        Prompt::new(skill.name, Some(skill.description), Some(vec![task]))
    });
    Ok(prompts.collect())
}

/// The instructions of a skill, with the task if there is one.
///
/// # Errors
/// If there is no such skill, or it cannot be read.
pub async fn get(
    host: &Host,
    request: &GetPromptRequestParams,
) -> Result<GetPromptResult, ErrorData> {
    let (found, workspace) = found(host).await.map_err(internal)?;
    let skills = found.repository.skills.iter();
    let skill = skills.into_iter().find(|skill| skill.name == request.name);
    let (Some(skill), Some(tool)) = (skill, &found.tool) else {
        let why = format!(
            "there is no prompt `{}`; prompts/list lists those there are",
            request.name
        );
        return Err(ErrorData::invalid_params(why, None));
    };
    let call = Call {
        id: CallId { reply: 0, index: 0 },
        name: tool.spec().name.clone(),
        args: json!({"name": skill.name}),
        attempt: 1,
    };
    let context = ToolContext {
        run: RunId::random(),
        workspace,
        trust: Label::User,
        may_change: true,
    };
    let opened = tool.call(&call, &context).await;
    let mut text = opened.map_err(|why| internal(Problem::internal(why)))?.text;
    let task = request.arguments.as_ref().and_then(|args| args.get(TASK));
    if let Some(task) = task.and_then(Value::as_str) {
        text = format!("{text}\n\n{task}");
    }
    let mut result = GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]);
    result.description = Some(skill.description.clone());
    Ok(result)
}

async fn found(host: &Host) -> Answered<(Found, std::path::PathBuf)> {
    let workspace = host.work.workspace(None)?;
    let (protected, folder) = (host.home.protected(), workspace.clone());
    let read = move || repository::read(&folder, &protected, SHOWN);
    let found = tokio::task::spawn_blocking(read).await;
    Ok((found.map_err(Problem::internal)?, workspace))
}
