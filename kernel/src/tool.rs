//! The port to everything a run can call.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{event::RunId, label::Label, model::CallId};

/// Something a run can call.
///
/// Dropping the future of [`Tool::call`] stops the work behind it, children included. A tool is only
/// ever called by the driver, after the gate let the call through.
#[async_trait]
pub trait Tool: Send + Sync {
    /// What the tool says of itself.
    fn spec(&self) -> &ToolSpec;

    /// Does it.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] is shown to the model, [`ToolError::Fatal`] stops the run.
    async fn call(&self, call: &Call, context: &ToolContext) -> Result<ToolOutput, ToolError>;

    /// What `call` would change, for the person who is asked to approve it: a diff, a command line.
    async fn preview(&self, _call: &Call, _context: &ToolContext) -> Option<String> {
        None
    }

    /// The tool that a call of this one made, as the journal has it ([`ToolOutput::made`]). Called again
    /// whenever a driver takes the run on.
    ///
    /// # Errors
    /// [`ToolError::Rejected`] says why there is none; the run goes on without it.
    fn open_made(&self, made: &Made) -> Result<Arc<dyn Tool>, ToolError> {
        Err(ToolError::Rejected(format!(
            "{} makes no tools, and so not {}",
            made.by, made.spec.name
        )))
    }

    /// Undoes a finished call of a tool with [`Effect::Reversible`].
    ///
    /// # Errors
    /// [`ToolError::Rejected`] names what changed since and so was left alone.
    async fn compensate(&self, call: &Call, _context: &ToolContext) -> Result<String, ToolError> {
        Err(ToolError::Rejected(format!(
            "{} cannot be undone",
            call.name
        )))
    }
}

/// What a tool says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name: `[a-z0-9_]+`, unique in a toolbox.
    pub name: String,
    /// What it does, for the model: one or two sentences.
    pub description: String,
    /// The JSON Schema (draft 2020-12) of its arguments, of `type: object`.
    pub input: Value,
    /// What a call does to the world.
    pub effect: Effect,
    /// Whether a second call under the same call id finishes the first instead of doing it twice. Then
    /// a call that was in doubt after a crash is simply made again, whatever its effect.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumable: bool,
    /// What the machine itself does with the call, where it is no act upon the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// Arguments that ask for more than the effect says: a call that has one of them, and not empty, is
    /// asked for as if it could not be undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks_with: Vec<String>,
    /// Whether what a call comes to depends on a world that changes by itself (what a sensor measures): then
    /// the same call may come to something else, and is no repetition; and where it does, calls of other
    /// tools are none either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub observes: bool,
}

impl ToolSpec {
    /// A tool that is an act upon the world, made anew at every call, whose calls may be repetitions.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        input: Value,
        effect: Effect,
    ) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input,
            effect,
            resumable: false,
            control: None,
            asks_with: Vec::new(),
            observes: false,
        }
    }

    /// Likewise, of these arguments and no others: `properties` is the JSON Schema of each by its name, `required` names
    /// those that every call gives.
    pub fn taking<N: Serialize>(
        name: impl Into<String>,
        description: impl Into<String>,
        properties: Value,
        required: &[N],
        effect: Effect,
    ) -> Self {
        let input = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        Self::new(name, description, input, effect)
    }

    /// Whether a call with `args` has one of the arguments that ask for more.
    pub fn asks_for_more(&self, args: &Value) -> bool {
        let is_empty = |value: &Value| match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        let asked = self.asks_with.iter().filter_map(|name| args.get(name));
        asked.into_iter().any(|value| !is_empty(value))
    }
}

/// What a call does to the world. The order is the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Changes nothing.
    Pure,
    /// Made twice is as made once.
    Idempotent,
    /// Can be undone: it saves what it replaces.
    Reversible,
    /// Cannot be undone.
    Irreversible,
}

/// Calls by which the model speaks to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Ends the run with an answer.
    Finish,
    /// Asks the user and waits.
    Ask,
    /// Rewrites the plan.
    Plan,
    /// Keeps its argument `fact` in view, word for word, for the rest of the run.
    Pin,
    /// Says how the task is to be done.
    Strategy,
    /// Says which of several tries is the best.
    Best,
    /// Starts a run of its own for a part of the task.
    Delegate,
}

/// A call that passed the gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its id in the run. The same again after a crash.
    pub id: CallId,
    /// The tool's name.
    pub name: String,
    /// Arguments that the tool's schema accepts.
    pub args: Value,
    /// 1, or more if it may have been made before.
    pub attempt: u32,
}

