//! What happened in a run: [`Event`]s, sealed into the hash chain of [`Entry`](crate::entry::Entry)s.
//!
//! One shape everywhere: an event is a JSON object tagged by `type`, and an entry is that object with
//! its run, number, time, label and hashes around it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    context::Repository,
    label::{Label, serde_as_text},
    memory::Hit,
    model::{CallId, ModelError, ModelProfile, Reply, ToolCall},
    policy::{Budget, Permissions, Spent},
    tool::{Made, ToolOutput, ToolSpec},
};

/// The name of a run: a random UUID (version 4), written as 32 hex digits. People shorten it to any
/// unique beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// A fresh one.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The one of these bits, for tests and for ids that must be repeatable.
    pub const fn from_u128(bits: u128) -> Self {
        Self(uuid::Uuid::from_u128(bits))
    }

    /// The run that this one starts with that call: always the same, so that a run that is resumed
    /// finds the one it had started.
    pub fn child(&self, call: CallId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("gpak 2026-11-25 child run");
        hasher.update(self.0.as_bytes());
        hasher.update(call.to_string().as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The first eight digits, as people use it.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.as_simple())
    }
}

impl std::str::FromStr for RunId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        uuid::Uuid::try_parse(s)
            .map(Self)
            .map_err(|_| format!("`{s}` is no run id; `gpak runs list` shows them"))
    }
}

serde_as_text!(RunId);

/// A task and all that binds it, fixed when the run is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// What is to be done, in the user's words.
    pub task: String,
    /// The folder it is done in.
    pub workspace: PathBuf,
    /// The model, as `provider/name`.
    pub model: String,
    /// What it may use up.
    pub budget: Budget,
    /// What it may do.
    pub permissions: Permissions,
    /// Whether somebody is there to be asked. If not, what needs asking is denied.
    pub attended: bool,
    /// Whether it is a conversation: an answer does not end it but waits for the next message, of which
    /// the task is the first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conversation: bool,
    /// Where the run came from, if not from its task alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Commands of the user's that must succeed before an answer counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// The strategy it is done by; where nothing is said, [`Strategy::React`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Choice>,
    /// The run that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The run that a run is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// That run.
    pub run: RunId,
    /// Its call that started this one.
    pub call: CallId,
    /// How many runs are above this one.
    pub depth: u32,
    /// Which of several tries of the same task this is, from 1; 0 where it is no try.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub way: u32,
}

/// The run that a run was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The other run.
    pub run: RunId,
    /// Its last entry that both share; what follows is this run's own.
    pub seq: u64,
}

/// What a driver brought to the run: it may differ from one resumption to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The system prompt.
    pub instructions: String,
    /// The tools at hand.
    pub tools: Vec<ToolSpec>,
    /// The model that answers.
    pub model: ModelProfile,
    /// What the workspace's repository says of itself.
    #[serde(default, skip_serializing_if = "Repository::is_empty")]
    pub repository: Repository,
}

/// What a client of a service asks for beside the task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    /// The user it asks for.
    pub by: String,
    /// What the system prompt says besides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instructions: String,
    /// Tools whose calls the client makes itself: the run waits for what it says came of them. Their
    /// control is [`Control::Ask`](crate::tool::Control::Ask).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Whatever else the client wants to have back.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
}

