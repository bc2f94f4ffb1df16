//! Runs that a run starts for a part of its task.
//!
//! A child is a run of its own, with its own journal and context. It is driven by the very driver of its
//! parent, one step at a time, while its parent waits in the call that started it: so it cannot outlive
//! its parent, and whatever stops the one stops the other. Its id follows from its parent's and the
//! call's, so that a parent that goes on after a crash finds the same child and goes on with that.
//!
//! After each of its steps the child's use is charged to its parent ([`Event::ChildCharged`]), and its
//! budget is never more than what its parent has left. Its permissions are its parent's, its tools some
//! of its parent's, and it asks the same human. It has no say in its parent's checks. Who the agent is, it is told
//! as its parent is: what changes takes effect at its next step.

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::{DriveError, Driver, Ended, Machine, Resumption, calling::with_made, driver::Drive};
use crate::{
    context::READ_HISTORY,
    entry::{Entry, Head},
    event::{CallOutcome, Event, Outcome, Parent, PauseReason, RunId, RunSpec},
    journal::{Claim, JournalError},
    label::Label,
    policy::{Budget, Spent},
    strategy::search,
    tool::{Call, Control, Effect, Tool, ToolContext, ToolError, ToolOutput, ToolSpec},
};

/// How many runs may be above one another below the first.
pub const DEEPEST: u32 = 2;

/// The tool `delegate`, for a toolbox: it is the driver that does the work.
pub struct Delegate(ToolSpec);

impl Default for Delegate {
    fn default() -> Self {
        let number = |what: &str| json!({"type": "integer", "minimum": 1, "description": what});
        Self(ToolSpec {
            resumable: true,
            control: Some(Control::Delegate),
            ..ToolSpec::taking(
                "delegate",
                "Let another agent do a part of the task on its own, in the same workspace, and get its answer. \
                 It knows only what you tell it. For a part that can be told in a few sentences and takes many \
                 steps.",
                json!({
                    "task": {
                        "type": "string", "minLength": 1,
                        "description": "What to do, with all it must know, and what to answer.",
                    },
                    "tools": {
                        "type": "array", "items": {"type": "string"},
                        "description": "Names of the tools it may use; all of yours if left out.",
                    },
                    "budget": {
                        "type": "object",
                        "properties": {"steps": number("Steps."), "tokens": number("Tokens.")},
                        "additionalProperties": false,
                        "description": "What it may use up of what you have left; all of it if left out.",
                    },
                }),
                &["task"],
                Effect::Reversible,
            )
        })
    }
}

#[async_trait]
impl Tool for Delegate {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    async fn call(&self, _: &Call, _: &ToolContext) -> Result<ToolOutput, ToolError> {
        let message = format!("{} is done by the driver", self.0.name);
        Err(ToolError::Fatal(message))
    }
}

/// What a call asks for.
#[derive(Deserialize)]
struct Part {
    task: String,
    tools: Option<Vec<String>>,
    #[serde(default)]
    budget: Bounds,
}

#[derive(Default, Deserialize)]
struct Bounds {
    steps: Option<u32>,
    tokens: Option<u64>,
}

/// What a call of [`search::TRY`] asks for.
#[derive(Deserialize)]
struct Way {
    way: u32,
    path: std::path::PathBuf,
    #[serde(default)]
    note: String,
}

/// A child that is being driven, between two of its steps.
struct Child {
    run: RunId,
    machine: Machine,
    head: Head,
    driver: Driver,
    _claim: Claim,
}