/// Where a call is made.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolContext {
    /// The run that makes it.
    pub run: RunId,
    /// The folder it works in.
    pub workspace: PathBuf,
    /// How far all is trusted that the run's mind has seen: what it writes is trusted no more.
    pub trust: Label,
    /// Whether calls may change the workspace. Where they may not, a tool that can say what it would have changed says
    /// so ([`ToolOutput::withheld`]), and leaves all as it is.
    pub may_change: bool,
}

/// What a call gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolOutput {
    /// For the model.
    pub text: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Where the text came from, if not from the tool itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Whether the call ended before it had done all that it was to do, so that the same call again goes on
    /// from there and is no repetition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// Whether the call changed nothing, as all was as it was to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// Whether the call looked for something and found nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty: bool,
    /// Whether what the call would have changed was left as it is, since the run may change nothing
    /// ([`ToolContext::may_change`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
    /// The tool that the call made. It is journaled as an event of its own
    /// ([`Event::ToolMade`](crate::event::Event::ToolMade)), ahead of this output.
    #[serde(skip)]
    pub made: Option<Box<Made>>,
}

/// A tool that a call made, with all that it takes to have it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// The tool that made it, and opens it again ([`Tool::open_made`]).
    pub by: String,
    /// What it says of itself.
    pub spec: ToolSpec,
    /// Counts the tools of that name in a workspace, from 1.
    pub version: u32,
    /// BLAKE3 of `package`, in hexadecimal.
    pub hash: String,
    /// The tool itself, as the one that made it writes it down.
    pub package: String,
}

impl ToolOutput {
    /// An output of text only.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The model can do better: what was wrong, and which call would be right.
    #[error("{0}")]
    Rejected(String),
    /// It may have happened or not, and only somebody who looks can tell.
    #[error("{0}")]
    Unknown(String),
    /// Nothing the model does helps (a full disk, a store that is gone): the run stops.
    #[error("{0}")]
    Fatal(String),
}

/// One table of tools from every source.
#[derive(Clone, Default)]
pub struct Toolbox {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    order: Vec<String>,
}

/// Two tools have one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are two tools named `{0}`; rename or remove one (gpak tools list shows where each comes from)"
)]
pub struct DuplicateTool(pub String);

impl Toolbox {
    /// A toolbox of these tools, shown to models in this order.
    ///
    /// # Errors
    /// If two have one name.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Result<Self, DuplicateTool> {
        Self::default().with(tools)
    }

    /// With more tools, behind the others.
    ///
    /// # Errors
    /// If two have one name.
    pub fn with(
        mut self,
        tools: impl IntoIterator<Item = Arc<dyn Tool>>,
    ) -> Result<Self, DuplicateTool> {
        for tool in tools {
            let name = tool.spec().name.clone();
            self.order.push(name);
            self = self.with_hidden([tool])?;
        }
        Ok(self)
    }

    /// With tools that only the machine calls; models are not shown them.
    ///
    /// # Errors
    /// If two have one name.
    pub fn with_hidden(
        mut self,
        tools: impl IntoIterator<Item = Arc<dyn Tool>>,
    ) -> Result<Self, DuplicateTool> {
        for tool in tools {
            let name = tool.spec().name.clone();
            if self.tools.insert(name.clone(), tool).is_some() {
                return Err(DuplicateTool(name));
            }
        }
        Ok(self)
    }

    /// With a tool that was made, in place of one of its name, or behind the others.
    pub fn with_made(mut self, tool: Arc<dyn Tool>) -> Self {
        let name = tool.spec().name.clone();
        if self.tools.insert(name.clone(), tool).is_none() {
            self.order.push(name);
        }
        self
    }

    /// Without the tools that `shown` turns down. Those that only the machine calls stay.
    pub fn only(mut self, shown: impl Fn(&ToolSpec) -> bool) -> Self {
        let tools = &mut self.tools;
        self.order.retain(|name| {
            let stays = tools.get(name).is_some_and(|tool| shown(tool.spec()));
            if !stays {
                tools.remove(name);
            }
            stays
        });
        self
    }

    /// The tool of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.tools.get(name)
    }

    /// What the tools say of themselves, in order.
    pub fn specs(&self) -> Vec<ToolSpec> {
        let tools = self.order.iter().filter_map(|name| self.tools.get(name));
        tools.map(|tool| tool.spec().clone()).collect()
    }
}
