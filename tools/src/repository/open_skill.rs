//! `open_skill`: shows the instructions of a skill.

use std::path::PathBuf;

use async_trait::async_trait;
use gpak_kernel::{
    label::Label,
    tool::{Call, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};
use serde::Deserialize;
use serde_json::json;

use super::skills::{FILE, LONG, Located, split};
use crate::{
    builtin,
    text::head,
    workspace::{Workspace, rejected},
};

/// Files of a skill that are named.
const NAMED: usize = 20;

/// Opens the skills of one workspace.
pub(super) struct OpenSkill {
    spec: ToolSpec,
    skills: Vec<(String, String)>,
    protected: Vec<PathBuf>,
    output_bytes: usize,
}

#[derive(Deserialize)]
struct Args {
    name: String,
}

impl OpenSkill {
    pub(super) fn new(skills: Vec<Located>, protected: Vec<PathBuf>, output_bytes: usize) -> Self {
        let skills: Vec<_> = skills
            .into_iter()
            .map(|skill| (skill.listed.name, skill.folder))
            .collect();
        let names: Vec<&str> = skills.iter().map(|(name, _)| name.as_str()).collect();
        let spec = builtin::spec(
            "open_skill",
            "Read the instructions that this repository has for one sort of work.",
            Effect::Pure,
            json!({"name": {"type": "string", "enum": names, "description": "Which."}}),
            1,
        );
        Self {
            spec,
            skills,
            protected,
            output_bytes: output_bytes.max(1024),
        }
    }
}

#[async_trait]
impl Tool for OpenSkill {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        let Args { name } = builtin::arguments(&call.args)?;
        let skill = self.skills.iter().find(|(known, _)| *known == name);
        let (name, folder) = skill
            .cloned()
            .ok_or_else(|| rejected(format!("there is no skill {name}")))?;
        let (context, protected, room) =
            (context.clone(), self.protected.clone(), self.output_bytes);
        let text = builtin::blocking(move |_| {
            let workspace = Workspace::open(&context.workspace, &protected)?;
            show(&workspace, &name, &folder, room)
        });
        Ok(ToolOutput {
            label: Some(Label::Repo),
            ..ToolOutput::text(text.await?)
        })
    }
}

fn show(workspace: &Workspace, name: &str, folder: &str, room: usize) -> Result<String, ToolError> {
    let path = format!("{folder}/{FILE}");
    let file = super::text(workspace, &workspace.parse(&path)?, LONG as usize)?;
    let (front, body) = split(&file.text).unwrap_or(("", &file.text));
    let body = body.trim();
    let files = files(workspace, folder)?;
    let mut shown = head(body, room.saturating_sub(files.len()));
    let mut more = String::new();
    if shown.len() < body.len() || file.left_out > 0 {
        // Whole lines, so that reading can go on with the next one.
        shown = shown
            .rfind('\n')
            .and_then(|end| shown.get(..end))
            .unwrap_or(shown);
        let before = file.text.len() - file.text.trim_end().len();
        let skipped = file.text.len() - before - body.len();
        let start = file.text.get(..skipped).unwrap_or(front);
        let next = start.matches('\n').count() + shown.matches('\n').count() + 2;
        more = format!(
            "\n…truncated; for more use read_file {{\"path\":\"{path}\",\"from_line\":{next}}}"
        );
    }
    Ok(format!(
        "<skill name=\"{name}\">\n{shown}\n</skill>{more}{files}"
    ))
}

/// Names the other files of a skill.
fn files(workspace: &Workspace, folder: &str) -> Result<String, ToolError> {
    let mut files = Vec::new();
    let mut folders = vec![workspace.locate(&workspace.parse(folder)?)?];
    while let (Some(folder), true) = (folders.pop(), files.len() <= NAMED) {
        let Ok(entries) = workspace.root().read_dir(folder.as_path()) else {
            continue;
        };
        for entry in entries.flatten().take(10 * NAMED) {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = folder.join(&name);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && name != FILE => files.push(path.to_string()),
                _ => {}
            }
        }
    }
    if files.is_empty() {
        return Ok(String::new());
    }
    files.sort();
    let more = if files.len() > NAMED { "\n…" } else { "" };
    files.truncate(NAMED);
    Ok(format!(
        "\nIts files, for read_file:\n{}{more}",
        files.join("\n")
    ))
}