/// A fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Always the first.
    RunCreated {
        /// The task and its bounds.
        spec: RunSpec,
    },
    /// A client of a service asked for the run, which a driver of that service takes on.
    RunRequested {
        /// What it asked for.
        request: Requested,
    },
    /// A driver took the run on.
    RunStarted {
        /// With these tools and this model.
        setup: Setup,
    },
    /// Somebody spoke to the run.
    MessageReceived {
        /// What was said.
        text: String,
        /// Who said it.
        from: Label,
    },
    /// Memory was asked what it has to say to the task, or to the user's message.
    MemoryRecalled {
        /// What it had to say, best first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hits: Vec<Hit>,
        /// Why it could not be asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// The mind answered.
    ModelReplied {
        /// The whole reply.
        reply: Reply,
    },
    /// The mind did not answer.
    ModelFailed {
        /// Why.
        error: ModelError,
    },
    /// A call is about to be made.
    ToolStarted {
        /// The call.
        call: CallId,
        /// Its tool.
        tool: String,
        /// 1, or more if it may have been made before.
        attempt: u32,
    },
    /// A call came to its end, made or not.
    ToolFinished {
        /// The call.
        call: CallId,
        /// Its tool, as the model named it.
        tool: String,
        /// What came of it.
        outcome: CallOutcome,
        /// Where its text came from.
        from: Label,
        /// Milliseconds it took.
        ms: u64,
    },
    /// A call made a tool, which can be called from now on.
    ToolMade {
        /// The call.
        call: CallId,
        /// The tool.
        made: Box<Made>,
    },
    /// A tool called another one, and this came of it.
    NestedCalled {
        /// The call whose tool asked for it.
        by: CallId,
        /// What was called.
        call: ToolCall,
        /// What came of it.
        outcome: CallOutcome,
        /// Milliseconds it took.
        ms: u64,
    },
    /// A call must be approved, and the user is asked.
    ApprovalRequested {
        /// The call.
        call: CallId,
        /// Why it must be approved.
        reason: String,
        /// What it would change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preview: Option<String>,
    },
    /// The user decided.
    ApprovalDecided {
        /// The call.
        call: CallId,
        /// How.
        decision: Decision,
        /// What the user wants the model to know.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// The machine makes calls by itself.
    CallsDecided {
        /// What for.
        purpose: Purpose,
        /// The calls, made one after the other.
        calls: Vec<ToolCall>,
    },
    /// A run that a call started goes on, and all that it has used up so far is charged to this one.
    ChildCharged {
        /// The call.
        call: CallId,
        /// The run that it started.
        run: RunId,
        /// What that run has used up, from its beginning.
        spent: Spent,
    },
    /// The model rewrote its plan.
    PlanChanged {
        /// The plan now.
        plan: Vec<PlanItem>,
    },
    /// The way of working changed.
    StrategyChanged {
        /// To what.
        strategy: Strategy,
        /// Why.
        reason: String,
        /// What the model is told of it; the reason, where nothing is said here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<String>,
    },
    /// Older entries are shown to the model in short from now on. They stay in the journal.
    ContextCompacted {
        /// Replies from the first to this one are replaced by a digest. 0 is none: only what no window
        /// could hold is shortened.
        through_reply: u32,
        /// How often the length that pieces of the replies behind it may have was halved.
        #[serde(default, skip_serializing_if = "is_zero")]
        halvings: u32,
        /// Tokens that the model's window turned out to hold, by our count, where it refused a request
        /// that should have fit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<u32>,
    },
    /// Who the agent is was changed while the run goes on.
    IdentityChanged {
        /// The version from now on.
        version: u64,
        /// The system prompt from now on.
        instructions: String,
    },
    /// The run stopped and can go on.
    RunPaused {
        /// Why.
        reason: PauseReason,
    },
    /// The run goes on.
    RunResumed {
        /// The budget from now on, if it changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
        /// What it may do from now on, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        permissions: Option<Permissions>,
        /// Whether somebody is there to be asked.
        attended: bool,
        /// What the driver brought, if that changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        setup: Option<Box<Setup>>,
    },
    /// A finished call was undone.
    Compensated {
        /// The call.
        call: CallId,
        /// What was put back.
        text: String,
    },
    /// Always the last but for [`Event::Compensated`].
    RunFinished {
        /// How it ended.
        outcome: Outcome,
    },
    /// An event of a newer version: kept, shown, and skipped by the machine.
    #[serde(untagged)]
    Unknown(Value),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Completed {
        /// The answer.
        answer: String,
    },
    /// Without.
    Failed {
        /// Why.
        reason: String,
    },
    /// Somebody ended it.
    Cancelled,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CallOutcome {
    /// The tool did it.
    Done {
        /// What it gave.
        output: ToolOutput,
    },
    /// The tool could not do it.
    Failed {
        /// Why, for the model.
        message: String,
    },
    /// It was never made.
    Refused {
        /// Which check refused it.
        by: Refusal,
        /// Why, for the model.
        message: String,
    },
    /// It was started, and nobody knows whether it was done.
    Unknown {
        /// What is known, for the model.
        message: String,
    },
}

impl CallOutcome {
    /// What the model is shown.
    pub fn text(&self) -> &str {
        match self {
            Self::Done { output } => &output.text,
            Self::Failed { message }
            | Self::Refused { message, .. }
            | Self::Unknown { message } => message,
        }
    }

    /// Whether the call did what it was to do.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

/// Which check refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// There is no such tool.
    UnknownTool,
    /// Its arguments are not what the tool takes.
    Schema,
    /// The policy, or nobody is there to ask.
    Permission,
    /// The user.
    User,
    /// It was made before and nothing has changed since.
    Repetition,
    /// It goes astray from the words of the task.
    Astray,
    /// It would end the run although its last change did not work.
    Unfinished,
    /// The run ends with another call of the same reply.
    Finished,
    /// The task's check failed.
    Check,
    /// Items of the plan are open.
    Plan,
}

/// What the machine makes calls by itself for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To check an outcome before it counts.
    Check,
    /// To try several ways and keep the best.
    Search,
}

/// What a user decides on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Make it.
    Allow,
    /// Make it, and every later call of the same tool in this run.
    AllowForRun,
    /// Do not make it.
    Deny,
    /// It was in doubt, and it was done.
    WasDone,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanItem {
    /// What is to be done.
    pub text: String,
    /// How far it is.
    pub status: PlanStatus,
    /// The call that shows that it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<CallId>,
}

/// How far a line of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Not begun.
    Pending,
    /// Under way.
    Active,
    /// Done.
    Done,
}

