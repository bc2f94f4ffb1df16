//! One call of a tool, and what came of it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

use crate::{
    event::{CallOutcome, Event, PauseReason},
    label::Label,
    tool::{Call, Made, Tool, ToolContext, ToolError, Toolbox},
};

/// With the tools that a run made. One that cannot be had is gone when it is called.
pub(super) fn with_made(mut toolbox: Toolbox, all: &[Made]) -> Toolbox {
    for made in all {
        let maker = toolbox.get(&made.by).cloned();
        match maker.map(|maker| maker.open_made(made)) {
            Some(Ok(tool)) => toolbox = toolbox.with_made(tool),
            Some(Err(why)) => tracing::warn!("the tool {} is gone: {why}", made.spec.name),
            None => tracing::warn!("the tool {} is gone, as {} is", made.spec.name, made.by),
        }
    }
    toolbox
}

/// Makes one call and says what came of it. A tool that panics is an error to the model.
pub(super) async fn make(
    tool: Option<Arc<dyn Tool>>,
    call: Call,
    context: &ToolContext,
) -> Vec<Event> {
    let start = std::time::Instant::now();
    let result = match &tool {
        None => Err(ToolError::Rejected("the tool is gone".to_owned())),
        Some(tool) => AssertUnwindSafe(tool.call(&call, context))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                Err(ToolError::Rejected(format!(
                    "{} crashed; use another way",
                    call.name
                )))
            }),
    };
    let mut from = Label::Tool(call.name.clone());
    let mut made = None;
    let (outcome, fatal) = match result {
        Ok(mut output) => {
            made = output.made.take();
            if let Some(label) = &output.label {
                from = label.clone();
            }
            (CallOutcome::Done { output }, None)
        }
        Err(ToolError::Rejected(message)) => (CallOutcome::Failed { message }, None),
        Err(ToolError::Unknown(message)) => (CallOutcome::Unknown { message }, None),
        Err(ToolError::Fatal(message)) => {
            let reason = PauseReason::Tool {
                message: message.clone(),
            };
            (CallOutcome::Failed { message }, Some(reason))
        }
    };
    let id = call.id;
    let made = made.map(|made| Event::ToolMade { call: id, made });
    let finished = Event::ToolFinished {
        call: id,
        tool: call.name,
        outcome,
        from,
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let pause = fatal.map(|reason| Event::RunPaused { reason });
    made.into_iter().chain([finished]).chain(pause).collect()
}
