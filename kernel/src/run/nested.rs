//! Calls that tools make of other tools.
//!
//! A tool that is being called asks with [`call`]; the driver that called it passes the request through the
//! gate, makes the call, journals what came of it ([`Event::NestedCalled`]), and answers only then. It is for
//! pure tools alone, which the policy allows unasked: so a call that is made again after a crash makes its
//! own calls again, and there is nothing in doubt.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{Machine, calling::make};
use crate::{
    event::{CallOutcome, Event},
    model::{CallId, ToolCall},
    tool::{Call, ToolContext, ToolError, ToolOutput, Toolbox},
};

/// Calls that one call may make.
const MOST: u32 = 100;

tokio::task_local! {
    static DESK: Desk;
}

/// Where the tool of one call asks.
#[derive(Clone)]
pub(super) struct Desk {
    by: CallId,
    made: Arc<AtomicU32>,
    requests: mpsc::Sender<Asked>,
}

/// What a tool that asked is told.
type Answer = Result<ToolOutput, String>;

/// What a tool asked for.
pub(super) struct Asked {
    by: CallId,
    call: ToolCall,
    answer: oneshot::Sender<Answer>,
}

/// What came of a call, to be journaled before anybody learns of it.
pub(super) struct Made {
    pub(super) events: Vec<Event>,
    answer: Option<(oneshot::Sender<Answer>, Answer)>,
}

/// Calls another tool, from within a tool that is being called. JSON in, as its schema wants it.
///
/// # Errors
/// [`ToolError::Rejected`] if there is no such tool, it is not pure, the policy does not allow it unasked,
/// the arguments are not what its schema says, or it failed; and outside of a run.
pub async fn call(name: &str, args: Value) -> Result<ToolOutput, ToolError> {
    let rejected = |why: &str| ToolError::Rejected(format!("{name} was not called: {why}"));
    let desk = DESK.try_with(Clone::clone);
    let desk = desk.map_err(|_| rejected("there is no run here that could call it"))?;
    if desk.made.fetch_add(1, Ordering::Relaxed) >= MOST {
        return Err(rejected(&format!(
            "one call makes {MOST} calls of others at most"
        )));
    }
    let (answer, answered) = oneshot::channel();
    let call = ToolCall {
        name: name.to_owned(),
        args,
    };
    let asked = Asked {
        by: desk.by,
        call,
        answer,
    };
    let gone = |()| rejected("the run stops");
    desk.requests.send(asked).await.map_err(|_| gone(()))?;
    answered
        .await
        .map_err(|_| gone(()))?
        .map_err(ToolError::Rejected)
}

/// Makes a call whose tool may ask for others.
pub(super) fn make_asking<'a>(
    toolbox: &Toolbox,
    call: Call,
    context: &'a ToolContext,
    requests: &mpsc::Sender<Asked>,
) -> BoxFuture<'a, Made> {
    let desk = Desk {
        by: call.id,
        made: Arc::default(),
        requests: requests.clone(),
    };
    let tool = toolbox.get(&call.name).cloned();
    Box::pin(DESK.scope(desk, async move {
        let events = make(tool, call, context).await;
        Made {
            events,
            answer: None,
        }
    }))
}

/// Makes a call that a tool asked for, if the gate lets it through. Its tool cannot ask for more.
pub(super) fn make_asked<'a>(
    machine: &Machine,
    toolbox: &Toolbox,
    asked: Asked,
    context: &'a ToolContext,
) -> BoxFuture<'a, Made> {
    let refused = machine.refuses_nested(&asked.call);
    let tool = toolbox.get(&asked.call.name).cloned();
    Box::pin(async move {
        let call = Call {
            id: asked.by,
            name: asked.call.name.clone(),
            args: asked.call.args.clone(),
            attempt: 1,
        };
        let finished = match refused {
            Some(message) => Err(message),
            None => Ok(make(tool, call, context).await),
        };
        asked.made(finished)
    })
}

impl Asked {
    fn made(self, finished: Result<Vec<Event>, String>) -> Made {
        let mut made = Made {
            events: Vec::new(),
            answer: None,
        };
        let mut result = Err("it was not made".to_owned());
        let (by, call) = (self.by, self.call);
        match finished {
            Err(message) => {
                result = Err(message.clone());
                made.events.push(Event::NestedCalled {
                    by,
                    call,
                    outcome: CallOutcome::Failed { message },
                    ms: 0,
                });
            }
            Ok(events) => {
                for event in events {
                    match event {
                        Event::ToolFinished { outcome, ms, .. } => {
                            result = match &outcome {
                                CallOutcome::Done { output } => Ok(output.clone()),
                                CallOutcome::Failed { message }
                                | CallOutcome::Unknown { message }
                                | CallOutcome::Refused { message, .. } => Err(message.clone()),
                            };
                            let call = call.clone();
                            made.events.push(Event::NestedCalled {
                                by,
                                call,
                                outcome,
                                ms,
                            });
                        }
                        other => made.events.push(other),
                    }
                }
            }
        }
        made.answer = Some((self.answer, result));
        made
    }
}

impl Made {
    /// Answers the tool that asked, if one did.
    pub(super) fn tell(self) {
        if let Some((asked, result)) = self.answer {
            // It may be gone by now.
            let _ = asked.send(result);
        }
    }
}
