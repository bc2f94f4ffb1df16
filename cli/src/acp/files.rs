//! Files that the editor has open and has not saved.
//!
//! The tools for files work on the disk, where undo and confinement are. What stands in the editor and not
//! on the disk is brought there by the editor itself: it is asked for the text, and to save it before a tool
//! changes the file. So a tool sees what the user sees, and undo gives back what the user had typed.

use std::{path::Path, sync::Arc};

use agent_client_protocol::{
    Client,
    v1::{
        ConnectionTo,
        schema::{FileSystemCapabilities, ReadTextFileRequest, SessionId, WriteTextFileRequest},
    },
};
use async_trait::async_trait;
use gpak_kernel::tool::{Call, Tool, ToolContext, ToolError, ToolOutput, ToolSpec, Toolbox};
use serde_json::{Value, json};

/// The tool that shows whether a path is one that tools may read.
const READ: &str = "read_file";
/// Tools that work on the text of one file.
const OF_ONE_FILE: [&str; 3] = [READ, "write_file", "edit_file"];

/// The toolbox, with its tools for files in step with an editor that can read and write for them.
pub(super) fn through_editor(
    mut toolbox: Toolbox,
    can: &FileSystemCapabilities,
    session: &SessionId,
    editor: &ConnectionTo<Client>,
) -> Toolbox {
    let Some(read) = toolbox.get(READ).cloned() else {
        return toolbox;
    };
    if !(can.read_text_file && can.write_text_file) {
        return toolbox;
    }
    for name in OF_ONE_FILE {
        if let Some(tool) = toolbox.get(name).cloned() {
            toolbox = toolbox.with_made(Arc::new(InStep {
                tool,
                read: read.clone(),
                session: session.clone(),
                editor: editor.clone(),
            }));
        }
    }
    toolbox
}

/// A tool whose file is saved before, and shown in the editor afterwards.
struct InStep {
    tool: Arc<dyn Tool>,
    read: Arc<dyn Tool>,
    session: SessionId,
    editor: ConnectionTo<Client>,
}

impl InStep {
    /// Has the editor save the file, if tools may read it and the editor has another text for it.
    async fn save(&self, call: &Call, context: &ToolContext) -> Result<(), ToolError> {
        let Some(path) = path(call) else {
            return Ok(());
        };
        let reading = Call {
            name: READ.to_owned(),
            args: json!({"path": path}),
            ..call.clone()
        };
        // A path that leads elsewhere, or to no file, is the tool's own matter.
        if self.read.call(&reading, context).await.is_err() {
            return Ok(());
        }
        let path = context.workspace.join(path);
        let asked = ReadTextFileRequest::new(self.session.clone(), path.clone());
        // An editor that cannot read the file has nothing of it that is not saved.
        let Ok(open) = self.editor.send_request(asked).block_task().await else {
            return Ok(());
        };
        match tokio::fs::read_to_string(&path).await {
            Ok(saved) if saved != open.content => self.write(&path, open.content).await,
            _ => Ok(()),
        }
    }

    async fn write(&self, path: &Path, content: String) -> Result<(), ToolError> {
        let asked = WriteTextFileRequest::new(self.session.clone(), path, content);
        let written = self.editor.send_request(asked).block_task().await;
        written.map(drop).map_err(|why| {
            ToolError::Rejected(format!(
                "the editor has changes of {} that are not saved, and does not save them ({why}); ask \
                 the user to save the file",
                path.display()
            ))
        })
    }
}

fn path(call: &Call) -> Option<&str> {
    call.args.get("path").and_then(Value::as_str)
}

#[async_trait]
impl Tool for InStep {
    fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError> {
        self.save(call, context).await?;
        let output = self.tool.call(call, context).await?;
        if self.tool.spec().name != READ
            && let Some(path) = path(call)
        {
            let path = context.workspace.join(path);
            // It is done; an editor that does not take it shows the old text until it looks again.
            if let Ok(content) = tokio::fs::read_to_string(&path).await
                && let Err(why) = self.write(&path, content).await
            {
                tracing::debug!("{why}");
            }
        }
        Ok(output)
    }

    async fn preview(&self, call: &Call, context: &ToolContext) -> Option<String> {
        self.tool.preview(call, context).await
    }

    async fn compensate(&self, call: &Call, context: &ToolContext) -> Result<String, ToolError> {
        self.tool.compensate(call, context).await
    }
}