/// A way of working.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Think, act, look; the most likely reply.
    #[default]
    React,
    /// The same, with replies drawn more widely and a reminder to try another way.
    Explore,
    /// Answer at once, without tools.
    Direct,
    /// Write down a plan, then do and tick off one item after the other.
    Plan,
    /// Try several ways in copies of the workspace, and keep the best.
    Search,
}

/// The strategy that a run is asked to be done by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The model chooses, and it changes where it does not help.
    Auto,
    /// [`Strategy::Direct`]
    Direct,
    /// [`Strategy::React`]
    React,
    /// [`Strategy::Plan`]
    Plan,
    /// [`Strategy::Search`]
    Search,
}

/// Why a run stopped and can go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PauseReason {
    /// The budget ran out.
    Budget {
        /// Of what, and how much of it was used.
        message: String,
    },
    /// The mind does not answer.
    Model {
        /// What it last said.
        message: String,
    },
    /// A tool met what the model cannot help.
    Tool {
        /// What.
        message: String,
    },
    /// Somebody interrupted the driver.
    Interrupted,
    /// It waits for somebody who is not there now.
    Unanswered,
    /// A conversation got nowhere with a message; another message goes on.
    Stuck {
        /// How that was noticed.
        message: String,
    },
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Event {
    /// Types that this version knows, as they stand in `type`.
    pub const TYPES: [&str; 22] = [
        "run_created",
        "run_requested",
        "run_started",
        "message_received",
        "memory_recalled",
        "model_replied",
        "model_failed",
        "tool_started",
        "tool_finished",
        "tool_made",
        "nested_called",
        "approval_requested",
        "approval_decided",
        "calls_decided",
        "child_charged",
        "plan_changed",
        "strategy_changed",
        "context_compacted",
        "run_paused",
        "run_resumed",
        "compensated",
        "run_finished",
    ];

    /// Where the event's content came from.
    pub fn label(&self) -> Label {
        match self {
            Self::RunCreated { .. } | Self::RunRequested { .. } | Self::ApprovalDecided { .. } => {
                Label::User
            }
            Self::MessageReceived { from, .. } | Self::ToolFinished { from, .. } => from.clone(),
            _ => Label::Own,
        }
    }
}

impl PlanItem {
    /// Whether nothing is left to do for it.
    pub fn is_done(&self) -> bool {
        self.status == PlanStatus::Done
    }
}