impl Drive<'_> {
    /// Whether the driver itself makes this call.
    pub(super) fn starts_run(&self, call: &Call) -> bool {
        let state = self.machine.state();
        state.starts_run(&call.name) || call.name == search::TRY && state.is_own(call.id)
    }

    /// Makes a call that starts a run, or goes on with the run that it started.
    ///
    /// Boxed, as the run is driven by the code that calls this.
    pub(super) fn delegate(&mut self, call: Call) -> BoxFuture<'_, Result<(), DriveError>> {
        Box::pin(self.make_by_child(call))
    }

    async fn make_by_child(&mut self, call: Call) -> Result<(), DriveError> {
        self.commit(vec![Event::ToolStarted {
            call: call.id,
            tool: call.name.clone(),
            attempt: call.attempt,
        }])
        .await?;
        let start = std::time::Instant::now();
        let outcome = match self.plan_child(&call) {
            Ok((spec, driver)) => {
                let mut child = self.enter(&call, spec, driver).await?;
                match self.lead(&call, &mut child).await? {
                    Ok(outcome) => outcome,
                    Err(reason) => return self.commit(vec![Event::RunPaused { reason }]).await,
                }
            }
            Err(message) => CallOutcome::Failed { message },
        };
        self.commit(vec![Event::ToolFinished {
            call: call.id,
            from: Label::Tool(call.name.clone()),
            tool: call.name,
            outcome,
            ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }])
        .await
    }

    /// The child that a call asks for; Err says, for the model, why there is none.
    fn plan_child(&self, call: &Call) -> Result<(RunSpec, Driver), String> {
        let state = self.machine.state();
        let spec = state.spec.clone().ok_or("the run has no task")?;
        let left = spec.budget.left(&state.charged());
        let depth = spec.parent.map_or(0, |parent| parent.depth) + 1;
        let mut parent = Parent {
            run: self.run,
            call: call.id,
            depth,
            way: 0,
        };
        let wrong = |why: serde_json::Error| format!("the arguments are wrong: {why}");
        let mut toolbox = self.toolbox.clone();
        if depth >= DEEPEST {
            toolbox = toolbox.only(|tool| tool.control != Some(Control::Delegate));
        }
        let child = if call.name == search::TRY {
            let Way { way, path, note } = Way::deserialize(&call.args).map_err(wrong)?;
            parent.way = way;
            RunSpec {
                task: spec.task.clone() + &note,
                workspace: path,
                budget: search::share(&left, way),
                ..spec
            }
        } else {
            let Part {
                task,
                tools,
                budget,
            } = Part::deserialize(&call.args).map_err(wrong)?;
            if let Some(tools) = tools {
                let known = |name: &&String| toolbox.get(name).is_none();
                if let Some(unknown) = tools.iter().find(known) {
                    return Err(format!("you have no tool `{unknown}` to give"));
                }
                let given = |tool: &ToolSpec| tools.contains(&tool.name);
                let speaks = |tool: &ToolSpec| {
                    tool.control
                        .is_some_and(|control| control != Control::Delegate)
                };
                let reads_itself = |tool: &ToolSpec| tool.name == READ_HISTORY;
                toolbox = toolbox.only(|tool| given(tool) || speaks(tool) || reads_itself(tool));
            }
            let bounds = Budget {
                steps: budget.steps.unwrap_or(u32::MAX),
                tokens: budget.tokens.unwrap_or(u64::MAX),
                cost: f64::MAX,
                wall_ms: u64::MAX,
            };
            RunSpec {
                task,
                budget: bounds,
                check: Vec::new(),
                ..spec
            }
        };
        let driver = Driver {
            journal: self.driver.journal.clone(),
            model: self.driver.model.clone(),
            toolbox,
            human: self.driver.human.clone(),
            clock: self.driver.clock.clone(),
            // Who the agent is may have changed since the driver was made.
            instructions: match &self.machine.state().setup {
                Some(setup) => setup.instructions.clone(),
                None => self.driver.instructions.clone(),
            },
            introduced: self.introduced.clone(),
            repository: self.driver.repository.clone(),
            remembering: self.driver.remembering.clone(),
            stop: self.driver.stop.clone(),
        };
        let child = RunSpec {
            conversation: false,
            origin: None,
            strategy: None,
            parent: Some(parent),
            ..child
        };
        Ok((child, driver))
    }

    /// The child, created if it is not there yet, with what its parent has left and may do.
    async fn enter(
        &mut self,
        call: &Call,
        asked: RunSpec,
        driver: Driver,
    ) -> Result<Child, DriveError> {
        let (run, journal) = (self.run.child(call.id), driver.journal.clone());
        let claim = journal.claim(run).await?;
        let mut entries = read(journal.as_ref(), run).await?;
        let spent = Machine::fold(&entries).state().spent;
        self.charge(call, run, spent).await?;
        let state = self.machine.state();
        let left = state
            .spec
            .as_ref()
            .map(|spec| spec.budget.left(&state.charged()));
        let left = left.unwrap_or(asked.budget).on_top_of(&spent);
        let created = match entries.first().map(|entry| &entry.event) {
            // What it was asked to do with at first holds on.
            Some(Event::RunCreated { spec }) if asked.parent.is_some_and(|it| it.way > 0) => {
                spec.budget
            }
            _ => asked.budget,
        };
        let budget = created.lower(&left);
        if entries.is_empty() {
            driver
                .create(
                    run,
                    RunSpec {
                        budget,
                        ..asked.clone()
                    },
                )
                .await?;
            entries = read(journal.as_ref(), run).await?;
        }
        let mut child = Child {
            run,
            machine: Machine::fold(&entries),
            head: entries.last().map_or(Head::EMPTY, Entry::head),
            driver,
            _claim: claim,
        };
        let resumption = Resumption {
            budget: Some(budget),
            permissions: Some(asked.permissions),
            attended: asked.attended,
            message: None,
        };
        let mut drive = self.seat(&mut child);
        drive.take_on(resumption).await?;
        let left = (drive.machine, drive.head);
        child.leave(left);
        Ok(child)
    }

    /// Drives the child to its end. The inner error says why parent and child wait.
    async fn lead(
        &mut self,
        call: &Call,
        child: &mut Child,
    ) -> Result<Result<CallOutcome, PauseReason>, DriveError> {
        let ended = loop {
            let mut drive = self.seat(child);
            drive.heed().await?;
            let step = drive.step().await;
            let left = (drive.machine, drive.head);
            child.leave(left);
            let spent = child.machine.state().spent;
            self.charge(call, child.run, spent).await?;
            if let Some(ended) = step? {
                break ended;
            }
        };
        let run = child.run;
        let outcome = match ended {
            Ended::Finished(outcome) => outcome,
            Ended::Paused(PauseReason::Budget { message }) if self.has_budget() => {
                let reason = format!("it was given too little: {message}");
                let outcome = Outcome::Failed { reason };
                let event = Event::RunFinished {
                    outcome: outcome.clone(),
                };
                self.seat(child).commit(vec![event]).await?;
                outcome
            }
            Ended::Paused(reason) => return Ok(Err(reason)),
        };
        Ok(Ok(match outcome {
            Outcome::Completed { answer } => CallOutcome::Done {
                output: ToolOutput {
                    data: Some(json!({"run": run})),
                    ..ToolOutput::text(answer)
                },
            },
            Outcome::Failed { reason } => CallOutcome::Failed {
                message: format!("run {} did not do it: {reason}", run.short()),
            },
            Outcome::Cancelled => CallOutcome::Failed {
                message: format!("run {} was cancelled", run.short()),
            },
        }))
    }

    fn has_budget(&self) -> bool {
        let state = self.machine.state();
        let exhausted = state
            .spec
            .as_ref()
            .map(|spec| spec.budget.exhausted(&state.charged()));
        exhausted.flatten().is_none()
    }

    /// Charges what the child has used up, if that is news.
    async fn charge(&mut self, call: &Call, run: RunId, spent: Spent) -> Result<(), DriveError> {
        let call = call.id;
        if self.machine.state().children.get(&call) == Some(&spent)
            && self.machine.state().is_at_work(call)
        {
            return Ok(());
        }
        self.commit(vec![Event::ChildCharged { call, run, spent }])
            .await
    }

    /// The child's seat at the wheel; what it leaves is put back by [`Child::leave`].
    fn seat<'a>(&'a mut self, child: &'a mut Child) -> Drive<'a> {
        let made = &child.machine.state().made;
        Drive {
            driver: &child.driver,
            run: child.run,
            toolbox: with_made(child.driver.toolbox.clone(), made),
            introduced: child.driver.introduced.clone(),
            machine: std::mem::replace(&mut child.machine, Machine::fold([])),
            head: child.head,
            observer: &mut *self.observer,
        }
    }
}

impl Child {
    fn leave(&mut self, (machine, head): (Machine, Head)) {
        (self.machine, self.head) = (machine, head);
    }
}

/// The entries of a run; none if there is no such run.
async fn read(
    journal: &dyn crate::journal::Journal,
    run: RunId,
) -> Result<Vec<Entry>, JournalError> {
    match journal.read(run, 1).await {
        Err(JournalError::NoRun(_)) => Ok(Vec::new()),
        read => read,
    }
}
